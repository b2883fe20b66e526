"""Third-order force constants against characters of the space group, and the invariance of their energy."""

import numpy as np
import pytest

from bayestds.crystal.structure import Crystal
from bayestds.force_constants.third_order import TENSOR_ELEMENTS, third_order_force_constants
from tests.brute_force import periodic_atoms
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible
from tests.cubic_oracle import dense_bonds

N_SHELLS = 3


def atom_at(crystal: Crystal, point: np.ndarray) -> int:
    """The atom of the primitive cell that lies at a Cartesian point, modulo the lattice."""
    fractional = point @ np.linalg.inv(crystal.lattice_vectors) - crystal.fractional_positions
    off = np.abs((fractional - np.rint(fractional)) @ crystal.lattice_vectors).max(axis=1)
    assert off.min() < 1e-6
    return int(off.argmin())


def count_by_characters(crystal: Crystal, pairs: np.ndarray) -> int:
    """Number of tensors that symmetry leaves to pairs, the mean of the characters of its operations.

    An operation W contributes the character of symmetric tensors, (χ³ + 3χ(W²)χ + 2χ(W³))/6 with χ = tr W,
    for each pair that it keeps, and minus that for each whose ends it exchanges.
    """
    positions = crystal.fractional_positions @ crystal.lattice_vectors
    vectors = (pairs[:, 2:] @ crystal.lattice_vectors) + positions[pairs[:, 0]] - positions[pairs[:, 1]]
    total = 0.0
    shifts = crystal.space_group.translations @ crystal.lattice_vectors
    for rotation, shift in zip(crystal.cartesian_rotations, shifts, strict=True):
        image = [atom_at(crystal, rotation @ x + shift) for x in positions]
        head, tail = np.array(image)[pairs[:, 0]], np.array(image)[pairs[:, 1]]
        turned = vectors @ rotation.T
        kept = (np.abs(turned - vectors).max(axis=1) < 1e-5) & (head == pairs[:, 0]) & (tail == pairs[:, 1])
        swapped = (
            (np.abs(turned + vectors).max(axis=1) < 1e-5) & (head == pairs[:, 1]) & (tail == pairs[:, 0])
        )
        first, second, third = (np.trace(np.linalg.matrix_power(rotation, n)) for n in (1, 2, 3))
        total += (kept.sum() - swapped.sum()) * (first**3 + 3 * second * first + 2 * third) / 6
    return round(total / (2 * len(shifts)))


@pytest.mark.parametrize("name", SAMPLES)
def test_as_many_as_characters_say(name):
    third_order = third_order_force_constants(make_crystal(name), N_SHELLS)
    irreducible = make_irreducible(name, N_SHELLS)
    pairs = irreducible.pairs[irreducible.crystal.n_atoms :]
    assert third_order.n_cubic == count_by_characters(irreducible.crystal, pairs)
    assert len(third_order.bonds) == len(pairs) / 2
    flat = third_order.basis.reshape(-1, third_order.n_cubic)
    assert np.linalg.matrix_rank(flat, tol=1e-9) == third_order.n_cubic


@pytest.mark.parametrize("name", ["fcc", "diamond", "zincblende", "hcp", "wurtzite", "quartz", "p1"])
def test_the_energy_is_invariant(name):
    crystal, supercell = make_crystal(name), default_supercell(name)
    third_order = third_order_force_constants(crystal, 2)
    rng = np.random.default_rng(3)
    atoms = periodic_atoms(supercell)
    bonds = dense_bonds(atoms, third_order, rng.normal(size=third_order.n_cubic))
    displacements = rng.normal(size=(atoms.n_atoms, 3))
    before = bonds.energy(displacements[None])[0]
    shifts = crystal.space_group.translations @ crystal.lattice_vectors
    for rotation, shift in zip(crystal.cartesian_rotations, shifts, strict=True):
        box = atoms.box @ rotation.T @ np.linalg.inv(atoms.box)
        if np.abs(box - np.rint(box)).max() > 1e-6:
            continue  # the supercell has less symmetry than the crystal
        difference = (atoms.positions @ rotation.T + shift)[:, None] - atoms.positions
        cells = difference @ np.linalg.inv(atoms.box)
        image = np.linalg.norm((cells - np.rint(cells)) @ atoms.box, axis=-1).argmin(axis=1)
        moved = np.empty_like(displacements)
        moved[image] = displacements @ rotation.T
        assert bonds.energy(moved[None])[0] == pytest.approx(before, rel=1e-10)
    assert bonds.energy(displacements[None] + np.array([0.3, -1.0, 2.0]))[0] == pytest.approx(
        before, rel=1e-10
    )


def test_names_are_elements_of_the_representative():
    third_order = third_order_force_constants(make_crystal("rocksalt"), 2)
    assert third_order.names[:5] == ("b_xxx", "b_xyy", "c_xxx", "c_xxy", "c_xzz")
    assert third_order.names[5:] == ("c_xxx_2", "c_xxy_2", "c_xzz_2")
    assert third_order.shells.tolist() == [1, 1, 2, 2, 2, 2, 2, 2]
    assert not set(third_order.names) & set(make_irreducible("rocksalt", 2).names)
    for orbit, names, texts in zip(
        third_order.orbits, third_order.orbit_names, third_order.orbit_tensors, strict=True
    ):
        bond = (third_order.bonds == orbit.representative).all(axis=1).argmax()
        for name in names:
            element = name.split("_")[1]
            place = ["xyz".index(axis) for axis in element]
            values = third_order.basis[bond][tuple(place)]
            assert values.tolist() == [float(name == other) for other in third_order.names]
            assert texts[TENSOR_ELEMENTS.index(element)] == name


def test_central_springs_of_hexagonal_crystals_are_among_them():
    """Surds: n⊗n⊗n along every bond of a shell is symmetric, whatever the angles."""
    third_order = third_order_force_constants(make_crystal("hcp"), 2)
    along = third_order.crystal.bond_vectors(third_order.bonds)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    wanted = np.einsum("na,nb,nc->nabc", along, along, along).ravel()
    matrix = third_order.basis.reshape(-1, third_order.n_cubic)
    found, *_ = np.linalg.lstsq(matrix, wanted)
    assert np.abs(matrix @ found - wanted).max() < 1e-12
