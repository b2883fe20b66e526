"""Verdicts: what it takes to change one."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from bayestds.config import load_model
from bayestds.crystal.supercell import make_supercell
from bayestds.diagnostics.per_shell import (
    DETERMINED,
    INNER_INTERVAL,
    INTERVAL,
    LOOSE_STIFFNESS,
    WEAK,
    directions,
    listed,
    stiffness_error,
    summarise_draws,
    summarise_normal,
    summarise_shells,
    trade_offs,
)
from bayestds.inference.rounds import refine
from bayestds.scattering.simulation import simulate_volume
from tests.crystals import make_crystal, make_irreducible
from tests.fit_problems import TEMPERATURE, Known, with_noise

NAMES = ("b0", "b1", "c0", "c1")
SHELLS = np.array([1, 1, 2, 2])
PRIOR = np.array([1.0, 1.0, 0.5, 0.5])
MEAN = np.array([-1.0, 0.1, -0.05, 0.0])
NOISE = 0.0085  # of one voxel in the fit at the end


def sd_of(contraction: float, prior: float = 1.0) -> float:
    return prior * np.sqrt(1 - contraction)


def shells(mean=MEAN, sd=(0.01, 0.01, 0.005, 0.005), prior=PRIOR, correlation=None, stiffness=0.0):
    mean, sd, prior = np.array(mean), np.array(sd), np.array(prior)
    covariance = np.outer(sd, sd) * (np.eye(4) if correlation is None else correlation)
    constants = summarise_normal(mean, sd, prior)
    return summarise_shells(NAMES, SHELLS, constants, covariance, prior, stiffness)


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
    sd = np.array([0.01, 0.2, 0.3, 0.001])
    constants = summarise_normal(MEAN, sd, PRIOR)
    order = [2, 0, 3, 1]
    shuffled = summarise_shells(
        tuple(NAMES[i] for i in order),
        SHELLS[order],
        [constants[i] for i in order],
        np.diag(sd[order] ** 2),
        PRIOR[order],
        0.0,
    )
    straight = summarise_shells(NAMES, SHELLS, constants, np.diag(sd**2), PRIOR, 0.0)
    assert {shell: found.verdict for shell, found in shuffled.items()} == {
        shell: found.verdict for shell, found in straight.items()
    }


def test_a_loose_combination_is_seen():
    """Each constant is known to 1 - 0.0098 of the prior's variance, their sum, with 1.98 of it, is not."""
    sd = [0.099, 0.099, 0.001, 0.001]
    assert shells(sd=sd)[1].verdict == "determined"
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = 0.98
    found = shells(sd=sd, correlation=correlation)
    assert found[1].contraction == pytest.approx(1 - 1.98 * 0.099**2)
    assert found[1].verdict == "weak"
    assert found[2].verdict == "determined"


@pytest.mark.parametrize(("stiffness", "verdict"), [
    (LOOSE_STIFFNESS * 0.99, "determined"), (LOOSE_STIFFNESS * 1.01, "weak"), (np.nan, "weak")
])  # fmt: skip
def test_nothing_is_determined_while_the_stiffness_is_loose(stiffness, verdict):
    assert {found.verdict for found in shells(stiffness=stiffness).values()} == {verdict}


def test_stiffness_is_that_of_the_largest_self_term():
    """One-phonon data leave the length of φ open: then the stiffness is as uncertain as that length."""
    coefficients = np.array([[-8.0, -4.0, -2.0, -4.0], [0.1, 0.0, 0.0, 0.0]])
    covariance = 0.3**2 * np.outer(MEAN, MEAN) + 1e-10 * np.eye(4)
    assert stiffness_error(coefficients, MEAN, covariance) == pytest.approx(0.3, rel=1e-6)
    along = coefficients[0] @ MEAN
    expected = np.sqrt((coefficients[0] ** 2).sum()) * 0.02 / abs(along)
    assert stiffness_error(coefficients, MEAN, 0.02**2 * np.eye(4)) == pytest.approx(expected)


def test_words():
    assert shells()[1].words == "b0 and b1 are significantly different from zero"
    assert shells()[2].words == "c0 is significantly different from zero, c1 is not"
    assert shells(mean=[0, 0, 0, 0])[1].words == "b0 and b1 are not significantly different from zero"
    assert shells(mean=[0, 0, 1, 0])[1].words == "b0 and b1 are not significantly different from zero"
    assert [listed(NAMES[:n]) for n in (0, 1, 2, 3)] == ["", "b0", "b0 and b1", "b0, b1 and c0"]


