"""The tables of the exact engine: everything about the Q points that does not depend on force constants."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.structure import kind_of_pair, pair_kinds
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.memory import too_much
from bayestds.monomials import PRODUCTS
from bayestds.scattering.blocks import Blocks, make_blocks
from bayestds.scattering.fourier import FourierSums, make_sums
from bayestds.scattering.lattice import LatticePoints, make_lattice
from bayestds.scattering.pairs import PairTable, pair_table
from bayestds.scattering.polynomials import n_monomials

MEMORY = 2**22
"""Bytes by default for what is evaluated at once; points that fit the cache of a processor are fastest."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Points:
    """Q points in blocks of equal k, or a group of them; a pytree of constant arrays.

    Attributes:
        vectors: (3, n_blocks, block_size) scattering vectors Q, Å⁻¹; each array with a leading axis of groups
            where these are several.
        products: (6, n_blocks, block_size) those of two components, as ``monomials.PRODUCTS``.
        structure: (n_rows, n_blocks, block_size) real parts of f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) of all kinds of
            pairs, then minus the imaginary ones of those with κ < κ', which are rows as of the Fourier sums.
    """

    vectors: Float[Array, "*groups 3 n_blocks block_size"]
    products: Float[Array, "*groups 6 n_blocks block_size"]
    structure: Float[Array, "*groups n_rows n_blocks block_size"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ExactEngine:
    """Everything about the Q points that ``exact.log_intensity`` needs; a pytree of constant arrays.

    Points are sorted into blocks of equal k, padded to ``block_size``. Everything that depends on Q
    through exp(iQ·R) alone, the near phases and the Fourier sums, is then shared by a block. The blocks are
    in groups that are evaluated in turn.

    Attributes:
        points: the points.
        near_phases: (n_groups, n_near, 2, n_blocks) exp(ik·R), times 2 where the conjugate is another pair.
        near_pairs: (n_near, 3) int, grid cell, κ, κ'.
        near_sums: (n_rows, n_k) sums of exp(ik·R) over near pairs at the distinct k.
        near_kinds: (n_near,) int, of which kind each near pair is.
        window: (n_cells,) factors of the cells in the lattice sum.
        kinds: (n_kinds, 2) int, from ``pair_kinds``.
        k_index: (n_groups, n_blocks) grid index of k.
        k_of_block: (n_groups, n_blocks) int, which of the distinct k of the sums it is.
        sums: the Fourier sums over the far pairs.
        lattice: the points as sums of k and G, where polynomials in Q are fastest so, else None.
        place: (n_q,) position of each Q point in the flattened groups of blocks.
        reach: number of pairs, shortest first and the near ones included, that count in each phonon order of
            the expansion; of no order in the direct form.
    """

    points: Points
    near_phases: Float[Array, "n_groups n_near 2 n_blocks"]
    near_pairs: Int[Array, "n_near 3"]
    near_sums: Float[Array, "n_rows n_k"]
    near_kinds: Int[Array, " n_near"]
    window: Float[Array, " n_cells"]
    kinds: Int[Array, "n_kinds 2"]
    k_index: Int[Array, "n_groups n_blocks"]
    k_of_block: Int[Array, "n_groups n_blocks"]
    sums: FourierSums
    lattice: LatticePoints | None
    place: Int[Array, " n_q"]
    reach: tuple[int, ...] = field(metadata={"static": True})

    @property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return self.sums.n_atoms

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.k_index)

    @property
    def order(self) -> int:
        """Highest phonon order of the expansion; 0 in the direct form."""
        return len(self.reach)

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """FFT grid of the supercell."""
        return self.sums.grid_shape


