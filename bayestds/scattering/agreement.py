"""How well equivalent voxels agree: the quality of a volume, seen before anything is fitted to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayestds.scattering.copies import partners
from bayestds.scattering.grid import Images
from bayestds.scattering.voxels import Voxels

Q_SHELLS = 8
"""Ranges of |Q| that the agreement is given for, of as many orbits each."""

DISAGREE = 1.3
"""Mean square difference of voxels that an operation relates, over that of the best operation, from which the
operation is called into question if chance does not explain it."""

BEYOND_CHANCE = 5.0
"""Standard errors of such a mean square that chance does not explain."""

INVERSION = "-h, -k, -l"
"""Name of the inversion."""

FEWEST_ORBITS = 10
"""An operation is not judged by fewer orbits."""


@dataclass(frozen=True)
class Merging:
    """Agreement of equivalent voxels with their mean.

    Attributes:
        r_int: Σ|I - ⟨I⟩| / Σ|I|.
        r_meas: the same with a factor √(n/(n - 1)) for n equivalents, so that it does not grow with n
            (Diederichs and Karplus, Nat. Struct. Biol. 4 (1997) 269).
        chi_square: Σ(I - ⟨I⟩)²/σ² per degree of freedom, Σ(n - 1); None where no errors are known.
        n_orbits: of at least two independent voxels.
    """

    r_int: float
    r_meas: float
    chi_square: float | None
    n_orbits: int


@dataclass(frozen=True)
class OperationAgreement:
    """Agreement of voxels that one operation of the Laue group relates.

    Attributes:
        operation: what it makes of h, k, l.
        r: Σ|I - I'| / Σ(I + I')/2.
        mean_square: mean of (I - I')², in units of its expectation: from the errors where they are known,
            else from the scatter of all equivalents.
        n_pairs: number of pairs.
        disagrees: whether it does by more than the best operation and chance explain.
    """

    operation: str
    r: float
    mean_square: float
    n_pairs: int
    disagrees: bool


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of equivalent voxels, over all orbits or an even sample of them.

    Attributes:
        all_q: over all |Q|; None where no orbit has two independent voxels.
        by_q: the same by ranges of |Q|: first and last, Å⁻¹, and the agreement.
        operations: one of each set of operations that the same pairs of voxels tell about.
        copies: the operations beside the identity under which the voxels are copies of one another.
        n_operations: of the group.
        points: (n,) int, irreducible points of the orbits with two and more independent voxels.
        relative_variance: (n,) of one voxel, from the scatter of the orbit, over the square of its mean.
    """

    all_q: Merging | None
    by_q: tuple[tuple[float, float, Merging], ...]
    operations: tuple[OperationAgreement, ...]
    copies: tuple[str, ...]
    n_operations: int
    points: np.ndarray
    relative_variance: np.ndarray

    def chi_square(
        self, residual: np.ndarray, independent: np.ndarray, n_parameters: int, least: float = 0.0
    ) -> float:
        """χ² per degree of freedom of a fit, where the noise is known from the scatter of equivalents alone.

        NaN where no orbit has two independent voxels.

        Args:
            residual: (n_q,) relative, of the mean of each orbit.
            independent: (n_q,) independent voxels that the mean is of.
            n_parameters: that were fitted beside the scale.
            least: relative standard deviation of a voxel at least.
        """
        known = np.isfinite(self.relative_variance)
        points, variance = self.points[known], np.maximum(self.relative_variance[known], least**2)
        if not variance.sum() > 0:
            return float("nan")
        freedom = max(len(residual) - n_parameters - 1, 1) / len(residual)
        return float((residual[points] ** 2 * independent[points]).sum() / variance.sum() / freedom)

    @property
    def symmetrised(self) -> bool:
        """Whether voxels are copies of one another."""
        return bool(self.copies)

    @property
    def inverted(self) -> bool:
        """Whether the voxels at Q and -Q are copies of one another."""
        return INVERSION in self.copies

    @property
    def disagreeing(self) -> tuple[str, ...]:
        """Operations that disagree."""
        return tuple(one.operation for one in self.operations if one.disagrees)


def agreement(
    voxels: Voxels,
    variance: np.ndarray | None,
    images: Sequence[Images],
    copying: Sequence[int],
    lengths: np.ndarray,
) -> Agreement:
    """Agreement of equivalent voxels.

    Args:
        voxels: of whole orbits.
        variance: (n_voxels,) expected of each at the mean of its orbit; None where it is not known.
        images: where each operation of the group takes the voxels of the volume.
        copying: the operations under which voxels are copies of one another, the identity included.
        lengths: |Q| (n_points,) of the irreducible points, Å⁻¹.
    """
    order = np.argsort(voxels.place)
    voxels, variance = voxels.select(order), None if variance is None else variance[order]
    mean = orbit_means(voxels, variance)
    single = _representatives(voxels.place, [images[i] for i in copying])
    orbits = _Orbits.of(voxels.select(single), mean[single], None if variance is None else variance[single])
    every = None if orbits is None else orbits.merged(np.ones(len(orbits.point), dtype=bool))
    return Agreement(
        every,
        () if orbits is None else _by_q(orbits, lengths[orbits.point]),
        _operations(voxels, variance, images, copying),
        tuple(operation_name(images[i].rotation) for i in copying if not _is_identity(images[i].rotation)),
        len(images),
        np.zeros(0, dtype=int) if orbits is None else orbits.point,
        np.zeros(0) if orbits is None else orbits.relative_variance,
    )


def orbit_means(voxels: Voxels, variance: np.ndarray | None) -> np.ndarray:
    """Mean intensity (n_voxels,) of the orbit of each voxel, weighted by inverse variances."""
    _, point = np.unique(voxels.point, return_inverse=True)
    weight = np.ones(len(point)) if variance is None else 1 / variance
    return (np.bincount(point, weight * voxels.intensity) / np.bincount(point, weight))[point]


def operation_name(rotation: np.ndarray) -> str:
    """What a rotation (3, 3) of rows (h, k, l) makes of them, such as "k, -h, l"."""
    return ", ".join(_combination(column) for column in rotation.T)


def _combination(factors: np.ndarray) -> str:
    found = ""
    for factor, name in zip(factors.tolist(), "hkl", strict=True):
        if abs(factor) > 1e-6:
            size = "" if abs(abs(factor) - 1) < 1e-6 else f"{abs(factor):g}"
            found += f"{'-' if factor < 0 else '+' if found else ''}{size}{name}"
    return found or "0"


def _is_identity(rotation: np.ndarray) -> bool:
    return bool(np.array_equal(rotation, np.eye(3)))


def _representatives(place: np.ndarray, copying: Sequence[Images]) -> np.ndarray:
    """Voxels (n_voxels,) bool, at these places in ascending order, that are no copy of an earlier one."""
    first = np.arange(len(place))
    for image in copying:
        here, there = partners(place, image)
        np.minimum.at(first, here, there)
    return first == np.arange(len(place))


@dataclass(frozen=True, eq=False)
class _Orbits:
    """Sums over the independent voxels of each orbit that has several; arrays (n_orbits,)."""

    point: np.ndarray
    n: np.ndarray
    deviation: np.ndarray
    size: np.ndarray
    square: np.ndarray
    relative_variance: np.ndarray
    known: bool

    @staticmethod
    def of(voxels: Voxels, mean: np.ndarray, variance: np.ndarray | None) -> "_Orbits | None":
        """None where no orbit has several."""
        point, orbit, n = np.unique(voxels.point, return_inverse=True, return_counts=True)
        away = voxels.intensity - mean
        unit = np.ones(len(away)) if variance is None else variance

        def summed(values: np.ndarray) -> np.ndarray:
            return np.bincount(orbit, values)[several]

        several = n > 1
        if not several.any():
            return None
        spread, size = summed(away**2) / (n[several] - 1), summed(mean) / n[several]
        relative = np.divide(spread, size**2, out=np.full(len(size), np.nan), where=size > 0)
        sums = (summed(np.abs(away)), summed(np.abs(voxels.intensity)), summed(away**2 / unit))
        return _Orbits(point[several], n[several], *sums, relative, variance is not None)

    def merged(self, rows: np.ndarray) -> Merging:
        """Of some of the orbits (n_orbits,) bool."""
        n, deviation, size = self.n[rows], self.deviation[rows], max(self.size[rows].sum(), 1e-300)
        return Merging(
            float(deviation.sum() / size),
            float((np.sqrt(n / (n - 1)) * deviation).sum() / size),
            float(self.square[rows].sum() / (n - 1).sum()) if self.known else None,
            int(rows.sum()),
        )


def _by_q(orbits: _Orbits, lengths: np.ndarray) -> tuple[tuple[float, float, Merging], ...]:
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, Q_SHELLS + 1)))
    shell = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    return tuple(
        (float(lengths[shell == i].min()), float(lengths[shell == i].max()), orbits.merged(shell == i))
        for i in np.unique(shell)
    )


