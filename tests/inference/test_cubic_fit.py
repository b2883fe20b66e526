"""Third-order force constants in the point fit and in the posterior."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy

from bayestds.inference.model import whitened_posterior
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import curvature, point_fit, refine
from bayestds.inference.posterior import make_target, sample_posterior, starting_points
from bayestds.inference.predictive import make_predictions
from bayestds.inference.priors import make_prior
from bayestds.inference.problem import direct_engine
from tests.cubic_problems import FIRST, PRIOR, known_cubic


@pytest.fixture(scope="module")
def case():
    return known_cubic()


@pytest.fixture(scope="module")
def fitted(case):
    """The fit to the noise-free volume, from other second-order constants and no third-order ones."""
    return point_fit(case.problem(), 0.8 * case.known.truth)


def test_both_orders_are_found(case, fitted):
    assert fitted.converged
    # A fit ends where the next step is below 1e-3 standard errors; two steps more are allowed for.
    sd = np.sqrt(np.diag(fitted.covariance))
    assert np.abs(np.append(fitted.irreducible, fitted.cubic) - case.truth).max() < 1e-3
    assert (np.abs(np.append(fitted.irreducible, fitted.cubic) - case.truth) < 3e-3 * sd).all()
    assert fitted.derivative.shape == (len(fitted.residual), len(case.truth))


def _one_step(problem, truth):
    """The curvature at the truth, from which one Gauss-Newton step leads to the estimate."""
    forward = problem.forward_model(direct_engine(problem))
    return curvature(forward, problem.likelihood, jnp.asarray(truth), jnp.asarray(problem.parameter_scales))


def test_a_prior_that_allows_no_third_order_leaves_the_harmonic_estimate(case):
    problem, n = case.noisy(0.01, 1), len(case.known.truth)
    tight = replace(problem, cubic_scales=np.full(3, 1e-7))
    one = _one_step(tight, np.append(case.known.truth, np.zeros(3))).newton
    other = _one_step(problem.harmonic, case.known.truth).newton
    np.testing.assert_allclose(one.covariance[:n, :n], other.covariance, rtol=1e-8)
    np.testing.assert_allclose(one.step[:n], other.step, rtol=1e-6)
    assert np.abs(one.step[n:]).max() < 1e-7


def test_pulls_over_noisy_volumes(case):
    pulls = []
    for seed in range(30):
        step = _one_step(case.noisy(0.02, seed), case.truth).newton
        pulls.append(np.linalg.cholesky(step.precision).T @ step.step)
    # The rms of 240 standard normal values is 1 ± 0.046: chance is outside once in 1,000 times.
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.15)


def test_errors_of_one_order_allow_for_the_other(case, fitted):
    n, precision = len(fitted.irreducible), fitted.precision
    np.testing.assert_allclose(
        np.linalg.inv(fitted.irreducible_precision), fitted.covariance[:n, :n], rtol=1e-8
    )
    # Known third-order constants would leave smaller errors.
    assert (np.diag(fitted.covariance)[:n] > np.diag(np.linalg.inv(precision[:n, :n]))).all()


def _target(case, problem, fit):
    prior = make_prior(problem.prior_scales, case.known.irreducible.shells, cubic_scales=problem.cubic_scales)
    return make_target(fit, prior)


@pytest.mark.slow
def test_coordinates_whiten_both_orders_together(case, fitted):
    # Without noise the residual vanishes, and the curvature at the fit is that of Gauss and Newton.
    target = _target(case, case.problem(), fitted)
    origin = {name: np.zeros(z.shape[1:]) for name, z in starting_points(target, 1, 0).items()}
    flat, unravel = jax.flatten_util.ravel_pytree(origin)
    energy = partial(potential_energy, whitened_posterior, target.arguments, {})
    curvature = jax.hessian(lambda z: energy(unravel(z)))(flat)
    np.testing.assert_allclose(curvature, np.eye(8), atol=1e-3)


def test_prior_of_the_third_order_in_the_posterior(case, fitted):
    problem = case.problem()
    target = _target(case, problem, fitted)
    away = {name: np.zeros(z.shape[1:]) for name, z in starting_points(target, 1, 0).items()}
    wider = replace(target, prior=replace(target.prior, cubic_scales=2 * target.prior.cubic_scales))
    one, other = (potential_energy(whitened_posterior, each.arguments, {}, away) for each in (target, wider))
    expected = 0.5 * ((fitted.cubic / PRIOR) ** 2).sum() * (1 - 1 / 4) - 3 * np.log(2)
    assert float(one - other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_posterior_agrees_with_the_normal_approximation(case):
    # At four times this noise the posterior of the third order is skewed: its mean is half an error off.
    problem = case.noisy(0.005, 3)
    fit = refine(problem, case.known.truth)
    target = _target(case, problem, fit)
    draws = sample_posterior(target, Sampling(4, 500, 200, 0))
    cubic = draws.sites["cubic"]
    assert cubic.shape == (4, 500, len(FIRST))
    both = np.concatenate([draws.sites["irreducible"], cubic], axis=-1).reshape(2000, -1)
    z = (both - np.append(fit.irreducible, fit.cubic)) @ np.linalg.cholesky(fit.precision)
    # Draws are at least 1,000 independent ones: means within 4.7/√1000, variances within 4.7 √(2/1000).
    assert np.abs(z.mean(axis=0)).max() < 0.15
    np.testing.assert_allclose(z.var(axis=0), 1.0, atol=0.21)
    stars = np.zeros(len(fit.residual), dtype=int)
    predictions = make_predictions(target, draws, stars, 0)
    assert np.isfinite(predictions.replicated).all()
    assert predictions.prior_cubic.std() == pytest.approx(PRIOR, rel=0.1)
    spread = predictions.replicated.std(axis=(0, 1)) * np.sqrt(np.asarray(problem.likelihood.weight))
    # A replicate has the noise of the data and the width of the posterior: 8 constants, 212 points.
    assert np.median(spread) == pytest.approx(1.0, abs=0.2)
