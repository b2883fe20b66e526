"""Predictions: stars, replicated data and log-likelihoods, against NumPy and SciPy."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayestds.inference.likelihoods.floor import Floor
from bayestds.inference.likelihoods.log_normal import learned_log_normal
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.inference.model import PARAMETERS, Observation
from bayestds.inference.nuts import Draws
from bayestds.inference.posterior import Target
from bayestds.inference.predictive import (
    make_predictions,
    prior_sites,
    replicated_data,
    star_labels,
    star_log_likelihood,
)
from bayestds.inference.sums import direct_model
from bayestds.scattering.forward import log_intensity
from tests.fit_problems import known, with_noise

SIGMA = 0.1


@pytest.fixture(scope="module")
def case():
    return known("fcc", 2, steps=6)


@pytest.fixture(scope="module")
def problem(case):
    return case.problem(with_noise(case.volume, SIGMA, 0), noise=SIGMA, prior_scale=0.5)


@pytest.fixture(scope="module")
def target(case, problem):
    (data,) = problem.volumes
    coordinates = {PARAMETERS: (jnp.asarray(case.truth), 0.01 * jnp.eye(5))}
    volume = Observation(
        direct_model(problem, data, jnp.asarray(case.truth)), data.likelihood, jnp.eye(5), ""
    )
    return Target(coordinates, (volume,), problem.prior())


@pytest.fixture(scope="module")
def volume(target):
    return target.volumes[0]


@pytest.fixture(scope="module")
def expected(case, volume):
    return np.asarray(log_intensity(volume.forward, jnp.asarray(case.truth)))


@pytest.fixture(scope="module")
def stars(case, problem):
    return star_labels(case.supercell, problem.volumes[0].grid.q_points)


def same(case, n: int) -> dict[str, np.ndarray]:
    """The truth, n times."""
    return {"irreducible": np.tile(case.truth, (n, 1))}


def test_points_of_a_star_have_equivalent_wave_vectors(case, problem, stars):
    """Two points are of one star where an operation takes the k of one to that of the other."""
    q, rotations = problem.volumes[0].grid.q_points, case.irreducible.crystal.laue_group
    k_index = case.supercell.k_index(q)
    for i in range(0, len(q), 7):
        star = set(case.supercell.k_index(np.array([q[i] @ rotation for rotation in rotations])).tolist())
        np.testing.assert_array_equal(stars == stars[i], [k in star for k in k_index])
    assert set(stars) == set(range(stars.max() + 1))


def test_replicates_have_the_noise_of_the_data(case, target, volume, expected):
    """1,000 replicates: 2.2 % for a standard deviation, over all points far less."""
    replicates, weight = replicated_data(target, volume, same(case, 1000), 0), volume.likelihood.weight
    sd = replicates.std(axis=0) * np.sqrt(np.asarray(weight))
    assert np.sqrt((sd**2).mean()) == pytest.approx(1, abs=4 / np.sqrt(2000 * len(sd) / 20))
    scale = np.average(volume.likelihood.log_intensity - expected, weights=weight)
    misfit = replicates.mean(axis=0) - expected - scale
    assert np.abs(misfit * np.sqrt(np.asarray(weight) * 1000)).max() < 5


def test_log_likelihood_by_star(case, target, volume, expected, stars):
    """The scale is drawn for each draw: its spread is part of the oracle's range."""
    weight = np.asarray(volume.likelihood.weight)
    misfit = np.asarray(volume.likelihood.log_intensity) - expected
    centre, spread = np.average(misfit, weights=weight), weight.sum() ** -0.5
    found = star_log_likelihood(target, volume, same(case, 400), stars, seed=1)
    scales = np.random.default_rng(2).normal(centre, spread, 4000)
    by_point = stats.norm.logpdf(misfit, scales[:, None], weight**-0.5)
    by_star = np.array([by_point[:, stars == star].sum(axis=1) for star in range(stars.max() + 1)]).T
    # Standard errors of the means of 400 draws, and twice that for the few draws of the oracle's own.
    error = by_star.std(axis=0) / np.sqrt(400) + 1e-9
    assert np.abs((found.mean(axis=0) - by_star.mean(axis=0)) / error).max() < 4
    np.testing.assert_allclose(found.std(axis=0), by_star.std(axis=0), rtol=0.2)


