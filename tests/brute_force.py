"""Oracle: a finite periodic crystal atom by atom, without wave vectors, transforms or the engine's code.

Atoms i, j have the Hessian block Φ_ij = ∂²E/∂u_i∂u_j, which depends on the kinds of both and on the
shortest periodic image of x_i - x_j.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants

BOLTZMANN = 1.380649e-23 / 1.602176634e-19
"""eV/K, exact by definition of the SI."""

ELECTRON_VOLT, HBAR, AMU = 1.602176634e-19, 1.054571817e-34, 1.66053906892e-27
"""J, J s (both by definition of the SI) and kg (CODATA 2022)."""

SOFTEST = 2e-3
"""Softest mode of random force constants, as a share of the stiffest."""


@dataclass(frozen=True)
class PeriodicAtoms:
    """All atoms of a supercell: its rows (3, 3) Å, positions (n, 3) Å, kind (n,) and cell (n, 3) of each."""

    box: np.ndarray
    positions: np.ndarray
    kinds: np.ndarray
    cells: np.ndarray

    @property
    def n_atoms(self) -> int:
        return len(self.positions)


def periodic_atoms(supercell: Supercell) -> PeriodicAtoms:
    """The atoms of a supercell, cell by cell; only its matrix and the crystal are used."""
    crystal, matrix = supercell.crystal, supercell.matrix
    span = int(np.abs(matrix).sum(axis=0).max())
    candidates = np.array(list(product(range(-span, span + 1), repeat=3)))
    coordinates = candidates @ np.linalg.inv(matrix)
    inside = candidates[((coordinates > -1e-9) & (coordinates < 1 - 1e-9)).all(axis=1)]
    kinds = np.tile(np.arange(crystal.n_atoms), len(inside))
    cells = np.repeat(inside, crystal.n_atoms, axis=0)
    positions = (cells + crystal.fractional_positions[kinds]) @ crystal.lattice_vectors
    return PeriodicAtoms(matrix @ crystal.lattice_vectors, positions, kinds, cells)


def shortest_images(box: np.ndarray, vectors: np.ndarray, reach: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The shortest of vector + (lattice of box) for vectors (n, 3), and how many are equally short (n,)."""
    steps = np.array(list(product(range(-reach, reach + 1), repeat=3)))
    start = vectors - np.rint(vectors @ np.linalg.inv(box)) @ box
    images = start[:, None] + steps @ box
    lengths = np.linalg.norm(images, axis=-1)
    shortest = images[np.arange(len(images)), lengths.argmin(axis=1)]
    return shortest, (lengths < lengths.min(axis=1, keepdims=True) + 1e-4).sum(axis=1)


Bonds = Callable[[int, int, np.ndarray], np.ndarray]
"""Block Φ_ij (3, 3) from the kinds of i and j and the vector x_i - x_j."""


def bonds_of(irreducible: IrreducibleForceConstants, phi: np.ndarray) -> Bonds:
    """Blocks of the neighbour pairs at these parameters, looked up by geometry; zero for all others.

    With several sets of parameters, (n_irreducible, m), the blocks are (3, 3, m).
    """
    positions, lattice = irreducible.crystal.fractional_positions, irreducible.crystal.lattice_vectors
    ends, cells = irreducible.pairs[:, :2], irreducible.pairs[:, 2:]
    vectors = (cells + positions[ends[:, 0]] - positions[ends[:, 1]]) @ lattice
    blocks = irreducible.basis @ phi

    def block(first: int, second: int, vector: np.ndarray) -> np.ndarray:
        same = (ends == (first, second)).all(axis=1) & (np.abs(vectors - vector).max(axis=1) < 1e-6)
        assert same.sum() <= 1
        return blocks[same].sum(axis=0)

    return block


def dense_hessian(atoms: PeriodicAtoms, bonds: Bonds) -> np.ndarray:
    """Hessian (3n, 3n), eV/Å²; the self terms are those that the acoustic sum rule demands."""
    n = atoms.n_atoms
    return hessian_blocks(atoms, bonds).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)


def hessian_blocks(atoms: PeriodicAtoms, bonds: Bonds) -> np.ndarray:
    """All blocks Φ_ij, (n, n, 3, 3) or (n, n, 3, 3, m)."""
    n = atoms.n_atoms
    hessian = np.zeros((n, n, *bonds(0, 0, np.full(3, np.inf)).shape))
    for i in range(n):
        vectors, n_images = shortest_images(atoms.box, atoms.positions[i] - atoms.positions)
        for j in range(n):
            if i != j:
                found = bonds(int(atoms.kinds[i]), int(atoms.kinds[j]), vectors[j])
                assert n_images[j] == 1 or not found.any(), "a bond as long as half the supercell"
                hessian[i, j] = found
        hessian[i, i] = -hessian[i].sum(axis=0)
    return hessian


