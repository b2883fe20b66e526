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

from bayestds.scattering.forward import ForwardModel, stable

Family = Literal["normal", "student_t", "shrinkage"]

DEGREES_OF_FREEDOM = 4.0
"""Of the Student-t prior: heavy tails, but with a variance."""

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
    """

    scales: Float[Array, " n_irreducible"]
    shells: Int[Array, " n_irreducible"]
    family: Family = field(metadata={"static": True})
    n_shells: int = field(metadata={"static": True})
    cubic_scales: Float[Array, " n_cubic"] | None = None


def make_prior(
    scales: np.ndarray, shells: np.ndarray, family: Family = "normal", cubic_scales: np.ndarray | None = None
) -> Prior:
    """Prior from scales (n_irreducible,) in eV/Å², the shell of each constant, and scales of third order."""
    cubic = None if cubic_scales is None else jnp.asarray(cubic_scales, dtype=float)
    return Prior(jnp.asarray(scales, dtype=float), jnp.asarray(shells), family, int(np.max(shells)), cubic)


def prior_standard_deviations(prior: Prior) -> Float[Array, " n_irreducible"]:
    """Standard deviation of each constant in the prior, eV/Å², regardless of stability."""
    if prior.family == "student_t":
        return prior.scales * (DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2)) ** 0.5
    if prior.family == "shrinkage":
        # The factor squared, t²/(1+t²), has the mean 1/2: t and 1/t have the same distribution.
        return prior.scales * 0.5**0.5
    return prior.scales


def sample_irreducible(prior: Prior) -> Float[Array, " n_irreducible"]:
    """Part of a NumPyro model: the site ``irreducible`` (eV/Å²), and the shrinkage of the shells if any."""
    if prior.family == "student_t":
        density = dist.StudentT(DEGREES_OF_FREEDOM, 0.0, prior.scales)
    elif prior.family == "shrinkage":
        density = dist.Normal(0.0, prior.scales * _shrinkage(prior)[prior.shells - 1])
    else:
        density = dist.Normal(0.0, prior.scales)
    return numpyro.sample("irreducible", density.to_event(1))


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
