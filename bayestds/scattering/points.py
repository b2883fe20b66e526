"""Exact diffuse intensity at Q points anywhere in reciprocal space: lists, or pixels of a detector.

    I(Q)/N = F† C(q) F + Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(x) - 1 - x]

with x = QᵀC_κκ'(R)Q and F_κ = f_κ exp(iQ·τ_κ - W_κ) Q. The first term, scattering by one phonon, takes the
covariance C(q) from Φ(q) at the very q of the point. All others come from C(R) of a supercell, whose shortest
periodic images stand for the pairs of the infinite crystal: the sum converges as C(R)² does, and at wave
vectors of the supercell it is that of :mod:`bayestds.scattering.exact`. W is the same in both terms, that of
the supercell: with two different ones their sum is off by percents.

It is summed as there, in blocks of points with the same q, near pairs with the exponential and far ones
expanded; but the first order is C(q), less what the near pairs have of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.structure import kind_of_pair, pair_kinds
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.covariance import quadratic_form
from bayestds.lattice_dynamics.stars import blocks_of_waves, waves_of_bonds
from bayestds.scattering.blocks import make_blocks
from bayestds.scattering.engine import MEMORY, ExactEngine, Points, check_memory, engine_of_blocks
from bayestds.scattering.exact import Part, near_weights
from bayestds.scattering.expansion import Cost
from bayestds.scattering.fourier import DirectSums, FourierSums, direct_sums, make_direct_sums
from bayestds.scattering.images import Folding, Images, images_of_pairs, make_folding
from bayestds.scattering.pairs import PairTable, pair_table
from bayestds.scattering.polynomials import exponential_series, n_monomials

TERMS_OF_A_PAIR = 90
"""Terms of a sum over far pairs that cost as much as the exponential of one near pair (measured)."""

VALUES_OF_A_PAIR = (25, 75)
"""Monomials of polynomials that points share with the same cost, for one kind of pairs and for more."""

OWN_VALUES = 4
"""Cost of a monomial of a polynomial that only one point has, in units of such an exponential."""

CLOSEST = 1e-6
"""Distance |Q - G|, Å⁻¹, to a Bragg point at which scattering by one phonon has no finite value."""

SAME_Q = 6
"""Decimals, in reciprocal lattice units, to which wave vectors q of points are compared."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PointEngine:
    """Q points anywhere: everything that does not depend on force constants; a pytree of constant arrays.

    Attributes:
        engine: the points in blocks of equal q, near pairs and the sums of second and higher order over far
            ones.
        bond_waves: (n_k, n_bond_cells) exp(iq·R) of the cells that have force constants.
        bond_positions: (n_bonds,) int, where the pairs lie, as in ``stars.blocks_of_waves``.
        near_waves: (n_near, n_k) Σ exp(iq·R) over the images of the near pairs, times what they count.
        folding: sums over the images of all pairs at the distinct wave vectors.
    """

    engine: ExactEngine
    bond_waves: Complex[Array, "n_k n_bond_cells"]
    bond_positions: Int[Array, " n_bonds"]
    near_waves: Complex[Array, "n_near n_k"]
    folding: Folding


def make_point_engine(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    scattering_factors: np.ndarray | None = None,
    n_near: int | None = None,
    reach: Sequence[int] = (),
    memory: float | int = MEMORY,
) -> PointEngine:
    """Engine for Q points that need not be commensurate with the supercell.

    Args:
        irreducible: which pairs have force constants.
        supercell: of the mean-square displacements and of scattering by several phonons; the larger, the more
            accurate these are.
        q_points: conventional r.l.u.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms), may be complex; 1 by default.
        n_near: number of pairs, shortest first, that get the exponential; all by default.
        reach: number of pairs, shortest first, that count in each phonon order.
        memory: bytes for what is evaluated at once.

    Raises:
        VolumeError: a point is not finite, or a Bragg point, or the engine does not fit into memory.
    """
    crystal, q_points = supercell.crystal, np.asarray(q_points, dtype=float)
    _check(crystal.scattering_vectors(np.eye(3)), crystal.conventional_matrix, q_points)
    pairs = pair_table(supercell)
    n_near = len(pairs.cells) if n_near is None else n_near
    q, label = _distinct(supercell, q_points)
    numbers = 3 * (n_near + len(pair_kinds(crystal.n_atoms))) + n_monomials(range(0, 2 * len(reach) + 1, 2))
    blocks = make_blocks(label, 8 * numbers, memory)
    check_memory(supercell, blocks, n_near + min(len(pairs.cells), max(reach[1:], default=0)))
    images = images_of_pairs(supercell, np.column_stack([pairs.atoms, supercell.cells[pairs.cells]]))
    near_waves = _near_waves(images, pairs.first(n_near), q)
    sums = _sums(supercell, images, pairs, n_near, tuple(reach), q)
    engine = engine_of_blocks(
        supercell,
        q_points,
        scattering_factors,
        blocks,
        pairs.first(n_near),
        near_waves.T,
        sums,
        tuple(reach),
    )
    bond_waves, positions = waves_of_bonds(irreducible.pairs, q, crystal.n_atoms)
    near = jnp.asarray(near_waves)
    return PointEngine(engine, bond_waves, positions, near, make_folding(supercell, q))


