"""Whether posteriors mean what they say: ranks, coverage and verdicts over simulated data of known truth.

If the truth is drawn from the prior and the data from the model, the rank of the truth among independent
draws of the posterior is uniform (Cook, Gelman and Rubin, J. Comput. Graph. Stat. 15 (2006) 675; Talts et
al., arXiv:1804.06788), for any quantity, also one that depends on the data as the likelihood does (Modrák et
al., arXiv:2211.02383).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest, chisquare, norm

from bayestds.diagnostics.per_shell import ConstantSummary, ShellSummary

NEARLY_ZERO = 0.1
"""A constant smaller than this many posterior standard deviations is zero for all that matters."""


def ranks(truth: Float[np.ndarray, " n"], draws: Float[np.ndarray, "n_draws n"]) -> Int[np.ndarray, " n"]:
    """How many of the draws of each quantity lie below the truth: 0 to n_draws."""
    return (draws < truth).sum(axis=0)


def uniformity(
    ranks: Int[np.ndarray, "n_replications n"], n_draws: int, bins: int
) -> Float[np.ndarray, " n"]:
    """p-value of uniform ranks for each quantity: Pearson's chi-square over bins.

    Args:
        ranks: one row for each replication, from :func:`ranks`.
        n_draws: number of draws that the truth was compared with.
        bins: their number; a few expected ranks a bin make the chi-square distribution good enough.
    """
    bin_of_rank = np.arange(n_draws + 1) * bins // (n_draws + 1)
    expected = np.bincount(bin_of_rank) / (n_draws + 1) * len(ranks)
    found = np.array([np.bincount(bin_of_rank[column], minlength=bins) for column in ranks.T])
    return chisquare(found, expected, axis=1).pvalue


def normal_intervals(
    mean: Float[np.ndarray, " n"], sd: Float[np.ndarray, " n"], levels: Sequence[float]
) -> Float[np.ndarray, "2 n_levels n"]:
    """Lower and upper ends of the central intervals of normal posteriors."""
    reach = norm.ppf((1 + np.asarray(levels)) / 2)[:, None] * sd
    return np.stack([mean - reach, mean + reach])


def draws_intervals(
    draws: Float[np.ndarray, "n_draws n"], levels: Sequence[float]
) -> Float[np.ndarray, "2 n_levels n"]:
    """The same from draws of the posterior."""
    tails = (1 + np.multiply.outer([-1, 1], levels)) / 2
    return np.quantile(draws, tails, axis=0)


def covered(
    truth: Float[np.ndarray, " n"], intervals: Float[np.ndarray, "2 n_levels n"]
) -> Bool[np.ndarray, "n_levels n"]:
    """Whether the truth lies within each interval."""
    return (intervals[0] <= truth) & (truth <= intervals[1])


def coverage_test(
    covered: Bool[np.ndarray, "n_replications n_levels n"], levels: Sequence[float]
) -> Float[np.ndarray, "n_levels n"]:
    """Two-sided binomial p-value that intervals of each level hold the truth as often as they promise."""
    hits = covered.sum(axis=0)
    return np.array([
        [binomtest(int(k), len(covered), level).pvalue for k in row]
        for level, row in zip(levels, hits, strict=True)
    ])  # fmt: skip


def holm(p_values: Float[np.ndarray, "*family"]) -> Float[np.ndarray, "*family"]:
    """Adjusted p-values of a family of tests (Holm, Scand. J. Stat. 6 (1979) 65).

    To reject those at or below α errs anywhere in the family with probability α at most.
    """
    order = np.argsort(p_values, axis=None)
    factors = np.arange(p_values.size, 0, -1)
    adjusted = np.empty(p_values.size)
    adjusted[order] = np.maximum.accumulate(np.minimum(p_values.ravel()[order] * factors, 1.0))
    return adjusted.reshape(p_values.shape)


@dataclass(frozen=True)
class Claim:
    """What a report says of one constant, beside the truth.

    Attributes:
        verdict: on its shell.
        told: whether it is significantly different from zero.
        misled: whether it is significantly different from zero although the truth is nearly zero or has the
            other sign.
        inside: whether the interval holds the truth.
        error: posterior mean less truth, in prior standard deviations.
        pull: the same in posterior standard deviations.
    """

    verdict: str
    told: bool
    misled: bool
    inside: bool
    error: float
    pull: float


def claim(constant: ConstantSummary, shell: ShellSummary, truth: float, prior_sd: float) -> Claim:
    """The claim about a constant of a shell, against its true value (eV/Å²)."""
    error = constant.mean - truth
    towards = truth * np.sign(constant.mean)
    return Claim(
        shell.verdict,
        constant.differs_from_zero,
        bool(constant.differs_from_zero and towards < NEARLY_ZERO * constant.sd),
        constant.interval_low <= truth <= constant.interval_high,
        error / prior_sd,
        error / constant.sd,
    )


@dataclass(frozen=True)
class Score:
    """How claims of one verdict fare.

    Attributes:
        claims: their number.
        told: the share that is significantly different from zero.
        misled: the share of those that is misled.
        inside: the share whose interval holds the truth.
        error, pull: root mean squares.
    """

    claims: int
    told: float
    misled: float
    inside: float
    error: float
    pull: float


def score(claims: Sequence[Claim]) -> Score:
    """Score of claims; shares of none are NaN."""
    told = [c for c in claims if c.told]

    def mean(values: list[bool] | list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    return Score(
        len(claims),
        mean([c.told for c in claims]),
        mean([c.misled for c in told]),
        mean([c.inside for c in claims]),
        mean([c.error**2 for c in claims]) ** 0.5,
        mean([c.pull**2 for c in claims]) ** 0.5,
    )
