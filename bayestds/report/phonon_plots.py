"""The picture of the phonons of a result: dispersion and density of states, with credible bands."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bayestds.diagnostics.phonon_bands import INNER_INTERVAL, INTERVAL, PhononBands, Spread
from bayestds.lattice_dynamics.paths import BandPath

OUTER, INNER = "#c6dcee", "#6aa3d0"
"""Colours of the two bands; opaque, so that they look the same where branches coincide."""

GREEK = {"SIGMA": "Σ", "DELTA": "Δ", "LAMBDA": "Λ"}
"""Special points that are spelt out."""

NARROW = 0.045
"""Labels closer than this share of the path are written one below the other."""


def phonon_figure(phonons: PhononBands, title: str) -> Figure:
    """Dispersion along the path, and beside it the density of states on the same scale.

    Args:
        phonons: what is drawn.
        title: heading of the figure.
    """
    figure = Figure(figsize=(10.0, 5.2), layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1), gridspec_kw={"wspace": 0.05})
    _dispersion(left, phonons)
    _density(right, phonons)
    handles = [
        Line2D([], [], color="black", linewidth=0.9, label="mean"),
        Patch(color=INNER, label=f"{INNER_INTERVAL:.0%} interval"),
        Patch(color=OUTER, label=f"{INTERVAL:.0%} interval"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _dispersion(axes: Axes, phonons: PhononBands) -> None:
    path, bands = phonons.path, phonons.bands
    # A line ends where a segment does: the path may go on elsewhere.
    segments = np.split(np.arange(len(path.distance)), np.flatnonzero(np.diff(path.distance) <= 0) + 1)
    for segment in segments:
        x = path.distance[segment]
        for branch in range(bands.value.shape[1]):
            for order, (low, high, colour) in enumerate(_layers(bands)):
                limits = low[segment, branch], high[segment, branch]
                axes.fill_between(x, *limits, color=colour, linewidth=0, zorder=1 + order / 4)
        axes.plot(x, bands.value[segment], color="black", linewidth=0.9)
    for tick in path.ticks:
        axes.axvline(tick, color="0.75", linewidth=0.8, zorder=0)
    axes.set_xticks(path.ticks, tick_labels(path))
    axes.set(xlim=(path.ticks[0], path.ticks[-1]), ylabel="frequency ν (THz)", xlabel="wave vector")
    axes.axhline(0, color="0.75", linewidth=0.8, zorder=0)


def _density(axes: Axes, phonons: PhononBands) -> None:
    dos = phonons.dos
    centres = (phonons.edges[:-1] + phonons.edges[1:]) / 2
    for low, high, colour in _layers(dos):
        axes.fill_betweenx(centres, low, high, color=colour, linewidth=0)
    axes.plot(dos.value, centres, color="black", linewidth=0.9)
    axes.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    axes.set(xlim=(0, None), ylim=(phonons.edges[0], phonons.edges[-1]), xlabel="modes per THz and cell")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title("density of states", fontsize="medium")


def _layers(spread: Spread) -> tuple[tuple[np.ndarray, np.ndarray, str], ...]:
    """Lower limit, upper limit and colour of the two bands."""
    return (spread.low, spread.high, OUTER), (spread.inner_low, spread.inner_high, INNER)


def tick_labels(path: BandPath) -> list[str]:
    """Labels of the special points, with Greek letters and subscripts; crowded ones alternate in height."""
    labels, lowered = [], False
    for i, label in enumerate(path.labels):
        near = i > 0 and path.ticks[i] - path.ticks[i - 1] < NARROW * path.ticks[-1]
        lowered = near and not lowered
        labels.append(("\n" if lowered else "") + "|".join(map(_typeset, label.split("|"))))
    return labels


def _typeset(name: str) -> str:
    letter, _, index = name.partition("_")
    return f"{GREEK.get(letter, letter)}$_{{{index}}}$" if index else GREEK.get(letter, letter)
