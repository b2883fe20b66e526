"""Capabilities go together: any two of them, and all, in one fit that finds what its data were made with."""

from dataclasses import replace
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy

from bayestds.inference.fit_result import PointFit
from bayestds.inference.likelihoods.counts import Poisson
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.model import scattering
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target, sample_posterior, starting_points
from bayestds.inference.problem import Problem, Volume, with_trend
from bayestds.inference.sums import direct_model
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.instrument import Average, Background, Factor
from bayestds.scattering.q_points import FreePoints, MeshPoints
from tests.cubic_problems import KnownCubic, known_cubic

NOISE, MEAN_COUNTS, STRENGTH = 2e-3, 1e5, 0.02
SHIFT, SPREAD = np.array([0.02, 0.01, 0.03]), np.array([0.01, 0.0, -0.01])
TEMPERATURES = (800.0, 1000.0)
"""K; so hot that scattering by several phonons tells stiffness and scale of the intensity apart."""
SOFTENING = np.array([0.05, 0.02, -0.03, 0.06, 0.01])

CAPABILITIES = ("quantum", "third order", "between", "instrument", "counts", "trend", "posterior")
PAIRS = list(combinations(CAPABILITIES, 2))
QUICK = [("between", "instrument"), ("counts", "trend")]


@pytest.fixture(scope="module")
def case() -> KnownCubic:
    return known_cubic(steps=9)


def volume_at(case: KnownCubic, temperature: float, asked: set[str]) -> Volume:
    """A volume without data yet."""
    problem = case.problem().with_volume(temperature=temperature)
    (volume,) = problem.volumes
    assert isinstance(volume.q_points, MeshPoints)
    where, n = volume.q_points.q_points, volume.n_points
    if "instrument" in asked:
        # Each voxel collects from two points; those between wave vectors of the supercell differ.
        apart = SPREAD if "between" in asked else 0 * SPREAD
        where = np.stack([where - apart, where + apart], axis=1).reshape(-1, 3)
        rng = np.random.default_rng(0)
        background = Background(jnp.ones((n, 1)), jnp.ones(1), ("constant",))
        volume = replace(
            volume, effects=(Average(2), Factor(jnp.asarray(rng.uniform(0.5, 1, n))), background)
        )
    given = problem.irreducible, problem.supercell
    points = FreePoints(*given, where + SHIFT) if "between" in asked else MeshPoints(given[1], where)
    return replace(volume, q_points=points, statistics="quantum" if "quantum" in asked else "classical")


def made(case: KnownCubic, asked: set[str]) -> tuple[Problem, np.ndarray]:
    """The problem of data that were made with known parameters, and these."""
    temperatures = TEMPERATURES if "trend" in asked else TEMPERATURES[:1]
    volumes = [volume_at(case, temperature, asked) for temperature in temperatures]
    problem = case.problem() if "third order" in asked else case.problem().harmonic
    problem = problem.with_volumes(*volumes)
    truth = [case.known.truth]
    if "trend" in asked:
        problem = with_trend(problem, 1.0)
        truth.append(SOFTENING)
    truth += [case.cubic] if "third order" in asked else []
    truth += [np.full(volume.background.n_parameters, STRENGTH) for volume in volumes]
    parameters = np.concatenate(truth)
    rng = np.random.default_rng(1)
    filled = []
    for volume, design in zip(problem.volumes, problem.designs, strict=True):
        own = jnp.asarray(design @ parameters)
        value = np.asarray(log_intensity(direct_model(problem, volume, own), own))
        if "counts" in asked:
            exposure = MEAN_COUNTS / np.exp(value).mean() * np.ones(len(value))
            likelihood = Poisson(
                jnp.asarray(rng.poisson(exposure * np.exp(value)) * 1.0), jnp.asarray(exposure)
            )
        else:
            observed = value + NOISE * rng.normal(size=len(value))
            likelihood = LogNormal(jnp.asarray(observed), jnp.full(len(value), NOISE**-2.0))
        filled.append(replace(volume, likelihood=likelihood))
    return problem.with_volumes(*filled), parameters


def standard_errors(fit: PointFit) -> np.ndarray:
    return np.sqrt(np.diag(np.linalg.inv(fit.parameter_precision)))


@pytest.mark.parametrize(
    "asked",
    [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in [*PAIRS, CAPABILITIES]],
    ids=" + ".join,
)
def test_what_was_put_in_comes_out(case, asked):
    problem, truth = made(case, set(asked))
    fit = point_fit(problem, 0.9 * case.known.truth)
    assert fit.converged, fit.message
    found = (fit.parameters - truth) / standard_errors(fit)
    assert np.sqrt((found**2).mean()) < 1.6, found
    assert np.abs(found).max() < 4, found
    if "posterior" in asked:
        target = make_target(fit, problem.prior(hierarchical=False))
        place = {name: jnp.asarray(x[0]) for name, x in starting_points(target, 1, seed=0).items()}
        slope = jax.grad(lambda p: potential_energy(scattering, target.arguments, {}, p))(place)
        assert all(np.isfinite(x).all() for x in slope.values())
        if len(asked) > 2:
            draws = sample_posterior(target, Sampling(2, 100, 100, 0))
            sd = target.parameters(draws.sites).reshape(-1, len(truth)).std(axis=0)
            np.testing.assert_allclose(sd, standard_errors(fit), rtol=0.4)
