"""Outliers: voxels that their equivalents contradict."""

import numpy as np
from scipy.special import boxcox, xlogy

from bayestds.scattering.variance import variance_law
from bayestds.scattering.voxels import Voxels, orbit_median

FEWEST_TO_JUDGE = 3
"""Of two voxels that differ, nobody knows which is wrong."""

ROUNDING = 1e-6
"""Relative differences of equivalent voxels that single precision makes: never an outlier."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""

MEDIAN_VARIANCE = np.pi / 2
"""Variance of a median over that of a mean, for many normal variables."""

UNEVEN = 10.0
"""Factor by which the variance of a voxel may exceed the median of its equivalents."""

# The mean of a Poisson variable lies between its median - 1/3 and its median + ln 2 (K. P. Choi, Proc. Am.
# Math. Soc. 121 (1994) 245).
MEAN_BELOW_MEDIAN, MEAN_ABOVE_MEDIAN = 1 / 3, np.log(2)


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
    median = orbit_median(point, voxels.intensity)[point]
    if voxels.counts is not None and voxels.exposure is not None:
        variance, pull = _counted(point, voxels.counts, voxels.exposure, median)
    else:
        variance, pull = _given(voxels, median) if voxels.sigma is not None else _unknown(voxels, median)
    known = voxels.sigma is not None or voxels.counts is not None
    far = pull > limit * max(1.0 if known else ROUNDING, _scatter(voxels, variance))
    judged = (n >= FEWEST_TO_JUDGE) & (2 * np.bincount(point, far) < n)
    return far & judged[point]


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


def _unknown(voxels: Voxels, median: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected variances (n_voxels,) of intensities without errors, up to a factor, and deviations.

    Noise that grows with the intensity is skewed. Above the median, deviations are therefore measured on the
    scale on which it is constant: the root where σ² follows the intensity, the logarithm where σ does.

    Args:
        voxels: all that are used.
        median: (n_voxels,) of the intensities of the orbit.
    """
    point, values = voxels.point, voxels.intensity
    median = np.maximum(median, median[median > 0].min(initial=np.abs(values).max()))
    power, middle = _growth(point, values, median), np.exp(np.log(median).mean())
    variance = middle**2 * (median / middle) ** power
    relative = values / median
    off = np.where(relative > 1, boxcox(np.maximum(relative, 1), 1 - power / 2), 1 - relative)
    return variance, off * median / np.sqrt(variance + _of_median(point, variance))


def _given(voxels: Voxels, median: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected variances (n_voxels,) of intensities with errors, at the median, and deviations from it.

    Above the median these are measured on the scale on which the noise is constant: the root of the numerator
    of σ² (:mod:`bayestds.scattering.variance`).

    Args:
        voxels: all that are used.
        median: (n_voxels,) of the intensities of the orbit.
    """
    assert voxels.sigma is not None
    law, values = variance_law(voxels), voxels.intensity
    middle, here = law.numerator(median), law.numerator(values)
    variance = middle / law.exposure(values, voxels.sigma)
    # A value that is far too low says nothing of its own variance.
    variance = np.minimum(variance, UNEVEN * orbit_median(voxels.point, variance)[voxels.point])
    above = values > median
    off = np.abs(values - median)
    if law.share:
        off[above] = 2 * np.sqrt(middle[above]) * (np.sqrt(here) - np.sqrt(middle))[above] / law.share
    return variance, off / np.sqrt(variance + _of_median(voxels.point, variance))


def _of_median(point: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Variance (n_voxels,) of the median of the orbit of each voxel."""
    return (MEDIAN_VARIANCE * np.bincount(point) / np.bincount(point, variance**-0.5) ** 2)[point]


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
