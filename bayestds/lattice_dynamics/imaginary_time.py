"""Quantum displacements at imaginary times, which third-order scattering is an integral over.

    C(k, τ) = ⟨u(τ) u(0)†⟩ = M^-½ g_τ(D(k)) M^-½,   g_τ(ω²) = ħ/(2ω) [exp(-p) + exp(-q)]/[1 - exp(-p-q)]

with p = ħωτ and q = ħω(β - τ), τ in 1/eV (G. D. Mahan, Many-Particle Physics, 3rd ed. (2000), section 3.2).
It is that of equal times at τ = 0, symmetric about β/2, and k_BT/ω² at all times of a classical mode.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.lattice_dynamics.covariance import from_modes, mass_weighted, without_centroid
from bayestds.units import PHONON_ENERGY

COLDEST = 1e-100
"""k_BT, eV, that stands for 0."""

LONGEST = 30.0
"""ħω_max times the length of the interval of times that is integrated over, at least, where β is longer."""

DECAYED = 10.0
"""The same of ħω_min: at half of it the slowest mode has decayed to exp(-5), and its cube to 3e-7."""

ENOUGH = ((2, 2.6), (3, 5.0), (4, 10.0), (5, 20.0), (6, 30.0), (7, 100.0), (8, 200.0))
"""Nodes that leave 1e-4 of what third order adds, up to so long an interval times ħω_max (measured)."""

MOST = 9
"""Nodes of longer intervals."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Nodes:
    """A quadrature rule over imaginary time; a pytree.

    Attributes:
        times: (n_nodes,) τ in [0, β/2], 1/eV.
        weights: (n_nodes,) 1/eV; they add up to β, or to what is integrated over where it is colder.
    """

    times: Float[Array, " n_nodes"]
    weights: Float[Array, " n_nodes"]


def make_nodes(
    thermal_energy: float, slowest: float, fastest: float, n_nodes: int | None = None, stretch: float = 1.0
) -> Nodes:
    """Rule for an integral over [0, β] of cubes of displacement covariances, which are even about β/2.

    It is the half of a Gauss-Legendre rule that lies on [0, β/2], so that n nodes integrate polynomials of
    degree 4n - 1, in a variable z that gathers them at the ends: 1 - 2τ/β = tanh(cz)/tanh(c). Where β is very
    long the interval ends once all modes have decayed.

    Args:
        thermal_energy: k_BT, eV; may be zero.
        slowest, fastest: smallest and largest phonon energy ħω, eV.
        n_nodes: number of nodes; by default enough for 1e-4.
        stretch: factor of the longest interval.
    """
    longest = stretch * max(LONGEST / fastest, DECAYED / slowest)
    beta = min(1 / max(thermal_energy, COLDEST), longest)
    theta = beta * fastest
    if n_nodes is None:
        n_nodes = next((n for n, limit in ENOUGH if theta <= limit), MOST)
    points, weights = np.polynomial.legendre.leggauss(2 * n_nodes)
    z, weights = points[n_nodes:], weights[n_nodes:]
    c = np.arcsinh(theta / 5) / 2
    slope = c / np.tanh(c) / np.cosh(c * z) ** 2
    # 1 - tanh(cz)/tanh(c), without cancellation.
    gap = 2 * (np.exp(-2 * c * z) - np.exp(-2 * c)) / ((1 + np.exp(-2 * c * z)) * -np.expm1(-2 * c))
    return Nodes(jnp.asarray(beta / 2 * gap), jnp.asarray(beta * weights * slope))


def covariance_at_times(
    blocks: Complex[Array, "n_k three_n three_n"],
    masses: Float[Array, " n_atoms"],
    thermal_energy: Float[Array, ""],
    times: Float[Array, " n_times"],
) -> Complex[Array, "n_times n_k three_n three_n"]:
    """C(k, τ), Å²; k = 0 is the first, as in :func:`~.covariance.quantum_covariance`.

    Args:
        blocks: Φ(k), eV/Å².
        masses: amu.
        thermal_energy: k_BT, eV; may be zero.
        times: τ in [0, β/2], 1/eV.
    """
    return without_centroid(_at_times(mass_weighted(blocks, masses), thermal_energy, times), masses)


