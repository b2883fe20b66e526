"""Counts: Poisson variables, and Poisson variables of expectations that scatter themselves."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from bayestds.inference.likelihoods.base import LOG_NOISE, Likelihood, Quadratic, Unknowns, least_squares
from bayestds.inference.likelihoods.floor import SMALLEST_LEVEL, excess_level, level_coordinates
from bayestds.inference.likelihoods.log_normal import LEVEL, LearnedLogNormal, learned_log_normal
from bayestds.inference.likelihoods.scale import SCALE, best_scale, flat_scale

FEWEST_COUNTS = 0.5
"""Stand-in for zero counts where a logarithm or a weight is needed in a rough first fit."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Poisson(Likelihood):
    """Counts that are Poisson variables; a pytree.

    Attributes:
        number: (n_q,) counts.
        exposure: (n_q,) counts for an intensity of 1.
    """

    variable: ClassVar[str] = "counts"

    number: Float[Array, " n_q"]
    exposure: Float[Array, " n_q"]

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.number

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return jnp.log(jnp.maximum(self.number, FEWEST_COUNTS) / self.exposure)

    def expectation(self, log_expected: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.exposure * jnp.exp(log_expected)

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return "counts"

    @property
    def total_weight(self) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.number.sum()

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        total = jax.nn.logsumexp(log_intensity + jnp.log(self.exposure))
        return self.number @ log_intensity - self.number.sum() * total

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return jnp.log(self.number.sum()) - jax.nn.logsumexp(log_intensity + jnp.log(self.exposure))

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`."""
        log_scale = self.best_log_scale(log_intensity)
        expected = self.exposure * jnp.exp(log_intensity + log_scale)
        return least_squares(log_scale, self.number / expected - 1, expected)

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "Poisson":
        """See :class:`Likelihood`."""
        return replace(self, exposure=self.exposure * jnp.exp(offset))

    def subset(self, rows: np.ndarray) -> LearnedLogNormal:
        """See :class:`Likelihood`."""
        positive = jnp.maximum(self.number, FEWEST_COUNTS)
        weight = positive[rows] / positive[rows].mean()
        return learned_log_normal(jnp.log(positive / self.exposure)[rows], weight)

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`; profiled and integrated likelihood are the same up to a constant."""
        return self.log_likelihood(log_intensity)

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`; the scale of Poisson counts is a gamma variable."""
        best, total = self.best_log_scale(log_intensity), self.number.sum()
        return best if key is None else best + jax.random.loggamma(key, total) - jnp.log(total)

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Poisson:
        """See :class:`Likelihood`."""
        return dist.Poisson(self.exposure * jnp.exp(log_expected))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class GammaPoisson(Likelihood):
    """Poisson counts whose expectations are gamma variables of a relative error that is learned; a pytree.

    Attributes:
        counts: the counts.
        level: relative standard deviation of the expectations, as far as it is known.
    """

    variable: ClassVar[str] = "counts"

    counts: Poisson
    level: Float[Array, ""]

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.counts.number

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.counts.log_observed

    def expectation(self, log_expected: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.counts.expectation(log_expected)

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return "counts"

    @property
    def total_weight(self) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.counts.total_weight

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`; at the level of :meth:`settled`."""
        log_expected = log_intensity + self.best_log_scale(log_intensity)
        return self._density(log_expected, self.level).log_prob(self.counts.number).sum()

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        fixed = jax.lax.stop_gradient(log_intensity)

        def slope(log_scale: Array) -> tuple[Array, Array]:
            residual, weight = self._working(fixed + log_scale)
            return weight @ residual, weight.sum()

        return best_scale(slope, self.counts.best_log_scale(fixed))

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`; at the level of :meth:`settled`."""
        log_scale = self.best_log_scale(log_intensity)
        residual, weight = self._working(log_intensity + log_scale)
        return least_squares(log_scale, residual, weight)

    def _working(
        self, log_expected: Float[Array, " n_q"]
    ) -> tuple[Float[Array, " n_q"], Float[Array, " n_q"]]:
        """Relative residuals, and their inverse variances 1 / (1/μ + level²)."""
        expected = self.counts.exposure * jnp.exp(log_expected)
        return self.counts.number / expected - 1, 1 / (1 / expected + self.level**2)

    def settled(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> "GammaPoisson":
        """See :class:`Likelihood`."""
        log_expected = log_intensity + self.best_log_scale(log_intensity)
        given = jnp.exp(-log_expected) / self.counts.exposure
        residual = self.counts.number * given - 1
        return replace(self, level=excess_level(residual, given, n_parameters))

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "GammaPoisson":
        """See :class:`Likelihood`."""
        return replace(self, counts=self.counts.shifted(offset))

    def subset(self, rows: np.ndarray) -> LearnedLogNormal:
        """See :class:`Likelihood`."""
        return self.counts.subset(rows)

    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""
        return {LEVEL: dist.Normal(*LOG_NOISE), SCALE: flat_scale()}

    def coordinates(self, here: Quadratic) -> dict[str, tuple[float, float]]:
        """See :class:`Likelihood`."""
        level = level_coordinates(self.level, 1 / here.weight - self.level**2)
        return {LEVEL: level, SCALE: (0.0, float(here.weight.sum()) ** -0.5)}

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        log_expected = log_intensity + self.log_scale(log_intensity, unknowns)
        return self.point_density(log_expected, unknowns).log_prob(self.counts.number).sum()

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`; an offset from the best scale of Poisson counts."""
        return self.counts.best_log_scale(log_intensity) + unknowns[SCALE]

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.NegativeBinomial2:
        """See :class:`Likelihood`."""
        return self._density(log_expected, jnp.exp(unknowns[LEVEL]))

    def _density(self, log_expected: Float[Array, " n_q"], level: Float[Array, ""]) -> dist.NegativeBinomial2:
        expected = self.counts.exposure * jnp.exp(log_expected)
        return dist.NegativeBinomial2(expected, 1 / (level**2 + SMALLEST_LEVEL**2))
