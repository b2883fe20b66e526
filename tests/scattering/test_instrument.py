"""Each effect of an instrument against what it is defined by."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayestds.crystal.supercell import make_supercell
from bayestds.errors import VolumeError
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import fisher_information
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.instrument import (
    Average,
    Background,
    Effect,
    Factor,
    polarisation,
    resolution_window,
    smooth_background,
    spread_covariance,
    spread_points,
)
from bayestds.scattering.lattice_sum import Anywhere, OnMesh
from bayestds.scattering.points import make_point_engine
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, make_irreducible


def test_polarisation_is_the_dipole_radiation_of_its_two_components():
    """|component of the field across the scattered beam|², for both directions of the incident field."""
    rng = np.random.default_rng(0)
    wavelength, degree = 0.5, 0.9
    two_theta, azimuth = rng.uniform(0, np.pi, 50), rng.uniform(0, 2 * np.pi, 50)
    leaving = np.stack(
        [np.sin(two_theta) * np.cos(azimuth), np.sin(two_theta) * np.sin(azimuth), np.cos(two_theta)], axis=1
    )
    in_plane, across = 1 - leaving[:, 0] ** 2, 1 - leaving[:, 1] ** 2
    expected = (1 + degree) / 2 * in_plane + (1 - degree) / 2 * across
    lengths = 4 * np.pi * np.sin(two_theta / 2) / wavelength
    np.testing.assert_allclose(polarisation(lengths, wavelength, degree, azimuth), expected, atol=1e-12)
    unpolarised = (1 + np.cos(two_theta) ** 2) / 2
    np.testing.assert_allclose(polarisation(lengths, wavelength), unpolarised, atol=1e-12)


@pytest.mark.parametrize(
    ("lengths", "wavelength", "degree", "words"),
    [
        ([30.0], 1.0, 0.0, "cannot be measured"),
        ([1.0], 1.0, 1.5, "degree"),
        ([np.nan], 1.0, 0.0, "measured"),
    ],
)
def test_impossible_polarisations_are_refused(lengths, wavelength, degree, words):
    with pytest.raises(VolumeError, match=words):
        polarisation(np.array(lengths), wavelength, degree)


def test_background_terms_are_a_partition_of_one_that_holds_every_cubic():
    lengths = np.random.default_rng(1).uniform(2, 9, 200)
    for n_terms in (1, 4, 7):
        np.testing.assert_allclose(smooth_background(lengths, n_terms).sum(axis=1), 1)
    cubic = 3 - lengths + 0.2 * lengths**2 - 0.01 * lengths**3
    terms = smooth_background(lengths, 6)
    strengths = np.linalg.lstsq(terms, cubic)[0]
    np.testing.assert_allclose(terms @ strengths, cubic, atol=1e-10)
    with pytest.raises(VolumeError, match="at least 4"):
        smooth_background(lengths, 3)


@pytest.mark.parametrize("n_near", [None, 13])
def test_resolution_is_a_convolution_on_a_fine_mesh(n_near):
    """Against a weighted sum over the wave vectors around each point; W and f change little across it."""
    irreducible = make_irreducible("fcc", 2)
    crystal = irreducible.crystal
    supercell = make_supercell(crystal, (12, 12, 12))
    truth = random_stable(irreducible, make_supercell(crystal, (4, 4, 4)), 3, 0.1)
    step = 1 / 12
    width = 0.75 * step  # r.l.u.
    reciprocal = crystal.scattering_vectors(np.eye(3))
    covariance = width**2 * reciprocal.T @ reciprocal
    window = resolution_window(supercell, covariance)
    # Close to Bragg points, where the intensity is curved.
    rng = np.random.default_rng(0)
    reflections = np.array([[2, 2, 0], [4, 0, 0], [3, 1, 1], [3, 3, 1]])[rng.integers(0, 4, 20)]
    centres = reflections + step * rng.integers(2, 4, (20, 3)) * rng.choice([-1, 1], (20, 3))
    offsets = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * step
    weights = np.exp(-((offsets / width) ** 2).sum(axis=1) / 2)
    weights /= weights.sum()
    around = (centres[:, None] + offsets).reshape(-1, 3)
    fine = OnMesh(make_engine(supercell, around, None, 43, 4))
    forward = make_forward_model(irreducible, supercell, 300.0, fine)
    phi = jnp.asarray(truth)
    sharp = jnp.exp(log_intensity(forward, phi))
    expected = np.asarray(sharp).reshape(len(centres), -1) @ weights
    order = 0 if n_near is None else 4
    engine = make_engine(supercell, centres, None, n_near, order, window)
    found = np.asarray(log_intensity(forward.with_sum(OnMesh(engine)), phi))
    unsmeared = np.asarray(sharp).reshape(len(centres), -1)[:, len(offsets) // 2]
    error, effect = np.abs(found - np.log(expected)), np.abs(np.log(unsmeared / expected))
    assert effect.max() > 0.03
    # What is left is the change of Q and W across the resolution, which the window takes as constant.
    assert error.max() < effect.max() / 4
    assert np.median(error) < np.median(effect) / 4


def test_resolutions_that_no_mesh_can_show_are_refused():
    supercell = make_supercell(make_irreducible("fcc", 1).crystal, (4, 4, 4))
    with pytest.raises(VolumeError, match="larger supercell"):
        resolution_window(supercell, 1e-4 * np.eye(3))
    with pytest.raises(VolumeError, match="not a covariance"):
        resolution_window(supercell, -np.eye(3))


def test_constants_are_recovered_beside_an_unknown_background():
    """Polarised data on a smooth background with 1 % noise; leaving either out gives wrong constants."""
    irreducible = make_irreducible("fcc", 2)
    crystal = irreducible.crystal
    supercell = make_supercell(crystal, (4, 4, 4))
    truth = random_stable(irreducible, supercell, 3, 0.1)
    q_points = commensurate_points(supercell, 500, 12.0)
    q_points = q_points[supercell.k_index(q_points) != 0]
    lengths = np.linalg.norm(crystal.scattering_vectors(q_points), axis=1)
    factor, terms = polarisation(lengths, 0.7), smooth_background(lengths, 5)
    strengths = np.array([0.015, 0.03, 0.04, 0.02, 0.01])
    forward = make_forward_model(irreducible, supercell, 300.0, OnMesh(make_engine(supercell, q_points)))
    diffuse = np.exp(np.asarray(log_intensity(forward, jnp.asarray(truth))))
    share = terms @ strengths / (factor * diffuse + terms @ strengths)
    assert 0.05 < np.median(share) < 0.5, np.median(share)
    noise = 0.01 * np.random.default_rng(2).normal(size=len(q_points))
    observed = np.log(factor * diffuse + terms @ strengths) + noise
    likelihood = LogNormal(jnp.asarray(observed), jnp.full(len(q_points), 0.01**-2.0))

    def estimate(effects: tuple[Effect, ...], n_terms: int, rounds: int) -> tuple[np.ndarray, float]:
        """Error of the constants by Gauss-Newton from the truth, and its square in standard errors."""
        model = replace(forward, effects=effects)
        start = jnp.asarray(np.append(truth, strengths[:n_terms]))
        parameters = start
        for _ in range(rounds):
            expected, derivative = log_intensity_and_jacobian(model, parameters)
            here = likelihood.quadratic(expected, len(parameters))
            precision = fisher_information(here.precision, derivative)
            parameters = parameters + jnp.linalg.solve(precision, derivative.T @ here.score)
        error = np.asarray(parameters - start)[: len(truth)]
        covariance = np.linalg.inv(np.asarray(precision))[: len(truth), : len(truth)]
        return error, float(error @ np.linalg.solve(covariance, error))

    background = Background(jnp.asarray(terms), jnp.ones(5), tuple("abcde"))
    _, chi_square = estimate((Factor(jnp.asarray(factor)), background), 5, 6)
    assert 0.1 < chi_square < 20
    # Without one of them the first step already leads away.
    assert estimate((background,), 5, 1)[1] > 10 * chi_square
    assert estimate((), 0, 1)[1] > 10 * chi_square


@pytest.mark.parametrize("effect", ["resolution", "mosaic", "voxel_size", "all"])
def test_mean_over_six_points_is_that_over_the_voxel(effect):
    """Against 4,000 random points of each voxel, of a turned crystal, and of a Gaussian resolution."""
    irreducible = make_irreducible("fcc", 2)
    crystal = irreducible.crystal
    supercell = make_supercell(crystal, (4, 4, 4))
    truth = jnp.asarray(random_stable(irreducible, supercell, 3, 0.1))
    resolution = 0.08 if effect in ("resolution", "all") else 0.0
    mosaic = 0.02 if effect in ("mosaic", "all") else 0.0
    steps = np.array([0.2, 0.15, 0.1]) if effect in ("voxel_size", "all") else None
    rng = np.random.default_rng(1)
    centres = np.array([[2.4, 2.3, 0.3], [4.3, 0.3, 0.4], [3.1, 1.4, 1.3], [-2.3, 2.4, 2.6]])
    n = 4000
    vectors = np.repeat(crystal.scattering_vectors(centres), n, axis=0)
    if steps is not None:
        vectors = vectors + crystal.scattering_vectors(rng.uniform(-0.5, 0.5, vectors.shape) * steps)
    vectors = Rotation.from_rotvec(mosaic * rng.normal(size=vectors.shape)).apply(vectors)
    vectors = vectors + resolution * rng.normal(size=vectors.shape)
    around = vectors @ np.linalg.inv(crystal.scattering_vectors(np.eye(3)))

    def intensity(q_points: np.ndarray) -> np.ndarray:
        lattice_sum = Anywhere(make_point_engine(irreducible, supercell, q_points))
        forward = make_forward_model(irreducible, supercell, 300.0, lattice_sum)
        return np.exp(np.asarray(log_intensity(forward, truth)))

    sampled = intensity(around).reshape(len(centres), n)
    expected, error = sampled.mean(axis=1), sampled.std(axis=1) / np.sqrt(n)
    covariance = spread_covariance(
        crystal, centres, resolution, mosaic, None if steps is None else np.diag(steps)
    )
    points = spread_points(crystal, centres, covariance)
    lattice_sum = Anywhere(make_point_engine(irreducible, supercell, points.reshape(-1, 3)))
    effects = (Average(points.shape[1]),)
    forward = make_forward_model(irreducible, supercell, 300.0, lattice_sum, effects=effects)
    found = np.exp(np.asarray(log_intensity(forward, truth)))
    effect_of_it = np.abs(intensity(centres) - expected)
    assert (effect_of_it > 4 * error).any()
    # What is left is of fourth order in the width over the distance to the Bragg point.
    assert (np.abs(found - expected) < 4 * error + 0.15 * effect_of_it.max()).all()


def test_spread_has_the_covariance_of_its_parts():
    """A hexagonal crystal: sampled covariance of random points, and of the six."""
    crystal = make_irreducible("hcp", 1).crystal
    centres, steps = np.array([[1.2, 0.4, -2.3]]), np.array([0.1, 0.2, 0.3])
    rng = np.random.default_rng(0)
    vectors = np.repeat(crystal.scattering_vectors(centres), 200_000, axis=0)
    vectors = Rotation.from_rotvec(0.01 * rng.normal(size=vectors.shape)).apply(vectors)
    vectors = vectors + crystal.scattering_vectors(rng.uniform(-0.5, 0.5, vectors.shape) * steps)
    vectors = vectors + 0.02 * rng.normal(size=vectors.shape)
    covariance = spread_covariance(crystal, centres, 0.02, 0.01, np.diag(steps))
    np.testing.assert_allclose(covariance[0], np.cov(vectors.T), atol=0.02 * np.abs(covariance).max())
    points = crystal.scattering_vectors(spread_points(crystal, centres, covariance)[0])
    np.testing.assert_allclose(points.mean(axis=0), crystal.scattering_vectors(centres)[0], atol=1e-12)
    np.testing.assert_allclose(np.cov(points.T, bias=True), covariance[0], atol=1e-12)