def test_information_of_a_shell_is_the_divergence_of_normals():
    """Against the integral of q log(q/p) by Monte Carlo over 4e5 draws."""
    sd, correlation = np.array([0.5, 0.3, 0.1, 0.1]), np.eye(4)
    correlation[0, 1] = correlation[1, 0] = 0.6
    found = shells(sd=sd, correlation=correlation)
    covariance = np.outer(sd, sd)[:2, :2] * correlation[:2, :2]
    q, p = multivariate_normal(MEAN[:2], covariance), multivariate_normal([0, 0], np.diag(PRIOR[:2] ** 2))
    draws = q.rvs(400_000, random_state=0)
    ratio = q.logpdf(draws) - p.logpdf(draws)
    assert found[1].information == pytest.approx(ratio.mean(), abs=4 * ratio.std() / np.sqrt(4e5))
    single = summarise_normal(MEAN, sd, PRIOR)
    assert found[2].information == pytest.approx(single[2].information + single[3].information)


def test_draws_of_a_normal_are_summarised_like_it():
    """40,000 draws: a quantile at 2.5 % is known to 1.3 % of a standard deviation."""
    sd = np.array([0.3, 0.01, 0.2, 1e-6])
    draws = np.random.default_rng(0).normal(MEAN, sd, (40_000, 4))
    for found, expected in zip(summarise_draws(draws, PRIOR), summarise_normal(MEAN, sd, PRIOR), strict=True):
        for name in ("mean", "interval_low", "interval_high", "inner_low", "inner_high"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=0.06 * expected.sd)
        assert found.sd == pytest.approx(expected.sd, rel=0.02)
        assert found.information == pytest.approx(expected.information, abs=0.03)
        inner = norm.interval(INNER_INTERVAL, expected.mean, expected.sd)
        assert (expected.inner_low, expected.inner_high) == pytest.approx(inner)


def test_directions_are_those_of_the_information():
    prior = np.array([1.0, 0.5])
    root = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    scaled = root @ np.diag([1e4, 0.5]) @ root
    sloppy, stiff = directions(scaled / np.outer(prior, prior), prior)
    assert (sloppy.information, stiff.information) == pytest.approx((0.5, 1e4))
    assert np.abs(sloppy.components @ root[1]) == pytest.approx(1)
    assert np.abs(stiff.components @ root[0]) == pytest.approx(1)


def test_trade_offs_are_large_correlations():
    correlation = np.array([[1, 0.7, -0.9], [0.7, 1, 0.2], [-0.9, 0.2, 1]])
    sd = np.array([1.0, 0.1, 3.0])
    found = trade_offs(("b0", "b1", "c0"), correlation * np.outer(sd, sd))
    assert [(pair[0], pair[1], round(pair[2], 6)) for pair in found] == [
        ("b0", "c0", -0.9),
        ("b0", "b1", 0.7),
    ]


def test_unknown_error_tells_nothing_from_zero():
    (constant,) = summarise_normal(np.array([1.0]), np.array([np.nan]), np.array([1.0]))
    assert not constant.differs_from_zero


@pytest.mark.parametrize(("f1", "words"), [
    (None, "f0 and f3 are significantly different from zero, f1 and f2 are not"),
    (0.01, "f0, f1 and f3 are significantly different from zero, f2 is not"),
])  # fmt: skip
def test_words_of_a_fit_follow_the_force_constants(f1, words):
    """The paper's constants, f1 -5e-5 or far from zero, as uncertain as 100,000 configurations leave it.

    Their Cramér-Rao bound is 2.6e-4 eV/Å². Of the constants significantly different from zero f3 (-6.8e-4) is
    the closest, at 3.7 standard errors; of all seeds 88 % and 90 % give these words (normal errors of this
    covariance).
    """
    irreducible = make_irreducible("fcc", 5)
    supercell = make_supercell(make_crystal("fcc"), np.array([4, 4, 4]))
    axis = np.arange(-12, 13) / 4
    values = load_model("ni_fcc_paper").ifcs["u3_paper"].values
    truth = np.array([values[name] for name in irreducible.names])
    position = irreducible.names.index("f1")
    truth[position] = truth[position] if f1 is None else f1
    volume = simulate_volume(irreducible, truth, supercell, TEMPERATURE, (axis, axis, axis))
    case = Known(irreducible, supercell, truth, volume)
    problem = case.problem(with_noise(volume, NOISE, 0), NOISE, prior_scale=1.0)
    fit = refine(problem, truth)
    sd = np.sqrt(np.diag(fit.covariance))
    assert sd[position] == pytest.approx(2.6e-4, rel=0.05)
    constants = summarise_normal(fit.irreducible, sd, problem.prior_scales)
    found = summarise_shells(
        irreducible.names, irreducible.shells, constants, fit.covariance, problem.prior_scales, 0.0
    )
    assert found[5].words == words
