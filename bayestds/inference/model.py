"""The NumPyro model of one or more scattering volumes, in whitened coordinates.

The point fit maximises it with likelihoods in which everything but the parameters is profiled out. Posteriors
have likelihoods in which it is marginalised, and a prior with what it learns.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Complex, Float
from numpyro.infer.reparam import Reparam

from bayestds.inference.likelihoods.base import Unknowns
from bayestds.inference.likelihoods.scale import SCALE
from bayestds.inference.priors import Prior, densities, hyperparameters
from bayestds.lattice_dynamics.covariance import is_stable
from bayestds.lattice_dynamics.harmonic import star_blocks
from bayestds.scattering.forward import ForwardModel, intensity_of_blocks

PARAMETERS = "free_parameters"
"""NumPyro site of all parameters θ together, which is sampled in whitened coordinates only."""

Coordinates = dict[str, tuple[Array, Array]]
"""Location and unit (scale_tril) of each whitened site."""


@runtime_checkable
class Density(Protocol):
    """What stands for a likelihood in the model; a pytree."""

    def unknowns(self) -> dict[str, dist.Distribution]:
        """Priors of what is sampled along with the parameters, by the names of the sites."""
        ...

    def log_density(self, log_intensity: Float[Array, " n"], unknowns: Unknowns) -> Float[Array, ""]:
        """Log density of the observations up to a constant."""
        ...

    def log_scale(self, log_intensity: Float[Array, " n"], unknowns: Unknowns) -> Float[Array, ""]:
        """Log scale, where it is among the unknowns."""
        ...

    def outside(
        self, stable: Bool[Array, ""], phi_blocks: Complex[Array, "n_stars three_n three_n"]
    ) -> Float[Array, ""]:
        """What takes its place where the crystal is unstable."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Observation:
    """One volume in the model; a pytree.

    Attributes:
        forward: from its parameters A_v θ to its log intensities.
        likelihood: of what was observed.
        design: (n_parameters of the volume, n_parameters) A_v.
        prefix: of the names of its own sites.
    """

    forward: ForwardModel
    likelihood: Density
    design: Float[Array, "n_own n_parameters"]
    prefix: str = field(metadata={"static": True})


def scattering(prior: Prior, volumes: tuple[Observation, ...], coordinates: Coordinates) -> None:
    """NumPyro model: the prior of all parameters and the likelihood of every volume.

    Sites: the whitened coordinates ``free_parameters_whitened`` (n_parameters,), and what follows from them:
    ``irreducible`` (eV/Å²), ``trend`` (eV/Å² per 100 K), ``cubic`` (eV/Å³) and ``background``; what the
    prior learns; and for each volume what its likelihood does not know: ``log_relative_noise`` if a noise
    level is learned (of one voxel) or a floor of it (of one point), and ``scale_offset`` where the scale
    cannot be integrated out in closed form, the log scale less the best one, with ``log_scale`` itself. With
    several volumes, names of sites that belong to one begin with ``volume_1_`` and so on.

    Args:
        prior: of the parameters.
        volumes: the data.
        coordinates: of whitened sites, all parameters among them.
    """
    others = {name: Whiten(*unit) for name, unit in coordinates.items() if name != PARAMETERS}
    with numpyro.handlers.reparam(config=others):
        parameters = sample_parameters(prior, coordinates[PARAMETERS])
        for volume in volumes:
            observe(volume, parameters)


def sample_parameters(prior: Prior, unit: tuple[Array, Array]) -> Float[Array, " n_parameters"]:
    """Part of a NumPyro model: all parameters θ, in coordinates of this location and unit."""
    location, scale_tril = unit
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), location.shape)
    parameters = location + scale_tril @ numpyro.sample(f"{PARAMETERS}_whitened", flat)
    blocks = prior.split(parameters)
    for name, density in densities(prior, hyperparameters(prior)).items():
        numpyro.factor(f"{name}_prior", density.log_prob(blocks[name]))
        numpyro.deterministic(name, blocks[name])
    return parameters


def observe(volume: Observation, parameters: Float[Array, " n_parameters"]) -> None:
    """Part of a NumPyro model: the likelihood of a volume, and the sites of what it does not know."""
    log_intensity, stable, phi_blocks = stable_log_intensity(volume.forward, volume.design @ parameters)
    prefix, likelihood = volume.prefix, volume.likelihood
    unknowns = {name: numpyro.sample(prefix + name, prior) for name, prior in likelihood.unknowns().items()}
    if SCALE in unknowns:
        numpyro.deterministic(f"{prefix}log_scale", likelihood.log_scale(log_intensity, unknowns))
    density = likelihood.log_density(log_intensity, unknowns)
    outside = likelihood.outside(stable, phi_blocks)
    numpyro.factor(f"{prefix}log_likelihood", jnp.where(stable, density, outside))


def stable_log_intensity(
    forward: ForwardModel, parameters: Float[Array, " n_parameters"]
) -> tuple[Float[Array, " n_q"], Bool[Array, ""], Complex[Array, "n_stars three_n three_n"]]:
    """Log intensity where the crystal is stable, zeros where not; whether it is; Φ(k) of stars."""
    phi_blocks = star_blocks(forward.crystal, forward.sizes.split(parameters).second)
    log_intensity = intensity_of_blocks(forward, parameters, phi_blocks)
    # The branch that is not taken must not reach the gradient, hence the second `where` of the callers.
    stable = is_stable(phi_blocks)
    return jnp.where(stable, log_intensity, 0.0), stable, phi_blocks


class Whiten(Reparam):
    """Sample a scalar site x as location + unit * z with a flat z, keeping x's own density.

    Args:
        location: the origin of z.
        unit: of z.
    """

    def __init__(self, location: Float[Array, ""], unit: Float[Array, ""]):
        self.location = location
        self.unit = unit

    def __call__(self, name, fn, obs):
        """NumPyro's reparam protocol: no distribution is left, the value is a function of z."""
        z = numpyro.sample(f"{name}_whitened", dist.ImproperUniform(dist.constraints.real, (), ()))
        value = self.location + self.unit * z
        numpyro.factor(f"{name}_prior", fn.log_prob(value))
        return None, value