def _operations(
    voxels: Voxels, variance: np.ndarray | None, images: Sequence[Images], copying: Sequence[int]
) -> tuple[OperationAgreement, ...]:
    """Agreement by operation; the voxels are in the order of their places."""
    found, errors, n_orbits = [], [], []
    _, orbit, n = np.unique(voxels.point, return_inverse=True, return_counts=True)
    expected = _scatter(voxels.intensity, orbit, n) if variance is None else variance
    for image in _independent(images, copying):
        here, there = partners(voxels.place, image)
        if not len(here):
            continue
        one, other = voxels.intensity[here], voxels.intensity[there]
        unit = expected[here] + expected[there]
        square = np.divide((one - other) ** 2, unit, out=np.zeros(len(unit)), where=unit > 0)
        pairs = np.bincount(orbit[here], minlength=len(n))
        by_orbit = (np.bincount(orbit[here], square, minlength=len(n)) / np.maximum(pairs, 1))[pairs > 0]
        r = float(np.abs(one - other).sum() / max(np.abs(one + other).sum() / 2, 1e-300))
        n_pairs = len(here) // 2 if _is_identity(image.rotation @ image.rotation) else len(here)
        found.append(
            OperationAgreement(operation_name(image.rotation), r, float(by_orbit.mean()), n_pairs, False)
        )
        n_orbits.append(len(by_orbit))
        errors.append(by_orbit.std() / np.sqrt(len(by_orbit)))
    disagrees = _disagreeing(found, np.array(errors), np.array(n_orbits))
    return tuple(replace(one, disagrees=bool(bad)) for one, bad in zip(found, disagrees, strict=True))


