"""From the voxels of a volume to symmetry-irreducible Q points: masks and Laue averaging."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import xarray as xr

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.scattering.equivalents import Voxels, expected_variance, outlying
from bayestds.scattering.volume import spacing

FEWEST_POINTS = 10
"""Fewer irreducible points than this are refused as a measurement."""

FEWEST_COUNTS = 0.5
"""Counts that stand for none where a logarithm or a weight is needed before there is a fit."""

SAME_EXPOSURE = 1e-6
"""Relative difference of normalisations up to which they are the same."""


@dataclass(frozen=True)
class Mask:
    """Which voxels take part.

    Attributes:
        q_min, q_max: range of |Q|, Å⁻¹.
        wedge: largest elevation of Q above the plane normal to ``plane`` (or l*), degrees.
        plane: (h, k, l) normal of the plane through the origin; without ``wedge`` only the plane itself.
        bragg_radius: voxels closer than this to a reciprocal-lattice point are left out, r.l.u.
        rings: ranges of |Q| that are left out, both ends included, Å⁻¹.
        outliers: voxels this many standard deviations off the median of their equivalents are left out, none
            if None; only :func:`average` knows intensities and obeys it.
    """

    q_min: float = 0.0
    q_max: float = np.inf
    wedge: float | None = None
    plane: tuple[int, int, int] | None = None
    bragg_radius: float = 0.0
    rings: tuple[tuple[float, float], ...] = ()
    outliers: float | None = None


@dataclass(frozen=True, eq=False)
class IrreducibleGrid:
    """Symmetry-irreducible Q points of a voxel grid.

    Attributes:
        q_points: (n_q, 3) conventional r.l.u.; equivalent points are represented by the one with the
            smallest index of k, so that few distinct k occur.
        multiplicity: (n_q,) int, the number of voxels used for each.
        point_of_voxel: (n_h, n_k, n_l) int, the point that each voxel belongs to, -1 where unused.
        axes: h, k and l of the voxels, conventional r.l.u.
        n_rejected: voxels that were left out as outliers.
    """

    q_points: np.ndarray
    multiplicity: np.ndarray
    point_of_voxel: np.ndarray
    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    n_rejected: int = 0


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


def voxel_mask(volume: xr.Dataset, supercell: Supercell, mask: Mask) -> np.ndarray:
    """Voxels (n_h, n_k, n_l) bool that are inside the mask and not on a Bragg peak."""
    axes = [volume[name].values for name in "hkl"]
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    vectors = supercell.crystal.scattering_vectors(q_points)
    length = np.linalg.norm(vectors, axis=-1)
    inside = (length >= mask.q_min) & (length <= mask.q_max)
    for first, last in mask.rings:
        inside &= (length < first) | (length > last)
    if mask.wedge is not None or mask.plane is not None:
        normal = supercell.crystal.scattering_vectors(np.array(mask.plane or (0, 0, 1), dtype=float))
        height = np.abs(vectors @ normal) / np.linalg.norm(normal)
        limit = np.sin(np.radians(mask.wedge or 0.0)) * length
        inside &= height <= limit + 1e-6
    if mask.bragg_radius:
        distance = np.linalg.norm(q_points - nearest_bragg(q_points, supercell.crystal), axis=-1)
        inside &= distance > mask.bragg_radius
    return inside & (supercell.k_index(q_points.reshape(-1, 3)) != 0).reshape(inside.shape)


def nearest_bragg(q_points: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Nearest reciprocal-lattice point of the primitive cell to each of q_points (..., 3), in r.l.u.

    It is the centre of the Brillouin zone that the point lies in.
    """
    matrix = crystal.conventional_matrix
    metric = crystal.scattering_vectors(np.eye(3))
    rounded = np.rint(q_points @ np.linalg.inv(matrix).T) @ matrix.T
    best, nearest = np.full(q_points.shape[:-1], np.inf), np.array(rounded)
    # Rounding in a skew basis finds a neighbour of the nearest point: look one further each way.
    for step in np.ndindex(3, 3, 3):
        centre = rounded + (np.array(step) - 1) @ matrix.T
        distance = np.linalg.norm((q_points - centre) @ metric, axis=-1)
        closer = distance < best - 1e-9
        best[closer], nearest[closer] = distance[closer], centre[closer]
    return nearest


