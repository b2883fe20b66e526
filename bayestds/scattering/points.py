"""Exact diffuse intensity at Q points anywhere in reciprocal space: lists, or pixels of a detector.

    I(Q)/N = F† C(q) F + Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(x) - 1 - x]

with x = QᵀC_κκ'(R)Q and F_κ = f_κ exp(iQ·τ_κ - W_κ) Q. The first term, scattering by one phonon, takes the
covariance C(q) from Φ(q) at the very q of the point. All others come from C(R) of a supercell, whose shortest
periodic images stand for the pairs of the infinite crystal: the sum converges as C(R)² does, and at wave
vectors of the supercell it is that of :mod:`bayestds.scattering.exact`. W is the same in both terms, that of
the supercell: with two different ones their sum is off by percents.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.structure import kind_of_pair
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.monomials import PRODUCTS
from bayestds.scattering.exact import SMALLEST_INTENSITY
from bayestds.scattering.pairs import pair_table

ELEMENTS_AT_ONCE = 1_000_000
"""Exponentials evaluated together; bounds the memory."""

LARGEST_TABLE = 50_000_000
"""Elements up to which the waves of all pairs are kept in a table; larger ones are made anew each time."""

LARGEST_EXPONENT = 600.0
"""Exponents beyond this, which only unphysical force constants give, are cut off."""

CLOSEST = 1e-6
"""Distance |Q - G|, Å⁻¹, to a Bragg point at which scattering by one phonon has no finite value."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PointEngine:
    """What :func:`log_intensity` needs of Q points and crystal; a pytree of constant arrays.

    Attributes:
        vectors: (n_blocks, block_size, 3) scattering vectors, Å⁻¹, the last block padded with zeros.
        waves: (n_blocks, block_size, n_atoms) f_κ exp(iQ·τ_κ).
        used: (n_q,) places of the points in the flattened blocks.
        bonds: (n_bonds, 3) cells R of the pairs with force constants, Å.
        bond_atoms: (n_bonds, 2) int, κ and κ' of these.
        pairs: (n_pairs, 3) int, grid cell, κ and κ' of all pairs of atoms, conjugates once.
        images: (n_images, 3) R of the shortest periodic images of the pairs, Å.
        image_pairs: (n_images,) int, the pair of each.
        image_weights: (n_images,) share of the image in its pair, doubled where the conjugate is another.
        table: (n_blocks, block_size, n_pairs) from :func:`_pair_waves`; None if it is too large to keep.
    """

    vectors: Float[Array, "n_blocks block_size 3"]
    waves: Complex[Array, "n_blocks block_size n_atoms"]
    used: Int[Array, " n_q"]
    bonds: Float[Array, "n_bonds 3"]
    bond_atoms: Int[Array, "n_bonds 2"]
    pairs: Int[Array, "n_pairs 3"]
    images: Float[Array, "n_images 3"]
    image_pairs: Int[Array, " n_images"]
    image_weights: Float[Array, " n_images"]
    table: Float[Array, "n_blocks block_size n_pairs"] | None = None


