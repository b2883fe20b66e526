"""Tables of the report page."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.dataset import POINT_FIT
from bayestds.diagnostics.residuals import ResidualReport
from bayestds.report.words import decimals, error, fixed, number, percent


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        caption: what it shows.
        columns: headings.
        rows: cells; the first of each names the row.
        firsts: rows that begin a group.
        prose: columns of words rather than numbers.
        marked: column whose cell is a verdict.
    """

    caption: str
    columns: list[str]
    rows: list[list[str]]
    firsts: list[int] = field(default_factory=list)
    prose: tuple[int, ...] = ()
    marked: int = -1


def shell_table(record: dict[str, Any]) -> Table:
    """Verdict on each neighbour shell."""
    return _shells("What the data say of each neighbour shell", record["shells"])


def cubic_tables(tree: xr.DataTree, record: dict[str, Any]) -> list[Table]:
    """Third-order constants and the verdicts on their shells, where there are any."""
    if not record["cubic"]:
        return []
    chains = any(one["r_hat"] is not None for one in record["cubic"].values())
    kinds = _kinds_of_errors(tree, record, record["cubic"])
    columns = ["IFC", "shell", "mean" if record["kind"] == "posterior" else "value", "sd", *kinds.values()]
    columns += ["95% interval", "contraction", "|mean| / sd"] + ["R-hat", "bulk ESS", "tail ESS"] * chains
    rows = []
    for name, c in record["cubic"].items():
        places = decimals(c["sd"])
        row = [name, str(c["shell"]), fixed(c["mean"], places), error(c["sd"])]
        row += [error(c[key]) for key in kinds]
        row += [interval(c["interval_low"], c["interval_high"], places)]
        row += [_contraction(c["contraction"]), number(c["signal_to_noise"])]
        row += [fixed(c["r_hat"], 3), fixed(c["ess_bulk"], 0), fixed(c["ess_tail"], 0)] if chains else []
        rows.append(row)
    caption = "What the data say of the third order of each shell"
    return [
        Table("Third-order force constants, eV/Å³", columns, rows),
        _shells(caption, record["cubic_shells"]),
    ]


def _shells(caption: str, shells: dict[str, dict[str, Any]]) -> Table:
    rows = [
        [shell, one["verdict"], _contraction(one["contraction"]), number(one["information"]), one["words"]]
        for shell, one in shells.items()
    ]
    columns = ["shell", "verdict", "contraction", "gain (nats)", "in words"]
    return Table(caption, columns, rows, prose=(1, 4), marked=1)


def constant_table(tree: xr.DataTree, record: dict[str, Any]) -> Table:
    """Each irreducible force constant with its errors."""
    fit, constants = tree[POINT_FIT].dataset, record["ifcs"]
    sampled = record["kind"] == "posterior"
    reference = fit["reference"].values if "reference" in fit else None
    kinds = _kinds_of_errors(tree, record, constants)
    chains = any(c["r_hat"] is not None for c in constants.values())
    columns = ["IFC", "shell", "mean" if sampled else "value", "sd"]
    columns += [*kinds.values(), "95% interval"]
    columns += ["reference", "off by (sd)"] if reference is not None else []
    columns += ["contraction", "|mean| / sd"] + ["R-hat", "bulk ESS", "tail ESS"] * chains
    rows, firsts, shell = [], [], None
    for i, (name, c) in enumerate(constants.items()):
        places = decimals(c["sd"])
        row = [name, str(c["shell"]), fixed(c["mean"], places), error(c["sd"])]
        row += [error(c[key]) for key in kinds]
        row.append(interval(c["interval_low"], c["interval_high"], places))
        if reference is not None:
            row += [fixed(float(reference[i]), places), fixed((c["mean"] - float(reference[i])) / c["sd"], 1)]
        row += [_contraction(c["contraction"]), number(c["signal_to_noise"])]
        row += [fixed(c["r_hat"], 3), fixed(c["ess_bulk"], 0), fixed(c["ess_tail"], 0)] if chains else []
        rows.append(row)
        if c["shell"] != shell:
            firsts.append(i)
            shell = c["shell"]
    return Table("Irreducible force constants, eV/Å²", columns, rows, firsts)


