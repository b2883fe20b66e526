"""Force constants from displacements themselves: the yardstick of what any scattering of them can tell."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.errors import InstabilityError, ModelError
from bayestds.inference.information import block_derivatives, displacement_information
from bayestds.lattice_dynamics.covariance import without_translations
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks, stable
from bayestds.lattice_dynamics.statistics import Classical

MAX_STEPS = 100
CONVERGED = 1e-9
"""Newton decrement of the log-likelihood per configuration at which the fit has converged."""

FULL_STEP = 0.25
"""Newton decrement below which steps are taken whole."""


def displacement_fit(
    crystal: HarmonicCrystal,
    sample_covariance: Complex[Array | np.ndarray, "n_k three_n three_n"],
    start: Float[np.ndarray, " n_irreducible"],
) -> Float[np.ndarray, " n_irreducible"]:
    """Maximum-likelihood force constants (n_irreducible,), eV/Å², of displacements.

    Maximises Σ_k [log det Φ(k) - Tr Φ(k) Ĉ(k) / k_BT]. That is concave, and its logarithm self-concordant:
    Newton steps shortened by 1 + decrement never leave the stable region (Boyd and Vandenberghe, Convex
    Optimization (2004), section 9.6).

    Args:
        crystal: in its supercell, at its temperature.
        sample_covariance: Ĉ(k) = ⟨u(k) u(k)†⟩/N of the configurations, Å², on the FFT grid of the supercell.
        start: stable force constants.

    Raises:
        InstabilityError: the crystal is unstable with the starting values.
        ModelError: the displacements are quantum mechanical.
    """
    if not isinstance(crystal.statistics, Classical):
        raise ModelError(
            "The fit to displacements knows classical statistics only.",
            "Only that covariance is proportional to the inverse of the force constants.",
            'Use displacements of a classical crystal, and a model with statistics = "classical".',
        )
    location = jnp.asarray(start, dtype=float)
    if not stable(crystal, location):
        raise InstabilityError(
            "The crystal is unstable with the starting values of the fit to displacements.",
            "The likelihood exists for stable force constants only.",
            "Start from stable ones.",
        )
    for _ in range(MAX_STEPS):
        step, decrement = _newton_step(crystal, jnp.asarray(sample_covariance), location)
        location = location + step / jnp.where(decrement < FULL_STEP, 1.0, 1.0 + decrement)
        if decrement < CONVERGED:
            break
    return np.asarray(location)


@jax.jit
def _newton_step(
    crystal: HarmonicCrystal,
    sample_covariance: Complex[Array, "n_k three_n three_n"],
    irreducible: Float[Array, " n_irreducible"],
) -> tuple[Float[Array, " n_irreducible"], Float[Array, ""]]:
    """Newton step, eV/Å², and its length in the metric of the curvature."""
    inverse = jnp.linalg.inv(without_translations(blocks(crystal, irreducible)))
    excess = inverse - sample_covariance / crystal.statistics.thermal_energy
    slope = jnp.einsum("pkij,kji->p", block_derivatives(crystal), excess).real
    step = jnp.linalg.solve(displacement_information(crystal, irreducible, 2), slope)
    return step, jnp.sqrt(slope @ step)
