"""Figures of a training or a fit with a known answer: volumes, loss, dispersion and force constants."""

from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayestds.crystal.axes import GridAxes
from bayestds.lattice_dynamics.paths import BandPath
from bayestds.report.plots import draw_plane

COLOURS = {"target": "black", "initial": "tab:orange", "fit": "tab:blue"}
"""Of curves and titles; black and white printers tell them by line style."""

STYLES = {"target": "-", "initial": ":", "fit": "--"}


def comparison_figure(
    h: np.ndarray,
    k: np.ndarray,
    target: np.ndarray,
    initial: np.ndarray,
    fit: np.ndarray,
    heading: str,
) -> Figure:
    """A plane of ln I of the target, at the start and of the fit, and the errors of the last two.

    Args:
        h, k: axes of the plane, r.l.u.
        target, initial, fit: (n_h, n_k) ln I, NaN where not used; their means are taken off.
        heading: which plane, for the title.
    """
    figure = _figure(12.0, 7.2)
    panels, grid = figure.subplots(2, 3), GridAxes((h, k, np.zeros(1)))
    maps = [values - np.nanmean(values) for values in (target, initial, fit)]
    low, high = np.nanpercentile(maps, [0.5, 99.5])
    for axes, name, values in zip(panels[0], COLOURS, maps, strict=True):
        image = draw_plane(axes, grid, values, low, high, "viridis")
        axes.set_title(f"{name}, {heading}", parse_math=False)
    figure.colorbar(image, ax=panels[0], label="ln I less its mean", fraction=0.046, pad=0.02)
    panels[1, 0].set_axis_off()
    for axes, name, values in zip(panels[1, 1:], ("initial", "fit"), maps[1:], strict=True):
        error = values - maps[0]
        reach = max(float(np.nanpercentile(np.abs(error), 99.5)), 1e-12)
        image = draw_plane(axes, grid, error, -reach, reach, "RdBu_r")
        axes.set_title(f"{name} - target, rms {np.sqrt(np.nanmean(error**2)):.2g}")
        figure.colorbar(image, ax=axes, label="error of ln I", fraction=0.046, pad=0.02)
    return figure


def loss_figure(loss: np.ndarray, floor: float, window: int = 50) -> Figure:
    """Loss of a stochastic training.

    Args:
        loss: (n_epochs,).
        floor: what the sampling noise leaves of the loss at the right force constants.
        window: epochs of the moving average.
    """
    figure = _figure(6.0, 3.6)
    axes = figure.subplots()
    epochs = np.arange(1, len(loss) + 1)
    axes.plot(epochs, loss, color="0.75", linewidth=0.6, label="each epoch")
    if len(loss) >= window:
        mean = np.convolve(loss, np.full(window, 1 / window), mode="valid")
        axes.plot(epochs[window - 1 :], mean, color="black", label=f"mean of {window} epochs")
    axes.axhline(floor, color="tab:blue", linestyle="--", label="sampling noise alone")
    axes.set(xlabel="epoch", ylabel="variance of ln I (observed - sampled)", xlim=(0, len(loss)))
    axes.legend(frameon=False)
    return figure


def dispersion_figure(path: BandPath, frequencies: Mapping[str, np.ndarray]) -> Figure:
    """Phonon dispersions along one path.

    Args:
        path: the points.
        frequencies: (n_q, 3n) THz by name: target, initial, fit.
    """
    figure = _figure(6.5, 4.0)
    axes = figure.subplots()
    for name, bands in frequencies.items():
        lines = axes.plot(path.distance, bands, color=COLOURS[name], linestyle=STYLES[name], linewidth=1.4)
        lines[0].set_label(name)
    for tick in path.ticks:
        axes.axvline(tick, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xticks(path.ticks, path.labels)
    axes.set(xlim=(path.ticks[0], path.ticks[-1]), ylabel="frequency ν (THz)", xlabel="wave vector")
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    # The curves fill the panel: beside it there is room.
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def evolution_figure(
    irreducible: np.ndarray, names: tuple[str, ...], shells: np.ndarray, reference: np.ndarray
) -> Figure:
    """How the force constants of each shell move during a training, towards their known values (dashed).

    Args:
        irreducible: (n_epochs, n_irreducible) eV/Å².
        names: (n_irreducible,).
        shells: (n_irreducible,) int.
        reference: (n_irreducible,) eV/Å².
    """
    numbers = np.unique(shells)
    figure = _figure(6.5, 1.0 + 1.7 * len(numbers))
    panels = figure.subplots(len(numbers), 1, sharex=True, squeeze=False)[:, 0]
    epochs = np.arange(1, len(irreducible) + 1)
    for axes, shell in zip(panels, numbers, strict=True):
        for place, column in enumerate(np.flatnonzero(shells == shell)):
            colour = f"C{place}"
            axes.plot(epochs, irreducible[:, column], color=colour, linewidth=1.0, label=names[column])
            axes.axhline(reference[column], color=colour, linestyle="--", linewidth=1.0)
        axes.set(ylabel="eV/Å²", title=f"shell {shell}", xlim=(0, len(irreducible)))
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel("epoch")
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="compressed")
    FigureCanvasAgg(figure)
    return figure
