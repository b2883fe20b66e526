"""What every likelihood can do, and its least-squares form near some expectations."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Complex, Float, Int

from bayestds.inference.correlation import Correlation

LOG_NOISE = (-3.0, 3.0)
"""Mean and standard deviation of the normal prior on ln of a learned relative noise level."""

Same = TypeVar("Same", bound="Likelihood")
"""The class of a likelihood itself."""

Unknowns = dict[str, Array]
"""Values of what a likelihood does not know, by the names of the NumPyro sites."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Diagonal:
    """Inverse covariance of independent points; a pytree with the methods of :class:`Correlation`.

    Attributes:
        weight: (n_q,) inverse variances.
    """

    weight: Float[Array, " n_q"]

    @property
    def row_sums(self) -> Float[Array, " n_q"]:
        """Sums (n_q,) over the rows of the inverse covariance."""
        return self.weight

    @property
    def degrees_of_freedom(self) -> int:
        """Number of independent observations."""
        return len(self.weight)

    def times(self, values: Float[Array, "n_q *columns"]) -> Float[Array, "n_q *columns"]:
        """Inverse covariance times values."""
        return (self.weight * values.T).T

    def square(self, values: Float[Array, " n_q"]) -> Float[Array, ""]:
        """Valuesᵀ Σ⁻¹ values."""
        return (self.weight * values**2).sum()


Precision = Diagonal | Correlation


def centred(precision: Precision, values: Float[Array, "n_q *columns"]) -> Float[Array, "n_q *columns"]:
    """Values less their weighted mean over the Q points: what is left of them once the scale is fitted.

    The weights are the row sums of the inverse covariance (generalised least squares).
    """
    return values - weighted_mean(precision, values)


def fisher_information(precision: Precision, derivative: Float[Array, "n_q n"]) -> Float[Array, "n n"]:
    """Jᵀ Σ⁻¹ J with the scale profiled out: the Fisher information of parameters in normal log intensities.

    Args:
        precision: the inverse covariance Σ⁻¹.
        derivative: J, of the log intensities by the parameters.
    """
    derivative = centred(precision, derivative)
    return derivative.T @ precision.times(derivative)


def weighted_mean(precision: Precision, values: Float[Array, "n_q *columns"]) -> Float[Array, "*columns"]:
    """Mean over the Q points with the weights of :func:`centred`; of a misfit in ln I, the best log scale."""
    weight = precision.row_sums
    return jnp.tensordot(weight, values, axes=1) / weight.sum()


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Quadratic:
    """A likelihood near some expectations, as least squares of log intensities with a free scale; a pytree.

    Observations that are no log intensities enter with their differences relative to what is expected
    (iteratively reweighted least squares; Nelder and Wedderburn, J. R. Stat. Soc. A 135 (1972) 370).

    Attributes:
        log_scale: logarithm of the best scale.
        residual: (n_q,) observed minus expected log intensity, or relative difference, at the best scale.
        score: (n_q,) derivative of the log-likelihood by each expected log intensity; its sum is 0.
        precision: inverse covariance of the residuals, with the noise level at its best where it is learned.
        weight: (n_q,) inverse variance of each residual.
        chi_square: sum of squares of the residuals in units of their errors; weighted for heavy tails.
        noise_variance: variance of a point of unit weight where the level is learned, else 1.
    """

    log_scale: Float[Array, ""]
    residual: Float[Array, " n_q"]
    score: Float[Array, " n_q"]
    precision: Precision
    weight: Float[Array, " n_q"]
    chi_square: Float[Array, ""]
    noise_variance: Float[Array, ""]

    @property
    def residual_rms(self) -> Float[Array, ""]:
        """Weighted root mean square of the residual."""
        return jnp.sqrt((self.weight * self.residual**2).sum() / self.weight.sum())

    def reduced_chi_square(self, n_parameters: int) -> Float[Array, ""]:
        """χ² per degree of freedom, of which the parameters and the scale take one each."""
        freedom = jnp.maximum(self.precision.degrees_of_freedom - n_parameters - 1, 1)
        return self.chi_square / freedom


def least_squares(
    log_scale: Float[Array, ""], residual: Float[Array, " n_q"], weight: Float[Array, " n_q"]
) -> Quadratic:
    """The quadratic of independent residuals with known inverse variances."""
    score = weight * residual
    return Quadratic(log_scale, residual, score, Diagonal(weight), weight, score @ residual, jnp.ones(()))


