"""What equivalent voxels tell of one another: the variance of each, and which of them are outliers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import boxcox, xlogy

FEWEST_TO_JUDGE = 3
"""Of two voxels that differ, nobody knows which is wrong."""

ROUNDING = 1e-6
"""Relative differences of equivalent voxels that single precision makes: never an outlier."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""

MEDIAN_VARIANCE = np.pi / 2
"""Variance of a median over that of a mean, for many normal variables."""

# The mean of a Poisson variable lies between its median - 1/3 and its median + ln 2 (K. P. Choi, Proc. Am.
# Math. Soc. 121 (1994) 245).
MEAN_BELOW_MEDIAN, MEAN_ABOVE_MEDIAN = 1 / 3, np.log(2)


@dataclass(frozen=True, eq=False)
class Voxels:
    """Measured voxels, each one of an orbit of equivalents.

    Attributes:
        point: (n_voxels,) int, the orbit of each.
        intensity: (n_voxels,), positive; zero where there are no counts.
        sigma: (n_voxels,) standard errors, None if unknown.
        counts: (n_voxels,), None if unknown.
        exposure: (n_voxels,) counts for an intensity of 1, where there are counts.
    """

    point: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray | None = None
    counts: np.ndarray | None = None
    exposure: np.ndarray | None = None

    @staticmethod
    def together(parts: Sequence["Voxels"]) -> "Voxels":
        """Those of all parts."""
        named = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Voxels)}
        return Voxels(**{name: np.concatenate(some) for name, some in named.items() if some[0] is not None})

    def select(self, rows: np.ndarray) -> "Voxels":
        """Some of them."""
        sigma, counts, exposure = (
            None if array is None else array[rows] for array in (self.sigma, self.counts, self.exposure)
        )
        return Voxels(self.point[rows], self.intensity[rows], sigma, counts, exposure)


def summed(
    voxels: Iterable[Voxels], n_points: int, *terms: Callable[[Voxels], np.ndarray | None]
) -> list[np.ndarray]:
    """Sums (n_points,) over the voxels of each orbit, of several terms."""
    totals = [np.zeros(n_points) for _ in terms]
    for part in voxels:
        for total, term in zip(totals, terms, strict=True):
            total += np.bincount(part.point, term(part), minlength=n_points)
    return totals


