"""Neighbour shells and pair orbits against plain enumeration of distances."""

from itertools import product

import numpy as np
import pytest

from bayestds.crystal.shells import find_orbits
from bayestds.crystal.structure import Crystal, from_ase
from bayestds.errors import CrystalError
from bayestds.force_constants.irreducible import irreducible_force_constants
from tests.crystals import SAMPLES, conventional_atoms, make_crystal


def pair_distances(name: str, reach: int) -> np.ndarray:
    """Sorted lengths of all bonds that start in cell 0."""
    crystal = make_crystal(name)
    positions, lattice = crystal.cartesian_positions, crystal.lattice_vectors
    cells = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ lattice
    bonds = cells[:, None, None] + positions[None, :, None] - positions[None, None]
    lengths = np.sort(np.linalg.norm(bonds, axis=-1).ravel())
    return lengths[lengths > 1e-6]


@pytest.mark.parametrize("name", SAMPLES)
def test_shells_hold_all_pairs_in_order_of_distance(name):
    n_shells = SAMPLES[name].n_shells
    orbits = [orbit for orbit in find_orbits(make_crystal(name), n_shells) if orbit.shell]
    lengths = pair_distances(name, 4)
    shell = 1 + np.concatenate([[0], np.cumsum(np.diff(lengths) > 1e-3)])
    for number in range(1, n_shells + 1):
        mine = [orbit for orbit in orbits if orbit.shell == number]
        assert sum(len(orbit.pairs) for orbit in mine) == (shell == number).sum()
        for orbit in mine:
            assert abs(orbit.distance - lengths[shell == number].mean()) < 1e-3
    assert [orbit.shell for orbit in orbits] == sorted(orbit.shell for orbit in orbits)


@pytest.mark.parametrize("name", SAMPLES)
def test_orbits_are_disjoint_and_closed_under_exchange(name):
    seen: set[tuple[int, ...]] = set()
    for orbit in find_orbits(make_crystal(name), SAMPLES[name].n_shells):
        members = {tuple(pair) for pair in orbit.pairs.tolist()}
        assert len(members) == len(orbit.pairs)
        assert not members & seen
        assert {(b, a, -x, -y, -z) for a, b, x, y, z in members} == members
        seen |= members


@pytest.mark.parametrize("name", ["fcc", "quartz", "monoclinic", "p1"])
def test_operations_carry_the_representative_to_each_pair(name):
    crystal = make_crystal(name)
    for orbit in find_orbits(crystal, SAMPLES[name].n_shells):
        bonds = crystal.bond_vectors(orbit.pairs)
        for bond, operation, swapped in zip(bonds, orbit.operations, orbit.swapped, strict=True):
            sign = -1 if swapped else 1
            np.testing.assert_allclose(
                sign * crystal.cartesian_rotations[operation] @ bonds[0], bond, atol=1e-8
            )


def test_close_shells_are_merged_only_within_the_tolerance():
    crystal = make_crystal("hcp")
    # 3.1970 and 3.2090 Å: a hcp metal off the ideal c/a.
    assert [orbit.shell for orbit in find_orbits(crystal, 2) if orbit.shell] == [1, 2]
    merged = find_orbits(crystal, 1, tolerance=0.02)
    assert sum(len(orbit.pairs) for orbit in merged if orbit.shell == 1) == 2 * 12


@pytest.mark.parametrize("n_shells", [0, -3])
def test_no_shells_are_refused(n_shells):
    with pytest.raises(CrystalError, match="neighbour shells"):
        find_orbits(make_crystal("fcc"), n_shells)


def blocks_by_place(crystal: Crystal) -> dict[tuple[int, ...], np.ndarray]:
    """What each constant contributes to each bond, by where in the conventional cell the bond begins."""
    irreducible = irreducible_force_constants(crystal, 3)
    pairs, steps = irreducible.pairs, np.array(list(product(range(-2, 3), repeat=3)))
    begin = crystal.fractional_positions[pairs[:, 1]][:, None] + steps
    # Shifted by an odd amount, so that rounding puts no place now at 0 and now at 1.
    places = np.rint(1e3 * ((begin @ np.linalg.inv(crystal.conventional_matrix) + 0.0123) % 1)).astype(int)
    bonds = np.rint(1e3 * crystal.bond_vectors(pairs)).astype(int).tolist()
    return {
        (*place, *bond): block
        for some, bond, block in zip(places.tolist(), bonds, irreducible.basis, strict=True)
        for place in some
    }


@pytest.mark.parametrize(
    "name", ["diamond", "hcp", "wurtzite", "perovskite", "rutile", "quartz", "orthorhombic"]
)
def test_constants_mean_the_same_in_whatever_order_atoms_are_listed(name):
    """Equal bonds of equivalent atoms, such as those of both sublattices of diamond, may differ in sign."""
    atoms = conventional_atoms(name)
    species = list(dict.fromkeys(atoms.numbers))
    order = np.random.default_rng(3).permutation(len(atoms))
    shuffled = order[np.argsort([species.index(number) for number in atoms.numbers[order]], kind="stable")]
    found, expected = blocks_by_place(from_ase(atoms[shuffled])), blocks_by_place(from_ase(atoms))
    assert found.keys() == expected.keys()
    for key, block in expected.items():
        np.testing.assert_allclose(found[key], block, atol=1e-9)
