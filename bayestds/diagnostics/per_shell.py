"""What a measurement says about each force constant and each neighbour shell."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

INTERVAL, INNER_INTERVAL = 0.95, 0.89
"""Probabilities of the reported intervals."""

DETERMINED, WEAK = 0.99, 0.75
"""Least contraction of the posterior below the prior, 1 - (sd / prior sd)², for the two verdicts."""

LOOSE_STIFFNESS = 0.1
"""Relative standard deviation of the overall stiffness above which no shell is determined."""

RULE = (
    f"A shell is 'determined' when the variance of its constants, and of every combination of them, is at "
    f"least {DETERMINED:.0%} smaller than in the prior, 'weak' at {WEAK:.0%}, else 'prior-dominated'; and at "
    f"best 'weak' while the overall stiffness, the largest self term, is uncertain by more than "
    f"{LOOSE_STIFFNESS:.0%}, the fit has not converged, or its chi-square or its prior contradicts the data. "
    f"A constant is significantly different from zero when its {INTERVAL:.0%} interval excludes it."
)


@dataclass(frozen=True)
class ConstantSummary:
    """Summary of one irreducible force constant, eV/Å².

    Attributes:
        mean, sd: of the posterior.
        interval_low, interval_high: central interval of probability :data:`INTERVAL`.
        inner_low, inner_high: the same of probability :data:`INNER_INTERVAL`.
        contraction: 1 - (sd / prior sd)².
        information: gain from prior to posterior, nats, both taken as normal.
    """

    mean: float
    sd: float
    interval_low: float
    interval_high: float
    inner_low: float
    inner_high: float
    contraction: float
    information: float

    @property
    def differs_from_zero(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval_low > 0 or self.interval_high < 0

    @property
    def signal_to_noise(self) -> float:
        """|mean| / sd."""
        return abs(self.mean) / self.sd


@dataclass(frozen=True)
class ShellSummary:
    """Summary of one neighbour shell.

    Attributes:
        verdict: 'determined', 'weak' or 'prior-dominated', by :data:`RULE`.
        words: which constants are significantly different from zero and which are not.
        told_from_zero: names of the constants whose interval excludes zero.
        contraction: the smallest of any combination of its constants.
        signal_to_noise: the largest |mean| / sd of its constants.
        information: gain about its constants together, nats.
    """

    verdict: str
    words: str
    told_from_zero: tuple[str, ...]
    contraction: float
    signal_to_noise: float
    information: float


def summarise_normal(mean: np.ndarray, sd: np.ndarray, prior_sd: np.ndarray) -> list[ConstantSummary]:
    """Summaries of constants with a normal posterior and a prior, (n_irreducible,) each, eV/Å²."""
    tails = [(1 + sign * share) / 2 for share in (INTERVAL, INNER_INTERVAL) for sign in (-1, 1)]
    return _summaries(mean, sd, mean + norm.ppf(tails)[:, None] * sd, prior_sd)


def summarise_draws(draws: np.ndarray, prior_sd: np.ndarray) -> list[ConstantSummary]:
    """Summaries of constants from draws (n_draws, n_irreducible) of the posterior, eV/Å²."""
    tails = [(1 + sign * share) / 2 for share in (INTERVAL, INNER_INTERVAL) for sign in (-1, 1)]
    return _summaries(
        draws.mean(axis=0), draws.std(axis=0, ddof=1), np.quantile(draws, tails, axis=0), prior_sd
    )


def _summaries(
    mean: np.ndarray, sd: np.ndarray, intervals: np.ndarray, prior_sd: np.ndarray
) -> list[ConstantSummary]:
    ratio = (sd / prior_sd) ** 2
    information = 0.5 * (ratio + (mean / prior_sd) ** 2 - 1 - np.log(ratio))
    columns = (mean, sd, *intervals, 1 - ratio, information)
    return [ConstantSummary(*map(float, row)) for row in zip(*columns, strict=True)]


def stiffness_error(self_coefficients: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Relative standard deviation of the overall stiffness, the largest of the self terms.

    Data from one-phonon scattering alone leave it open, whatever they say of each constant: then all force
    constants can grow together.

    Args:
        self_coefficients: (n_self, n_irreducible), self terms = self_coefficients @ φ.
        mean: (n_irreducible,) of the posterior, eV/Å².
        covariance: (n_irreducible, n_irreducible) of the posterior, eV²/Å⁴.
    """
    terms = self_coefficients @ mean
    largest = self_coefficients[np.argmax(np.abs(terms))]
    return float(np.sqrt(largest @ covariance @ largest) / np.abs(terms).max())


