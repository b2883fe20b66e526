"""The posterior: its density, the region of stability, and draws against known answers."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy
from scipy import stats
from scipy.integrate import quad

from bayestds.inference.likelihoods.base import LOG_NOISE
from bayestds.inference.likelihoods.floor import Floor
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal, LogNormal
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.inference.model import PARAMETERS, scattering
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target, sample_posterior, starting_points
from bayestds.inference.priors import prior_draws
from bayestds.lattice_dynamics.harmonic import stable
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
from tests.densities import model_density
from tests.fit_problems import TEMPERATURE, known, with_noise

N_POINTS = 12


@pytest.fixture(scope="module")
def case():
    return known("fcc", 2, steps=9)


@pytest.fixture(scope="module")
def problem(case):
    return case.problem(with_noise(case.volume, 0.02, 0), noise=0.02, prior_scale=2.0)


@pytest.fixture(scope="module")
def fit(case, problem):
    return point_fit(problem, case.truth)


@pytest.fixture(scope="module")
def prior(problem):
    return problem.prior()


@pytest.fixture(scope="module")
def few(case, problem):
    """Forward model and likelihood of a few points, with which densities are integrated by hand."""
    rng = np.random.default_rng(0)
    engine = make_engine(case.supercell, problem.volumes[0].grid.q_points[:N_POINTS])
    forward = make_forward_model(case.irreducible, case.supercell, TEMPERATURE, OnMesh(engine))
    intensity = np.asarray(log_intensity(forward, jnp.asarray(case.truth)))
    observed = intensity + 0.3 + rng.normal(0, 0.05, N_POINTS)
    return forward, LogNormal(jnp.asarray(observed), jnp.asarray(rng.uniform(200, 800, N_POINTS)))


def log_posterior(few, prior, phi, **unknowns) -> float:
    """Log density of the model less that of the prior of the force constants."""
    scales = np.asarray(prior.block_scales["irreducible"])
    return model_density(*few, prior, phi, **unknowns) - stats.norm.logpdf(phi, 0, scales).sum()


def integrated(few, phi, deviations, density=stats.norm) -> float:
    """Log of the likelihood, integrated over a flat prior on the log scale."""
    forward, normal = few
    misfit = np.asarray(normal.log_intensity - log_intensity(forward, jnp.asarray(phi)))
    centre = np.average(misfit, weights=deviations**-2.0)
    peak = density.logpdf(misfit, centre, deviations).sum()

    def likelihood(scale: float) -> float:
        return np.exp(density.logpdf(misfit, scale, deviations).sum() - peak)

    spread = 12 / np.sqrt((deviations**-2.0).sum())
    return float(np.log(quad(likelihood, centre - spread, centre + spread, epsabs=0)[0]) + peak)


def test_known_noise_marginalises_the_scale(case, few, prior):
    """Differences only: the profile of the scale lacks a constant."""
    phis = case.truth, case.truth * 1.03
    deviations = np.asarray(few[1].weight) ** -0.5
    found = [log_posterior(few, prior, phi) for phi in phis]
    expected = [integrated(few, phi, deviations) for phi in phis]
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-8)


@pytest.mark.parametrize("learned", [True, False])
def test_noise_level_marginalises_the_scale(case, few, prior, learned):
    """With a noise level among the unknowns the normaliser counts as well, and the scale costs one datum."""
    forward, normal = few
    likelihood = LearnedLogNormal(normal) if learned else Floor(normal, jnp.asarray(0.1))
    weight = np.asarray(normal.weight)
    states = [(case.truth, -1.0), (case.truth * 1.02, -1.5)]
    found, expected = [], []
    for phi, level in states:
        found.append(log_posterior((forward, likelihood), prior, phi, log_relative_noise=level))
        variance = np.exp(2 * level) / weight if learned else 1 / weight + np.exp(2 * level)
        prior_density = stats.norm.logpdf(level, *LOG_NOISE)
        expected.append(integrated(few, phi, np.sqrt(variance)) + prior_density)
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-8)


def test_student_t_residuals(case, few, prior):
    forward, normal = few
    heavy = StudentT(normal, jnp.asarray(4.0))
    found = log_posterior((forward, heavy), prior, case.truth, scale_offset=0.2)
    misfit = np.asarray(normal.log_intensity - log_intensity(forward, jnp.asarray(case.truth)))
    scale = np.average(misfit, weights=normal.weight) + 0.2
    expected = stats.t.logpdf(misfit, 4, scale, np.asarray(normal.weight) ** -0.5).sum()
    assert found == pytest.approx(expected, rel=1e-10)


def test_nothing_outside_the_stable_region(few, prior, case):
    assert log_posterior(few, prior, -case.truth) == -np.inf
    assert np.isfinite(log_posterior(few, prior, case.truth))


def test_whitened_posterior_keeps_the_density(fit, prior):
    (volume,) = fit.volumes
    learned = replace(volume, likelihood=LearnedLogNormal(volume.likelihood))
    target = make_target(replace(fit, volumes=(learned,)), prior)
    rng = np.random.default_rng(1)
    z = {f"{PARAMETERS}_whitened": rng.normal(size=5), "log_relative_noise_whitened": rng.normal()}
    values = {}
    for name, (location, unit) in target.coordinates.items():
        values[name] = location + jnp.tensordot(unit, jnp.asarray(z[f"{name}_whitened"]), axes=location.ndim)
    parameters = values.pop(PARAMETERS)
    (one,) = target.volumes
    plain = model_density(one.forward, one.likelihood, prior, parameters, **values)
    positions = {name: jnp.asarray(value) for name, value in z.items()}
    moved = potential_energy(scattering, target.arguments, {}, positions)
    assert -float(moved) == pytest.approx(plain, rel=1e-12)


def test_starting_points_are_stable(fit, prior):
    """Also where the unit of the coordinates leads far outside."""
    target = make_target(fit, prior)
    location, unit = target.coordinates[PARAMETERS][0], jnp.eye(5) * 10
    wide = replace(target, coordinates={PARAMETERS: (location, unit)})
    points = starting_points(wide, 20, seed=0)[f"{PARAMETERS}_whitened"]
    crystal = target.volumes[0].forward.crystal
    assert all(bool(stable(crystal, location + unit @ jnp.asarray(z))) for z in points)
    assert np.unique(points[:, 0]).size == 20


def test_draws_agree_with_the_normal_approximation(problem, fit, prior):
    """At little noise the posterior is nearly normal: its skewness grows with the relative errors.

    3,000 draws are worth more than 1,500: the means lie within 4/√1500 = 0.10 standard deviations, the
    standard deviations within 4/√3000 = 7 % of those of the point fit, unless by a chance below 1e-3. The
    relative errors of 0.1 % that are left here shift the mean by some 0.01 standard deviations.
    """
    likelihood = problem.volumes[0].likelihood
    problem = problem.with_volume(likelihood=replace(likelihood, weight=likelihood.weight * 20.0**2))
    fit = point_fit(problem, fit.irreducible)
    draws = sample_posterior(make_target(fit, prior), Sampling(draws=750, warmup=100, seed=3))
    phi = draws.sites["irreducible"].reshape(-1, 5)
    sd = np.sqrt(np.diag(fit.covariance))
    assert np.abs((phi.mean(axis=0) - fit.irreducible) / sd).max() < 0.12
    assert np.abs(phi.std(axis=0) / sd - 1).max() < 0.09
    assert draws.statistics["diverging"].sum() == 0


@pytest.mark.slow
def test_learned_noise_is_found(case, prior):
    """Level of the noise: 1/√(2N) relative error; the posterior must be as wide as that."""
    problem = case.problem(with_noise(case.volume, 0.05, 2), noise=None, prior_scale=2.0)
    target = make_target(point_fit(problem, case.truth), prior)
    draws = sample_posterior(target, Sampling(draws=500, warmup=100, seed=4))
    level = draws.sites["log_relative_noise"]
    expected = 1 / np.sqrt(2 * problem.volumes[0].n_points)
    assert level.std() == pytest.approx(expected, rel=0.15)
    assert level.mean() == pytest.approx(np.log(0.05), abs=4 * expected)
    assert draws.statistics["diverging"].sum() == 0


@pytest.mark.slow
def test_stable_region_does_not_bend_the_posterior(case):
    """Data that say nothing: the posterior is the prior, cut off at the edge of stability.

    Against draws by rejection; chains near an edge are correlated, so every 10th draw is compared. Equal
    distributions fail in one of 300 cases for each of three constants.
    """
    flat = known("fcc", 1, steps=3)
    problem = flat.problem(noise=1e4, prior_scale=1.0)
    fit = point_fit(problem, flat.truth)
    prior = problem.prior()
    draws = sample_posterior(make_target(fit, prior), Sampling(draws=1500, warmup=200, seed=5))
    crystals = [(problem.crystal(problem.volumes[0]), np.eye(3))]
    expected = prior_draws(prior, crystals, 3000, seed=6)["irreducible"]
    phi = draws.sites["irreducible"][:, ::10].reshape(-1, 3)
    assert min(stats.ks_2samp(phi[:, i], expected[:, i]).pvalue for i in range(3)) > 3e-3
