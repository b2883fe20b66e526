"""The posterior of several volumes against its parts and its normal approximation."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy
from scipy import stats

from bayestds.inference.joint import joint_fit, make_joint_problem
from bayestds.inference.joint_posterior import joint_posterior, make_joint_target, sample_joint_posterior
from bayestds.inference.likelihoods.base import LOG_NOISE
from bayestds.inference.likelihoods.floor import SMALLEST_LEVEL, Floor
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.priors import make_prior
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.simulation import simulate_volume
from tests.fit_problems import known, with_noise

PRIOR, TREND_SCALE = 2.0, 0.1
SOFTENING = np.array([0.05, 0.02, -0.03, 0.06, 0.01])
NOISE = 1e-3


@pytest.fixture(scope="module")
def fitted():
    """A series of two temperatures: problem, own fits and joint fit."""
    case = known("fcc", 2, steps=9)
    axes = tuple(case.volume[name].values for name in "hkl")
    problems = []
    for temperature, lag in ((200.0, -0.5), (300.0, 0.5)):
        constants = case.truth + lag * SOFTENING
        volume = simulate_volume(case.irreducible, constants, case.supercell, temperature, axes)
        noisy = with_noise(volume, NOISE, int(temperature))
        problems.append(replace(case.problem(noisy, NOISE, PRIOR), temperature=temperature))
    problem = make_joint_problem(problems, TREND_SCALE)
    fits = [point_fit(one, case.truth) for one in problems]
    return problem, fits, joint_fit(problem, fits)


@pytest.fixture(scope="module")
def prior(fitted):
    first = fitted[0].problems[0]
    return make_prior(first.prior_scales, first.irreducible.shells)


def values(target, positions):
    """φ₀ and φ₁ at whitened positions, with the coordinates stacked by hand."""
    location, unit = target.coordinates["irreducible"]
    irreducible = location + unit @ positions["irreducible_whitened"]
    origin, unit = target.coordinates["trend"]
    moved = origin + target.trend.slope @ (irreducible - location)
    return np.asarray(irreducible), np.asarray(moved + unit @ positions["trend_whitened"])


def test_coordinates_whiten_constants_and_trend_together(fitted, prior):
    target = make_joint_target(*fitted, prior, hierarchical=False)
    rows = []
    for z in np.eye(10):
        positions = {"irreducible_whitened": z[:5], "trend_whitened": z[5:]}
        rows.append(np.concatenate(values(target, positions)) - fitted[2].parameters)
    assert np.array(rows).T @ np.array(rows) == pytest.approx(fitted[2].covariance, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("hierarchical", [True, False])
def test_density_is_that_of_the_parts(fitted, prior, hierarchical):
    """Differences only: scales that are profiled lack a constant."""
    target = make_joint_target(*fitted, prior, hierarchical=hierarchical)
    rng = np.random.default_rng(0)
    found, expected = [], []
    for _ in range(2):
        positions = {"irreducible_whitened": rng.normal(size=5), "trend_whitened": rng.normal(size=5)}
        size, density = TREND_SCALE, 0.0
        if hierarchical:
            positions["log_trend_size_whitened"] = rng.normal()
            location, unit = target.coordinates["log_trend_size"]
            log_size = float(location + unit * positions["log_trend_size_whitened"])
            size = np.exp(log_size)
            density = stats.halfnorm.logpdf(size, scale=TREND_SCALE) + log_size
        irreducible, trend = values(target, positions)
        density += stats.norm.logpdf(irreducible, 0, PRIOR).sum()
        density += stats.norm.logpdf(trend, 0, size * PRIOR).sum()
        for volume, lag in zip(target.volumes, (-0.5, 0.5), strict=True):
            predicted = log_intensity(volume.forward, jnp.asarray(irreducible + lag * trend))
            density += float(volume.likelihood.log_likelihood(predicted))
        given = {name: jnp.asarray(value) for name, value in positions.items()}
        found.append(-float(potential_energy(joint_posterior, target.arguments, {}, given)))
        expected.append(density)
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-9)


def test_each_volume_has_its_noise(fitted, prior):
    """Their levels are sites of their own, with densities of their own."""
    problem, fits, joint = fitted
    floors = [Floor(fit.likelihood, jnp.asarray(SMALLEST_LEVEL)) for fit in fits]
    fits = [replace(fit, likelihood=floor) for fit, floor in zip(fits, floors, strict=True)]
    target = make_joint_target(problem, fits, joint, prior, hierarchical=False)
    names = [f"volume_{number}_log_relative_noise_whitened" for number in (1, 2)]
    origin = {f"{name}_whitened": jnp.zeros(5) for name in ("irreducible", "trend")}
    origin |= dict.fromkeys(names, jnp.zeros(()))
    energies = []
    for step in (0.0, 3.0):
        moved = origin | {names[0]: jnp.asarray(step)}
        energies.append(float(potential_energy(joint_posterior, target.arguments, {}, moved)))
    location, unit = map(float, target.volumes[0].coordinates["log_relative_noise"])
    misfit = joint.volumes[0].residual

    def expected(level: float) -> float:
        variance = 1 / np.asarray(problem.problems[0].likelihood.weight) + np.exp(2 * level)
        away = misfit - np.average(misfit, weights=1 / variance)
        density = stats.norm.logpdf(away, 0, np.sqrt(variance)).sum() - 0.5 * np.log((1 / variance).sum())
        return density + stats.norm.logpdf(level, *LOG_NOISE)

    difference = expected(location) - expected(location + 3 * unit)
    assert energies[1] - energies[0] == pytest.approx(difference, rel=1e-6)


@pytest.mark.slow
def test_draws_agree_with_the_normal_approximation(fitted, prior):
    """2,000 draws worth more than 1,000: means within 4/√1000, standard deviations within 4/√2000."""
    target = make_joint_target(*fitted, prior, hierarchical=False)
    draws = sample_joint_posterior(target, Sampling(draws=500, warmup=100, seed=1))
    sites = [draws.sites[name].reshape(-1, 5) for name in ("irreducible", "trend")]
    drawn, joint = np.hstack(sites), fitted[2]
    sd = np.sqrt(np.diag(joint.covariance))
    assert np.abs((drawn.mean(axis=0) - joint.parameters) / sd).max() < 0.13
    assert np.abs(drawn.std(axis=0) / sd - 1).max() < 0.09
    assert draws.statistics["diverging"].sum() == 0
    correlation = np.corrcoef(drawn.T) - joint.covariance / np.outer(sd, sd)
    assert np.abs(correlation).max() < 0.13


@pytest.mark.slow
def test_size_of_the_trend_is_found(fitted, prior):
    """Five constants tell their common size within a factor of about exp(1/√10), and it shrinks them."""
    target = make_joint_target(*fitted, prior)
    draws = sample_joint_posterior(target, Sampling(draws=300, warmup=150, seed=2))
    size = draws.sites["log_trend_size"]
    assert size.mean() == pytest.approx(np.log(np.sqrt(np.mean(SOFTENING**2)) / PRIOR), abs=0.6)
    assert draws.sites["trend"].reshape(-1, 5).mean(axis=0) == pytest.approx(
        fitted[2].trend, abs=fitted[2].trend_standard_error.max()
    )
