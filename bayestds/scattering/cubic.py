"""What third-order force constants add to the diffuse intensity, to first order in them.

    ΔI(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ') - W_κ - W_κ') Σ_R i exp(iQ·R) [exp(x) s_κκ'(R) - t_κκ']

with x = QᵀC_κκ'(R)Q, the third cumulant s of :mod:`bayestds.lattice_dynamics.third_cumulant`, a polynomial of
third degree in Q, and its part t that does not depend on R and belongs to the Bragg peaks. It is summed like
the harmonic intensity of :mod:`bayestds.scattering.exact`: *near* pairs get the exponential, for all others
it is expanded.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.lattice_dynamics.third_cumulant import CubicTerm, third_cumulant
from bayestds.monomials import exponents, products_table
from bayestds.scattering.engine import ExactEngine, Points
from bayestds.scattering.exact import (
    Part,
    far_pairs,
    kind_weights,
    near_weights,
    packed_covariance,
    sum_of_exponentials,
    values_in_blocks,
)
from bayestds.scattering.fourier import fourier_sums
from bayestds.scattering.polynomials import combine


def cubic_intensity(
    engine: ExactEngine,
    term: CubicTerm,
    cubic: Float[Array, " n_cubic"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    thermal_energy: Float[Array, ""],
) -> Float[Array, " n_q"]:
    """ΔI per primitive cell at the engine's Q points; arguments as those of :func:`anharmonic`."""
    part = anharmonic(engine, term, cubic, covariance, thermal_energy)
    return sum_of_exponentials(engine, covariance, part)


