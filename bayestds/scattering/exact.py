"""Exact diffuse intensity of a harmonic crystal to all phonon orders, without sampling noise.

    I(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q) - 1]

with 2W_κ = QᵀC_κκ(0)Q. Pairs of atoms that are *near* get the exponential. For all others it is
expanded in powers of QᵀCQ: each order is a polynomial in Q whose coefficients are Fourier sums over R,
taken at k = Q modulo the reciprocal lattice, so that the cost per Q does not grow with the supercell.
The direct form is the one in which every pair is near.
"""

from dataclasses import dataclass, field
from functools import cache
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError

SMALLEST_INTENSITY = 1e-200
"""Intensities below this, which only unphysical force constants give, are raised to it."""

POINTS_AT_ONCE = 2048
"""Q points evaluated together; their tables then stay in the cache."""

_PRODUCTS = np.array([[0, 0], [1, 1], [2, 2], [1, 2], [0, 2], [0, 1]])
"""The six products Q_a Q_b."""


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

    Points are sorted into blocks of equal k, padded to ``block_size``, so that the Fourier sums enter
    as one matrix product a block.

    Attributes:
        quadratic: (n_blocks, block_size, 6) the six products Q_a Q_b, Å⁻².
        near_weights: (n_blocks, block_size, n_near) real part of f_κ f_κ'* exp(iQ·(R+τ_κ-τ_κ')).
        kind_weights: (n_blocks, block_size, n_kinds) their sums over the near pairs of each kind.
        near_pairs: (n_near, 3) int, grid cell, κ, κ'.
        far_weights: (n_blocks, block_size, n_kinds, 2) the same factor without R, real and imaginary.
        far_mask: (n_cells, n_kinds) 1 where a pair is far.
        kinds: (n_kinds, 2) int, κ <= κ' of each kind of pair.
        k_index: (n_blocks,) grid index of k.
        place: (n_q,) position of each Q point in the flattened blocks.
        order: highest phonon order of the expansion; 0 in the direct form.
        grid_shape: FFT grid of the supercell.
    """

    quadratic: Float[Array, "n_blocks block_size 6"]
    near_weights: Float[Array, "n_blocks block_size n_near"]
    kind_weights: Float[Array, "n_blocks block_size n_kinds"]
    near_pairs: Int[Array, "n_near 3"]
    far_weights: Float[Array, "n_blocks block_size n_kinds 2"]
    far_mask: Float[Array, "n_cells n_kinds"]
    kinds: Int[Array, "n_kinds 2"]
    k_index: Int[Array, " n_blocks"]
    place: Int[Array, " n_q"]
    order: int = field(metadata={"static": True})
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})


def log_intensity(
    engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity per primitive cell at the engine's Q points.

    Finite, with finite gradients, for any finite covariance.

    Args:
        engine: from :func:`make_engine`.
        covariance: C_κκ'(R), Å², from ``covariance_in_real_space``.
    """
    kinds = engine.kinds
    packed = _packed(covariance)
    near, near_damping = _near_coefficients(engine, packed)
    near, damping = near - near_damping, _damping(packed, *kinds.T)
    fields = _fields(engine, packed[:, kinds[:, 0], kinds[:, 1]])
    arrays = (engine.quadratic, engine.near_weights, engine.kind_weights, engine.far_weights, fields)
    evaluate = jax.checkpoint(lambda block: _intensity(*block, near, damping, engine.order))
    batch = max(1, POINTS_AT_ONCE // engine.quadratic.shape[1])
    intensity = jax.lax.map(evaluate, arrays, batch_size=batch).reshape(-1)[engine.place]
    positive = intensity > SMALLEST_INTENSITY
    return jnp.log(jnp.where(positive, intensity, SMALLEST_INTENSITY))


def terms(
    engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> tuple[Float[Array, "n_blocks block_size n_near"], ...]:
    """QᵀC_κκ'(R)Q, W_κ + W_κ' and the weight of every near pair at every point."""
    near, damping = _near_coefficients(engine, _packed(covariance))
    return engine.quadratic @ near.T, engine.quadratic @ damping.T, engine.near_weights


def _near_coefficients(
    engine: ExactEngine, packed: Float[Array, "n_cells n_atoms n_atoms 6"]
) -> tuple[Float[Array, "n_near 6"], Float[Array, "n_near 6"]]:
    cell, first, second = engine.near_pairs.T
    return packed[cell, first, second], _damping(packed, first, second)


def _damping(
    packed: Float[Array, "n_cells n_atoms n_atoms 6"], first: Int[Array, " n"], second: Int[Array, " n"]
) -> Float[Array, "n 6"]:
    """Coefficients of W_κ + W_κ'."""
    return (packed[0, first, first] + packed[0, second, second]) / 2


def _packed(covariance: Float[Array, "... 3 3"]) -> Float[Array, "... 6"]:
    """Coefficients of QᵀCQ on the six products of :data:`_PRODUCTS`."""
    i, j = _PRODUCTS.T
    symmetric = covariance[..., i, j] + covariance[..., j, i]
    return symmetric * np.where(i == j, 0.5, 1.0)


def _intensity(
    quadratic: Float[Array, "block_size 6"],
    near_weights: Float[Array, "block_size n_near"],
    kind_weights: Float[Array, "block_size n_kinds"],
    far_weights: Float[Array, "block_size n_kinds 2"],
    fields: Float[Array, "n_kinds 2 n_monomials"],
    near: Float[Array, "n_near 6"],
    damping: Float[Array, "n_kinds 6"],
    order: int,
) -> Float[Array, " block_size"]:
    """Intensity at the points of one block; all exponents are negative by Cauchy-Schwarz."""
    debye_waller = jnp.exp(-quadratic @ damping.T)
    intensity = (near_weights * jnp.exp(quadratic @ near.T)).sum(-1) - (kind_weights * debye_waller).sum(-1)
    if order:
        expanded = jnp.einsum("qm,kcm,qkc->qk", _monomials(quadratic, order), fields, far_weights)
        intensity += (debye_waller * expanded).sum(-1)
    return intensity


def _fields(
    engine: ExactEngine, packed: Float[Array, "n_cells n_kinds 6"]
) -> Float[Array, "n_blocks n_kinds 2 n_monomials"]:
    """Fourier sums over far R of the coefficients of (QᵀCQ)ⁿ/n!, real and imaginary, for every block."""
    n_kinds = packed.shape[1]
    if not engine.order:
        return jnp.zeros((len(engine.k_index), n_kinds, 2, 0))
    far = packed * engine.far_mask[..., None]
    powers, term = [far], far
    for n in range(2, engine.order + 1):
        term = jnp.einsum("rki,rkj,ijm->rkm", term, far, _products_table(n)) / n
        powers.append(term)
    stacked = jnp.concatenate(powers, axis=-1)
    waves = jnp.fft.ifftn(stacked.reshape(*engine.grid_shape, -1), axes=(0, 1, 2), norm="forward")
    waves = waves.reshape(len(packed), n_kinds, -1)[engine.k_index]
    return jnp.stack([waves.real, -waves.imag], axis=-2)


def _monomials(quadratic: Float[Array, "n_q 6"], order: int) -> Float[Array, "n_q n_monomials"]:
    """Products of Q components of degree 2, 4, ..., 2 * order."""
    powers = [quadratic]
    for n in range(2, order + 1):
        lower, factor = _factors(n)
        powers.append(powers[-1][:, lower] * quadratic[:, factor])
    return jnp.concatenate(powers, axis=-1)


@cache
def _exponents(n: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of the monomials of degree 2n; for n = 1 in the order of :data:`_PRODUCTS`."""
    if n == 1:
        counts = [[int(i == axis) + int(j == axis) for axis in range(3)] for i, j in _PRODUCTS]
        return tuple((a, b, c) for a, b, c in counts)
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


@cache
def _factors(n: int) -> tuple[np.ndarray, np.ndarray]:
    """One way to write each monomial of degree 2n as (monomial of degree 2n-2, product)."""
    lower, factor = (_products_table(n).reshape(-1, len(_exponents(n))).argmax(axis=0).__divmod__(6))
    return lower, factor


def make_engine(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    scattering_factors: np.ndarray | None = None,
    n_near: int | None = None,
    order: int = 0,
) -> ExactEngine:
    """Engine for a set of commensurate Q points.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u.; every point commensurate with the supercell.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms), may be complex; 1 by default.
        n_near: number of pairs, shortest first, that get the exponential; all by default.
        order: highest phonon order of the expansion for the others.

    Raises:
        VolumeError: a Q point is not commensurate with the supercell.
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
    layout, place, k_of_block = _block_layout(k_index)
    used = layout >= 0
    points = np.asarray(q_points, dtype=float)[layout] * used[..., None]
    vectors = supercell.crystal.scattering_vectors(points.reshape(-1, 3)).reshape(points.shape)
    structure = _structure_factors(supercell, vectors, scattering_factors, layout) * used[..., None]
    kinds = np.array(list(combinations_with_replacement(range(supercell.crystal.n_atoms), 2)))

    near_cells, near_atoms = pairs.cells[:n_near], pairs.atoms[:n_near]
    cross = structure[..., kinds[:, 0]] * structure[..., kinds[:, 1]].conj()
    near_kind = (near_atoms[:, None] == kinds).all(-1).argmax(-1)
    phase = np.exp(1j * vectors @ (supercell.cells[near_cells] @ supercell.crystal.lattice_vectors).T)
    near_weights = (cross[..., near_kind] * phase).real * pairs.counts[:n_near]
    far_mask = np.ones((supercell.n_cells, len(kinds)))
    far_mask[near_cells, near_kind] = 0
    same = near_atoms[:, 0] == near_atoms[:, 1]
    far_mask[supercell.cell_index(-supercell.cells[near_cells[same]]), near_kind[same]] = 0
    far = cross * np.where(kinds[:, 0] == kinds[:, 1], 1, 2)
    i, j = _PRODUCTS.T
    return ExactEngine(
        jnp.asarray(vectors[..., i] * vectors[..., j]),
        jnp.asarray(near_weights),
        jnp.asarray(near_weights @ np.eye(len(kinds))[near_kind]),
        jnp.asarray(np.column_stack([near_cells, near_atoms])),
        jnp.asarray(np.stack([far.real, far.imag], axis=-1)),
        jnp.asarray(far_mask),
        jnp.asarray(kinds),
        jnp.asarray(k_of_block),
        jnp.asarray(place),
        order,
        supercell.grid_shape,
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


def _block_layout(k_index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points sorted into padded blocks of equal k.

    Returns:
        the point in each place (n_blocks, block_size), -1 where padded, the place of each point (n_q,),
        and the k of each block (n_blocks,).
    """
    unique, inverse, counts = np.unique(k_index, return_inverse=True, return_counts=True)
    # A power of two near half the median group keeps the padding small.
    block_size = 2 ** int(np.clip(np.ceil(np.log2(max(1, np.median(counts) / 2))), 0, 8))
    n_blocks = -(-counts // block_size)
    start = np.concatenate([[0], np.cumsum(n_blocks * block_size)])
    order = np.argsort(inverse, kind="stable")
    rank = np.arange(len(k_index)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.empty(len(k_index), dtype=int)
    place[order] = start[inverse[order]] + rank
    layout = np.full(start[-1], -1)
    layout[place] = np.arange(len(k_index))
    return layout.reshape(-1, block_size), place, np.repeat(unique, n_blocks)
