"""Laue averaging: the intensities of equivalent voxels together, slab by slab."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.memory import too_much
from bayestds.scattering.equivalents import Voxels, outlying, summed, weighted_mean
from bayestds.scattering.grid import IrreducibleGrid, Mask, reduce_grid, voxel_mask
from bayestds.scattering.slabs import AXES, slabs
from bayestds.scattering.volume import Bad

FEWEST_COUNTS = 0.5
"""Counts that stand for none where a logarithm or a weight is needed before there is a fit."""

SAME_EXPOSURE = 1e-6
"""Relative difference of normalisations up to which they are the same."""

JUDGING = 200
"""Bytes a voxel that the search for outliers takes, which needs all voxels at once."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Laue-averaged intensities on an irreducible grid.

    Attributes:
        grid: the Q points.
        log_intensity: (n_q,) logarithm of the mean intensity of the equivalent voxels; where these have no
            counts at all, of :data:`FEWEST_COUNTS`.
        relative_sigma: (n_q,) its standard error where the volume gives one, else None.
        counts: (n_q,) of all equivalent voxels together, where the volume gives them and no standard errors.
        exposure: (n_q,) counts for an intensity of 1.
    """

    grid: IrreducibleGrid
    log_intensity: np.ndarray
    relative_sigma: np.ndarray | None
    counts: np.ndarray | None = None
    exposure: np.ndarray | None = None

    @property
    def n_rejected(self) -> int:
        """Voxels that were left out as outliers."""
        return self.grid.n_rejected


def average(
    volume: xr.Dataset,
    supercell: Supercell,
    mask: Mask | None = None,
    commensurate: bool = True,
    friedel: bool = True,
) -> Observations:
    """Average a volume over the Laue group, on the voxels that are measured and inside the mask.

    For the last two arguments see :func:`reduce_grid`.

    Intensities and standard errors are divided by the transmission where the volume has one; an exposure is
    multiplied by it. Voxels with standard errors are weighted by their inverse variance, freed of their own
    noise. Counts of volumes without standard errors are added up, voxels without any included.

    The volume is read several times, slab by slab, and summed in double precision. What stays of each voxel
    is the number of its point; outliers alone are judged with all voxels in memory. Sums over several slabs
    are those over one but for rounding.

    Raises:
        VolumeError: no voxel or too few are left, intensities are not positive, voxels do not fit the
            supercell, counts do not say how long each voxel was measured, or outliers are asked for in a
            volume that does not fit into memory.
    """
    mask = mask or Mask()
    used = _used(volume, supercell, mask)
    grid = reduce_grid(volume, supercell, used, commensurate, friedel)
    counted = _counted(volume)
    voxels: Iterable[Voxels] = _Measured(volume, grid, _common_exposure(volume, grid) if counted else None)
    if mask.outliers is not None:
        grid, kept = _without_outliers(volume, grid, voxels, mask.outliers)
        voxels = [kept]
    return _pooled(grid, voxels) if counted else _mean(grid, voxels, "sigma" in volume)


def _counted(volume: xr.Dataset) -> bool:
    """Whether counts are used: standard errors go before them."""
    return "counts" in volume and "sigma" not in volume


def _used(volume: xr.Dataset, supercell: Supercell, mask: Mask) -> np.ndarray:
    """Voxels (n_h, n_k, n_l) bool that take part; VolumeError where one has no logarithm."""
    used = np.empty([volume.sizes[name] for name in AXES], dtype=bool)
    counted, bad = _counted(volume), Bad()
    for place, part in slabs(volume):
        intensity = part["intensity"].values
        measured = np.isfinite(intensity) & voxel_mask(part, supercell, mask)
        if "mask" in part:
            measured &= ~part["mask"].values
        if "sigma" in part:
            sigma = part["sigma"].values
            measured &= np.isfinite(sigma) & (sigma > 0)
        bad.add(measured & (intensity < 0 if counted else intensity <= 0), intensity, place)
        used[place] = measured
    if bad.count:
        where = [float(volume[name].values[i]) for name, i in zip(AXES, bad.first, strict=True)]
        raise VolumeError(
            f"{bad.count} of {used.sum()} voxels have an intensity that is zero or negative.",
            f"The first is at {np.round(where, 4).tolist()} r.l.u.; their logarithm does not exist.",
            "Mark them as unmeasured (NaN, or mask), or undo an excessive background subtraction.",
        )
    return used


def _raw(volume: xr.Dataset, grid: IrreducibleGrid) -> Iterator[dict[str, np.ndarray]]:
    """Points and values (n_voxels,) of the voxels that have a point, slab by slab, as they are stored."""
    keys = ["intensity", "counts" if _counted(volume) else "sigma", "transmission"]
    for place, part in slabs(volume):
        point = grid.point_of_voxel[place]
        used = point >= 0
        values = {key: part[key].values[used].astype(float) for key in keys if key in part}
        yield {"point": point[used]} | values


@dataclass(frozen=True, eq=False)
class _Measured:
    """The voxels of a volume that have a point of a grid, slab by slab, as often as they are asked for.

    Attributes:
        volume: intensities, and what goes with them.
        grid: the points.
        exposure: of voxels without counts, where counts are used.
    """

    volume: xr.Dataset
    grid: IrreducibleGrid
    exposure: float | None

    def __iter__(self) -> Iterator[Voxels]:
        for values in _raw(self.volume, self.grid):
            through = values.pop("transmission", 1.0)
            if self.exposure is not None:
                counts, exposure = values["counts"], np.full(values["counts"].shape, self.exposure)
                np.divide(counts, values["intensity"], out=exposure, where=counts > 0)
                values["exposure"] = exposure * through
            scaled = {key: values[key] / through for key in ("intensity", "sigma") if key in values}
            yield Voxels(**values | scaled)


def _without_outliers(
    volume: xr.Dataset, grid: IrreducibleGrid, measured: Iterable[Voxels], limit: float
) -> tuple[IrreducibleGrid, Voxels]:
    """The grid and its voxels without those that their equivalents contradict; every point keeps some."""
    n_voxels = int(grid.multiplicity.sum())
    if reason := too_much(JUDGING * n_voxels):
        raise VolumeError(
            f"Outliers cannot be looked for among {n_voxels} voxels.",
            f"All of them must be in memory at once. {reason}",
            "Leave `outliers` out of [mask], or rebin the volume.",
        )
    voxels = Voxels.together(list(measured))
    rejected = outlying(voxels, limit)
    kept = voxels.select(~rejected)
    point_of_voxel, done = grid.point_of_voxel.copy(), 0
    for place, _ in slabs(volume):
        point = point_of_voxel[place]
        used = point >= 0
        gone = rejected[done : done + used.sum()]
        done += len(gone)
        point[used] = np.where(gone, -1, point[used])
    multiplicity = np.bincount(kept.point)
    return replace(
        grid, multiplicity=multiplicity, point_of_voxel=point_of_voxel, n_rejected=int(rejected.sum())
    ), kept


def _mean(grid: IrreducibleGrid, voxels: Iterable[Voxels], weighted: bool) -> Observations:
    """Mean intensity of each point, weighted by the inverse variance where there are standard errors."""
    (total,) = summed(voxels, len(grid.q_points), lambda part: part.intensity)
    mean = total / grid.multiplicity
    if not weighted:
        return Observations(grid, np.log(mean), None)
    mean, weight = weighted_mean(voxels, mean)
    return Observations(grid, np.log(mean), 1 / (np.sqrt(weight) * mean))


def _pooled(grid: IrreducibleGrid, voxels: Iterable[Voxels]) -> Observations:
    """All counts of each point, and all its exposure."""
    n_points = len(grid.q_points)
    total, times = summed(voxels, n_points, lambda part: part.counts, lambda part: part.exposure)
    return Observations(grid, np.log(np.maximum(total, FEWEST_COUNTS) / times), None, total, times)


def _common_exposure(volume: xr.Dataset, grid: IrreducibleGrid) -> float:
    """Counts for an intensity of 1 of voxels without any: that of all others, which must then have the same.

    Raises:
        VolumeError: some have other exposures, or counts and intensities are not related by any.
    """
    n_empty, contradiction, line, least, most = 0, False, _Line(), np.inf, 0.0
    total, n_exposed = 0.0, 0
    for values in _raw(volume, grid):
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
    for values in _raw(volume, grid):
        off = values["counts"] - line.slope * values["intensity"] - line.intercept
        if np.abs(off).max(initial=0.0) > tolerance:
            return
    raise VolumeError(
        "A background was subtracted from the intensities of the volume.",
        f"They are (counts - {line.intercept:.4g}) / {line.slope:.4g}: their ratio is no exposure.",
        "Store counts over their normalisation, and let [instrument] find the background.",
    )