def anharmonic(
    engine: ExactEngine,
    term: CubicTerm,
    cubic: Float[Array, " n_cubic"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    thermal_energy: Float[Array, ""],
) -> Part:
    """Weights of ΔI beside those of the harmonic intensity; linear in the third-order force constants.

    Args:
        engine: from :func:`bayestds.scattering.engine.make_engine`.
        term: the third-order force constants in the same supercell.
        cubic: γ, eV/Å³.
        covariance: C_κκ'(R), Å².
        thermal_energy: k_B T, eV.
    """
    cumulant, constant = third_cumulant(term, cubic, covariance, thermal_energy, engine.grid_shape)
    kinds = engine.kinds
    packed = packed_covariance(covariance[:, kinds[:, 0], kinds[:, 1]]).T
    near = cumulant[:, engine.near_kinds.argmax(axis=1), engine.near_pairs[:, 0]].T
    arrays = packed, cumulant, engine.sums.factors
    orders = fourier_sums(engine.sums, partial(_series, constant), arrays, turned=True)
    far = far_pairs(engine, {2 * n + 1: order for n, order in enumerate(orders, 1)})

    def weights(points: Points, near_phases: Array, far: Array) -> Array:
        of_near = near_weights(points.structure, near_phases, engine.near_kinds) * _cubic_values(near, points)
        if engine.lattice is None:
            far = values_in_blocks(odd_values, far, points)
        return jnp.concatenate([of_near, kind_weights(points.structure, far)])

    return weights, (_near_phases(engine), far)


def _cubic_values(
    coefficients: Float[Array, "n 10"], points: Points
) -> Float[Array, "n n_blocks block_size"]:
    """Values of polynomials of third degree: Q times those of second."""
    table = _along_axes(coefficients.shape[1])
    along = jnp.tensordot(jnp.tensordot(coefficients, table, axes=1), points.products, axes=1)
    return (along * points.vectors).sum(axis=1)


def _series(
    constant: Float[Array, "10 n_kinds"], arrays: tuple[Array, ...], factors: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Products s xⁿ/n! of far pairs, n = 0, 1, ..., and -t of all; degrees are odd, from 3 on.

    Args:
        constant: t.
        arrays: coefficients of x and of s, and factors of all pairs in the lattice sum.
        factors: those of the far pairs that count in each order.
    """
    packed, power, everywhere = arrays
    terms = [power * factors[0] - constant[..., None] * everywhere]
    for n, factor in enumerate(factors[1:], 1):
        count = factor.shape[-1]
        table = products_table(2 * n + 1, 2)
        power = jnp.einsum("ikr,jkr,ijm->mkr", power[..., :count], packed[..., :count], table) / n
        terms.append(power * factor)
    return tuple(terms)


def _near_phases(engine: ExactEngine) -> Float[Array, "n_groups n_near 2 n_blocks"]:
    """Phases i exp(ik·R) of the near pairs, times 2 for their conjugates: R and -R together where κ = κ'."""
    cell, first, second = engine.near_pairs.T
    shape = engine.grid_shape
    k, r = (jnp.stack(jnp.unravel_index(index, shape), axis=-1) for index in (engine.k_index, cell))
    phases = 2j * engine.window[cell] * jnp.exp(2j * jnp.pi * (k / np.array(shape)) @ r.T)
    # A pair with κ = κ' has the opposite s of its conjugate.
    return jnp.moveaxis(
        jnp.stack([phases.real, jnp.where(first == second, 0.0, phases.imag)]), (3, 0), (1, 2)
    )


@jax.custom_jvp
def odd_values(
    coefficients: Float[Array, "*blocks n_rows n_monomials"],
    vectors: Float[Array, "n_blocks 3 n_q"],
    powers: Float[Array, "n_blocks n_even n_q"] | None,
) -> Float[Array, "n_blocks n_rows n_q"]:
    """Values of polynomials of degree 3, 5, 7, ... by Horner's rule; only coefficients are differentiated.

    Args:
        coefficients: of each, on the monomials of degree 3, then 5, ..., of all blocks or of each.
        vectors: where they are evaluated.
        powers: the monomials of even degree there, if they are at hand; only the derivative needs them.
    """
    index = {powers: i for i, powers in enumerate(_odd_exponents(coefficients.shape[-1]))}
    degree = sum(next(reversed(index)))
    x, y, z = jnp.moveaxis(vectors[..., None, :, :], -2, 0)
    square = z * z
    value: Array | float = 0.0
    for a in range(degree, -1, -1):
        of_x: Array | float = 0.0
        for b in range(degree - a, -1, -1):
            rest = degree - a - b
            of_y: Array | float = 0.0
            for c in range(rest, -1, -2):
                of_y = of_y * square
                if (a, b, c) in index:
                    of_y = of_y + coefficients[..., index[a, b, c], None]
            of_x = of_x * y + (of_y * z if rest % 2 else of_y)
        value = value * x + of_x
    return jnp.asarray(value)


@odd_values.defjvp
def _odd_values_jvp(primals, tangents):
    change, _, _ = tangents
    _, vectors, powers = primals
    # As a product with a table, because the transpose of slices is slow.
    table = _along_axes(change.shape[-1])
    along = (change @ table.reshape(len(table), -1)).reshape(*change.shape[:-2], -1, table.shape[-1])
    values = combine(along, vectors, powers)
    values = values.reshape(len(vectors), -1, *vectors.shape[1:])
    return odd_values(*primals), (values * vectors[:, None]).sum(axis=-2)


@cache
def _along_axes(count: int) -> Float[np.ndarray, "n_monomials 3 n_even"]:
    """1 where a monomial of odd degree is x, y or z, the first that it has, times one of even degree."""
    odd = _odd_exponents(count)
    even = [powers for degree in range(2, sum(odd[-1]), 2) for powers in exponents(degree)]
    table = np.zeros((count, 3, len(even)))
    for m, powers in enumerate(odd):
        axis = next(i for i, power in enumerate(powers) if power)
        a, b, c = (power - (i == axis) for i, power in enumerate(powers))
        table[m, axis, even.index((a, b, c))] = 1
    return table


@cache
def _odd_exponents(count: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of so many monomials of degree 3, 5, 7, ..."""
    found: list[tuple[int, int, int]] = []
    while len(found) < count:
        found += exponents(sum(found[-1]) + 2 if found else 3)
    return tuple(found)
