"""Crystals from files, from ASE and written down by hand are one and the same."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

from bayestds.crystal.structure import Crystal, build_crystal, from_ase, read_crystal
from bayestds.errors import CrystalError
from bayestds.force_constants.irreducible import irreducible_force_constants
from tests.crystals import SAMPLES, conventional_atoms, make_crystal


def assert_same(found: Crystal, expected: Crystal, tolerance: float = 1e-8) -> None:
    """The same conventional cell, space group, atoms and shells; the choice of origin is free."""
    np.testing.assert_allclose(found.cell_parameters, expected.cell_parameters, atol=tolerance)
    np.testing.assert_allclose(found.conventional_lattice, expected.conventional_lattice, atol=tolerance)
    assert found.space_group.number == expected.space_group.number
    assert sorted(found.species) == sorted(expected.species)
    for orbit, other in zip(
        irreducible_force_constants(found, 2).orbits,
        irreducible_force_constants(expected, 2).orbits,
        strict=True,
    ):
        assert orbit.distance == pytest.approx(other.distance, abs=tolerance)
        assert len(orbit.pairs) == len(other.pairs)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_has_its_space_group_and_primitive_cell(name):
    crystal, sample = make_crystal(name), SAMPLES[name]
    assert crystal.space_group.number == sample.space_group
    assert crystal.n_atoms == sample.n_atoms
    np.testing.assert_allclose(crystal.cell_parameters, sample.lattice, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLES)
def test_lattice_is_in_standard_orientation(name):
    lattice = make_crystal(name).conventional_lattice
    np.testing.assert_allclose(lattice[np.triu_indices(3, 1)], 0, atol=1e-12)
    assert (lattice.diagonal() > 0).all()


@pytest.mark.parametrize("name", SAMPLES)
def test_poscar_equals_inline(name, tmp_path):
    path = tmp_path / "POSCAR"
    ase.io.write(path, conventional_atoms(name), format="vasp", direct=True)
    assert_same(read_crystal(path), make_crystal(name))


@pytest.mark.parametrize("name", SAMPLES)
def test_cif_equals_inline(name, tmp_path):
    path = tmp_path / "crystal.cif"
    # Cartesian order of the atoms and all symmetry left out, as ASE writes it; five digits.
    ase.io.write(path, conventional_atoms(name))
    assert_same(read_crystal(path), make_crystal(name), 1e-4)


CIF = """data_quartz
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c 5.4052
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_IT_number 154
_symmetry_space_group_name_H-M 'P 32 2 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Si1 Si 0.4697 0 {z} {occupancy}
O1 O 0.4133 0.2672 0.7855 1.0
"""


def write_cif(path: Path, **values: str) -> Path:
    path.write_text(CIF.format(**{"a": "4.9134", "z": "0.6666666666667", "occupancy": "1.0"} | values))
    return path


def test_cif_with_space_group_equals_inline(tmp_path):
    assert_same(read_crystal(write_cif(tmp_path / "quartz.cif")), make_crystal("quartz"))


def test_rounded_positions_of_a_cif_are_symmetrized(tmp_path):
    crystal = read_crystal(write_cif(tmp_path / "quartz.cif", z="0.6667"))
    assert crystal.space_group.number == 154
    assert_invariant(crystal)


@pytest.mark.parametrize("digits", [3, 4])
def test_rounded_hexagonal_positions_are_symmetrized(digits):
    third, two_thirds = round(1 / 3, digits), round(2 / 3, digits)
    crystal = build_crystal(
        np.array([3.209, 3.209, 5.211, 90, 90, 120]),
        ["Mg", "Mg"],
        np.array([[third, two_thirds, 0.25], [two_thirds, third, 0.75]]),
    )
    assert_same(crystal, make_crystal("hcp"))
    assert_invariant(crystal)


def assert_invariant(crystal: Crystal) -> None:
    """Every operation carries each atom to exactly the place the group's integers say."""
    group = crystal.space_group
    for rotation, translation, permutation, shift in zip(
        group.rotations, group.translations, group.permutations, group.cell_shifts, strict=True
    ):
        image = crystal.fractional_positions @ rotation.T + translation
        np.testing.assert_allclose(image, crystal.fractional_positions[permutation] + shift, atol=1e-9)
    gram = np.einsum("oji,ojk->oik", crystal.cartesian_rotations, crystal.cartesian_rotations)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-9)


@pytest.mark.parametrize("name", SAMPLES)
def test_structure_is_exactly_symmetric(name):
    assert_invariant(make_crystal(name))


