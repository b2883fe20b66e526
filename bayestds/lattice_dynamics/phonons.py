"""Phonon frequencies from force constants."""

import numpy as np

from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.units import THZ


def frequencies(
    irreducible: IrreducibleForceConstants, values: np.ndarray, q_points: np.ndarray
) -> np.ndarray:
    """Phonon frequencies ν (n_q, 3 n_atoms) in THz, ascending; imaginary ones are negative.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
        q_points: (n_q, 3) conventional r.l.u.
    """
    crystal, pairs = irreducible.crystal, irreducible.pairs
    constants = irreducible.basis @ np.asarray(values)
    masses = np.sqrt(crystal.masses)
    constants = constants / (masses[pairs[:, 0]] * masses[pairs[:, 1]])[:, None, None]
    primitive = np.asarray(q_points) @ np.linalg.inv(crystal.conventional_matrix).T
    phases = np.exp(2j * np.pi * primitive @ pairs[:, 2:].T)
    n_atoms = crystal.n_atoms
    dynamical = np.zeros((len(primitive), n_atoms, n_atoms, 3, 3), dtype=complex)
    for pair in range(len(pairs)):
        first, second = pairs[pair, :2]
        dynamical[:, first, second] += phases[:, pair, None, None] * constants[pair]
    matrices = dynamical.transpose(0, 1, 3, 2, 4).reshape(-1, 3 * n_atoms, 3 * n_atoms)
    eigenvalues = np.linalg.eigvalsh(matrices)
    return THZ * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))
