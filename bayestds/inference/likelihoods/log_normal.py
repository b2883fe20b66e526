"""Log intensities with normal errors: of known size, or of one level that is learned."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from bayestds.inference.likelihoods.base import (
    LOG_NOISE,
    Diagonal,
    Likelihood,
    Quadratic,
    Unknowns,
    centred,
    least_squares,
    weighted_mean,
)

LEVEL = "log_relative_noise"
"""NumPyro site of the logarithm of a learned relative noise level."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LogNormal(Likelihood):
    """Log intensities with independent normal errors of known variance; a pytree.

    Attributes:
        log_intensity: (n_q,) observed.
        weight: (n_q,) inverse variances.
    """

    log_intensity: Float[Array, " n_q"]
    weight: Float[Array, " n_q"]

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
        return "given"

    @property
    def total_weight(self) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.weight.sum()

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return -0.5 * self.chi_square(log_intensity)

    def chi_square(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """χ² at the best scale."""
        precision = Diagonal(self.weight)
        return precision.square(centred(precision, self.log_intensity - log_intensity))

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return weighted_mean(Diagonal(self.weight), self.log_intensity - log_intensity)

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`."""
        log_scale = self.best_log_scale(log_intensity)
        residual, _ = self.working(log_intensity + log_scale)
        return least_squares(log_scale, residual, self.weight)

    def working(
        self, log_expected: Float[Array, " n_q"]
    ) -> tuple[Float[Array, " n_q"], Float[Array, " n_q"]]:
        """Residuals in ln I and their inverse variances, where the scale is part of what is expected."""
        return self.log_intensity - log_expected, self.weight

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "LogNormal":
        """See :class:`Likelihood`."""
        return replace(self, log_intensity=self.log_intensity - offset)

    def subset(self, rows: np.ndarray) -> "LearnedLogNormal":
        """See :class:`Likelihood`."""
        return learned_log_normal(self.log_intensity[rows], self.weight[rows] / self.weight[rows].mean())

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`; under a flat prior on the log scale."""
        return self.log_likelihood(log_intensity) + self.log_normaliser()

    def log_normaliser(self) -> Float[Array, ""]:
        """What the log-likelihood lacks of a density; it matters where the weights are not known."""
        return 0.5 * (jnp.log(self.weight).sum() - jnp.log(self.weight.sum()))

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        best = self.best_log_scale(log_intensity)
        return best if key is None else best + jax.random.normal(key) / jnp.sqrt(self.weight.sum())

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Normal:
        """See :class:`Likelihood`."""
        return dist.Normal(log_expected, self.weight**-0.5)

    def with_relative(self, level: Float[Array, ""]) -> "LogNormal":
        """The same with a relative error on top of the known ones."""
        return replace(self, weight=1 / (1 / self.weight + level**2))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LearnedLogNormal(Likelihood):
    """Log intensities with independent normal errors whose common level is learned; a pytree.

    Attributes:
        relative: the log intensities with weights that are known up to a factor; with multiplicities as
            weights, the level is that of one voxel.
    """

    relative: LogNormal

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.relative.log_intensity

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.relative.log_intensity

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return "learned"

    @property
    def total_weight(self) -> int:
        """See :class:`Likelihood`."""
        return self.n_points

    def at(self, level: Float[Array, ""]) -> LogNormal:
        """The likelihood with this noise level."""
        return replace(self.relative, weight=self.relative.weight / level**2)

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`; scale and level are integrated out, with flat priors on their logarithms.

        With equal weights its maximum is that of arXiv:2603.28683.
        """
        weight = self.relative.weight
        # The floor keeps noise-free data, fitted to the last digit, away from log 0.
        variance = self.relative.chi_square(log_intensity) / weight.sum() + 1e-30
        return -0.5 * (len(weight) - 1) * jnp.log(variance)

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.relative.best_log_scale(log_intensity)

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`."""
        here = self.relative.quadratic(log_intensity, n_parameters)
        variance = jnp.maximum(here.reduced_chi_square(n_parameters), 1e-30)
        known = self.at(jnp.sqrt(variance)).quadratic(log_intensity, n_parameters)
        # That of the log-likelihood, whose level is the best one for these very force constants.
        score = known.score * (self.n_points - 1) / known.chi_square
        return replace(known, score=score, noise_variance=variance)

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "LearnedLogNormal":
        """See :class:`Likelihood`."""
        return LearnedLogNormal(self.relative.shifted(offset))

    def subset(self, rows: np.ndarray) -> "LearnedLogNormal":
        """See :class:`Likelihood`."""
        return self.relative.subset(rows)

    def with_known_noise(self, noise_variance: float) -> LogNormal:
        """See :class:`Likelihood`."""
        return self.at(jnp.sqrt(noise_variance))

    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""
        return {LEVEL: dist.Normal(*LOG_NOISE)}

    def coordinates(self, here: Quadratic) -> dict[str, tuple[float, float]]:
        """See :class:`Likelihood`."""
        spread = (2 * self.n_points + LOG_NOISE[1] ** -2) ** -0.5
        return {LEVEL: (float(jnp.log(here.noise_variance)) / 2, spread)}

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.at(jnp.exp(unknowns[LEVEL])).log_density(log_intensity, {})

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self.at(jnp.exp(unknowns[LEVEL])).log_scale(log_intensity, {}, key)

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.Normal:
        """See :class:`Likelihood`."""
        return self.at(jnp.exp(unknowns[LEVEL])).point_density(log_expected, {})


def learned_log_normal(
    log_intensity: Float[Array | np.ndarray, " n_q"], weight: Float[Array | np.ndarray, " n_q"]
) -> LearnedLogNormal:
    """Log intensities (n_q,) with a learned noise level and relative weights (n_q,)."""
    return LearnedLogNormal(LogNormal(jnp.asarray(log_intensity), jnp.asarray(weight)))