def test_noisy_lattice_and_positions_are_symmetrized():
    atoms = conventional_atoms("rutile")
    rng = np.random.default_rng(0)
    atoms.set_cell(atoms.cell.array + rng.uniform(-2e-4, 2e-4, (3, 3)), scale_atoms=True)
    atoms.positions += rng.uniform(-1e-4, 1e-4, atoms.positions.shape)
    crystal = from_ase(atoms)
    assert crystal.space_group.number == 136
    assert_invariant(crystal)
    a, b, *_, alpha, beta, gamma = crystal.cell_parameters
    np.testing.assert_allclose([b - a, alpha - 90, beta - 90, gamma - 90], 0, atol=1e-10)


@pytest.mark.parametrize("element", ["Ni", "Fe", "Si"])
def test_primitive_and_conventional_poscar_give_the_same_crystal(element, tmp_path):
    crystals = []
    for cubic in (False, True):
        path = tmp_path / f"POSCAR_{cubic}"
        ase.io.write(path, bulk(element, cubic=cubic), format="vasp", direct=True)
        crystals.append(read_crystal(path))
    primitive, conventional = crystals
    assert_same(primitive, conventional)
    assert abs(np.linalg.det(primitive.conventional_matrix)) == pytest.approx({"Fe": 2}.get(element, 4))
    assert (
        irreducible_force_constants(primitive, 4).names == irreducible_force_constants(conventional, 4).names
    )


def rotated(atoms: Atoms, vector: np.ndarray) -> Atoms:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ Rotation.from_rotvec(vector).as_matrix().T, scale_atoms=True)
    return turned


@pytest.mark.parametrize("name", SAMPLES)
def test_rotated_input_gives_the_same_crystal(name):
    """The same atoms in the same places; only the choice of primitive vectors may differ."""
    atoms = conventional_atoms(name)
    turned = rotated(atoms, np.array([0.3, -1.1, 0.7]))
    first, second = from_ase(atoms), from_ase(turned)
    np.testing.assert_allclose(second.conventional_lattice, first.conventional_lattice, atol=1e-9)
    change = second.lattice_vectors @ np.linalg.inv(first.lattice_vectors)
    np.testing.assert_allclose(change, np.rint(change), atol=1e-9)
    assert abs(np.linalg.det(change)) == pytest.approx(1)
    apart = second.cartesian_positions[:, None] - first.cartesian_positions
    apart = apart @ np.linalg.inv(first.lattice_vectors)
    same = (np.abs(apart - np.rint(apart)) < 1e-9).all(axis=-1)
    assert same.sum() == first.n_atoms
    assert [first.species[i] for i in same.argmax(axis=1)] == list(second.species)


@pytest.mark.parametrize("name", SAMPLES)
def test_rotated_input_gives_the_same_irreducible_force_constants(name):
    atoms = conventional_atoms(name)
    found, expected = (
        irreducible_force_constants(from_ase(a), SAMPLES[name].n_shells)
        for a in (rotated(atoms, np.array([0.3, -1.1, 0.7])), atoms)
    )
    assert found.names == expected.names
    assert found.sum_rules == expected.sum_rules
    assert found.orbit_matrices == expected.orbit_matrices


def test_representative_does_not_hang_on_the_last_digit():
    """GaAs, a = 5.653 Å: the shortest bond is ±1.41325 Å each way, and rounds to four digits by chance."""
    cell = bulk("GaAs", "zincblende", a=5.653, cubic=True)
    rotations = np.random.default_rng(0).normal(size=(12, 3))
    found = {irreducible_force_constants(from_ase(rotated(cell, r)), 1).orbit_matrices for r in rotations}
    assert found == {(("b0", "b1", "b1", "b1", "b0", "b1", "b1", "b1", "b0"),)}


def test_a_supercell_is_reduced_to_its_primitive_cell():
    crystal = from_ase(bulk("Ni", cubic=True).repeat(2))
    assert crystal.n_atoms == 1


def test_masses_follow_their_atoms():
    crystal = build_crystal(
        np.array([5.64] * 3 + [90.0] * 3),
        ["Na", "Cl"],
        np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
        [22.5, None],
        225,
    )
    assert dict(zip(crystal.species, crystal.masses, strict=True)) == {
        "Na": 22.5,
        "Cl": pytest.approx(35.45, abs=0.01),
    }