def test_student_t_log_likelihood(case, target, volume, expected, stars):
    heavy = replace(volume, likelihood=StudentT(volume.likelihood, jnp.asarray(3.0)))
    sites = same(case, 2) | {"scale_offset": np.array([0.0, 0.1])}
    found = star_log_likelihood(target, heavy, sites, stars, seed=0)
    weight = np.asarray(volume.likelihood.weight)
    misfit = np.asarray(volume.likelihood.log_intensity) - expected
    best = np.average(misfit, weights=weight)
    for row, offset in zip(found, (0.0, 0.1), strict=True):
        by_point = stats.t.logpdf(misfit, 3, best + offset, weight**-0.5)
        np.testing.assert_allclose(row, np.bincount(stars, by_point), rtol=1e-9)


def test_learned_level_widens_the_replicates(case, problem, target, volume):
    multiplicity = problem.volumes[0].grid.multiplicity
    learned = learned_log_normal(volume.likelihood.observed, multiplicity * 1.0)
    sites = same(case, 400) | {"log_relative_noise": np.full(400, np.log(0.3))}
    sd = replicated_data(target, replace(volume, likelihood=learned), sites, seed=3).std(axis=0)
    ratio = (sd**2 * multiplicity).mean() / 0.3**2
    assert ratio == pytest.approx(1, abs=0.05)


def test_prior_sites(target, volume):
    floor = replace(volume, likelihood=Floor(volume.likelihood, jnp.asarray(0.1)))
    sites = prior_sites(replace(target, volumes=(floor,)), 50, seed=0)
    assert sites["irreducible"].shape == (50, 5)
    assert set(sites) == {"irreducible"}
    level = {"log_relative_noise": (jnp.zeros(()), jnp.ones(()))}
    assert prior_sites(replace(target, coordinates=target.coordinates | level), 50, 0)[
        "log_relative_noise"
    ].shape == (50,)


def test_selection_of_draws(case, target, volume, stars):
    """Predictions belong to the draws that they say."""
    rng = np.random.default_rng(4)
    phi = case.truth * (1 + 0.01 * rng.normal(size=(2, 60, 1)))
    prior = prior_sites(target, 50, seed=0)
    found = make_predictions(target, volume, Draws({"irreducible": phi}, {}), prior, stars, seed=0)
    assert found.replicated.shape == (2, 25, len(stars))
    assert found.replicated.dtype == np.float32
    assert found.log_likelihood.shape == (2, 60, stars.max() + 1)
    assert found.likelihood_draws.tolist() == list(range(60))
    assert (found.replicated_draws[0], found.replicated_draws[-1]) == (0, 59)
    weight = np.asarray(volume.likelihood.weight)
    chain, place = 1, 7
    drawn = jnp.asarray(phi[chain, found.replicated_draws[place]])
    misfit = found.replicated[chain, place] - np.asarray(log_intensity(volume.forward, drawn))
    misfit -= np.average(misfit, weights=weight)
    assert (weight * misfit**2).mean() == pytest.approx(1, abs=5 * np.sqrt(2 / len(weight)))


def test_stars_between_the_waves_of_the_supercell(case):
    """Images under the Laue group, a reciprocal-lattice vector on, share the label of their point alone."""
    rng = np.random.default_rng(5)
    waves = np.array([[0.35, 0.35, 0.35], [-0.35, 1.05, 0.35], [0.1, 0.2, 0.3], [0.37, 0.21, 0.05]])
    rotations = case.irreducible.crystal.laue_group
    lattice = np.array([[1, 1, 1], [2, 0, 0], [-1, 1, 3], [0, 0, 0]])
    chosen = rotations[rng.integers(len(rotations), size=12)]
    moved = np.concatenate([waves @ rotation + rng.permutation(lattice) for rotation in chosen])
    # Single precision, as files have it.
    labels = star_labels(case.supercell, np.concatenate([waves, moved.astype(np.float32)]))
    assert len(set(labels[:4])) == 4
    np.testing.assert_array_equal(labels, np.tile(labels[:4], 13))


def test_stars_between_come_after_those_of_the_supercell(case, problem, stars):
    q_points = np.append(problem.volumes[0].grid.q_points, [[0.123, 0.0, 0.0], [0.0, 0.0, 0.123]], axis=0)
    labels = star_labels(case.supercell, q_points)
    np.testing.assert_array_equal(labels[:-2], stars)
    assert labels[-1] == labels[-2] == stars.max() + 1