def reduce_grid(
    volume: xr.Dataset,
    supercell: Supercell,
    used: np.ndarray,
    commensurate: bool = True,
    friedel: bool = True,
) -> IrreducibleGrid:
    """Irreducible points of the voxels ``used`` (n_h, n_k, n_l) bool, under the Laue group.

    Args:
        volume: the voxels.
        supercell: of the crystal.
        used: the voxels that take part.
        commensurate: whether all must be wave vectors of the supercell.
        friedel: whether I(Q) = I(-Q); else equivalent are those under the point group only.

    Raises:
        VolumeError: voxels are not commensurate with the supercell, or too few are left.
    """
    axes = [volume[name].values for name in "hkl"]
    shape = tuple(len(axis) for axis in axes)
    k_index = _grid_k_index(axes, supercell, used & commensurate)
    n_voxels = k_index.size
    # The image with the smallest key represents the orbit; all its members find the same one.
    # Voxels that do not fit the supercell come last: they represent only an orbit without any that does.
    rank = np.where(k_index < 0, supercell.n_cells, k_index).astype(np.int64)
    key = rank * n_voxels + np.arange(n_voxels)
    best = key.copy()
    crystal = supercell.crystal
    for rotation in crystal.laue_group if friedel else crystal.point_group:
        image = _image_index(axes, rotation)
        np.minimum(best, np.where(image >= 0, key[image], best), out=best)
    voxels = np.flatnonzero(used.ravel())
    keys, point, multiplicity = np.unique(best[voxels], return_inverse=True, return_counts=True)
    if len(keys) < FEWEST_POINTS:
        raise VolumeError(
            f"Only {len(keys)} irreducible points are left in the volume.",
            f"{len(voxels)} of {n_voxels} voxels are measured, inside the mask, off the Bragg peaks and, if "
            "the volume has standard errors, have one above zero.",
            "Use a larger volume, widen the mask, or store the standard errors.",
        )
    point_of_voxel = np.full(n_voxels, -1)
    point_of_voxel[voxels] = point
    index = np.unravel_index(keys % n_voxels, shape)
    q_points = np.stack([axis[i] for axis, i in zip(axes, index, strict=True)], axis=-1)
    h, k, l_ = axes
    q_points = supercell.snap(q_points) if commensurate else q_points
    return IrreducibleGrid(q_points, multiplicity, point_of_voxel.reshape(shape), (h, k, l_))


def _grid_k_index(axes: list[np.ndarray], supercell: Supercell, used: np.ndarray) -> np.ndarray:
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    k_index = supercell.k_index(q_points)
    stray = (k_index < 0) & used.ravel()
    if stray.any():
        steps = [spacing(axis) for axis in axes]
        # The first voxel need not lie on a multiple of the step.
        fits = [
            math.lcm(*(Fraction(float(x)).limit_denominator(200).denominator for x in (axis[0], step)))
            for axis, step in zip(axes, steps, strict=True)
        ]
        raise VolumeError(
            f"{stray.sum()} of {used.sum()} voxels do not fit the supercell of the model.",
            f"The first is at {np.round(q_points[stray][0], 4).tolist()} r.l.u.; the voxel steps are "
            f"{np.round(steps, 5).tolist()}.",
            f"Use a supercell that contains these wave vectors, for example {fits}, or set commensurate = "
            "false in [measurement].",
        )
    return k_index


