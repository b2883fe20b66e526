"""Potentials against what was measured: how far their force constants are from a posterior."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from bayestds.errors import ResultError

SIGNIFICANT = 0.01
"""Probability by chance, shared out among the shells, below which a shell is wrong."""

RULE = (
    "A shell is wrong when its constants together lie farther from the posterior's mean than chance allows: "
    f"a probability below {SIGNIFICANT:g} divided by the number of shells, in the posterior's normal "
    "approximation."
)

NOT_INCLUDED = (
    "The distance counts the errors of the result alone. They are those of a harmonic crystal, without the "
    "shift that anharmonicity brings into real and molecular-dynamics data, which can be many such errors, "
    "while the force constants of a potential are those at rest: the right potential of such data is off "
    "too. Compare by how much shells are off, and the residuals."
)


@dataclass(frozen=True)
class ShellScore:
    """How far a potential is from a posterior in one neighbour shell.

    Attributes:
        z: deviation of each constant in standard errors, by name.
        mahalanobis: distance of its constants together, whatever the others are.
        p_value: probability of one as large by chance.
        z_max: largest |z|.
        deviation: root mean square of the differences, eV/Å².
        wrong: by :data:`RULE`.
    """

    z: dict[str, float]
    mahalanobis: float
    p_value: float
    z_max: float
    deviation: float
    wrong: bool


@dataclass(frozen=True)
class Score:
    """How far a potential is from a posterior.

    Attributes:
        mahalanobis: distance √(dᵀ C⁻¹ d) of all constants together.
        chi_square: its square; of n_irreducible degrees of freedom if the potential were true.
        p_value: probability of one as large by chance.
        deviation: norm of the difference over that of the posterior's mean.
        shells: by number.
    """

    mahalanobis: float
    chi_square: float
    p_value: float
    deviation: float
    shells: dict[int, ShellScore]

    @property
    def wrong_shells(self) -> list[int]:
        """Shells that are wrong by :data:`RULE`."""
        return [number for number, shell in self.shells.items() if shell.wrong]


def score(
    names: tuple[str, ...],
    shells: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    values: np.ndarray,
) -> Score:
    """Score force constants against a posterior in its normal approximation.

    Args:
        names: of the constants.
        shells: (n_irreducible,) int.
        mean: (n_irreducible,) of the posterior, eV/Å².
        covariance: (n_irreducible, n_irreducible) of the posterior, eV²/Å⁴.
        values: (n_irreducible,) to be judged, eV/Å².

    Raises:
        ResultError: the posterior has no usable covariance.
    """
    difference = values - mean
    squared = _squared_distance(difference, covariance)
    sd = np.sqrt(np.diag(covariance))
    numbers = np.unique(shells)
    by_shell = {}
    for number in numbers:
        mine = shells == number
        z = difference[mine] / sd[mine]
        own = _squared_distance(difference[mine], covariance[np.ix_(mine, mine)])
        p_value = float(chi2.sf(own, mine.sum()))
        by_shell[int(number)] = ShellScore(
            dict(zip(np.array(names)[mine].tolist(), z.tolist(), strict=True)),
            float(np.sqrt(own)),
            p_value,
            float(np.abs(z).max()),
            float(np.sqrt(np.mean(difference[mine] ** 2))),
            p_value < SIGNIFICANT / len(numbers),
        )
    return Score(
        float(np.sqrt(squared)),
        squared,
        float(chi2.sf(squared, len(values))),
        float(np.linalg.norm(difference) / np.linalg.norm(mean)),
        by_shell,
    )


def _squared_distance(difference: np.ndarray, covariance: np.ndarray) -> float:
    """Square dᵀC⁻¹d of a distance, in units of the standard errors, in which C is a correlation matrix."""
    sd = np.sqrt(np.diag(covariance))
    try:
        factor = np.linalg.cholesky(covariance / np.outer(sd, sd))
    except np.linalg.LinAlgError as error:
        raise ResultError(
            "The covariance of the result is singular.",
            "Its force constants have no independent errors: too few draws, or a damaged file.",
            "Fit or sample again.",
        ) from error
    return float(np.sum(np.linalg.solve(factor, difference / sd) ** 2))


def widened(covariance: np.ndarray, standard_errors: np.ndarray) -> np.ndarray | None:
    """The covariance with larger standard errors and the same correlations; None where they are not known.

    Args:
        covariance: (n_irreducible, n_irreducible) eV²/Å⁴.
        standard_errors: (n_irreducible,) eV/Å²; where smaller than those of the covariance, these stay.
    """
    if not np.isfinite(standard_errors).all():
        return None
    factor = np.maximum(standard_errors / np.sqrt(np.diag(covariance)), 1.0)
    return covariance * np.outer(factor, factor)


def verdict(found: Score, n_irreducible: int) -> str:
    """What the score says, in one sentence."""
    if not found.wrong_shells:
        return (
            f"No shell is wrong: χ² = {found.chi_square:.3g} for {n_irreducible} constants (probability by "
            f"chance {found.p_value:.2g})."
        )
    parts = [
        f"{number} (off by {shell.deviation:.2g} eV/Å², z up to {shell.z_max:.3g})"
        for number, shell in found.shells.items()
        if shell.wrong
    ]
    right = [str(number) for number in found.shells if number not in found.wrong_shells]
    rest = f"; not told apart from the data: {', '.join(right)}" if right else ""
    return f"Wrong in shell{'s' if len(parts) > 1 else ''} {', '.join(parts)}{rest}."
