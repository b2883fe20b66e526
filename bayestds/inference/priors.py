"""Priors of the parameters, and draws from them inside the region of stable crystals."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float, Int
from numpyro.distributions.transforms import ExpTransform
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

from bayestds.choices import Family
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, stable

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


TREND_SIZE = "log_trend_size"
"""NumPyro site of the logarithm of the size of a temperature trend, over the prior scales."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Prior:
    """Prior of all parameters θ, block by block; a pytree.

    Attributes:
        names: of the blocks, in the order of θ: those of ``Problem.blocks``.
        scales: of each block, (n,): standard deviations of normal densities. Of ``irreducible``, eV/Å²,
            standard deviations of the normal family, scales of the Student-t, and the largest standard
            deviations that the shrinkage family can reach. Of ``trend`` at the size 1.
        shells: (n_irreducible,) int, from 1.
        trend_share: size of the trend over the prior scales, or the standard deviation of that size.
        family: shape of the density of the irreducible constants.
        n_shells: number of shells.
        learned: whether the scales of force constants have a common factor that is a parameter.
        hierarchical: whether the size of the trend is a parameter with a half-normal prior.
    """

    names: tuple[str, ...] = field(metadata={"static": True})
    scales: tuple[Float[Array, " _"], ...]
    shells: Int[Array, " n_irreducible"]
    trend_share: Float[Array, ""]
    family: Family = field(default="normal", metadata={"static": True})
    n_shells: int = field(default=1, metadata={"static": True})
    learned: bool = field(default=False, metadata={"static": True})
    hierarchical: bool = field(default=False, metadata={"static": True})

    @property
    def block_scales(self) -> dict[str, Float[Array, " _"]]:
        """Scales by the names of the blocks."""
        return dict(zip(self.names, self.scales, strict=True))

    def split(self, parameters: Float[Array, " n_parameters"]) -> dict[str, Float[Array, " _"]]:
        """θ by the names of the blocks."""
        ends = np.cumsum([len(scales) for scales in self.scales])
        return dict(zip(self.names, jnp.split(parameters, ends[:-1]), strict=True))


def learned_factor(irreducible: np.ndarray, scales: np.ndarray) -> float:
    """Factor on prior scales (n_irreducible,) that makes them suit force constants (n_irreducible,).

    The scales become :data:`WIDTH` times the rms size of the constants, each in units of its own.
    """
    size = float(np.sqrt(np.mean((np.asarray(irreducible) / scales) ** 2)))
    return WIDTH * max(size, SMALLEST_SIZE)


def prior_standard_deviations(prior: Prior) -> Float[Array, " n_irreducible"]:
    """Standard deviation of each irreducible constant, eV/Å², regardless of stability; at a factor of 1."""
    scales = prior.block_scales["irreducible"]
    if prior.family == "student_t":
        return scales * (DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2)) ** 0.5
    if prior.family == "shrinkage":
        # The factor squared, t²/(1+t²), has the mean 1/2: t and 1/t have the same distribution.
        return scales * 0.5**0.5
    return scales


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


def hyperparameters(prior: Prior) -> dict[str, Array]:
    """Part of a NumPyro model: the sites of what the prior learns."""
    found = {}
    if prior.learned:
        found[PRIOR_SCALE] = numpyro.sample(PRIOR_SCALE, dist.Normal(*LOG_SCALE))
    if prior.family == "shrinkage":
        found["shrinkage_overall"] = numpyro.sample("shrinkage_overall", dist.HalfCauchy(1.0))
        by_shell = dist.HalfCauchy(jnp.ones(prior.n_shells)).to_event(1)
        found["shrinkage_shell"] = numpyro.sample("shrinkage_shell", by_shell)
    if prior.hierarchical:
        half_normal = dist.HalfNormal(prior.trend_share)
        logarithm = dist.TransformedDistribution(half_normal, ExpTransform().inv)
        found[TREND_SIZE] = numpyro.sample(TREND_SIZE, logarithm)
    return found


