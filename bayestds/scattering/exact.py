"""Exact diffuse intensity of a harmonic crystal to all phonon orders, without sampling noise.

    I(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q) - 1]

with 2W_κ = QᵀC_κκ(0)Q. Pairs of atoms that are *near* get the exponential. For all others it is
expanded in powers of QᵀCQ: each order is a polynomial in Q whose coefficients are Fourier sums over R,
taken at k = Q modulo the reciprocal lattice, so that the cost per Q does not grow with the supercell.
The direct form is the one in which every pair is near.
"""

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.scattering import polynomials
from bayestds.scattering.engine import ExactEngine

AnyArray = TypeVar("AnyArray", Array, np.ndarray)

SMALLEST_INTENSITY = 1e-200
"""Intensities below this, which only unphysical force constants give, are raised to it."""

PRODUCTS = np.array([[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]])
"""The six products Q_a Q_b, in the order of ``monomials.exponents``."""


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


Part = tuple[Callable[..., Array], tuple[Array | None, ...]]
"""What multiplies the exponentials at the points of some blocks: a function of their scattering vectors and
structure factors and of further arrays, and these arrays of all blocks."""


def intensity(
    engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Float[Array, " n_q"]:
    """Diffuse intensity per primitive cell at the engine's Q points."""
    return sum_of_exponentials(engine, covariance, harmonic(engine, covariance))


def sum_of_exponentials(
    engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"], *parts: Part
) -> Float[Array, " n_q"]:
    """Σ w exp(x - W - W') over near pairs plus Σ w exp(-W - W') over kinds, w being the sum of the parts."""
    kinds = engine.kinds
    packed = packed_covariance(covariance)
    cell, first, second = engine.near_pairs.T
    near = packed[cell, first, second] - damping(packed, first, second)
    # All exponents are negative by Cauchy-Schwarz.
    forms = jnp.concatenate([near, -damping(packed, kinds[:, 0], kinds[:, 1])])
    functions, arrays = zip(*parts, strict=True)

    def evaluate(blocks: tuple[Any, ...]) -> Array:
        vectors, structure, own = blocks
        weights = [function(vectors, structure, *x) for function, x in zip(functions, own, strict=True)]
        return polynomials.exponential_sum(forms, sum(weights[1:], weights[0]), vectors)

    return in_groups(engine, evaluate, (engine.vectors, engine.structure, arrays))


def harmonic(engine: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]) -> Part:
    """Weights of the diffuse intensity of a harmonic crystal."""
    kinds = engine.kinds
    fields = _fields(engine, packed_covariance(covariance)[:, kinds[:, 0], kinds[:, 1]])

    def weights(vectors: Array, structure: Array, *arrays: Any) -> Array:
        return _weights(engine.near_kinds, vectors, structure, *arrays)

    return weights, (engine.near_phases, fields, engine.powers)


def in_groups(
    engine: ExactEngine, evaluate: Callable[..., Array], arrays: tuple[Any, ...]
) -> Float[Array, " n_q"]:
    """What a function gives for all blocks, group by group, in the order of the Q points."""
    if engine.n_groups == 1:
        found = evaluate(arrays)
    else:
        # A group takes every n_groups-th block, and so its share of those on each of several devices.
        grouped = (len(engine.k_index) // engine.n_groups, engine.n_groups)
        groups = jax.tree.map(lambda x: x.reshape(*grouped, *x.shape[1:]).swapaxes(0, 1), arrays)
        found = jax.lax.map(jax.checkpoint(evaluate), groups).swapaxes(0, 1)
    return found.reshape(-1)[engine.place]


def _weights(
    near_kinds: Float[Array, "n_near n_kinds"],
    vectors: Float[Array, "n_blocks 3 block_size"],
    structure: Float[Array, "n_blocks n_kinds 2 block_size"],
    near_phases: Float[Array, "n_blocks n_near 2"],
    fields: Float[Array, "n_blocks n_rows n_monomials"],
    powers: Float[Array, "n_blocks n_monomials block_size"] | None,
) -> Float[Array, "n_exponentials n_blocks block_size"]:
    """Weights of the exponentials at the points of some blocks.

    Those of every near pair, exp(x - W - W'), and of every kind, exp(-W - W'): the powers of x of its far
    pairs, less what the near ones have in the Bragg peaks.
    """
    near = near_weights(structure, near_phases, near_kinds)
    bragg = jnp.moveaxis(jnp.tensordot(near_phases, near_kinds, axes=(1, 0)), 0, 2)[..., None]
    rows = [[-bragg[0, k], -bragg[1, k]] for k in range(structure.shape[1])]
    if fields.shape[-1]:
        expanded = jnp.moveaxis(polynomials.evaluate(fields, vectors, powers), 1, 0)
        for value, (k, part) in zip(expanded, kinds_and_parts(len(rows)), strict=True):
            rows[k][part] += value
    return jnp.concatenate([near, kind_weights(structure, rows)])


def near_weights(
    structure: Float[Array, "n_blocks n_kinds 2 block_size"],
    near_phases: Float[Array, "n_blocks n_near 2"],
    near_kinds: Float[Array, "n_near n_kinds"],
) -> Float[Array, "n_near n_blocks block_size"]:
    """Real part of structure factors times phases, of the near pairs."""
    real, imaginary = jnp.moveaxis(structure, (1, 2), (1, 0))
    phases, kind = near_phases.transpose(1, 2, 0)[..., None], near_kinds.argmax(axis=1)
    return real[kind] * phases[:, 0] - imaginary[kind] * phases[:, 1]


def kind_weights(
    structure: Float[Array, "n_blocks n_kinds 2 block_size"], rows: list[list[Array]]
) -> Float[Array, "n_kinds n_blocks block_size"]:
    """Real part of structure factors times real and imaginary part of the rows, of the kinds."""
    real, imaginary = jnp.moveaxis(structure, (1, 2), (1, 0))
    return jnp.stack([real[k] * re - imaginary[k] * im for k, (re, im) in enumerate(rows)])


def kinds_and_parts(n_kinds: int) -> list[tuple[int, int]]:
    """Kind and part (0 real, 1 imaginary) of each Fourier sum; that of κ with itself has no imaginary one."""
    n_atoms = int(np.sqrt(2 * n_kinds))
    kinds = list(combinations_with_replacement(range(n_atoms), 2))
    different = [k for k, (first, second) in enumerate(kinds) if first != second]
    return [(k, 0) for k in range(n_kinds)] + [(k, 1) for k in different]


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
) -> Float[Array, "n_blocks n_rows n_monomials"]:
    """Fourier sums over far R of the coefficients of (QᵀCQ)ⁿ/n! for every block."""
    if not engine.order:
        return jnp.zeros((len(engine.k_index), len(kinds_and_parts(packed.shape[1])), 0))
    # The window is once in each order, however many covariances are multiplied.
    far, factor = packed.T * engine.far_mask.T, times_conjugates(engine) * engine.window
    return fourier_sums(
        engine, lambda x, y: polynomials.exponential_series(x, y, engine.order), (far, factor)
    )


