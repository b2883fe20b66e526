"""Even polynomials in Q: the powers of QᵀCQ, their coefficients and their values.

Coefficients stand on the monomials of degree 2, 4, ..., in the order of ``monomials.exponents``. Functions
here are linear or powers, and their derivatives are written out, in a form whose transpose is as fast as
itself: JAX's own goes through scattered sums.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.monomials import exponents


def n_monomials(order: int) -> int:
    """Number of monomials of degree 2, 4, ..., 2 * order."""
    return sum((2 * n + 1) * (n + 1) for n in range(1, order + 1))


def order_of(n: int) -> int:
    """The order that has so many monomials."""
    order = 0
    while n_monomials(order) < n:
        order += 1
    return order


def monomials(vectors: Float[Array, "*blocks 3 n_q"], order: int) -> Float[Array, "*blocks n_monomials n_q"]:
    """All products of Q components of degree 2, 4, ..., 2 * order."""
    return jnp.concatenate(_by_degree(vectors, order), axis=-2)


def _by_degree(vectors: Float[Array, "*blocks 3 n_q"], order: int) -> list[Float[Array, "*blocks n n_q"]]:
    """The monomials of each degree, from those of the degree before."""
    x, y, z = jnp.moveaxis(vectors[..., None, :, :], -2, 0)
    xx, yy, zz = x * x, y * y, z * z
    found = [jnp.concatenate([xx, x * y, x * z, yy, y * z, zz], axis=-2)]
    for n in range(2, order + 1):
        # Fused into one loop with their factors, products are several times slower.
        last = jax.lax.optimization_barrier(found[-1])
        without_x, only_z = last[..., 1 - 2 * n :, :], last[..., -1:, :]
        of_one_x = [x * y * without_x, x * z * only_z]
        found.append(
            jnp.concatenate([xx * last, *of_one_x, yy * without_x, y * z * only_z, zz * only_z], axis=-2)
        )
    return found


def combine(
    coefficients: Float[Array, "... n_rows n_monomials"],
    vectors: Float[Array, "*blocks 3 n_q"],
    powers: Float[Array, "*blocks n_known n_q"] | None,
) -> Float[Array, "*blocks n_rows n_q"]:
    """Values of polynomials as products with the monomials, fast in the transpose: sums over Q.

    Args:
        coefficients: of each, of all blocks or of each block.
        vectors: where they are evaluated.
        powers: the monomials there, or more of them, if they are at hand.
    """
    count = coefficients.shape[-1]
    known = _by_degree(vectors, order_of(count)) if powers is None else [powers[..., :count, :]]
    total, start = jnp.zeros(()), 0
    for part in known:
        end = start + part.shape[-2]
        # Without this the transpose would be rows times transposed monomials, which is ten times slower.
        columns = jax.lax.optimization_barrier(coefficients[..., start:end].swapaxes(-1, -2))
        total += jnp.einsum("...mr,...mq->...rq", columns, jax.lax.optimization_barrier(part))
        start = end
    return total


@cache
def _lower(n: int) -> np.ndarray:
    """(n_monomials, 6) the monomial of degree 2n-2 that times product j is that of degree 2n; -1 for none."""
    index = {exponent: i for i, exponent in enumerate(exponents(2 * n - 2))}
    return np.array(
        [[index.get((a - i, b - j, c - k), -1) for i, j, k in exponents(2)] for a, b, c in exponents(2 * n)]
    )


@jax.custom_jvp
def evaluate(
    coefficients: Float[Array, "*blocks n_rows n_monomials"],
    vectors: Float[Array, "*blocks 3 n_q"],
    powers: Float[Array, "*blocks n_monomials n_q"] | None,
) -> Float[Array, "*blocks n_rows n_q"]:
    """Values of polynomials, by Horner's rule in x, y and z²; only their coefficients are differentiated.

    Args:
        coefficients: of each.
        vectors: where they are evaluated.
        powers: the monomials there, if they are at hand; only the derivative needs them.
    """
    order = order_of(coefficients.shape[-1])
    index = {e: i for i, e in enumerate(e for n in range(1, order + 1) for e in exponents(2 * n))}
    x, y, z = jnp.moveaxis(vectors[..., None, :, :], -2, 0)
    square = z * z

    def coefficient(a: int, b: int, c: int) -> Array | float:
        return coefficients[..., index[a, b, c], None] if a + b + c else 0.0

    value: Array | float = 0.0
    for a in range(2 * order, -1, -1):
        of_x: Array | float = 0.0
        for b in range(2 * order - a, -1, -1):
            highest = 2 * order - a - b
            of_y: Array | float = 0.0
            for c in range(highest, -1, -2):
                of_y = of_y * square + coefficient(a, b, c)
            of_x = of_x * y + (of_y * z if highest % 2 else of_y)
        value = value * x + of_x
    return jnp.asarray(value)


@evaluate.defjvp
def _evaluate_jvp(primals, tangents):
    _, vectors, powers = primals
    return evaluate(*primals), combine(tangents[0], vectors, powers)


@jax.custom_jvp
def exponential_series(
    first: Float[Array, "6 n_kinds n_cells"], factors: tuple[Float[Array, "n_kinds _"], ...]
) -> tuple[Float[Array, "_ n_kinds _"], ...]:
    """Coefficients of factor * xⁿ/n!, n = 1, 2, ..., for quadratic forms x; only these are differentiated.

    Args:
        first: coefficients of x.
        factors: of each order, for as many of the first cells as it has, never more than the order before.
    """
    return tuple(factor * x for factor, x in zip(factors, _powers(first, factors)[1:], strict=True))


@exponential_series.defjvp
def _exponential_series_jvp(primals, tangents):
    first, factors = primals
    series = _powers(first, factors)
    # d(xⁿ/n!) = xⁿ⁻¹/(n-1)! dx
    change = (
        _products(factor * power[..., : factor.shape[-1]], _lower(n), tangents[0][..., : factor.shape[-1]])
        for n, (factor, power) in enumerate(zip(factors, series[:-1], strict=True), 1)
    )
    return tuple(factor * x for factor, x in zip(factors, series[1:], strict=True)), tuple(change)


def _powers(first: Array, factors: tuple[Array, ...]) -> list[Array]:
    """1 and xⁿ/n! of every order, at as many of the first cells as it has factors."""
    terms = [jnp.ones_like(first[:1])]
    for n, factor in enumerate(factors, 1):
        count = factor.shape[-1]
        terms.append(_products(terms[-1][..., :count], _lower(n), first[..., :count] / n))
    return terms


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
