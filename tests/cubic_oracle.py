"""Oracle of the third order: bonds of a finite periodic crystal atom by atom, and sums over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from bayestds.crystal.structure import kind_of_pair
from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, star_blocks
from bayestds.lattice_dynamics.third_cumulant import half_forces, third_cumulant
from bayestds.monomials import exponents
from bayestds.scattering.exact import sum_of_exponentials
from bayestds.scattering.lattice_sum import Anywhere, LatticeSum, OnMesh
from bayestds.scattering.motion import Motion, MotionAtPoints
from bayestds.scattering.parameters import Parameters
from bayestds.scattering.points import blocks_at_points
from bayestds.scattering.terms import Cubic, Term
from tests.brute_force import AMU, BOLTZMANN, ELECTRON_VOLT, HBAR, PeriodicAtoms, shortest_images

Node = tuple[float, np.ndarray]
"""Weight of a node of imaginary time, 1/eV, and ⟨u(τ) u(0)ᵀ⟩ (3n, 3n), Å², there."""


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


def dense_third_moment(bonds: DenseBonds, nodes: Sequence[Node], scattering_vector: np.ndarray) -> np.ndarray:
    """-⟨X³⟩_c/6 (n, n) of X = Q·(u_i - u_j) for all pairs of atoms, by first-order perturbation theory."""
    found = 0.0
    for weight, covariance in nodes:
        n = len(covariance) // 3
        along = covariance.reshape(n, 3, n, 3) @ scattering_vector  # ⟨u_k,a(τ) Q·u_i⟩
        follows = along[bonds.head] - along[bonds.tail]
        s = np.empty((n, n))
        for i in range(n):
            a = follows[:, :, i, None] - follows
            s[i] = np.einsum("nabc,nai,nbi,nci->i", bonds.tensors, a, a, a, optimize=True)
        found = found + weight / 6 * s
    return np.asarray(found)


def dense_cubic_intensity(
    atoms: PeriodicAtoms,
    bonds: DenseBonds,
    covariance: np.ndarray,
    nodes: Sequence[Node],
    scattering_vector: np.ndarray,
    factors: np.ndarray,
) -> float:
    """ΔI per primitive cell at one Q (3,), Å⁻¹, as a sum over pairs of atoms and all bonds; factors (n,)."""
    n = atoms.n_atoms
    s = dense_third_moment(bonds, nodes, scattering_vector)
    q_c_q = np.einsum("a,iajb,b->ij", scattering_vector, covariance.reshape(n, 3, n, 3), scattering_vector)
    half = q_c_q.diagonal() / 2
    waves = factors * np.exp(1j * (atoms.positions @ scattering_vector))
    terms = np.outer(waves, waves.conj()) * np.exp(q_c_q - half[:, None] - half[None, :]) * 1j * s
    total = terms.sum() / (n / (atoms.kinds.max() + 1))
    assert abs(total.imag) < 1e-9 * np.abs(terms).sum()
    return float(total.real)


def classical_node(covariance: np.ndarray, temperature: float) -> list[Node]:
    """Classically nothing depends on imaginary time."""
    return [(1 / (BOLTZMANN * temperature), covariance)]


def quantum_nodes(hessian: np.ndarray, masses: np.ndarray, temperature: float, n: int = 16) -> list[Node]:
    """By modes of the whole crystal at many imaginary times: Gauss-Legendre in the square root of τ."""
    weights = np.repeat(masses * AMU, 3) ** -0.5
    squares, vectors = np.linalg.eigh(weights[:, None] * hessian * ELECTRON_VOLT * 1e20 * weights)
    omega, modes = np.sqrt(squares[3:]), weights[:, None] * vectors[:, 3:]
    energies = HBAR * omega / ELECTRON_VOLT
    beta = 1 / (BOLTZMANN * temperature)
    x, w = np.polynomial.legendre.leggauss(n)
    root, w = np.sqrt(beta / 2) * (1 + x) / 2, np.sqrt(beta / 2) * w / 2
    found = []
    for tau, weight in zip(root**2, 2 * 2 * root * w, strict=True):
        decay = np.exp(-energies * tau) + np.exp(-energies * (beta - tau))
        amplitude = 1e20 * HBAR / (2 * omega) * decay / -np.expm1(-energies * beta)
        found.append((weight, (modes * amplitude) @ modes.T))
    return found


def change_of_intensity(
    lattice_sum: LatticeSum, crystal: HarmonicCrystal, term: Term, phi: np.ndarray, gamma: np.ndarray
) -> np.ndarray:
    """ΔI (n_q,) that a term adds to the intensity of a lattice sum."""
    parameters = Parameters(jnp.asarray(phi), jnp.asarray(gamma), jnp.zeros(0))
    blocks = star_blocks(crystal, parameters.second)

    def evaluate() -> jax.Array:
        if isinstance(lattice_sum, OnMesh):
            motion = Motion(crystal, parameters, blocks)
            packed, part = packed_covariance(motion.everywhere), term.on_mesh(lattice_sum.engine, motion)
            return sum_of_exponentials(lattice_sum.engine, packed, part)
        assert isinstance(lattice_sum, Anywhere)
        at_points = blocks_at_points(lattice_sum.engine, crystal.force_constants(parameters.second))
        here = MotionAtPoints(crystal, parameters, blocks, at_points)
        packed, part = packed_covariance(here.everywhere), term.anywhere(lattice_sum.engine, here)
        return sum_of_exponentials(lattice_sum.engine.engine, packed, part)

    return np.asarray(jax.jit(evaluate)())


def cubic_intensity_anywhere(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    crystal: HarmonicCrystal,
    term: Cubic,
    phi: np.ndarray,
    gamma: np.ndarray,
    vector: np.ndarray,
    factors: np.ndarray,
) -> float:
    """ΔI per primitive cell at any Q (3,), Å⁻¹: one sum over atoms and the images of all cells; factors (n,).

    The formula of docs/theory.md from C(q), C(R), s and t, without near and far pairs or shared waves.
    """
    lattice, n, n_cells = supercell.crystal, supercell.crystal.n_atoms, supercell.n_cells
    forms, cubes = (np.prod(vector ** np.array(exponents(degree)), axis=1) for degree in (2, 3))
    parameters = Parameters(jnp.asarray(phi), jnp.asarray(gamma), jnp.zeros(0))
    motion = Motion(crystal, parameters, star_blocks(crystal, parameters.second))
    equal = np.asarray(motion.everywhere)
    at_times = motion.everywhere_at(term.nodes.times)
    squares = half_forces(term.lattice, parameters.third, at_times, term.nodes.weights)
    s, t = map(np.asarray, third_cumulant(squares, at_times, supercell.grid_shape))

    block = np.zeros((n, 3, n, 3), complex)
    constants = np.asarray(crystal.force_constants(parameters.second))
    for (k, m, *cell), constant in zip(irreducible.pairs, constants, strict=True):
        block[k, :, m] += constant * np.exp(1j * vector @ (np.array(cell) @ lattice.lattice_vectors))
    blocks = jnp.stack([motion.star_blocks[0], jnp.asarray(block.reshape(3 * n, 3 * n))])
    at_q = np.asarray(crystal.statistics.covariance(blocks)[1]).reshape(n, 3, n, 3)
    at_nodes = np.asarray(crystal.statistics.covariance_at(blocks, term.nodes.times)[:, 1])
    # [C_kj(q, τ)† Q]* = Σ_f Q_f C_kj,fc
    follows = np.einsum("f,nkfjc->nkjc", vector, at_nodes.reshape(-1, n, 3, n, 3))

    def waves(k: int, m: int) -> np.ndarray:
        """Σ exp(iQ·R) (n_cells,) over the shortest images of (k, m, R)."""
        pairs = np.column_stack([np.tile([k, m], (n_cells, 1)), supercell.cells])
        which, bonds = supercell.shortest_images(pairs)
        cells = bonds - (lattice.cartesian_positions[k] - lattice.cartesian_positions[m])
        each = np.exp(1j * cells @ vector) / np.bincount(which)[which]
        return np.bincount(which, each.real) + 1j * np.bincount(which, each.imag)

    psi = [
        [np.einsum("nrcp,p,r->nc", squares[:, :, k, m], forms, waves(k, m)) for m in range(n)]
        for k in range(n)
    ]
    own = np.einsum("a,kab,b->k", vector, equal[0, range(n), range(n)], vector) / 2
    amplitude = factors * np.exp(1j * lattice.cartesian_positions @ vector - own)
    total = 0j
    for k, m in product(range(n), repeat=2):
        # s_mk(-R) = -s_km(R)
        kind, sign = kind_of_pair(n)[min(k, m), max(k, m)], 1 if k <= m else -1
        cells = supercell.cell_index(sign * supercell.cells)
        s_r, t_r = sign * cubes @ s[:, kind][:, cells], sign * cubes @ t[:, kind]
        x = np.einsum("a,rab,b->r", vector, equal[:, k, m], vector)
        one = sum(
            (psi[m][j].conj() * follows[:, k, j]).sum() - (psi[k][j] * follows[:, m, j].conj()).sum()
            for j in range(n)
        )
        several = (waves(k, m) * (np.expm1(x) * s_r - t_r * x)).sum()
        total += (
            amplitude[k]
            * amplitude[m].conj()
            * 1j
            * (one + t_r * (vector @ at_q[k, :, m] @ vector) + several)
        )
    assert abs(total.imag) < 1e-9 * abs(total)
    return float(total.real)
