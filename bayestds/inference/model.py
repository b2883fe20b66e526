"""The NumPyro models of a scattering volume, in any coordinates.

The point fit maximises :func:`thermal_diffuse_scattering`, in which everything but the force constants is
profiled out. Posteriors are those of :func:`scattering_posterior`, in which it is marginalised.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Complex, Float
from numpyro.infer.reparam import Reparam

from bayestds.inference.noise import Compression, FitData, best_log_scale, log_likelihood
from bayestds.inference.priors import Prior, sample_irreducible
from bayestds.lattice_dynamics.covariance import instability, is_stable
from bayestds.scattering.forward import ForwardModel, scattered, star_blocks

STABLE_MARGIN = 0.1
"""Eigenvalue of Φ(k), eV/Å², up to which the penalty of unstable force constants pushes."""

UNSTABLE_PENALTY = 20.0
"""Log-likelihood that unstable force constants lose at least, per point or unit of weight."""


def thermal_diffuse_scattering(
    forward: ForwardModel, data: FitData, prior_scales: Float[Array, " n_parameters"]
) -> None:
    """NumPyro model: normal priors on all parameters, Gaussian log intensities or counts, a stable crystal.

    Sites: ``parameters`` (n_parameters,), the irreducible IFCs in eV/Å² and the strengths of a background;
    the overall scale is profiled out.

    Args:
        forward: crystal, temperature and Q points.
        data: what was observed.
        prior_scales: standard deviation of each normal prior.
    """
    parameters = numpyro.sample("parameters", dist.Normal(0.0, prior_scales).to_event(1))
    numpyro.factor("log_likelihood", constrained_log_likelihood(forward, data, parameters))


def constrained_log_likelihood(
    forward: ForwardModel, data: FitData, irreducible: Float[Array, " n_parameters"]
) -> Float[Array, ""]:
    """Log-likelihood where the crystal is stable, and a steep convex penalty where it is not."""
    safe, stable, phi_blocks = stable_log_intensity(forward, irreducible, data.log_intensity)
    penalty = jax.lax.cond(
        stable, lambda x: jnp.zeros(()), lambda x: instability(x, jnp.asarray(STABLE_MARGIN)), phi_blocks
    )
    unit = len(data.weight) if data.learned else data.weight.sum()
    worst = -unit * (UNSTABLE_PENALTY + penalty)
    return jnp.where(stable, log_likelihood(data, safe), worst)


def stable_log_intensity(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"], elsewhere: Float[Array, " n_q"]
) -> tuple[Float[Array, " n_q"], Bool[Array, ""], Complex[Array, "n_stars three_n three_n"]]:
    """Log intensity where the crystal is stable, ``elsewhere`` where not; whether it is; Φ(k) of stars."""
    phi_blocks = star_blocks(forward, irreducible)
    log_intensity = scattered(forward, irreducible, phi_blocks)
    # The branch that is not taken must not reach the gradient, hence the second `where` of the callers.
    stable = is_stable(phi_blocks)
    return jnp.where(stable, log_intensity, jax.lax.stop_gradient(elsewhere)), stable, phi_blocks


LOG_NOISE = (-3.0, 3.0)
"""Mean and standard deviation of the normal prior on ln of a learned relative noise level."""


SMALLEST_FLOOR = 1e-5
"""Relative noise beside which that of any counts is large. Far below it the gamma-Poisson density is a small
difference of large numbers, and their rounding makes walls that trajectories run into."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Noise:
    """What is not known of the noise; a pytree without arrays.

    Attributes:
        floor: whether a relative error common to all points is learned on top of the given ones.
        degrees_of_freedom: of Student-t residuals; None for normal ones.
    """

    floor: bool = field(default=False, metadata={"static": True})
    degrees_of_freedom: float | None = field(default=None, metadata={"static": True})


def scattering_posterior(forward: ForwardModel, data: FitData, prior: Prior, noise: Noise) -> None:
    """NumPyro model: the posterior of the irreducible IFCs within the stable region, and nothing outside it.

    Sites: those of the prior, and of :func:`observe`; with third-order constants ``cubic`` (n_cubic,) in
    eV/Å³, and ``cubic_offset``, its coordinates.

    Args:
        forward: crystal, temperature and Q points.
        data: what was observed.
        prior: of the force constants.
        noise: what is not known of the noise.
    """
    constants = sample_irreducible(prior)
    if prior.cubic_scales is not None:
        cubic = _sample_following("cubic", prior.cubic_scales, forward.cubic_slope, constants)
        constants = jnp.append(constants, cubic)
    observe(forward, data, constants, noise)