def _distinct(supercell: Supercell, q_points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct q (n_k, 3) in the reciprocal primitive lattice, and which of them each point has."""
    reduced = q_points @ np.linalg.inv(supercell.crystal.conventional_matrix).T
    # Both ends of the zone, 1/2 and -1/2, are the same wave vector: -1/2 stands for them.
    reduced -= np.floor(reduced + 0.5 + 10.0**-SAME_Q)
    _, first, label = np.unique(reduced.round(SAME_Q), axis=0, return_index=True, return_inverse=True)
    return reduced[first], label.ravel()


def point_cost(supercell: Supercell, q_points: Float[np.ndarray, "n_q 3"]) -> Cost:
    """Cost of an engine for one point, in units of the exponential of a near pair (measured).

    The first order, C(q), costs the same in all engines. Sums of higher orders have as many terms as pairs
    that count in them, at every distinct q; polynomials that points share are products of matrices.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u.
    """
    share = len(_distinct(supercell, q_points)[0]) / len(q_points)
    n_atoms = supercell.crystal.n_atoms

    def cost(n_near: int, reach: Sequence[int]) -> float:
        sizes = [n_monomials([2 * n]) for n in range(2, len(reach) + 1)]
        summed = sum(size * n_pairs for size, n_pairs in zip(sizes, reach[1:], strict=True))
        values = n_atoms**2 * sum(sizes)
        own = share * (summed / TERMS_OF_A_PAIR + OWN_VALUES * values)
        return float(n_near + own + values / VALUES_OF_A_PAIR[n_atoms > 1])

    return cost


def _check(reciprocal: np.ndarray, conventional_matrix: np.ndarray, q_points: np.ndarray) -> None:
    bad = ~np.isfinite(q_points).all(axis=1)
    if not bad.any():
        primitive = q_points @ np.linalg.inv(conventional_matrix).T
        reduced = (primitive - np.rint(primitive)) @ conventional_matrix.T @ reciprocal
        bad = np.linalg.norm(reduced, axis=1) < CLOSEST
    if bad.any():
        raise VolumeError(
            f"{bad.sum()} of {len(q_points)} Q points are not finite, or Bragg points.",
            f"The first is {q_points[bad][0].tolist()} r.l.u.; its diffuse intensity has no finite value.",
            "Leave these points out.",
        )


def _near_waves(images: Images, near: PairTable, q: Float[np.ndarray, "n_k 3"]) -> np.ndarray:
    """Σ exp(iq·R) over the images of near pairs, times what they count, (n_near, n_k)."""
    chosen = images.pair < len(near.cells)
    each = np.exp(2j * np.pi * images.cells[chosen] @ q.T) * images.shares[chosen, None]
    found = np.zeros((len(near.cells), len(q)), complex)
    np.add.at(found, images.pair[chosen], each)
    return found * near.counts[:, None]


def _sums(
    supercell: Supercell,
    images: Images,
    pairs: PairTable,
    n_near: int,
    reach: tuple[int, ...],
    q: Float[np.ndarray, "n_k 3"],
) -> FourierSums:
    """The sums of second and higher order over far pairs: one term for each image of a cell."""
    n_atoms, rank = supercell.crystal.n_atoms, np.arange(len(pairs.cells))
    kinds, grid_shape = pair_kinds(n_atoms), supercell.grid_shape
    highest = (rank[:, None] < np.array(reach, dtype=int)).sum(axis=1) * (rank >= n_near)
    order, kind = highest[images.pair], kind_of_pair(n_atoms)[tuple(pairs.atoms[images.pair].T)]
    far = np.flatnonzero(order > 1)
    where = np.column_stack([pairs.cells[images.pair[far]], images.cells[far]])
    terms, term = np.unique(where, axis=0, return_inverse=True)
    weights = np.zeros((max(len(reach) - 1, 0), len(kinds), len(terms)))
    for n, of_order in enumerate(weights, 2):
        share = (images.shares * pairs.counts[images.pair])[far] * (order[far] >= n)
        np.add.at(of_order, (kind[far], term.ravel()), share)
    highest_of_term = (weights > 0).any(axis=1).sum(axis=0) + 1
    direct: list[DirectSums] = []
    for n in np.unique(highest_of_term):
        chosen = np.flatnonzero(highest_of_term == n)
        phases = np.exp(2j * np.pi * terms[chosen, 1:] @ q.T)
        direct.append(make_direct_sums(terms[chosen, 0], weights[: n - 1, :, chosen], phases, int(n)))
    nothing = jnp.zeros((len(kinds), supercell.n_cells))
    # "Transformed" is the first order, which C(q) has instead.
    return FourierSums(jnp.arange(len(q)), nothing, nothing, tuple(direct), 1, grid_shape, n_atoms)


def blocks_at_points(
    engine: PointEngine, constants: Float[Array, "n_bonds 3 3"]
) -> Complex[Array, "n_k three_n three_n"]:
    """Φ(q), eV/Å², at the distinct q of the points; arguments as of ``stars.blocks_of_waves``."""
    return blocks_of_waves(engine.bond_waves, engine.bond_positions, constants, engine.engine.n_atoms)


def rows(of_kinds: Complex[Array, "n n_kinds n_k"], n_atoms: int) -> Float[Array, "n n_rows n_k"]:
    """What is known of each kind of pairs as the rows of Fourier sums: real parts, then imaginary ones."""
    different = 2 * of_kinds[:, n_atoms:]
    return jnp.concatenate([of_kinds[:, :n_atoms].real, different.real, different.imag], axis=1)


def near_terms(
    engine: PointEngine, coefficients: Float[Array, "n n_near"], waves: Complex[Array, "n_near n_k"]
) -> Float[Array, "n n_rows n_k"]:
    """Σ coefficients times waves over the near pairs of each kind, in rows."""
    exact = engine.engine
    # Waves count conjugates already.
    of_kind = jnp.where(exact.near_kinds == jnp.arange(len(exact.kinds))[:, None], 1.0, 0.0)
    each = (coefficients[:, None] * of_kind).reshape(-1, len(exact.near_kinds))
    real, imaginary = (
        (each @ part).reshape(len(coefficients), len(exact.kinds), -1) for part in (waves.real, waves.imag)
    )
    return jnp.concatenate([real, imaginary[:, exact.n_atoms :]], axis=1)


def harmonic_anywhere(
    engine: PointEngine,
    packed: Float[Array, "6 n_kinds n_cells"],
    at_q: Complex[Array, "n_k three_n three_n"],
) -> Part:
    """Weights of the diffuse intensity of a harmonic crystal; see :func:`bayestds.scattering.exact.harmonic`.

    Args:
        engine: from :func:`make_point_engine`.
        packed: C_κκ'(R), Å², of the supercell, as ``packed_covariance`` gives it.
        at_q: C(q), Å², from the blocks of :func:`blocks_at_points`.
    """
    exact, n_atoms = engine.engine, engine.engine.n_atoms
    near = packed[:, exact.near_kinds, exact.near_pairs[:, 0]]
    linear = rows(forms_at_points(at_q), n_atoms) - near_terms(engine, near, engine.near_waves)
    orders = direct_sums(exact.sums, lambda x, factors: exponential_series(*x, factors), (packed,))
    far = {0: -exact.near_sums[None], 2: linear}
    far |= {2 * n: order for n, order in enumerate(orders, 2)}

    def of_near(points: Points, phases: Array) -> Array:
        return near_weights(exact, points.structure, phases)

    return Part(far, of_near, (exact.near_phases,))


def forms_at_points(at_q: Complex[Array, "n_k three_n three_n"]) -> Complex[Array, "6 n_kinds n_k"]:
    """Coefficients of QᵀC_κκ'(q)Q of the kinds of pairs."""
    n_k, size, _ = at_q.shape
    first, second = pair_kinds(size // 3).T
    by_atoms = at_q.reshape(n_k, size // 3, 3, size // 3, 3)
    return quadratic_form(by_atoms[:, first, :, second]).transpose(2, 0, 1)
