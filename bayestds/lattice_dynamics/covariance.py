"""Displacement covariance of a harmonic crystal from its force-constant blocks."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Complex, Float

STABILITY_FLOOR = 1e-6
"""Smallest eigenvalue of Φ(k) that counts as stable, eV/Å² (softer modes would displace atoms by Å)."""


def translation_projector(n_atoms: int) -> Float[np.ndarray, "three_n three_n"]:
    """Projector (3n, 3n) on rigid translations of the primitive cell."""
    return np.kron(np.full((n_atoms, n_atoms), 1 / n_atoms), np.eye(3))


def without_translations(
    blocks: Complex[Array, "n_k three_n three_n"], lift: Float[Array, ""] | float = 1.0
) -> Complex[Array, "n_k three_n three_n"]:
    """Blocks Φ(k) with the rigid translations at k = 0 (the first block) lifted to ``lift``, eV/Å²."""
    return blocks.at[0].add(lift * translation_projector(blocks.shape[-1] // 3))


def is_stable(blocks: Complex[Array, "n_k three_n three_n"]) -> Bool[Array, ""]:
    """Whether every mode but the rigid translations has a positive eigenvalue of Φ(k)."""
    shifted = without_translations(blocks) - STABILITY_FLOOR * jnp.eye(blocks.shape[-1])
    return jnp.isfinite(jnp.linalg.cholesky(jax.lax.stop_gradient(shifted))).all()


@jax.custom_jvp
def instability(blocks: Complex[Array, "n_k three_n three_n"], margin: Float[Array, ""]) -> Float[Array, ""]:
    """Σ max(0, margin - λ) over all eigenvalues λ of Φ(k) but the rigid translations, eV/Å².

    Convex in the force constants, with a gradient that is finite also where eigenvalues coincide.
    """
    return jnp.maximum(0.0, margin - jnp.linalg.eigvalsh(without_translations(blocks, margin + 1))).sum()


@instability.defjvp
def _instability_jvp(primals, tangents):
    blocks, margin = primals
    values, vectors = jnp.linalg.eigh(without_translations(blocks, margin + 1))
    low = jnp.where(values < margin, 1.0, 0.0)
    # d tr f(Φ) = tr f'(Φ) dΦ needs no derivative of the eigenvectors.
    slope = (vectors * low[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
    change = -jnp.sum(slope.conj() * tangents[0]).real + low.sum() * tangents[1]
    return jnp.maximum(0.0, margin - values).sum(), change


def classical_covariance(
    blocks: Complex[Array, "n_k three_n three_n"], thermal_energy: Float[Array, ""] | float
) -> Complex[Array, "n_k three_n three_n"]:
    """Classical displacement covariance C(k) = k_B T Φ(k)⁻¹, Å², through block Cholesky.

    Rigid translations at k = 0 (the first block) are removed. Unstable blocks are replaced by the
    identity, so that values and gradients stay finite; ask :func:`is_stable` before using the result.

    Args:
        blocks: Φ(k), eV/Å².
        thermal_energy: k_B T, eV.
    """
    inverse = _inverse(stable_blocks(blocks))
    return thermal_energy * inverse.at[0].add(-translation_projector(blocks.shape[-1] // 3))


def stable_blocks(blocks: Complex[Array, "n_k three_n three_n"]) -> Complex[Array, "n_k three_n three_n"]:
    """Blocks with the rigid translations lifted and unstable ones replaced by the identity.

    All are positive definite, and the replaced ones keep NaN out of gradients.
    """
    identity = jnp.eye(blocks.shape[-1], dtype=blocks.dtype)
    lifted = without_translations(blocks)
    factor = jnp.linalg.cholesky(jax.lax.stop_gradient(lifted - STABILITY_FLOOR * identity))
    stable = jnp.isfinite(factor).all(axis=(-1, -2), keepdims=True)
    return jnp.where(stable, lifted, identity)


@jax.custom_jvp
def _inverse(blocks: Complex[Array, "n_k size size"]) -> Complex[Array, "n_k size size"]:
    """Inverse of positive definite Hermitian blocks.

    The derivative is written out because JAX's own for ``solve(..., assume_a="pos")`` is wrong for complex
    matrices in reverse mode (0.10: it takes the transpose for the matrix itself).
    """
    factor = jnp.linalg.cholesky(blocks)
    identity = jnp.broadcast_to(jnp.eye(blocks.shape[-1], dtype=blocks.dtype), blocks.shape)
    half = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    return half.conj().swapaxes(-1, -2) @ half


@_inverse.defjvp
def _inverse_jvp(primals, tangents):
    inverse = _inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def covariance_in_real_space(
    covariance: Complex[Array, "n_k three_n three_n"], grid_shape: tuple[int, int, int]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """C_κκ'(R) = ⟨u_κ(R) u_κ'(0)ᵀ⟩ = (1/N_k) Σ_k C(k) exp(-i k·R), Å², on the FFT grid."""
    n_k, size, _ = covariance.shape
    n_atoms = size // 3
    waves = covariance.reshape(*grid_shape, n_atoms, 3, n_atoms, 3)
    real_space = jnp.fft.fftn(waves, axes=(0, 1, 2), norm="forward").real
    return real_space.reshape(n_k, n_atoms, 3, n_atoms, 3).transpose(0, 1, 3, 2, 4)
