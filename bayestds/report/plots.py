"""Figures, drawn with matplotlib's object interface so that no display or global state is involved."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from bayestds.crystal.axes import GridAxes, axis_names
from bayestds.io.atomic import atomic_path
from bayestds.scattering.volume import volume_axes


def slices_figure(tree: xr.DataTree, title: str) -> Figure:
    """Observed, fitted and residual log intensity on two planes of constant l.

    Args:
        tree: a result, with the group ``observed_data``.
        title: heading of the figure.
    """
    observed = tree["observed_data"].dataset
    # Near an axis through Γ every voxel is special; a second, general plane shows the rest.
    levels = two_planes(observed)
    figure = Figure(figsize=(12.5, 3.6 * len(levels) + 0.4), layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(len(levels), 3, squeeze=False)
    for row, level in zip(panels, levels, strict=True):
        plane = observed["point_of_voxel"].isel(l=level)
        maps = [
            on_plane(observed[name].values, plane.values) for name in ("log_intensity", "fitted", "residual")
        ]
        shared = np.nanpercentile(np.concatenate([maps[0].ravel(), maps[1].ravel()]), [0.5, 99.5])
        reach = max(float(np.nanpercentile(np.abs(maps[2]), 99.5)), 1e-12)
        limits = [tuple(shared), tuple(shared), (-reach, reach)]
        heading = level_name(observed, level)
        names = (f"observed, {heading}", f"fitted, {heading}", "observed - fitted")
        for axes, image, name, (low, high) in zip(row, maps, names, limits, strict=True):
            colours = "RdBu_r" if name == names[2] else "viridis"
            drawn = draw_plane(axes, volume_axes(observed), image, low, high, colours)
            axes.set_title(name)
            label = "residual of ln I" if name == names[2] else "ln I (arbitrary units)"
            figure.colorbar(drawn, ax=axes, label=label, fraction=0.046, pad=0.02)
    return figure


def two_planes(observed: xr.Dataset) -> list[int]:
    """Indices of the plane of constant l that is nearest to Γ and of a general one, where there is one."""
    used = (observed["point_of_voxel"].values >= 0).sum(axis=(0, 1))
    full = np.flatnonzero(used > 0.5 * used.max())
    centre = int(full[np.abs(observed["l"].values[full]).argmin()])
    wanted = observed["l"].values[centre] + 0.4
    other = int(full[np.abs(observed["l"].values[full] - wanted).argmin()])
    return [centre] if other == centre else [centre, other]


def level_name(observed: xr.Dataset, level: int) -> str:
    """What a plane of constant l is called."""
    return f"{axis_names(volume_axes(observed).directions)[2]} = {float(observed['l'][level]):.2f}"


def on_plane(values: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Values of points (n_points,) on a plane (n_h, n_k) of the indices of points, NaN where that is -1."""
    return np.where(plane >= 0, values[plane], np.nan)


def draw_plane(
    axes: Axes, grid: GridAxes, image: np.ndarray, low: float, high: float, colours: str
) -> AxesImage:
    """Draw a plane of a volume, grey where it is NaN.

    Args:
        axes: to draw on.
        grid: axes of the volume, of which the first two span the plane.
        image: (n_h, n_k).
        low, high: ends of the colour scale.
        colours: name of the colour map.
    """
    (h, k, _), names = grid.coordinates, axis_names(grid.directions)
    half = [(values[1] - values[0]) / 2 if len(values) > 1 else 0.5 for values in (h, k)]
    extent = (h[0] - half[0], h[-1] + half[0], k[0] - half[1], k[-1] + half[1])
    axes.set_xlabel(f"{names[0]} (r.l.u.)")
    axes.set_ylabel(f"{names[1]} (r.l.u.)")
    axes.set_facecolor("0.85")
    return axes.imshow(
        image.T, origin="lower", extent=extent, vmin=low, vmax=high, cmap=colours, interpolation="nearest"
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
