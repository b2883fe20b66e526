"""The report of a result: one page that holds everything it shows."""

import tomllib
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr
from ase.geometry import cell_to_cellpar
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bayestds.crystal.structure import Crystal
from bayestds.diagnostics.dataset import POINT_FIT
from bayestds.diagnostics.draws import ForceConstantDraws, force_constant_draws
from bayestds.diagnostics.residuals import ResidualReport, residual_report, zone_labels
from bayestds.diagnostics.summary import SMALLEST_COMPONENT, moments, prior_deviations, summary_record
from bayestds.errors import ResultError
from bayestds.report import tables, words
from bayestds.report.bands import phonon_section
from bayestds.report.chain_section import chain_section
from bayestds.report.figures import (
    correlation_chart,
    forest_chart,
    history_chart,
    residual_against_q,
    residual_histogram,
    scale_chart,
)
from bayestds.report.slices import LARGEST_BYTES, colour_tables, volume_slices
from bayestds.scattering.volume import volume_axes


@dataclass(frozen=True)
class Picture:
    """A chart with its words.

    Attributes:
        picture: SVG.
        caption: what to see in it.
        heading: above it.
    """

    picture: Markup
    caption: str
    heading: str = ""


def report_page(tree: xr.DataTree, source: str = "a result", n_draws: int = 200, seed: int = 0) -> str:
    """The page of a result as HTML, complete in itself.

    Args:
        tree: the result, of one volume or several, a point fit or a posterior.
        source: where it comes from, for the last line of the page.
        n_draws: of the force constants, for the bands of the phonons.
        seed: of these draws.
    """
    record, nodes = summary_record(tree), volume_nodes(tree)
    draws, missing = _draws(tree, n_draws, seed)
    crystal = None if draws is None else draws.irreducible.crystal
    volumes, payload = _volumes(nodes)
    chains, no_chains = chain_section(tree, record)
    charts = {name: _residual_charts(tree, node) for name, node in nodes.items()}
    reports = {name: _residual_report(node, crystal) for name, node in nodes.items()}
    context = {
        **_assets(),
        "title": _title(tree),
        "kind": _kind(tree, record),
        "made_with": version("bayestds"),
        "source": source,
        "verdict": words.verdict(tree, record),
        "caution": words.caution(tree),
        "facts": _facts(tree, nodes),
        **_constants(tree, record, nodes),
        "volumes": volumes,
        "residuals": [{"name": name, "charts": found} for name, found in charts.items()],
        "residual_table": tables.residual_table(reports),
        "agreement_tables": [found for node in nodes.items() for found in tables.agreement_tables(*node)],
        "phonons": None if draws is None else phonon_section(draws),
        "chains": chains,
        "left_out": [*missing, *no_chains],
        "origin": tables.origin_table(tree, nodes),
        "model_text": str(tree.attrs.get("model_text", "")),
        "data": {"colours": colour_tables(), "volumes": payload},
    }
    context["sections"] = _sections(context)
    return (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(_asset("page.html"))
        .render(context)
    )


def volume_nodes(tree: xr.DataTree) -> dict[str, xr.DataTree]:
    """Where the data of each volume lie, by its name; the only volume of a result has none."""
    if "observed_data" in tree.children:
        return {"": tree}
    found: dict[str, xr.DataTree] = {}
    numbers = sorted(int(name[7:]) for name in tree.children if name.startswith("volume_"))
    for i in numbers:
        node = tree.children[f"volume_{i}"]
        name = str(node.attrs.get("name", f"volume {i}"))
        found[f"{name} ({i})" if name in found else name] = node
    return found


def _asset(name: str) -> str:
    return files("bayestds.report").joinpath(name).read_text("utf-8")


