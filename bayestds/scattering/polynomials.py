"""Polynomials in Q: their values, and the coefficients of the powers of QᵀCQ.

Coefficients of a degree stand on its monomials, in the order of ``monomials.exponents``. The derivatives of
powers are written out, in a form whose transpose is as fast as itself: JAX's own goes through scattered sums.
"""

from collections.abc import Iterable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.monomials import exponents


def n_monomials(degrees: Iterable[int]) -> int:
    """Number of monomials of these degrees."""
    return sum((degree + 1) * (degree + 2) // 2 for degree in degrees)


def monomials(
    vectors: Float[Array, "*blocks 3 n_q"], degrees: Iterable[int]
) -> Float[Array, "*blocks n_monomials n_q"]:
    """All products of Q components of some degrees."""
    x, y, z = jnp.moveaxis(vectors[..., None, :, :], -2, 0)
    xx, yy, zz = x * x, y * y, z * z
    found = {0: jnp.ones_like(x), 1: vectors}

    def of_degree(n: int) -> Array:
        if n not in found:
            # Fused into one loop with their factors, products are several times slower.
            last = jax.lax.optimization_barrier(of_degree(n - 2))
            without_x, only_z = last[..., 1 - n :, :], last[..., -1:, :]
            parts = [xx * last, x * y * without_x, x * z * only_z]
            parts += [yy * without_x, y * z * only_z, zz * only_z]
            found[n] = jnp.concatenate(parts, axis=-2)
        return found[n]

    return jnp.concatenate([of_degree(n) for n in degrees], axis=-2)


def values(
    coefficients: Float[Array, "*blocks n_rows n_monomials"],
    vectors: Float[Array, "*blocks 3 n_q"],
    degrees: Iterable[int],
) -> Float[Array, "*blocks n_rows n_q"]:
    """Values of polynomials at some Q, as a product of matrices.

    Args:
        coefficients: of each, of all degrees in a row.
        vectors: Q.
        degrees: that they have.
    """
    # Without the barriers the product would be fused with what goes in or comes out, and not be one.
    powers = jax.lax.optimization_barrier(monomials(vectors, degrees))
    return jax.lax.optimization_barrier(jnp.einsum("...rm,...mq->...rq", coefficients, powers))


@cache
def _lower(n: int) -> np.ndarray:
    """(n_monomials, 6) the monomial of degree 2n-2 that times product j is that of degree 2n; -1 for none."""
    index = {exponent: i for i, exponent in enumerate(exponents(2 * n - 2))}
    return np.array(
        [[index.get((a - i, b - j, c - k), -1) for i, j, k in exponents(2)] for a, b, c in exponents(2 * n)]
    )


@jax.custom_jvp
def exponential_series(
    first: Float[Array, "6 n_kinds n_cells"], factors: tuple[Float[Array, "n_kinds n_cells"], ...]
) -> tuple[Float[Array, "_ n_kinds n_cells"], ...]:
    """Coefficients of factor * xⁿ/n!, n = 1, 2, ..., for quadratic forms x; only these are differentiated.

    Args:
        first: coefficients of x.
        factors: of each order.
    """
    powers = _powers(first, len(factors))
    return tuple(factor * x for factor, x in zip(factors, powers[1:], strict=True))


@exponential_series.defjvp
def _exponential_series_jvp(primals, tangents):
    first, factors = primals
    powers = _powers(first, len(factors))
    # d(xⁿ/n!) = xⁿ⁻¹/(n-1)! dx
    change = (
        _products(factor * power, _lower(n), tangents[0])
        for n, (factor, power) in enumerate(zip(factors, powers[:-1], strict=True), 1)
    )
    return tuple(factor * x for factor, x in zip(factors, powers[1:], strict=True)), tuple(change)


def _powers(first: Array, order: int) -> list[Array]:
    """xⁿ/n!, n = 0, 1, ..., order."""
    powers = [jnp.ones_like(first[:1])]
    for n in range(1, order + 1):
        powers.append(_products(powers[-1], _lower(n), first / n))
    return powers


def _products(lower: Array, table: np.ndarray, first: Array) -> Array:
    """Σ_j lower[table[:, j]] * first[j], without the terms of index -1."""
    padded = jnp.concatenate([lower, jnp.zeros_like(lower[:1])])
    rows = np.where(table < 0, len(lower), table)
    product = padded.at[rows[:, 0]].get(mode="promise_in_bounds") * first[0]
    for j in range(1, 6):
        product += padded.at[rows[:, j]].get(mode="promise_in_bounds") * first[j]
    return product


@jax.custom_jvp
def exponential_sum(
    forms: Float[Array, "n 6"],
    weights: Float[Array, "n n_blocks n_q"],
    products: Float[Array, "6 n_blocks n_q"],
) -> Float[Array, "n_blocks n_q"]:
    """Σ w exp(x) over quadratic forms x of Q; only forms and weights are differentiated.

    Args:
        forms: coefficients of x.
        weights: of the exponentials, at each Q.
        products: of two components of Q.
    """
    # As a matrix product: written out, the loop over points and forms is several times slower.
    return (weights * jnp.exp(jnp.tensordot(forms, products, axes=1))).sum(axis=0)


@exponential_sum.defjvp
def _exponential_sum_jvp(primals, tangents):
    forms, weights, products = primals
    exponentials = jnp.exp(jnp.tensordot(forms, products, axes=1))
    weighted = weights * exponentials
    change = jnp.tensordot(tangents[0], products, axes=1)
    return weighted.sum(axis=0), (weighted * change + exponentials * tangents[1]).sum(axis=0)
