"""Do the force constants that a volume gives by itself agree with those that it gives with others?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2

SMALLEST_SHARE = 1e-3
"""Share of its own variance that a volume must have apart from the joint fit in a direction to be tested."""


@dataclass(frozen=True)
class Consistency:
    """How well the constants that a volume gives by itself agree with the joint ones.

    Attributes:
        chi_square: of their difference.
        degrees_of_freedom: number of directions that it was measured in.
        p_value: probability of a larger chi-square if the volumes agree.
    """

    chi_square: float
    degrees_of_freedom: int
    p_value: float


def consistency(
    own: Float[np.ndarray, " n"],
    precision: Float[np.ndarray, "n n"],
    joint: Float[np.ndarray, " n"],
    covariance: Float[np.ndarray, "n n"],
) -> Consistency:
    """Agreement of the constants that a volume gives by itself with the joint ones.

    An estimate differs from a better one that contains it by as much as their covariances do: the
    difference has the covariance C_own - C_joint (Hausman, Econometrica 46 (1978) 1251). Directions in which
    they hardly differ, as the volume alone decides there, are left out. NaN, and none, if the joint fit ended
    where the crystal is unstable.

    Args:
        own: of the volume by itself, eV/Å².
        precision: their inverse covariance, Å⁴/eV².
        joint: φ_v of the joint fit, eV/Å².
        covariance: of φ_v in the joint fit, eV²/Å⁴.
    """
    if not np.isfinite(covariance).all():
        return Consistency(np.nan, 0, np.nan)
    root = np.linalg.cholesky(precision)
    share, directions = np.linalg.eigh(np.eye(len(own)) - root.T @ covariance @ root)
    away = directions.T @ root.T @ (own - joint)
    tested = share > SMALLEST_SHARE
    square, freedom = float((away[tested] ** 2 / share[tested]).sum()), int(tested.sum())
    return Consistency(square, freedom, float(chi2.sf(square, freedom)) if freedom else 1.0)
