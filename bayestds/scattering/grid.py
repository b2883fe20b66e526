"""From the voxels of a volume to symmetry-irreducible Q points: masks and orbits."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr

from bayestds.crystal.axes import GridAxes, on_grid, spacing
from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.scattering.slabs import AXES, COPYING, WORKING, places, slab_bytes, slabs
from bayestds.scattering.volume import Bad, volume_axes

FEWEST_POINTS = 10
"""Fewer irreducible points than this are refused as a measurement."""

CACHE_BYTES = 2**19
"""Size of the arrays in the innermost loop over the symmetry operations, so that they stay in the cache."""


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
            if None; only ``average`` knows intensities and obeys it.
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
        axes: where the voxels are, conventional r.l.u.
        n_rejected: voxels that were left out as outliers.
    """

    q_points: np.ndarray
    multiplicity: np.ndarray
    point_of_voxel: np.ndarray
    axes: GridAxes
    n_rejected: int = 0


def voxel_mask(volume: xr.Dataset, supercell: Supercell, mask: Mask) -> np.ndarray:
    """Voxels (n_h, n_k, n_l) bool that are inside the mask and not on a Bragg peak."""
    inside = np.empty([volume.sizes[name] for name in AXES], dtype=bool)
    for place, part in slabs(volume):
        inside[place] = _inside(volume_axes(part), supercell, mask)
    return inside


def _inside(axes: GridAxes, supercell: Supercell, mask: Mask) -> np.ndarray:
    """The same for the axes of a slab."""
    inside = supercell.k_index_of_grid(axes) != 0
    if mask == Mask(outliers=mask.outliers):
        return inside
    q_points = axes.points()
    vectors = supercell.crystal.scattering_vectors(q_points)
    length = np.linalg.norm(vectors, axis=-1)
    inside &= (length >= mask.q_min) & (length <= mask.q_max)
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
    return inside


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
    axes = volume_axes(volume)
    if commensurate:
        _check_commensurate(axes, supercell, used, slab_bytes(volume))
    images = equivalent_images(axes, supercell.crystal, friedel)
    point_of_voxel, first = first_of_orbits(used, images)
    if len(first) < FEWEST_POINTS:
        raise VolumeError(
            f"Only {len(first)} irreducible points are left in the volume.",
            f"{used.sum()} of {used.size} voxels are measured, inside the mask, off the Bragg peaks and, if "
            "the volume has standard errors, have one above zero.",
            "Use a larger volume, widen the mask, or store the standard errors.",
        )
    key = _smallest_keys(first, axes, images, supercell)
    order = np.argsort(key)
    number = np.empty(len(first), dtype=point_of_voxel.dtype)
    number[order] = np.arange(len(first))
    multiplicity = _numbered(point_of_voxel, first, number, slab_bytes(volume))
    index = np.unravel_index(key[order] % used.size, used.shape)
    q_points = axes.at(index)
    q_points = supercell.snap(q_points) if commensurate else q_points
    return IrreducibleGrid(q_points, multiplicity, point_of_voxel, axes)


def _check_commensurate(axes: GridAxes, supercell: Supercell, used: np.ndarray, limit: int) -> None:
    """VolumeError unless all voxels ``used`` are wave vectors of the supercell."""
    strays = Bad()
    for place in places(used.shape, 0, WORKING, limit):
        k_index = supercell.k_index_of_grid(axes.part(place))
        strays.add((k_index < 0) & used[place], k_index, place)
    if not strays.count:
        return
    steps = axes.steps.diagonal() if axes.along_hkl else axes.steps
    # The first voxel need not lie on a multiple of the step.
    components = np.vstack([axes.at((0, 0, 0)), axes.steps]).T
    fits = [
        math.lcm(*(Fraction(float(x)).limit_denominator(200).denominator for x in component))
        for component in components
    ]
    where = axes.at(strays.first)
    raise VolumeError(
        f"{strays.count} of {used.sum()} voxels do not fit the supercell of the model.",
        f"The first is at {np.round(where, 4).tolist()} r.l.u.; the voxel steps are "
        f"{np.round(steps, 5).tolist()}.",
        f"Use a supercell that contains these wave vectors, for example {fits}, or set commensurate = "
        "false in [measurement].",
    )


