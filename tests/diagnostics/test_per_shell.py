"""Verdicts: what it takes to change one."""

import numpy as np
import pytest
from scipy.stats import norm

from bayestds.diagnostics.per_shell import DETERMINED, INTERVAL, WEAK, summarise_normal, summarise_shells

NAMES = ("b0", "b1", "c0", "c1")
SHELLS = np.array([1, 1, 2, 2])
PRIOR = np.array([1.0, 1.0, 0.5, 0.5])
MEAN = np.array([-1.0, 0.1, -0.05, 0.0])


def sd_of(contraction: float, prior: float = 1.0) -> float:
    return prior * np.sqrt(1 - contraction)


def shells(mean=MEAN, sd=(0.01, 0.01, 0.005, 0.005), prior=PRIOR):
    constants = summarise_normal(np.array(mean), np.array(sd), np.array(prior))
    return summarise_shells(NAMES, SHELLS, constants)


def test_intervals():
    sd = np.array([0.3, 0.01, 0.2, 1e-6])
    for constant, mean, spread in zip(summarise_normal(MEAN, sd, PRIOR), MEAN, sd, strict=True):
        assert (constant.mean, constant.sd) == (mean, spread)
        expected = norm.interval(INTERVAL, mean, spread)
        assert (constant.interval_low, constant.interval_high) == pytest.approx(expected)


def test_contraction():
    constants = summarise_normal(MEAN, PRIOR / 2, PRIOR)
    assert [constant.contraction for constant in constants] == pytest.approx([0.75] * 4)


def test_no_information_is_no_contraction():
    assert summarise_normal(MEAN, PRIOR, PRIOR)[0].contraction == 0


@pytest.mark.parametrize(("contraction", "verdict"), [
    (DETERMINED + 1e-6, "determined"),
    (DETERMINED - 1e-6, "weak"),
    (WEAK + 1e-6, "weak"),
    (WEAK - 1e-6, "prior-dominated"),
    (0.0, "prior-dominated"),
])  # fmt: skip
def test_the_worst_constant_decides(contraction, verdict):
    found = shells(sd=[0.001, sd_of(contraction), 0.001, 0.001])
    assert found[1].verdict == verdict
    assert found[1].contraction == pytest.approx(contraction)


def test_other_shells_are_not_affected():
    assert shells(sd=[1.0, 1.0, 0.001, 0.001])[2].verdict == "determined"


def test_the_prior_counts():
    sd = [0.03, 0.03, 0.03, 0.03]
    assert shells(sd=sd)[2].verdict == "determined"
    assert shells(sd=sd, prior=[1, 1, 0.2, 0.2])[2].verdict == "weak"


@pytest.mark.parametrize(("mean", "told"), [(1.95, ()), (1.97, ("c1",)), (-1.97, ("c1",)), (-1.95, ())])
def test_told_from_zero(mean, told):
    found = shells(mean=[0, 0, 0, mean * 0.01], sd=[0.01] * 4)
    assert found[2].told_from_zero == told
    assert found[1].told_from_zero == ()


def test_names_of_all_that_are_told_from_zero():
    assert shells()[1].told_from_zero == ("b0", "b1")
    assert shells()[2].told_from_zero == ("c0",)


def test_signal_to_noise_is_the_largest():
    found = shells(mean=[0.1, -0.4, 0, 0], sd=[0.01, 0.02, 0.01, 0.01])
    assert found[1].signal_to_noise == pytest.approx(20)
    assert found[2].signal_to_noise == 0


def test_order_of_constants_does_not_matter():
    constants = summarise_normal(MEAN, np.array([0.01, 0.2, 0.3, 0.001]), PRIOR)
    order = [2, 0, 3, 1]
    shuffled = summarise_shells(tuple(NAMES[i] for i in order), SHELLS[order], [constants[i] for i in order])
    straight = summarise_shells(NAMES, SHELLS, constants)
    assert {shell: found.verdict for shell, found in shuffled.items()} == {
        shell: found.verdict for shell, found in straight.items()
    }


def test_unknown_error_tells_nothing_from_zero():
    (constant,) = summarise_normal(np.array([1.0]), np.array([np.nan]), np.array([1.0]))
    assert not constant.differs_from_zero
