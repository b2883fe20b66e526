"""Intensities with normal errors of given size; they may be zero or negative."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from bayestds.inference.likelihoods.base import Likelihood, Quadratic, Unknowns, least_squares
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal, LogNormal, learned_log_normal

SMALLEST_SCALE = 1e-12
"""Scale that intensities whose sum is not positive get, relative to that of their absolute values."""

FAINTEST = 0.5
"""Standard errors that stand for a smaller intensity where a logarithm is needed in a rough first fit."""

SETTLING = 3
"""Times that variances are evaluated at the scale that they lead to."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Gaussian(Likelihood):
    """Intensities y with independent normal errors of the variance v = a + b μ about their expectation μ.

    Where standard errors were made from counts, v follows the intensity. It is evaluated at what a fit
    expects, never at the value itself: 1/v would favour observations that came out low. While force
    constants are varied v stays, and after a step it is evaluated anew (:meth:`settled`): quasi-likelihood
    (McCullagh and Nelder, Generalized Linear Models (1989), chapter 9). A pytree.

    Attributes:
        intensity: (n_q,) y.
        constant: (n_q,) a.
        slope: (n_q,) b, not negative.
        expected: (n_q,) μ at which v is evaluated, positive.
    """

    variable: ClassVar[str] = "intensity"

    intensity: Float[Array, " n_q"]
    constant: Float[Array, " n_q"]
    slope: Float[Array, " n_q"]
    expected: Float[Array, " n_q"]

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.intensity

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return jnp.log(jnp.where(self.intensity > 0, self.intensity, jnp.nan))

    def expectation(self, log_expected: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return jnp.exp(log_expected)

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return "given"

    @property
    def total_weight(self) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.relative_weight.sum()

    @property
    def variance(self) -> Float[Array, " n_q"]:
        """(n_q,) v."""
        return self.constant + self.slope * self.expected

    @property
    def relative_weight(self) -> Float[Array, " n_q"]:
        """Inverse variance (n_q,) of each intensity relative to what is expected."""
        return self.expected**2 / self.variance

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        expected = jnp.exp(log_intensity + self.best_log_scale(log_intensity))
        return -0.5 * ((self.intensity - expected) ** 2 / self.variance).sum()

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`; a scale that would not be positive is a very small one."""
        weighted = jnp.exp(log_intensity) / self.variance
        least = SMALLEST_SCALE * (jnp.abs(self.intensity) @ weighted)
        return jnp.log(jnp.maximum(self.intensity @ weighted, least)) - jnp.log(
            jnp.exp(log_intensity) @ weighted
        )

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`."""
        log_scale = self.best_log_scale(log_intensity)
        residual, weight = self.working(log_intensity + log_scale)
        return least_squares(log_scale, residual, weight)

    def working(
        self, log_expected: Float[Array, " n_q"]
    ) -> tuple[Float[Array, " n_q"], Float[Array, " n_q"]]:
        """Relative residuals and their inverse variances, where the scale is part of what is expected."""
        expected = jnp.exp(log_expected)
        return self.intensity / expected - 1, expected**2 / self.variance

    def settled(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> "Gaussian":
        """See :class:`Likelihood`."""
        found = self
        for _ in range(SETTLING):
            found = replace(self, expected=jnp.exp(log_intensity + found.best_log_scale(log_intensity)))
        return found

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "Gaussian":
        """See :class:`Likelihood`."""
        factor = jnp.exp(-offset)
        return Gaussian(
            self.intensity * factor, self.constant * factor**2, self.slope * factor, self.expected * factor
        )

    def subset(self, rows: np.ndarray) -> LearnedLogNormal:
        """See :class:`Likelihood`."""
        error = jnp.sqrt(self.variance)
        positive = jnp.maximum(self.intensity, FAINTEST * error)
        weight = (positive / error)[rows] ** 2
        return learned_log_normal(jnp.log(positive)[rows], weight / weight.mean())

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.log_likelihood(log_intensity) + self.log_normaliser()

    def log_normaliser(self) -> Float[Array, ""]:
        """What the log-likelihood lacks of a density with a flat prior on the log scale, to leading order."""
        weight = self.relative_weight
        return 0.5 * (jnp.log(weight).sum() - jnp.log(weight.sum()))

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        best = self.best_log_scale(log_intensity)
        if key is None:
            return best
        return best + jax.random.normal(key) / jnp.sqrt(self.relative_weight.sum())

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Normal:
        """See :class:`Likelihood`."""
        return dist.Normal(jnp.exp(log_expected), jnp.sqrt(self.variance))

    def with_relative(self, level: Float[Array, ""]) -> "Gaussian":
        """The same with an error relative to what is expected on top of the given ones."""
        return replace(self, constant=self.constant + (level * self.expected) ** 2)


IndependentErrors = LogNormal | Gaussian
"""Likelihoods with normal errors that are known point by point."""