def dense_covariance(hessian: np.ndarray, temperature: float) -> np.ndarray:
    """k_B T times the pseudo-inverse, the three rigid translations removed, (3n, 3n) Å²."""
    values, vectors = np.linalg.eigh(hessian)
    still = np.abs(values) < 1e-9 * np.abs(values).max()
    assert still.sum() == 3
    assert (values[~still] > 0).all(), "unstable"
    moving = vectors[:, ~still]
    return BOLTZMANN * temperature * (moving / values[~still]) @ moving.T


def dense_quantum_covariance(hessian: np.ndarray, masses: np.ndarray, temperature: float) -> np.ndarray:
    """Covariance (3n, 3n), Å², of atoms with masses (n,) in amu, by modes, centre of mass at rest."""
    weights = np.repeat(masses * AMU, 3) ** -0.5
    values, vectors = np.linalg.eigh(weights[:, None] * hessian * ELECTRON_VOLT * 1e20 * weights)
    still = np.abs(values) < 1e-9 * np.abs(values).max()
    assert still.sum() == 3
    assert (values[~still] > 0).all(), "unstable"
    omega, modes = np.sqrt(values[~still]), weights[:, None] * vectors[:, ~still]
    quanta = 1 / np.expm1(HBAR * omega / (BOLTZMANN * ELECTRON_VOLT * temperature)) if temperature else 0.0
    return 1e20 * (modes * HBAR / omega * (quanta + 0.5)) @ modes.T


def dense_intensity(
    atoms: PeriodicAtoms, covariance: np.ndarray, scattering_vector: np.ndarray, factors: np.ndarray
) -> float:
    """Diffuse intensity per primitive cell at one Q (3,), Å⁻¹, as a double sum over atoms; factors (n,)."""
    n_cells = atoms.n_atoms / (atoms.kinds.max() + 1)
    n = atoms.n_atoms
    q_c_q = np.einsum("a,iajb,b->ij", scattering_vector, covariance.reshape(n, 3, n, 3), scattering_vector)
    half = q_c_q.diagonal() / 2
    phase = np.exp(1j * (atoms.positions @ scattering_vector))
    waves = np.outer(factors * phase, (factors * phase).conj())
    total = (waves * np.exp(-half[:, None] - half[None, :]) * np.expm1(q_c_q)).sum() / n_cells
    assert abs(total.imag) < 1e-9 * abs(total)
    return float(total.real)


@cache
def random_stable(
    irreducible: IrreducibleForceConstants, supercell: Supercell, seed: int, perturbation: float = 0.3
) -> np.ndarray:
    """Random parameters for which the crystal is stable in this supercell.

    Springs along and across every bond (isotropic ones alone make any connected network stable), softer
    by shell, plus a random symmetric perturbation, halved until the dense Hessian is positive.
    """
    rng = np.random.default_rng(seed)
    shells = {tuple(pair): orbit.shell for orbit in irreducible.orbits for pair in orbit.pairs}
    crystal = irreducible.crystal
    wanted = []
    for pair in irreducible.pairs[crystal.n_atoms :]:
        along = crystal.bond_vectors(pair[None])[0]
        along /= np.linalg.norm(along)
        wanted.append(-4.0 / shells[tuple(pair)] * (0.4 * np.eye(3) + np.outer(along, along)))
    matrix = irreducible.basis[crystal.n_atoms :].reshape(-1, irreducible.n_irreducible)
    springs, *_ = np.linalg.lstsq(matrix, np.ravel(wanted))
    assert np.abs(matrix @ springs - np.ravel(wanted)).max() < 1e-10, "springs are symmetric force constants"
    noise = rng.normal(size=irreducible.n_irreducible) * 4.0 / irreducible.shells
    atoms = periodic_atoms(supercell)
    both = hessian_blocks(atoms, bonds_of(irreducible, np.column_stack([springs, noise])))
    h_springs, h_noise = both.transpose(4, 0, 2, 1, 3).reshape(2, 3 * atoms.n_atoms, 3 * atoms.n_atoms)
    for _ in range(20):
        values = np.linalg.eigvalsh(h_springs + perturbation * h_noise)
        # Three zeros, and nothing much softer than the rest: displacements stay below a bond length.
        if values[0] > -1e-9 and values[3] > SOFTEST * values[-1]:
            return springs + perturbation * noise
        perturbation /= 2
    raise AssertionError("no stable force constants were found")