def _disagreeing(found: Sequence[OperationAgreement], errors: np.ndarray, n_orbits: np.ndarray) -> np.ndarray:
    """Which operations (n_operations,) bool have a larger mean square than the best one and chance explain.

    A few pairs that agree well by chance also seem to scatter little. Therefore no error is smaller than that
    of as many normal variables, and the best operation is the one of the smallest mean that chance leaves
    possible.

    Args:
        found: all operations.
        errors: (n_operations,) standard errors of their mean squares, from the scatter of the orbits.
        n_orbits: (n_operations,) how many there are.
    """
    mean = np.array([one.mean_square for one in found])
    judged = n_orbits >= FEWEST_ORBITS
    if not judged.any():
        return judged
    n_pairs = np.array([one.n_pairs for one in found])
    errors = np.maximum(errors, np.sqrt(2 / n_pairs) * np.median(mean[judged]))
    best = np.argmin(np.where(judged, mean + errors, np.inf))
    by_chance = BEYOND_CHANCE * np.hypot(errors, errors[best])
    return judged & (mean > DISAGREE * mean[best]) & (mean - mean[best] > by_chance)


def _scatter(intensity: np.ndarray, orbit: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Variance (n_voxels,) of the voxels of the orbit of each."""
    mean = np.bincount(orbit, intensity) / n
    return (np.bincount(orbit, (intensity - mean[orbit]) ** 2) / np.maximum(n - 1, 1))[orbit]


def _independent(images: Sequence[Images], copying: Sequence[int]) -> list[Images]:
    """One of each set of operations that relate the same pairs: W and its inverse, and both beside copies."""
    rotations = [image.rotation for image in images]
    same = [rotations[i] for i in copying]
    done = {_key(one) for one in same}
    found = []
    for image in images:
        if _key(image.rotation) in done:
            continue
        found.append(image)
        for one in same:
            for other in same:
                both = one @ image.rotation @ other
                done |= {_key(both), _key(np.linalg.inv(both))}
    return found


def _key(rotation: np.ndarray) -> bytes:
    return np.rint(6 * rotation).astype(int).tobytes()
