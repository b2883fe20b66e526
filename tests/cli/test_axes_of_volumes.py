"""Volumes that were indexed in other axes than those of the crystal: which matrix turns them."""

import numpy as np
import pytest

from bayestds.cli.crystal import in_crystal_axes
from bayestds.crystal.structure import build_crystal
from bayestds.errors import VolumeError
from bayestds.scattering.reindex import matrix_text, reindex
from bayestds.scattering.volume import make_volume, volume_axes
from tests.crystals import make_crystal


def volume_in(crystal, matrix):
    """A volume of a crystal, indexed in the cell that the inverse of a matrix leads back from."""
    axis = np.linspace(-1, 1, 5)
    intensity = np.random.default_rng(0).uniform(1, 2, (5, 5, 5))
    here = make_volume(axis, axis, axis, intensity, lattice=crystal.cell_parameters)
    return here, reindex(here, np.linalg.inv(matrix))


def same(found, expected, crystal):
    """Whether a volume has the same intensity at the same points, or at equivalent ones."""
    values = {tuple(np.round(q, 6) + 0.0): i for q, i in pairs(expected)}
    return any(
        all(values.get(tuple(np.round(q @ rotation, 6) + 0.0)) == pytest.approx(i) for q, i in pairs(found))
        for rotation in crystal.laue_group
    )


def pairs(volume):
    points = volume_axes(volume).points().reshape(-1, 3)
    return zip(points, volume["intensity"].values.ravel(), strict=True)


def pseudo_cubic():
    return build_crystal(
        np.array([4.00, 5.2, 4.03, 90, 90, 90]),
        ["Sr", "O"],
        np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
        None,
        47,
    )


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        [[0, 0, 1], [0, -1, 0], [1, 0, 0]],
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    ],
)
def test_edges_that_are_nearly_equal_are_told_apart(matrix):
    """All orders of the edges are right within 1 %, and one is right."""
    crystal = pseudo_cubic()
    here, there = volume_in(crystal, matrix)
    found = in_crystal_axes(there, crystal, "v")
    assert same(found, here, crystal)
    assert bool(found.encoding.get("notes")) == (not np.array_equal(matrix, np.eye(3)))


@pytest.mark.parametrize("name", ["fcc", "bcc", "hcp", "rhombohedral", "monoclinic", "triclinic"])
def test_a_primitive_cell_is_that_of_the_crystal(name):
    crystal = make_crystal(name)
    here, there = volume_in(crystal, crystal.conventional_matrix)
    assert same(in_crystal_axes(there, crystal, "v"), here, crystal)


def test_choices_that_the_crystal_tells_apart_are_asked_for():
    """Hexagonal cells of one cubic lattice, obverse and reverse, of a crystal without a mirror plane."""
    sites = np.array([[0.1, 0.2, 0.3]])
    crystal = build_crystal(np.array([5.0, 5.0, 5.0, 90, 90, 90]), ["Si"], sites, None, 198)
    hexagonal = np.array([[1, -1, 0], [0, 1, -1], [1, 1, 1]])
    _, there = volume_in(crystal, np.linalg.inv(hexagonal))
    with pytest.raises(VolumeError, match="choices fit") as caught:
        in_crystal_axes(there, crystal, "v")
    assert "--reindex" in caught.value.fix
    assert "1/3" in caught.value.fix


def test_another_crystal_is_refused():
    crystal = pseudo_cubic()
    _, there = volume_in(make_crystal("fcc"), np.eye(3))
    with pytest.raises(VolumeError, match="does not match"):
        in_crystal_axes(there, crystal, "v")


def test_matrices_are_written_as_fractions():
    matrix = np.array([[4 / 3, 2 / 3, 1 / 3], [-2 / 3, 0.5, 1], [0, 0, -1]])
    assert matrix_text(matrix) == "4/3 2/3 1/3 / -2/3 1/2 1 / 0 0 -1"
