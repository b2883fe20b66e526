"""Priors of the irreducible force constants, and draws from them inside the stable region."""

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float, Int
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

from bayestds.scattering.forward import ForwardModel, stable

Family = Literal["normal", "student_t", "shrinkage"]

DEGREES_OF_FREEDOM = 4.0
"""Of the Student-t prior: heavy tails, but with a variance."""

WIDTH = 3.0
"""Standard deviation of a learned normal prior of a point fit, over the rms size of the constants.

So wide a prior leaves the overall stiffness to the data: if these know the logarithm of the common size of n
constants with a variance v, the prior moves it by -v n/WIDTH².
"""

LOG_SCALE = (0.0, 2.0)
"""Mean and standard deviation of the normal prior of ln of a learned scale in a posterior.

It is the rms size of the constants of the first shell, eV/Å². Two standard deviations reach from 0.02 to 50;
potassium has 0.05, diamond 10.
"""

PRIOR_SCALE = "log_prior_scale"
"""NumPyro site of the logarithm of a learned scale, eV/Å²."""

SMALLEST_SIZE = 1e-2
"""Size of the constants, over their present prior scale, that a learned scale follows at least."""

BATCH = 1000
MAX_BATCHES = 30
"""Draws that are tried at once, and how often, to find some for which the crystal is stable."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Prior:
    """Prior of the irreducible force constants; a pytree.

    Attributes:
        scales: (n_irreducible,) eV/Å², standard deviations of the normal family, scales of the Student-t,
            and the largest standard deviations that the shrinkage family can reach.
        shells: (n_irreducible,) int, from 1.
        family: shape of the density.
        n_shells: number of shells.
        cubic_scales: (n_cubic,) eV/Å³, standard deviations of the normal prior of third-order constants.
        learned: whether the scales, of both orders, have a common factor that is a parameter.
    """

    scales: Float[Array, " n_irreducible"]
    shells: Int[Array, " n_irreducible"]
    family: Family = field(metadata={"static": True})
    n_shells: int = field(metadata={"static": True})
    cubic_scales: Float[Array, " n_cubic"] | None = None
    learned: bool = field(default=False, metadata={"static": True})


def make_prior(
    scales: np.ndarray,
    shells: np.ndarray,
    family: Family = "normal",
    cubic_scales: np.ndarray | None = None,
    learned: bool = False,
) -> Prior:
    """Prior from scales (n_irreducible,) in eV/Å², the shell of each constant, and scales of third order."""
    cubic = None if cubic_scales is None else jnp.asarray(cubic_scales, dtype=float)
    n_shells = int(np.max(shells))
    return Prior(jnp.asarray(scales, dtype=float), jnp.asarray(shells), family, n_shells, cubic, learned)


def learned_factor(irreducible: np.ndarray, scales: np.ndarray) -> float:
    """Factor on prior scales (n_irreducible,) that makes them suit force constants (n_irreducible,).

    The scales become :data:`WIDTH` times the rms size of the constants, each in units of its own.
    """
    size = float(np.sqrt(np.mean((np.asarray(irreducible) / scales) ** 2)))
    return WIDTH * max(size, SMALLEST_SIZE)


def prior_standard_deviations(prior: Prior) -> Float[Array, " n_irreducible"]:
    """Standard deviation of each constant in the prior, eV/Å², regardless of stability; at a factor of 1."""
    if prior.family == "student_t":
        return prior.scales * (DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2)) ** 0.5
    if prior.family == "shrinkage":
        # The factor squared, t²/(1+t²), has the mean 1/2: t and 1/t have the same distribution.
        return prior.scales * 0.5**0.5
    return prior.scales


def prior_shift(
    precision: Float[np.ndarray, "n n"], scales: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """By how many of their standard errors (n,) a normal prior about zero moves fitted constants.

    Without the prior the maximum would be away by about H⁻¹ P φ, P being the precision of the prior.

    Args:
        precision: H, Fisher information plus prior precision.
        scales: standard deviations of the prior.
        values: φ, fitted.
    """
    covariance = np.linalg.inv(precision)
    return covariance @ (values / scales**2) / np.sqrt(np.diag(covariance))


def sample_irreducible(prior: Prior) -> tuple[Float[Array, " n_irreducible"], Float[Array, ""]]:
    """Part of a NumPyro model: the site ``irreducible`` (eV/Å²), and the factor on the scales of the prior.

    Further sites: ``log_prior_scale`` where that factor is learned, and the shrinkage of the shells if any.
    """
    factor = jnp.ones(())
    if prior.learned:
        factor = jnp.exp(numpyro.sample(PRIOR_SCALE, dist.Normal(*LOG_SCALE)))
    scales = factor * prior.scales
    if prior.family == "student_t":
        density = dist.StudentT(DEGREES_OF_FREEDOM, 0.0, scales)
    elif prior.family == "shrinkage":
        density = dist.Normal(0.0, scales * _shrinkage(prior)[prior.shells - 1])
    else:
        density = dist.Normal(0.0, scales)
    return numpyro.sample("irreducible", density.to_event(1)), factor


def log_prior(prior: Prior, sites: dict[str, np.ndarray]) -> np.ndarray:
    """Log density of the prior of the force constants, and of what it learns, at draws (chains, draws).

    Its normalisation over the stable region is left out, which is the same for all draws. So are priors of a
    background and of the noise.

    Args:
        prior: of the force constants.
        sites: values by name, (chains, draws, ...).
    """
    names = ("irreducible", PRIOR_SCALE, *shrinkage_shapes(prior))
    given = {name: jnp.asarray(sites[name]) for name in names if name in sites}

    def density(one: dict[str, Array]) -> Array:
        return log_density(sample_irreducible, (prior,), {}, one)[0]

    total = np.asarray(jax.jit(jax.vmap(jax.vmap(density)))(given))
    if prior.cubic_scales is not None:
        factor = np.exp(sites[PRIOR_SCALE])[..., None] if PRIOR_SCALE in sites else 1.0
        normal = dist.Normal(0.0, factor * np.asarray(prior.cubic_scales))
        total = total + np.asarray(normal.log_prob(sites["cubic"]).sum(axis=-1))
    return total


def _shrinkage(prior: Prior) -> Float[Array, " n_shells"]:
    """Factor below 1 on the scales of each shell: a horseshoe over whole shells, regularised by the scales.

    With t = τ λ_s, both half-Cauchy, the factor is t/√(1+t²) (Piironen and Vehtari, Electron. J. Stat. 11
    (2017) 5018, eq. 2.8, with one local scale for a group and the slab at the given scale).
    """
    overall = numpyro.sample("shrinkage_overall", dist.HalfCauchy(1.0))
    local = numpyro.sample("shrinkage_shell", dist.HalfCauchy(jnp.ones(prior.n_shells)).to_event(1))
    strength = overall * local
    return strength / jnp.sqrt(1 + strength**2)


def shrinkage_shapes(prior: Prior) -> dict[str, tuple[int, ...]]:
    """Shapes of the sites that the prior has besides ``irreducible``."""
    if prior.family != "shrinkage":
        return {}
    return {"shrinkage_overall": (), "shrinkage_shell": (prior.n_shells,)}


def prior_draws(prior: Prior, forward: ForwardModel, n_draws: int, seed: int) -> np.ndarray:
    """Up to ``n_draws`` draws (n, n_irreducible) from the prior for which the crystal is stable, eV/Å².

    Fewer come back where the stable region holds too little of the prior.
    """
    draw = jax.jit(lambda key: Predictive(sample_irreducible, num_samples=BATCH)(key, prior)["irreducible"])
    keep = jax.jit(jax.vmap(stable, in_axes=(None, 0)))
    found: list[np.ndarray] = []
    for key in jax.random.split(jax.random.key(seed), MAX_BATCHES):
        batch = draw(key)
        found.append(np.asarray(batch[np.asarray(keep(forward, batch))]))
        if sum(map(len, found)) >= n_draws:
            break
    return np.concatenate(found)[:n_draws]
