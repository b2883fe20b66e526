"""How large the residuals of a fit are, and how they hang together."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from bayestds.crystal.axes import GridAxes, spacing
from bayestds.crystal.structure import Crystal
from bayestds.scattering.grid import nearest_bragg
from bayestds.scattering.slabs import WORKING, Place, places

FEWEST_PAIRS = 0.1
"""Share of the voxels with an image under inversion about a Bragg point below which there is no odd part."""


@dataclass(frozen=True)
class ResidualReport:
    """Residuals of log intensity over the voxels of a volume.

    Attributes:
        rms: root mean square.
        odd_rms: rms of the part that changes sign under inversion about the nearest Bragg point. The
            leading effect of cubic anharmonicity, interference of one- and two-phonon scattering, is
            odd; wrong harmonic constants can leave an odd part as well. NaN where hardly any voxel has such
            an image on the grid.
        even_rms: rms of the rest.
        neighbour_correlation: correlation between voxels that are neighbours along h, k or l.
        zone_correlation: share of the variance that is common to all voxels of a Brillouin zone.
        n_zones: number of symmetry-inequivalent Brillouin zones.
    """

    rms: float
    odd_rms: float
    even_rms: float
    neighbour_correlation: float
    zone_correlation: float
    n_zones: int


def zone_labels(q_points: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Label (n_q,) int of the Brillouin zone of each point, equal for zones that the Laue group relates."""
    centres = np.rint(nearest_bragg(q_points, crystal)).astype(int)
    centres, zone = np.unique(centres, axis=0, return_inverse=True)
    images = np.einsum("qi,oij->qoj", centres, crystal.laue_group)
    largest = images[
        np.arange(len(images))[:, None],
        np.lexsort([images[..., 2], images[..., 1], images[..., 0]], axis=-1)[:, -1:],
    ][:, 0]
    return np.unique(largest, axis=0, return_inverse=True)[1].reshape(-1)[zone.reshape(-1)]


def residual_report(
    residual: np.ndarray,
    point_of_voxel: np.ndarray,
    axes: GridAxes,
    zones: np.ndarray,
    crystal: Crystal,
) -> ResidualReport:
    """Residual statistics on the full grid of voxels.

    Args:
        residual: (n_q,) of the irreducible points.
        point_of_voxel: (n_h, n_k, n_l) int, -1 where unused.
        axes: of the voxels, r.l.u.
        zones: (n_q,) from :func:`zone_labels`.
        crystal: the crystal.
    """
    # A last value for voxels without a point, whose number is -1.
    of_point = np.append(residual, np.nan)
    every, odd, even, product, square = (_Sum() for _ in range(5))
    for place in places(point_of_voxel.shape, 0, WORKING):
        voxels = of_point[point_of_voxel[place]]
        image = _inverted(place, axes, crystal).reshape(voxels.shape)
        partner = np.where(image >= 0, of_point[point_of_voxel.reshape(-1)[image]], np.nan)
        every.add(voxels**2)
        odd.add(((voxels - partner) / 2) ** 2)
        even.add(((voxels + partner) / 2) ** 2)
        # With the plane that follows, whose pairs among its own voxels are the next slab's.
        following = of_point[point_of_voxel[place[0].stop : place[0].stop + 1]]
        pairs = [(voxels, np.concatenate([voxels[1:], following]))]
        pairs += [(np.delete(voxels, -1, axis), np.delete(voxels, 0, axis)) for axis in (1, 2)]
        for first, second in pairs:
            product.add(first[: len(second)] * second)
            square.add((first[: len(second)] ** 2 + second**2) / 2)
    if odd.n < FEWEST_PAIRS * every.n:
        odd = even = _Sum()
    multiplicity = np.bincount(point_of_voxel[point_of_voxel >= 0], minlength=len(residual))
    return ResidualReport(
        every.root_mean,
        odd.root_mean,
        even.root_mean,
        product.total / max(square.total, 1e-300),
        _intraclass_correlation(residual, multiplicity, zones),
        len(np.unique(zones)),
    )


