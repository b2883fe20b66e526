"""Exact diffuse intensity of a harmonic crystal to all phonon orders, without sampling noise.

    I(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q) - 1]

with 2W_κ = QᵀC_κκ(0)Q. Pairs of atoms that are *near* get the exponential. For all others it is
expanded in powers of QᵀCQ: each order is a polynomial in Q whose coefficients are Fourier sums over R,
taken at k = Q modulo the reciprocal lattice, so that the cost per Q does not grow with the supercell.
The direct form is the one in which every pair is near.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations_with_replacement
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.memory import too_much

AnyArray = TypeVar("AnyArray", Array, np.ndarray)

SMALLEST_INTENSITY = 1e-200
"""Intensities below this, which only unphysical force constants give, are raised to it."""

ELEMENTS_AT_ONCE = 4_000_000
"""Exponentials and monomials evaluated together; bounds the memory."""

PRODUCTS = np.array([[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]])
"""The six products Q_a Q_b, in the order of :func:`_exponents`."""


@dataclass(frozen=True, eq=False)
class PairTable:
    """One of each two conjugate pairs (κ, κ', R) and (κ', κ, -R) of a supercell, shortest first.

    Attributes:
        cells: (n_pairs,) int, grid index of R.
        atoms: (n_pairs, 2) int, κ and κ'.
        lengths: (n_pairs,) |R + τ_κ - τ_κ'|, Å, of the shortest periodic image.
        counts: (n_pairs,) 2 where the conjugate is another pair, else 1.
    """

    cells: np.ndarray
    atoms: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray


def pair_table(supercell: Supercell) -> PairTable:
    """All pairs of atoms of a supercell, conjugates once."""
    n_atoms = supercell.crystal.n_atoms
    opposite = supercell.cell_index(-supercell.cells)
    cells = np.arange(supercell.n_cells)
    blocks = []
    for first, second in combinations_with_replacement(range(n_atoms), 2):
        kept = cells if first != second else cells[cells <= opposite]
        counts = np.where((opposite[kept] == kept) & (first == second), 1, 2)
        pairs = np.column_stack([np.broadcast_to([first, second], (len(kept), 2)), supercell.cells[kept]])
        blocks.append((kept, pairs[:, :2], supercell.nearest_images(pairs)[0], counts))
    cell, atoms, lengths, counts = (np.concatenate(part) for part in zip(*blocks, strict=True))
    order = np.argsort(lengths, kind="stable")
    return PairTable(cell[order], atoms[order], lengths[order], counts[order])


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ExactEngine:
    """Everything about the Q points that :func:`log_intensity` needs; a pytree of constant arrays.

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
    place: Int[Array, " n_q"]
    order: int = field(metadata={"static": True})
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})
    n_groups: int = field(metadata={"static": True})