class Likelihood(ABC):
    """What was observed at the Q points of a volume, and how it scatters about what is expected; a pytree.

    The model says ``log_intensity`` (n_q,), which lacks the overall scale of the volume. Fits maximise over
    the scale and whatever else is unknown (:meth:`log_likelihood`, :meth:`quadratic`). Posteriors integrate
    over it: in closed form where there is one, else as a site among :meth:`unknowns`.
    """

    variable: ClassVar[str] = "log_intensity"
    """What is observed: log_intensity, intensity or counts."""

    @property
    @abstractmethod
    def observed(self) -> Float[Array, " n_q"]:
        """The observations."""

    @property
    def n_points(self) -> int:
        """Number of Q points."""
        return len(self.observed)

    @property
    @abstractmethod
    def log_observed(self) -> Float[Array, " n_q"]:
        """Logarithm of the observed intensities, for pictures; NaN where there is none."""

    def expectation(self, log_expected: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """Expected observations where the log intensities, with the scale, are expected to be these."""
        return log_expected

    @property
    @abstractmethod
    def noise(self) -> str:
        """Where the size of the noise comes from: given, learned, counts or ensemble."""

    # Fits

    @property
    @abstractmethod
    def total_weight(self) -> Float[Array, ""] | int:
        """What a residual of 1 in ln I at all points takes from twice the log-likelihood, roughly."""

    @abstractmethod
    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """Log-likelihood up to a constant, at the best scale and noise level."""

    @abstractmethod
    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """Logarithm of the scale at which the log-likelihood is largest."""

    @abstractmethod
    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """The likelihood near these expectations; the parameters cost a learned noise level freedom."""

    def settled(self: Same, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Same:
        """The same with variances, or a noise floor, as they are at these expectations."""
        return self

    @abstractmethod
    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "Likelihood":
        """The likelihood for a model whose log intensities are smaller by an offset (n_q,)."""

    @abstractmethod
    def subset(self, rows: np.ndarray) -> "Likelihood":
        """Some of the points as log intensities with a learned noise level, for rough first fits."""

    def with_known_noise(self, noise_variance: float) -> "Likelihood":
        """The same with a learned noise level fixed at that of a fit."""
        return self

    # Posteriors

    def unknowns(self) -> dict[str, dist.Distribution]:
        """Priors of what is sampled along with the force constants, by the names of the sites."""
        return {}

    def coordinates(self, here: Quadratic) -> dict[str, tuple[float, float]]:
        """Rough location and standard deviation of the posterior of each of these, near a fit."""
        return {}

    @abstractmethod
    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """Log density of the observations up to a constant; a scale that is no site is integrated out."""

    def outside(
        self, stable: Bool[Array, ""], phi_blocks: Complex[Array, "n_stars three_n three_n"]
    ) -> Float[Array, ""]:
        """What takes the place of the density where the crystal is unstable: there is no such crystal."""
        return jnp.asarray(-jnp.inf)

    @abstractmethod
    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """Log scale of a draw: its site or, with a key, a draw from its conditional distribution."""

    @abstractmethod
    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Distribution:
        """Density of each observation where the log intensities, with the scale, are expected to be these."""

    def replicate(
        self, log_expected: Float[Array, "n_draws n_q"], unknowns: Unknowns, keys: Array
    ) -> Float[np.ndarray, "n_draws n_q"]:
        """New observations, one for each draw of the expected log intensities.

        Args:
            log_expected: with the scale.
            unknowns: values (n_draws, ...) of each.
            keys: (n_draws,) random keys.
        """
        return np.asarray(_replicates(self, log_expected, unknowns, keys))

    def log_density_by_group(
        self, log_expected: Float[Array, "n_draws n_q"], unknowns: Unknowns, groups: Int[np.ndarray, " n_q"]
    ) -> Float[np.ndarray, "n_draws n_groups"]:
        """Log density of the observations of each group, given all others where these are correlated.

        Args:
            log_expected: with the scale, of each draw.
            unknowns: values (n_draws, ...) of each.
            groups: (n_q,) int from 0.
        """
        return np.asarray(
            _densities_by_group(self, log_expected, unknowns, jnp.asarray(groups), int(groups.max()) + 1)
        )


@jax.jit
def _replicates(likelihood: Likelihood, log_expected: Array, unknowns: Unknowns, keys: Array) -> Array:
    def one(draw: tuple[Array, Unknowns, Array]) -> Array:
        expected, values, key = draw
        return likelihood.point_density(expected, values).sample(key).astype(float)

    return jax.lax.map(one, (log_expected, unknowns, keys))


@partial(jax.jit, static_argnames="n_groups")
def _densities_by_group(
    likelihood: Likelihood, log_expected: Array, unknowns: Unknowns, groups: Array, n_groups: int
) -> Array:
    def one(draw: tuple[Array, Unknowns]) -> Array:
        by_point = likelihood.point_density(*draw).log_prob(likelihood.observed)
        return jax.ops.segment_sum(by_point, groups, num_segments=n_groups)

    return jax.lax.map(one, (log_expected, unknowns))