def make_point_engine(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    scattering_factors: np.ndarray | None = None,
) -> PointEngine:
    """Engine for Q points that need not be commensurate with the supercell.

    Args:
        irreducible: which pairs have force constants.
        supercell: of the mean-square displacements and of scattering by several phonons; the larger, the more
            accurate these are.
        q_points: conventional r.l.u.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms), may be complex; 1 by default.

    Raises:
        VolumeError: a point is not finite, or a Bragg point.
    """
    crystal = supercell.crystal
    vectors = crystal.scattering_vectors(np.asarray(q_points, dtype=float))
    _check(crystal.scattering_vectors(np.eye(3)), crystal.conventional_matrix, q_points)
    factors = np.ones(crystal.n_atoms) if scattering_factors is None else np.asarray(scattering_factors)
    waves = factors * np.exp(1j * vectors @ crystal.cartesian_positions.T)
    images, pair, weights = _images(supercell)
    table = pair_table(supercell)
    n_q = len(vectors)
    n_blocks = -(-n_q * len(images) // ELEMENTS_AT_ONCE)
    block_size = -(-n_q // n_blocks)
    padding = n_blocks * block_size - n_q
    pairs = irreducible.pairs
    engine = PointEngine(
        jnp.asarray(np.pad(vectors, ((0, padding), (0, 0))).reshape(n_blocks, block_size, 3)),
        jnp.asarray(np.pad(waves, ((0, padding), (0, 0))).reshape(n_blocks, block_size, -1)),
        jnp.arange(n_q),
        jnp.asarray(pairs[:, 2:] @ crystal.lattice_vectors),
        jnp.asarray(pairs[:, :2]),
        jnp.asarray(np.column_stack([table.cells, table.atoms])),
        jnp.asarray(images),
        jnp.asarray(pair),
        jnp.asarray(weights),
    )
    if n_blocks * block_size * len(table.cells) > LARGEST_TABLE:
        return engine
    return replace(engine, table=_all_pair_waves(engine))


def _check(reciprocal: np.ndarray, conventional_matrix: np.ndarray, q_points: np.ndarray) -> None:
    q_points = np.asarray(q_points, dtype=float)
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


def _images(supercell: Supercell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R (n_images, 3) Å of all shortest images, the pair in the table of each, and its weight."""
    crystal, table = supercell.crystal, pair_table(supercell)
    pairs = np.column_stack([table.atoms, supercell.cells[table.cells]])
    offsets = crystal.bond_vectors(pairs) - pairs[:, 2:] @ crystal.lattice_vectors
    pair, bonds = supercell.shortest_images(pairs)
    return bonds - offsets[pair], pair, (table.counts / np.bincount(pair))[pair]


def point_blocks(
    engine: PointEngine, constants: Float[Array, "n_bonds 3 3"]
) -> Complex[Array, "n_places three_n three_n"]:
    """Φ(q) = Σ_R Φ(R) exp(iq·R), eV/Å², at every place of the blocks; q = 0 in the padding.

    Args:
        engine: the Q points.
        constants: Φ of every pair, eV/Å², from ``force_constants``.
    """
    n_atoms = engine.waves.shape[-1]
    target = engine.bond_atoms[:, 0] * n_atoms + engine.bond_atoms[:, 1]

    def one_block(vectors: Array) -> Array:
        # exp(iq·R) = exp(iQ·R) for lattice vectors R.
        phases = jnp.exp(1j * vectors @ engine.bonds.T)
        waves = jnp.zeros((n_atoms**2, len(phases), 3, 3), complex)
        waves = waves.at[target].add(phases.T[:, :, None, None] * constants[:, None])
        waves = waves.reshape(n_atoms, n_atoms, -1, 3, 3).transpose(2, 0, 3, 1, 4)
        return waves.reshape(-1, 3 * n_atoms, 3 * n_atoms)

    # All at once they would be as many matrices as points times bonds.
    waves = jax.lax.map(jax.checkpoint(one_block), engine.vectors).reshape(-1, 3 * n_atoms, 3 * n_atoms)
    return (waves + waves.conj().swapaxes(-1, -2)) / 2


def _pair_waves(
    engine: PointEngine, vectors: Float[Array, "n 3"], waves: Complex[Array, "n n_atoms"]
) -> Float[Array, "n n_pairs"]:
    """Re f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) Σ w exp(iQ·R) of every pair, summed over its images."""
    _, first, second = engine.pairs.T
    each = engine.image_weights * jnp.exp(1j * vectors @ engine.images.T)
    summed = jax.ops.segment_sum(each.T, engine.image_pairs, len(engine.pairs)).T
    return (waves[:, first] * waves[:, second].conj() * summed).real


@jax.jit
def _all_pair_waves(engine: PointEngine) -> Float[Array, "n_blocks block_size n_pairs"]:
    return jax.lax.map(lambda block: _pair_waves(engine, *block), (engine.vectors, engine.waves))


def log_intensity(
    engine: PointEngine,
    covariance: Float[Array, "6 n_kinds n_cells"],
    at_points: Complex[Array, "n_places three_n three_n"],
) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity per primitive cell at the engine's Q points.

    Args:
        engine: from :func:`make_point_engine`.
        covariance: C_κκ'(R), Å², of the supercell, as ``packed_covariance`` gives it.
        at_points: C(q), Å², from the blocks of :func:`point_blocks`.
    """
    cell, first, second = engine.pairs.T
    n_atoms = engine.waves.shape[-1]
    kind = jnp.asarray(kind_of_pair(n_atoms))[first, second]
    pair = covariance[:, kind, cell].T
    own = covariance[:, :n_atoms, 0].T / 2

    def one_block(block: tuple[Array, Array, Array, Array | None]) -> Array:
        vectors, waves, at_q, pair_waves = block
        if pair_waves is None:
            pair_waves = _pair_waves(engine, vectors, waves)
        quadratic = vectors[:, PRODUCTS[:, 0]] * vectors[:, PRODUCTS[:, 1]]
        decay = jnp.exp(-quadratic @ own.T)
        wave = ((waves * decay)[:, :, None] * vectors[:, None]).reshape(len(vectors), -1)
        one = jnp.einsum("qa,qab,qb->q", wave, at_q, wave.conj()).real
        # Beyond the cut-off the damping leaves nothing: exponents are below W + W' by Cauchy-Schwarz.
        exponent = jnp.minimum(quadratic @ pair.T, LARGEST_EXPONENT)
        several = (jnp.expm1(exponent) - exponent) * pair_waves
        return one + (several * decay[:, first] * decay[:, second]).sum(axis=1)

    n_blocks = len(engine.vectors)
    grouped = at_points.reshape(n_blocks, -1, *at_points.shape[1:])
    blocks = (engine.vectors, engine.waves, grouped, engine.table)
    intensity = jax.lax.map(jax.checkpoint(one_block), blocks)
    intensity = intensity.reshape(-1)[engine.used]
    positive = intensity > SMALLEST_INTENSITY
    return jnp.log(jnp.where(positive, intensity, SMALLEST_INTENSITY))
