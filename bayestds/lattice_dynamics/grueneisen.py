"""Mode Grüneisen parameters from force constants of second and third order.

A homogeneous strain ε with the shifts w of the sublattices that it brings about changes the vector of a bond
by Δd = ε·r + w_κ - w_κ', and its second derivatives by G_abc Δd_c; the block Φ_κκ'(R) of its two ends
changes by the negative of that. Waves keep their q in units of the strained reciprocal lattice.
"""

import numpy as np

from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.lattice_dynamics.phonons import dynamical_matrices, parting
from bayestds.units import BOLTZMANN, PHONON_ENERGY, THZ

AT_REST = 1e-8
"""ω² below which a mode is a translation and has no Grüneisen parameter, as a share of the largest."""

DILATATION = np.eye(3) / 3
"""The strain of a volume that grows by its own size, the same in all directions."""


def grueneisen_parameters(
    irreducible: IrreducibleForceConstants,
    third_order: ThirdOrderForceConstants,
    values: np.ndarray,
    cubic: np.ndarray,
    q_points: np.ndarray,
    strain: np.ndarray = DILATATION,
) -> np.ndarray:
    """Mode Grüneisen parameters -∂ ln ω/∂ ln V (n_q, 3 n_atoms), in the order of the frequencies.

    By first-order perturbation theory -e†(∂D)e / 2ω². Modes of equal frequency are those into which they
    part under the strain. NaN for translations, at Γ.

    Args:
        irreducible: what the values mean.
        third_order: what the cubic ones mean.
        values: φ (n_irreducible,), eV/Å².
        cubic: γ (n_cubic,), eV/Å³.
        q_points: (n_q, 3) conventional r.l.u.
        strain: (3, 3) symmetric, of ∂ ln V = 1 by default; the derivative is along it.
    """
    matrices = dynamical_matrices(irreducible, np.asarray(values, dtype=float), q_points)
    eigenvalues, modes = np.linalg.eigh(matrices)
    shifts = _internal_shifts(irreducible, np.asarray(values, dtype=float), strain)
    changes = _matrix_changes(third_order, np.asarray(cubic, dtype=float), q_points, strain, shifts)
    modes = modes @ parting(eigenvalues, modes.conj().swapaxes(-1, -2) @ changes @ modes)
    slopes = np.einsum("qim,qij,qjm->qm", modes.conj(), changes, modes, optimize=True).real
    moving = np.abs(eigenvalues) > AT_REST * np.abs(eigenvalues).max(initial=0.0)
    return -slopes / (2 * np.where(moving, eigenvalues, np.nan))


def mean_grueneisen(
    parameters: np.ndarray, frequencies: np.ndarray, temperature: float | None = None
) -> float:
    """Mean Grüneisen parameter of modes, weighted by their heat capacities.

    Args:
        parameters: mode Grüneisen parameters, NaN ones left out.
        frequencies: of the same modes, THz.
        temperature: K; None for classical modes, whose heat capacities are all alike.
    """
    used = np.isfinite(parameters)
    weights = np.ones(used.sum())
    if temperature is not None:
        half = PHONON_ENERGY * np.abs(frequencies[used]) / THZ / (2 * BOLTZMANN * temperature)
        # (x/2)² / sinh²(x/2) without overflow.
        weights = (2 * half * np.exp(-half) / -np.expm1(-2 * half)) ** 2
    return float(np.average(parameters[used], weights=weights))


def _internal_shifts(
    irreducible: IrreducibleForceConstants, values: np.ndarray, strain: np.ndarray
) -> np.ndarray:
    """Shifts w (n_atoms, 3), Å, of the sublattices that leave no force on the atoms of a strained crystal."""
    crystal, pairs = irreducible.crystal, irreducible.pairs
    n_atoms, constants = crystal.n_atoms, irreducible.basis @ values
    forces = np.zeros((n_atoms, 3))
    stretched = crystal.bond_vectors(pairs) @ strain
    np.add.at(forces, pairs[:, 0], np.einsum("pab,pb->pa", constants, stretched))
    at_centre = np.zeros((n_atoms, n_atoms, 3, 3))
    np.add.at(at_centre, (pairs[:, 0], pairs[:, 1]), constants)
    hessian = at_centre.swapaxes(1, 2).reshape(3 * n_atoms, 3 * n_atoms)
    # Translations, which cost nothing, are left out.
    shifts = np.linalg.pinv(hessian, rcond=1e-10, hermitian=True) @ forces.ravel()
    return shifts.reshape(n_atoms, 3)


def _matrix_changes(
    third_order: ThirdOrderForceConstants,
    cubic: np.ndarray,
    q_points: np.ndarray,
    strain: np.ndarray,
    shifts: np.ndarray,
) -> np.ndarray:
    """Derivative of D(q) (n_q, 3 n_atoms, 3 n_atoms) by the strain, eV/(Å² amu)."""
    crystal, bonds = third_order.crystal, third_order.bonds
    first, second = bonds[:, 0], bonds[:, 1]
    change = crystal.bond_vectors(bonds) @ strain + shifts[first] - shifts[second]
    stiffness = np.einsum("nabcg,g,nc->nab", third_order.basis, cubic, change, optimize=True)
    primitive = np.asarray(q_points, dtype=float) @ np.linalg.inv(crystal.conventional_matrix).T
    waves = np.exp(2j * np.pi * primitive @ bonds[:, 2:].T)
    ends, starts = np.eye(crystal.n_atoms)[first], np.eye(crystal.n_atoms)[second]
    between = -np.einsum("qn,nk,nl,nab->qkalb", waves, ends, starts, stiffness, optimize=True)
    size = 3 * crystal.n_atoms
    between = between.reshape(-1, size, size)
    alone = np.einsum("nk,kl,nab->kalb", ends + starts, np.eye(crystal.n_atoms), stiffness, optimize=True)
    weights = np.repeat(crystal.masses, 3) ** -0.5
    # A bond and its reverse are conjugate.
    whole = between + between.conj().swapaxes(-1, -2) + alone.reshape(size, size)
    return weights[:, None] * whole * weights
