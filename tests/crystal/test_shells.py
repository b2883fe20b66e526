"""Neighbour shells and pair orbits against plain enumeration of distances."""

from itertools import product

import numpy as np
import pytest

from bayestds.crystal.shells import find_orbits
from bayestds.errors import CrystalError
from tests.crystals import SAMPLES, make_crystal


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