def _kinds_of_errors(
    tree: xr.DataTree, record: dict[str, Any], constants: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """Keys of the kinds of standard errors that a table shows, and their headings."""
    # Without noise nothing could be correlated, and draws have one spread.
    if record["kind"] == "posterior" or tree.attrs.get("noise") == "assumed":
        return {}
    kinds = {"plain_sd": "independent", "star_sd": "by star", "clustered_sd": "by zone"}
    known = any(math.isfinite(one["star_sd"]) for one in constants.values())
    return kinds if known else {}


def self_term_table(tree: xr.DataTree, mean: np.ndarray, covariance: np.ndarray) -> Table:
    """Self terms by the acoustic sum rule."""
    fit = tree[POINT_FIT].dataset
    rows = fit["self_coefficients"].values
    errors = np.sqrt(np.einsum("si,ij,sj->s", rows, covariance, rows))
    cells = [
        [str(name), fixed(float(value), decimals(sd)), error(sd)]
        for name, value, sd in zip(fit["self_term"].values, rows @ mean, errors, strict=True)
    ]
    return Table("Self terms by the acoustic sum rule, eV/Å²", ["self term", "value", "sd"], cells)


def background_table(record: dict[str, Any]) -> list[Table]:
    """Strengths of the background, where there is one."""
    rows = [[name, number(one["value"], 4), error(one["sd"])] for name, one in record["background"].items()]
    caption = (
        "Background, in units of the forward scattering of a primitive cell (Compton: of the tabulated one)"
    )
    return [Table(caption, ["term", "value", "sd"], rows)] if rows else []


def trend_table(tree: xr.DataTree) -> list[Table]:
    """Change of the constants with temperature, where it was fitted."""
    fit = tree[POINT_FIT].dataset
    if "trend" not in fit:
        return []
    rows = [
        [str(name), fixed(float(value), decimals(sd)), error(float(sd))]
        for name, value, sd in zip(
            fit["irreducible"].values, fit["trend"].values, fit["trend_standard_error"].values, strict=True
        )
    ]
    return [Table("Change per 100 K, eV/Å²", ["IFC", "change", "sd"], rows)]


def volume_table(nodes: dict[str, xr.DataTree]) -> list[Table]:
    """The volumes of a joint fit, and how each agrees with the others."""
    if list(nodes) == [""]:
        return []
    rows = []
    for name, node in nodes.items():
        a = node.attrs
        row = [name, number(a.get("temperature_K"), 5), str(a.get("noise", "–")), f"{a.get('n_points', 0):,}"]
        row += [number(a.get("residual_rms")), number(a.get("own_residual_rms")), number(a.get("chi_square"))]
        rows.append([*row, str(a.get("degrees_of_freedom", "–")), number(a.get("p_value"), 2)])
    columns = [
        "volume",
        "K",
        "noise",
        "points",
        "residual rms",
        "by itself",
        "chi-square",
        "degrees of freedom",
        "p",
    ]
    caption = (
        "Volumes by themselves against the joint fit; p: probability of a larger chi-square if they agree"
    )
    return [Table(caption, columns, rows)]


def residual_table(reports: dict[str, ResidualReport | None]) -> Table:
    """Statistics of the residuals of each volume."""
    rows = [
        [name or "all voxels", "–", "–", "–", "–", "–"]
        if one is None
        else [
            name or "all voxels",
            number(one.rms),
            number(one.odd_rms),
            number(one.even_rms),
            fixed(one.neighbour_correlation, 2),
            f"{fixed(one.zone_correlation, 2)} ({one.n_zones} zones)",
        ]
        for name, one in reports.items()
    ]
    columns = ["residual of ln I", "rms", "odd", "even", "neighbours", "zones"]
    return Table("How large the residuals are, and how they hang together", columns, rows)


def agreement_tables(name: str, node: xr.DataTree) -> list[Table]:
    """How well equivalent voxels of a volume agree by |Q|, and the operations by which they do not."""
    found = json.loads(node.attrs.get("agreement", "null"))
    if not found or not found["n_orbits"]:
        return []
    rows = [
        [
            f"{fixed(one['q_low'], 2)} .. {fixed(one['q_high'], 2)}",
            percent(one["r_int"]),
            percent(one["r_meas"]),
            number(one["chi_square"]),
            str(one["n_orbits"]),
        ]
        for one in [*found["by_q"], {**found, "q_low": found["by_q"][0]["q_low"],
                                     "q_high": found["by_q"][-1]["q_high"]}]
    ]  # fmt: skip
    of = f" of {name}" if name else ""
    columns = ["|Q| (Å⁻¹)", "R_int", "R_meas", "chi-square", "orbits"]
    tables = [Table(f"Agreement of equivalent voxels{of}; last, over all |Q|", columns, rows)]
    bad = [one for one in found["by_operation"] if one["disagrees"]]
    if bad:
        rows = [[one["operation"], percent(one["r"]), number(one["mean_square"])] for one in bad]
        columns = ["h, k, l become", "R", "mean square / expected"]
        tables.append(Table(f"Symmetry operations{of} by which voxels disagree", columns, rows))
    return tables


def origin_table(tree: xr.DataTree, nodes: dict[str, xr.DataTree]) -> Table:
    """Everything but the model file that it takes to repeat a result."""
    a = tree.attrs
    names = {
        "command": "command",
        "model": "model",
        "created": "created",
        "bayestds_version": "bayestds",
        "data": "data",
        "data_digest": "digest of the data (points and ln I)",
        "statistics": "statistics of the displacements",
        "noise": "noise",
        "method": "method",
        "prior": "prior",
        "seed": "seed",
        "warmup": "warm-up",
    }
    rows = [[words, str(a[key])] for key, words in names.items() if str(a.get(key, "")) != ""]
    rows += [["volume", name] for name in nodes if name]
    return Table("How this result came about", ["what", "value"], rows, prose=(1,))


def interval(low: float, high: float, places: int) -> str:
    """An interval for a table."""
    return f"{fixed(low, places)} .. {fixed(high, places)}"


def stored_residuals(tree: xr.DataTree) -> ResidualReport | None:
    """Statistics of the residuals that a result holds."""
    found = json.loads(tree.attrs.get("residuals", "null"))
    if not found:
        return None
    known: dict[str, Any] = {key: float("nan") if value is None else value for key, value in found.items()}
    return ResidualReport(**known)


def _contraction(value: float) -> str:
    """A share near one, with its distance from one where that is what tells."""
    if np.isfinite(value) and value > 0.99999:
        return "> 0.99999"
    return fixed(value, 5)
