"""The scattering of third-order force constants against sums over all pairs of atoms and all bonds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.scattering.cubic import cubic_intensity
from bayestds.scattering.exact import make_engine, pair_table
from bayestds.scattering.forward import covariance, make_forward_model
from tests.brute_force import bonds_of, dense_covariance, dense_hessian, periodic_atoms, random_stable
from tests.crystals import commensurate_points, make_crystal, make_irreducible
from tests.cubic_oracle import dense_bonds, dense_cubic_intensity
from tests.scattering.test_exact import make_factors

TEMPERATURE = 300.0

CRYSTALS = [
    ("fcc", 1, 1, (2, 2, 2)),
    ("diamond", 3, 2, (2, 2, 2)),
    ("zincblende", 3, 2, (2, 2, 2)),
    ("wurtzite", 2, 2, (2, 2, 2)),
    ("p1", 5, 3, (2, 2, 2)),
]
"""Name, shells of second and of third order, supercell; the last three without a centre of symmetry."""

evaluate = jax.jit(cubic_intensity)

Setting = tuple[IrreducibleForceConstants, ThirdOrderForceConstants, Supercell, np.ndarray, np.ndarray]


def setting(name: str, n_second: int, n_third: int, repeats: tuple[int, int, int]) -> Setting:
    """A crystal with random stable φ and random γ."""
    irreducible = make_irreducible(name, n_second)
    third_order = third_order_force_constants(make_crystal(name), n_third)
    supercell = make_supercell(make_crystal(name), np.array(repeats))
    phi = random_stable(irreducible, supercell, seed=5)
    gamma = 10 * np.random.default_rng(8).normal(size=third_order.n_cubic)
    return irreducible, third_order, supercell, phi, gamma


@pytest.mark.parametrize(("name", "n_second", "n_third", "repeats"), CRYSTALS)
def test_sum_over_all_pairs_and_bonds(name, n_second, n_third, repeats):
    irreducible, third_order, supercell, phi, gamma = setting(name, n_second, n_third, repeats)
    q_points = commensurate_points(supercell, 4, 10.0, seed=1)
    factors = make_factors(len(q_points), supercell.crystal.n_atoms)
    atoms = periodic_atoms(supercell)
    dense = dense_covariance(dense_hessian(atoms, bonds_of(irreducible, phi)), TEMPERATURE)
    bonds = dense_bonds(atoms, third_order, gamma)
    expected = [
        dense_cubic_intensity(atoms, bonds, dense, TEMPERATURE, vector, factor[atoms.kinds])
        for vector, factor in zip(supercell.crystal.scattering_vectors(q_points), factors, strict=True)
    ]
    forward = make_forward_model(irreducible, supercell, TEMPERATURE, third_order=third_order)
    displacement = covariance(forward, jnp.asarray(phi))
    lengths = pair_table(supercell).lengths
    n_near = int((lengths < 1.01 * lengths[lengths > 0].min()).sum())
    for near, order in ((None, 0), (n_near, 6)):
        engine = make_engine(supercell, q_points, factors, near, order)
        found = cubic_intensity(
            engine, forward.cubic, jnp.asarray(gamma), displacement, forward.thermal_energy
        )
        # Rounding in the direct form; at order 6 what the expansion leaves out, at most 1e-4 in p1.
        np.testing.assert_allclose(found, expected, rtol=3e-4 if order else 1e-10)