def summarise_shells(
    names: tuple[str, ...],
    shells: np.ndarray,
    constants: list[ConstantSummary],
    covariance: np.ndarray,
    prior_sd: np.ndarray,
    stiffness: float,
    sound: bool = True,
) -> dict[int, ShellSummary]:
    """Verdict on each shell.

    Args:
        names: of the constants.
        shells: (n_irreducible,) of each.
        constants: their summaries.
        covariance: (n_irreducible, n_irreducible) of the posterior, eV²/Å⁴.
        prior_sd: (n_irreducible,) of the prior, eV/Å².
        stiffness: relative standard deviation of the overall stiffness.
        sound: whether the fit may call shells determined at all.
    """
    summaries = {}
    for shell in np.unique(shells).tolist():
        members = [i for i, other in enumerate(shells) if other == shell]
        scaled = covariance[np.ix_(members, members)] / np.outer(prior_sd[members], prior_sd[members])
        # NaN, the covariance of a fit that failed, has no eigenvalues but knows nothing either.
        ratios = np.linalg.eigvalsh(scaled) if np.isfinite(scaled).all() else np.full(len(members), np.nan)
        contraction = float(1 - ratios.max())
        means = np.array([constants[i].mean for i in members]) / prior_sd[members]
        told = tuple(names[i] for i in members if constants[i].differs_from_zero)
        summaries[shell] = ShellSummary(
            _verdict(contraction, sound and stiffness <= LOOSE_STIFFNESS),
            _words(told, tuple(names[i] for i in members if names[i] not in told)),
            told,
            contraction,
            max(constants[i].signal_to_noise for i in members),
            float(0.5 * (ratios.sum() + means @ means - len(members) - np.log(ratios).sum())),
        )
    return summaries


def _verdict(contraction: float, sound: bool) -> str:
    if contraction >= DETERMINED and sound:
        return "determined"
    return "weak" if contraction >= WEAK else "prior-dominated"


def _words(told: tuple[str, ...], not_told: tuple[str, ...]) -> str:
    different = "significantly different from zero"
    parts = [f"{listed(told)} {'is' if len(told) == 1 else 'are'} {different}"] if told else []
    if not_told:
        verb = "is not" if len(not_told) == 1 else "are not"
        parts.append(f"{listed(not_told)} {verb}" + ("" if told else f" {different}"))
    return ", ".join(parts)


def listed(names: tuple[str, ...]) -> str:
    """Names as words: a, b and c."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


@dataclass(frozen=True)
class Direction:
    """A combination of force constants.

    Attributes:
        information: of the data along it, in units of the information in the prior.
        components: (n_irreducible,) of the unit vector, in units of the prior standard deviations.
    """

    information: float
    components: np.ndarray


def directions(information: np.ndarray, prior_sd: np.ndarray) -> list[Direction]:
    """Independent combinations of force constants, from the sloppiest to the stiffest.

    Args:
        information: (n_irreducible, n_irreducible) Fisher information of the data, Å⁴/eV².
        prior_sd: (n_irreducible,) eV/Å².
    """
    values, vectors = np.linalg.eigh(information * np.outer(prior_sd, prior_sd))
    return [
        Direction(float(max(value, 0.0)), vector) for value, vector in zip(values, vectors.T, strict=True)
    ]


def trade_offs(
    names: tuple[str, ...], covariance: np.ndarray, least: float = 0.5
) -> list[tuple[str, str, float]]:
    """Pairs of constants whose posterior correlation is at least ``least`` in size, the largest first."""
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd)
    first, second = np.triu_indices(len(names), 1)
    pairs = [(names[i], names[j], float(correlation[i, j])) for i, j in zip(first, second, strict=True)]
    return sorted((pair for pair in pairs if abs(pair[2]) >= least), key=lambda pair: -abs(pair[2]))
