"""The likelihood that suits what was observed."""

import jax.numpy as jnp
import numpy as np

from bayestds.errors import ModelError
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.counts import GammaPoisson, Poisson
from bayestds.inference.likelihoods.floor import SMALLEST_LEVEL, Floor
from bayestds.inference.likelihoods.gaussian import Gaussian, IndependentErrors
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal, LogNormal, learned_log_normal
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.scattering.averaging import Errors, Observations


def make_likelihood(
    observations: Observations,
    noise: float | None = None,
    floor: bool = False,
    degrees_of_freedom: float | None = None,
) -> Likelihood:
    """Likelihood of averaged voxels.

    Counts are Poisson variables, intensities with standard errors are normal, and intensities with neither
    have log-normal errors of one relative size.

    Args:
        observations: the averages.
        noise: relative standard deviation of one voxel, None to learn it. Standard errors or counts that the
            observations carry take precedence over both.
        floor: whether a relative error common to all points is learned on top of known errors.
        degrees_of_freedom: of Student's t, which takes the place of the normal distribution; None for that.

    Raises:
        ModelError: counts with the tails of Student's t.
    """
    level = jnp.asarray(SMALLEST_LEVEL)
    if observations.counts is not None:
        if degrees_of_freedom is not None:
            raise ModelError(
                "degrees_of_freedom is given for a volume of counts.",
                "Counts are Poisson variables or, with noise_floor, gamma-Poisson variables.",
                "Leave degrees_of_freedom out.",
            )
        counts = Poisson(jnp.asarray(observations.counts.number), jnp.asarray(observations.counts.exposure))
        return GammaPoisson(counts, level) if floor else counts
    errors = _normal(observations, noise)
    normal = Floor(errors, level) if floor and not isinstance(errors, LearnedLogNormal) else errors
    return normal if degrees_of_freedom is None else StudentT(normal, jnp.asarray(float(degrees_of_freedom)))


def _normal(observations: Observations, noise: float | None) -> IndependentErrors | LearnedLogNormal:
    if observations.errors is not None:
        return gaussian(observations.intensity, observations.errors)
    log_intensity = jnp.asarray(observations.log_intensity)
    if noise is None:
        # Copies of one voxel and averages of as many have the same place in the order of weights.
        return learned_log_normal(log_intensity, observations.grid.multiplicity.astype(float))
    return LogNormal(log_intensity, jnp.asarray(observations.independent / noise**2))


def gaussian(intensity: np.ndarray, errors: Errors) -> Gaussian:
    """Mean intensities (n_q,) with normal errors, whose variance is first evaluated at the means themselves.

    Where a mean is below its standard error, at that.
    """
    constant, slope = errors.constant, errors.slope
    # The positive root of m² = a + b m: what equals its own standard error.
    least = (slope + np.sqrt(slope**2 + 4 * constant)) / 2
    expected = np.maximum(intensity, least)
    return Gaussian(*map(jnp.asarray, (intensity, constant, slope, expected)))
