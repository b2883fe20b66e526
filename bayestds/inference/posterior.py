"""The posterior of a fit: its model, the coordinates that whiten it, and its draws."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.compressed import Compressed
from bayestds.inference.model import Coordinates, whitened_posterior
from bayestds.inference.nuts import Draws, Sampling, run_nuts
from bayestds.inference.point_fit import PointFit, slope_of_rest
from bayestds.inference.priors import LOG_SCALE, PRIOR_SCALE, Prior, shrinkage_shapes
from bayestds.inference.uncertainty import stretch
from bayestds.scattering.forward import ForwardModel, stable


@dataclass(frozen=True, eq=False)
class Target:
    """A posterior in the coordinates of its point fit.

    Attributes:
        coordinates: location and unit of each whitened site.
        forward: crystal, temperature and Q points.
        likelihood: of the data, free of the truncation error of the forward model's engine.
        prior: of the force constants.
    """

    coordinates: Coordinates
    forward: ForwardModel
    likelihood: Likelihood | Compressed
    prior: Prior

    @property
    def arguments(self) -> tuple:
        """Arguments of :func:`whitened_posterior`."""
        return self.coordinates, self.forward, self.likelihood, self.prior


def make_target(fit: PointFit, prior: Prior) -> Target:
    """The posterior of a problem in coordinates whitened by the precision at its point fit.

    Args:
        fit: the point fit, at stable force constants.
        prior: of the force constants.
    """
    coordinates = constant_coordinates(fit) | scale_coordinates(fit.irreducible, prior)
    coordinates |= noise_coordinates(fit) | background_coordinates(fit)
    return Target(coordinates, following(fit), fit.likelihood, prior)


def following(fit: PointFit) -> ForwardModel:
    """The forward model of a fit, in which the coordinates of each kind of parameters follow those before."""
    forward = fit.forward
    if len(fit.cubic):
        slope = slope_of_rest(fit.precision, len(fit.irreducible))
        forward = replace(forward, cubic_slope=jnp.asarray(slope))
    if len(fit.background):
        slope = slope_of_rest(fit.parameter_precision, len(fit.precision))
        forward = replace(forward, background_slope=jnp.asarray(slope))
    return forward


def constant_coordinates(fit: PointFit) -> Coordinates:
    """Location and unit of the sites of the force constants, near their point fit.

    With those of :func:`following`, they whiten both orders together: a block of a Cholesky factor each.
    """
    found = {"irreducible": (jnp.asarray(fit.irreducible), standard_unit(fit.irreducible_precision))}
    if len(fit.cubic):
        n = len(fit.irreducible)
        location = fit.cubic - slope_of_rest(fit.precision, n) @ fit.irreducible
        found["cubic_offset"] = (jnp.asarray(location), standard_unit(fit.precision[n:, n:]))
    return found


def scale_coordinates(irreducible: np.ndarray, prior: Prior) -> Coordinates:
    """Location and unit of the site of a learned prior scale, near fitted constants (n_irreducible,)."""
    if not prior.learned:
        return {}
    size = np.sqrt(np.mean((irreducible / np.asarray(prior.scales)) ** 2))
    spread = (2 * len(irreducible) + LOG_SCALE[1] ** -2) ** -0.5
    return {PRIOR_SCALE: (jnp.asarray(np.log(size)), jnp.asarray(spread))}


def background_coordinates(fit: PointFit) -> Coordinates:
    """Location and unit of the site of a background, near its point fit."""
    if not len(fit.background):
        return {}
    n = len(fit.precision)
    constants = np.append(fit.irreducible, fit.cubic)
    location = fit.background - slope_of_rest(fit.parameter_precision, n) @ constants
    return {"background_offset": (jnp.asarray(location), standard_unit(fit.parameter_precision[n:, n:]))}


def standard_unit(precision: np.ndarray) -> Array:
    """Unit (n, n) of coordinates in which a normal density of this precision is standard."""
    return jnp.asarray(np.linalg.inv(np.linalg.cholesky(precision)).T)


def noise_coordinates(fit: PointFit) -> Coordinates:
    """Location and unit of the sites of a volume's noise and scale, near its point fit."""
    return {
        name: (jnp.asarray(location), jnp.asarray(spread))
        for name, (location, spread) in fit.likelihood.coordinates(fit.quadratic).items()
    }


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
    return run_nuts(whitened_posterior, target.arguments, positions, sampling, checkpoint, resume, progress)


def starting_points(target: Target, n_points: int, seed: int, spread: float = 1.0) -> dict[str, np.ndarray]:
    """Positions (n_points, ...) of each site where it is stable, ``spread`` times the posterior wide."""
    rng = np.random.default_rng(seed)
    shapes = {f"{name}_whitened": location.shape for name, (location, _) in target.coordinates.items()}
    shapes |= shrinkage_shapes(target.prior)
    positions = {name: spread * rng.normal(size=(n_points, *shape)) for name, shape in shapes.items()}
    location, unit = target.coordinates["irreducible"]
    z = positions["irreducible_whitened"]
    is_stable = jax.vmap(lambda row: stable(target.forward, location + unit @ row))
    while (outside := ~np.asarray(is_stable(z))).any():
        z[outside] /= 2
    return positions


def widened(draws: Draws, fit: PointFit, covariance: np.ndarray) -> Draws:
    """Draws that are spread about their point fit as widely as the errors of the fit need.

    A posterior takes the residuals as independent. Where they are not, it is too narrow, and its draws are
    stretched from the plain covariance of the fit to the one that is needed (Ribatet, Cooley and Davison,
    Statistica Sinica 22 (2012) 813; after sampling, as in Shaby, Biometrika 101 (2014) 511). Those that would
    leave the region of stable crystals are stretched less; strengths of a background follow the constants.

    Args:
        draws: of the posterior.
        fit: its point fit.
        covariance: (n_constants, n_constants) that is needed, of the constants of both orders.
    """
    n, orders = len(fit.irreducible), ("irreducible", "cubic")
    values = np.concatenate([draws.sites[name] for name in orders if name in draws.sites], axis=-1)
    centre = np.append(fit.irreducible, fit.cubic)
    more = (values - centre) @ (stretch(fit.covariance, covariance) - np.eye(len(centre))).T
    flat, share = values.reshape(-1, values.shape[-1]), np.ones((*values.shape[:-1], 1))
    is_stable = jax.jit(jax.vmap(stable, in_axes=(None, 0)))
    while (outside := ~np.asarray(is_stable(fit.forward, flat + (share * more).reshape(flat.shape)))).any():
        share.reshape(-1)[outside] /= 2
    moved = values + share * more
    sites = dict(draws.sites) | {"irreducible": moved[..., :n]}
    if "cubic" in sites:
        sites["cubic"] = moved[..., n:]
    if "background" in sites:
        sites["background"] = (
            sites["background"] + share * more @ slope_of_rest(fit.parameter_precision, len(centre)).T
        )
    return Draws(sites, draws.statistics)