def times_conjugates(engine: ExactEngine) -> Float[Array, "n_kinds 1"]:
    """How often a kind κ ≤ κ' counts: κ < κ' stands for its conjugate κ' > κ as well."""
    return jnp.where(engine.kinds[:, :1] == engine.kinds[:, 1:], 1.0, 2.0)


def fourier_sums(
    engine: ExactEngine, series: Callable[..., Array], arrays: tuple[Array, ...], turned: bool = False
) -> Float[Array, "n_blocks n_rows n_monomials"]:
    """Σ_R exp(ik·R) series(R) for every block, in rows of :func:`kinds_and_parts`.

    Args:
        engine: for its k.
        series: from parts of the arrays to (n_monomials, n_kinds, n_cells of the part).
        arrays: (..., n_cells).
        turned: times i.
    """
    different = np.array([k for k, part in kinds_and_parts(len(engine.kinds)) if part], dtype=int)
    if engine.waves is not None:
        values = series(*arrays)
        cosine, sine = engine.waves
        real, imaginary = (-sine, cosine) if turned else (cosine, sine)
        parts = [values @ real, values[:, different] @ imaginary]
    else:
        sums = _sums_by_plane(engine, series, arrays)
        sums = 1j * sums if turned else sums
        parts = [sums.real, sums[:, different].imag]
    return jnp.concatenate(parts, axis=1).transpose(2, 1, 0)[engine.k_of_block]


def _sums_by_plane(
    engine: ExactEngine, series: Callable[..., Array], arrays: tuple[Array, ...]
) -> Complex[Array, "n_monomials n_kinds n_k"]:
    """The same sums at the distinct k, plane by plane of the grid, so that the series stay in the cache."""
    first, *plane = engine.grid_shape
    waves = jnp.stack(jnp.unravel_index(engine.k_points, engine.grid_shape))
    # Of each two opposite k the real transform, which has exp(-ik·R), has one.
    there = waves[2] <= plane[1] // 2
    waves = jnp.where(there, waves, -waves % jnp.array(engine.grid_shape)[:, None])
    place = waves[1] * (plane[1] // 2 + 1) + waves[2]
    phases = jnp.exp(-2j * jnp.pi / first * jnp.arange(first)[:, None] * waves[0])

    def of_plane(given: tuple[Array, ...], phase: Array) -> Array:
        values = series(*given)
        spectrum = jnp.fft.rfft2(values.reshape(*values.shape[:2], *plane))
        return phase * spectrum.reshape(*values.shape[:2], -1)[..., place]

    def add_plane(total: Array, given: tuple[tuple[Array, ...], Array]) -> tuple[Array, None]:
        return total + of_plane(*given), None

    planes = tuple(jnp.moveaxis(x.reshape(*x.shape[:-1], first, -1), -2, 0) for x in arrays)
    zero = jax.eval_shape(of_plane, tuple(x[0] for x in planes), phases[0])
    total, _ = jax.lax.scan(jax.checkpoint(add_plane), jnp.zeros(zero.shape, complex), (planes, phases))
    return jnp.where(there, total.conj(), total)