@jax.custom_jvp
def _at_times(
    dynamical: Complex[Array, "n_k size size"], thermal_energy: Float[Array, ""], times: Float[Array, " n"]
) -> Complex[Array, "n n_k size size"]:
    """g_τ(D), Å² amu, of positive definite Hermitian D, eV/(Å² amu).

    Only D may be differentiated by: temperature and times are constants of a volume.
    """
    values, vectors = jnp.linalg.eigh(dynamical)
    root, p, q = _exponents(values, thermal_energy, times)
    return from_modes(vectors, PHONON_ENERGY / (2 * root) * _decay(p, q))


@_at_times.defjvp
def _at_times_jvp(primals, tangents):
    dynamical, thermal_energy, times = primals
    values, vectors = jnp.linalg.eigh(dynamical)
    root, p, q = _exponents(values, thermal_energy, times)
    inner = vectors.conj().swapaxes(-1, -2) @ tangents[0] @ vectors
    change = vectors @ (_divided_differences(root, p, q) * inner) @ vectors.conj().swapaxes(-1, -2)
    return from_modes(vectors, PHONON_ENERGY / (2 * root) * _decay(p, q)), change


def _exponents(values: Array, thermal_energy: Array, times: Array) -> tuple[Array, Array, Array]:
    """ω (n_k, size); ħωτ and ħω(β - τ), (n_times, n_k, size)."""
    root = jnp.sqrt(values)
    times = times[:, None, None]
    energy, beta = PHONON_ENERGY * root, 1 / jnp.maximum(thermal_energy, COLDEST)
    return root, energy * times, energy * (beta - times)


def _decay(p: Array, q: Array) -> Array:
    """F = [exp(-p) + exp(-q)]/[1 - exp(-p-q)]."""
    return (jnp.exp(-p) + jnp.exp(-q)) / -jnp.expm1(-(p + q))


def _divided_differences(
    root: Float[Array, "n_k size"], p: Float[Array, "n n_k size"], q: Float[Array, "n n_k size"]
) -> Float[Array, "n n_k size size"]:
    """(g_τ(λ) - g_τ(λ'))/(λ - λ') of all pairs of eigenvalues, without cancellation.

    With g = ħF/2ω it is ħ/(2(ω+ω')) [S/ω - F'/(ωω')] for ω ≥ ω', where S = (F - F')/(ω - ω') is again a sum
    of terms of one sign, in which only (1 - exp(-x))/x needs its series near x = 0.
    """

    def pair(values: Array) -> tuple[Array, Array]:
        first, second = values[..., :, None], values[..., None, :]
        return jnp.maximum(first, second), jnp.minimum(first, second)

    (larger, smaller), (p_high, p_low), (q_high, q_low) = pair(root), pair(p), pair(q)
    one = jnp.exp(-p_low) * (1 + jnp.exp(-(q_high + q_low))) * (p_low / smaller) * _mean_decay(p_high - p_low)
    two = jnp.exp(-q_low) * (1 + jnp.exp(-(p_high + p_low))) * (q_low / smaller) * _mean_decay(q_high - q_low)
    slope = -(one + two) / (jnp.expm1(-(p_high + q_high)) * jnp.expm1(-(p_low + q_low)))
    bracket = slope / larger - _decay(p_low, q_low) / (larger * smaller)
    return PHONON_ENERGY / (2 * (larger + smaller)) * bracket


def _mean_decay(x: Array) -> Array:
    """(1 - exp(-x))/x, the mean of exp(-t) over 0 < t < x; the terms left out are below 1e-12 of it."""
    near = x < 1e-6
    away = jnp.where(near, 1.0, x)
    return jnp.where(near, 1 - x / 2, -jnp.expm1(-away) / away)
