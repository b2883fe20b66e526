"""What third-order force constants add to the diffuse intensity, to first order in them.

    ΔI(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ') - W_κ - W_κ') Σ_R i exp(iQ·R) [exp(x) s_κκ'(R) - t_κκ']

with x = QᵀC_κκ'(R)Q, the third cumulant s of :mod:`bayestds.lattice_dynamics.third_cumulant`, a polynomial of
third degree in Q, and its part t that does not depend on R and belongs to the Bragg peaks. It is summed like
the harmonic intensity of :mod:`bayestds.scattering.exact`: *near* pairs get the exponential, for all others
it is expanded.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.scattering.engine import ExactEngine, Points
from bayestds.scattering.exact import Part, near_weights
from bayestds.scattering.fourier import fourier_sums
from bayestds.scattering.polynomials import cubic_series, monomials


def anharmonic(
    engine: ExactEngine,
    cumulant: Float[Array, "10 n_kinds n_cells"],
    constant: Float[Array, "10 n_kinds"],
    packed: Float[Array, "6 n_kinds n_cells"],
) -> Part:
    """Weights of ΔI beside those of the harmonic intensity; linear in the third cumulant.

    Args:
        engine: from :func:`bayestds.scattering.engine.make_engine`.
        cumulant, constant: s and t, Å³, from ``third_cumulant``.
        packed: C_κκ'(R), Å², of equal times, as ``packed_covariance`` gives it.
    """
    near = cumulant[:, engine.near_kinds, engine.near_pairs[:, 0]].T
    arrays = packed, cumulant, engine.sums.factors
    orders = fourier_sums(engine.sums, partial(_series, constant), arrays, turned=True)
    far = {2 * n + 1: order for n, order in enumerate(orders, 1)}

    def of_near(points: Points, phases: Array) -> Array:
        cubes = monomials(points.vectors.swapaxes(0, 1), [3]).swapaxes(0, 1)
        return near_weights(engine, points.structure, phases) * jnp.tensordot(near, cubes, axes=1)

    return Part(far, of_near, (_near_phases(engine),))


def _series(
    constant: Float[Array, "10 n_kinds"], arrays: tuple[Array, ...], factors: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Products s xⁿ/n! of far pairs, n = 0, 1, ..., and -t of all; degrees are odd, from 3 on.

    Args:
        constant: t.
        arrays: coefficients of x and of s, and factors of all pairs in the lattice sum.
        factors: those of the far pairs that count in each order.
    """
    packed, cubic, everywhere = arrays
    lowest, *higher = cubic_series(cubic, packed, factors)
    return (lowest - constant[..., None] * everywhere, *higher)


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
