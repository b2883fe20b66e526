"""The likelihood of few points that stand for all, against that of all."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy

from bayestds.inference import compression
from bayestds.inference.compression import ACCEPTED, TOLERATED, compress, compression_error
from bayestds.inference.likelihoods.floor import Floor
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.inference.model import PARAMETERS, scattering
from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target, sample_posterior, starting_points
from tests.fit_problems import known, with_noise


def make_case(noise: float | None, given: bool = False, sigma: float = 0.05):
    """Target, problem and the compressed target of a small crystal; standard errors are given or not."""
    case = known("fcc", 2, steps=9)
    volume = with_noise(case.volume, sigma, 0)
    if given:
        volume = volume.assign(sigma=sigma * volume["intensity"])
    problem = case.problem(volume, noise=noise, prior_scale=2.0)
    fit = point_fit(problem, case.truth)
    target = make_target(fit, problem.prior())
    return target, problem, compress(target, problem)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((0.05, False), id="known noise", marks=pytest.mark.slow),
        pytest.param((None, True), id="standard errors"),
        pytest.param((None, False), id="learned noise"),
    ],
)
def case(request):
    return make_case(*request.param)


def density_and_gradient(target, positions):
    """Log posterior density, less that at the first position, and its gradient."""

    def one(position):
        return -potential_energy(scattering, target.arguments, {}, position)

    value, slope = jax.lax.map(jax.value_and_grad(one), positions)
    slopes = [np.asarray(slope[name]).reshape(len(value), -1) for name in sorted(slope)]
    return np.asarray(value - value[0]), np.concatenate(slopes, axis=1)


def test_density_and_gradient_are_those_of_all_points(case):
    target, problem, compressed = case
    assert compressed.n_points < problem.volumes[0].n_points / 3
    positions = starting_points(target, 20, seed=5)
    full, full_slope = density_and_gradient(target, positions)
    short, short_slope = density_and_gradient(compressed.target, positions)
    # Noise levels of these draws lie up to some percent off that at which the error is measured.
    np.testing.assert_allclose(short, full, rtol=0, atol=1.2 * TOLERATED)
    # A log density that is off by so much over a width has a slope that is.
    np.testing.assert_allclose(short_slope, full_slope, rtol=0, atol=5 * TOLERATED)


def test_error_among_draws(case):
    target, _, compressed = case
    draws = sample_posterior(compressed.target, Sampling(chains=2, draws=50, warmup=100))
    assert compression_error(target, compressed, draws) <= ACCEPTED
    # Draws that are far outside the posterior are not represented, and that is found.
    location = np.asarray(target.coordinates[PARAMETERS][0])
    far = replace(
        draws, sites=draws.sites | {"irreducible": location + 8 * (draws.sites["irreducible"] - location)}
    )
    assert compression_error(target, compressed, far) > compression_error(target, compressed, draws)


def test_only_normal_data_of_known_relative_weights(case):
    target, problem, _ = case
    (volume,) = target.volumes
    normal = volume.likelihood
    known = normal.relative if isinstance(normal, LearnedLogNormal) else normal
    for likelihood in (Floor(known, jnp.asarray(0.01)), StudentT(normal, jnp.asarray(4.0))):
        others = (replace(volume, likelihood=likelihood),)
        assert compress(replace(target, volumes=others), problem) is None


def test_smaller_directions_are_taken_where_the_error_is_too_large(case, monkeypatch):
    target, problem, _ = case
    monkeypatch.setattr(compression, "SMALLEST_SHARES", (3.0,))
    assert compress(target, problem) is None
    monkeypatch.setattr(compression, "SMALLEST_SHARES", (3.0, 1e-5))
    found = compress(target, problem)
    assert found is not None
    (short,) = found.volumes
    assert short.error <= TOLERATED
