"""The NumPyro model: densities, coordinates, behaviour outside the stable region."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import log_density
from scipy.special import logsumexp
from scipy.stats import norm

from bayestds.crystal.axes import GridAxes
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import fisher_information
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal, LogNormal, learned_log_normal
from bayestds.inference.likelihoods.make import make_likelihood
from bayestds.inference.likelihoods.profiled import Profiled
from bayestds.inference.model import PARAMETERS, Observation, observe, scattering
from bayestds.inference.sums import direct_model
from bayestds.scattering.agreement import Agreement
from bayestds.scattering.averaging import Observations
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.grid import IrreducibleGrid
from tests.densities import PLAIN, in_plain_coordinates, model_density
from tests.fit_problems import known, with_noise
from tests.results import made_up


@pytest.fixture(scope="module")
def case():
    return known("fcc", 2, steps=9)


@pytest.fixture(scope="module")
def problem(case):
    return case.problem(with_noise(case.volume, 0.05, 0), noise=0.05, prior_scale=2.0)


@pytest.fixture(scope="module")
def forward(case, problem):
    return direct_model(problem, problem.volumes[0], jnp.asarray(case.truth))


def constrained_log_likelihood(forward, likelihood, phi):
    """What a volume adds to the log density of a point fit, a penalty where the crystal is unstable."""
    volume = Observation(forward, Profiled(likelihood), jnp.eye(len(phi)), "")
    return log_density(observe, (volume, phi), {}, {})[0]


def _known(rng: np.random.Generator) -> LogNormal:
    return LogNormal(jnp.asarray(rng.normal(size=30)), jnp.asarray(rng.uniform(1, 5, 30)))


def _learned(rng: np.random.Generator) -> LearnedLogNormal:
    return learned_log_normal(rng.normal(size=30), rng.uniform(1, 5, 30))


@pytest.mark.parametrize("make", [_known, _learned])
def test_likelihood_does_not_depend_on_the_scale(make):
    rng = np.random.default_rng(0)
    likelihood, model = make(rng), jnp.asarray(rng.normal(size=30))
    expected = float(likelihood.log_likelihood(model))
    assert float(likelihood.log_likelihood(model + 3.7)) == pytest.approx(expected, rel=1e-12)


def test_profiled_likelihood_is_the_maximum_over_the_scale():
    rng = np.random.default_rng(1)
    likelihood, model = _known(rng), rng.normal(size=30)
    scales, deviations = np.linspace(-2, 2, 4001)[:, None], np.asarray(likelihood.weight) ** -0.5
    densities = norm.logpdf(likelihood.log_intensity, model + scales, deviations).sum(axis=1)
    constant = norm.logpdf(0, 0, deviations).sum()
    found = float(likelihood.log_likelihood(jnp.asarray(model)))
    assert found == pytest.approx(densities.max() - constant, abs=1e-4)


def test_scale_and_learned_noise_are_integrated_out():
    """Both on a grid, with flat priors of their logarithms."""
    rng = np.random.default_rng(2)
    likelihood, models = _learned(rng), [np.zeros(30), rng.normal(size=30)]
    scales, levels = np.linspace(-6, 6, 301)[:, None], np.exp(np.linspace(-2, 3, 301))[:, None, None]
    deviations = levels * np.asarray(likelihood.relative.weight) ** -0.5

    def integrated(model: np.ndarray) -> float:
        densities = norm.logpdf(likelihood.observed, model + scales, deviations).sum(axis=-1)
        return float(logsumexp(densities))

    found = [float(likelihood.log_likelihood(jnp.asarray(model))) for model in models]
    expected = [integrated(model) for model in models]
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-9)


def test_variance_loss_of_the_paper_is_the_case_of_equal_voxels():
    rng = np.random.default_rng(3)
    observed = rng.normal(size=50)
    axes = GridAxes((np.zeros(1), np.zeros(1), np.zeros(1)))
    grid = IrreducibleGrid(np.zeros((50, 3)), np.ones(50, dtype=int), np.zeros((1, 1, 1), dtype=int), axes)
    observations = Observations(grid, np.exp(observed), None, None, made_up(Agreement), np.ones(50))
    likelihood = make_likelihood(observations, noise=0.1)
    models = rng.normal(size=(2, 50))
    losses = [np.var(observed - model) for model in models]
    found = [float(likelihood.log_likelihood(jnp.asarray(model))) for model in models]
    assert found[0] - found[1] == pytest.approx(-0.5 * 50 / 0.1**2 * (losses[0] - losses[1]), rel=1e-12)


def test_model_density_is_prior_times_likelihood(case, problem, forward):
    likelihood = problem.volumes[0].likelihood
    found = model_density(forward, Profiled(likelihood), problem.normal_prior, case.truth)
    prior = norm.logpdf(case.truth, 0, problem.prior_scales).sum()
    expected = prior + float(constrained_log_likelihood(forward, likelihood, jnp.asarray(case.truth)))
    assert found == pytest.approx(expected, rel=1e-12)


def test_whitened_coordinates_keep_the_density(case, problem, forward):
    rng = np.random.default_rng(4)
    n = len(case.truth)
    location = jnp.asarray(case.truth)
    scale = jnp.asarray(0.01 * np.tril(rng.normal(size=(n, n))) + 0.02 * np.eye(n))
    z = jnp.asarray(rng.normal(size=n))
    likelihood = Profiled(problem.volumes[0].likelihood)
    prior, volumes, coordinates = in_plain_coordinates(forward, likelihood, problem.normal_prior)
    plain, _ = log_density(scattering, (prior, volumes, coordinates), {}, {PLAIN: location + scale @ z})
    coordinates = {PARAMETERS: (location, scale)}
    moved, _ = log_density(scattering, (prior, volumes, coordinates), {}, {f"{PARAMETERS}_whitened": z})
    assert float(moved) == pytest.approx(float(plain), rel=1e-12)


@pytest.mark.parametrize("factor", [0.0, -1.0, -1e6])
def test_value_and_gradient_are_finite_where_the_crystal_is_unstable(case, problem, forward, factor):
    def value_at(phi):
        return constrained_log_likelihood(forward, problem.volumes[0].likelihood, phi)

    value, slope = jax.value_and_grad(value_at)(jnp.asarray(factor * case.truth))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert value < value_at(jnp.asarray(case.truth))
    # Going up the slope leads towards stability.
    assert slope @ (jnp.asarray(case.truth) * (1 - factor)) > 0


def test_fisher_information_is_the_curvature_of_the_likelihood(case, forward):
    """Without noise the Gauss-Newton curvature at the truth is the exact Hessian."""
    problem = case.problem(noise=1.0)
    phi = jnp.asarray(case.truth)
    value, derivative = log_intensity_and_jacobian(forward, phi)
    exact = dataclasses.replace(problem.volumes[0].likelihood, log_intensity=value)
    precision = exact.quadratic(value, len(phi)).precision
    information = np.asarray(fisher_information(precision, derivative))
    slope = jax.jit(jax.grad(lambda p: exact.log_likelihood(log_intensity(forward, p))))
    step = 1e-5
    hessian = np.array(
        [(slope(phi + step * e) - slope(phi - step * e)) / (2 * step) for e in np.eye(len(phi))]
    )
    assert -hessian == pytest.approx(information, rel=1e-5, abs=1e-6 * np.abs(information).max())