def observe(
    forward: ForwardModel, data: FitData, constants: Float[Array, " n_constants"], noise: Noise
) -> None:
    """Part of a NumPyro model: the likelihood of a volume, and the sites of its noise, scale and background.

    Sites: ``background_offset`` (n_terms,) where the instrument has background terms, and their strengths
    ``background``; ``log_relative_noise`` if the noise of the data is learned (of one voxel) or has a learned
    floor (of one point); ``scale_offset`` if the residuals are Student-t or counts have a floor, the log
    scale less the best one, and ``log_scale`` itself. Otherwise the scale is marginalised under a flat prior
    on its logarithm, which for normal residuals of known variance and for Poisson counts is the same as to
    profile it out, up to a constant.

    Args:
        forward: crystal, temperature and Q points.
        data: what was observed.
        constants: φ in eV/Å², and γ in eV/Å³ if the crystal has third-order constants.
        noise: what is not known of the noise.
    """
    parameters = constants
    if has_background(forward):
        assert forward.instrument is not None
        scales = forward.instrument.scales
        background = _sample_following("background", scales, forward.background_slope, constants)
        parameters = jnp.append(constants, background)
    log_intensity, stable, _ = stable_log_intensity(forward, parameters, data.log_intensity)
    numpyro.factor("stable", jnp.where(stable, 0.0, -jnp.inf))
    level = None
    if learns_level(data, noise):
        level = jnp.exp(numpyro.sample("log_relative_noise", dist.Normal(*LOG_NOISE)))
    if samples_scale(data, noise):
        flat = dist.ImproperUniform(dist.constraints.real, (), ())
        # The offset hardly depends on the force constants, as the scale does: chains mix.
        offset = numpyro.sample("scale_offset", flat)
        known = data if level is None or data.counts is not None else with_noise_level(data, level)
        log_scale = numpyro.deterministic("log_scale", best_log_scale(known, log_intensity) + offset)
        density = point_density(data, log_intensity + log_scale, level, noise)
        density = density.log_prob(observed(data)).sum()
    else:
        data = data if level is None else with_noise_level(data, level)
        density = log_likelihood(data, log_intensity) + log_normaliser(data)
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


def point_density(
    data: FitData, log_expected: Float[Array, " n_q"], level: Float[Array, ""] | None, noise: Noise
) -> dist.Distribution:
    """Density of what is observed at each point: counts, or log intensities.

    Counts are Poisson variables; with a floor their expectation is a gamma variable of that relative standard
    deviation.

    Args:
        data: what was observed.
        log_expected: expected log intensity, with the scale.
        level: of the noise, None if nothing of it is learned; see :func:`with_noise_level`.
        noise: what is not known of the noise.
    """
    if data.counts is not None:
        expected = data.counts.exposure * jnp.exp(log_expected)
        if level is None:
            return dist.Poisson(expected)
        return dist.NegativeBinomial2(expected, 1 / (level**2 + SMALLEST_FLOOR**2))
    if level is not None:
        data = with_noise_level(data, level)
    if noise.degrees_of_freedom is not None:
        return dist.StudentT(noise.degrees_of_freedom, log_expected, data.weight**-0.5)
    return dist.Normal(log_expected, data.weight**-0.5)


def observed(data: FitData) -> Float[Array, " n_q"]:
    """What :func:`point_density` is a density of."""
    return data.log_intensity if data.counts is None else data.counts.number


def samples_scale(data: FitData, noise: Noise) -> bool:
    """Whether the scale is among the unknowns, as it cannot be marginalised by itself."""
    return noise.degrees_of_freedom is not None or (data.counts is not None and noise.floor)


def log_normaliser(data: FitData) -> Float[Array, ""]:
    """What the log-likelihood lacks of a density once the scale is marginalised, up to a constant.

    It matters only where the noise level is not known.
    """
    if data.compression is not None:
        return data.compression.log_weights
    return 0.5 * (jnp.log(data.weight).sum() - jnp.log(data.weight.sum()))


def learns_level(data: FitData, noise: Noise) -> bool:
    """Whether a noise level is among the unknowns."""
    return data.learned or noise.floor


def with_noise_level(data: FitData, level: Float[Array, ""]) -> FitData:
    """Data of known noise.

    Args:
        data: observed log intensities.
        level: relative noise of one voxel if the noise is learned, else the floor, that of one point.
    """
    if data.learned:
        compression = None if data.compression is None else _scaled(data.compression, level)
        return replace(data, weight=data.weight / level**2, learned=False, compression=compression)
    return replace(data, weight=1 / (1 / data.weight + level**2))


def _scaled(compression: Compression, level: Float[Array, ""]) -> Compression:
    """The same for errors that are larger by a factor ``level``."""
    return replace(
        compression,
        factor=compression.factor / level,
        remainder=compression.remainder / level**2,
        log_weights=compression.log_weights - (compression.n_points - 1) * jnp.log(level),
    )


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
    *args: Array | FitData,
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
