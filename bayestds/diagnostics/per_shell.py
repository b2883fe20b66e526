"""What a measurement says about each force constant and each neighbour shell."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

INTERVAL = 0.95
"""Probability of the reported intervals."""

DETERMINED, WEAK = 0.99, 0.75
"""Least contraction of the posterior below the prior, 1 - (sd / prior sd)², for the two verdicts."""

RULE = (
    f"A shell is 'determined' when the variance of each of its constants is at least {DETERMINED:.0%} "
    f"smaller than in the prior, 'weak' at {WEAK:.0%}, else 'prior-dominated'. A constant is told from "
    f"zero when its {INTERVAL:.0%} interval excludes it."
)


@dataclass(frozen=True)
class ConstantSummary:
    """Summary of one irreducible force constant, eV/Å².

    Attributes:
        mean, sd: of the posterior.
        interval_low, interval_high: central interval of probability :data:`INTERVAL`.
        contraction: 1 - (sd / prior sd)².
    """

    mean: float
    sd: float
    interval_low: float
    interval_high: float
    contraction: float

    @property
    def differs_from_zero(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval_low > 0 or self.interval_high < 0


@dataclass(frozen=True)
class ShellSummary:
    """Summary of one neighbour shell.

    Attributes:
        verdict: 'determined', 'weak' or 'prior-dominated', by :data:`RULE`.
        told_from_zero: names of the constants whose interval excludes zero.
        contraction: the smallest of its constants.
        signal_to_noise: the largest |mean| / sd of its constants.
    """

    verdict: str
    told_from_zero: tuple[str, ...]
    contraction: float
    signal_to_noise: float


def summarise_normal(mean: np.ndarray, sd: np.ndarray, prior_sd: np.ndarray) -> list[ConstantSummary]:
    """Summaries of constants with a normal posterior and prior, (n_irreducible,) each, eV/Å²."""
    half = norm.ppf(0.5 + INTERVAL / 2) * sd
    columns = (mean, sd, mean - half, mean + half, 1 - (sd / prior_sd) ** 2)
    return [ConstantSummary(*map(float, row)) for row in zip(*columns, strict=True)]


def summarise_shells(
    names: tuple[str, ...], shells: np.ndarray, constants: list[ConstantSummary]
) -> dict[int, ShellSummary]:
    """Verdict on each shell from the summaries of its constants."""
    summaries = {}
    for shell in np.unique(shells).tolist():
        members = [i for i, other in enumerate(shells) if other == shell]
        contraction = min(constants[i].contraction for i in members)
        verdict = "determined" if contraction >= DETERMINED else "weak" if contraction >= WEAK else None
        summaries[shell] = ShellSummary(
            verdict or "prior-dominated",
            tuple(names[i] for i in members if constants[i].differs_from_zero),
            contraction,
            max(abs(constants[i].mean) / constants[i].sd for i in members),
        )
    return summaries
