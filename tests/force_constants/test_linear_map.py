"""Force constants in a supercell: what fits, and Φ(k) as the plain lattice sum."""

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import make_supercell
from bayestds.errors import CrystalError
from bayestds.force_constants.linear_map import force_constant_blocks, force_constants, grid_positions
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible


@pytest.mark.parametrize("name", SAMPLES)
def test_blocks_are_the_lattice_sum(name):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    n_atoms = irreducible.crystal.n_atoms
    phi = jnp.asarray(np.random.default_rng(0).normal(size=irreducible.n_irreducible))
    constants = force_constants(jnp.asarray(irreducible.basis), phi)
    found = force_constant_blocks(
        constants, grid_positions(irreducible, supercell), supercell.grid_shape, n_atoms
    )
    expected = np.zeros((supercell.n_cells, n_atoms, 3, n_atoms, 3), dtype=complex)
    for pair, block in zip(irreducible.pairs, np.asarray(constants), strict=True):
        phase = np.exp(2j * np.pi * supercell.k_points @ pair[2:])
        expected[:, pair[0], :, pair[1], :] += phase[:, None, None] * block
    expected = expected.reshape(supercell.n_cells, 3 * n_atoms, 3 * n_atoms)
    np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())
    # The average with the conjugate transpose inside must not hide an asymmetry.
    np.testing.assert_allclose(expected, expected.conj().swapaxes(1, 2), atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "n_shells", "supercell"),
    [
        ("fcc", 1, (1, 1, 1)),  # beyond half: the pair is shorter through the boundary
        ("fcc", 2, (2, 2, 2)),  # exactly half: a tie between a pair and its image
        ("fcc", 5, (3, 3, 3)),
        ("hcp", 3, (3, 3, 1)),
        ("rutile", 5, (2, 2, 1)),
        ("rhombohedral", 3, (1, 3, 3)),
    ],
)
def test_shells_beyond_half_the_supercell_are_refused(name, n_shells, supercell):
    small = make_supercell(make_crystal(name), np.array(supercell))
    with pytest.raises(CrystalError, match="half the supercell"):
        grid_positions(make_irreducible(name, n_shells), small)


@pytest.mark.parametrize(
    ("name", "n_shells", "supercell"),
    [("fcc", 1, (2, 2, 2)), ("fcc", 4, (3, 3, 3)), ("quartz", 6, (2, 2, 1)), ("hcp", 3, (3, 3, 2))],
)
def test_pairs_within_half_the_supercell_have_places_of_their_own(name, n_shells, supercell):
    irreducible = make_irreducible(name, n_shells)
    positions = grid_positions(irreducible, make_supercell(make_crystal(name), np.array(supercell)))
    assert len(np.unique(positions)) == len(irreducible.pairs)
