"""Stars of wave vectors: what is at one k of each is, by symmetry, at all of them.

Wave vectors k' = k W⁻¹ of one star have blocks C(k') = Γ C(k) Γ† (:mod:`bayestds.lattice_dynamics.symmetry`).
Force constants are therefore inverted at one k of each star, a few percent of all where symmetry is high.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.structure import kind_of_pair, pair_kinds
from bayestds.crystal.supercell import Supercell
from bayestds.lattice_dynamics.covariance import quadratic_form
from bayestds.lattice_dynamics.symmetry import BlockSymmetry, block_symmetry
from bayestds.monomials import PRODUCTS


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Stars:
    """One k of each star, and how the others follow from it; a pytree of constant arrays.

    The others are half of all: of each two, k and -k, the one that a real transform has.

    Attributes:
        waves: (n_stars, n_bond_cells) exp(ik·R) of the cells that have force constants; k = 0 is the first.
        positions: (n_pairs,) int, where the pairs lie in the flattened (n_bond_cells, κ, κ').
        sources: (n_kinds, n_half) int, which (kind of pair, star), flattened, each kind at each k is from.
        signs: (n_kinds, n_half) -1 where it is the conjugate of that.
        turns: (6, 6, n_half) turns coefficients of QᵀCQ.
        phases: (n_kinds, n_half) what it is then multiplied with.
        grid_shape: FFT grid of the supercell.
    """

    waves: Complex[Array, "n_stars n_bond_cells"]
    positions: Int[Array, " n_pairs"]
    sources: Int[Array, "n_kinds n_half"]
    signs: Float[Array, "n_kinds n_half"]
    turns: Float[Array, "6 6 n_half"]
    phases: Complex[Array, "n_kinds n_half"]
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})


def make_stars(supercell: Supercell, pairs: Int[np.ndarray, "n_pairs 5"]) -> Stars:
    """Stars of a supercell under those operations of the space group that fit it.

    Args:
        supercell: the periodic supercell.
        pairs: (κ, κ', R) that have force constants.
    """
    symmetry, n_atoms = block_symmetry(supercell), supercell.crystal.n_atoms
    last = supercell.grid_shape[2]
    half = np.flatnonzero(np.arange(supercell.n_cells) % last <= last // 2)
    first = symmetry.images.min(axis=0)
    chosen, star = np.unique(first, return_inverse=True)
    operation = np.empty(supercell.n_cells, dtype=int)
    for which, images in enumerate(symmetry.images[:, chosen]):
        operation[images] = which
    kinds = pair_kinds(n_atoms)
    source, signs, phases = _sources(symmetry, half, operation[half], kinds)
    rotations = supercell.crystal.cartesian_rotations[symmetry.operations]
    return Stars(
        *waves_of_bonds(pairs, supercell.k_points[chosen], n_atoms),
        jnp.asarray((source * len(chosen) + star[half, None]).T),
        jnp.asarray(signs.T),
        jnp.asarray(_turns(rotations)[..., operation[half]]),
        jnp.asarray(phases.T),
        supercell.grid_shape,
    )


def _sources(
    symmetry: BlockSymmetry,
    k_index: Int[np.ndarray, " n_k"],
    operation: Int[np.ndarray, " n_k"],
    kinds: Int[np.ndarray, "n_kinds 2"],
) -> tuple[
    Int[np.ndarray, "n_k n_kinds"], Float[np.ndarray, "n_k n_kinds"], Complex[np.ndarray, "n_k n_kinds"]
]:
    """From which kind an operation brings each kind to k; the sign of its imaginary part; its phase.

    What matters of C_κκ' is QᵀCQ. There time reversal and the exchange of κ and κ' are both a conjugation.
    """
    group = symmetry.supercell.crystal.space_group
    which, reverse = symmetry.operations[operation], symmetry.reverses[operation][:, None]
    n_atoms = group.permutations.shape[1]
    before = np.argsort(group.permutations, axis=1)[which]
    atoms = before[:, kinds[:, 0]], before[:, kinds[:, 1]]
    exchanged = atoms[0] > atoms[1]
    shifts = np.take_along_axis(group.cell_shifts[which], before[..., None], axis=1)
    shifts = shifts[:, kinds[:, 0]] - shifts[:, kinds[:, 1]]
    turns = np.einsum("kcd,kd->kc", shifts, symmetry.supercell.k_points[k_index])
    return kind_of_pair(n_atoms)[atoms], np.where(exchanged ^ reverse, -1.0, 1.0), np.exp(2j * np.pi * turns)


def _turns(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "6 6 n"]:
    """What makes the coefficients of QᵀRCRᵀQ, second index, from those of QᵀCQ, first index."""
    i, j = PRODUCTS.T
    unit = np.zeros((6, 3, 3))
    unit[np.arange(6), i, j] += 0.5
    unit[np.arange(6), j, i] += 0.5
    return np.moveaxis(quadratic_form(np.einsum("nab,mbc,ndc->nmad", rotations, unit, rotations)), 0, -1)


def blocks_of_waves(
    waves: Complex[Array, "n_k n_bond_cells"],
    positions: Int[Array, " n_pairs"],
    constants: Float[Array, "n_pairs 3 3"],
    n_atoms: int,
) -> Complex[Array, "n_k three_n three_n"]:
    """Blocks Φ(k) = Σ_R Φ(R) exp(+i k·R), eV/Å², at any k.

    Args:
        waves: exp(ik·R) of the cells that have force constants, from :func:`waves_of_bonds`.
        positions: where the pairs lie in the flattened (n_bond_cells, κ, κ').
        constants: force constants of every pair, from ``linear_map.force_constants``.
        n_atoms: atoms in the primitive cell.
    """
    n_cells = waves.shape[1]
    by_cell = jnp.zeros((n_cells * n_atoms**2, 3, 3)).at[positions].add(constants)
    by_cell = by_cell.reshape(n_cells, n_atoms, n_atoms, 3, 3).transpose(0, 1, 3, 2, 4).reshape(n_cells, -1)
    summed = jax.lax.complex(waves.real @ by_cell, waves.imag @ by_cell)
    blocks = summed.reshape(-1, 3 * n_atoms, 3 * n_atoms)
    # Without what rounding leaves of a difference to their adjoints.
    return (blocks + blocks.conj().swapaxes(-1, -2)) / 2


def waves_of_bonds(
    pairs: Int[np.ndarray, "n_pairs 5"], k_points: Float[np.ndarray, "n_k 3"], n_atoms: int
) -> tuple[Complex[Array, "n_k n_bond_cells"], Int[Array, " n_pairs"]]:
    """Waves and positions that :func:`blocks_of_waves` needs.

    Args:
        pairs: (κ, κ', R) that have force constants.
        k_points: coordinates in the reciprocal primitive lattice.
        n_atoms: atoms in the primitive cell.
    """
    cells, place = np.unique(pairs[:, 2:], axis=0, return_inverse=True)
    positions = (place.ravel() * n_atoms + pairs[:, 0]) * n_atoms + pairs[:, 1]
    return jnp.asarray(np.exp(2j * np.pi * k_points @ cells.T)), jnp.asarray(positions)


def packed_in_real_space(
    stars: Stars, covariance: Complex[Array, "n_stars three_n three_n"]
) -> Float[Array, "6 n_kinds n_cells"]:
    """C_κκ'(R) = (1/N_k) Σ_k C(k) exp(-ik·R), Å², from C(k) at one k of each star.

    Returns:
        the coefficients of QᵀCQ, as ``covariance.packed_covariance`` gives them.
    """
    n_stars, size, _ = covariance.shape
    first, second = pair_kinds(size // 3).T
    by_atoms = covariance.reshape(n_stars, size // 3, 3, size // 3, 3)
    there = quadratic_form(by_atoms[:, first, :, second]).transpose(2, 0, 1).reshape(6, -1)
    # Without the barrier every term of the products would gather its factors anew.
    parts = jax.lax.optimization_barrier((there.real[:, stars.sources], there.imag[:, stars.sources]))
    real, imaginary = (sum(stars.turns[j, :, None] * part[j] for j in range(6)) for part in parts)
    # The transform has exp(+ik·R) where the sum has exp(-ik·R).
    waves = stars.phases.conj() * jax.lax.complex(real, -stars.signs * imaginary)
    waves = waves.reshape(6, len(first), *stars.grid_shape[:2], -1)
    return jnp.fft.irfftn(waves, s=stars.grid_shape, axes=(2, 3, 4)).reshape(6, len(first), -1)
