"""Special points of the Brillouin zone and the paths between them."""

import numpy as np
import pytest

from bayestds.errors import CrystalError
from bayestds.lattice_dynamics.paths import SPACING, band_path, special_points
from bayestds.scattering.grid import nearest_bragg
from tests.crystals import SAMPLES, make_crystal


def test_face_centred_cubic_points_are_those_of_the_textbook():
    """Up to symmetry: sorted absolute values."""
    points = special_points(make_crystal("fcc"))
    expected = {"Γ": (0, 0, 0), "X": (0, 0, 1), "L": (0.5, 0.5, 0.5), "W": (0, 0.5, 1), "K": (0, 0.75, 0.75)}
    for name, point in expected.items():
        np.testing.assert_allclose(np.sort(np.abs(points[name])), point, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLES)
def test_special_points_lie_on_the_boundary_of_a_zone(name):
    """No point has one nearest Bragg point alone, but Γ."""
    crystal = make_crystal(name)
    for label, point in special_points(crystal).items():
        nearest = nearest_bragg(point[None], crystal)[0]
        shortest = np.linalg.norm(crystal.scattering_vectors(point - nearest))
        if label == "Γ":
            assert shortest < 1e-12
            continue
        # Bragg points about it, near enough to hold every one that could tie.
        steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        around = nearest + steps @ crystal.conventional_matrix.T
        lengths = np.linalg.norm(crystal.scattering_vectors(point - around), axis=1)
        assert (lengths < shortest * (1 + 1e-6)).sum() >= 2, label


def test_path_through_named_points():
    crystal = make_crystal("fcc")
    path = band_path(crystal, ["Γ", "X", "W", "K", "Γ", "L"])
    assert path.labels == ("Γ", "X", "W", "K", "Γ", "L")
    # 2π/a times 1, 1/2, √2/4, 3√2/4 and √3/2.
    segments = np.array([1, 0.5, np.sqrt(2) / 4, 0.75 * np.sqrt(2), np.sqrt(3) / 2]) * 2 * np.pi / 3.52
    np.testing.assert_allclose(np.diff(path.ticks), segments, rtol=1e-12)
    steps = np.linalg.norm(np.diff(crystal.scattering_vectors(path.q_points), axis=0), axis=1)
    np.testing.assert_allclose(np.diff(path.distance), steps, atol=1e-12)
    assert steps.max() <= SPACING


def test_standard_path_jumps_where_its_label_says_so():
    crystal = make_crystal("fcc")
    path = band_path(crystal)
    assert "|" in "".join(path.labels)
    steps = np.linalg.norm(np.diff(crystal.scattering_vectors(path.q_points), axis=0), axis=1)
    jumps = np.diff(path.distance) < steps - 1e-9
    assert jumps.sum() == sum("|" in label for label in path.labels)


def test_unknown_points_are_refused():
    with pytest.raises(CrystalError, match="no special point 'Q'"):
        band_path(make_crystal("fcc"), ["Γ", "Q"])