def make_engine(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    scattering_factors: np.ndarray | None = None,
    n_near: int | None = None,
    order: int = 0,
    window: np.ndarray | None = None,
    memory: float | int = MEMORY,
    reach: Sequence[int] | None = None,
) -> ExactEngine:
    """Engine for a set of commensurate Q points.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u.; every point commensurate with the supercell.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms), may be complex; 1 by default.
        n_near: number of pairs, shortest first, that get the exponential; all by default.
        order: highest phonon order of the expansion for the others.
        window: (n_cells,) factors of the cells in the lattice sum, as finite resolution gives; 1 by default.
        memory: bytes for what is evaluated at once; the points are taken in as many groups as that needs.
        reach: number of pairs, shortest first, that count in each phonon order; all in the first, and never
            more than in the order before. All in every order by default.

    Raises:
        VolumeError: a Q point is not commensurate with the supercell, or the engine does not fit into memory.
    """
    q_points = np.asarray(q_points, dtype=float)
    k_index = _commensurate(supercell, q_points)
    pairs = pair_table(supercell)
    n_near = len(pairs.cells) if n_near is None else n_near
    reach = (len(pairs.cells),) * order if reach is None else tuple(reach)
    kinds = pair_kinds(supercell.crystal.n_atoms)
    blocks, lattice = _layout(supercell, q_points, k_index, n_near + len(kinds), order, memory)
    window = np.ones(supercell.n_cells) if window is None else window
    check_memory(supercell, blocks, n_near)
    sums = make_sums(supercell, pairs, blocks.k_points, window, n_near, reach)
    # Transformed orders have all pairs.
    reach = (len(pairs.cells),) * min(order, sums.n_transformed) + reach[sums.n_transformed :]
    near = pairs.first(n_near)
    phases = supercell.phases(blocks.k_points, near.cells) * near.counts * window[near.cells]
    engine = engine_of_blocks(supercell, q_points, scattering_factors, blocks, near, phases, sums, reach)
    return replace(engine, window=jnp.asarray(window), lattice=lattice)


def engine_of_blocks(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    scattering_factors: np.ndarray | None,
    blocks: Blocks,
    near: PairTable,
    phases: Complex[np.ndarray, "n_k n_near"],
    sums: FourierSums,
    reach: tuple[int, ...],
) -> ExactEngine:
    """Engine of Q points in blocks, without a window.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms).
        blocks: of the points.
        near: the near pairs.
        phases: exp(ik·R) of these at the distinct k, times what they count.
        sums: over the far pairs.
        reach: number of pairs that count in each phonon order.
    """
    kinds = pair_kinds(supercell.crystal.n_atoms)
    near_phases = _near_phases(phases, near.atoms)
    near_kinds = kind_of_pair(supercell.crystal.n_atoms)[near.atoms[:, 0], near.atoms[:, 1]]
    return ExactEngine(
        _make_points(supercell, q_points, scattering_factors, kinds, blocks.points),
        jnp.asarray(near_phases[:, :, blocks.k_of_block].transpose(2, 0, 1, 3)),
        jnp.asarray(np.column_stack([near.cells, near.atoms])),
        jnp.asarray(_near_sums(near_phases, near_kinds, supercell.crystal.n_atoms)),
        jnp.asarray(near_kinds),
        jnp.ones(supercell.n_cells),
        jnp.asarray(kinds),
        jnp.asarray(blocks.k_points[blocks.k_of_block]),
        jnp.asarray(blocks.k_of_block),
        sums,
        None,
        jnp.asarray(blocks.place),
        reach,
    )


def _layout(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    k_index: Int[np.ndarray, " n_q"],
    n_exponentials: int,
    order: int,
    memory: float | int,
) -> tuple[Blocks, LatticePoints | None]:
    """Q points in blocks and groups, and as sums of k and G where that pays."""
    # Exponentials, their products with weights and with the derivative of exponents.
    numbers = 3 * n_exponentials
    blocks = make_blocks(k_index, 8 * numbers, memory)
    lattice = make_lattice(supercell, q_points, blocks, 2 * order + 1) if order else None
    if lattice is None:
        numbers += n_monomials(range(0, 2 * order + 1, 2))
        blocks = make_blocks(k_index, 8 * numbers, memory)
    return blocks, lattice


