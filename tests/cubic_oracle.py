"""Oracle of the third order: bonds of a finite periodic crystal atom by atom, and sums over all of them."""

from dataclasses import dataclass

import numpy as np

from bayestds.force_constants.third_order import ThirdOrderForceConstants
from tests.brute_force import BOLTZMANN, PeriodicAtoms, shortest_images


@dataclass(frozen=True)
class DenseBonds:
    """E₃ = (1/6) Σ G_abc d_a d_b d_c with d = u_head - u_tail: (n,) ints and tensors (n, 3, 3, 3)."""

    head: np.ndarray
    tail: np.ndarray
    tensors: np.ndarray

    def energy(self, displacements: np.ndarray) -> np.ndarray:
        """E₃ (m,), eV, of displacements (m, n_atoms, 3)."""
        d = np.moveaxis(displacements[:, self.head] - displacements[:, self.tail], 0, 1)
        squares = (d[..., :, None] * d[..., None, :]).reshape(*d.shape[:2], 9)
        forces = squares @ self.tensors.reshape(-1, 9, 3)
        return (forces * d).sum(axis=(0, 2)) / 6


def dense_bonds(atoms: PeriodicAtoms, third_order: ThirdOrderForceConstants, gamma: np.ndarray) -> DenseBonds:
    """Every bond of a supercell, looked up by geometry."""
    crystal = third_order.crystal
    positions, lattice = crystal.fractional_positions, crystal.lattice_vectors
    ends, cells = third_order.bonds[:, :2], third_order.bonds[:, 2:]
    vectors = (cells + positions[ends[:, 0]] - positions[ends[:, 1]]) @ lattice
    head, tail, tensors = [], [], []
    for i in range(atoms.n_atoms):
        found, n_images = shortest_images(atoms.box, atoms.positions[i] - atoms.positions)
        for j in range(atoms.n_atoms):
            kinds = (ends == (atoms.kinds[i], atoms.kinds[j])).all(axis=1)
            for bond in np.flatnonzero(kinds & (np.abs(vectors - found[j]).max(axis=1) < 1e-6)):
                assert n_images[j] == 1, "a bond as long as half the supercell"
                head.append(i), tail.append(j), tensors.append(third_order.basis[bond] @ gamma)
    return DenseBonds(np.array(head), np.array(tail), np.array(tensors))


def dense_third_moment(
    bonds: DenseBonds, covariance: np.ndarray, temperature: float, scattering_vector: np.ndarray
) -> np.ndarray:
    """-⟨X³⟩_c/6 (n, n) of X = Q·(u_i - u_j) for all pairs of atoms, by first-order perturbation theory."""
    n = len(covariance) // 3
    along = covariance.reshape(n, 3, n, 3) @ scattering_vector  # ⟨u_k,a Q·u_i⟩
    follows = along[bonds.head] - along[bonds.tail]
    s = np.empty((n, n))
    for i in range(n):
        a = follows[:, :, i, None] - follows
        s[i] = np.einsum("nabc,nai,nbi,nci->i", bonds.tensors, a, a, a, optimize=True)
    return s / (6 * BOLTZMANN * temperature)


def dense_cubic_intensity(
    atoms: PeriodicAtoms,
    bonds: DenseBonds,
    covariance: np.ndarray,
    temperature: float,
    scattering_vector: np.ndarray,
    factors: np.ndarray,
) -> float:
    """ΔI per primitive cell at one Q (3,), Å⁻¹, as a sum over pairs of atoms and all bonds; factors (n,)."""
    n = atoms.n_atoms
    s = dense_third_moment(bonds, covariance, temperature, scattering_vector)
    q_c_q = np.einsum("a,iajb,b->ij", scattering_vector, covariance.reshape(n, 3, n, 3), scattering_vector)
    half = q_c_q.diagonal() / 2
    waves = factors * np.exp(1j * (atoms.positions @ scattering_vector))
    terms = np.outer(waves, waves.conj()) * np.exp(q_c_q - half[:, None] - half[None, :]) * 1j * s
    total = terms.sum() / (n / (atoms.kinds.max() + 1))
    assert abs(total.imag) < 1e-9 * np.abs(terms).sum()
    return float(total.real)
