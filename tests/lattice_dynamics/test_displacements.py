"""Random displacements: both samplers against the covariance of the dense Hessian, atom by atom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell
from bayestds.lattice_dynamics.displacements import (
    block_displacements,
    block_root,
    cell_differences,
    dense_displacements,
    dense_hessian,
    dense_root,
    displacements,
    white_noise,
)
from bayestds.lattice_dynamics.harmonic import blocks, harmonic_crystal
from bayestds.units import BOLTZMANN
from tests import brute_force
from tests.brute_force import bonds_of, dense_covariance, periodic_atoms, random_stable
from tests.crystals import default_supercell, make_irreducible

TEMPERATURE = 300.0
CRYSTALS = ["fcc", "diamond", "zincblende", "hcp", "p1"]


def brute_hessian(name: str, phi: np.ndarray) -> np.ndarray:
    """The Hessian (3N, 3N) of the oracle, its atoms in the order of the supercell's cells."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    atoms = periodic_atoms(supercell)
    hessian = brute_force.dense_hessian(atoms, bonds_of(irreducible, phi))
    place = supercell.cell_index(atoms.cells) * irreducible.crystal.n_atoms + atoms.kinds
    rows = (3 * np.argsort(place)[:, None] + np.arange(3)).ravel()
    return hessian[np.ix_(rows, rows)]


def phi_blocks(name: str, phi: np.ndarray) -> jax.Array:
    crystal = harmonic_crystal(make_irreducible(name), default_supercell(name), TEMPERATURE)
    return blocks(crystal, jnp.asarray(phi))


def as_matrix(root: jax.Array, supercell: Supercell) -> np.ndarray:
    """The linear map A (3N, 3N) from white noise to displacements."""
    n = supercell.n_cells * supercell.crystal.n_atoms * 3
    unit = jnp.eye(n).reshape(n, supercell.n_cells, -1)
    return np.asarray(displacements(root, unit, supercell.grid_shape)).reshape(n, n).T


@pytest.mark.parametrize("name", CRYSTALS)
def test_dense_hessian(name):
    supercell = default_supercell(name)
    phi = random_stable(make_irreducible(name), supercell, seed=3)
    found = dense_hessian(
        phi_blocks(name, phi), jnp.asarray(cell_differences(supercell)), supercell.grid_shape
    )
    np.testing.assert_allclose(found, brute_hessian(name, phi), atol=1e-12)


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("sampler", ["block", "dense"])
def test_covariance_of_the_displacements(name, sampler):
    supercell = default_supercell(name)
    phi = random_stable(make_irreducible(name), supercell, seed=3)
    thermal_energy = BOLTZMANN * TEMPERATURE
    if sampler == "block":
        root = block_root(phi_blocks(name, phi), thermal_energy)
    else:
        root = dense_root(jnp.asarray(brute_hessian(name, phi)), thermal_energy)
    a = as_matrix(root, supercell)
    expected = dense_covariance(brute_hessian(name, phi), TEMPERATURE)
    # Rounding, amplified by the softest mode.
    np.testing.assert_allclose(a @ a.T, expected, atol=1e-9 * np.abs(expected).max())


def test_displacements_have_no_centroid():
    supercell = default_supercell("zincblende")
    phi = random_stable(make_irreducible("zincblende"), supercell, seed=3)
    white = white_noise(jax.random.key(1), 4, supercell.n_cells, 2)
    blocks_ = phi_blocks("zincblende", phi)
    block = block_displacements(block_root(blocks_, 0.025), white, supercell.grid_shape)
    dense = dense_displacements(dense_root(jnp.asarray(brute_hessian("zincblende", phi)), 0.025), white)
    assert np.abs(block.mean(axis=(1, 2))).max() < 1e-14
    assert np.abs(dense.mean(axis=(1, 2))).max() < 1e-14
    # About 0.1 Å, the same for both kinds of atoms of a real crystal to within the scatter.
    assert 0.3 < float(block.std() / dense.std()) < 3


def test_unstable_blocks_give_finite_displacements_and_gradients():
    supercell = default_supercell("fcc")
    irreducible = make_irreducible("fcc")
    crystal = harmonic_crystal(irreducible, supercell, TEMPERATURE)
    white = white_noise(jax.random.key(1), 1, supercell.n_cells, 1)

    def spread(phi: jax.Array) -> jax.Array:
        root = block_root(blocks(crystal, phi), crystal.statistics.thermal_energy)
        return (block_displacements(root, white, supercell.grid_shape) ** 2).sum()

    value, gradient = jax.value_and_grad(spread)(jnp.full(irreducible.n_irreducible, 0.5))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
