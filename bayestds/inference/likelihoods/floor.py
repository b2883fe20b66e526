"""A relative error common to all points, learned on top of given ones."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from bayestds.inference.likelihoods.base import LOG_NOISE, Likelihood, Quadratic, Unknowns
from bayestds.inference.likelihoods.gaussian import IndependentErrors
from bayestds.inference.likelihoods.log_normal import LEVEL, LearnedLogNormal

SMALLEST_LEVEL, LARGEST_LEVEL = 1e-5, 1e2
"""Relative errors between which a floor is looked for. The gamma-Poisson density of counts with far smaller
ones is a small difference of large numbers, and their rounding makes walls that trajectories run into."""

BISECTIONS = 60


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Floor(Likelihood):
    """Normal errors, a learned relative one on top of the given ones, added in quadrature; a pytree.

    Attributes:
        given: the observations with their given errors.
        level: the relative error of each point on top of these, as far as it is known.
    """

    given: IndependentErrors
    level: Float[Array, ""]

    @property
    def variable(self) -> str:  # type: ignore[override]
        """See :class:`Likelihood`."""
        return self.given.variable

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.given.log_observed

    def expectation(self, log_expected: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.given.expectation(log_expected)

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return self.given.noise

    @property
    def total_weight(self) -> Float[Array, ""] | int:
        """See :class:`Likelihood`."""
        return self.given.total_weight

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.given.observed

    def at(self, level: Float[Array, ""]) -> IndependentErrors:
        """The likelihood with this level."""
        return self.given.with_relative(level)

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`; at the level of :meth:`settled`."""
        return self.at(self.level).log_likelihood(log_intensity)

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.at(self.level).best_log_scale(log_intensity)

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`; at the level of :meth:`settled`."""
        return self.at(self.level).quadratic(log_intensity, n_parameters)

    def settled(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> "Floor":
        """See :class:`Likelihood`."""
        given = self.given.settled(log_intensity, n_parameters)
        residual, weight = given.working(log_intensity + self.best_log_scale(log_intensity))
        return Floor(given, excess_level(residual, 1 / weight, n_parameters))

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "Floor":
        """See :class:`Likelihood`."""
        return replace(self, given=self.given.shifted(offset))

    def subset(self, rows: np.ndarray) -> LearnedLogNormal:
        """See :class:`Likelihood`."""
        return self.at(self.level).subset(rows)

    def with_known_noise(self, noise_variance: float) -> IndependentErrors:
        """See :class:`Likelihood`."""
        return self.at(self.level)

    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""
        return {LEVEL: dist.Normal(*LOG_NOISE)}

    def coordinates(self, here: Quadratic) -> dict[str, tuple[float, float]]:
        """See :class:`Likelihood`."""
        given = 1 / here.weight - self.level**2
        return {LEVEL: level_coordinates(self.level, given)}

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.at(jnp.exp(unknowns[LEVEL])).log_density(log_intensity, {})

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.at(jnp.exp(unknowns[LEVEL])).log_scale(log_intensity, {}, key)

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Distribution:
        """See :class:`Likelihood`."""
        return self.at(jnp.exp(unknowns[LEVEL])).point_density(log_expected, {})


def excess_level(
    residual: Float[Array, " n_q"], given: Float[Array, " n_q"], n_parameters: int
) -> Float[Array, ""]:
    """Level τ at which Σ r²/(v + τ²) is the number of degrees of freedom.

    R. C. Paule and J. Mandel, J. Res. Natl. Bur. Stand. 87 (1982) 377. The smallest level where the given
    errors are large enough.

    Args:
        residual: r (n_q,), relative.
        given: v (n_q,), relative variances.
        n_parameters: that were fitted beside the scale.
    """
    freedom = jnp.maximum(len(residual) - n_parameters - 1, 1)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        too_small = (residual**2 / (given + jnp.exp(2 * middle))).sum() > freedom
        return jnp.where(too_small, middle, low), jnp.where(too_small, high, middle)

    bounds = jnp.log(jnp.asarray(SMALLEST_LEVEL)), jnp.log(jnp.asarray(LARGEST_LEVEL))
    return jnp.exp(jax.lax.fori_loop(0, BISECTIONS, halve, bounds)[0])


def level_coordinates(
    level: Float[Array, ""], given: Float[Array | np.ndarray, " n_q"]
) -> tuple[float, float]:
    """Rough location and standard deviation of the logarithm of a level, beside given relative variances."""
    # A floor that is not needed can be anything below the given errors.
    least = jnp.maximum(level**2, 0.01 * jnp.median(given))
    information = 2 * ((least / (given + least)) ** 2).sum()
    return float(jnp.log(least)) / 2, float((information + LOG_NOISE[1] ** -2) ** -0.5)
