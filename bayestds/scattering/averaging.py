"""Laue averaging: the intensities of equivalent voxels together, slab by slab."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from bayestds.choices import ZerosAre
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.memory import too_much
from bayestds.scattering.agreement import Agreement, agreement, orbit_means
from bayestds.scattering.copies import copying_operations
from bayestds.scattering.exposure import common_exposure
from bayestds.scattering.grid import (
    Images,
    IrreducibleGrid,
    Mask,
    equivalent_images,
    first_of_orbits,
    reduce_grid,
    voxel_mask,
)
from bayestds.scattering.measured import MeasuredVoxels, error_of_one_count, is_counted
from bayestds.scattering.outliers import outlying
from bayestds.scattering.slabs import AXES, slabs
from bayestds.scattering.variance import VarianceLaw, variance_law
from bayestds.scattering.volume import Bad, volume_axes
from bayestds.scattering.voxels import Voxels, summed
from bayestds.scattering.zeros import Zeros, unmeasured_zeros

JUDGING = 200
"""Bytes a voxel that the search for outliers takes, which needs all voxels at once."""

SAMPLED = 40_000
"""Voxels from whose orbits the agreement of equivalents and the law of their errors are taken, about."""


@dataclass(frozen=True, eq=False)
class Counted:
    """Counts of the voxels of each point together.

    Attributes:
        number: (n_q,) counts.
        exposure: (n_q,) counts for an intensity of 1.
    """

    number: np.ndarray
    exposure: np.ndarray


@dataclass(frozen=True, eq=False)
class Errors:
    """Variance of the mean intensity of each point, as a straight line in what is expected.

    Attributes:
        constant: (n_q,) at no intensity.
        slope: (n_q,) by intensity, not negative.
    """

    constant: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True, eq=False)
class Observations:
    """Laue-averaged intensities on an irreducible grid.

    Attributes:
        grid: the Q points.
        intensity: (n_q,) mean of the equivalent voxels; zero or negative only where errors or counts tell
            what that means.
        errors: of the mean, where the volume has standard errors; else None.
        counts: of all equivalent voxels together, where the volume has them and no standard errors.
        agreement: of equivalent voxels with one another.
        independent: (n_q,) how many independent voxels each mean is of: copies of one another count as one.
        zeros: what voxels of exactly zero were taken for.
    """

    grid: IrreducibleGrid
    intensity: np.ndarray
    errors: Errors | None
    counts: Counted | None
    agreement: Agreement
    independent: np.ndarray
    zeros: Zeros = field(default_factory=Zeros)

    @property
    def log_intensity(self) -> np.ndarray:
        """Logarithm (n_q,) of the mean intensity, NaN where it has none."""
        return np.log(np.where(self.intensity > 0, self.intensity, np.nan))


def average(
    volume: xr.Dataset,
    supercell: Supercell,
    mask: Mask | None = None,
    commensurate: bool = True,
    friedel: bool = True,
    zeros: ZerosAre | None = None,
) -> Observations:
    """Average a volume over the Laue group, on the voxels that are measured and inside the mask.

    For `commensurate` and `friedel` see :func:`reduce_grid`. Where I(Q) and I(-Q) differ, and the volume
    holds the mean of both at either, it is averaged over the Laue group all the same: the model must be, too.
    What voxels of exactly zero are, without counts or a standard error, is stated by `zeros`; by default the
    volume shows it (:mod:`bayestds.scattering.zeros`).

    Intensities and standard errors are divided by the transmission where the volume has one; an exposure is
    multiplied by it. Voxels with standard errors are weighted by their inverse variance, freed of their own
    noise (:mod:`bayestds.scattering.variance`). Counts of volumes without standard errors are added up,
    voxels without any included. Voxels that are copies of one another, in a file that was symmetrised before,
    count as one.

    The volume is read several times, slab by slab, and summed in double precision. What stays of each voxel
    is the number of its point; outliers alone are judged with all voxels in memory. Sums over several slabs
    are those over one but for rounding.

    Raises:
        VolumeError: no voxel or too few are left, intensities without errors or counts are not positive,
            voxels do not fit the supercell, counts do not say how long each voxel was measured, or outliers
            are asked for in a volume that does not fit into memory.
    """
    mask = mask or Mask()
    if not friedel:
        both = average(volume, supercell, mask, commensurate, zeros=zeros)
        if both.agreement.inverted:
            return both
    used, zero = _used(volume, supercell, mask)
    grid, found_zeros = _grid(volume, supercell, used, zero, commensurate, friedel, zeros)
    counted = is_counted(volume)
    voxels: Iterable[Voxels] = MeasuredVoxels(
        volume,
        grid,
        common_exposure(volume, grid) if counted else None,
        error_of_one_count(volume, grid) if zeros == "measured" and "sigma" in volume else None,
    )
    if mask.outliers is not None:
        grid, kept = _without_outliers(volume, grid, voxels, mask.outliers)
        voxels = [kept]
    sample = _sample(voxels, grid)
    images = equivalent_images(grid.axes, supercell.crystal, friedel)
    free_of_noise = volume.attrs.get("noise") == "none"
    copying = [] if free_of_noise else copying_operations(sample, images)
    law = variance_law(sample) if "sigma" in volume else None
    found = agreement(sample, _variance(sample, law), images, copying, _lengths(grid, supercell))
    share = _Share(grid, [images[i] for i in copying])
    averaged = _pooled(grid, voxels, share, found) if counted else _mean(grid, voxels, share, found, law)
    return replace(averaged, zeros=found_zeros)


def _grid(
    volume: xr.Dataset,
    supercell: Supercell,
    used: np.ndarray,
    zero: np.ndarray,
    commensurate: bool,
    friedel: bool,
    stated: ZerosAre | None,
) -> tuple[IrreducibleGrid, Zeros]:
    """The points of the voxels that are measured, and what those of exactly zero are taken for."""
    grid = reduce_grid(volume, supercell, used, commensurate, friedel)
    if not zero.any():
        return grid, Zeros()
    unmeasured, found = unmeasured_zeros(volume, grid, zero, stated)
    if not unmeasured.any():
        return grid, found
    return reduce_grid(volume, supercell, used & ~unmeasured, commensurate, friedel), found


def _used(volume: xr.Dataset, supercell: Supercell, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (n_h, n_k, n_l) bool that take part, and those of them that are exactly zero, nobody knows why.

    Zero is data where there are counts, or a standard error. Without an error, any other intensity of a
    volume that has errors takes no part.
    """
    used = np.empty([volume.sizes[name] for name in AXES], dtype=bool)
    zero = np.zeros_like(used)
    counted, bad = is_counted(volume), Bad()
    for place, part in slabs(volume):
        intensity = part["intensity"].values
        measured = np.isfinite(intensity) & voxel_mask(part, supercell, mask)
        if "mask" in part:
            measured &= ~part["mask"].values
        if counted:
            bad.add(measured & (intensity < 0), intensity, place)
        else:
            zero[place] = measured & (intensity == 0)
        if "sigma" in part:
            sigma = part["sigma"].values
            stated = np.isfinite(sigma) & (sigma > 0)
            zero[place] &= ~stated
            measured &= stated | zero[place]
        used[place] = measured
    if bad.count:
        where = volume_axes(volume).at(bad.first)
        raise VolumeError(
            f"{bad.count} of {used.sum()} voxels have an intensity that is negative.",
            f"The first is at {np.round(where, 4).tolist()} r.l.u.; counts are not.",
            "Mark them as unmeasured (NaN, or mask), or undo an excessive background subtraction.",
        )
    return used, zero


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


