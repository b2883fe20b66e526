"""Fisher information of a measurement, and standard errors from it."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Complex, Float

from bayestds.lattice_dynamics.displacements import stiffness_blocks
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks
from bayestds.scattering.forward import ForwardModel, log_intensity


def log_intensity_and_jacobian(
    forward: ForwardModel, parameters: Float[Array, " n_parameters"]
) -> tuple[Float[Array, " n_q"], Float[Array, "n_q n_parameters"]]:
    """Log I, and its derivative by every parameter (Å²/eV for φ), at every Q point."""

    def directional(tangent: Float[Array, " n_parameters"]) -> tuple[Array, Array]:
        return jax.jvp(lambda x: log_intensity(forward, x), (parameters,), (tangent,))

    # One direction after the other: side by side they would not fit the cache.
    value, derivative = jax.lax.map(directional, jnp.eye(len(parameters)))
    return value[0], derivative.T


def block_derivatives(crystal: HarmonicCrystal) -> Complex[Array, "n_irreducible n_k three_n three_n"]:
    """∂Φ(k)/∂φ of every irreducible force constant; Φ(k) is linear in them."""
    return jax.lax.map(lambda phi: blocks(crystal, phi), jnp.eye(crystal.n_irreducible))


@jax.jit
def displacement_information(
    crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"], configurations: int | Array
) -> Float[Array, "n_irreducible n_irreducible"]:
    """Fisher information of the displacements in M independent configurations, Å⁴/eV².

    F_pq = (M/2) Σ_k Tr[C⁻¹ ∂_pC C⁻¹ ∂_qC], of normal displacements with the covariance C(k). Its inverse
    bounds the covariance of any unbiased estimate from these configurations (Cramér and Rao), whatever
    scattering of them was observed.

    Args:
        crystal: in its supercell; its temperature does not matter if it is classical.
        irreducible: stable force constants, eV/Å².
        configurations: M.
    """

    def directional(tangent: Float[Array, " n_irreducible"]) -> tuple[Array, Array]:
        return jax.jvp(
            lambda phi: crystal.statistics.covariance(blocks(crystal, phi)), (irreducible,), (tangent,)
        )

    covariance, derivative = jax.lax.map(directional, jnp.eye(len(irreducible)))
    relative = stiffness_blocks(covariance[0]) @ derivative
    return configurations / 2 * jnp.einsum("pkij,qkji->pq", relative, relative).real
