"""Log intensities with correlated normal errors, as means over configurations have them."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float, Int

from bayestds.inference.conditional import conditional_log_density, draw_noise
from bayestds.inference.correlation import Correlation
from bayestds.inference.likelihoods.base import Likelihood, Quadratic, Unknowns, centred, weighted_mean
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal, learned_log_normal


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Correlated(Likelihood):
    """Log intensities with normal errors of known covariance; a pytree.

    Attributes:
        log_intensity: (n_q,) observed.
        weight: (n_q,) inverse variance of each.
        correlation: inverse covariance of all.
    """

    log_intensity: Float[Array, " n_q"]
    weight: Float[Array, " n_q"]
    correlation: Correlation

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.log_intensity

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.log_intensity

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return "ensemble"

    @property
    def total_weight(self) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.weight.sum()

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        misfit = self.log_intensity - log_intensity
        return -0.5 * self.correlation.square(centred(self.correlation, misfit))

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return weighted_mean(self.correlation, self.log_intensity - log_intensity)

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`."""
        log_scale = self.best_log_scale(log_intensity)
        residual = self.log_intensity - log_intensity - log_scale
        score = self.correlation.times(residual)
        squares = self.correlation.square(residual)
        return Quadratic(log_scale, residual, score, self.correlation, self.weight, squares, jnp.ones(()))

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "Correlated":
        """See :class:`Likelihood`."""
        return replace(self, log_intensity=self.log_intensity - offset)

    def subset(self, rows: np.ndarray) -> LearnedLogNormal:
        """See :class:`Likelihood`."""
        return learned_log_normal(self.log_intensity[rows], self.weight[rows] / self.weight[rows].mean())

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.log_likelihood(log_intensity)

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        best = self.best_log_scale(log_intensity)
        return (
            best if key is None else best + jax.random.normal(key) / jnp.sqrt(self.correlation.row_sums.sum())
        )

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Normal:
        """Density of each point by itself, whatever the others are."""
        return dist.Normal(log_expected, self.weight**-0.5)

    def replicate(
        self, log_expected: Float[Array, "n_draws n_q"], unknowns: Unknowns, keys: Array
    ) -> Float[np.ndarray, "n_draws n_q"]:
        """See :class:`Likelihood`."""
        seed = np.asarray(jax.random.key_data(keys)).ravel()[:2].tolist()
        return np.asarray(log_expected) + draw_noise(self.correlation, len(log_expected), seed)

    def log_density_by_group(
        self, log_expected: Float[Array, "n_draws n_q"], unknowns: Unknowns, groups: Int[np.ndarray, " n_q"]
    ) -> Float[np.ndarray, "n_draws n_groups"]:
        """See :class:`Likelihood`."""
        misfit = np.asarray(self.log_intensity - log_expected)
        return conditional_log_density(self.correlation, misfit, groups)