def test_scattering_vectors_are_in_the_conventional_cell():
    crystal = make_crystal("fcc")
    np.testing.assert_allclose(
        crystal.scattering_vectors(np.array([[1.0, 0, 0]])), [[2 * np.pi / 3.52, 0, 0]]
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_scattering_vectors_are_dual_to_the_lattice(name):
    crystal = make_crystal(name)
    q_points = np.random.default_rng(2).normal(size=(5, 3))
    phases = crystal.scattering_vectors(q_points) @ crystal.conventional_lattice.T
    np.testing.assert_allclose(phases, 2 * np.pi * q_points, atol=1e-12)


def refused(message: str):
    return pytest.raises(CrystalError, match=message)


def test_partial_occupancy_is_refused(tmp_path):
    with refused("partially occupied"):
        read_crystal(write_cif(tmp_path / "quartz.cif", occupancy="0.7"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("_cell_length_a 4.9134", "_cell_length_a nan", "_cell_length_a is nan"),
        ("_cell_length_a 4.9134", "_cell_length_a ?", r"_cell_length_a is \?"),
        ("_cell_length_b 4.9134", "_cell_length_b -4.9134", "_cell_length_b is -4.9134"),
        ("_cell_length_c 5.4052", "_cell_length_c inf", "_cell_length_c is inf"),
        ("_cell_angle_gamma 120", "_cell_angle_gamma 480", "_cell_angle_gamma is 480"),
        ("0.2672", "?", r"_atom_site_fract_y of site O1 is \?"),
        ("_space_group_IT_number 154\n_symmetry_space_group_name_H-M 'P 32 2 1'\n", "", "symmetry"),
    ],
)
def test_cif_that_ase_would_read_as_another_crystal_is_refused(tmp_path, old, new, words):
    path = write_cif(tmp_path / "quartz.cif")
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    with refused(f"quartz.cif.*{words}") as caught:
        read_crystal(path)
    assert caught.value.reason
    assert caught.value.fix


@pytest.mark.parametrize(
    "symmetry",
    [
        "_space_group_IT_number 154",
        "_symmetry_space_group_name_H-M 'P 32 2 1'",
        "_symmetry_Int_Tables_number 154",
    ],
)
def test_one_tag_of_symmetry_will_do(tmp_path, symmetry):
    path = write_cif(tmp_path / "quartz.cif")
    both = "_space_group_IT_number 154\n_symmetry_space_group_name_H-M 'P 32 2 1'"
    path.write_text(path.read_text().replace(both, symmetry))
    assert_same(read_crystal(path), make_crystal("quartz"))


def test_overlapping_atoms_are_refused():
    with refused("apart"):
        build_crystal(np.array([4.0] * 3 + [90.0] * 3), ["Na", "Cl"], np.array([[0, 0, 0], [0.01, 0, 0.999]]))


@pytest.mark.parametrize("cell", [np.zeros((3, 3)), [[3, 0, 0], [0, 3, 0], [3, 3, 0]]], ids=["none", "flat"])
def test_singular_lattice_is_refused(cell):
    with refused("no unit cell"):
        from_ase(Atoms("Ni", cell=cell, pbc=True))


def test_a_cell_without_atoms_is_refused():
    with refused("no atoms"):
        from_ase(Atoms(cell=[3, 3, 3], pbc=True))


def test_impossible_angles_are_refused():
    with refused("."):
        build_crystal(np.array([3.0, 3, 3, 60, 60, 150]), ["Ni"], np.zeros((1, 3)))


def test_non_finite_positions_are_refused():
    with refused("not finite"):
        from_ase(Atoms("Ni", positions=[[np.nan, 0, 0]], cell=[3, 3, 3], pbc=True))


@pytest.mark.parametrize("species", ["Xx", "Q", ""])
def test_unknown_species_is_refused(species):
    with refused("."):
        build_crystal(np.array([3.0] * 3 + [90.0] * 3), [species], np.zeros((1, 3)))


def test_missing_file_is_refused(tmp_path):
    with refused("missing.cif does not exist"):
        read_crystal(tmp_path / "missing.cif")


@pytest.mark.parametrize("name", ["POSCAR", "crystal.cif", "notes.txt"])
@pytest.mark.parametrize(
    "content", ["", "not a crystal\n" * 20, "\x00\x01\x02"], ids=["empty", "words", "binary"]
)
def test_garbage_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with refused(name):
        read_crystal(path)


def test_a_molecule_is_refused(tmp_path):
    path = tmp_path / "water.xyz"
    ase.io.write(path, Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    with refused("no unit cell"):
        read_crystal(path)
