"""The posterior of a fit: its model, the coordinates that whiten it, and its draws."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bayestds.inference.fit_result import PointFit, slope_of_rest
from bayestds.inference.model import PARAMETERS, Coordinates, Observation, scattering
from bayestds.inference.nuts import Draws, Sampling, run_nuts
from bayestds.inference.priors import LOG_SCALE, PRIOR_SCALE, TREND_SIZE, Prior, shrinkage_shapes
from bayestds.inference.uncertainty import stretch
from bayestds.lattice_dynamics.harmonic import stable

SMALLEST_TREND = 0.1
"""Size of the trend that chains start from at least, as a share of its prior scale."""


@dataclass(frozen=True, eq=False)
class Target:
    """A posterior in the coordinates of its point fit.

    Attributes:
        coordinates: location and unit of each whitened site.
        volumes: the data, free of the truncation errors of their lattice sums.
        prior: of the parameters.
    """

    coordinates: Coordinates
    volumes: tuple[Observation, ...]
    prior: Prior

    @property
    def arguments(self) -> tuple:
        """Arguments of :func:`~bayestds.inference.model.scattering`."""
        return self.prior, self.volumes, self.coordinates

    def parameters(self, sites: dict[str, np.ndarray]) -> Float[np.ndarray, "*draws n_parameters"]:
        """θ of draws, from their sites."""
        return np.concatenate([sites[name] for name in self.prior.names], axis=-1)


def make_target(fit: PointFit, prior: Prior) -> Target:
    """The posterior of a problem in coordinates whitened by the precision at its point fit.

    Args:
        fit: the point fit, at stable force constants.
        prior: of the parameters, from :meth:`Problem.prior`.
    """
    # In these coordinates a normal density of this precision is standard.
    unit = np.linalg.inv(np.linalg.cholesky(fit.parameter_precision)).T
    coordinates: Coordinates = {PARAMETERS: (jnp.asarray(fit.parameters), jnp.asarray(unit))}
    coordinates |= _of_prior(fit, prior)
    volumes = []
    alone = [one.volumes[0] for one in fit.own] or fit.volumes
    for one, own, prefix in zip(fit.volumes, alone, fit.problem.prefixes, strict=True):
        # The noise is marginalised: it is that of the volume's own fit where the joint one took it as known.
        offset = one.truncation.offset - own.truncation.offset
        likelihood = own.likelihood.shifted(offset) if fit.own else own.likelihood
        volumes.append(Observation(one.forward, likelihood, jnp.asarray(one.design), prefix))
        for name, (location, spread) in own.likelihood.coordinates(own.quadratic).items():
            coordinates[prefix + name] = (jnp.asarray(location), jnp.asarray(spread))
    return Target(coordinates, tuple(volumes), prior)


def _of_prior(fit: PointFit, prior: Prior) -> Coordinates:
    """Rough location and standard deviation of what the prior learns, near a fit."""
    found, scales = {}, np.asarray(prior.block_scales["irreducible"])
    if prior.learned:
        size = np.sqrt(np.mean((fit.irreducible / scales) ** 2))
        spread = (2 * len(scales) + LOG_SCALE[1] ** -2) ** -0.5
        found[PRIOR_SCALE] = (jnp.asarray(np.log(size)), jnp.asarray(spread))
    if prior.hierarchical:
        size = np.sqrt(np.mean((fit.trend / fit.problem.prior_scales) ** 2))
        location = np.log(max(size, SMALLEST_TREND * float(prior.trend_share)))
        found[TREND_SIZE] = (jnp.asarray(location), jnp.asarray((2 * len(scales)) ** -0.5))
    return found


def sample_posterior(
    target: Target,
    sampling: Sampling,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[str, float], None] = lambda message, share: None,
) -> Draws:
    """Draws from the posterior by NUTS; see :func:`bayestds.inference.nuts.run_nuts`.

    The site ``irreducible`` is (chains, draws, n_irreducible) in eV/Å².
    """
    positions = starting_points(target, sampling.chains, sampling.seed)
    return run_nuts(scattering, target.arguments, positions, sampling, checkpoint, resume, progress)


def starting_points(target: Target, n_points: int, seed: int, spread: float = 1.0) -> dict[str, np.ndarray]:
    """Positions (n_points, ...) of each site where it is stable, ``spread`` times the posterior wide."""
    rng = np.random.default_rng(seed)
    shapes = {f"{name}_whitened": location.shape for name, (location, _) in target.coordinates.items()}
    shapes |= shrinkage_shapes(target.prior)
    positions = {name: spread * rng.normal(size=(n_points, *shape)) for name, shape in shapes.items()}
    location, unit = target.coordinates[PARAMETERS]
    z = positions[f"{PARAMETERS}_whitened"]
    while (outside := ~np.asarray(_all_stable(target.volumes, location + z @ unit.T))).any():
        z[outside] /= 2
    return positions


@jax.jit
def _all_stable(
    volumes: tuple[Observation, ...], parameters: Float[Array, "n n_parameters"]
) -> Bool[Array, " n"]:
    """Whether the crystal is stable at the temperatures of all volumes."""

    def one(row: Array) -> Array:
        own = [(volume.forward, volume.design @ row) for volume in volumes]
        return jnp.array([stable(forward.crystal, forward.sizes.split(x).second) for forward, x in own]).all()

    return jax.vmap(one)(parameters)


def widened(target: Target, draws: Draws, fit: PointFit, covariance: np.ndarray) -> Draws:
    """Draws that are spread about their point fit as widely as the errors of the fit need.

    A posterior takes the residuals as independent. Where they are not, it is too narrow, and its draws are
    stretched from the plain covariance of the fit to the one that is needed (Ribatet, Cooley and Davison,
    Statistica Sinica 22 (2012) 813; after sampling, as in Shaby, Biometrika 101 (2014) 511). Those that would
    leave the region of stable crystals are stretched less; strengths of a background follow the constants.

    Args:
        target: the posterior.
        draws: of it.
        fit: its point fit.
        covariance: (n_constants, n_constants) that is needed, of what all volumes share.
    """
    n = len(fit.constants)
    values = target.parameters(draws.sites)
    more = (values[..., :n] - fit.constants) @ (stretch(fit.covariance, covariance) - np.eye(n)).T
    # Strengths of backgrounds follow the constants.
    more = np.concatenate([more, more @ slope_of_rest(fit.parameter_precision, n).T], axis=-1)
    flat, share = values.reshape(-1, values.shape[-1]), np.ones((*values.shape[:-1], 1))
    while (
        outside := ~np.asarray(_all_stable(target.volumes, flat + (share * more).reshape(flat.shape)))
    ).any():
        share.reshape(-1)[outside] /= 2
    return Draws(dict(draws.sites) | fit.problem.split(values + share * more), draws.statistics)
