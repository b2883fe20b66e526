"""How the variance of a voxel follows its intensity: seen where equivalent voxels differ.

Standard errors that were made from counts follow the noise of the very voxel: one that came out low has a
small error and would weigh more than it should. With a background subtracted, σ² = (I + g)/e, with the
background g and the exposure e; errors of another origin do not follow the intensity at all, g = ∞. Either
way

    σ² = [(1 - s) t + s I] / e,   0 <= s <= 1,

with a typical intensity t: a straight line in I, valid below zero. Equivalent voxels have one expectation, so
that s is seen within orbits, and e = [(1 - s) t + s y]/σ² of a measured y is free of its noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from bayestds.scattering.voxels import Voxels, orbit_median

TRIMMED = 5.0
"""Standard deviations off the mean of its equivalents beyond which a voxel says nothing of the law."""

EXACT = 1e-6
"""Relative deviation from a straight line up to which σ² was made from the intensity by that line."""

ROUNDING = 1e-9
"""Share of the sum of absolute terms up to which a sum is zero."""

SMALLEST = 1e-6
"""Share of the typical intensity that the numerator of σ² has at least."""


@dataclass(frozen=True)
class VarianceLaw:
    """The variance of a voxel as a straight line in its intensity; see the module.

    Attributes:
        share: s, 1 for counts, 0 for errors that do not follow the intensity.
        typical: t, positive.
    """

    share: float
    typical: float

    def numerator(self, intensity: np.ndarray) -> np.ndarray:
        """The product of σ² and e (...,) at these intensities; positive."""
        line = (1 - self.share) * self.typical + self.share * intensity
        return np.maximum(line, SMALLEST * self.typical)

    def exposure(self, intensity: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Exposures e (n_voxels,) of voxels with these intensities and standard errors: weights in a mean.

        A count is at least its own standard error. Where there is none, the error is that of one.
        """
        return np.maximum(self.numerator(intensity), self.share * sigma) / sigma**2

    def line(self, exposure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variance at no intensity, and its slope, of means with these exposures in all (n_points,)."""
        return (1 - self.share) * self.typical / exposure, self.share / exposure


def variance_law(voxels: Voxels) -> VarianceLaw:
    """The law of measured voxels with standard errors.

    The weights e must not follow the noise: (y - ȳ) e adds up to zero over orbits, which tells s. Each orbit
    counts by its mean σ². However long each voxel was measured, the solution is right. Without equivalents
    the line itself is looked for: errors that were made from counts of one exposure lie on it exactly.

    Args:
        voxels: all, or a sample of orbits.
    """
    assert voxels.sigma is not None
    intensity, variance = voxels.intensity, voxels.sigma**2
    typical = float(np.abs(intensity).mean()) or 1.0
    _, point, n = np.unique(voxels.point, return_inverse=True, return_counts=True)
    middle, usual = orbit_median(point, intensity)[point], orbit_median(point, variance)[point]
    kept = np.abs(intensity - middle) <= TRIMMED * np.sqrt(usual)
    point, intensity, variance = point[kept], intensity[kept], variance[kept]
    n = np.maximum(np.bincount(point, minlength=len(n)), 1)
    if not (n > 1).any():
        return VarianceLaw(_share_of_line(intensity, variance, typical), typical)
    away = (intensity - _mean(point, n, intensity)) * _mean(point, n, variance)
    sigma = np.sqrt(variance)

    def correlation(share: float) -> float:
        return float(away @ VarianceLaw(share, typical).exposure(intensity, sigma))

    if correlation(0.0) >= 0:
        return VarianceLaw(0.0, typical)
    # Where all exposures of counts are equal, the sum is zero but for rounding.
    rounding = ROUNDING * float(np.abs(away) @ VarianceLaw(1.0, typical).exposure(intensity, sigma))
    counted = correlation(1.0) <= rounding
    return VarianceLaw(1.0 if counted else brentq(correlation, 0.0, 1.0), typical)


def _mean(point: np.ndarray, n: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of the orbit of each voxel (n_voxels,)."""
    return (np.bincount(point, values, minlength=len(n)) / n)[point]


def _share_of_line(intensity: np.ndarray, variance: np.ndarray, typical: float) -> float:
    """The share s of variances that are a straight line in the intensity, 0 of any others."""
    above = intensity - intensity.mean()
    if not above.any():
        return 0.0
    slope = above @ variance / (above @ above)
    constant = variance.mean() - slope * intensity.mean()
    exact = np.abs(variance - constant - slope * intensity).max() <= EXACT * variance.max()
    if not exact or slope <= 0:
        return 0.0
    return float(slope * typical / (slope * typical + constant)) if constant > 0 else 1.0
