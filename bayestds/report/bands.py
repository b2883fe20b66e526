"""The section of the report page on phonons: dispersion and density of states with credible bands."""

from typing import Any

import numpy as np
from markupsafe import Markup

from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.diagnostics.elastic import elastic_summary
from bayestds.diagnostics.phonon_bands import (
    IMAGINARY,
    INNER_INTERVAL,
    INTERVAL,
    PhononBands,
    levels,
    phonon_bands,
)
from bayestds.report.svg import Chart
from bayestds.report.tables import Table, interval
from bayestds.report.words import decimals, error, fixed

SPELT = {"SIGMA": "Σ", "DELTA": "Δ", "LAMBDA": "Λ", "GAMMA": "Γ"}
"""Special points that are spelt out."""

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

MOST_POINTS = 12_000
"""Of all branches together; of more, some q are left out, to keep the page small."""


def phonon_section(draws: ForceConstantDraws) -> dict[str, Any]:
    """Charts, tables and words on the phonons of a result."""
    found, elastic = phonon_bands(draws), elastic_summary(draws)
    n_draws, kelvin = len(draws.draws), draws.temperature
    return {
        "dispersion": dispersion_chart(found),
        "density": density_chart(found),
        "caption": f"Dispersion and density of states. Line: mean; shaded: {INNER_INTERVAL:.0%} and "
        f"{INTERVAL:.0%} intervals over {n_draws} draws of the force constants.",
        "tables": [special_point_table(found), elastic_table(elastic)],
        "words": [
            f"Frequencies are effective ones at {kelvin:g} K; their errors, like those of the constants, "
            "exclude the bias of anharmonicity.",
            *found.words,
            *(sentence.replace("`", "") for sentence in elastic["elastic_words"]),
        ],
    }


def dispersion_chart(found: PhononBands) -> Markup:
    """Frequencies along the path, THz."""
    path, bands = found.path, found.bands
    labels = [point_name(label) for label in path.labels]
    chart = Chart(
        (path.ticks[0], path.ticks[-1]),
        (found.edges[0], found.edges[-1]),
        "wave vector",
        "frequency ν (THz)",
        (720, 380),
        x_ticks=list(zip(path.ticks, labels, strict=True)),
    )
    chart.horizontal(0)
    n_q, n_branches = bands.value.shape
    stride = int(np.ceil(n_q * n_branches / MOST_POINTS))
    # A line ends where a segment does: the path may go on elsewhere.
    breaks = np.flatnonzero(np.diff(path.distance) <= 0) + 1
    for segment in np.split(np.arange(n_q), breaks):
        shown = np.unique(np.append(segment[::stride], segment[-1]))
        x = path.distance[shown]
        for branch in range(n_branches):
            chart.band(x, bands.low[shown, branch], bands.high[shown, branch], "c1 light")
            chart.band(x, bands.inner_low[shown, branch], bands.inner_high[shown, branch], "c1 strong")
            chart.line(x, bands.value[shown, branch], "ink thin")
    where = ", ".join(labels)
    return chart.svg(
        "Phonon dispersion", f"{n_branches} branches along {where}, up to {bands.value.max():.2f} THz"
    )


def density_chart(found: PhononBands) -> Markup:
    """Density of states, on the frequency axis of the dispersion."""
    dos = found.dos
    middle = (found.edges[:-1] + found.edges[1:]) / 2
    ends = (found.edges[0], found.edges[-1])
    top = 1.05 * float(np.nanmax(dos.high))
    chart = Chart((0, top), ends, "modes per THz and cell", "", (240, 380), left=34)
    chart.sideways(middle, dos.low, dos.high, "c1 light")
    chart.sideways(middle, dos.inner_low, dos.inner_high, "c1 strong")
    chart.line(dos.value, middle, "ink thin")
    return chart.svg("Density of states", f"up to {dos.value.max():.3g} modes per THz and primitive cell")


def special_point_table(found: PhononBands) -> Table:
    """Frequencies at the special points, with their standard deviations."""
    special, rows = found.at_special, []
    highest = float(special.value.max())
    for i, (name, q) in enumerate(found.special.items()):
        values, sd = special.value[i], special.sd[i]
        texts = [
            _level(values[one[0]], sd[one[0]], len(one), IMAGINARY * highest)
            for one in levels(values, highest)
        ]
        rows.append([point_name(name), " ".join(fixed(round(x, 3), 3) for x in q), ", ".join(texts)])
    columns = ["point", "q (r.l.u.)", "ν ± sd (THz); × number of modes"]
    return Table("Frequencies at the special points", columns, rows, prose=(2,))


def elastic_table(elastic: dict[str, Any]) -> Table:
    """Elastic constants and Hill's moduli."""
    rows = []
    for name, one in elastic["elastic_GPa"].items():
        places = decimals(one["sd"])
        limits = interval(one["interval_low"], one["interval_high"], places)
        rows.append([name, fixed(one["mean"], places), error(one["sd"]), limits])
    columns = ["constant", "mean", "sd", f"{INTERVAL:.0%} interval"]
    return Table("Elastic constants, and Hill's bulk and shear modulus, GPa", columns, rows)


def _level(value: float, sd: float, n_modes: int, smallest: float) -> str:
    # Acoustic modes at Γ are zero by the sum rule, but for rounding, whatever the constants are.
    zero = abs(value) < smallest and sd < smallest
    text = "0" if zero else f"{fixed(value, min(decimals(sd), 5))} ± {error(sd)}"
    return f"{text} (×{n_modes})" if n_modes > 1 else text


def point_name(label: str) -> str:
    """A special point, or two at a jump, in Greek letters and with subscripts."""
    parts = []
    for name in label.split("|"):
        letter, _, index = name.partition("_")
        parts.append(SPELT.get(letter, letter) + index.translate(SUBSCRIPT))
    return "|".join(parts)
