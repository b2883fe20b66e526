"""The posterior of a fit: its model, the coordinates that whiten it, and its draws."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.inference.model import (
    LOG_NOISE,
    Coordinates,
    Noise,
    learns_level,
    samples_scale,
    whitened_posterior,
)
from bayestds.inference.noise import FitData, shifted
from bayestds.inference.nuts import Draws, Sampling, run_nuts
from bayestds.inference.point_fit import PointFit, slope_of_rest
from bayestds.inference.priors import Prior, shrinkage_shapes
from bayestds.inference.problem import Problem
from bayestds.scattering.forward import ForwardModel, stable


@dataclass(frozen=True, eq=False)
class Target:
    """A posterior in the coordinates of its point fit.

    Attributes:
        coordinates: location and unit of each whitened site.
        forward: crystal, temperature and Q points.
        data: log intensities, free of the truncation error of the forward model's engine.
        prior: of the force constants.
        noise: what is not known of the noise.
    """

    coordinates: Coordinates
    forward: ForwardModel
    data: FitData
    prior: Prior
    noise: Noise

    @property
    def arguments(self) -> tuple:
        """Arguments of :func:`whitened_posterior`."""
        return self.coordinates, self.forward, self.data, self.prior, self.noise


def make_target(problem: Problem, fit: PointFit, prior: Prior, noise: Noise | None = None) -> Target:
    """The posterior of a problem in coordinates whitened by the precision at its point fit.

    Args:
        problem: what was fitted.
        fit: its point fit, at stable force constants.
        prior: of the force constants.
        noise: what is not known of the noise; by default the noise is normal, without a floor.
    """
    noise = noise or Noise()
    coordinates = constant_coordinates(fit)
    coordinates |= noise_coordinates(problem, fit, noise) | background_coordinates(fit)
    data = shifted(problem.data, fit.truncation.offset)
    return Target(coordinates, following(fit), data, prior, noise)


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


def noise_coordinates(problem: Problem, fit: PointFit, noise: Noise) -> Coordinates:
    """Location and unit of the sites of a volume's noise and scale, near its point fit."""
    coordinates = {}
    if learns_level(problem.data, noise):
        location, spread = _noise_level(problem.data, fit)
        coordinates["log_relative_noise"] = (jnp.asarray(location), jnp.asarray(spread))
    if samples_scale(problem.data, noise):
        variance = fit.noise_variance / fit.weight.sum()
        coordinates["scale_offset"] = (jnp.zeros(()), jnp.asarray(np.sqrt(variance)))
    return coordinates


def _noise_level(data: FitData, fit: PointFit) -> tuple[float, float]:
    """Rough location and standard deviation of ln of the relative noise level, from the residuals."""
    if data.learned:
        level, given = np.sqrt(fit.noise_variance), np.zeros(1)
        n_points = len(fit.residual)
    else:
        given, n_points = 1 / fit.weight, 1
        # A floor that is not needed can be anything below the given errors.
        excess = np.mean(fit.residual**2 - given)
        level = np.sqrt(max(excess, 0.01 * np.median(given)))
    information = 2 * n_points * np.sum((level**2 / (given + level**2)) ** 2)
    return float(np.log(level)), float((information + LOG_NOISE[1] ** -2) ** -0.5)


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
