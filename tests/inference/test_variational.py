"""Normal approximations, on a posterior that is nearly normal and on one that is not."""

from dataclasses import replace

import numpy as np
import pytest

from bayestds.inference.model import PARAMETERS
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target
from bayestds.inference.variational import approximate_posterior
from tests.fit_problems import known, with_noise


@pytest.fixture(scope="module")
def fitted():
    case = known("fcc", 1, steps=6)
    problem = case.problem(with_noise(case.volume, 1e-3, 0), noise=1e-3, prior_scale=2.0)
    return problem, point_fit(problem, case.truth)


@pytest.fixture(scope="module")
def target(fitted):
    problem, fit = fitted
    return make_target(fit, problem.prior())


def test_laplace_has_the_moments_of_the_point_fit(fitted, target):
    """4,000 independent draws: 1.6 % of a standard deviation in the mean, 1.1 % in the deviations."""
    draws = approximate_posterior(target, "laplace", Sampling(seed=1)).draws
    phi, fit = draws.sites["irreducible"], fitted[1]
    assert phi.shape == (1, 4000, 3)
    assert draws.statistics == {}
    sd = np.sqrt(np.diag(fit.covariance))
    assert np.abs((phi[0].mean(axis=0) - fit.irreducible) / sd).max() < 0.065
    np.testing.assert_allclose(
        np.cov(phi[0].T) / np.outer(sd, sd), fit.covariance / np.outer(sd, sd), atol=0.1
    )


def test_importance_ratios_are_those_of_the_densities(fitted, target):
    """Where the likelihood is made normal by hand, both densities are equal up to a constant."""
    (volume,) = target.volumes
    narrow = replace(volume.likelihood, weight=volume.likelihood.weight * 1e4)
    problem = fitted[0].with_volume(likelihood=narrow)
    sharp = make_target(point_fit(problem, fitted[1].irreducible), target.prior)
    ratios = approximate_posterior(sharp, "laplace", Sampling(draws=50)).log_ratios
    assert ratios.std() < 0.05
    location, unit = sharp.coordinates[PARAMETERS]
    wrong = {PARAMETERS: (location, 1.5 * unit)}
    assert (
        approximate_posterior(
            replace(sharp, coordinates=wrong), "laplace", Sampling(draws=50)
        ).log_ratios.std()
        > 0.5
    )


def test_fitted_normal_finds_the_posterior_from_a_wrong_start(fitted, target):
    """SVI from coordinates that are off by a third of a standard deviation, and a quarter too wide."""
    fit = fitted[1]
    sd = np.sqrt(np.diag(fit.covariance))
    location, unit = target.coordinates[PARAMETERS]
    moved = {PARAMETERS: (location + sd / 3, 1.25 * unit)}
    found = approximate_posterior(replace(target, coordinates=moved), "normal", Sampling(seed=2))
    phi = found.draws.sites["irreducible"][0]
    assert np.abs((phi.mean(axis=0) - fit.irreducible) / sd).max() < 0.25
    assert np.abs(phi.std(axis=0) / sd - 1).max() < 0.12
