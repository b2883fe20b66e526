"""Exact diffuse intensity of a harmonic crystal to all phonon orders, without sampling noise.

    I(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q) - 1]

with 2W_κ = QᵀC_κκ(0)Q. Pairs of atoms that are *near* get the exponential. For all others it is
expanded in powers of QᵀCQ: each order is a polynomial in Q whose coefficients are Fourier sums over R,
taken at k = Q modulo the reciprocal lattice, so that the cost per Q does not grow with the supercell.
The direct form is the one in which every pair is near.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.scattering import lattice, polynomials
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.fourier import fourier_sums, kinds_and_parts
from bayestds.scattering.polynomials import exponential_series

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
    rows = None
    if engine.order:
        packed = packed_covariance(covariance)[:, kinds[:, 0], kinds[:, 1]].T
        orders = fourier_sums(engine.sums, lambda x, factors: exponential_series(*x, factors), (packed,))
        rows = far_pairs(engine, {2 * n: order for n, order in enumerate(orders, 1)})

    def weights(
        vectors: Array, structure: Array, near_phases: Array, rows: Array | None, powers: Array | None
    ) -> Array:
        if rows is not None and engine.lattice is None:
            rows = polynomials.evaluate(rows, vectors, powers)
        return _weights(engine.near_kinds, structure, near_phases, rows)

    return weights, (engine.near_phases, rows, engine.powers)


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
    structure: Float[Array, "n_blocks n_kinds 2 block_size"],
    near_phases: Float[Array, "n_blocks n_near 2"],
    far: Float[Array, "n_blocks n_rows block_size"] | None,
) -> Float[Array, "n_exponentials n_blocks block_size"]:
    """Weights of the exponentials at the points of some blocks.

    Those of every near pair, exp(x - W - W'), and of every kind, exp(-W - W'): the powers of x of its far
    pairs, less what the near ones have in the Bragg peaks.
    """
    near = near_weights(structure, near_phases, near_kinds)
    bragg = jnp.moveaxis(jnp.tensordot(near_phases, near_kinds, axes=(1, 0)), 0, 2)[..., None]
    rows = [[-bragg[0, k], -bragg[1, k]] for k in range(structure.shape[1])]
    if far is not None:
        for value, (k, part) in zip(jnp.moveaxis(far, 1, 0), kinds_and_parts(len(rows)), strict=True):
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


def times_conjugates(engine: ExactEngine) -> Float[Array, "n_kinds 1"]:
    """How often a kind κ ≤ κ' counts: κ < κ' stands for its conjugate κ' > κ as well."""
    return jnp.where(engine.kinds[:, :1] == engine.kinds[:, 1:], 1.0, 2.0)


def far_pairs(
    engine: ExactEngine, sums: dict[int, Float[Array, "_ n_rows n_k"]]
) -> Float[Array, "n_blocks n_rows _"]:
    """Values of polynomials at the points of every block where there is a lattice, else their coefficients.

    Args:
        engine: for its points.
        sums: coefficients of each degree in Q at the distinct k, in rows of ``fourier.kinds_and_parts``.
    """
    if engine.lattice is not None:
        return lattice.values(engine.lattice, sums)
    return jnp.concatenate(list(sums.values())).transpose(2, 1, 0)[engine.k_of_block]
