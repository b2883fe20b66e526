"""Random thermal displacements of a harmonic crystal in a periodic supercell.

Both samplers solve Lᵀ u = √(k_B T) w for white noise w, with Φ = L Lᵀ, so that ⟨u uᵀ⟩ = k_B T Φ⁻¹ without
rigid translations. The *block* sampler does so for each wave vector, in O(N); the *dense* one, the form of
arXiv:2603.28683, for the Hessian of the whole supercell, in O(N³) once and O(N²) for each configuration.
In quantum statistics the first takes a root of the covariance itself, and the second its inverse for Φ/k_B T.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.lattice_dynamics.covariance import (
    covariance_in_real_space,
    hermitian_inverse,
    stable_blocks,
    translation_projector,
    without_translations,
)


def white_noise(key: Array, n_configurations: int, n_cells: int, n_atoms: int) -> Float[Array, "m n_cells n"]:
    """Standard normal numbers for the displacements of some configurations, (m, n_cells, 3 n_atoms)."""
    return jax.random.normal(key, (n_configurations, n_cells, 3 * n_atoms))


def block_root(
    blocks: Complex[Array, "n_k three_n three_n"], thermal_energy: Float[Array, ""] | float
) -> Complex[Array, "n_k three_n three_n"]:
    """√(k_B T) L(k)⁻†, Å, with Φ(k) = L L†; rigid translations at k = 0 (the first block) are removed.

    As in ``classical_covariance``, unstable blocks are replaced by the identity.

    Args:
        blocks: Φ(k), eV/Å².
        thermal_energy: k_B T, eV.
    """
    factor = jnp.linalg.cholesky(stable_blocks(blocks))
    identity = jnp.broadcast_to(jnp.eye(blocks.shape[-1], dtype=blocks.dtype), blocks.shape)
    inverse = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    root = jnp.sqrt(thermal_energy) * inverse.conj().swapaxes(-1, -2)
    return root.at[0].add(-translation_projector(blocks.shape[-1] // 3) @ root[0])


def covariance_root(
    covariance: Complex[Array, "n_k three_n three_n"],
) -> Complex[Array, "n_k three_n three_n"]:
    """A root of any displacement covariance C(k) = root root†, Å, without rigid translations at k = 0.

    Args:
        covariance: C(k), Å², such as :func:`bayestds.lattice_dynamics.covariance.quantum_covariance`.
    """
    root = jnp.linalg.cholesky(_lifted(covariance))
    return root.at[0].add(-translation_projector(covariance.shape[-1] // 3) @ root[0])


def stiffness_blocks(
    covariance: Complex[Array, "n_k three_n three_n"],
) -> Complex[Array, "n_k three_n three_n"]:
    """C(k)⁻¹, Å⁻²: force constants with which a classical crystal of k_B T = 1 moves as this covariance says.

    At k = 0 rigid translations are held by springs.
    """
    return hermitian_inverse(_lifted(covariance))


def _lifted(covariance: Complex[Array, "n_k three_n three_n"]) -> Complex[Array, "n_k three_n three_n"]:
    # As wide as the other displacements, to keep the condition of the matrix.
    width = jnp.trace(covariance.mean(axis=0)).real / covariance.shape[-1]
    return without_translations(covariance, width)


def block_displacements(
    root: Complex[Array, "n_k three_n three_n"],
    white: Float[Array, "m n_k three_n"],
    grid_shape: tuple[int, int, int],
) -> Float[Array, "m n_k n_atoms 3"]:
    """Displacements u_κ(R), Å, of m configurations.

    Args:
        root: any square root of the covariance, C(k) = root root†, such as :func:`block_root`
            or :func:`covariance_root`.
        white: from :func:`white_noise`.
        grid_shape: FFT grid of the supercell.
    """
    m, n_k, size = white.shape
    # White noise of the cells, seen in wave vectors, is complex white noise with w(-k) = w(k)*.
    waves = jnp.fft.ifftn(white.reshape(m, *grid_shape, size), axes=(1, 2, 3), norm="forward")
    waves = jnp.einsum("kab,mkb->mka", root, waves.reshape(m, n_k, size))
    cells = jnp.fft.fftn(waves.reshape(m, *grid_shape, size), axes=(1, 2, 3), norm="forward").real
    return cells.reshape(m, n_k, size // 3, 3)


def cell_differences(supercell: Supercell) -> Int[np.ndarray, "n_cells n_cells"]:
    """Grid index of the difference R_i - R_j of every two cells of a supercell."""
    cells = supercell.cells
    return supercell.cell_index(cells[:, None] - cells)


def dense_hessian(
    blocks: Complex[Array, "n_k three_n three_n"],
    differences: Int[Array, "n_k n_k"],
    grid_shape: tuple[int, int, int],
) -> Float[Array, "three_N three_N"]:
    """Hessian ∂²E/∂u∂u of all atoms of a supercell, (3N, 3N) eV/Å², cell by cell.

    Args:
        blocks: Φ(k), eV/Å².
        differences: from :func:`cell_differences`.
        grid_shape: FFT grid of the supercell.
    """
    # Force constants return to real space as the covariance does.
    constants = covariance_in_real_space(blocks, grid_shape)[differences]
    n = len(blocks) * blocks.shape[-1]
    return constants.transpose(0, 2, 4, 1, 3, 5).reshape(n, n)


def dense_root(
    hessian: Float[Array, "three_N three_N"], thermal_energy: Float[Array, ""] | float
) -> Float[Array, "three_N three_N"]:
    """L/√(k_B T), Å⁻¹, of the Hessian with rigid translations lifted; NaN where the crystal is unstable.

    The lift, the mean of the self terms, keeps the condition of the matrix and is removed again with the
    centroid by :func:`dense_displacements`.
    """
    n_atoms = len(hessian) // 3
    lifted = hessian + jnp.trace(hessian) / len(hessian) * translation_projector(n_atoms)
    return jnp.linalg.cholesky(lifted) / jnp.sqrt(thermal_energy)


def dense_displacements(
    root: Float[Array, "three_N three_N"], white: Float[Array, "m n_k three_n"]
) -> Float[Array, "m n_k n_atoms 3"]:
    """Displacements, Å, of m configurations from the dense Cholesky factor, without their centroid.

    Args:
        root: from :func:`dense_root`.
        white: from :func:`white_noise`.
    """
    m, n_k, size = white.shape
    solved = jax.scipy.linalg.solve_triangular(root, white.reshape(m, -1).T, lower=True, trans="T").T
    atoms = solved.reshape(m, n_k, size // 3, 3)
    return atoms - atoms.mean(axis=(1, 2), keepdims=True)


def displacements(
    root: Complex[Array, "n_k three_n three_n"] | Float[Array, "three_N three_N"],
    white: Float[Array, "m n_k three_n"],
    grid_shape: tuple[int, int, int],
) -> Float[Array, "m n_k n_atoms 3"]:
    """Displacements, Å, of m configurations, with the sampler that the root belongs to."""
    return (
        dense_displacements(root, white) if root.ndim == 2 else block_displacements(root, white, grid_shape)
    )