def _image_index(axes: list[np.ndarray], rotation: np.ndarray) -> np.ndarray:
    """Flat index (n_voxels,) of the voxel that each one is rotated to, -1 where off the grid."""
    shape = tuple(len(axis) for axis in axes)
    flat = np.zeros(shape, dtype=np.int64)
    inside = np.ones(shape, dtype=bool)
    for target, axis in enumerate(axes):
        step = spacing(axis)
        parts = [(rotation[source, target] / step) * axes[source] for source in range(3)]
        exact = parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None, :] - axis[0] / step
        index = np.rint(exact)
        inside &= (np.abs(exact - index) < 1e-3) & (index >= 0) & (index < len(axis))
        flat = flat * len(axis) + index.astype(np.int64)
    return np.where(inside, flat, -1).ravel()


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

    Raises:
        VolumeError: no voxel or too few are left, intensities are not positive, voxels do not fit the
            supercell, or counts do not say how long each voxel was measured.
    """
    mask = mask or Mask()
    intensity = volume["intensity"].values
    used = np.isfinite(intensity) & voxel_mask(volume, supercell, mask)
    if "mask" in volume:
        used &= ~volume["mask"].values
    sigma = volume["sigma"].values if "sigma" in volume else None
    if sigma is not None:
        used &= np.isfinite(sigma) & (sigma > 0)
    counts = volume["counts"].values if "counts" in volume and sigma is None else None
    bad = used & (intensity <= 0 if counts is None else intensity < 0)
    if bad.any():
        where = [float(volume[n].values[i]) for n, i in zip("hkl", np.argwhere(bad)[0], strict=True)]
        raise VolumeError(
            f"{bad.sum()} of {used.sum()} voxels have an intensity that is zero or negative.",
            f"The first is at {np.round(where, 4).tolist()} r.l.u.; their logarithm does not exist.",
            "Mark them as unmeasured (NaN, or mask), or undo an excessive background subtraction.",
        )
    grid = reduce_grid(volume, supercell, used, commensurate, friedel)
    through = volume["transmission"].values[used] if "transmission" in volume else 1.0
    voxels = Voxels(
        grid.point_of_voxel[used],
        intensity[used] / through,
        None if sigma is None else sigma[used] / through,
        None if counts is None else counts[used],
        None if counts is None else _exposure(counts[used], intensity[used]) * through,
    )
    if mask.outliers is not None:
        grid, voxels = _without_outliers(grid, voxels, used, mask.outliers)
    if voxels.counts is not None and voxels.exposure is not None:
        return _pooled(grid, voxels.point, voxels.counts, voxels.exposure)
    return _mean(grid, voxels)


def _without_outliers(
    grid: IrreducibleGrid, voxels: Voxels, used: np.ndarray, limit: float
) -> tuple[IrreducibleGrid, Voxels]:
    """The grid and its voxels without those that their equivalents contradict; every point keeps some."""
    rejected = outlying(voxels, limit)
    kept = voxels.select(~rejected)
    point_of_voxel = grid.point_of_voxel.copy()
    point_of_voxel[used] = np.where(rejected, -1, voxels.point)
    multiplicity = np.bincount(kept.point)
    return replace(
        grid, multiplicity=multiplicity, point_of_voxel=point_of_voxel, n_rejected=int(rejected.sum())
    ), kept


def _mean(grid: IrreducibleGrid, voxels: Voxels) -> Observations:
    """Mean intensity of each point, weighted by the inverse variance where there are standard errors."""
    point, values, sigma = voxels.point, voxels.intensity, voxels.sigma
    weight = np.ones(len(values)) if sigma is None else 1 / expected_variance(point, values, sigma)
    total = np.bincount(point, weight)
    mean = np.bincount(point, weight * values) / total
    relative = None if sigma is None else 1 / (np.sqrt(total) * mean)
    return Observations(grid, np.log(mean), relative)


def _pooled(
    grid: IrreducibleGrid, point: np.ndarray, counts: np.ndarray, exposure: np.ndarray
) -> Observations:
    """All counts of each point, and all its exposure."""
    total, times = np.bincount(point, counts), np.bincount(point, exposure)
    return Observations(grid, np.log(np.maximum(total, FEWEST_COUNTS) / times), None, total, times)


def _check_subtraction(counts: np.ndarray, intensity: np.ndarray) -> None:
    """Refuse intensities that are counts over one normalisation less a constant: N/I is no exposure then."""
    design = np.column_stack([intensity, np.ones(len(intensity))])
    solution, *_ = np.linalg.lstsq(design, counts)
    straight = np.abs(counts - design @ solution).max() <= SAME_EXPOSURE * counts.mean()
    if straight and abs(solution[1]) > SAME_EXPOSURE * counts.mean():
        raise VolumeError(
            "A background was subtracted from the intensities of the volume.",
            f"They are (counts - {solution[1]:.4g}) / {solution[0]:.4g}: their ratio is no exposure.",
            "Store counts over their normalisation, and let [instrument] find the background.",
        )


def _exposure(counts: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """Counts for an intensity of 1 (n_voxels,); voxels without counts tell none, but may have that of all."""
    empty = counts == 0
    if empty.all() or ((intensity == 0) != empty).any():
        raise VolumeError(
            "Counts and intensities of the volume contradict each other.",
            "An intensity is counts over a normalisation: both or none are zero, and not everywhere.",
            "Check how the volume was normalised, or store standard errors `sigma` instead of counts.",
        )
    _check_subtraction(counts, intensity)
    exposure = counts[~empty] / intensity[~empty]
    if empty.any() and np.ptp(exposure) > SAME_EXPOSURE * exposure.mean():
        raise VolumeError(
            f"{empty.sum()} voxels have no counts, and voxels were measured for different times.",
            f"Counts over intensity run from {exposure.min():.4g} to {exposure.max():.4g}, so that it is not "
            "known what no counts mean.",
            "Mark voxels without counts as unmeasured only if nothing was measured; else rebin until none is "
            "left.",
        )
    filled = np.full(counts.shape, exposure.mean())
    filled[~empty] = exposure
    return filled
