"""The NumPyro model of the posterior in plain coordinates, in which densities can be written by hand."""

import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import log_density

from bayestds.inference.model import PARAMETERS, Density, Observation, scattering
from bayestds.inference.priors import Prior
from bayestds.scattering.forward import ForwardModel

PLAIN = f"{PARAMETERS}_whitened"
"""Site of all parameters together."""


def in_plain_coordinates(forward: ForwardModel, likelihood: Density, prior: Prior) -> tuple:
    """Arguments of the model of one volume in which the site of the parameters is their values."""
    n = sum(len(scales) for scales in prior.scales)
    volume = Observation(forward, likelihood, jnp.eye(n), "")
    return prior, (volume,), {PARAMETERS: (jnp.zeros(n), jnp.eye(n))}


def model_density(
    forward: ForwardModel, likelihood: Density, prior: Prior, parameters: np.ndarray, **unknowns: float
) -> float:
    """Log density of the model at parameters and values of what the likelihood and the prior do not know."""
    sites = {name: jnp.asarray(value) for name, value in unknowns.items()}
    sites[PLAIN] = jnp.asarray(parameters)
    return float(log_density(scattering, in_plain_coordinates(forward, likelihood, prior), {}, sites)[0])
