"""One-phonon intensity of a crystal, the usual approximation to thermal diffuse scattering.

    I₁(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ')) exp(-W_κ-W_κ') Qᵀ C_κκ'(k) Q

with k = Q modulo the reciprocal lattice. With C(k) = Σ_j (k_B T/ω_j²) e_j e_j†/√(m m') it is the sum over
eigenmodes of Xu and Chiang, Z. Kristallogr. 220 (2005) 1009, without any eigenvectors.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.crystal.supercell import Supercell


def one_phonon_intensity(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    covariance: Complex[Array, "n_k three_n three_n"],
    scattering_factors: np.ndarray | None = None,
) -> Float[Array, " n_q"]:
    """One-phonon intensity per primitive cell.

    Args:
        supercell: the periodic supercell.
        q_points: commensurate, conventional r.l.u.
        covariance: C(k), Å², of every wave vector of the supercell.
        scattering_factors: f_κ (n_atoms,) or (n_q, n_atoms), may be complex; 1 by default.
    """
    crystal = supercell.crystal
    factors = np.ones(crystal.n_atoms) if scattering_factors is None else np.asarray(scattering_factors)
    vectors = crystal.scattering_vectors(q_points)
    waves = jnp.asarray(factors * np.exp(1j * vectors @ crystal.cartesian_positions.T))
    # The mean over k is the covariance of an atom with itself.
    n_atoms = crystal.n_atoms
    own = covariance.mean(axis=0).real.reshape(n_atoms, 3, n_atoms, 3)[
        jnp.arange(n_atoms), :, jnp.arange(n_atoms)
    ]
    exponent = jnp.einsum("qa,kab,qb->qk", vectors, own, vectors) / 2
    amplitude = (waves * jnp.exp(-exponent))[:, :, None] * vectors[:, None]
    amplitude = amplitude.reshape(len(vectors), -1)
    at_k = covariance[supercell.k_index(q_points)]
    return jnp.einsum("qa,qab,qb->q", amplitude, at_k, amplitude.conj()).real
