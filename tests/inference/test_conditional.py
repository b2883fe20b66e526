"""Correlated noise: draws and conditional densities, against dense matrices."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayestds.inference.conditional import conditional_log_density, draw_noise
from bayestds.inference.correlation import make_correlation

N_POINTS = 14
MEMBERS = (np.array([0, 3, 4, 9]), np.array([1, 2, 5, 6, 7, 8]))
GROUPS = np.array([0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 2, 2, 2, 3])


@pytest.fixture(scope="module")
def parts():
    """Correlation, and the inverse of what it says as a dense matrix."""
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=(len(members), 3)) for members in MEMBERS]
    common = rng.normal(size=(N_POINTS, 2))
    correlation = make_correlation(rng.uniform(0.2, 1, N_POINTS), MEMBERS, factors, common)
    return correlation, np.linalg.inv(np.asarray(correlation.times(jnp.eye(N_POINTS))))


def test_draws_have_the_covariance(parts):
    """200,000 draws: an element is known to √(2/2e5) = 0.3 % of the variances."""
    correlation, covariance = parts
    noise = draw_noise(correlation, 200_000, seed=1)
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(noise.mean(axis=0) / sd).max() < 0.01
    assert np.abs((np.cov(noise.T) - covariance) / np.outer(sd, sd)).max() < 0.015


def test_conditional_densities_are_ratios(parts):
    """p(group | rest) = p(all) / p(rest)."""
    correlation, covariance = parts
    misfit = np.random.default_rng(2).normal(size=(3, N_POINTS))
    found = conditional_log_density(correlation, misfit, GROUPS)
    whole = multivariate_normal(np.zeros(N_POINTS), covariance).logpdf(misfit)
    for group in range(4):
        rest = group != GROUPS
        part = multivariate_normal(np.zeros(rest.sum()), covariance[np.ix_(rest, rest)])
        np.testing.assert_allclose(found[:, group], whole - part.logpdf(misfit[:, rest]), rtol=1e-8)