def log_intensity(
    engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity per primitive cell at the engine's Q points.

    Finite, with finite gradients, for any finite covariance.

    Args:
        engine: from :func:`make_engine`.
        covariance: C_κκ'(R), Å², from ``covariance_in_real_space``.
    """
    return logarithm(intensity(engine, covariance))


def logarithm(intensity: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
    """Logarithm, finite and with a finite gradient also where the intensity is negative."""
    positive = intensity > SMALLEST_INTENSITY
    return jnp.log(jnp.where(positive, intensity, SMALLEST_INTENSITY))


def intensity(
    engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Float[Array, " n_q"]:
    """Diffuse intensity per primitive cell at the engine's Q points."""
    kinds = engine.kinds
    packed = packed_covariance(covariance)
    cell, first, second = engine.near_pairs.T
    near = packed[cell, first, second] - damping(packed, first, second)
    fields = _fields(engine, packed[:, kinds[:, 0], kinds[:, 1]])
    arrays = (engine.vectors, engine.structure, engine.near_phases, fields)
    constants = near, damping(packed, kinds[:, 0], kinds[:, 1]), engine.near_kinds

    def one_block(block: tuple[Array, Array, Array, Array]) -> Array:
        return _intensity(*block, *constants, engine.order)

    evaluate = jax.vmap(one_block)
    return in_groups(engine, evaluate, arrays)


def in_groups(
    engine: ExactEngine, evaluate: Callable[[Any], Array], arrays: tuple[Array, ...]
) -> Float[Array, " n_q"]:
    """What a function gives for all blocks, group by group, in the order of the Q points."""
    if engine.n_groups == 1:
        found = evaluate(arrays)
    else:
        grouped = (engine.n_groups, len(engine.k_index) // engine.n_groups)
        groups = jax.tree.map(lambda array: array.reshape(*grouped, *array.shape[1:]), arrays)
        found = jax.lax.map(jax.checkpoint(evaluate), groups)
    return found.reshape(-1)[engine.place]


def _intensity(
    vectors: Float[Array, "3 block_size"],
    structure: Float[Array, "n_kinds 2 block_size"],
    near_phases: Float[Array, "n_near 2"],
    fields: Float[Array, "n_kinds 2 n_monomials"],
    near: Float[Array, "n_near 6"],
    damping: Float[Array, "n_kinds 6"],
    near_kinds: Float[Array, "n_near n_kinds"],
    order: int,
) -> Float[Array, " block_size"]:
    """Intensity at the points of one block; all exponents are negative by Cauchy-Schwarz."""
    powers = monomials(vectors, max(order, 1))
    quadratic = powers[:6]
    phases = near_kinds.T[:, None, :] * near_phases.T
    # exp(x - W - W') - exp(-W - W') for the near pairs, the powers of x for the far ones.
    expanded = -phases.sum(axis=-1, keepdims=True)
    if order:
        expanded += jnp.tensordot(fields, powers, axes=1)
    lattice_sum = jnp.tensordot(phases, jnp.exp(near @ quadratic), axes=1)
    lattice_sum += jnp.exp(-damping @ quadratic)[:, None] * expanded
    return (structure * lattice_sum * np.array([[1.0], [-1.0]])).sum(axis=(0, 1))


def damping(
    packed: Float[AnyArray, "n_cells n_atoms n_atoms 6"],
    first: Int[AnyArray, " n"],
    second: Int[AnyArray, " n"],
) -> Float[AnyArray, "n 6"]:
    """Coefficients of W_κ + W_κ' for pairs of atoms."""
    return (packed[0, first, first] + packed[0, second, second]) / 2


def packed_covariance(covariance: Float[AnyArray, "... 3 3"]) -> Float[AnyArray, "... 6"]:
    """Coefficients of QᵀCQ on the six products of :data:`PRODUCTS`."""
    i, j = PRODUCTS.T
    symmetric = covariance[..., i, j] + covariance[..., j, i]
    return symmetric * np.where(i == j, 0.5, 1.0)


def _fields(
    engine: ExactEngine, packed: Float[Array, "n_cells n_kinds 6"]
) -> Float[Array, "n_blocks n_kinds 2 n_monomials"]:
    """Fourier sums over far R of the coefficients of (QᵀCQ)ⁿ/n!, real and imaginary, for every block."""
    if not engine.order:
        return jnp.zeros((len(engine.k_index), len(engine.kinds), 2, 0))
    far = packed * engine.far_mask[..., None]
    # Once in each order, however many covariances are multiplied.
    term = far * engine.window[:, None, None]
    powers = [term]
    for n in range(2, engine.order + 1):
        term = jnp.einsum("rki,rkj,ijm->rkm", term, far, _products_table(n)) / n
        powers.append(term)
    stacked = jnp.concatenate(powers, axis=-1)
    grid = (*engine.grid_shape, *stacked.shape[1:])
    waves = jnp.fft.ifftn(stacked.reshape(grid), axes=(0, 1, 2), norm="forward")
    waves = waves.reshape(stacked.shape)[engine.k_index]
    # A kind κ < κ' stands for its conjugate κ' > κ as well.
    waves *= jnp.where(engine.kinds[:, :1] == engine.kinds[:, 1:], 1.0, 2.0)
    return jnp.stack([waves.real, waves.imag], axis=-2)


def monomials(vectors: Float[Array, "3 n_q"], order: int) -> Float[Array, "n_monomials n_q"]:
    """All products of Q components of degree 2, 4, ..., 2 * order, as ordered by :func:`_exponents`."""
    x, y, z = vectors
    power = vectors
    even = []
    for degree in range(2, 2 * order + 1):
        # Products with a factor x come first; of the others those with y; the last is a power of z.
        power = jnp.concatenate([x * power, y * power[-degree:], z * power[-1:]])
        if degree % 2 == 0:
            even.append(power)
    return jnp.concatenate(even)


def n_monomials(order: int) -> int:
    """Number of monomials up to a phonon order."""
    return sum((2 * n + 1) * (n + 1) for n in range(1, order + 1))


@cache
def _exponents(n: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of the monomials of degree 2n."""
    return tuple((a, b, 2 * n - a - b) for a in range(2 * n, -1, -1) for b in range(2 * n - a, -1, -1))


@cache
def _products_table(n: int) -> np.ndarray:
    """(n_lower, 6, n_monomials) 1 where monomial i of degree 2n-2 times product j is monomial m."""
    index = {exponents: m for m, exponents in enumerate(_exponents(n))}
    table = np.zeros((len(_exponents(n - 1)), 6, len(index)))
    for i, lower in enumerate(_exponents(n - 1)):
        for j, factor in enumerate(_exponents(1)):
            a, b, c = (x + y for x, y in zip(lower, factor, strict=True))
            table[i, j, index[a, b, c]] = 1
    return table


def make_engine(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    scattering_factors: np.ndarray | None = None,
    n_near: int | None = None,
    order: int = 0,
    window: np.ndarray | None = None,
) -> ExactEngine:
    """Engine for a set of commensurate Q points.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u.; every point commensurate with the supercell.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms), may be complex; 1 by default.
        n_near: number of pairs, shortest first, that get the exponential; all by default.
        order: highest phonon order of the expansion for the others.
        window: (n_cells,) factors of the cells in the lattice sum, as finite resolution gives; 1 by default.

    Raises:
        VolumeError: a Q point is not commensurate with the supercell, or the engine does not fit into memory.
    """
    k_index = supercell.k_index(q_points)
    if (k_index < 0).any():
        raise VolumeError(
            f"{(k_index < 0).sum()} of {len(q_points)} Q points do not fit the supercell.",
            f"The first is {np.round(q_points[k_index < 0][0], 4).tolist()} r.l.u.",
            "Choose a supercell whose wave vectors contain the voxels.",
        )
    pairs = pair_table(supercell)
    n_near = len(pairs.cells) if n_near is None else n_near
    layout, place, k_of_block, n_groups = _block_layout(k_index, n_near + n_monomials(max(order, 1)))
    _check_memory(supercell, layout, n_near)
    used = (layout >= 0)[..., None]
    vectors = supercell.crystal.scattering_vectors(np.asarray(q_points, dtype=float)[layout] * used)
    structure = _structure_factors(supercell, vectors, scattering_factors, layout) * used
    kinds = np.array(list(combinations_with_replacement(range(supercell.crystal.n_atoms), 2)))
    cross = structure[..., kinds[:, 0]] * structure[..., kinds[:, 1]].conj()

    cells, atoms = pairs.cells[:n_near], pairs.atoms[:n_near]
    kind = (atoms[:, None] == kinds).all(-1).argmax(-1)
    same = atoms[:, 0] == atoms[:, 1]
    window = np.ones(supercell.n_cells) if window is None else window
    phases = pairs.counts[:n_near] * window[cells] * supercell.phases(k_of_block, cells)
    # Of a pair and its conjugate with κ = κ' only the sum of both is wanted, and that is real.
    phases = np.stack([phases.real, np.where(same, 0.0, phases.imag)], axis=-1)
    return ExactEngine(
        jnp.asarray(vectors.swapaxes(1, 2)),
        jnp.asarray(np.stack([cross.real, cross.imag], axis=-1).transpose(0, 2, 3, 1)),
        jnp.asarray(phases),
        jnp.asarray(np.column_stack([cells, atoms])),
        jnp.asarray(np.eye(len(kinds))[kind]),
        jnp.asarray(_far_mask(supercell, len(kinds), cells, kind, same)),
        jnp.asarray(window),
        jnp.asarray(kinds),
        jnp.asarray(k_of_block),
        jnp.asarray(place),
        order,
        supercell.grid_shape,
        n_groups,
    )


def _check_memory(supercell: Supercell, layout: np.ndarray, n_near: int) -> None:
    """Refuse an engine of near phases, structure factors and kinds of pairs that does not fit into memory."""
    n_kinds = supercell.crystal.n_atoms * (supercell.crystal.n_atoms + 1) // 2
    # Each as complex numbers, as pairs of real ones, and as JAX's.
    n_points = np.count_nonzero(layout >= 0)
    if reason := too_much(3 * 16 * (len(layout) * n_near + layout.size * n_kinds) + 16 * n_near * n_kinds):
        raise VolumeError(
            f"The intensity is wanted at {n_points:,} points, with {n_near:,} pairs of atoms each.",
            reason,
            "Use a smaller supercell or fewer points: a coarser grid, or q_max and other limits in [mask].",
        )


def _far_mask(
    supercell: Supercell, n_kinds: int, cells: np.ndarray, kind: np.ndarray, same: np.ndarray
) -> np.ndarray:
    """1 (n_cells, n_kinds) but for near pairs, given by cell and kind, and their conjugates if κ = κ'."""
    mask = np.ones((supercell.n_cells, n_kinds))
    mask[cells, kind] = 0
    mask[supercell.cell_index(-supercell.cells[cells[same]]), kind[same]] = 0
    return mask


def _structure_factors(
    supercell: Supercell, vectors: np.ndarray, factors: np.ndarray | None, layout: np.ndarray
) -> np.ndarray:
    """f_κ exp(iQ·τ_κ), (n_blocks, block_size, n_atoms)."""
    phases = np.exp(1j * vectors @ supercell.crystal.cartesian_positions.T)
    if factors is None:
        return phases
    factors = np.asarray(factors)
    return phases * (factors if factors.ndim == 1 else factors[layout])


def _block_layout(k_index: np.ndarray, per_point: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points sorted into padded blocks of equal k, and the blocks into groups.

    Args:
        k_index: (n_q,) grid index of k of each point.
        per_point: numbers evaluated for each point.

    Returns:
        the point in each place (n_blocks, block_size), -1 where padded, the place of each point (n_q,),
        the k of each block (n_blocks,), and the number of groups.
    """
    unique, inverse, counts = np.unique(k_index, return_inverse=True, return_counts=True)
    # A power of two near half the median group keeps the padding small.
    block_size = 2 ** int(np.clip(np.ceil(np.log2(max(1, np.median(counts) / 2))), 0, 7))
    blocks_of_k = -(-counts // block_size)
    k_of_block = np.repeat(unique, blocks_of_k)
    n_groups = int(np.ceil(len(k_of_block) * block_size * per_point / ELEMENTS_AT_ONCE))
    k_of_block = np.pad(k_of_block, (0, -len(k_of_block) % n_groups))

    start = np.cumsum(blocks_of_k * block_size) - blocks_of_k * block_size
    order = np.argsort(inverse, kind="stable")
    rank = np.arange(len(k_index)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.empty(len(k_index), dtype=int)
    place[order] = start[inverse[order]] + rank
    layout = np.full(len(k_of_block) * block_size, -1)
    layout[place] = np.arange(len(k_index))
    return layout.reshape(-1, block_size), place, k_of_block, n_groups