@dataclass(frozen=True, eq=False)
class Images:
    """Where a rotation takes the voxels of a grid: flat indices, at least n_voxels where off the grid.

    A rotation mixes h, k and l hardly ever, so the index is a sum of two small arrays.

    Attributes: rotation: (3, 3), of rows (h, k, l). axes: of the grid. moving: what depends on the first axis
        and on one of the others at most, of n_1 elements along it, or 1. fixed: what does not depend on the
        first axis, of one element along it. dense: axes of the image on which all three of the voxel count:
        too large to be kept, made when needed.
    """

    rotation: np.ndarray
    axes: GridAxes
    moving: np.ndarray
    fixed: np.ndarray
    dense: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the grid."""
        return self.axes.shape

    @staticmethod
    def of(axes: GridAxes, rotation: np.ndarray) -> "Images":
        """The images of the voxels of a grid with these axes."""
        moving = fixed = np.zeros((1, 1, 1), dtype=_index_type(math.prod(axes.shape)))
        dense = []
        for target in range(3):
            factors = _image_factors(axes, rotation, target)
            if (np.abs(factors) > 1e-12).all():
                dense.append(target)
                continue
            term = _image_term(axes, target, on_grid(axes.coordinates, factors))
            moving, fixed = (moving + term, fixed) if len(term) > 1 else (moving, fixed + term)
        return Images(rotation, axes, moving, fixed, tuple(dense))

    def of_planes(self, first: slice) -> np.ndarray:
        """Those of planes across the first axis, (n, n_2, n_3) or of size 1 where all are the same."""
        total = self.fixed + (self.moving[first] if len(self.moving) > 1 else self.moving)
        for target in self.dense:
            factors = _image_factors(self.axes, self.rotation, target)
            part = (self.axes.coordinates[0][first], *self.axes.coordinates[1:])
            total = total + _image_term(self.axes, target, on_grid(part, factors))
        return total

    def of_voxels(self, index: tuple[np.ndarray, ...]) -> np.ndarray:
        """Those (n,) of voxels with these indices, 3 times (n,)."""
        total = np.zeros(len(index[0]), dtype=np.int64)
        for term in (self.moving, self.fixed):
            total += term[tuple(i if n > 1 else 0 for i, n in zip(index, term.shape, strict=True))]
        for target in self.dense:
            factors = _image_factors(self.axes, self.rotation, target)
            here = [axis[i] for axis, i in zip(self.axes.coordinates, index, strict=True)]
            total += _image_term(self.axes, target, factors @ np.stack(here))
        return total


def _image_factors(axes: GridAxes, rotation: np.ndarray, target: int) -> np.ndarray:
    """By how much each coordinate (3,) of a voxel counts in one of its image, in steps of that axis."""
    turned = axes.directions @ rotation @ np.linalg.inv(axes.directions)
    return turned[:, target] / spacing(axes.coordinates[target])


def _image_term(axes: GridAxes, target: int, exact: np.ndarray) -> np.ndarray:
    """What an axis of the image adds to its flat index: the number of voxels where it is off the grid."""
    axis, n_voxels = axes.coordinates[target], math.prod(axes.shape)
    exact = exact - axis[0] / spacing(axis)
    index = np.rint(exact)
    inside = (np.abs(exact - index) < 1e-3) & (index >= 0) & (index < len(axis))
    offset = math.prod(axes.shape[target + 1 :]) * index
    return np.where(inside, offset, n_voxels).astype(_index_type(n_voxels))


def equivalent_images(axes: GridAxes, crystal: Crystal, friedel: bool) -> list[Images]:
    """Where the operations that leave the intensity of a crystal unchanged take the voxels of a grid.

    Args:
        axes: of the grid.
        crystal: whose Laue group it is.
        friedel: whether I(Q) = I(-Q); else the operations are those of the point group only.
    """
    group = crystal.laue_group if friedel else crystal.point_group
    return [Images.of(axes, rotation) for rotation in group]


def _index_type(n_voxels: int) -> np.dtype:
    """For flat indices of voxels, and of images that are off the grid in all three directions."""
    return np.dtype(np.int32 if 3 * n_voxels < 2**31 else np.int64)


def first_of_orbits(used: np.ndarray, images: list[Images]) -> tuple[np.ndarray, np.ndarray]:
    """The first voxel of the orbit of each voxel, used or not, and all that are the first of one.

    Returns:
        (n_h, n_k, n_l) flat index, -1 where not used; (n_q,) flat index, increasing.
    """
    first = np.empty(used.shape, dtype=_index_type(used.size))
    found = np.zeros(used.size, dtype=bool)
    for place in places(used.shape, 0, first.itemsize, CACHE_BYTES):
        part, smallest = used[place], first[place]
        smallest[...] = used.size
        for image in images:
            np.minimum(smallest, image.of_planes(place[0]), out=smallest)
        found[smallest[part]] = True
        smallest[~part] = -1
    return first, np.flatnonzero(found)


def _smallest_keys(
    first: np.ndarray, axes: GridAxes, images: list[Images], supercell: Supercell
) -> np.ndarray:
    """Keys (n_q,) of the voxels that represent the orbits of the voxels ``first`` (n_q,).

    A voxel has the key ``k_index * n_voxels + flat index``, and the smallest represents the orbit. Voxels
    that do not fit the supercell come last: they represent only an orbit without any that does.
    """
    n_voxels = math.prod(axes.shape)
    index = np.unravel_index(first, axes.shape)
    q_points = axes.at(index)
    k_index = supercell.k_index(q_points)
    stray = k_index < 0
    waves = supercell.k_points @ supercell.crystal.conventional_matrix.T
    smallest = np.full(len(first), np.iinfo(np.int64).max)
    for image in images:
        rank = supercell.k_index(waves @ image.rotation)[k_index]
        rank[stray] = supercell.k_index(q_points[stray] @ image.rotation)
        rank[rank < 0] = supercell.n_cells
        voxel = image.of_voxels(index)
        key = rank * n_voxels + voxel
        np.minimum(smallest, key, out=smallest, where=voxel < n_voxels)
    return smallest


def _numbered(first: np.ndarray, orbits: np.ndarray, number: np.ndarray, limit: int) -> np.ndarray:
    """Put the number of its orbit at each voxel, in place of the first voxel of the orbit.

    The array serves as its own table: the first voxel of each orbit holds the number, as a negative one,
    until all others have looked it up.

    Args:
        first: (n_h, n_k, n_l) flat index, -1 where not used; changed.
        orbits: (n_q,) flat index of the first voxel of each orbit.
        number: (n_q,) of the orbits.
        limit: bytes that the voxels of a slab may take.

    Returns:
        (n_q,) the number of voxels of each.
    """
    flat = first.reshape(-1)
    used = flat[orbits] >= 0
    flat[orbits] = -2 - number
    multiplicity = np.bincount(number[used], minlength=len(number))
    for place in places(first.shape, 0, COPYING, limit):
        part = first[place]
        rows = part >= 0
        part[rows] = found = -2 - flat[part[rows]]
        multiplicity += np.bincount(found, minlength=len(number))
    flat[orbits] = np.where(used, number, -1)
    return multiplicity
