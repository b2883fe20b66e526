"""Blocks at one k of each star against those at all k."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spglib

from bayestds.crystal.structure import pair_kinds
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.lattice_dynamics.harmonic import (
    HarmonicCrystal,
    blocks,
    covariance,
    harmonic_crystal,
    star_blocks,
)
from bayestds.lattice_dynamics.stars import make_stars, packed_in_real_space
from tests.brute_force import random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible

LOW = {"fcc": [3, 3, 2], "zincblende": [[3, 1, 0], [0, 3, 0], [0, 0, 4]], "hcp": [3, 4, 2]}
"""Supercells that lack operations of their crystals."""


def case(name: str, matrix: list | None) -> tuple[IrreducibleForceConstants, Supercell, np.ndarray]:
    irreducible = make_irreducible(name, 1 if matrix else None)
    supercell = default_supercell(name) if matrix is None else make_supercell(irreducible.crystal, matrix)
    return irreducible, supercell, random_stable(irreducible, supercell, seed=3)


CASES = [pytest.param(name, None, "classical", id=name) for name in SAMPLES]
CASES += [pytest.param(name, matrix, "classical", id=f"{name}-low") for name, matrix in LOW.items()]
CASES += [pytest.param("zincblende", None, "quantum", id="quantum")]


@pytest.mark.parametrize(("name", "matrix", "statistics"), CASES)
def test_covariance_from_stars_is_that_of_all_wave_vectors(name, matrix, statistics):
    """Value, and the gradient of a random function of it."""
    irreducible, supercell, phi = case(name, matrix)
    crystal = harmonic_crystal(irreducible, supercell, 300.0, statistics)
    n_kinds = len(pair_kinds(irreducible.crystal.n_atoms))
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(6, n_kinds, supercell.n_cells)))

    def from_stars(crystal: HarmonicCrystal, phi: jax.Array) -> jax.Array:
        waves = crystal.statistics.covariance(star_blocks(crystal, phi))
        return packed_in_real_space(crystal.stars, waves)

    def from_all(crystal: HarmonicCrystal, phi: jax.Array) -> jax.Array:
        return packed_covariance(covariance(crystal, phi))

    found, expected = (jax.jit(f)(crystal, jnp.asarray(phi)) for f in (from_stars, from_all))
    assert found == pytest.approx(np.asarray(expected), abs=1e-12 * np.abs(expected).max())
    found, expected = (
        jax.jit(jax.grad(lambda p, f=f: (weights * f(crystal, p)).sum()))(jnp.asarray(phi))
        for f in (from_stars, from_all)
    )
    assert found == pytest.approx(np.asarray(expected), rel=1e-9, abs=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", SAMPLES)
def test_blocks_of_stars_are_among_all_and_the_first_is_that_at_zero(name):
    irreducible, supercell, phi = case(name, None)
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    every, found = blocks(crystal, jnp.asarray(phi)), star_blocks(crystal, jnp.asarray(phi))
    distance = np.abs(np.asarray(found)[:, None] - np.asarray(every)).max(axis=(-1, -2))
    assert distance.min(axis=1).max() < 1e-11
    assert distance[0, 0] < 1e-11


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp", "quartz", "triclinic"])
def test_number_of_stars_is_that_of_spglib(name):
    crystal = make_crystal(name)
    # A supercell of the primitive cell.
    mesh = [4, 4, 3] if name in ("hcp", "quartz") else [3, 3, 3]
    supercell = Supercell(crystal, np.diag(mesh), tuple(mesh), np.eye(3, dtype=int), np.eye(3, dtype=int))
    numbers = np.unique(crystal.species, return_inverse=True)[1]
    cell = (crystal.lattice_vectors, crystal.fractional_positions, numbers)
    mapping, _ = spglib.get_ir_reciprocal_mesh(mesh, cell, is_time_reversal=True)
    assert len(make_stars(supercell, np.zeros((1, 5), dtype=int)).waves) == len(np.unique(mapping))
