"""Third-order force constants in the point fit and in the posterior."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy

from bayestds.inference.ascent import Newton
from bayestds.inference.fit_result import PointFit
from bayestds.inference.model import scattering
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import Target, make_target, sample_posterior, starting_points
from bayestds.inference.predictive import PRIOR_DRAWS, make_predictions, prior_sites
from bayestds.inference.problem import Problem
from bayestds.inference.rounds import Ascent, refine
from bayestds.inference.sums import direct_model
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
    (volume,) = fitted.volumes
    assert volume.derivative.shape == (len(volume.residual), len(case.truth))


def _one_step(problem: Problem, truth: np.ndarray) -> Newton:
    """The Gauss-Newton step from the truth, which leads to the estimate."""
    forward = direct_model(problem, problem.volumes[0], jnp.asarray(truth))
    ascent, location = Ascent(problem, problem.volumes, (forward,), (None,)), jnp.asarray(truth)
    return ascent.newton(ascent.curvatures(location), location)


def test_a_prior_that_allows_no_third_order_leaves_the_harmonic_estimate(case):
    problem, n = case.noisy(0.01, 1), len(case.known.truth)
    tight = replace(problem, given_cubic_scales=np.full(3, 1e-7))
    one = _one_step(tight, np.append(case.known.truth, np.zeros(3)))
    other = _one_step(problem.harmonic, case.known.truth)
    np.testing.assert_allclose(one.covariance[:n, :n], other.covariance, rtol=1e-8)
    np.testing.assert_allclose(one.step[:n], other.step, rtol=1e-6)
    assert np.abs(one.step[n:]).max() < 1e-7


def test_pulls_over_noisy_volumes(case):
    pulls = []
    for seed in range(30):
        step = _one_step(case.noisy(0.02, seed), case.truth)
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


def _target(problem: Problem, fit: PointFit) -> Target:
    return make_target(fit, problem.prior())


@pytest.mark.slow
def test_coordinates_whiten_both_orders_together(case, fitted):
    # Without noise the residual vanishes, and the curvature at the fit is that of Gauss and Newton.
    target = _target(case.problem(), fitted)
    origin = {name: np.zeros(z.shape[1:]) for name, z in starting_points(target, 1, 0).items()}
    flat, unravel = jax.flatten_util.ravel_pytree(origin)
    energy = partial(potential_energy, scattering, target.arguments, {})
    curvature = jax.hessian(lambda z: energy(unravel(z)))(flat)
    np.testing.assert_allclose(curvature, np.eye(8), atol=1e-3)


def test_prior_of_the_third_order_in_the_posterior(case, fitted):
    problem = case.problem()
    target = _target(problem, fitted)
    away = {name: np.zeros(z.shape[1:]) for name, z in starting_points(target, 1, 0).items()}
    second, third = target.prior.scales
    wider = replace(target, prior=replace(target.prior, scales=(second, 2 * third)))
    one, other = (potential_energy(scattering, each.arguments, {}, away) for each in (target, wider))
    expected = 0.5 * ((fitted.cubic / PRIOR) ** 2).sum() * (1 - 1 / 4) - 3 * np.log(2)
    assert float(one - other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_posterior_agrees_with_the_normal_approximation(case):
    # The posterior of the third order is skewed in proportion to the noise: at eight times this one its mean
    # is half an error off, here 0.07.
    problem = case.noisy(0.0025, 3)
    fit = refine(problem, case.known.truth, lambda message: None)
    target = _target(problem, fit)
    draws = sample_posterior(target, Sampling(4, 500, 200, 0))
    cubic = draws.sites["cubic"]
    assert cubic.shape == (4, 500, len(FIRST))
    both = np.concatenate([draws.sites["irreducible"], cubic], axis=-1).reshape(2000, -1)
    z = (both - np.append(fit.irreducible, fit.cubic)) @ np.linalg.cholesky(fit.precision)
    # Draws are at least 1,000 independent ones: means within 4.7/√1000, variances within 4.7 √(2/1000).
    assert np.abs(z.mean(axis=0)).max() < 0.15
    np.testing.assert_allclose(z.var(axis=0), 1.0, atol=0.21)
    stars, prior = np.zeros(len(fit.volumes[0].residual), dtype=int), prior_sites(target, PRIOR_DRAWS, 0)
    predictions = make_predictions(target, target.volumes[0], draws, prior, stars, 0)
    assert np.isfinite(predictions.replicated).all()
    assert prior["cubic"].std() == pytest.approx(PRIOR, rel=0.1)
    spread = predictions.replicated.std(axis=(0, 1)) * np.sqrt(
        np.asarray(problem.volumes[0].likelihood.weight)
    )
    # A replicate has the noise of the data and the width of the posterior: 8 constants, 212 points.
    assert np.median(spread) == pytest.approx(1.0, abs=0.2)