def _sample(voxels: Iterable[Voxels], grid: IrreducibleGrid) -> Voxels:
    """All voxels of every so many orbits."""
    step = -(-int(grid.multiplicity.sum()) // SAMPLED)
    return Voxels.together([part.select(part.point % step == 0) for part in voxels])


def _variance(sample: Voxels, law: VarianceLaw | None) -> np.ndarray | None:
    """Expected variance (n_voxels,) of each voxel at the mean of its orbit; None where it is not known."""
    if law is not None and sample.sigma is not None:
        exposure = law.exposure(sample.intensity, sample.sigma)
        return law.numerator(orbit_means(sample, 1 / exposure)) / exposure
    if sample.exposure is not None:
        rate = orbit_means(sample, 1 / sample.exposure)
        return np.maximum(rate, rate[rate > 0].min(initial=1.0)) / sample.exposure
    return None


def _lengths(grid: IrreducibleGrid, supercell: Supercell) -> np.ndarray:
    """|Q| (n_q,), Å⁻¹."""
    return np.linalg.norm(supercell.crystal.scattering_vectors(grid.q_points), axis=-1)


class _Share:
    """By how much each voxel counts: one over the number of its copies that are measured.

    Args:
        grid: the points of the voxels.
        copying: the operations under which voxels are copies of one another, at most the identity for none.
    """

    def __init__(self, grid: IrreducibleGrid, copying: list[Images]):
        self._n_copies = None
        if len(copying) > 1:
            first, _ = first_of_orbits(grid.point_of_voxel >= 0, copying)
            flat = first.reshape(-1)
            self._n_copies = np.bincount(flat[flat >= 0], minlength=flat.size)[flat]

    def of(self, part: Voxels) -> np.ndarray:
        """Shares (n_voxels,) of some voxels."""
        return np.ones(len(part.place)) if self._n_copies is None else 1 / self._n_copies[part.place]


def _mean(
    grid: IrreducibleGrid, voxels: Iterable[Voxels], share: _Share, found: Agreement, law: VarianceLaw | None
) -> Observations:
    """Mean intensity of each point, weighted by the inverse variance where there are standard errors."""

    def weight(part: Voxels) -> np.ndarray:
        if law is None or part.sigma is None:
            return share.of(part)
        return share.of(part) * law.exposure(part.intensity, part.sigma)

    weights, total, independent = summed(
        voxels, len(grid.q_points), weight, lambda part: weight(part) * part.intensity, share.of
    )
    mean = total / weights
    if law is not None:
        return Observations(grid, mean, Errors(*law.line(weights)), None, found, independent)
    if (mean <= 0).any():
        raise VolumeError(
            f"{(mean <= 0).sum()} of {len(mean)} means of equivalent voxels are zero or negative.",
            "Without standard errors noise is learned in the logarithm of the intensity, and there is none.",
            "Give standard errors (`sigma`) in the volume, which make such values data like others; mark "
            "voxels that were not measured (NaN, or mask); or undo an excessive background subtraction.",
        )
    return Observations(grid, mean, None, None, found, independent)


def _pooled(grid: IrreducibleGrid, voxels: Iterable[Voxels], share: _Share, found: Agreement) -> Observations:
    """All counts of each point, and all its exposure."""
    total, times, independent = summed(
        voxels,
        len(grid.q_points),
        lambda part: share.of(part) * part.counts,
        lambda part: share.of(part) * part.exposure,
        share.of,
    )
    return Observations(grid, total / times, None, Counted(total, times), found, independent)
