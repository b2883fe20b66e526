"""From irreducible parameters φ to force constants Φ(R) and their reciprocal-space blocks Φ(k)."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.errors import CrystalError
from bayestds.force_constants.irreducible import IrreducibleForceConstants


def force_constants(
    basis: Float[Array, "n_pairs 3 3 n_irreducible"], irreducible: Float[Array, " n_irreducible"]
) -> Float[Array, "n_pairs 3 3"]:
    """Force constants Φ of every pair, eV/Å², from the irreducible ones."""
    return basis @ irreducible


def grid_positions(
    irreducible: IrreducibleForceConstants, supercell: Supercell
) -> Int[np.ndarray, " n_pairs"]:
    """Index of each pair in the flattened (n_cells, n_atoms, n_atoms) array of a supercell.

    Raises:
        CrystalError: a shell reaches beyond half the supercell.
    """
    pairs = irreducible.pairs
    check_reach(pairs, irreducible.n_shells, supercell)
    n_atoms = irreducible.crystal.n_atoms
    cells = supercell.cell_index(pairs[:, 2:])
    return (cells * n_atoms + pairs[:, 0]) * n_atoms + pairs[:, 1]


def check_reach(pairs: Int[np.ndarray, "n_pairs 5"], n_shells: int, supercell: Supercell) -> None:
    """Refuse pairs (κ, κ', R) of n_shells shells that cannot be told from their own periodic images.

    Raises:
        CrystalError: a shell reaches beyond half the supercell.
    """
    lengths = np.linalg.norm(supercell.crystal.bond_vectors(pairs), axis=1)
    shortest, n_images = supercell.nearest_images(pairs)
    beyond = (shortest < lengths - 1e-4) | (n_images > 1)
    if beyond.any():
        reach = float(lengths[beyond].min())
        raise CrystalError(
            f"Neighbour pairs at {reach:.3f} Å reach half the supercell or beyond it.",
            f"{n_shells} shells extend to {lengths.max():.3f} Å, and in this supercell such a "
            "pair is, or ties with, its own periodic image.",
            "Use fewer shells or a larger supercell.",
        )


def force_constant_blocks(
    constants: Float[Array, "n_pairs 3 3"],
    positions: Int[Array | np.ndarray, " n_pairs"],
    grid_shape: tuple[int, int, int],
    n_atoms: int,
) -> Complex[Array, "n_k three_n three_n"]:
    """Blocks Φ(k) = Σ_R Φ(R) exp(+i k·R), eV/Å², on the FFT grid of a supercell.

    Args:
        constants: force constants of every pair, from :func:`force_constants`.
        positions: where they lie in the supercell, from :func:`grid_positions`.
        grid_shape: the FFT grid of the supercell.
        n_atoms: atoms in the primitive cell.
    """
    real_space = _in_real_space(constants, positions, grid_shape, n_atoms)
    # ifft has the sign exp(+i k·R) of the lattice sum; "forward" leaves it without 1 / n_cells.
    return _hermitian(jnp.fft.ifftn(real_space, axes=(2, 3, 4), norm="forward"))


def half_of_blocks(
    constants: Float[Array, "n_pairs 3 3"],
    positions: Int[Array | np.ndarray, " n_pairs"],
    grid_shape: tuple[int, int, int],
    n_atoms: int,
) -> Complex[Array, "n_half three_n three_n"]:
    """One of each two blocks that are complex conjugates, those at k and -k; k = 0 is the first.

    They are those of a real transform: of the last axis of the grid up to its half. Arguments as those of
    :func:`force_constant_blocks`.
    """
    real_space = _in_real_space(constants, positions, grid_shape, n_atoms)
    return _hermitian(jnp.fft.rfftn(real_space, axes=(2, 3, 4)).conj())


def _in_real_space(
    constants: Float[Array, "n_pairs 3 3"],
    positions: Int[Array | np.ndarray, " n_pairs"],
    grid_shape: tuple[int, int, int],
    n_atoms: int,
) -> Float[Array, "three_n three_n n_1 n_2 n_3"]:
    """Φ(R) on the grid."""
    n_cells = int(np.prod(grid_shape))
    found = jnp.zeros((n_cells * n_atoms**2, 3, 3)).at[positions].add(constants)
    found = found.reshape(n_cells, n_atoms, n_atoms, 3, 3).transpose(1, 3, 2, 4, 0)
    return found.reshape(3 * n_atoms, 3 * n_atoms, *grid_shape)


def _hermitian(waves: Complex[Array, "size size n_1 n_2 n_3"]) -> Complex[Array, "n_k size size"]:
    """Blocks by k, without what rounding leaves of a difference to their adjoints."""
    blocks = jnp.moveaxis(waves.reshape(*waves.shape[:2], -1), -1, 0)
    return (blocks + blocks.conj().swapaxes(-1, -2)) / 2
