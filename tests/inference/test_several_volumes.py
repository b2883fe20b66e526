"""Several volumes in one fit, against the constants that they were made with and against sums by hand."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from bayestds.crystal.supercell import make_supercell
from bayestds.errors import ModelError
from bayestds.inference.consistency import Consistency, consistency
from bayestds.inference.fit_result import PointFit
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.point_fit import joint_fit, point_fit
from bayestds.inference.problem import Problem, joined, with_trend
from bayestds.inference.sums import direct_model
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.instrument import Background
from bayestds.scattering.simulation import simulate_volume
from tests.cubic_problems import KnownCubic, known_cubic
from tests.fit_problems import Known, known, with_noise

PRIOR = 100.0
TEMPERATURES = (150.0, 250.0, 300.0, 400.0)
SOFTENING = np.array([0.05, 0.02, -0.03, 0.06, 0.01])
"""Change of the true constants over 100 K, eV/Å²."""

DISAGREEMENT = np.array([0.0, 0.0, 0.06, 0.0, 0.03])


@pytest.fixture(scope="module")
def case() -> Known:
    return known("fcc", 2, steps=12)


def simulated(
    case: Known, temperature: float, constants: np.ndarray, part: str, sigma: float, seed: int
) -> Problem:
    """The problem of one volume: half of reciprocal space, a plane, or all of it; noise-free at seed 0."""
    axes = tuple(case.volume[name].values for name in "hkl")
    scale = np.exp(temperature / 100)
    volume = simulate_volume(case.irreducible, constants, case.supercell, temperature, axes, scale=scale)
    if seed:
        volume = with_noise(volume, sigma, seed)
    if part == "half":
        volume = volume.where(volume["h"] > 0)
    if part == "plane":
        volume = volume.where(volume["l"] == 0)
    return case.problem(volume, sigma, PRIOR).with_volume(temperature=temperature)


def fitted(
    problems: list[Problem], start: np.ndarray, trend_scale: float | None = None
) -> tuple[list[PointFit], PointFit]:
    fits = [point_fit(problem, start) for problem in problems]
    problem = joined(problems)
    return fits, joint_fit(problem if trend_scale is None else with_trend(problem, trend_scale), fits)


def softening(case: Known, temperature: float) -> np.ndarray:
    return case.truth + SOFTENING * (temperature - np.mean(TEMPERATURES)) / 100


def series(case: Known, sigma: float, seed: int) -> list[Problem]:
    return [
        simulated(case, t, softening(case, t), "all", sigma, seed and seed + i)
        for i, t in enumerate(TEMPERATURES)
    ]


def sd(fit: PointFit) -> np.ndarray:
    return np.sqrt(np.diag(fit.covariance))


@pytest.fixture(scope="module")
def merged(case):
    """Half of reciprocal space at 100 K and a plane at 300 K, of other scales and noise."""
    problems = [
        simulated(case, 100.0, case.truth, "half", 0.05, 1),
        simulated(case, 300.0, case.truth, "plane", 0.02, 2),
    ]
    return problems, *fitted(problems, case.truth)


def test_noise_free_volumes_give_back_the_truth(case):
    problems = [
        simulated(case, 100.0, case.truth, "half", 1e-4, 0),
        simulated(case, 300.0, case.truth, "plane", 1e-4, 0),
    ]
    _, joint = fitted(problems, 0.8 * case.truth)
    assert joint.converged
    assert np.abs(joint.irreducible - case.truth).max() < 1e-6
    assert [float(fit.quadratic.log_scale) for fit in joint.volumes] == pytest.approx([1.0, 3.0], abs=1e-4)


def test_merged_volumes_are_better_than_each(case, merged):
    _, fits, joint = merged
    assert joint.converged
    assert all((sd(joint) < sd(fit)).all() for fit in fits)
    assert min(one.p_value for one in joint.consistency) > 1e-3


def test_fisher_information_is_the_sum_of_those_of_the_volumes(merged):
    problems, _, joint = merged
    expected = np.diag(problems[0].prior_scales ** -2.0)
    for problem, fit in zip(problems, joint.volumes, strict=True):
        weight = np.asarray(problem.volumes[0].likelihood.weight)
        centred = fit.derivative - weight @ fit.derivative / weight.sum()
        expected += centred.T @ (weight[:, None] * centred)
    assert joint.precision == pytest.approx(expected, rel=1e-9)


def test_standard_errors_of_merged_volumes_hold(case):
    pulls = []
    for seed in range(1, 13):
        problems = [
            simulated(case, 100.0, case.truth, "half", 0.05, seed),
            simulated(case, 300.0, case.truth, "plane", 0.02, seed + 100),
        ]
        _, joint = fitted(problems, case.truth)
        pulls.append(np.linalg.cholesky(joint.precision).T @ (joint.irreducible - case.truth))
    low, high = chi2.ppf([0.001, 0.999], np.size(pulls))
    assert low < float(np.square(pulls).sum()) < high


def test_two_copies_of_a_volume_are_one_of_half_the_variance(case):
    """Equal copies have equal best scales, so that profiling one or two of them is the same."""
    problem = simulated(case, 300.0, case.truth, "all", 0.05, 3)
    _, joint = fitted([problem, problem], case.truth)
    likelihood = problem.volumes[0].likelihood
    twice = replace(likelihood, weight=2 * likelihood.weight)
    single = point_fit(problem.with_volume(likelihood=twice), case.truth)
    assert joint.irreducible == pytest.approx(single.irreducible, abs=2e-3 * sd(single).min())
    assert joint.covariance == pytest.approx(single.covariance, rel=1e-3)
    assert [one.chi_square for one in joint.consistency] == pytest.approx([0.0, 0.0], abs=1e-3)


@pytest.mark.slow
def test_learned_noise_is_that_of_the_own_fit(case):
    problems = [simulated(case, 300.0, case.truth, "all", 0.05, seed) for seed in (4, 5)]
    _, joint = fitted(problems, case.truth)
    learned = [problem.with_volumes(problem.volumes[0].with_learned_noise) for problem in problems]
    fits, found = fitted(learned, case.truth)
    assert found.converged
    for volume, fit in zip(found.problem.volumes, fits, strict=True):
        expected = volume.grid.multiplicity / float(fit.volumes[0].quadratic.noise_variance)
        assert np.asarray(volume.likelihood.weight) == pytest.approx(expected)
    # Each noise level is known to 1/√(2N), some 4 %.
    assert sd(found) == pytest.approx(sd(joint), rel=0.2)


def test_noise_free_series_gives_back_constants_and_trend(case):
    _, joint = fitted(series(case, 1e-3, 0), case.truth, trend_scale=1.0)
    assert joint.converged
    assert joint.problem.reference_temperature == 275
    assert joint.irreducible == pytest.approx(case.truth, abs=1e-6)
    assert joint.trend == pytest.approx(SOFTENING, abs=1e-6)
    at_250 = joint.volumes[1].parameters
    assert at_250 == pytest.approx(joint.irreducible - 0.25 * joint.trend, abs=1e-12)


@pytest.mark.slow
def test_standard_errors_of_a_series_hold(case):
    truth = np.append(case.truth, SOFTENING)
    pulls = []
    for seed in range(1, 9):
        _, joint = fitted(series(case, 0.01, 10 * seed), case.truth, trend_scale=1.0)
        assert joint.converged
        pulls.append(np.linalg.cholesky(joint.precision).T @ (joint.parameters - truth))
        assert min(one.p_value for one in joint.consistency) > 1e-4
    low, high = chi2.ppf([0.001, 0.999], np.size(pulls))
    assert low < float(np.square(pulls).sum()) < high
    assert joint.problem.split(sd(joint))["trend"] == pytest.approx(sd(joint)[len(case.truth) :])


@pytest.mark.slow
def test_series_without_a_trend_is_inconsistent(case):
    _, joint = fitted(series(case, 0.01, 10), case.truth)
    assert len(joint.trend) == 0
    assert min(one.p_value for one in joint.consistency) < 1e-6


@pytest.mark.slow
def test_prior_of_the_trend_decides_where_the_data_are_silent(case):
    problems = [simulated(case, t, case.truth, "plane", 1e5, 0) for t in (200.0, 300.0)]
    _, joint = fitted(problems, case.truth, trend_scale=0.1)
    assert sd(joint)[5:] == pytest.approx(np.full(5, 0.1 * PRIOR), rel=1e-3)


def test_volume_that_disagrees_is_told_from_the_others(case):
    constants = [case.truth, case.truth, case.truth + DISAGREEMENT, case.truth]
    problems = [
        simulated(case, 300.0, values, "all", 0.01, seed) for seed, values in enumerate(constants, start=6)
    ]
    _, joint = fitted(problems, case.truth)
    chi_squares = [one.chi_square for one in joint.consistency]
    assert np.argmax(chi_squares) == 2
    assert joint.consistency[2].p_value < 1e-6
    _, agreeing = fitted(problems[:2] + problems[3:], case.truth)
    assert min(one.p_value for one in agreeing.consistency) > 1e-3


def test_consistency_has_the_distribution_that_it_claims():
    """Linear volumes with their estimates drawn from normal distributions."""
    rng = np.random.default_rng(0)
    square = rng.normal(size=(3, 3, 3))
    informations = [a @ a.T + 0.5 * np.eye(3) for a in square]
    total = np.linalg.inv(sum(informations))
    found = []
    for _ in range(2000):
        own = [rng.multivariate_normal(np.ones(3), np.linalg.inv(f)) for f in informations]
        joint = total @ sum(f @ x for f, x in zip(informations, own, strict=True))
        found.append(consistency(own[0], informations[0], joint, total))
    assert {one.degrees_of_freedom for one in found} == {3}
    assert np.mean([one.chi_square for one in found]) == pytest.approx(3, abs=4 * np.sqrt(6 / 2000))
    assert np.mean([one.p_value < 0.05 for one in found]) == pytest.approx(0.05, abs=0.02)


def test_volume_that_decides_alone_is_not_tested():
    found = consistency(np.ones(2), np.eye(2), np.ones(2), np.diag([1.0, 0.5]))
    assert found == Consistency(0.0, 1, 1.0)


def test_trend_at_one_temperature_is_refused(case):
    problem = case.problem()
    with pytest.raises(ModelError, match="no temperature trend"):
        with_trend(joined([problem, problem]), 0.05)


def test_volumes_of_other_models_are_refused(case):
    problem = case.problem()
    small = make_supercell(case.supercell.crystal, [2, 2, 2])
    for change in (
        {"given_scales": 2 * problem.given_scales},
        {"given_cubic_scales": np.ones(3)},
        {"supercell": small},
    ):
        with pytest.raises(ModelError, match="do not share"):
            joined([problem, replace(problem, **change)])


def test_joint_fit_of_one_volume_is_its_point_fit(case):
    problem = simulated(case, 300.0, case.truth, "half", 0.05, 9)
    fits, joint = fitted([problem], case.truth)
    assert joint.irreducible == pytest.approx(fits[0].irreducible, abs=2e-3 * sd(joint).min())
    assert joint.consistency[0].degrees_of_freedom == 0


@pytest.fixture(scope="module")
def cubic_case() -> KnownCubic:
    return known_cubic(steps=6)


def test_volumes_share_constants_of_the_third_order(cubic_case):
    """Noise-free volumes at two temperatures, whose anharmonic scattering grows with T², give them back."""
    problems = []
    for temperature in (200.0, 400.0):
        problem = cubic_case.problem().with_volume(temperature=temperature)
        (volume,) = problem.volumes
        truth = jnp.asarray(cubic_case.truth)
        value = log_intensity(direct_model(problem, volume, truth), truth)
        likelihood = LogNormal(value + temperature / 100, jnp.full(len(value), 1e6**2))
        problems.append(problem.with_volume(likelihood=likelihood))
    joint = point_fit(joined(problems), 0.9 * cubic_case.known.truth)
    assert joint.converged
    assert list(joint.blocks) == ["irreducible", "cubic"]
    assert joint.irreducible == pytest.approx(cubic_case.known.truth, rel=1e-5)
    assert joint.cubic == pytest.approx(cubic_case.cubic, rel=1e-5)
    assert all((sd(joint) < sd(own)).all() for own in joint.own)
    assert joint.consistency[0].degrees_of_freedom == 8


def test_parameters_of_each_volume_are_those_it_depends_on(cubic_case):
    """φ at its temperature, the shared γ, and the background of its own."""
    problem = cubic_case.problem()
    n_points = problem.volumes[0].n_points
    problems = []
    for temperature, n_terms in ((200.0, 1), (400.0, 2)):
        names = tuple(map(str, range(n_terms)))
        background = Background(jnp.ones((n_points, n_terms)), jnp.ones(n_terms), names)
        problems.append(problem.with_volume(temperature=temperature, effects=(background,)))
    both = with_trend(joined(problems), 0.1)
    theta = np.random.default_rng(0).normal(size=5 + 5 + 3 + 1 + 2)
    phi, trend, cubic, first, second = np.split(theta, [5, 10, 13, 14])
    blocks = both.split(theta)
    assert list(blocks) == ["irreducible", "trend", "cubic", "volume_1_background", "volume_2_background"]
    np.testing.assert_array_equal(np.concatenate(list(blocks.values())), theta)
    for design, lag, own in zip(both.designs, (-1.0, 1.0), (first, second), strict=True):
        np.testing.assert_allclose(design @ theta, np.concatenate([phi + lag * trend, cubic, own]))
