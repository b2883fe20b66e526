"""Correlated precision against dense matrices, and the likelihood behind which it stands."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.inference.correlation import SMALLEST_EIGENVALUE, Correlation, make_correlation
from bayestds.inference.likelihoods.base import Quadratic, centred
from bayestds.inference.likelihoods.correlated import Correlated

N, SIZES = 60, (3, 7, 8, 20, 21)


@cache
def example() -> tuple[Correlation, np.ndarray]:
    """A correlation, and the covariance that it stands for; one point is in no block."""
    rng = np.random.default_rng(0)
    members = np.split(rng.permutation(N)[: sum(SIZES)], np.cumsum(SIZES)[:-1])
    variance, common = rng.uniform(0.5, 2, N), rng.normal(size=(N, 4))
    factors = [2 * rng.normal(size=(size, min(size, 5))) for size in SIZES]
    covariance = np.diag(variance) + common @ common.T
    for place, factor in zip(members, factors, strict=True):
        covariance[np.ix_(place, place)] += factor @ factor.T
    return make_correlation(variance, members, factors, common), covariance


def test_precision_is_the_inverse_of_the_covariance():
    correlation, covariance = example()
    # No direction of the blocks is so small that it was left out.
    assert sum(f.shape[0] * f.shape[2] for f in correlation.factors) >= sum(min(size, 5) for size in SIZES)
    values = np.random.default_rng(1).normal(size=(N, 3))
    expected = np.linalg.solve(covariance, values)
    assert np.asarray(correlation.times(jnp.asarray(values))) == pytest.approx(expected, rel=1e-9)
    one = np.asarray(correlation.times(jnp.asarray(values[:, 0])))
    assert one == pytest.approx(expected[:, 0], rel=1e-9)
    assert np.asarray(correlation.row_sums) == pytest.approx(np.linalg.inv(covariance).sum(axis=1), rel=1e-8)


def test_chi_square_and_its_slope():
    correlation, covariance = example()
    values = np.random.default_rng(2).normal(size=N)
    value, slope = jax.jit(jax.value_and_grad(correlation.square))(jnp.asarray(values))
    assert float(value) == pytest.approx(values @ np.linalg.solve(covariance, values), rel=1e-10)
    assert np.asarray(slope) == pytest.approx(2 * np.linalg.solve(covariance, values), rel=1e-8)


def test_directions_of_the_smallest_variance_are_left_out():
    factor = np.diag(np.sqrt([5.0, 2 * SMALLEST_EIGENVALUE, SMALLEST_EIGENVALUE / 2]))
    correlation = make_correlation(np.ones(3), [np.arange(3)], [factor], np.zeros((3, 0)))
    expected = np.diag(1 / (1 + np.array([5.0, 2 * SMALLEST_EIGENVALUE, 0.0])))
    assert np.asarray(correlation.times(jnp.eye(3))) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_degrees_of_freedom_are_those_of_the_noise_without_its_independent_part():
    correlation, covariance = example()
    independent = np.diag(np.asarray(correlation.root) ** -2)
    expected = np.trace(np.linalg.solve(covariance, covariance - independent))
    assert float(correlation.degrees_of_freedom) == pytest.approx(expected, rel=1e-10)


@pytest.fixture
def likelihood() -> Correlated:
    correlation, covariance = example()
    observed = jnp.asarray(np.random.default_rng(3).normal(size=N))
    return Correlated(observed, jnp.asarray(1 / covariance.diagonal()), correlation)


def test_scale_is_that_of_generalised_least_squares(likelihood):
    _, covariance = example()
    model = np.random.default_rng(4).normal(size=N)
    misfit = np.asarray(likelihood.log_intensity) - model
    ones = np.linalg.solve(covariance, np.ones(N))
    expected = misfit - ones @ misfit / ones.sum()
    assert np.asarray(likelihood.quadratic(jnp.asarray(model), 0).residual) == pytest.approx(
        expected, rel=1e-9
    )
    columns = np.random.default_rng(5).normal(size=(N, 2))
    assert np.asarray(centred(likelihood.correlation, jnp.asarray(columns))) == pytest.approx(
        columns - ones @ columns / ones.sum(), rel=1e-9
    )


def test_likelihood_is_the_maximum_over_the_scale(likelihood):
    _, covariance = example()
    model = np.random.default_rng(6).normal(size=N)
    shifts = np.linspace(-3, 3, 60_001)
    misfit = np.asarray(likelihood.log_intensity) - model
    ones = np.ones(N)
    inverse = np.linalg.inv(covariance)
    # (r - s)ᵀ Σ⁻¹ (r - s) for every s.
    squares = misfit @ inverse @ misfit - 2 * shifts * (ones @ inverse @ misfit) + shifts**2 * inverse.sum()
    found = float(likelihood.log_likelihood(jnp.asarray(model)))
    assert found == pytest.approx(-0.5 * squares.min(), abs=1e-6)
    assert found == pytest.approx(float(likelihood.log_likelihood(jnp.asarray(model + 2.0))), rel=1e-9)


def test_expected_chi_square_is_the_degrees_of_freedom():
    """Noise without the independent part, 400 draws: their mean is good to sqrt(2/400/dof) = 1.6 %."""
    correlation, covariance = example()
    independent = np.diag(np.asarray(correlation.root) ** -2)
    values, vectors = np.linalg.eigh(covariance - independent)
    root = vectors * np.sqrt(np.maximum(values, 0))
    draws = jnp.asarray(root @ np.random.default_rng(7).normal(size=(N, 400)))

    def reduced(draw: jax.Array) -> float:
        score, one = correlation.times(draw), jnp.ones(())
        here = Quadratic(one, draw, score, correlation, jnp.ones(N), correlation.square(draw), one)
        return float(here.reduced_chi_square(-1))

    assert np.mean([reduced(draw) for draw in draws.T]) == pytest.approx(1, abs=0.07)
