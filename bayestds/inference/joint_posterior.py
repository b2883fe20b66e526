"""The posterior of several volumes: its model, the coordinates that whiten it, and its draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Float
from numpyro.distributions.transforms import ExpTransform

from bayestds.inference.joint import KELVIN_PER_UNIT, JointFit, JointProblem
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.model import Coordinates, Whiten, observe
from bayestds.inference.nuts import Draws, Sampling, run_nuts
from bayestds.inference.point_fit import PointFit
from bayestds.inference.posterior import (
    background_coordinates,
    following,
    noise_coordinates,
    scale_coordinates,
    standard_unit,
)
from bayestds.inference.priors import Prior, sample_irreducible, shrinkage_shapes
from bayestds.scattering.forward import ForwardModel, stable

SMALLEST_TREND = 0.1
"""Size of the trend that chains start from at least, as a share of its prior scale."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Trend:
    """Prior of the temperature trend φ₁; a pytree.

    Attributes:
        scale: of φ₁ as a share of the prior scales of φ₀: its standard deviation, or that of the common size.
        slope: (n, n) change of the posterior mean of φ₁ with φ₀, which ties their coordinates together.
        hierarchical: whether the size is a parameter with a half-normal prior, shared by all constants.
    """

    scale: Float[Array, ""]
    slope: Float[Array, "n n"]
    hierarchical: bool = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Volume:
    """One volume of a joint posterior; a pytree.

    Attributes:
        forward: crystal, temperature and Q points.
        likelihood: of the data, free of the truncation error of the forward model's engine.
        lag: (T_v - T₀) / 100 K.
        coordinates: location and unit of each whitened site of its noise and scale.
    """

    forward: ForwardModel
    likelihood: Likelihood
    lag: Float[Array, ""]
    coordinates: Coordinates


@dataclass(frozen=True, eq=False)
class JointTarget:
    """A joint posterior in the coordinates of its point fit.

    Attributes:
        coordinates: location and unit of each whitened site that volumes share; those of ``trend`` hold where
            the constants are at their own location.
        volumes: the data.
        prior: of the force constants.
        trend: its prior, None without a trend.
    """

    coordinates: Coordinates
    volumes: tuple[Volume, ...]
    prior: Prior
    trend: Trend | None

    @property
    def arguments(self) -> tuple:
        """Arguments of :func:`joint_posterior`."""
        return self.coordinates, self.volumes, self.prior, self.trend


def joint_posterior(
    coordinates: Coordinates, volumes: tuple[Volume, ...], prior: Prior, trend: Trend | None
) -> None:
    """NumPyro model: the posterior of several volumes, in whitened coordinates.

    Sites: those of the prior; ``trend`` (n_irreducible,) in eV/Å² per 100 K and, if hierarchical,
    ``log_trend_size``, the logarithm of its standard deviation in units of the prior scales; and those of
    :func:`bayestds.inference.model.observe` for each volume, as ``volume_1_log_relative_noise``.

    Args:
        coordinates: location and unit of each whitened site that volumes share.
        volumes: what each volume is made of.
        prior: of the force constants.
        trend: its prior, None without one.
    """
    with _whitened({name: unit for name, unit in coordinates.items() if name != "trend"}):
        irreducible, factor = sample_irreducible(prior)
        change = jnp.zeros(())
        if trend is not None:
            change = _sample_trend(coordinates, factor * prior.scales, trend, irreducible)
    for number, volume in enumerate(volumes, start=1):
        # Prefixes come last, or whitened sites would get two.
        with numpyro.handlers.scope(prefix=_prefix(number), divider=""), _whitened(volume.coordinates):
            observe(volume.forward, volume.likelihood, irreducible + volume.lag * change)


def _whitened(coordinates: Coordinates) -> numpyro.handlers.reparam:
    return numpyro.handlers.reparam(config={name: Whiten(*unit) for name, unit in coordinates.items()})


def _prefix(number: int) -> str:
    return f"volume_{number}_"


def _sample_trend(coordinates: Coordinates, scales: Array, trend: Trend, irreducible: Array) -> Array:
    """The site ``trend``, in coordinates that follow the constants; scales are those of their prior."""
    size = trend.scale
    if trend.hierarchical:
        half_normal = dist.HalfNormal(trend.scale)
        logarithm = dist.TransformedDistribution(half_normal, ExpTransform().inv)
        size = jnp.exp(numpyro.sample("log_trend_size", logarithm))
    origin, unit = coordinates["trend"]
    moved = origin + trend.slope @ (irreducible - coordinates["irreducible"][0])
    with _whitened({"trend": (moved, unit)}):
        return numpyro.sample("trend", dist.Normal(0.0, size * scales).to_event(1))