def _assets() -> dict[str, Any]:
    script = _asset("page.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return {"css": Markup(_asset("page.css")), "script": Markup(script), "script_hash": f"sha256-{digest}"}


def _title(tree: xr.DataTree) -> str:
    try:
        title = tomllib.loads(str(tree.attrs.get("model_text", ""))).get("title")
    except tomllib.TOMLDecodeError:
        title = None
    return str(title or tree.attrs.get("model") or "Force constants")


def _kind(tree: xr.DataTree, record: dict[str, Any]) -> str:
    what = "Posterior" if record["kind"] == "posterior" else "Point fit"
    n, shells = len(record["ifcs"]), len(record["shells"])
    constants = f"{n} irreducible force constant{'s' * (n > 1)}"
    return f"{what} of {constants} in {shells} neighbour shell{'s' * (shells > 1)}, from diffuse scattering"


def _sections(context: dict[str, Any]) -> list[tuple[str, str]]:
    every = {
        "verdict": "In short",
        "constants": "Force constants",
        "volume": "Volume",
        "residuals": "Residuals",
        "phonons": "Phonons",
        "posterior": "Posterior",
        "left-out": "Not here",
        "repeat": "To repeat it",
    }
    absent = {"phonons": not context["phonons"], "posterior": not context["chains"]}
    absent["left-out"] = not context["left_out"]
    return [(key, name) for key, name in every.items() if not absent.get(key)]


def _draws(tree: xr.DataTree, n_draws: int, seed: int) -> tuple[ForceConstantDraws | None, list[str]]:
    """Draws of the force constants, or why there are none."""
    try:
        return force_constant_draws(tree, n_draws, seed), []
    except ResultError as error:
        return None, [f"Phonons: {error.summary} {error.reason}"]


def _facts(tree: xr.DataTree, nodes: dict[str, xr.DataTree]) -> list[tuple[str, str]]:
    fixed = tree["constant_data"].dataset
    lattice = fixed["lattice_vectors"].values
    created = str(tree.attrs.get("created", "–")).replace("T", " ").replace("+00:00", " UTC")
    facts = [("created", created), ("model", str(tree.attrs.get("model", "–")))]
    if "species" in fixed:
        kinds, counts = np.unique(fixed["species"].values.astype(str), return_counts=True)
        formula = " ".join(f"{kind}{n if n > 1 else ''}" for kind, n in zip(kinds, counts, strict=True))
        facts.append(("primitive cell", formula))
    facts.append(("cell (Å, °)", " ".join(f"{x:.5g}" for x in cell_to_cellpar(lattice))))
    n_cells = np.abs(np.linalg.det(fixed["supercell_matrix"].values))
    facts.append(("supercell", f"{n_cells:.0f} primitive cells"))
    kelvin = sorted({float(node["constant_data"].dataset["temperature"]) for node in nodes.values()})
    facts.append(("temperature", ", ".join(f"{t:g} K" for t in kelvin)))
    if "statistics" in tree.attrs:
        facts.append(("displacements", f"{tree.attrs['statistics']} statistics"))
    return facts


def _constants(tree: xr.DataTree, record: dict[str, Any], nodes: dict[str, xr.DataTree]) -> dict[str, Any]:
    """The section of the force constants."""
    fit, prior_sd, (_, mean, covariance) = tree[POINT_FIT].dataset, prior_deviations(tree), moments(tree)
    reference = fit["reference"].values if "reference" in fit else None
    forest = forest_chart(record["ifcs"], prior_sd, reference)
    charts = [
        Picture(forest, _forest_words(reference), "Posterior over prior"),
        Picture(scale_chart(record["ifcs"], prior_sd), _scale_words(), "What was learned"),
    ]
    correlation = correlation_chart(list(record["ifcs"]), covariance)
    if correlation is not None:
        caption = "Blue: both grow together; orange: one grows where the other shrinks; full colour: ±1."
        charts.append(Picture(correlation, caption, "Correlations"))
    return {
        "shells": tables.shell_table(record),
        "rule": record["rule"],
        "constant_charts": charts,
        "constants": tables.constant_table(tree, record),
        "more_tables": [
            tables.self_term_table(tree, mean, covariance),
            *tables.trend_table(tree),
            *tables.cubic_tables(tree, record),
            *tables.background_table(record),
            *tables.volume_table(nodes),
        ],
        "constant_words": _combinations(record),
    }


def _key(css: str, text: str) -> Markup:
    """A mark as in a chart, and what it means."""
    return Markup('<span class="key {}"></span> {}').format(css, text)


def _forest_words(reference: np.ndarray | None) -> Markup:
    compared = Markup(", {}").format(_key("c2", "reference")) if reference is not None else ""
    return Markup("{} with its 95% interval{}; shaded: one and two standard deviations of the prior.").format(
        _key("c1", "value"), compared
    )


def _scale_words() -> Markup:
    return Markup(
        "Standard deviation {} and {} the measurement; {}. A constant whose size lies well to the right of "
        "its standard deviation is significantly different from zero."
    ).format(_key("grey", "before"), _key("c1", "after"), _key("bar", "size of the constant"))


def _combinations(record: dict[str, Any]) -> list[str]:
    """Sentences on combinations of constants."""
    found = []
    for kind, meaning in (("stiff", "best"), ("sloppy", "least")):
        if record[kind]:
            large = {n: x for n, x in record[kind][0]["components"].items() if abs(x) >= SMALLEST_COMPONENT}
            terms = " ".join(f"{x:+.2f} {name}" for name, x in large.items()).replace("-", "−")
            times = words.number(record[kind][0]["information"])
            found.append(
                f"The combination that the data determine {meaning}, in units of the prior: {terms} and "
                f"smaller terms; they hold {times} times the information of the prior on it."
            )
    pairs = [
        f"{' and '.join(p['between'])} ({words.fixed(p['correlation'], 2)})" for p in record["trade_offs"]
    ]
    if pairs:
        found.append(f"Correlated in the posterior: {', '.join(pairs[:10])}.")
    if (noise := record["learned_noise"]) is not None:
        found.append(
            f"The relative noise that was learned is {words.number(noise['value'])}, 95% interval "
            f"{words.number(noise['interval_low'])} to {words.number(noise['interval_high'])}."
        )
    return found


def _volumes(nodes: dict[str, xr.DataTree]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Words and numbers of the planes of each volume."""
    shown, payload = [], []
    for name, node in nodes.items():
        found = volume_slices(node["observed_data"].dataset, LARGEST_BYTES // len(nodes))
        shape = " × ".join(str(n) for n in node["observed_data"].dataset["point_of_voxel"].shape)
        note = f"{shape} voxels. Colours of observed and fitted share one scale, the same on all planes. "
        note += "Grey: not measured, masked or not used."
        if found.stride > 1:
            note += f" To keep the page small, one plane in {found.stride} is here along each axis."
        shown.append({"name": name, "note": note, "axes": found.payload["names"]})
        payload.append(found.payload)
    return shown, payload


def _residual_charts(tree: xr.DataTree, node: xr.DataTree) -> list[Picture]:
    observed = node["observed_data"].dataset
    residual, weight, voxels = (observed[key].values for key in ("residual", "weight", "multiplicity"))
    use = np.isfinite(residual) & (weight > 0)
    if not use.any():
        return []
    lattice = node["constant_data"].dataset["lattice_vectors"].values
    length = 2 * np.pi * np.linalg.norm(observed["q_points"].values @ np.linalg.inv(lattice).T, axis=1)
    standardised = residual * np.sqrt(np.where(use, weight, 1.0))
    found = [
        Picture(
            residual_histogram(standardised[use], voxels[use]),
            "Residuals in units of their standard errors, each point as often as it has voxels; "
            "line: the normal distribution, where they reach that far.",
        ),
        Picture(
            residual_against_q(length[use], residual[use], 1 / weight[use], voxels[use]),
            "Root mean square of the residual in bins of |Q|; dashed: the noise it was weighted with, "
            "where it is of that size.",
        ),
    ]
    fit = tree[POINT_FIT].dataset
    history = history_chart(fit["history_rms"].values) if "history_rms" in fit else None
    if history is not None:
        found.append(Picture(history, "Residual after each round of the point fit."))
    return found


def _residual_report(node: xr.DataTree, crystal: Crystal | None) -> ResidualReport | None:
    """Statistics of the residuals: those that the result holds, else from its numbers."""
    stored = tables.stored_residuals(node)
    observed = node["observed_data"].dataset
    if stored is not None or crystal is None or not np.isfinite(observed["residual"].values).all():
        return stored
    axes = volume_axes(observed)
    zones = zone_labels(observed["q_points"].values, crystal)
    return residual_report(
        observed["residual"].values, observed["point_of_voxel"].values, axes, zones, crystal
    )
