"""Exact diffuse intensity of a harmonic crystal to all phonon orders, without sampling noise.

    I(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q) - 1]

with 2W_κ = QᵀC_κκ(0)Q. Pairs of atoms that are *near* get the exponential. For all others it is
expanded in powers of QᵀCQ: each order is a polynomial in Q whose coefficients are Fourier sums over R,
taken at k = Q modulo the reciprocal lattice, so that the cost per Q does not grow with the supercell.
The direct form is the one in which every pair is near.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bayestds.lattice_dynamics.covariance import AnyArray
from bayestds.scattering import lattice, polynomials
from bayestds.scattering.engine import ExactEngine, Points
from bayestds.scattering.fourier import fourier_sums
from bayestds.scattering.polynomials import exponential_series

SMALLEST_INTENSITY = 1e-200
"""Intensities below this, which only unphysical force constants give, are raised to it."""


def log_intensity(engine: ExactEngine, covariance: Float[Array, "6 n_kinds n_cells"]) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity per primitive cell at the engine's Q points.

    Finite, with finite gradients, for any finite covariance.

    Args:
        engine: from :func:`make_engine`.
        covariance: C_κκ'(R), Å², as ``packed_covariance`` gives it.
    """
    return logarithm(intensity(engine, covariance))


def logarithm(intensity: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
    """Logarithm, finite and with a finite gradient also where the intensity is negative."""
    positive = intensity > SMALLEST_INTENSITY
    return jnp.log(jnp.where(positive, intensity, SMALLEST_INTENSITY))


class Part(NamedTuple):
    """What multiplies the exponentials, of one part of the intensity.

    Attributes:
        far: of the kinds of pairs: coefficients of a polynomial in Q at the distinct k, of each degree that
            it has, in rows as of ``fourier_sums``.
        near: of the near pairs: a function of the points of a group and of its share of further arrays.
        arrays: these of all groups.
    """

    far: dict[int, Float[Array, "_ n_rows n_k"]]
    near: Callable[..., Float[Array, "n_near n_blocks block_size"]]
    arrays: tuple[Array, ...]


def intensity(engine: ExactEngine, covariance: Float[Array, "6 n_kinds n_cells"]) -> Float[Array, " n_q"]:
    """Diffuse intensity per primitive cell at the engine's Q points."""
    return sum_of_exponentials(engine, covariance, harmonic(engine, covariance))


def sum_of_exponentials(
    engine: ExactEngine, covariance: Float[Array, "6 n_kinds n_cells"], *parts: Part
) -> Float[Array, " n_q"]:
    """Σ w exp(x - W - W') over near pairs plus Σ w exp(-W - W') over kinds, w being the sum of the parts.

    The parts have different degrees.
    """
    damped = damping(covariance, engine.kinds)
    near = covariance[:, engine.near_kinds, engine.near_pairs[:, 0]].T - damped[engine.near_kinds]
    # All exponents are negative by Cauchy-Schwarz.
    forms = jnp.concatenate([near, -damped])
    far = {degree: sums for part in parts for degree, sums in part.far.items()}
    degrees = sorted(far)
    if engine.lattice is not None:
        by_group = lattice.values(engine.lattice, far)
    else:
        by_k = jnp.concatenate([far[degree] for degree in degrees]).transpose(2, 1, 0)
        by_group = by_k[engine.k_of_block]

    def evaluate(group: tuple[Points, Array, list[tuple[Array, ...]]]) -> Array:
        points, rows, arrays = group
        if engine.lattice is None:
            rows = polynomials.values(rows, points.vectors.swapaxes(0, 1), degrees).swapaxes(0, 1)
            rows = jax.lax.optimization_barrier(rows)
        of_near = [part.near(points, *own) for part, own in zip(parts, arrays, strict=True)]
        weights = [sum(of_near[1:], of_near[0]), kind_weights(engine, points.structure, rows)]
        return polynomials.exponential_sum(forms, jnp.concatenate(weights), points.products)

    return in_groups(engine, evaluate, (engine.points, by_group, [part.arrays for part in parts]))


def in_groups(
    engine: ExactEngine, evaluate: Callable[..., Array], arrays: tuple[Any, ...]
) -> Float[Array, " n_q"]:
    """What a function gives for all blocks, group by group, in the order of the Q points."""
    if engine.n_groups == 1:
        found = evaluate(jax.tree.map(lambda x: x[0], arrays))
    else:
        found = jax.lax.map(jax.checkpoint(evaluate), arrays)
    return found.reshape(-1)[engine.place]


def harmonic(engine: ExactEngine, covariance: Float[Array, "6 n_kinds n_cells"]) -> Part:
    """Weights of the diffuse intensity of a harmonic crystal.

    Those of every near pair, exp(x - W - W'), and of every kind, exp(-W - W'): the powers of x of its far
    pairs, less what the near ones have in the Bragg peaks.
    """
    far = {0: -engine.near_sums[None]}
    if engine.order:
        orders = fourier_sums(engine.sums, lambda x, factors: exponential_series(*x, factors), (covariance,))
        far |= {2 * n: order for n, order in enumerate(orders, 1)}

    def near(points: Points, phases: Array) -> Array:
        return near_weights(engine, points.structure, phases)

    return Part(far, near, (engine.near_phases,))


def near_weights(
    engine: ExactEngine,
    structure: Float[Array, "n_rows n_blocks block_size"],
    phases: Float[Array, "n_near 2 n_blocks"],
) -> Float[Array, "n_near n_blocks block_size"]:
    """Real part of structure factors times phases, of the near pairs."""
    real, imaginary = phases[:, 0, :, None], phases[:, 1, :, None]
    if engine.n_atoms == 1:
        return structure * real
    # An atom with its own images has no imaginary part, and whatever row is found for it does not count.
    n_different = len(structure) - len(engine.kinds)
    return structure[engine.near_kinds] * real + structure[engine.near_kinds + n_different] * imaginary


def kind_weights(
    engine: ExactEngine,
    structure: Float[Array, "n_rows n_blocks block_size"],
    sums: Float[Array, "n_rows n_blocks block_size"],
) -> Float[Array, "n_kinds n_blocks block_size"]:
    """Real part of structure factors times Fourier sums of the kinds."""
    products, n_kinds = structure * sums, len(engine.kinds)
    different = products[engine.n_atoms : n_kinds] + products[n_kinds:]
    return jnp.concatenate([products[: engine.n_atoms], different])


def damping(
    packed: Float[AnyArray, "6 n_kinds n_cells"], kinds: Int[AnyArray, "n_kinds 2"]
) -> Float[AnyArray, "n_kinds 6"]:
    """Coefficients of W_κ + W_κ' for kinds of pairs, of which those of an atom with itself are the first."""
    own = packed[:, :, 0].T
    return (own[kinds[:, 0]] + own[kinds[:, 1]]) / 2
