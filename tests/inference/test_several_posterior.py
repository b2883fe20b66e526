"""The posterior of several volumes against its parts and its normal approximation."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import log_density, potential_energy
from scipy import stats

from bayestds.inference.compression import TOLERATED, compress
from bayestds.inference.fit_result import PointFit
from bayestds.inference.likelihoods.base import LOG_NOISE
from bayestds.inference.likelihoods.floor import SMALLEST_LEVEL, Floor
from bayestds.inference.model import PARAMETERS, scattering
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import joint_fit, point_fit
from bayestds.inference.posterior import make_target, sample_posterior, starting_points
from bayestds.inference.problem import joined, with_trend
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.simulation import simulate_volume
from tests.densities import PLAIN, model_density
from tests.fit_problems import known, with_noise

PRIOR, TREND_SCALE = 2.0, 0.1
SOFTENING = np.array([0.05, 0.02, -0.03, 0.06, 0.01])
NOISE = 1e-3
WHITENED = f"{PARAMETERS}_whitened"


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
        problems.append(case.problem(noisy, NOISE, PRIOR).with_volume(temperature=temperature))
    problem = with_trend(joined(problems), TREND_SCALE)
    fits = [point_fit(one, case.truth) for one in problems]
    return problem, fits, joint_fit(problem, fits)


def values(target, positions):
    """φ₀ and φ₁ at whitened positions."""
    location, unit = target.coordinates[PARAMETERS]
    return np.split(np.asarray(location + unit @ positions[WHITENED]), 2)


def test_coordinates_whiten_constants_and_trend_together(fitted):
    problem, _, joint = fitted
    target = make_target(joint, problem.prior(hierarchical=False))
    rows = [np.concatenate(values(target, {WHITENED: z})) - joint.parameters for z in np.eye(10)]
    assert np.array(rows).T @ np.array(rows) == pytest.approx(joint.covariance, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("hierarchical", [True, False])
def test_density_is_that_of_the_parts(fitted, hierarchical):
    """Differences only: scales that are profiled lack a constant."""
    problem, _, joint = fitted
    target = make_target(joint, problem.prior(hierarchical=hierarchical))
    rng = np.random.default_rng(0)
    found, expected = [], []
    for _ in range(2):
        positions = {WHITENED: rng.normal(size=10)}
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
        found.append(-float(potential_energy(scattering, target.arguments, {}, given)))
        expected.append(density)
    # Rounding of log intensities in two programs, 1e-14, with weights of 1e6 and residuals of 1e-3.
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-9, abs=1e-7)


def with_floor(fit: PointFit) -> PointFit:
    """The fit of one volume with a floor of its noise that is learned."""
    (volume,) = fit.volumes
    floor = Floor(volume.likelihood, jnp.asarray(SMALLEST_LEVEL))
    return replace(fit, volumes=(replace(volume, likelihood=floor),))


def test_each_volume_has_its_noise(fitted):
    """Their levels are sites of their own, with densities of their own."""
    problem, fits, joint = fitted
    target = make_target(replace(joint, own=tuple(map(with_floor, fits))), problem.prior(hierarchical=False))
    names = [f"volume_{number}_log_relative_noise" for number in (1, 2)]
    origin = {WHITENED: jnp.zeros(10)} | {f"{name}_whitened": jnp.zeros(()) for name in names}
    energies = []
    for step in (0.0, 3.0):
        moved = origin | {f"{names[0]}_whitened": jnp.asarray(step)}
        energies.append(float(potential_energy(scattering, target.arguments, {}, moved)))
    location, unit = map(float, target.coordinates[names[0]])
    misfit = joint.volumes[0].residual

    def expected(level: float) -> float:
        variance = 1 / np.asarray(problem.volumes[0].likelihood.weight) + np.exp(2 * level)
        away = misfit - np.average(misfit, weights=1 / variance)
        density = stats.norm.logpdf(away, 0, np.sqrt(variance)).sum() - 0.5 * np.log((1 / variance).sum())
        return density + stats.norm.logpdf(level, *LOG_NOISE)

    difference = expected(location) - expected(location + 3 * unit)
    assert energies[1] - energies[0] == pytest.approx(difference, rel=1e-6)


def test_two_copies_of_a_volume_have_the_density_of_the_sum_of_parts():
    """The prior once, and the likelihood of each copy with its own noise level."""
    case = known("fcc", 1, steps=5)
    problem = case.problem(with_noise(case.volume, 0.02, 1), noise=None, prior_scale=PRIOR)
    # The lattice sums leave nothing out, whose offset would depend a little on where each fit ended.
    problem = replace(problem, tolerance=0.0)
    own = point_fit(problem, case.truth)
    both = joined([problem, problem])
    alone, target = make_target(own, problem.prior()), make_target(joint_fit(both, [own, own]), both.prior())
    assert not own.volumes[0].truncation.offset.any()
    (part,) = alone.volumes
    plain = {PARAMETERS: (jnp.zeros(3), jnp.eye(3))}
    rng = np.random.default_rng(0)
    for _ in range(3):
        phi, levels = case.truth * (1 + 0.02 * rng.normal(size=3)), np.log(0.02) + 0.1 * rng.normal(size=2)
        sites = {f"volume_{i}_log_relative_noise": jnp.asarray(level) for i, level in enumerate(levels, 1)}
        sites[PLAIN] = jnp.asarray(phi)
        found = log_density(scattering, (target.prior, target.volumes, plain), {}, sites)[0]
        prior = stats.norm.logpdf(phi, 0, PRIOR).sum()
        parts = [
            model_density(part.forward, part.likelihood, alone.prior, phi, log_relative_noise=level) - prior
            for level in levels
        ]
        assert float(found) == pytest.approx(prior + sum(parts), rel=1e-9)


def test_compressed_volumes_are_as_accurate_as_they_say(fitted):
    """Each volume with few points: differences of the density, and its slope, between draws."""
    problem, _, joint = fitted
    target = make_target(joint, problem.prior(hierarchical=False))
    compressed = compress(target, problem)
    shorts = [short for short in compressed.volumes if short is not None]
    assert len(shorts) == 2
    assert all(
        short.n_points < volume.n_points / 3 for short, volume in zip(shorts, problem.volumes, strict=True)
    )
    assert compressed.n_points == sum(short.n_points for short in shorts)
    stated = sum(short.error for short in shorts)
    assert 0 < stated <= TOLERATED
    z = {name: jnp.asarray(values) for name, values in starting_points(target, 20, seed=5).items()}

    def densities(arguments):
        return jax.lax.map(jax.value_and_grad(partial(potential_energy, scattering, arguments, {})), z)

    value, slope = densities(target.arguments)
    short_value, short_slope = densities(compressed.target.arguments)
    assert float(jnp.ptp(short_value - value)) <= stated
    np.testing.assert_allclose(short_slope[WHITENED], slope[WHITENED], rtol=0, atol=5 * TOLERATED)


@pytest.mark.slow
def test_draws_agree_with_the_normal_approximation(fitted):
    """2,000 draws worth more than 1,000: means within 4/√1000, standard deviations within 4/√2000."""
    problem, _, joint = fitted
    target = make_target(joint, problem.prior(hierarchical=False))
    draws = sample_posterior(target, Sampling(draws=500, warmup=100, seed=1))
    sites = [draws.sites[name].reshape(-1, 5) for name in ("irreducible", "trend")]
    drawn = np.hstack(sites)
    sd = np.sqrt(np.diag(joint.covariance))
    assert np.abs((drawn.mean(axis=0) - joint.parameters) / sd).max() < 0.13
    assert np.abs(drawn.std(axis=0) / sd - 1).max() < 0.09
    assert draws.statistics["diverging"].sum() == 0
    correlation = np.corrcoef(drawn.T) - joint.covariance / np.outer(sd, sd)
    assert np.abs(correlation).max() < 0.13


@pytest.mark.slow
def test_size_of_the_trend_is_found(fitted):
    """Five constants tell their common size within a factor of about exp(1/√10), and it shrinks them."""
    problem, _, joint = fitted
    draws = sample_posterior(make_target(joint, problem.prior()), Sampling(draws=300, warmup=150, seed=2))
    size = draws.sites["log_trend_size"]
    assert size.mean() == pytest.approx(np.log(np.sqrt(np.mean(SOFTENING**2)) / PRIOR), abs=0.6)
    assert draws.sites["trend"].reshape(-1, 5).mean(axis=0) == pytest.approx(
        joint.trend, abs=np.sqrt(np.diag(joint.covariance))[5:].max()
    )
