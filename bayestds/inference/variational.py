"""Quick posteriors, normal in whitened coordinates, with importance ratios that tell how good they are."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoMultivariateNormal
from numpyro.infer.util import potential_energy
from numpyro.optim import optax_to_numpyro

from bayestds.inference.model import scattering
from bayestds.inference.nuts import Draws, Sampling, site_values
from bayestds.inference.posterior import Target, starting_points

STEPS = 500
LEARNING_RATES = (0.03, 0.001)
"""First and last Adam rate of the fitted normal; its coordinates have unit width."""

PARTICLES = 4
"""Draws for each estimate of the evidence bound."""

CHECKED_DRAWS = 1000
"""Draws whose importance ratios are computed."""


@dataclass(frozen=True, eq=False)
class Approximation:
    """Independent draws from a normal distribution that stands for the posterior.

    Attributes:
        draws: in one chain.
        log_ratios: (n,) ln of posterior over approximation, up to a constant, at the first draws.
    """

    draws: Draws
    log_ratios: np.ndarray


def approximate_posterior(target: Target, method: str, sampling: Sampling) -> Approximation:
    """Draws from a normal approximation of a posterior.

    Args:
        target: the posterior.
        method: "laplace" for the normal with the mode and the curvature of the point fit, "normal" for
            the one of largest evidence bound (SVI with a full covariance).
        sampling: chains times draws, and the seed.
    """
    origin = {name: jnp.zeros(values.shape[1:]) for name, values in starting_points(target, 1, 0).items()}
    flat, unravel = ravel_pytree(origin)
    location, scale_tril = flat, jnp.eye(len(flat))
    key, fit_key = jax.random.split(jax.random.key(sampling.seed))
    if method == "normal":
        location, scale_tril = _fitted_normal(target.arguments, origin, fit_key)
    normal = dist.MultivariateNormal(location, scale_tril=scale_tril)
    z = normal.sample(key, (sampling.chains * sampling.draws,))
    positions = jax.vmap(unravel)(z)
    checked = {name: values[:CHECKED_DRAWS] for name, values in positions.items()}
    ratios = _log_density(target.arguments, checked) - normal.log_prob(z[:CHECKED_DRAWS])
    one_chain = {name: np.asarray(values)[None] for name, values in positions.items()}
    return Approximation(Draws(site_values(scattering, target.arguments, one_chain), {}), np.asarray(ratios))


@jax.jit
def _log_density(arguments: tuple, positions: dict[str, Array]) -> Float[Array, " n_draws"]:
    return -jax.lax.map(partial(potential_energy, scattering, arguments, {}), positions)


@jax.jit
def _fitted_normal(
    arguments: tuple, origin: dict[str, Array], key: Array
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Location and Cholesky factor of the normal of largest evidence bound."""
    start = init_to_value(values=origin)
    guide = AutoMultivariateNormal(scattering, init_loc_fn=start, init_scale=1.0)
    schedule = optax.exponential_decay(LEARNING_RATES[0], STEPS, LEARNING_RATES[1] / LEARNING_RATES[0])
    svi = SVI(scattering, guide, optax_to_numpyro(optax.adam(schedule)), Trace_ELBO(PARTICLES))
    state = svi.init(key, *arguments)
    state, _ = jax.lax.scan(lambda state, _: svi.update(state, *arguments), state, length=STEPS)
    found = guide.get_posterior(svi.get_params(state))
    return found.loc, found.scale_tril
