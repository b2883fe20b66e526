"""How long each voxel of a volume of counts was measured."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.measured import raw_voxels

SAME_EXPOSURE = 1e-6
"""Relative difference of normalisations up to which they are the same."""


def common_exposure(volume: xr.Dataset, grid: IrreducibleGrid) -> float:
    """Counts for an intensity of 1 of voxels without any: that of all others, which must then have the same.

    Raises:
        VolumeError: some have other exposures, or counts and intensities are not related by any.
    """
    n_empty, contradiction, line, least, most = 0, False, _Line(), np.inf, 0.0
    total, n_exposed = 0.0, 0
    for values in raw_voxels(volume, grid):
        counts, intensity = values["counts"], values["intensity"]
        empty = counts == 0
        contradiction |= bool(((intensity == 0) != empty).any())
        n_empty += int(empty.sum())
        line = line.and_also(intensity, counts)
        if contradiction or empty.all():
            continue
        exposure = counts[~empty] / intensity[~empty]
        least, most = min(least, exposure.min()), max(most, exposure.max())
        total, n_exposed = total + exposure.sum(), n_exposed + len(exposure)
    if contradiction or not n_exposed:
        raise VolumeError(
            "Counts and intensities of the volume contradict each other.",
            "An intensity is counts over a normalisation: both or none are zero, and not everywhere.",
            "Check how the volume was normalised, or store standard errors `sigma` instead of counts.",
        )
    _check_subtraction(volume, grid, line)
    if n_empty and most - least > SAME_EXPOSURE * total / n_exposed:
        raise VolumeError(
            f"{n_empty} voxels have no counts, and voxels were measured for different times.",
            f"Counts over intensity run from {least:.4g} to {most:.4g}, so that it is not "
            "known what no counts mean.",
            "Mark voxels without counts as unmeasured only if nothing was measured; else rebin until none is "
            "left.",
        )
    return float(total / n_exposed)


@dataclass(frozen=True)
class _Line:
    """The straight line of least squares through points (x, y), from sums about their means.

    Such sums of two sets of points make that of both: T. F. Chan, G. H. Golub, R. J. LeVeque, Am. Stat. 37
    (1983) 242.
    """

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def and_also(self, x: np.ndarray, y: np.ndarray) -> "_Line":
        """That of more points, given as arrays (n,)."""
        if not len(x):
            return self
        n, mean_x, mean_y = self.n + len(x), x.mean(), y.mean()
        to_x, to_y, shared = mean_x - self.x, mean_y - self.y, self.n * len(x) / n
        return _Line(
            n,
            self.x + to_x * len(x) / n,
            self.y + to_y * len(x) / n,
            self.xx + (x - mean_x) @ (x - mean_x) + shared * to_x**2,
            self.xy + (x - mean_x) @ (y - mean_y) + shared * to_x * to_y,
        )

    @property
    def slope(self) -> float:
        """Of the line; of that through the origin where all x are the same."""
        return self.xy / self.xx if self.xx else self.y / self.x

    @property
    def intercept(self) -> float:
        """Value at x = 0."""
        return self.y - self.slope * self.x


def _check_subtraction(volume: xr.Dataset, grid: IrreducibleGrid, line: _Line) -> None:
    """Refuse intensities that are counts over one normalisation less a constant: N/I is no exposure then."""
    tolerance = SAME_EXPOSURE * line.y
    if abs(line.intercept) <= tolerance:
        return
    for values in raw_voxels(volume, grid):
        off = values["counts"] - line.slope * values["intensity"] - line.intercept
        if np.abs(off).max(initial=0.0) > tolerance:
            return
    raise VolumeError(
        "A background was subtracted from the intensities of the volume.",
        f"They are (counts - {line.intercept:.4g}) / {line.slope:.4g}: their ratio is no exposure.",
        "Store counts over their normalisation, and let [instrument] find the background.",
    )
