"""The NumPyro model: densities, coordinates, behaviour outside the stable region."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import log_density
from scipy.stats import norm

from bayestds.inference.information import (
    clustered_covariance,
    fisher_information,
    log_intensity_and_jacobian,
)
from bayestds.inference.model import (
    constrained_log_likelihood,
    thermal_diffuse_scattering,
    whitened,
)
from bayestds.inference.noise import FitData, log_likelihood, make_fit_data, residual
from bayestds.scattering.averaging import Observations
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.grid import IrreducibleGrid
from tests.fit_problems import TEMPERATURE, known, with_noise


@pytest.fixture(scope="module")
def case():
    return known("fcc", 2, steps=9)


@pytest.fixture(scope="module")
def problem(case):
    return case.problem(with_noise(case.volume, 0.05, 0), noise=0.05, prior_scale=2.0)


@pytest.fixture(scope="module")
def forward(case, problem):
    engine = make_engine(case.supercell, problem.grid.q_points)
    return make_forward_model(case.irreducible, case.supercell, TEMPERATURE, engine)


def _data(rng: np.random.Generator, learned: bool = False) -> FitData:
    return FitData(jnp.asarray(rng.normal(size=30)), jnp.asarray(rng.uniform(1, 5, 30)), learned)


@pytest.mark.parametrize("learned", [False, True])
def test_likelihood_does_not_depend_on_the_scale(learned):
    rng = np.random.default_rng(0)
    data, model = _data(rng, learned), jnp.asarray(rng.normal(size=30))
    assert log_likelihood(data, model + 3.7) == pytest.approx(float(log_likelihood(data, model)), rel=1e-12)


def test_profiled_likelihood_is_the_maximum_over_the_scale():
    rng = np.random.default_rng(1)
    data, model = _data(rng), rng.normal(size=30)
    scales = np.linspace(-2, 2, 4001)[:, None]
    densities = norm.logpdf(data.log_intensity, model + scales, np.asarray(data.weight) ** -0.5).sum(axis=1)
    constant = norm.logpdf(0, 0, np.asarray(data.weight) ** -0.5).sum()
    found = float(log_likelihood(data, jnp.asarray(model)))
    assert found == pytest.approx(densities.max() - constant, abs=1e-4)


def test_learned_noise_is_profiled_too():
    rng = np.random.default_rng(2)
    data, other = _data(rng, learned=True), jnp.asarray(rng.normal(size=30))
    models = [jnp.zeros(30), other]
    misfits = [np.asarray(residual(data, model)) for model in models]

    def best(misfit: np.ndarray) -> float:
        sigmas = np.linspace(0.3, 6, 20001)[:, None] / np.asarray(data.weight) ** 0.5
        return norm.logpdf(misfit, 0, sigmas).sum(axis=1).max()

    found = float(log_likelihood(data, models[1]) - log_likelihood(data, models[0]))
    assert found == pytest.approx(best(misfits[1]) - best(misfits[0]), abs=1e-4)


def test_variance_loss_of_the_paper_is_the_case_of_equal_voxels():
    rng = np.random.default_rng(3)
    observed = rng.normal(size=50)
    axes = (np.zeros(1), np.zeros(1), np.zeros(1))
    grid = IrreducibleGrid(np.zeros((50, 3)), np.ones(50, dtype=int), np.zeros((1, 1, 1), dtype=int), axes)
    data = make_fit_data(Observations(grid, observed, None), noise=0.1)
    models = rng.normal(size=(2, 50))
    losses = [np.var(observed - model) for model in models]
    found = [float(log_likelihood(data, jnp.asarray(model))) for model in models]
    assert found[0] - found[1] == pytest.approx(-0.5 * 50 / 0.1**2 * (losses[0] - losses[1]), rel=1e-12)


def test_model_density_is_prior_times_likelihood(case, problem, forward):
    priors = jnp.asarray(problem.prior_scales)
    phi = jnp.asarray(case.truth)
    found, _ = log_density(
        thermal_diffuse_scattering, (forward, problem.data, priors), {}, {"parameters": phi}
    )
    prior = norm.logpdf(case.truth, 0, problem.prior_scales).sum()
    expected = prior + float(constrained_log_likelihood(forward, problem.data, phi))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_whitened_coordinates_keep_the_density(case, problem, forward):
    rng = np.random.default_rng(4)
    n = len(case.truth)
    priors, location = jnp.asarray(problem.prior_scales), jnp.asarray(case.truth)
    scale = jnp.asarray(0.01 * np.tril(rng.normal(size=(n, n))) + 0.02 * np.eye(n))
    z = jnp.asarray(rng.normal(size=n))
    arguments = (forward, problem.data, priors)
    plain, _ = log_density(thermal_diffuse_scattering, arguments, {}, {"parameters": location + scale @ z})
    moved, _ = log_density(whitened, (location, scale, *arguments), {}, {"parameters_whitened": z})
    assert float(moved) == pytest.approx(float(plain), rel=1e-12)


@pytest.mark.parametrize("factor", [0.0, -1.0, -1e6])
def test_value_and_gradient_are_finite_where_the_crystal_is_unstable(case, problem, forward, factor):
    value, slope = jax.value_and_grad(lambda phi: constrained_log_likelihood(forward, problem.data, phi))(
        jnp.asarray(factor * case.truth)
    )
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    stable_value = constrained_log_likelihood(forward, problem.data, jnp.asarray(case.truth))
    assert value < stable_value
    # Going up the slope leads towards stability.
    assert slope @ (jnp.asarray(case.truth) * (1 - factor)) > 0


def test_fisher_information_is_the_curvature_of_the_likelihood(case, forward):
    """Without noise the Gauss-Newton curvature at the truth is the exact Hessian."""
    problem = case.problem(noise=1.0)
    phi = jnp.asarray(case.truth)
    exact = dataclasses.replace(problem.data, log_intensity=log_intensity(forward, phi))
    _, derivative = log_intensity_and_jacobian(forward, phi)
    information = np.asarray(fisher_information(exact, derivative))
    slope = jax.jit(jax.grad(lambda p: log_likelihood(exact, log_intensity(forward, p))))
    step = 1e-5
    hessian = np.array(
        [(slope(phi + step * e) - slope(phi - step * e)) / (2 * step) for e in np.eye(len(phi))]
    )
    assert -hessian == pytest.approx(information, rel=1e-5, abs=1e-6 * np.abs(information).max())


def test_clustered_covariance_is_the_sum_over_clusters():
    rng = np.random.default_rng(5)
    data, derivative, misfit = _data(rng), rng.normal(size=(30, 2)), rng.normal(size=30)
    cluster = rng.integers(0, 6, 30)
    precision = np.array([[40.0, 3.0], [3.0, 50.0]])
    weight = np.asarray(data.weight)
    centred = derivative - (weight[:, None] * derivative).sum(axis=0) / weight.sum()
    meat = np.zeros((2, 2))
    for label in set(cluster.tolist()):
        score = sum(weight[i] * misfit[i] * centred[i] for i in range(30) if cluster[i] == label)
        meat += np.outer(score, score)
    bread = np.linalg.inv(precision)
    n = len(set(cluster.tolist()))
    prior = np.array([0.3, 0.7])
    found = clustered_covariance(data, derivative, misfit, precision, prior, cluster)
    expected = bread @ (np.diag(prior) + meat * n / (n - 1)) @ bread
    assert np.asarray(found) == pytest.approx(expected, rel=1e-10)
    too_few = clustered_covariance(data, derivative, misfit, precision, prior, cluster % 2)
    assert np.isnan(np.asarray(too_few)).all()
