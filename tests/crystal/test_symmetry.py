"""Laue groups against their known orders and against geometry."""

from itertools import permutations, product

import numpy as np
import pytest

from tests.crystals import SAMPLES, make_crystal

LAUE_ORDERS = {
    "fcc": 48,
    "bcc": 48,
    "diamond": 48,
    "rocksalt": 48,
    "zincblende": 48,
    "cscl": 48,
    "perovskite": 48,
    "hcp": 24,
    "wurtzite": 24,
    "tetragonal": 16,
    "rutile": 16,
    "rhombohedral": 12,
    "quartz": 12,
    "orthorhombic": 8,
    "monoclinic": 4,
    "triclinic": 2,
    "p1": 2,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_laue_group_is_a_group_with_inversion(name):
    rotations = {tuple(rotation.ravel()) for rotation in make_crystal(name).laue_group}
    assert len(rotations) == LAUE_ORDERS[name]
    matrices = [np.array(rotation).reshape(3, 3) for rotation in rotations]
    assert {tuple((a @ b).ravel()) for a in matrices for b in matrices} == rotations
    assert tuple(-np.eye(3, dtype=int).ravel()) in rotations


@pytest.mark.parametrize("name", SAMPLES)
def test_laue_group_keeps_lengths_and_the_reciprocal_lattice(name):
    crystal = make_crystal(name)
    q_points = np.random.default_rng(0).normal(size=(4, 3))
    lengths = np.linalg.norm(crystal.scattering_vectors(q_points), axis=1)
    for rotation in crystal.laue_group:
        images = crystal.scattering_vectors(q_points @ rotation)
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), lengths, rtol=1e-12)


@pytest.mark.parametrize("name", ["fcc", "diamond", "zincblende", "perovskite"])
def test_cubic_laue_group_is_all_signed_permutations(name):
    expected = {
        tuple((np.eye(3, dtype=int)[list(order)] * np.array(signs)).ravel())
        for order in permutations(range(3))
        for signs in product([1, -1], repeat=3)
    }
    assert {tuple(rotation.ravel()) for rotation in make_crystal(name).laue_group} == expected


def test_monoclinic_laue_group_has_b_unique():
    expected = {tuple(np.diag(d).ravel()) for d in [(1, 1, 1), (-1, -1, -1), (-1, 1, -1), (1, -1, 1)]}
    assert {tuple(rotation.ravel()) for rotation in make_crystal("monoclinic").laue_group} == expected


@pytest.mark.parametrize("name", SAMPLES)
def test_pairs_are_mapped_as_bonds_are(name):
    """map_pairs works in integers; the Cartesian rotation of the bond must say the same."""
    crystal, rng = make_crystal(name), np.random.default_rng(1)
    for _ in range(3):
        pair = np.concatenate([rng.integers(0, crystal.n_atoms, 2), rng.integers(-3, 4, 3)])
        images = crystal.bond_vectors(crystal.space_group.map_pairs(pair))
        expected = crystal.cartesian_rotations @ crystal.bond_vectors(pair[None])[0]
        np.testing.assert_allclose(images, expected, atol=1e-9)
