"""Tests of calibration: they must pass what is right, and catch what is not."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, norm

from bayestds.diagnostics.calibration import (
    NEARLY_ZERO,
    claim,
    coverage_test,
    covered,
    draws_intervals,
    holm,
    normal_intervals,
    ranks,
    score,
    uniformity,
)
from bayestds.diagnostics.per_shell import ConstantSummary, ShellSummary, summarise_normal

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEVELS = (0.5, 0.8, 0.95)
N_DRAWS = 99
REPLICATIONS = 300
FAMILY_LEVEL = 1e-3
"""A test that must pass fails by chance once in a thousand seeds."""


def test_rank_is_the_number_of_smaller_draws():
    draws = np.array([[0.1, 5.0], [0.2, 6.0], [0.3, 7.0]])
    assert ranks(np.array([0.25, 4.0]), draws).tolist() == [2, 0]
    assert ranks(np.array([0.4, 6.5]), draws).tolist() == [3, 2]


def test_uniformity_is_pearsons_chi_square():
    """Eight possible ranks in three bins: 0 to 2, 3 to 5, and 6 and 7, which is less likely."""
    found = np.array([0, 1, 2, 2, 3, 4, 7, 7, 7, 7, 6, 5, 5, 0, 0, 3])
    observed, expected = np.array([6, 5, 5]), np.array([6, 6, 4])
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert uniformity(found[:, None], 7, 3) == pytest.approx(chi2.sf(statistic, 2))


def test_one_quantity_does_not_disturb_another():
    rng = np.random.default_rng(0)
    uniform, central = rng.integers(0, 100, 200), rng.integers(30, 70, 200)
    together = uniformity(np.column_stack([uniform, central]), 99, 10)
    alone = [uniformity(column[:, None], 99, 10)[0] for column in (uniform, central)]
    assert together.tolist() == alone
    assert together[1] < 1e-10 < 1e-3 < together[0]


def test_intervals():
    mean, sd = np.array([1.0, -2.0]), np.array([0.1, 3.0])
    found = normal_intervals(mean, sd, LEVELS)
    for i, level in enumerate(LEVELS):
        assert found[:, i] == pytest.approx(np.array(norm.interval(level, mean, sd)))
    # Quantiles of 40,000 draws are known to 1.3 % of a standard deviation in the tails.
    draws = np.random.default_rng(0).normal(mean, sd, (40_000, 2))
    assert np.abs((draws_intervals(draws, LEVELS) - found) / sd).max() < 0.06


def test_ends_of_intervals():
    intervals = normal_intervals(np.zeros(1), np.ones(1), (0.95,))
    truths = [-1.97, -1.95, 0.0, 1.95, 1.97]
    assert [bool(covered(np.array([x]), intervals)[0, 0]) for x in truths] == [False, True, True, True, False]


def test_coverage_is_tested_by_the_binomial():
    """Two-sided: the chance of all numbers of hits that are no more likely than the one found."""
    n = 40
    hits = np.arange(n)[:, None, None] < np.array([[14, 22], [39, 30]])
    tested = coverage_test(hits, (0.5, 0.8))
    for level, row, found in zip((0.5, 0.8), [(14, 22), (39, 30)], tested, strict=True):
        chance = [comb(n, k) * level**k * (1 - level) ** (n - k) for k in range(n + 1)]
        expected = [sum(p for p in chance if p <= chance[k] * (1 + 1e-9)) for k in row]
        assert found == pytest.approx(expected)


def test_holm_rejects_what_the_step_down_procedure_does():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.uniform(size=(2, 4)) ** 3
        rejected = np.zeros(8, dtype=bool)
        for tried, index in enumerate(np.argsort(p_values.ravel())):
            if p_values.ravel()[index] > 0.05 / (8 - tried):
                break
            rejected[index] = True
        assert ((holm(p_values) <= 0.05).ravel() == rejected).all()
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx(np.array([0.03, 0.06, 0.06, 0.02]))


class Normal:
    """A model with a closed posterior: truth ~ N(0, 1), one datum ~ N(truth, σ) of each of four constants.

    Args:
        seed: of the truths, the data and the draws.
        stretch: factor on the standard deviation of the posterior, 1 for the right one.
        shift: of its mean, in standard deviations.
    """

    def __init__(self, seed: int, stretch: float = 1.0, shift: float = 0.0):
        rng = np.random.default_rng(seed)
        self.noise = np.array([0.1, 0.5, 1.0, 3.0])
        self.truth = rng.normal(size=(REPLICATIONS, 4))
        self.data = self.truth + self.noise * rng.normal(size=self.truth.shape)
        right = 1 / np.sqrt(1 + self.noise**-2)
        self.sd = stretch * right
        self.mean = self.data * (right / self.noise) ** 2 + shift * right
        self.draws = self.mean + self.sd * rng.normal(size=(N_DRAWS, *self.truth.shape))
        self.prior_draws = rng.normal(size=self.draws.shape)

    def log_likelihood(self, phi: np.ndarray) -> np.ndarray:
        return -0.5 * ((self.data - phi) / self.noise) ** 2

    def rank_test(self) -> np.ndarray:
        found = [ranks(truth, self.draws[:, i]) for i, truth in enumerate(self.truth)]
        return holm(uniformity(np.array(found), N_DRAWS, 10))

    def coverage_tests(self) -> list[np.ndarray]:
        """Of the normal intervals, and of those from the draws."""
        normal = [normal_intervals(mean, self.sd, LEVELS) for mean in self.mean]
        sampled = [draws_intervals(self.draws[:, i], LEVELS) for i in range(REPLICATIONS)]
        return [
            holm(coverage_test(np.array([*map(covered, self.truth, intervals)]), LEVELS))
            for intervals in (normal, sampled)
        ]


def test_a_right_posterior_passes():
    model = Normal(0)
    assert model.rank_test().min() > FAMILY_LEVEL
    assert min(adjusted.min() for adjusted in model.coverage_tests()) > FAMILY_LEVEL


@pytest.mark.parametrize(("stretch", "shift"), [(0.5, 0.0), (1.5, 0.0), (1.0, 1.0)])
def test_a_wrong_posterior_fails_for_every_constant(stretch, shift):
    """Overconfident by a factor of two, timid, and biased by a standard deviation."""
    model = Normal(0, stretch, shift)
    assert model.rank_test().max() < FAMILY_LEVEL
    for adjusted in model.coverage_tests():
        assert adjusted.min(axis=0).max() < FAMILY_LEVEL


def test_the_likelihood_tells_the_posterior_from_the_prior():
    """The prior is calibrated but knows nothing of the data; ranks of the constants cannot see that."""
    model = Normal(1)
    for draws, right in ((model.draws, True), (model.prior_draws, False)):
        constants = [ranks(truth, draws[:, i]) for i, truth in enumerate(model.truth)]
        likelihood = (model.log_likelihood(draws) < model.log_likelihood(model.truth)).sum(axis=0)
        assert holm(uniformity(np.array(constants), N_DRAWS, 10)).min() > FAMILY_LEVEL
        adjusted = holm(uniformity(likelihood, N_DRAWS, 10))
        assert adjusted.min() > FAMILY_LEVEL if right else adjusted[:3].max() < FAMILY_LEVEL


def shell(verdict: str = "determined") -> ShellSummary:
    return ShellSummary(verdict, "", (), 1.0, 1.0, 1.0)


def constant(mean: float, sd: float = 0.1) -> ConstantSummary:
    return summarise_normal(np.array([mean]), np.array([sd]), np.ones(1))[0]


@pytest.mark.parametrize(("mean", "truth", "told", "misled", "inside"), [
    (0.3, 0.25, True, False, True),
    (0.3, 0.0, True, True, False),
    (0.3, 0.11 * NEARLY_ZERO, True, False, False),
    (0.3, 0.09 * NEARLY_ZERO, True, True, False),
    (-0.3, 0.02, True, True, False),
    (-0.3, -0.4, True, False, True),
    (0.1, -0.05, False, False, True),
    (0.1, -0.15, False, False, False),
])  # fmt: skip
def test_claims(mean, truth, told, misled, inside):
    found = claim(constant(mean), shell("weak"), truth, 0.5)
    assert (found.verdict, found.told, found.misled, found.inside) == ("weak", told, misled, inside)
    assert found.error == pytest.approx((mean - truth) / 0.5)
    assert found.pull == pytest.approx((mean - truth) / 0.1)


def test_score():
    cases = [(0.3, 0.25), (0.3, -0.1), (0.1, 0.1), (0.5, 0.45)]
    found = score([claim(constant(mean), shell(), truth, 1.0) for mean, truth in cases])
    assert (found.claims, found.told, found.misled, found.inside) == (4, 0.75, pytest.approx(1 / 3), 0.75)
    assert found.error == pytest.approx(np.sqrt((2 * 0.05**2 + 0.4**2) / 4))
    assert found.pull == pytest.approx(10 * found.error)


def test_score_of_nothing():
    assert np.isnan(score([]).pull)
    assert np.isnan(score([claim(constant(0.1), shell(), 0.1, 1.0)]).misled)


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/calibration.py as a module."""
    spec = importlib.util.spec_from_file_location("calibration_benchmark", BENCHMARKS / "calibration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_ranks_of_posteriors_are_uniform(benchmark):
    """A fifth of the benchmark, six ranks expected in each bin. Chance fails it once in a hundred seeds."""
    records = [benchmark.ranked(number) for number in range(60)]
    assert rank_test(benchmark, records).min() > 0.01
    told = sum(sum(record["claims"]["told"]) for record in records)
    assert sum(sum(record["claims"]["misled"]) for record in records) <= 0.05 * told


@pytest.mark.slow
def test_ranks_of_overconfident_posteriors_are_not(benchmark, monkeypatch):
    """Errors taken for half of what they are: half of the truths then lie in the outer fifth of ranks."""
    right = benchmark.log_normal_data

    def overconfident(*arguments):
        data = right(*arguments)
        return replace(data, weight=4 * data.weight)

    monkeypatch.setattr(benchmark, "log_normal_data", overconfident)
    records = [benchmark.ranked(number) for number in range(60)]
    assert rank_test(benchmark, records).min() < 1e-3


def rank_test(benchmark, records):
    found = np.array([record["ranks"] for record in records])
    return holm(uniformity(found, benchmark.THINNED, 10))


@pytest.mark.slow
@pytest.mark.parametrize(("study", "replications"), [
    ("photons", 100), ("pooled", 100), ("ensemble", 25), ("log-normal", 25)
])  # fmt: skip
def test_intervals_hold_the_truth_as_often_as_they_say(benchmark, study, replications):
    """Chance fails it once in a hundred seeds."""
    records = [benchmark.REPLICATE[study](number) for number in range(replications)]
    for kind in ("normal", "sampled"):
        hits = [record[kind] for record in records if kind in record]
        assert not hits or holm(coverage_test(np.array(hits), LEVELS)).min() > 0.01


@pytest.mark.slow
def test_page_is_that_of_the_results(tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, str(BENCHMARKS / "calibration_page.py"), "-o", str(page)]
    subprocess.run(command, check=True)
    assert page.read_text("utf-8") == (BENCHMARKS.parent / "docs" / "calibration.md").read_text("utf-8")
