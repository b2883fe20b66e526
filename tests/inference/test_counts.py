"""Fits and posteriors of counts, against densities of scipy and the constants that they were made with."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import fisher_information
from bayestds.inference.likelihoods.counts import FEWEST_COUNTS, GammaPoisson, Poisson
from bayestds.inference.likelihoods.floor import SMALLEST_LEVEL
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target, sample_posterior
from bayestds.inference.predictive import make_predictions, prior_sites, star_labels
from bayestds.inference.problem import Problem
from bayestds.inference.sums import direct_model
from bayestds.scattering.forward import log_intensity
from tests.densities import model_density
from tests.fit_problems import Known, known

PRIOR = 100.0


@pytest.fixture(scope="module")
def case() -> Known:
    return known("fcc", 2, steps=10)


def counted_problem(case: Known, mean_counts: float, seed: int, spread: float = 0.0) -> Problem:
    """Poisson counts of voxels that were measured for different times; gamma expectations if spread."""
    rng = np.random.default_rng(seed)
    problem = case.problem(prior_scale=PRIOR)
    (volume,) = problem.volumes
    rate, multiplicity = np.exp(np.asarray(volume.likelihood.log_observed)), volume.grid.multiplicity
    exposure = multiplicity * rng.uniform(0.5, 2, len(rate))
    exposure *= mean_counts * multiplicity.sum() / (exposure @ rate)
    expected = exposure * rate * (rng.gamma(spread**-2, spread**2, len(rate)) if spread else 1.0)
    numbers = rng.poisson(expected).astype(float)
    return problem.with_volume(likelihood=counted(numbers, exposure))


def counted(numbers: np.ndarray, exposure: np.ndarray) -> Poisson:
    return Poisson(jnp.asarray(numbers), jnp.asarray(exposure))


def with_floor(counts: Poisson, level: float = SMALLEST_LEVEL) -> GammaPoisson:
    return GammaPoisson(counts, jnp.asarray(level))


def test_likelihood_is_that_of_poisson_counts_with_the_scale_integrated_out():
    """∫ Π Poisson(N | s E I) ds/s by quadrature, for two intensities."""
    rng = np.random.default_rng(0)
    exposure, numbers = rng.uniform(1, 3, 6), np.array([0.0, 3, 1, 7, 2, 0])
    counts = counted(numbers, exposure)
    found, expected = [], []
    for _ in range(2):
        intensity = rng.uniform(0.5, 2, 6)

        def density(log_scale: float, intensity: np.ndarray = intensity) -> float:
            return np.exp(stats.poisson.logpmf(numbers, np.exp(log_scale) * exposure * intensity).sum())

        expected.append(np.log(quad(density, -6, 6, epsabs=0)[0]))
        found.append(float(counts.log_likelihood(jnp.log(intensity))))
    assert found[0] - found[1] == pytest.approx(expected[0] - expected[1], rel=1e-9)


@pytest.mark.slow
def test_least_squares_have_slope_and_information_of_the_likelihood(case):
    problem = counted_problem(case, 5.0, 1)
    (volume,) = problem.volumes
    phi, counts = jnp.asarray(1.01 * case.truth), volume.likelihood
    forward = direct_model(problem, volume, phi)
    value, derivative = log_intensity_and_jacobian(forward, phi)
    local = counts.quadratic(value, len(phi))
    slope = derivative.T @ local.precision.times(local.residual)

    def likelihood(phi):
        return counts.log_likelihood(log_intensity(forward, phi))

    np.testing.assert_allclose(slope, jax.grad(likelihood)(phi), rtol=1e-8)
    # The expected Hessian: that of data that are as expected.
    ideal = replace(counts, number=local.weight)
    hessian = jax.hessian(lambda phi: ideal.log_likelihood(log_intensity(forward, phi)))(phi)
    np.testing.assert_allclose(fisher_information(local.precision, derivative), -hessian, rtol=1e-6)


def test_offset_of_the_model_moves_into_the_exposure():
    rng = np.random.default_rng(2)
    counts, offset = counted(rng.poisson(4, 8).astype(float), np.ones(8)), rng.normal(size=8)
    value = jnp.asarray(rng.normal(size=8))
    moved = float(counts.shifted(offset).log_likelihood(value))
    constant = float(counts.number @ offset)
    assert moved + constant == pytest.approx(float(counts.log_likelihood(value + offset)), rel=1e-12)


def test_half_a_count_stands_for_none_in_a_logarithm():
    counts = counted(np.array([4.0, 0.0]), np.array([2.0, 5.0]))
    np.testing.assert_allclose(counts.log_observed, np.log([2.0, 0.1]))


def test_gamma_poisson_has_the_variance_of_both():
    counts = with_floor(counted(np.array([3.0, 0.0]), np.array([2.0, 5.0])))
    level = {"log_relative_noise": jnp.log(jnp.asarray(0.3))}
    density = counts.point_density(jnp.log(jnp.array([2.0, 1.0])), level)
    expected = np.array([4.0, 5.0])
    np.testing.assert_allclose(density.mean, expected)
    np.testing.assert_allclose(density.variance, expected + 0.09 * expected**2)
    scipy = stats.nbinom(1 / 0.09, 1 / (1 + 0.09 * expected))
    # NumPyro's beta function is good to about 1e-6.
    np.testing.assert_allclose(density.log_prob(counts.observed), scipy.logpmf([3, 0]), atol=1e-5)


def test_gamma_poisson_without_a_floor_is_poisson():
    numbers, expected = np.array([2000.0, 30.0, 0.0]), np.array([1980.0, 36.0, 0.5])
    counts = with_floor(counted(numbers, np.ones(3)))

    def density(log_level):
        found = counts.point_density(jnp.log(expected), {"log_relative_noise": log_level})
        return found.log_prob(numbers).sum()

    poisson = stats.poisson.logpmf(numbers, expected).sum()
    for log_level in (-14.0, -18.0, -25.0, -40.0):
        value, slope = jax.value_and_grad(density)(log_level)
        assert float(value) == pytest.approx(poisson, abs=1e-4)
        assert abs(float(slope)) < 1e-4


@pytest.mark.slow
def test_constants_of_weak_counts_are_not_biased():
    """A count per voxel, at some points none at all; errors 1/√N of log N favour bright fluctuations."""
    weak = known("fcc", 2, steps=20)
    pulls, of_logarithms = [], []
    for seed in range(8):
        problem = counted_problem(weak, 1.0, seed)
        counts = problem.volumes[0].likelihood
        assert float(counts.number.min()) < 3
        weight = jnp.maximum(counts.number, FEWEST_COUNTS)
        logarithms = problem.with_volume(likelihood=LogNormal(counts.log_observed, weight))
        for fitted, found in ((problem, pulls), (logarithms, of_logarithms)):
            fit = point_fit(fitted, weak.truth)
            assert fit.converged
            found.append(np.linalg.cholesky(fit.precision).T @ (fit.irreducible - weak.truth))
    low, high = stats.chi2.ppf([0.001, 0.999], np.size(pulls))
    assert low < np.square(pulls).sum() < high
    assert np.square(of_logarithms).sum() > high


@pytest.mark.slow
def test_posterior_of_counts_agrees_with_the_normal_approximation(case):
    problem = counted_problem(case, 1000.0, 3)
    fit = point_fit(problem, case.truth)
    target = make_target(fit, problem.prior())
    draws = sample_posterior(target, Sampling(2, 300, 100, 0))
    phi = draws.sites["irreducible"].reshape(-1, len(case.truth))
    sd = np.sqrt(np.diag(fit.covariance))
    np.testing.assert_allclose(phi.std(axis=0), sd, rtol=0.25)
    assert np.abs((phi.mean(axis=0) - fit.irreducible) / sd).max() < 0.4
    (data,), (volume,) = problem.volumes, fit.volumes
    stars = star_labels(problem.supercell, data.grid.q_points)
    prior = prior_sites(target, 100, 0)
    predictions = make_predictions(target, target.volumes[0], draws, prior, stars, 0)
    # Replicates scatter about the fit as counts do.
    scatter = (predictions.replicated.reshape(-1, len(stars)) - volume.weight) / np.sqrt(volume.weight)
    many = volume.weight > 100
    assert np.std(scatter[:, many]) == pytest.approx(1, rel=0.1)
    expected = stats.poisson.logpmf(data.likelihood.number, volume.weight).sum()
    assert predictions.log_likelihood.sum(axis=-1).mean() == pytest.approx(expected, abs=10)


@pytest.mark.slow
def test_floor_of_counts_is_found(case):
    """Counts that scatter by 10 % more than Poisson's."""
    problem = counted_problem(case, 1000.0, 4, spread=0.1)
    poisson = point_fit(problem, case.truth)
    floor = with_floor(problem.volumes[0].likelihood)
    fit = point_fit(problem.with_volume(likelihood=floor), case.truth)
    draws = sample_posterior(make_target(fit, problem.prior()), Sampling(2, 200, 150, 0))
    level = np.exp(draws.sites["log_relative_noise"])
    assert abs(level.mean() - 0.1) < 4 * level.std()
    assert level.std() < 0.01
    # Its constants are less sure than Poisson's alone.
    assert (draws.sites["irreducible"].std(axis=(0, 1)) > np.sqrt(np.diag(poisson.covariance))).all()


def test_density_of_counts_with_a_floor_is_that_of_scipy(case):
    problem = counted_problem(case, 5.0, 5)
    (volume,), prior = problem.volumes, problem.prior()
    forward, counts = direct_model(problem, volume, jnp.asarray(case.truth)), volume.likelihood
    log_level, offset = np.log(0.2), 0.01
    unknowns = {"log_relative_noise": log_level, "scale_offset": offset}
    found = model_density(forward, with_floor(counts), prior, case.truth, **unknowns)
    number, expected = np.asarray(counts.number), np.asarray(counts.exposure)
    expected = expected * np.exp(np.asarray(log_intensity(forward, jnp.asarray(case.truth))))
    expected *= number.sum() / expected.sum() * np.exp(offset)
    density = stats.nbinom.logpmf(number, 0.2**-2, 1 / (1 + 0.04 * expected)).sum()
    density += stats.norm.logpdf(case.truth, 0, problem.given_scales).sum()
    density += stats.norm.logpdf(log_level, -3.0, 3.0)
    # NumPyro's beta function is good to about 1e-6 at each point.
    assert found == pytest.approx(density, abs=1e-6 * len(number))