def densities(prior: Prior, hyper: dict[str, Array]) -> dict[str, dist.Distribution]:
    """Density of each block of the parameters, at values of :func:`hyperparameters`."""
    factor = jnp.exp(hyper[PRIOR_SCALE]) if PRIOR_SCALE in hyper else jnp.ones(())
    found = {}
    for name, scales in prior.block_scales.items():
        if name == "irreducible":
            density = _of_irreducible(prior, factor * scales, hyper)
        elif name == "trend":
            size = jnp.exp(hyper[TREND_SIZE]) if TREND_SIZE in hyper else prior.trend_share
            density = dist.Normal(0.0, size * factor * scales)
        elif name == "cubic":
            density = dist.Normal(0.0, factor * scales)
        else:
            density = dist.Normal(0.0, scales)
        found[name] = density.to_event(1)
    return found


def _of_irreducible(
    prior: Prior, scales: Float[Array, " n_irreducible"], hyper: dict[str, Array]
) -> dist.Distribution:
    if prior.family == "student_t":
        return dist.StudentT(DEGREES_OF_FREEDOM, 0.0, scales)
    if prior.family == "shrinkage":
        return dist.Normal(0.0, scales * _shrinkage(hyper)[prior.shells - 1])
    return dist.Normal(0.0, scales)


def _shrinkage(hyper: dict[str, Array]) -> Float[Array, " n_shells"]:
    """Factor below 1 on the scales of each shell: a horseshoe over whole shells, regularised by the scales.

    With t = τ λ_s, both half-Cauchy, the factor is t/√(1+t²) (Piironen and Vehtari, Electron. J. Stat. 11
    (2017) 5018, eq. 2.8, with one local scale for a group and the slab at the given scale).
    """
    strength = hyper["shrinkage_overall"] * hyper["shrinkage_shell"]
    return strength / jnp.sqrt(1 + strength**2)


def sample_prior(prior: Prior) -> None:
    """NumPyro model of the prior: its hyperparameters and every block of the parameters."""
    for name, density in densities(prior, hyperparameters(prior)).items():
        numpyro.sample(name, density)


def log_prior(prior: Prior, sites: dict[str, np.ndarray]) -> np.ndarray:
    """Log density of the prior of the force constants, and of what it learns, at draws (chains, draws).

    Its normalisation over the stable region is left out, which is the same for all draws. So are priors of a
    background and of the noise.

    Args:
        prior: of all parameters.
        sites: values by name, (chains, draws, ...).
    """
    constants = {name: x for name, x in prior.block_scales.items() if not name.endswith("background")}
    prior = replace(prior, names=tuple(constants), scales=tuple(constants.values()))
    names = (*constants, PRIOR_SCALE, TREND_SIZE, *shrinkage_shapes(prior))
    given = {name: jnp.asarray(sites[name]) for name in names if name in sites}

    def density(one: dict[str, Array]) -> Array:
        return log_density(sample_prior, (prior,), {}, one)[0]

    return np.asarray(jax.jit(jax.vmap(jax.vmap(density)))(given))


def shrinkage_shapes(prior: Prior) -> dict[str, tuple[int, ...]]:
    """Shapes of the sites of the shrinkage of shells; none of other families."""
    if prior.family != "shrinkage":
        return {}
    return {"shrinkage_overall": (), "shrinkage_shell": (prior.n_shells,)}


def prior_draws(
    prior: Prior, crystals: Sequence[tuple[HarmonicCrystal, np.ndarray]], n_draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Up to ``n_draws`` draws (n, ...) of each site of the prior for which the crystal is stable.

    Fewer come back where the stable region holds too little of the prior.

    Args:
        prior: of all parameters.
        crystals: the crystal of each volume, and A_v.
        n_draws: how many.
        seed: of the draws.
    """
    draw = jax.jit(lambda key: Predictive(sample_prior, num_samples=BATCH)(key, prior))
    keep = jax.jit(jax.vmap(stable, in_axes=(None, 0)))
    found: list[dict[str, np.ndarray]] = []
    for key in jax.random.split(jax.random.key(seed), MAX_BATCHES):
        batch = draw(key)
        parameters = jnp.concatenate([batch[name] for name in prior.names], axis=1)
        kept = np.ones(BATCH, dtype=bool)
        for crystal, design in crystals:
            kept &= np.asarray(keep(crystal, parameters @ design[: crystal.n_irreducible].T))
        found.append({name: np.asarray(values[kept]) for name, values in batch.items()})
        if sum(len(one["irreducible"]) for one in found) >= n_draws:
            break
    return {name: np.concatenate([one[name] for one in found])[:n_draws] for name in found[0]}
