"""The NumPyro model of a scattering volume, in any coordinates. The one door to NumPyro's models."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.infer.reparam import Reparam

from bayestds.inference.noise import FitData, log_likelihood
from bayestds.lattice_dynamics.covariance import instability, is_stable
from bayestds.scattering import exact
from bayestds.scattering.forward import ForwardModel, blocks, real_space_covariance

STABLE_MARGIN = 0.1
"""Eigenvalue of Φ(k), eV/Å², up to which the penalty of unstable force constants pushes."""

UNSTABLE_PENALTY = 20.0
"""Log-likelihood that unstable force constants lose at least, per point or unit of weight."""


def thermal_diffuse_scattering(
    forward: ForwardModel, data: FitData, prior_scales: Float[Array, " n_irreducible"]
) -> None:
    """NumPyro model: normal priors on the irreducible IFCs, Gaussian log intensities, a stable crystal.

    Sites: ``irreducible`` (n_irreducible,) in eV/Å²; the overall scale is profiled out.

    Args:
        forward: crystal, temperature and Q points.
        data: observed log intensities.
        prior_scales: standard deviation of each normal prior, eV/Å².
    """
    irreducible = numpyro.sample("irreducible", dist.Normal(0.0, prior_scales).to_event(1))
    numpyro.factor("log_likelihood", constrained_log_likelihood(forward, data, irreducible))


def constrained_log_likelihood(
    forward: ForwardModel, data: FitData, irreducible: Float[Array, " n_irreducible"]
) -> Float[Array, ""]:
    """Log-likelihood where the crystal is stable, and a steep convex penalty where it is not."""
    phi_blocks = blocks(forward, irreducible)
    assert forward.engine is not None
    log_intensity = exact.log_intensity(forward.engine, real_space_covariance(forward, phi_blocks))
    # The branch that is not taken must not reach the gradient, hence the second `where`.
    stable = is_stable(phi_blocks)
    safe = jnp.where(stable, log_intensity, jax.lax.stop_gradient(data.log_intensity))
    penalty = jax.lax.cond(
        stable, lambda x: jnp.zeros(()), lambda x: instability(x, jnp.asarray(STABLE_MARGIN)), phi_blocks
    )
    unit = len(data.weight) if data.learned else data.weight.sum()
    worst = -unit * (UNSTABLE_PENALTY + penalty)
    return jnp.where(stable, log_likelihood(data, safe), worst)


class Whiten(Reparam):
    """Sample a vector site x as location + scale_tril @ z with a flat z, keeping x's own density.

    Args:
        location: (n,) the origin of z.
        scale_tril: (n, n) the unit of z.
    """

    def __init__(self, location: Float[Array, " n"], scale_tril: Float[Array, "n n"]):
        self.location = location
        self.scale_tril = scale_tril

    def __call__(self, name, fn, obs):
        """NumPyro's reparam protocol: no distribution is left, the value is a function of z."""
        flat = dist.ImproperUniform(dist.constraints.real_vector, (), self.location.shape)
        z = numpyro.sample(f"{name}_whitened", flat)
        value = self.location + self.scale_tril @ z
        numpyro.factor(f"{name}_prior", fn.log_prob(value))
        return None, value


def whitened(
    location: Float[Array, " n"],
    scale_tril: Float[Array, "n n"],
    forward: ForwardModel,
    *args: Array | FitData,
) -> None:
    """:func:`thermal_diffuse_scattering` in whitened coordinates of its ``irreducible`` site."""
    with numpyro.handlers.reparam(config={"irreducible": Whiten(location, scale_tril)}):
        thermal_diffuse_scattering(forward, *args)  # type: ignore[arg-type]
