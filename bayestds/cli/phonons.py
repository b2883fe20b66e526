"""The command that shows the phonons of a result, with error bars."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.output import check_output, number, print_json, print_table, print_warnings, words
from bayestds.diagnostics.cautions import check_converged, standing
from bayestds.diagnostics.dataset import POSTERIOR
from bayestds.diagnostics.draws import ForceConstantDraws, force_constant_draws
from bayestds.diagnostics.elastic import elastic_summary
from bayestds.diagnostics.grueneisen import grueneisen_record
from bayestds.diagnostics.phonon_bands import INNER_INTERVAL, INTERVAL, PhononBands, levels, phonon_bands
from bayestds.diagnostics.result_file import read_result
from bayestds.report.phonon_plots import phonon_figure
from bayestds.report.plots import save_figure

SPREAD = ("value", "sd", "interval_low", "interval_high")
"""What is said of each Grüneisen parameter."""

ZONE_CENTRE = ("G", "g", "GAMMA", "Gamma", "gamma")
"""What may be typed for Γ."""


def phonons(
    result: Path,
    output: Path | None,
    path: str | None,
    n_draws: int,
    seed: int,
    unconverged: bool,
    as_json: bool,
) -> None:
    """Print the frequencies at the special points, and draw dispersion and density of states."""
    tree = read_result(result)
    check_converged(tree, result, unconverged)
    figure = output or Path(f"{result.stem}_phonons.png")
    check_output(figure, inputs=[result])
    draws = force_constant_draws(tree, n_draws, seed)
    found = phonon_bands(draws, None if path is None else [_name(word) for word in path.split()])
    record = phonons_record(tree, draws, found) | elastic_summary(draws) | grueneisen_record(draws)
    record |= standing(tree) | {"figure": str(figure)}
    save_figure(phonon_figure(found, f"{result.name}: phonons at {draws.temperature:g} K"), figure)
    if as_json:
        print_json(record)
    else:
        print_phonons(str(result), record, found)
        print_elastic(record)
        print_grueneisen(record)
    print_warnings(record["cautions"])
    words.print(f"Dispersion and density of states: {figure}", markup=False)


def _name(word: str) -> str:
    return "Γ" if word in ZONE_CENTRE else word


def phonons_record(tree: xr.DataTree, draws: ForceConstantDraws, found: PhononBands) -> dict[str, Any]:
    """What a result says of the phonons, with the keys of the JSON output.

    Args:
        tree: the result.
        draws: its force constants.
        found: their phonons.
    """
    bands, special, dos = found.bands, found.at_special, found.dos
    by_point = {
        f"special_points{suffix}": dict(zip(found.special, values, strict=True))
        for suffix, values in (
            ("", special.value),
            ("_sd", special.sd),
            ("_interval_low", special.low),
            ("_interval_high", special.high),
        )
    }
    source = (
        "draws of the posterior" if tree.attrs["kind"] == POSTERIOR else "normal draws about the point fit"
    )
    said = (
        f"Intervals are over {len(draws.draws)} {source}. Like the force constants, frequencies are "
        f"effective ones at {draws.temperature:g} K, and their errors exclude the bias of anharmonicity.",
        *found.words,
    )
    return {
        "path": list(found.path.labels),
        "ticks": found.path.ticks,
        "q_points": found.path.q_points,
        "distance": found.path.distance,
        "frequencies_THz": bands.value,
        "sd": bands.sd,
        "interval_low": bands.low,
        "interval_high": bands.high,
        "inner_low": bands.inner_low,
        "inner_high": bands.inner_high,
        "special_q_points": found.special,
        **by_point,
        "participation": dict(zip(found.special, found.participation, strict=True)),
        "dos": {
            "edges_THz": found.edges,
            "density": dos.value,
            "interval_low": dos.low,
            "interval_high": dos.high,
        },
        "interval": INTERVAL,
        "inner_interval": INNER_INTERVAL,
        "n_draws": len(draws.draws),
        "kind": tree.attrs["kind"],
        "temperature": draws.temperature,
        "words": list(said),
    }


def print_phonons(title: str, record: dict[str, Any], found: PhononBands) -> None:
    """Print the frequencies at the special points, and what is to be said of them."""
    shells = found.participation.shape[-1]
    columns = ["point", "q (r.l.u.)", "ν (THz)", "sd", f"{INTERVAL:.0%} interval", "modes"]
    columns += [f"% of its stiffness from shell 1{f' .. {shells}' if shells > 1 else ''}"]
    special, rows = found.at_special, []
    for i, (name, q) in enumerate(found.special.items()):
        place = " ".join(f"{x:.3f}" for x in np.round(q, 3) + 0.0)
        for level in levels(special.value[i], np.abs(special.value).max()):
            mode = level[0]
            value, low, high = (_rounded(x[i, mode]) for x in (special.value, special.low, special.high))
            shares = found.participation[i, mode]
            row = [name, place, value, number(special.sd[i, mode], 5)]
            row += [f"{low} .. {high}", str(len(level))]
            row += [
                " ".join(f"{x:.1f}" for x in np.round(100 * shares, 1) + 0.0)
                if np.isfinite(shares).all()
                else "-"
            ]
            rows.append(row)
            name, place = "", ""
    print_table(f"{title}: phonons at the special points", columns, rows)
    for sentence in record["words"]:
        print(sentence)


def print_elastic(record: dict[str, Any]) -> None:
    """Print the elastic constants, and what is to be said of them."""
    rows = [
        (
            name,
            *(number(one[key], 2) for key in ("mean", "sd")),
            f"{one['interval_low']:.2f} .. {one['interval_high']:.2f}",
        )
        for name, one in record["elastic_GPa"].items()
    ]
    print_table(
        "Elastic constants (K, G: a polycrystal's)", ("", "GPa", "sd", f"{INTERVAL:.0%} interval"), rows
    )
    for sentence in record["elastic_words"]:
        print(sentence)


def print_grueneisen(record: dict[str, Any]) -> None:
    """Print the Grüneisen parameters, where there are third-order constants to give them."""
    if "grueneisen" not in record:
        return
    found = record["grueneisen"]
    levels = [
        (name if i == 0 else "", {key: float(one[key][i]) for key in SPREAD})
        for name, one in found["special_points"].items()
        for i in range(len(one["value"]))
    ]
    levels.append(("mean", found["mean"]))
    rows = [
        (
            name,
            *(number(one[key], 3) for key in ("value", "sd")),
            f"{one['interval_low']:.3f} .. {one['interval_high']:.3f}",
        )
        for name, one in levels
    ]
    print_table("Grüneisen parameters", ("modes at", "γ", "sd", f"{INTERVAL:.0%} interval"), rows)
    print(found["words"])


def _rounded(value: float) -> str:
    """A frequency in the table, without a sign where it is 0."""
    return number(round(float(value), 4) + 0.0, 4)
