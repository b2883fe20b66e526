"""Displacement covariance of a harmonic crystal from its force-constant blocks."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Complex, Float, Inexact

from bayestds.crystal.structure import pair_kinds
from bayestds.monomials import PRODUCTS
from bayestds.units import PHONON_ENERGY

AnyArray = TypeVar("AnyArray", Array, np.ndarray)

STABILITY_FLOOR = 1e-6
"""Smallest eigenvalue of Φ(k) that counts as stable, eV/Å² (softer modes would displace atoms by Å)."""

FROZEN = 1e100
"""What ħω/2k_BT is where T = 0; infinity would give NaN in differences."""


def translation_projector(n_atoms: int) -> Float[np.ndarray, "three_n three_n"]:
    """Projector (3n, 3n) on rigid translations of the primitive cell."""
    return np.kron(np.full((n_atoms, n_atoms), 1 / n_atoms), np.eye(3))


def without_translations(
    blocks: Complex[Array, "n_k three_n three_n"], lift: Float[Array, ""] | float = 1.0
) -> Complex[Array, "n_k three_n three_n"]:
    """Blocks Φ(k) with the rigid translations at k = 0 (the first block) lifted to ``lift``, eV/Å²."""
    return _first_plus(blocks, lift * translation_projector(blocks.shape[-1] // 3))


def _first_plus(blocks: Array, change: Array | np.ndarray) -> Array:
    """Blocks with something added to the first; unlike an update in place it is fused with what follows."""
    is_first = (jnp.arange(len(blocks)) == 0)[:, None, None]
    return blocks + jnp.where(is_first, change, 0.0)


def is_stable(blocks: Complex[Array, "n_k three_n three_n"]) -> Bool[Array, ""]:
    """Whether every mode but the rigid translations has a positive eigenvalue of Φ(k)."""
    return _are_stable(without_translations(blocks)).all()


def _are_stable(lifted: Complex[Array, "n_k size size"]) -> Bool[Array, "n_k 1 1"]:
    """Whether each of these blocks, translations lifted, is stable."""
    shifted = jax.lax.stop_gradient(lifted) - STABILITY_FLOOR * jnp.eye(lifted.shape[-1])
    factor = jnp.linalg.cholesky(shifted, symmetrize_input=False)
    return jnp.isfinite(factor).all(axis=(-1, -2), keepdims=True)


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
    inverse = hermitian_inverse(stable_blocks(blocks))
    return thermal_energy * _first_plus(inverse, -translation_projector(blocks.shape[-1] // 3))


def stable_blocks(
    blocks: Complex[Array, "n_k three_n three_n"], lift: Float[Array, "three_n three_n"] | None = None
) -> Complex[Array, "n_k three_n three_n"]:
    """Blocks with the rigid translations lifted and unstable ones replaced by the identity.

    All are positive definite, and the replaced ones keep NaN out of gradients.

    Args:
        blocks: Φ(k), eV/Å².
        lift: what is added to the first block, eV/Å²; by default the projector on rigid translations.
    """
    identity = jnp.eye(blocks.shape[-1], dtype=blocks.dtype)
    lifted = without_translations(blocks) if lift is None else _first_plus(blocks, lift)
    return jnp.where(_are_stable(lifted), lifted, identity)


@jax.custom_jvp
def hermitian_inverse(blocks: Complex[Array, "n_k size size"]) -> Complex[Array, "n_k size size"]:
    """Inverse of positive definite Hermitian blocks.

    The derivative is written out because JAX's own for ``solve(..., assume_a="pos")`` is wrong for complex
    matrices in reverse mode (0.10: it takes the transpose for the matrix itself).
    """
    half = _triangular_inverse(jnp.linalg.cholesky(blocks, symmetrize_input=False))
    return half.conj().swapaxes(-1, -2) @ half


def _triangular_inverse(lower: Complex[Array, "n_k size size"]) -> Complex[Array, "n_k size size"]:
    """Inverse of lower triangular blocks, by halves.

    Not by one call of LAPACK, whose threads wait for each other longer than such small blocks take.
    """
    size = lower.shape[-1]
    if size <= 3:
        identity = jnp.broadcast_to(jnp.eye(size, dtype=lower.dtype), lower.shape)
        return jax.scipy.linalg.solve_triangular(lower, identity, lower=True)
    first, second = slice(size // 2), slice(size // 2, None)
    above, below = (_triangular_inverse(lower[:, part, part]) for part in (first, second))
    mixed = -below @ (lower[:, second, first] @ above)
    return jnp.block([[above, jnp.zeros_like(mixed.swapaxes(1, 2))], [mixed, below]])


@hermitian_inverse.defjvp
def _inverse_jvp(primals, tangents):
    inverse = hermitian_inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def quantum_covariance(
    blocks: Complex[Array, "n_k three_n three_n"],
    masses: Float[Array, " n_atoms"],
    thermal_energy: Float[Array, ""] | float,
) -> Complex[Array, "n_k three_n three_n"]:
    """Quantum displacement covariance C(k) = M^-½ g(D(k)) M^-½, Å², with D = M^-½ Φ M^-½.

    g(ω²) = ħ/(2ω) coth(ħω/2k_BT) is the mean square amplitude of a mode (Maradudin et al., Theory of
    Lattice Dynamics in the Harmonic Approximation, 2nd ed. (1971), chapter 7): k_BT/ω² when hot, ħ/2ω at
    rest. Rigid translations at k = 0 are removed, and displacements there refer to the centroid of the
    atoms (not to their centre of mass), so that the classical limit is :func:`classical_covariance`; no
    intensity between Bragg peaks depends on that. Unstable blocks are treated as there.

    Args:
        blocks: Φ(k), eV/Å².
        masses: amu.
        thermal_energy: k_B T, eV; may be zero.
    """
    dynamical = mass_weighted(blocks, masses)
    return without_centroid(_mean_square(dynamical, jnp.asarray(thermal_energy, float)), masses)


def mass_weighted(
    blocks: Complex[Array, "n_k three_n three_n"], masses: Float[Array, " n_atoms"]
) -> Complex[Array, "n_k three_n three_n"]:
    """D = M^-½ Φ M^-½, eV/(Å² amu), positive definite as :func:`stable_blocks` makes it."""
    # Rigid translations of the mass-weighted problem are √m, and must not mix with the optical modes.
    lift = jnp.kron(jnp.outer(masses, masses) / (masses.sum() * masses.mean()), jnp.eye(3))
    weights = jnp.repeat(masses, 3) ** -0.5
    return weights[:, None] * stable_blocks(blocks, lift) * weights


def without_centroid(
    squares: Complex[Array, "*times n_k three_n three_n"], masses: Float[Array, " n_atoms"]
) -> Complex[Array, "*times n_k three_n three_n"]:
    """C(k), Å², from g(D), Å² amu; at k = 0 of displacements from the centroid of the atoms."""
    weights = jnp.repeat(masses, 3) ** -0.5
    covariance = weights[:, None] * squares * weights
    centred = jnp.eye(3 * len(masses)) - translation_projector(len(masses))
    return covariance.at[..., 0, :, :].set(centred @ covariance[..., 0, :, :] @ centred)


@jax.custom_jvp
def _mean_square(
    dynamical: Complex[Array, "n_k size size"], thermal_energy: Float[Array, ""]
) -> Complex[Array, "n_k size size"]:
    """g(D), Å² amu, of positive definite Hermitian D, eV/(Å² amu).

    The derivative is that of a matrix function (Daleckii and Krein): V (g[λ_i, λ_j] ∘ V† dD V) V† with the
    divided differences of g, which are smooth where eigenvalues coincide, as eigenvectors are not.
    """
    values, vectors = jnp.linalg.eigh(dynamical)
    root, reduced = _modes(values, thermal_energy)
    return from_modes(vectors, PHONON_ENERGY / (2 * root * jnp.tanh(reduced)))


@_mean_square.defjvp
def _mean_square_jvp(primals, tangents):
    dynamical, thermal_energy = primals
    values, vectors = jnp.linalg.eigh(dynamical)
    root, reduced = _modes(values, thermal_energy)
    inner = vectors.conj().swapaxes(-1, -2) @ tangents[0] @ vectors
    change = vectors @ (_divided_differences(root, reduced) * inner) @ vectors.conj().swapaxes(-1, -2)
    # ∂g/∂k_BT = (x/sinh x)²/λ
    heat = (2 * reduced * jnp.exp(-reduced) / -jnp.expm1(-2 * reduced)) ** 2 / values
    value = from_modes(vectors, PHONON_ENERGY / (2 * root * jnp.tanh(reduced)))
    return value, change + tangents[1] * from_modes(vectors, heat)


def from_modes(vectors: Array, values: Array) -> Array:
    """The Hermitian matrices of these eigenvectors and eigenvalues."""
    return (vectors * values[..., None, :]) @ vectors.conj().swapaxes(-1, -2)


def _modes(values: Array, thermal_energy: Array) -> tuple[Array, Array]:
    """√λ and x = ħω/2k_BT of the modes, finite also for T = 0."""
    root = jnp.sqrt(values)
    return root, jnp.minimum(PHONON_ENERGY * root / (2 * thermal_energy), FROZEN)


def _divided_differences(root: Float[Array, "n_k size"], reduced: Float[Array, "n_k size"]) -> Array:
    """(g(λ) - g(λ'))/(λ - λ') of all pairs of eigenvalues, without cancellation.

    By coth x - coth x' = -sinh(x - x')/(sinh x sinh x') it is, with x ≥ x', a sum of terms of one sign,
    -ħ/(2ωω'(ω+ω')) [coth x' + x' sinh(x-x')/((x-x') sinh x sinh x')], in which only sinh(d)/d needs
    its series near d = 0.
    """
    first, second = root[..., :, None], root[..., None, :]
    high = jnp.maximum(reduced[..., :, None], reduced[..., None, :])
    low = jnp.minimum(reduced[..., :, None], reduced[..., None, :])
    gap = high - low
    near = gap < 1e-6
    away = jnp.where(near, 1.0, gap)
    # exp(-d) sinh(d)/d; the terms left out are below 1e-12 of it.
    slope = jnp.where(near, 1 - gap, -jnp.expm1(-2 * away) / (2 * away))
    decay = 4 * jnp.exp(-2 * low) / (jnp.expm1(-2 * high) * jnp.expm1(-2 * low))
    bracket = 1 / jnp.tanh(low) + low * slope * decay
    return -PHONON_ENERGY / (2 * first * second * (first + second)) * bracket


def covariance_in_real_space(
    covariance: Complex[Array, "n_k three_n three_n"], grid_shape: tuple[int, int, int]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """C_κκ'(R) = ⟨u_κ(R) u_κ'(0)ᵀ⟩ = (1/N_k) Σ_k C(k) exp(-i k·R), Å², on the FFT grid."""
    n_k, size, _ = covariance.shape
    n_atoms = size // 3
    waves = covariance.reshape(*grid_shape, n_atoms, 3, n_atoms, 3)
    real_space = jnp.fft.fftn(waves, axes=(0, 1, 2), norm="forward").real
    return real_space.reshape(n_k, n_atoms, 3, n_atoms, 3).transpose(0, 1, 3, 2, 4)


def half_in_real_space(
    covariance: Complex[Array, "n_half three_n three_n"], grid_shape: tuple[int, int, int]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """C_κκ'(R), as :func:`covariance_in_real_space` gives it, from one of each two C(k) at k and -k."""
    n_atoms = covariance.shape[-1] // 3
    waves = covariance.conj().reshape(*grid_shape[:2], -1, n_atoms, 3, n_atoms, 3)
    real_space = jnp.fft.irfftn(waves, s=grid_shape, axes=(0, 1, 2))
    return real_space.reshape(-1, n_atoms, 3, n_atoms, 3).transpose(0, 1, 3, 2, 4)


def packed_covariance(
    covariance: Float[AnyArray, "n_cells n_atoms n_atoms 3 3"],
) -> Float[AnyArray, "6 n_kinds n_cells"]:
    """What scattering sees of C_κκ'(R): coefficients of QᵀCQ, of each of :func:`pair_kinds` in every cell."""
    first, second = pair_kinds(covariance.shape[1]).T
    return quadratic_form(covariance[:, first, second]).T


def quadratic_form(matrices: Inexact[AnyArray, "... 3 3"]) -> Inexact[AnyArray, "... 6"]:
    """Coefficients of QᵀCQ on the six products of :data:`bayestds.monomials.PRODUCTS`."""
    i, j = PRODUCTS.T
    symmetric = matrices[..., i, j] + matrices[..., j, i]
    return symmetric * np.where(i == j, 0.5, 1.0)