def make_joint_target(
    problem: JointProblem,
    fits: Sequence[PointFit],
    joint: JointFit,
    prior: Prior,
    hierarchical: bool = True,
) -> JointTarget:
    """The posterior of several volumes in coordinates whitened by the precision at their joint fit.

    Args:
        problem: the volumes, whose noise levels may be unknown.
        fits: the point fit of each volume by itself.
        joint: the joint fit, at stable force constants.
        prior: of the force constants.
        hierarchical: whether the size of the trend is a parameter; otherwise it is the problem's scale.
    """
    n = len(joint.irreducible)
    covariance = np.linalg.inv(joint.precision)
    shared, both = np.linalg.inv(covariance[:n, :n]), 2 * n
    coordinates = {"irreducible": (jnp.asarray(joint.irreducible), standard_unit(shared))}
    coordinates |= scale_coordinates(joint.irreducible, prior)
    trend = None
    if joint.trend is not None:
        # The inverse of a block of the precision is the covariance at given φ₀.
        coordinates["trend"] = (
            jnp.asarray(joint.trend),
            standard_unit(np.linalg.inv(covariance[:both, :both])[n:, n:]),
        )
        slope = covariance[n:both, :n] @ shared
        trend = Trend(jnp.asarray(problem.trend_scale), jnp.asarray(slope), hierarchical)
        if hierarchical:
            coordinates["log_trend_size"] = _trend_size(problem, joint.trend)
    volumes = []
    for one, own, fit in zip(problem.problems, fits, joint.volumes, strict=True):
        lag = jnp.asarray((one.temperature - problem.reference_temperature) / KELVIN_PER_UNIT)
        its_own = noise_coordinates(own) | background_coordinates(fit)
        likelihood = own.likelihood.shifted(fit.truncation.offset - own.truncation.offset)
        volumes.append(Volume(following(fit), likelihood, lag, its_own))
    return JointTarget(coordinates, tuple(volumes), prior, trend)


def _trend_size(problem: JointProblem, trend: np.ndarray) -> tuple[Array, Array]:
    """Rough location and standard deviation of ln of the common size, from the fitted trend."""
    assert problem.trend_scale is not None
    size = np.sqrt(np.mean((trend / problem.problems[0].prior_scales) ** 2))
    location = np.log(max(size, SMALLEST_TREND * problem.trend_scale))
    return jnp.asarray(location), jnp.asarray((2 * len(trend)) ** -0.5)


def sample_joint_posterior(
    target: JointTarget,
    sampling: Sampling,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[str, float], None] = lambda message, share: None,
) -> Draws:
    """Draws from the posterior by NUTS; see :func:`bayestds.inference.nuts.run_nuts`.

    The sites ``irreducible`` and ``trend`` are (chains, draws, n_irreducible).
    """
    positions = _starting_points(target, sampling.chains, sampling.seed)
    return run_nuts(joint_posterior, target.arguments, positions, sampling, checkpoint, resume, progress)


def _starting_points(target: JointTarget, n_points: int, seed: int) -> dict[str, np.ndarray]:
    """Positions (n_points, ...) of each site, spread as widely as the posterior, within the stable region."""
    rng = np.random.default_rng(seed)
    located = dict(target.coordinates)
    for number, volume in enumerate(target.volumes, start=1):
        located |= {_prefix(number) + name: unit for name, unit in volume.coordinates.items()}
    shapes = {f"{name}_whitened": location.shape for name, (location, _) in located.items()}
    shapes |= shrinkage_shapes(target.prior)
    positions = {name: rng.normal(size=(n_points, *shape)) for name, shape in shapes.items()}
    while (outside := ~np.asarray(_all_stable(target, positions))).any():
        for name in {"irreducible_whitened", "trend_whitened"} & set(positions):
            positions[name][outside] /= 2
    return positions


def _all_stable(target: JointTarget, positions: dict[str, np.ndarray]) -> Bool[Array, " n_points"]:
    """Whether the crystal is stable at the temperatures of all volumes."""
    location, unit = target.coordinates["irreducible"]
    irreducible = location + positions["irreducible_whitened"] @ unit.T
    change = jnp.zeros_like(irreducible)
    if target.trend is not None:
        origin, unit = target.coordinates["trend"]
        change = (
            origin + (irreducible - location) @ target.trend.slope.T + positions["trend_whitened"] @ unit.T
        )
    tests = [
        jax.vmap(lambda phi, forward=volume.forward: stable(forward, phi))(irreducible + volume.lag * change)
        for volume in target.volumes
    ]
    return jnp.array(tests).all(axis=0)