def _make_points(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    factors: np.ndarray | None,
    kinds: Int[np.ndarray, "n_kinds 2"],
    layout: Int[np.ndarray, "n_groups n_blocks block_size"],
) -> Points:
    """Q points in a layout."""
    used = (layout >= 0)[..., None]
    vectors = supercell.crystal.scattering_vectors(q_points[layout] * used)
    structure = _structure_factors(supercell, vectors, factors, layout) * used
    cross = np.moveaxis(structure[..., kinds[:, 0]] * structure[..., kinds[:, 1]].conj(), -1, 1)
    by_axis = jnp.asarray(np.moveaxis(vectors, -1, 1))
    first, second = PRODUCTS.T
    return Points(
        by_axis,
        by_axis[:, first] * by_axis[:, second],
        jnp.asarray(np.concatenate([cross.real, -cross.imag[:, supercell.crystal.n_atoms :]], axis=1)),
    )


def _commensurate(supercell: Supercell, q_points: np.ndarray) -> Int[np.ndarray, " n_q"]:
    """Grid index of k of every Q point."""
    k_index = supercell.k_index(q_points)
    if (k_index < 0).any():
        raise VolumeError(
            f"{(k_index < 0).sum()} of {len(q_points)} Q points do not fit the supercell.",
            f"The first is {np.round(q_points[k_index < 0][0], 4).tolist()} r.l.u.",
            "Choose a supercell whose wave vectors contain the voxels.",
        )
    return k_index


def _near_phases(
    phases: Complex[np.ndarray, "n_k n_near"], atoms: Int[np.ndarray, "n_near 2"]
) -> Float[np.ndarray, "n_near 2 n_k"]:
    """Real and imaginary part; of a pair with κ = κ' and its conjugate only the sum is wanted."""
    return np.stack([phases.real, np.where(atoms[:, 0] == atoms[:, 1], 0.0, phases.imag)], axis=1).T


def _near_sums(
    phases: Float[np.ndarray, "n_near 2 n_k"], kinds: Int[np.ndarray, " n_near"], n_atoms: int
) -> Float[np.ndarray, "n_rows n_k"]:
    """Sums of the phases over the pairs of each kind."""
    n_kinds = n_atoms * (n_atoms + 1) // 2
    sums = np.tensordot(np.arange(n_kinds)[:, None] == kinds, phases, axes=1)
    return np.concatenate([sums[:, 0], sums[n_atoms:, 1]])


def check_memory(supercell: Supercell, blocks: Blocks, n_near: int) -> None:
    """Refuse an engine of near phases, structure factors and kinds of pairs that does not fit into memory."""
    layout = blocks.points
    n_kinds = supercell.crystal.n_atoms * (supercell.crystal.n_atoms + 1) // 2
    # Each as complex numbers, as pairs of real ones, and as JAX's.
    n_points, n_blocks = np.count_nonzero(layout >= 0), layout.shape[0] * layout.shape[1]
    if reason := too_much(3 * 16 * (n_blocks * n_near + layout.size * n_kinds) + 16 * n_near * n_kinds):
        raise VolumeError(
            f"The intensity is wanted at {n_points:,} points, with {n_near:,} pairs of atoms each.",
            reason,
            "Use a smaller supercell or fewer points: a coarser grid, or q_max and other limits in [mask].",
        )


def _structure_factors(
    supercell: Supercell, vectors: np.ndarray, factors: np.ndarray | None, layout: np.ndarray
) -> np.ndarray:
    """f_κ exp(iQ·τ_κ), (n_blocks, block_size, n_atoms)."""
    phases = np.exp(1j * vectors @ supercell.crystal.cartesian_positions.T)
    if factors is None:
        return phases
    factors = np.asarray(factors)
    return phases * (factors if factors.ndim == 1 else factors[layout])
