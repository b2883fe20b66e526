"""Fisher information of a measurement, and standard errors from it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.inference.noise import FitData, centred, precision_times
from bayestds.lattice_dynamics.displacements import stiffness_blocks
from bayestds.scattering.forward import ForwardModel, blocks, displacement_covariance, log_intensity


def log_intensity_and_jacobian(
    forward: ForwardModel, irreducible: Float[Array, " n_irreducible"]
) -> tuple[Float[Array, " n_q"], Float[Array, "n_q n_irreducible"]]:
    """Log I and ∂ log I / ∂φ (Å²/eV) at every Q point."""

    def directional(tangent: Float[Array, " n_irreducible"]) -> tuple[Array, Array]:
        return jax.jvp(lambda phi: log_intensity(forward, phi), (irreducible,), (tangent,))

    # One direction after the other: side by side they would not fit the cache.
    value, derivative = jax.lax.map(directional, jnp.eye(len(irreducible)))
    return value[0], derivative.T


def fisher_information(
    data: FitData, derivative: Float[Array, "n_q n_irreducible"]
) -> Float[Array, "n_irreducible n_irreducible"]:
    """Jᵀ Σ⁻¹ J with the scale profiled out: the Fisher information for Gaussian log intensities.

    Args:
        data: the inverse covariance Σ⁻¹, diagonal if the log intensities are independent.
        derivative: J, from :func:`log_intensity_and_jacobian`.
    """
    derivative = centred(data, derivative)
    return derivative.T @ precision_times(data, derivative)


def clustered_covariance(
    data: FitData,
    derivative: Float[Array | np.ndarray, "n_q n_irreducible"],
    misfit: Float[Array | np.ndarray, " n_q"],
    precision: Float[Array | np.ndarray, "n_irreducible n_irreducible"],
    prior_precision: Float[Array | np.ndarray, " n_irreducible"],
    cluster: Int[np.ndarray, " n_q"],
) -> Float[Array, "n_irreducible n_irreducible"]:
    """Sandwich covariance of the fitted IFCs when residuals are correlated within clusters.

    H⁻¹ (P + C/(C-1) Σ_c s_c s_cᵀ) H⁻¹ with the score s_c = Σ_{i in c} w_i r_i J_i of each of C clusters
    (Liang and Zeger, Biometrika 73 (1986) 13) and the prior precision P, as one independent datum more.
    NaN unless there are more clusters than parameters: fewer cannot span the scores.

    Args:
        data: weights, in the units of ``precision``.
        derivative: from :func:`log_intensity_and_jacobian`.
        misfit: residuals at the fit.
        precision: H, Fisher information plus prior precision.
        prior_precision: (n_irreducible,) the diagonal of P, Å⁴/eV².
        cluster: cluster of each Q point.
    """
    labels, index = np.unique(cluster, return_inverse=True)
    scores = (data.weight * misfit)[:, None] * centred(data, jnp.asarray(derivative))
    sums = jax.ops.segment_sum(scores, jnp.asarray(index), num_segments=len(labels))
    if len(labels) <= len(precision):
        return jnp.full_like(precision, jnp.nan)
    bread = jnp.linalg.inv(precision)
    meat = jnp.diag(prior_precision) + sums.T @ sums * len(labels) / (len(labels) - 1)
    return bread @ meat @ bread


def block_derivatives(forward: ForwardModel) -> Complex[Array, "n_irreducible n_k three_n three_n"]:
    """∂Φ(k)/∂φ of every irreducible force constant; Φ(k) is linear in them."""
    return jax.lax.map(lambda phi: blocks(forward, phi), jnp.eye(forward.n_irreducible))


@jax.jit
def displacement_information(
    forward: ForwardModel, irreducible: Float[Array, " n_irreducible"], configurations: int | Array
) -> Float[Array, "n_irreducible n_irreducible"]:
    """Fisher information of the displacements in M independent configurations, Å⁴/eV².

    F_pq = (M/2) Σ_k Tr[C⁻¹ ∂_pC C⁻¹ ∂_qC], of normal displacements with the covariance C(k). Its inverse
    bounds the covariance of any unbiased estimate from these configurations (Cramér and Rao), whatever
    scattering of them was observed.

    Args:
        forward: the crystal; its engine does not matter, nor its temperature if it is classical.
        irreducible: stable force constants, eV/Å².
        configurations: M.
    """

    def directional(tangent: Float[Array, " n_irreducible"]) -> tuple[Array, Array]:
        return jax.jvp(
            lambda phi: displacement_covariance(forward, blocks(forward, phi)), (irreducible,), (tangent,)
        )

    covariance, derivative = jax.lax.map(directional, jnp.eye(len(irreducible)))
    relative = stiffness_blocks(covariance[0]) @ derivative
    return configurations / 2 * jnp.einsum("pkij,qkji->pq", relative, relative).real
