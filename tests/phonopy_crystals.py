"""Phonopy with the force constants of the tests' crystals: an oracle for everything about phonons."""

from functools import cache

import numpy as np
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from tests.brute_force import bonds_of, dense_hessian, periodic_atoms, random_stable
from tests.crystals import default_supercell, make_crystal, make_irreducible


def random_values(name: str) -> np.ndarray:
    """Random stable constants (n_irreducible,) of a crystal, eV/Å²."""
    return random_stable(make_irreducible(name), default_supercell(name), seed=12)


@cache
def make_phonopy(name: str) -> Phonopy:
    """Phonopy on the primitive cell, with these constants atom by atom in the supercell of the tests."""
    crystal, supercell = make_crystal(name), default_supercell(name)
    atoms = periodic_atoms(supercell)
    cell = PhonopyAtoms(
        symbols=list(crystal.species),
        cell=crystal.lattice_vectors,
        scaled_positions=crystal.fractional_positions,
        masses=crystal.masses,
    )
    phonon = Phonopy(cell, supercell.matrix.T, primitive_matrix=np.eye(3))
    # Phonopy orders the atoms of the supercell in its own way.
    apart = (phonon.supercell.positions[:, None] - atoms.positions) @ np.linalg.inv(atoms.box)
    order = np.abs(apart - np.rint(apart)).max(axis=-1).argmin(axis=1)
    n = atoms.n_atoms
    hessian = dense_hessian(atoms, bonds_of(make_irreducible(name), random_values(name)))
    blocks = hessian.reshape(n, 3, n, 3).transpose(0, 2, 1, 3)
    phonon.force_constants = blocks[np.ix_(order, order)].copy(order="C")
    return phonon


def primitive_points(name: str, q_points: np.ndarray) -> np.ndarray:
    """Fractions of the primitive reciprocal vectors, which phonopy knows, of conventional ones (n_q, 3)."""
    crystal = make_crystal(name)
    vectors = crystal.scattering_vectors(q_points) / (2 * np.pi)
    return vectors @ crystal.lattice_vectors.T
