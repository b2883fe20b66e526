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
def _quotients(degree: int, by: int) -> np.ndarray:
    """(n_monomials, n_by) what times monomial j of degree ``by`` is the monomial of a degree; -1 for none."""
    index = {exponent: i for i, exponent in enumerate(exponents(degree - by))}
    return np.array(
        [[index.get((a - i, b - j, c - k), -1) for i, j, k in exponents(by)] for a, b, c in exponents(degree)]
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
    return _scaled(factors, _powers(first, len(factors))[1:])


@exponential_series.defjvp
def _exponential_series_jvp(primals, tangents):
    first, factors = primals
    powers = _powers(first, len(factors))
    # d(xⁿ/n!) = xⁿ⁻¹/(n-1)! dx
    change = (
        _products(factor * power, _quotients(2 * n, 2), tangents[0])
        for n, (factor, power) in enumerate(zip(factors, powers[:-1], strict=True), 1)
    )
    return _scaled(factors, powers[1:]), tuple(change)


@jax.custom_jvp
def cubic_series(
    cubic: Float[Array, "10 n_kinds n_cells"],
    first: Float[Array, "6 n_kinds n_cells"],
    factors: tuple[Float[Array, "n_kinds n_cells"], ...],
) -> tuple[Float[Array, "_ n_kinds n_cells"], ...]:
    """Coefficients of factor * s xⁿ/n!, n = 0, 1, ..., for cubic s and quadratic x; factors are constants.

    Args:
        cubic: coefficients of s.
        first: coefficients of x.
        factors: of each order.
    """
    return _scaled(factors, _multiples(cubic, first, len(factors)))


@cubic_series.defjvp
def _cubic_series_jvp(primals, tangents):
    cubic, first, factors = primals
    multiples, powers = _multiples(cubic, first, len(factors)), _powers(first, len(factors) - 1)
    # d(s xⁿ/n!) = xⁿ/n! ds + s xⁿ⁻¹/(n-1)! dx
    change = [
        _products(factor * power, _quotients(2 * n + 3, 3), tangents[0])
        for n, (factor, power) in enumerate(zip(factors, powers, strict=True))
    ]
    for n, (factor, multiple) in enumerate(zip(factors[1:], multiples[:-1], strict=True), 1):
        change[n] += _products(factor * multiple, _quotients(2 * n + 3, 2), tangents[1])
    return _scaled(factors, multiples), tuple(change)


def _scaled(factors: Iterable[Array], terms: Iterable[Array]) -> tuple[Array, ...]:
    return tuple(factor * term for factor, term in zip(factors, terms, strict=True))


def _multiples(cubic: Array, first: Array, n: int) -> list[Array]:
    """Coefficients of s xⁿ/n! of n orders."""
    found = [cubic]
    for order in range(1, n):
        found.append(_products(found[-1], _quotients(2 * order + 3, 2), first / order))
    return found


def _powers(first: Array, order: int) -> list[Array]:
    """xⁿ/n!, n = 0, 1, ..., order."""
    powers = [jnp.ones_like(first[:1])]
    for n in range(1, order + 1):
        powers.append(_products(powers[-1], _quotients(2 * n, 2), first / n))
    return powers


def _products(lower: Array, table: np.ndarray, first: Array) -> Array:
    """Σ_j lower[table[:, j]] * first[j] without the terms of index -1: coefficients of a product."""
    padded = jnp.concatenate([lower, jnp.zeros_like(lower[:1])])
    rows = np.where(table < 0, len(lower), table)
    product = padded.at[rows[:, 0]].get(mode="promise_in_bounds") * first[0]
    for j in range(1, len(first)):
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
