"""The axes that Miller indices refer to, and how they follow from those of the description."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayestds.crystal.structure import Crystal, from_ase
from tests.crystals import SAMPLES, make_crystal

IDENTITY = np.eye(3)
CELLS = {
    "aluminium, body-centred tetragonal": (
        Atoms("Al2", [[0, 0, 0], [1.5, 1.5, 2.1213]], cell=[3.0, 3.0, 3.0 * np.sqrt(2)], pbc=True),
        [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    ),
    "nickel, primitive": (bulk("Ni"), [[1, 1, -1], [-1, 1, 1], [1, -1, 1]]),
    "iron, primitive": (bulk("Fe"), [[1, 1, 0], [0, 1, 1], [1, 0, 1]]),
    "nickel, 1 x 2 x 3 cells": (bulk("Ni", cubic=True).repeat((1, 2, 3)), np.diag([1, 1 / 2, 1 / 3])),
    "nickel, 3³ primitive cells": (bulk("Ni").repeat(3), np.array([[1, 1, -1], [-1, 1, 1], [1, -1, 1]]) / 3),
    "magnesium, orthohexagonal": (
        bulk("Mg", orthorhombic=True),
        [[1, 0, 0], [-1 / 2, 1 / 2, 0], [0, 0, 1]],
    ),
}


def check(crystal: Crystal, cell: np.ndarray) -> None:
    """The conventional lattice is given_matrix @ that of the description, turned as a whole."""
    here, there = crystal.conventional_lattice, crystal.given_matrix @ cell
    np.testing.assert_allclose(here @ here.T, there @ there.T, atol=1e-4)


@pytest.mark.parametrize("name", CELLS)
def test_conventional_axes_of_another_cell(name):
    atoms, expected = CELLS[name]
    crystal = from_ase(atoms)
    np.testing.assert_array_equal(crystal.given_matrix, expected)
    check(crystal, atoms.cell.array)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_conventional_cell_is_kept(name):
    np.testing.assert_array_equal(make_crystal(name).given_matrix, IDENTITY)


def conventional(name: str, axes: np.ndarray, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """A cell with other axes (in conventional ones), filled with all of its atoms."""
    crystal = make_crystal(name)
    steps = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3), axis=-1).reshape(-1, 1, 3)
    cell = axes @ crystal.conventional_lattice
    places = (steps + crystal.fractional_positions) @ crystal.lattice_vectors @ np.linalg.inv(cell)
    inside = ((places > -1e-6) & (places < 1 - 1e-6)).all(axis=-1)
    species = np.broadcast_to(crystal.species, inside.shape)[inside]
    return Atoms(list(species), scaled_positions=places[inside], cell=cell, pbc=True).repeat(repeat)


SETTINGS = {
    "unique axis c": ("monoclinic", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "cell choice 3, I-centred": ("monoclinic", [[-1, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "a and c change places": ("orthorhombic", [[0, 0, 1], [0, -1, 0], [1, 0, 0]]),
    "tetragonal axis along a": ("rutile", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "C-centred tetragonal": ("rutile", [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]),
    "F-centred tetragonal": ("tetragonal", [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]),
    "F-centred triclinic": ("triclinic", [[1, 1, -1], [-1, 1, 1], [1, -1, 1]]),
    "H-centred hexagonal": ("hcp", [[1, -1, 0], [1, 2, 0], [0, 0, 1]]),
    "reverse setting": ("rhombohedral", [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    "left-handed": ("monoclinic", [[1, 0, 0], [0, 1, 0], [0, 0, -1]]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_unusual_setting_is_kept(name):
    sample, axes = SETTINGS[name]
    atoms = conventional(sample, np.array(axes))
    crystal = from_ase(atoms)
    np.testing.assert_array_equal(crystal.given_matrix, IDENTITY)
    check(crystal, atoms.cell.array)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_supercell_of_it_has_the_same_axes(name):
    sample, axes = SETTINGS[name]
    atoms = conventional(sample, np.array(axes), (2, 1, 3))
    np.testing.assert_array_equal(from_ase(atoms).given_matrix, np.diag([1 / 2, 1, 1 / 3]))


@pytest.mark.parametrize("name", ["fcc", "bcc", "tetragonal", "rhombohedral", "orthorhombic", "monoclinic"])
def test_of_equivalent_axes_the_closest_are_taken(name):
    """Primitive vectors in another order and with other signs: no equivalent axes are closer to them."""
    crystal = make_crystal(name)
    rows = crystal.lattice_vectors[[2, 0, 1]] * np.array([[1.0], [-1.0], [-1.0]])
    atoms = Atoms(list(crystal.species), cell=rows, pbc=True, positions=crystal.cartesian_positions)
    found = from_ase(atoms)
    check(found, rows)
    assert np.linalg.det(found.given_matrix) > 1
    turned = np.linalg.inv(crystal.conventional_lattice) @ found.given_matrix @ rows  # by the holohedry
    np.testing.assert_allclose(turned @ turned.T, IDENTITY, atol=1e-9)

    def nearness(axes):
        return sum(a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(axes, rows, strict=True))

    equivalents = [
        rotation.T * sign @ found.given_matrix @ rows for rotation in found.laue_group for sign in (1, -1)
    ]
    right = [axes for axes in equivalents if np.linalg.det(axes) * np.linalg.det(rows) > 0]
    assert nearness(found.given_matrix @ rows) == pytest.approx(max(map(nearness, right)))
