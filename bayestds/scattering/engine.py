"""The arrays from which :mod:`bayestds.scattering.exact` makes intensities."""

from dataclasses import dataclass, field

import jax
from jax import Array
from jaxtyping import Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ExactEngine:
    """Everything about the Q points that ``exact.log_intensity`` needs; a pytree of constant arrays.

    Points are sorted into blocks of equal k, padded to ``block_size``. Everything that depends on Q
    through exp(iQ·R) alone, the near phases and the Fourier sums, is then shared by a block.

    Attributes:
        vectors: (n_blocks, 3, block_size) scattering vectors Q, Å⁻¹.
        structure: (n_blocks, n_kinds, 2, block_size) f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')), real and imaginary.
        near_phases: (n_blocks, n_near, 2) exp(ik·R) times 2 where the conjugate pair is another one.
        near_pairs: (n_near, 3) int, grid cell, κ, κ'.
        near_kinds: (n_near, n_kinds) 1 where a near pair is of a kind.
        far_mask: (n_cells, n_kinds) 1 where a pair is far.
        window: (n_cells,) factors of the cells in the lattice sum.
        kinds: (n_kinds, 2) int, κ <= κ' of each kind of pair.
        k_index: (n_blocks,) grid index of k.
        k_points: (n_k,) the distinct ones.
        k_of_block: (n_blocks,) int, which of these it is.
        waves: (2, n_cells, n_k) cosine and sine of k·R; None where a Fourier transform is faster.
        powers: (n_blocks, n_monomials, block_size) the monomials of Q, which the derivative needs; None where
            the blocks are in several groups, which make them anew.
        place: (n_q,) position of each Q point in the flattened blocks.
        order: highest phonon order of the expansion; 0 in the direct form.
        grid_shape: FFT grid of the supercell.
        n_groups: number of equal groups of blocks that are evaluated in turn.
    """

    vectors: Float[Array, "n_blocks 3 block_size"]
    structure: Float[Array, "n_blocks n_kinds 2 block_size"]
    near_phases: Float[Array, "n_blocks n_near 2"]
    near_pairs: Int[Array, "n_near 3"]
    near_kinds: Float[Array, "n_near n_kinds"]
    far_mask: Float[Array, "n_cells n_kinds"]
    window: Float[Array, " n_cells"]
    kinds: Int[Array, "n_kinds 2"]
    k_index: Int[Array, " n_blocks"]
    k_points: Int[Array, " n_k"]
    k_of_block: Int[Array, " n_blocks"]
    waves: Float[Array, "2 n_cells n_k"] | None
    powers: Float[Array, "n_blocks n_monomials block_size"] | None
    place: Int[Array, " n_q"]
    order: int = field(metadata={"static": True})
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})
    n_groups: int = field(metadata={"static": True})
