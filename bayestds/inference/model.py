"""The NumPyro models of a scattering volume, in any coordinates.

The point fit maximises :func:`thermal_diffuse_scattering`, in which everything but the force constants is
profiled out. Posteriors are those of :func:`scattering_posterior`, in which it is marginalised.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Complex, Float
from numpyro.infer.reparam import Reparam

from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.compressed import Compressed
from bayestds.inference.likelihoods.scale import SCALE
from bayestds.inference.priors import Prior, sample_irreducible
from bayestds.lattice_dynamics.covariance import instability, is_stable
from bayestds.scattering.forward import ForwardModel, scattered, star_blocks

STABLE_MARGIN = 0.1
"""Eigenvalue of Φ(k), eV/Å², up to which the penalty of unstable force constants pushes."""

UNSTABLE_PENALTY = 20.0
"""Log-likelihood that unstable force constants lose at least, per point or unit of weight."""


def thermal_diffuse_scattering(
    forward: ForwardModel, likelihood: Likelihood, prior_scales: Float[Array, " n_parameters"]
) -> None:
    """NumPyro model: normal priors on all parameters, the likelihood of a volume, a stable crystal.

    Sites: ``parameters`` (n_parameters,), the irreducible IFCs in eV/Å² and the strengths of a background;
    the overall scale is profiled out.

    Args:
        forward: crystal, temperature and Q points.
        likelihood: what was observed, and how it scatters about what is expected.
        prior_scales: standard deviation of each normal prior.
    """
    parameters = numpyro.sample("parameters", dist.Normal(0.0, prior_scales).to_event(1))
    numpyro.factor("log_likelihood", constrained_log_likelihood(forward, likelihood, parameters))


def constrained_log_likelihood(
    forward: ForwardModel, likelihood: Likelihood, irreducible: Float[Array, " n_parameters"]
) -> Float[Array, ""]:
    """Log-likelihood where the crystal is stable, and a steep convex penalty where it is not."""
    safe, stable, phi_blocks = stable_log_intensity(forward, irreducible)
    penalty = jax.lax.cond(
        stable, lambda x: jnp.zeros(()), lambda x: instability(x, jnp.asarray(STABLE_MARGIN)), phi_blocks
    )
    worst = -likelihood.total_weight * (UNSTABLE_PENALTY + penalty)
    return jnp.where(stable, likelihood.log_likelihood(safe), worst)


def stable_log_intensity(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"]
) -> tuple[Float[Array, " n_q"], Bool[Array, ""], Complex[Array, "n_stars three_n three_n"]]:
    """Log intensity where the crystal is stable, zeros where not; whether it is; Φ(k) of stars."""
    phi_blocks = star_blocks(forward, irreducible)
    log_intensity = scattered(forward, irreducible, phi_blocks)
    # The branch that is not taken must not reach the gradient, hence the second `where` of the callers.
    stable = is_stable(phi_blocks)
    return jnp.where(stable, log_intensity, 0.0), stable, phi_blocks


def scattering_posterior(forward: ForwardModel, likelihood: Likelihood | Compressed, prior: Prior) -> None:
    """NumPyro model: the posterior of the irreducible IFCs within the stable region, and nothing outside it.

    Sites: those of the prior, and of :func:`observe`; with third-order constants ``cubic`` (n_cubic,) in
    eV/Å³, and ``cubic_offset``, its coordinates.

    Args:
        forward: crystal, temperature and Q points.
        likelihood: what was observed, and how it scatters about what is expected.
        prior: of the force constants.
    """
    constants, factor = sample_irreducible(prior)
    if prior.cubic_scales is not None:
        cubic = _sample_following("cubic", factor * prior.cubic_scales, forward.cubic_slope, constants)
        constants = jnp.append(constants, cubic)
    observe(forward, likelihood, constants)


def observe(
    forward: ForwardModel, likelihood: Likelihood | Compressed, constants: Float[Array, " n_constants"]
) -> None:
    """Part of a NumPyro model: the likelihood of a volume, and the sites of its noise, scale and background.

    Sites: ``background_offset`` (n_terms,) where the instrument has background terms, and their strengths
    ``background``; what the likelihood does not know: ``log_relative_noise`` if a noise level is learned (of
    one voxel) or a floor of it (of one point), and ``scale_offset`` where the scale cannot be integrated out
    in closed form, the log scale less the best one, with ``log_scale`` itself.

    Args:
        forward: crystal, temperature and Q points.
        likelihood: what was observed, and how it scatters about what is expected.
        constants: φ in eV/Å², and γ in eV/Å³ if the crystal has third-order constants.
    """
    parameters = constants
    if has_background(forward):
        assert forward.instrument is not None
        scales = forward.instrument.scales
        background = _sample_following("background", scales, forward.background_slope, constants)
        parameters = jnp.append(constants, background)
    log_intensity, stable, _ = stable_log_intensity(forward, parameters)
    numpyro.factor("stable", jnp.where(stable, 0.0, -jnp.inf))
    unknowns = {name: numpyro.sample(name, prior) for name, prior in likelihood.unknowns().items()}
    if SCALE in unknowns:
        numpyro.deterministic("log_scale", likelihood.log_scale(log_intensity, unknowns))
    density = likelihood.log_density(log_intensity, unknowns)
    numpyro.factor("log_likelihood", jnp.where(stable, density, 0.0))


def _sample_following(
    name: str, scales: Float[Array, " n"], slope: Float[Array, "n n_others"] | None, others: Array
) -> Float[Array, " n"]:
    """A site with normal priors about 0, sampled in coordinates ``{name}_offset`` that follow other sites."""
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), scales.shape)
    offset = numpyro.sample(f"{name}_offset", flat)
    values = offset if slope is None else offset + slope @ others
    numpyro.factor(f"{name}_prior", dist.Normal(0.0, scales).log_prob(values).sum())
    return numpyro.deterministic(name, values)


def has_background(forward: ForwardModel) -> bool:
    """Whether there are strengths of a background among the parameters."""
    return forward.instrument is not None and forward.instrument.background.shape[1] > 0


class Whiten(Reparam):
    """Sample a site x as location + scale_tril @ z with a flat z, keeping x's own density.

    Args:
        location: (n,) the origin of z; a scalar for a scalar site.
        scale_tril: (n, n) the unit of z.
    """

    def __init__(self, location: Float[Array, "*n"], scale_tril: Float[Array, "*n_n"]):
        self.location = location
        self.scale_tril = scale_tril

    def __call__(self, name, fn, obs):
        """NumPyro's reparam protocol: no distribution is left, the value is a function of z."""
        support = dist.constraints.real_vector if self.location.ndim else dist.constraints.real
        z = numpyro.sample(f"{name}_whitened", dist.ImproperUniform(support, (), self.location.shape))
        value = self.location + jnp.tensordot(self.scale_tril, z, axes=self.location.ndim)
        numpyro.factor(f"{name}_prior", fn.log_prob(value))
        return None, value


def whitened(
    location: Float[Array, " n"],
    scale_tril: Float[Array, "n n"],
    forward: ForwardModel,
    *args: Array | Likelihood,
) -> None:
    """:func:`thermal_diffuse_scattering` in whitened coordinates of its ``parameters`` site."""
    with numpyro.handlers.reparam(config={"parameters": Whiten(location, scale_tril)}):
        thermal_diffuse_scattering(forward, *args)  # type: ignore[arg-type]


Coordinates = dict[str, tuple[Array, Array]]
"""Location and scale_tril of each whitened site."""


def whitened_posterior(coordinates: Coordinates, *arguments: object) -> None:
    """:func:`scattering_posterior` in whitened coordinates of the named sites."""
    with numpyro.handlers.reparam(config={name: Whiten(*unit) for name, unit in coordinates.items()}):
        scattering_posterior(*arguments)  # type: ignore[arg-type]
