"""Symmetry-allowed fluctuations of the displacement covariance."""

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.inference.ensemble_modes import (
    Modes,
    find_cosets,
    fluctuation_modes,
    square_roots,
    transformed,
)
from bayestds.lattice_dynamics.harmonic import blocks, harmonic_crystal
from bayestds.lattice_dynamics.symmetry import BlockSymmetry, block_symmetry
from bayestds.scattering.fluctuations import orbit_shares
from bayestds.scattering.grid import Mask
from tests.brute_force import random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible
from tests.ensembles import vibrating

SMALL = tuple(name for name in SAMPLES if SAMPLES[name].n_atoms <= 4)


def covariance_blocks(name: str) -> np.ndarray:
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    phi = jnp.asarray(random_stable(irreducible, supercell, 0))
    return np.asarray(crystal.statistics.covariance(blocks(crystal, phi)))


def all_modes(symmetry: BlockSymmetry) -> Modes:
    return fluctuation_modes(symmetry, np.ones(len(symmetry.operations), dtype=bool))


def dense(modes: Modes, n_k: int) -> np.ndarray:
    """G_s(k) (n_modes, n_k, 3n, 3n)."""
    found = np.zeros((len(modes.k_index), n_k, *modes.blocks.shape[2:]), complex)
    for s, (members, values) in enumerate(zip(modes.k_index, modes.blocks, strict=True)):
        np.add.at(found[s], members, values)
    return found


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp", "wurtzite", "monoclinic", "p1"])
def test_covariance_of_the_crystal_is_invariant(name):
    """The operations are exact: the covariance of any symmetric force constants is left alone."""
    symmetry, c = block_symmetry(default_supercell(name)), covariance_blocks(name)
    for which in range(len(symmetry.operations)):
        for k in range(0, len(c), 3):
            image = c[symmetry.images[which, k]]
            assert symmetry.transform(which, k, c[k]) == pytest.approx(image, abs=1e-11 * np.abs(c).max())


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp", "p1"])
def test_modes_are_invariant_hermitian_and_orthonormal(name):
    symmetry = block_symmetry(default_supercell(name))
    modes = all_modes(symmetry)
    g = dense(modes, symmetry.supercell.n_cells)
    assert g == pytest.approx(g.conj().swapaxes(-1, -2), abs=1e-13)
    assert np.einsum("skij,tkji->st", g, g) == pytest.approx(np.eye(len(g)), abs=1e-12)
    for which in np.random.default_rng(0).permutation(len(symmetry.operations))[:5]:
        assert dense(transformed(symmetry, modes, which), g.shape[1]) == pytest.approx(g, abs=1e-12)


def n_invariants(supercell: Supercell) -> int:
    """Number of invariant symmetric matrices of all displacements but rigid translations, by characters.

    For orthogonal matrices D(g) of a group it is the mean over the group of (χ(g)² + χ(g²)) / 2.
    """
    crystal, group = supercell.crystal, supercell.crystal.space_group
    cells = np.arange(supercell.n_cells)
    total = 0.0
    for op, rotation in enumerate(group.rotations):
        s, turn = group.cell_shifts[op], np.trace(crystal.cartesian_rotations[op])
        turn_twice = np.trace(np.linalg.matrix_power(crystal.cartesian_rotations[op], 2))
        for t in supercell.cells:
            place = np.concatenate(
                [
                    group.permutations[op, atom] * supercell.n_cells
                    + supercell.cell_index(supercell.cells @ rotation.T + s[atom] + t)
                    for atom in range(crystal.n_atoms)
                ]
            )
            fixed = (place == np.arange(len(place))).sum()
            fixed_twice = (place[place] == np.arange(len(place))).sum()
            # Less the rigid translations, which turn like vectors.
            total += (turn * fixed - turn) ** 2 + turn_twice * fixed_twice - turn_twice
    return round(total / 2 / len(group.rotations) / len(cells))


@pytest.mark.parametrize("name", SMALL)
def test_modes_are_all_there_are(name):
    supercell = default_supercell(name)
    assert len(all_modes(block_symmetry(supercell)).k_index) == n_invariants(supercell)


def test_number_of_modes_of_the_paper():
    supercell = make_supercell(make_crystal("fcc"), np.array([5, 5, 5]))
    assert len(all_modes(block_symmetry(supercell)).k_index) == 92


def test_amplitudes_have_equal_independent_variances():
    """(M/2) Σ_k Tr[C⁻¹ B_s C⁻¹ B_t] is M/2 times the identity."""
    symmetry, c = block_symmetry(default_supercell("zincblende")), covariance_blocks("zincblende")
    g = dense(all_modes(symmetry), len(c))
    roots = square_roots(c)
    assert roots @ roots == pytest.approx(c, abs=1e-12 * np.abs(c).max())
    b = roots @ g @ roots
    relative = np.linalg.pinv(c, rcond=1e-9, hermitian=True) @ b
    assert np.einsum("skij,tkji->st", relative, relative) == pytest.approx(np.eye(len(g)), abs=1e-9)


@pytest.mark.parametrize(
    ("mask", "n_cosets"), [(Mask(), 1), (Mask(wedge=25.0), 3), (Mask(plane=(1, 1, 1)), 4)]
)
def test_cosets_are_the_images_of_the_voxels(mask, n_cosets):
    """The wedge about (001) of a cubic crystal has 48/16 = 3 images, a (111) plane has 48/12 = 4."""
    crystal = vibrating("fcc", 2, 7, 300.0, mask=mask)
    shares = orbit_shares(crystal.grid, crystal.supercell.crystal.laue_group)
    cosets = find_cosets(block_symmetry(crystal.supercell), shares)
    assert len(cosets.inverses) == n_cosets
    assert cosets.shares.sum(axis=1) == pytest.approx(1, rel=1e-12)


def test_operations_that_do_not_fit_the_supercell_are_left_out():
    symmetry = block_symmetry(make_supercell(make_crystal("fcc"), np.array([3, 3, 2])))
    assert not symmetry.is_complete
    # Those of 4/mmm, with and without time reversal.
    assert len(symmetry.operations) == 2 * 16
    assert block_symmetry(default_supercell("fcc")).is_complete