@dataclass
class _Sum:
    """Sum and number of values that exist."""

    total: float = 0.0
    n: int = 0

    def add(self, values: np.ndarray) -> None:
        """More values, some of them NaN."""
        exist = np.isfinite(values)
        self.total += float(values.sum(where=exist))
        self.n += int(exist.sum())

    @property
    def root_mean(self) -> float:
        """Root of the mean; NaN of none."""
        return math.sqrt(self.total / self.n) if self.n else math.nan


def _inverted(place: Place, axes: GridAxes, crystal: Crystal) -> np.ndarray:
    """Flat index (n_voxels,) in a grid of the voxel at 2G - Q, G the Bragg point nearest Q; -1 off it.

    Args:
        place: of the voxels Q in the grid.
        axes: of the grid.
        crystal: whose Bragg points.
    """
    slab = axes.part(place)
    exact = _folded_images(slab, axes, crystal) if axes.along_hkl else _direct_images(slab, axes, crystal)
    flat = np.zeros(slab.shape, dtype=np.int64)
    inside = np.ones(flat.shape, dtype=bool)
    for index, size in zip(exact, axes.shape, strict=True):
        nearest = np.rint(index)
        inside &= (np.abs(index - nearest) < 1e-3) & (nearest >= 0) & (nearest < size)
        flat = flat * size + nearest.astype(np.int64)
    return np.where(inside, flat, -1)


def _direct_images(slab: GridAxes, axes: GridAxes, crystal: Crystal) -> np.ndarray:
    """Where 2G - Q is on the axes, (3, n_1, n_2, n_3), for axes in any direction."""
    q_points = slab.points()
    return np.moveaxis(axes.places(2 * nearest_bragg(q_points, crystal) - q_points), -1, 0)


def _folded_images(slab: GridAxes, axes: GridAxes, crystal: Crystal) -> Iterator[np.ndarray]:
    """The same for axes along h, k and l, whose few points between Bragg points are looked at once."""
    folded = [_folded(axis, period) for axis, period in zip(slab.coordinates, _periods(crystal), strict=True)]
    shifts, cells, which = zip(*folded, strict=True)
    # G - shift of the few points that differ by more than a Bragg point, at the voxels that are like them.
    nearest = nearest_bragg(np.stack(np.meshgrid(*cells, indexing="ij"), axis=-1), crystal)
    bragg = np.moveaxis(nearest[np.ix_(*which)], -1, 0)
    offsets = np.ix_(*(2 * shift - values for shift, values in zip(shifts, slab.coordinates, strict=True)))
    for axis, centre, offset in zip(axes.coordinates, bragg, offsets, strict=True):
        yield (2 * centre + offset - axis[0]) / spacing(axis)


def _periods(crystal: Crystal) -> list[int]:
    """Smallest multiples of (1, 0, 0), (0, 1, 0), (0, 0, 1) that are Bragg points of the primitive cell."""
    primitive = np.linalg.inv(crystal.conventional_matrix).T
    return [
        math.lcm(*(Fraction(float(x)).limit_denominator(24).denominator for x in row)) for row in primitive
    ]


def _folded(axis: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An axis (n,) as multiples (n,) of a period and what is left: values (m,), and which of them (n,)."""
    shift = period * np.rint(axis / period)
    left, which = np.unique(np.round(axis - shift, 9), return_inverse=True)
    return shift, left, which


def _intraclass_correlation(residual: np.ndarray, weight: np.ndarray, zones: np.ndarray) -> float:
    """Variance of the zone means over the total variance, less what independent residuals would give."""
    total = np.bincount(zones, weight)
    means = np.bincount(zones, weight * residual) / total
    variance = float((weight * residual**2).sum() / weight.sum())
    between = float((total * means**2).sum() / weight.sum())
    independent = variance * float((np.bincount(zones, weight**2) / total).sum() / weight.sum())
    return (between - independent) / max(variance - independent, 1e-300)
