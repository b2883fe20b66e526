"""Residuals of several predictions of one volume, side by side."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayestds.report.plots import draw_plane, level_name, on_plane, two_planes
from bayestds.scattering.volume import volume_axes


def residual_planes(observed: xr.Dataset, residuals: Mapping[str, np.ndarray], title: str) -> Figure:
    """Residuals of log intensity on a plane of constant l, in one scale of colours.

    Args:
        observed: group ``observed_data`` of a result.
        residuals: (n_points,) by name, at least one.
        title: heading of the figure.
    """
    level = two_planes(observed)[-1]
    plane = observed["point_of_voxel"].isel(l=level)
    images = {name: on_plane(values, plane.values) for name, values in residuals.items()}
    reach = max(float(np.nanpercentile(np.abs(np.stack(list(images.values()))), 99.5)), 1e-12)
    columns = min(len(images), 4)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(3.6 * columns + 1.2, 3.4 * rows + 0.6), layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}, {level_name(observed, level)}", parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, image) in zip(panels, images.items(), strict=False):
        drawn = draw_plane(axes, volume_axes(observed), image, -reach, reach, "RdBu_r")
        axes.set_title(name, parse_math=False, fontsize=9)
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    figure.colorbar(drawn, ax=list(panels), label="observed - predicted ln I", fraction=0.03, pad=0.02)
    return figure
