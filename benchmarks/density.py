"""The log-likelihood that a point fit climbs, as a function to be timed."""

import jax.numpy as jnp
from jax import Array

from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.profiled import Profiled
from bayestds.inference.model import stable_log_intensity
from bayestds.scattering.forward import ForwardModel


def log_likelihood(forward: ForwardModel, likelihood: Likelihood, parameters: Array) -> Array:
    """At the best scale and level of noise; the penalty of unstable crystals where it is one."""
    log_intensity, stable, phi_blocks = stable_log_intensity(forward, parameters)
    profiled = Profiled(likelihood)
    inside = profiled.log_density(log_intensity, {})
    return jnp.where(stable, inside, profiled.outside(stable, phi_blocks))