def weighted_mean(voxels: Iterable[Voxels], mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean intensity (n_points,) of each orbit weighted by inverse variance, and its own inverse variance.

    Where σ² was made from counts, a voxel that came out low has a small σ and weighs more than it should,
    so that the mean is too low. Equivalent voxels have one expectation: the power with which σ² follows the
    value is seen within the orbits, 1 for counts and 0 for errors of another origin, and σ² is moved along
    it to the mean of the orbit. Such variances do not hang on the noise of the very voxel.

    Args:
        voxels: in parts of any size, to be gone through twice; intensities and standard errors positive.
        mean: (n_points,) of the intensities without weights.
    """
    n_points = len(mean)

    def compared(part: Voxels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert part.sigma is not None
        return part.point, part.intensity / mean[part.point], part.sigma

    power = _power(map(compared, voxels), n_points)

    def weight(part: Voxels) -> np.ndarray:
        _, relative, sigma = compared(part)
        return relative**power / sigma**2

    weights, total = summed(voxels, n_points, weight, lambda part: weight(part) * part.intensity)
    return total / weights, weights


def _power(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], n_points: int) -> float:
    """Power, 0 to 1, with which σ² follows the values within orbits.

    Values themselves do not hang on how long each voxel was measured; their logarithms do, in the mean. So
    the power is the covariance of values and ln σ² over that of values and their logarithms.

    Args:
        parts: point, value relative to one of the orbit, and σ (n_voxels,) of voxels.
        n_points: number of orbits.
    """
    n, value, variance, logarithm = np.zeros((4, n_points))
    with_variance = with_logarithm = 0.0
    for point, relative, sigma in parts:
        above, log_variance, log_relative = relative - 1, 2 * np.log(sigma), np.log(relative)
        with_variance += above @ log_variance
        with_logarithm += above @ log_relative
        for total, terms in ((n, None), (value, above), (variance, log_variance), (logarithm, log_relative)):
            total += np.bincount(point, terms, minlength=n_points)
    n = np.maximum(n, 1)
    with_variance -= (value * variance / n).sum()
    with_logarithm -= (value * logarithm / n).sum()
    return float(np.clip(with_variance / max(with_logarithm, 1e-300), 0, 1))


def outlying(voxels: Voxels, limit: float) -> np.ndarray:
    """Voxels (n_voxels,) bool that lie far from the median of their equivalents.

    Far is more than ``limit`` standard deviations: those of the volume's errors or counts, as they are at the
    median and not at the voxel, or without either those of noise that follows the intensity with some power.
    Where equivalents scatter more than that all over the volume (absorption, a beam that drifts), it is their
    scatter that counts.

    Orbits of fewer than three voxels are not judged, nor those of which half or more would go.

    Args:
        voxels: all that are used.
        limit: number of standard deviations, positive.
    """
    point, n = voxels.point, np.bincount(voxels.point)
    median = _median(point, voxels.intensity)[point]
    if voxels.counts is not None and voxels.exposure is not None:
        variance, pull = _counted(point, voxels.counts, voxels.exposure, median)
    else:
        variance, pull = _measured(point, voxels.intensity, voxels.sigma, median)
    known = voxels.sigma is not None or voxels.counts is not None
    far = pull > limit * max(1.0 if known else ROUNDING, _scatter(voxels, variance))
    judged = (n >= FEWEST_TO_JUDGE) & (2 * np.bincount(point, far) < n)
    return far & judged[point]


def _median(point: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Median (n_points,) of each orbit."""
    n = np.bincount(point)
    first = np.cumsum(n) - n
    ordered = values[np.lexsort((values, point))]
    return (ordered[first + (n - 1) // 2] + ordered[first + n // 2]) / 2


def _pairs(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n_pairs,), twice: equivalent voxels two by two, each once.

    Differences of pairs show the noise of a voxel in orbits of any size; deviations from the median of a
    small orbit are too small, being its own.
    """
    # By chance, as neighbours in the volume may err alike.
    order = np.random.default_rng(0).permutation(len(point))
    order = order[np.argsort(point[order], kind="stable")]
    ordered = point[order]
    rank = np.arange(len(point)) - np.searchsorted(ordered, ordered)
    first = np.flatnonzero((rank[:-1] % 2 == 0) & (ordered[1:] == ordered[:-1]))
    return order[first], order[first + 1]


def _scatter(voxels: Voxels, variance: np.ndarray) -> float:
    """Robust standard deviation of the voxels in units of the expected one, pooled over all orbits."""
    one, other = _pairs(voxels.point)
    if not len(one):
        return 0.0
    difference = np.abs(voxels.intensity[one] - voxels.intensity[other])
    return float(MAD_TO_SIGMA * np.median(difference / np.sqrt(variance[one] + variance[other])))


def _growth(point: np.ndarray, values: np.ndarray, median: np.ndarray) -> float:
    """Power, 0 to 2, with which the variance follows the intensity from orbit to orbit.

    1 for counts and 2 for relative noise; 2 where all equivalents are the same.
    """
    one, other = _pairs(point)
    difference = np.abs(values[one] - values[other])
    differ = difference > ROUNDING * median[one]
    size, noise = np.log(median[one][differ]), np.log(difference[differ])
    spread = size - size.mean() if differ.any() else size
    return float(np.clip(2 * (spread @ noise) / (spread @ spread), 0, 2)) if spread.any() else 2.0


def _measured(
    point: np.ndarray, values: np.ndarray, sigma: np.ndarray | None, median: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Expected variances (n_voxels,) of intensities, and their standard deviations off the median.

    Noise that grows with the intensity is skewed. Above the median, deviations are therefore measured on the
    scale on which it is constant: the root where σ² follows the intensity, the logarithm where σ does.

    Args:
        point: (n_voxels,) int, the orbit of each voxel.
        values: intensities, positive.
        sigma: standard errors, positive; None for variances up to a factor, relative to typical intensities.
        median: (n_voxels,) of the intensities of the orbit.
    """
    relative = values / median
    if sigma is None:
        power, middle = _growth(point, values, median), np.exp(np.log(median).mean())
        variance = middle**2 * (median / middle) ** power
    else:
        near = np.abs(np.log(relative)) < np.log(2)
        power = _power([(point[near], relative[near], sigma[near])], int(point.max()) + 1)
        variance = sigma**2 * relative**-power
    of_median = MEDIAN_VARIANCE * np.bincount(point) / np.bincount(point, variance**-0.5) ** 2
    off = np.where(relative > 1, boxcox(relative, 1 - power / 2), 1 - relative)
    return variance, off * median / np.sqrt(variance + of_median[point])


def _counted(
    point: np.ndarray, counts: np.ndarray, exposure: np.ndarray, median: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Expected variances (n_voxels,) of counted intensities, and how far they are off the median.

    The counts of a voxel are compared with those that the median is worth by the likelihood ratio of one
    rate to two. Its root, with a correction for continuity, is the normal deviation of the same probability
    as the tail of the Poisson distribution, both above and below, and does not underflow.

    Args:
        point: (n_voxels,) int, the orbit of each voxel.
        counts, exposure: of the voxels.
        median: (n_voxels,) of the intensities of the orbit.
    """
    n = np.bincount(point)
    # Of the voxels that the median is made of, and of the one mean that has the variance of the median.
    typical = (n / np.bincount(point, 1 / exposure))[point]
    worth = (np.bincount(point, np.sqrt(exposure)) ** 2 / (MEDIAN_VARIANCE * n))[point]
    highest = median + MEAN_ABOVE_MEDIAN / typical
    lowest = np.maximum(median - MEAN_BELOW_MEDIAN / typical, 0)
    above = counts > median * exposure
    rate = np.where(above, highest, lowest)
    shifted = counts + np.where(above, -0.5, 0.5)
    beyond = np.where(above, shifted > rate * exposure, shifted < rate * exposure)
    common = (shifted + worth * rate) / (exposure + worth)
    deviance = xlogy(shifted, shifted / (common * exposure)) + xlogy(worth * rate, rate / common)
    return highest / exposure, np.where(beyond, np.sqrt(2 * np.maximum(deviance, 0)), 0.0)
