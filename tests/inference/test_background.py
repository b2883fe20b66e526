"""Strengths of a background as parameters: point fit, joint fit and posterior, against known strengths."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayestds.inference.fit_result import PointFit
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import centred
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import joint_fit, point_fit
from bayestds.inference.posterior import make_target, sample_posterior
from bayestds.inference.predictive import make_predictions, prior_sites, star_labels
from bayestds.inference.problem import Problem, joined
from bayestds.scattering.beamline import Beamline
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.simulation import simulate_volume
from tests.densities import model_density
from tests.fit_problems import Known, known

STRENGTHS = np.array([0.05, 0.1, 0.03, 0.08])
PRIOR = 30.0


TEMPERATURE = 1500.0
"""So hot that several phonons scatter, which tells the stiffness from the scale."""


@pytest.fixture(scope="module")
def case() -> Known:
    cold = known("fcc", 2, steps=18)
    axes = tuple(cold.volume[name].values for name in "hkl")
    volume = simulate_volume(cold.irreducible, cold.truth, cold.supercell, TEMPERATURE, axes)
    return replace(cold, volume=volume)


def spoiled(case: Known, strengths: np.ndarray, seed: int, sigma: float = 0.01) -> Problem:
    """Data with a polarisation factor, on a background, with relative noise of every point."""
    problem = case.problem(noise=sigma, prior_scale=PRIOR).with_volume(temperature=TEMPERATURE)
    (volume,), crystal = problem.volumes, case.irreducible.crystal
    q_points = volume.grid.q_points
    longest = np.linalg.norm(crystal.scattering_vectors(q_points), axis=1).max()
    beamline = Beamline(crystal, wavelength=9 / longest, n_background=len(strengths))
    factor, background = beamline.effects(q_points)
    diffuse = np.exp(np.asarray(volume.likelihood.log_observed))
    measured = np.asarray(factor.values) * diffuse + np.asarray(background.terms) @ strengths
    weight = np.full(len(diffuse), sigma**-2.0)
    noise = sigma * np.random.default_rng(seed).normal(size=len(diffuse))
    likelihood = LogNormal(jnp.log(measured) + noise + 2.0, jnp.asarray(weight))
    return problem.with_volume(likelihood=likelihood, effects=(factor, background))


def truth_of(case: Known) -> np.ndarray:
    return np.append(case.truth, STRENGTHS)


@pytest.fixture(scope="module")
def fitted(case) -> tuple[Problem, PointFit]:
    problem = spoiled(case, STRENGTHS, 0)
    return problem, point_fit(problem, case.truth)


def test_constants_and_strengths_are_recovered_together(case):
    pulls = []
    for seed in range(4):
        fit = point_fit(spoiled(case, STRENGTHS, seed), 0.9 * case.truth)
        assert fit.converged
        assert list(fit.blocks) == ["irreducible", "background"]
        error = fit.parameters - truth_of(case)
        pulls.append(np.linalg.cholesky(fit.parameter_precision).T @ error)
    low, high = stats.chi2.ppf([0.001, 0.999], np.size(pulls))
    assert low < np.square(pulls).sum() < high


@pytest.mark.slow
def test_without_the_background_constants_are_wrong(case, fitted):
    problem, fit = fitted
    factor, _ = problem.volumes[0].effects
    wrong = point_fit(problem.with_volume(effects=(factor,)), case.truth)
    assert np.abs((wrong.irreducible - case.truth) / np.sqrt(np.diag(fit.covariance))).max() > 10


def test_errors_marginalise_the_strengths(case, fitted):
    problem, fit = fitted
    n = len(case.truth)
    total = np.linalg.inv(fit.parameter_precision)
    np.testing.assert_allclose(fit.covariance, total[:n, :n], rtol=1e-8)
    np.testing.assert_allclose(fit.background_standard_errors[0], np.sqrt(np.diag(total)[n:]), rtol=1e-8)
    # H = P + JᵀWJ with the derivative in which the strengths follow.
    (volume,) = fit.volumes
    _, derivative = log_intensity_and_jacobian(volume.forward, jnp.asarray(fit.parameters))
    precision = volume.quadratic.precision
    weighted = precision.times(centred(precision, jnp.asarray(volume.derivative_by_constants)))
    expected = np.diag(problem.prior_scales**-2.0) + np.asarray(derivative[:, :n].T @ weighted)
    np.testing.assert_allclose(fit.precision, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.slow
def test_truncation_is_taken_off_beside_a_background(case):
    """A rough engine under a strong background: the fit is still that of the direct form."""
    problem = spoiled(case, 20 * STRENGTHS, 0, sigma=1e-7)
    problem = replace(problem, tolerance=0.02)
    fit = point_fit(problem, case.truth)
    assert fit.converged
    assert np.abs(fit.volumes[0].truncation.offset).max() > 1e-5
    assert fit.residual_rms < 2e-7


@pytest.mark.slow
def test_volumes_of_a_joint_fit_have_backgrounds_of_their_own(case):
    other = np.array([0.1, 0.02, 0.05, 0.06])
    problems = [spoiled(case, STRENGTHS, 1), spoiled(case, other, 2)]
    fits = [point_fit(problem, case.truth) for problem in problems]
    joint = joint_fit(joined(problems), fits)
    assert joint.converged
    error = joint.parameters - np.concatenate([case.truth, STRENGTHS, other])
    square = error @ joint.parameter_precision @ error
    assert stats.chi2.ppf(0.001, 13) < square < stats.chi2.ppf(0.999, 13)
    for fit, volume in zip(fits, joint.volumes, strict=True):
        assert (np.diag(joint.covariance) < np.diag(fit.covariance)).all()
        np.testing.assert_allclose(volume.background, fit.volumes[0].background, atol=0.02)
    assert min(one.p_value for one in joint.consistency) > 1e-3
    total = np.linalg.inv(joint.parameter_precision)
    errors = np.concatenate(joint.background_standard_errors)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(total)[len(case.truth) :]), rtol=1e-6)
    # The other volume helps to find the constants, and so the background.
    assert (errors < np.concatenate([fit.background_standard_errors[0] for fit in fits])).all()


def test_density_is_prior_times_likelihood(case, fitted):
    problem, fit = fitted
    target = make_target(fit, problem.prior())
    (volume,) = target.volumes
    parameters = np.append(1.01 * case.truth, 1.1 * STRENGTHS)
    found = model_density(volume.forward, volume.likelihood, target.prior, parameters)
    value = log_intensity(volume.forward, jnp.asarray(parameters))
    expected = float(volume.likelihood.log_likelihood(value))
    expected += stats.norm.logpdf(1.01 * case.truth, 0, PRIOR).sum()
    expected += stats.norm.logpdf(1.1 * STRENGTHS).sum()
    weight = np.asarray(volume.likelihood.weight)
    expected += 0.5 * (np.log(weight).sum() - np.log(weight.sum()))
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_posterior_agrees_with_the_normal_approximation(case, fitted):
    problem, fit = fitted
    target = make_target(fit, problem.prior())
    draws = sample_posterior(target, Sampling(2, 400, 100, 0))
    for name, value, sd in (
        ("irreducible", fit.irreducible, np.sqrt(np.diag(fit.covariance))),
        ("background", fit.volumes[0].background, fit.background_standard_errors[0]),
    ):
        values = draws.sites[name].reshape(-1, len(value))
        np.testing.assert_allclose(values.std(axis=0), sd, rtol=0.2)
        assert np.abs((values.mean(axis=0) - value) / sd).max() < 0.3
    # The coordinates are whitened: steps are long.
    assert draws.statistics["n_steps"].mean() < 16
    stars = star_labels(problem.supercell, problem.volumes[0].grid.q_points)
    prior = prior_sites(target, 100, 0)
    predictions = make_predictions(target, target.volumes[0], draws, prior, stars, 0)
    scatter = (predictions.replicated.reshape(-1, len(stars)) - fit.volumes[0].log_intensity) / 0.01
    assert scatter.std() == pytest.approx(1, rel=0.05)
