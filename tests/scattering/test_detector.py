"""Pixels of detector images: their Q points, and the force constants that their intensities tell."""

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
from bayestds.scattering.detector import Detector, detector_q_points
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import Anywhere, OnMesh
from bayestds.scattering.points import make_point_engine
from tests.brute_force import random_stable
from tests.crystals import make_crystal, make_irreducible

WAVELENGTH = 0.2


def orientation_of(crystal, seed: int = 0) -> np.ndarray:
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    return turn @ crystal.scattering_vectors(np.eye(3)).T / (2 * np.pi)


def make_detector(n_rows: int, n_pixels: int) -> Detector:
    fast, slow = np.array([300 / n_pixels, 0, 0]), np.array([0, -300 / n_rows, 0])
    return Detector(np.array([-140.0, 160.0, 300.0]), fast, slow, (n_rows, n_pixels))


def sweep(n_images: int) -> np.ndarray:
    return Rotation.from_euler("y", np.linspace(0, 90, n_images)[:, None], degrees=True).as_matrix()


@pytest.mark.parametrize("name", ["fcc", "hcp", "monoclinic"])
def test_pixels_hit_by_bragg_reflections_have_their_indices(name):
    """Braggs's law, worked from the reflection to the detector instead of back."""
    crystal = make_crystal(name)
    orientation = orientation_of(crystal, 3)
    beam = np.array([0.0, 0.0, 1.0])
    indices = np.array([2.0, -1.0, 3.0])
    # Turn the reciprocal vector into the Ewald sphere by a rotation about y, found by bisection.
    angles = np.radians(np.linspace(0, 360, 40001))
    turns = Rotation.from_euler("y", angles[:, None]).as_matrix()
    lab = turns @ orientation @ indices
    misfit = np.linalg.norm(lab + beam / WAVELENGTH, axis=1) - 1 / WAVELENGTH
    found = [i for i in np.flatnonzero(np.diff(np.sign(misfit))) if lab[i, 2] + 1 / WAVELENGTH > 0]
    assert found
    leaving = lab[found[0]] + beam / WAVELENGTH
    place = leaving / leaving[2] * 250.0
    detector = Detector(place, np.array([0.1, 0, 0]), np.array([0, 0.1, 0]), (1, 1))
    q_point = detector_q_points(detector, crystal, orientation, turns[found[:1]], WAVELENGTH)
    np.testing.assert_allclose(q_point[0, 0, 0], indices, atol=2e-3)


def test_detector_images_recover_known_constants():
    """Data by the grid engine on an 16x16x16 mesh at its wave vectors nearest to pixels, with 2 % noise."""
    irreducible = make_irreducible("fcc", 2)
    crystal = irreducible.crystal
    fine = make_supercell(crystal, (16, 16, 16))
    pixels = detector_q_points(make_detector(40, 40), crystal, orientation_of(crystal), sweep(5), WAVELENGTH)
    q_points = fine.snap(pixels.reshape(-1, 3))
    bragg = np.linalg.norm(q_points - np.rint(q_points), axis=1) < 0.3
    short = np.linalg.norm(crystal.scattering_vectors(q_points), axis=1) < 12
    q_points = q_points[short & ~bragg & (fine.k_index(q_points) != 0)][::4]
    assert len(q_points) > 300
    coarse = make_supercell(crystal, (6, 6, 6))
    truth = random_stable(irreducible, make_supercell(crystal, (4, 4, 4)), 7, 0.1)
    exact = make_forward_model(irreducible, fine, 300.0, OnMesh(make_engine(fine, q_points, None, 43, 4)))
    rng = np.random.default_rng(1)
    noise = 0.02 * rng.normal(size=len(q_points))
    observed = np.asarray(log_intensity(exact, jnp.asarray(truth))) + noise + 3.0
    likelihood = LogNormal(jnp.asarray(observed), jnp.full(len(q_points), 0.02**-2.0))
    lattice_sum = Anywhere(make_point_engine(irreducible, coarse, q_points))
    forward = make_forward_model(irreducible, coarse, 300.0, lattice_sum)
    values = jnp.asarray(0.9 * truth)
    for _ in range(6):
        expected, derivative = log_intensity_and_jacobian(forward, values)
        here = likelihood.quadratic(expected, len(values))
        information = fisher_information(here.precision, derivative)
        values = values + jnp.linalg.solve(information, derivative.T @ here.score)
    pulls = (values - truth) @ jnp.linalg.cholesky(information)
    assert 0.05 < (pulls**2).sum() < 20, pulls
    relative = np.abs(values - truth)[:3] / np.abs(truth[:3])
    assert relative.max() < 0.02, relative


def test_bad_geometry_is_refused():
    crystal, detector = make_crystal("fcc"), make_detector(3, 3)
    orientation, turns = orientation_of(crystal), sweep(2)
    with pytest.raises(VolumeError, match="does not belong to this crystal"):
        detector_q_points(detector, crystal, 2 * np.pi * orientation, turns, WAVELENGTH)
    with pytest.raises(VolumeError, match="image 1 is not a rotation"):
        detector_q_points(
            detector, crystal, orientation, turns * np.array([1, -1])[:, None, None], WAVELENGTH
        )
    with pytest.raises(VolumeError, match="wavelength of 0"):
        detector_q_points(detector, crystal, orientation, turns, 0.0)
    with pytest.raises(VolumeError, match="shape"):
        detector_q_points(detector, crystal, orientation, turns[0], WAVELENGTH)
    single = replace(detector, shape=(1, 1))
    assert detector_q_points(single, crystal, orientation, turns, WAVELENGTH).shape == (2, 1, 1, 3)
