"""Errors with the tails of Student's t, for outliers that no mask catches."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from bayestds.inference.likelihoods.base import Diagonal, Likelihood, Quadratic, Unknowns
from bayestds.inference.likelihoods.floor import Floor
from bayestds.inference.likelihoods.gaussian import IndependentErrors
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal
from bayestds.inference.likelihoods.scale import SCALE, flat_scale

STEPS = 40
"""Steps of expectation and maximisation to the best scale and noise level."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class StudentT(Likelihood):
    """Observations whose errors follow Student's t distribution instead of the normal one; a pytree.

    Attributes:
        normal: the observations with normal errors, whose standard deviations become scales of Student's t.
        degrees_of_freedom: ν; the fewer, the heavier the tails.
    """

    normal: IndependentErrors | LearnedLogNormal | Floor
    degrees_of_freedom: Float[Array, ""]

    @property
    def variable(self) -> str:  # type: ignore[override]
        """See :class:`Likelihood`."""
        return self.normal.variable

    @property
    def log_observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.normal.log_observed

    def expectation(self, log_expected: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.normal.expectation(log_expected)

    @property
    def noise(self) -> str:
        """See :class:`Likelihood`."""
        return self.normal.noise

    @property
    def total_weight(self) -> Float[Array, ""] | int:
        """See :class:`Likelihood`."""
        return self.normal.total_weight

    @property
    def observed(self) -> Float[Array, " n_q"]:
        """See :class:`Likelihood`."""
        return self.normal.observed

    def _best(
        self, log_intensity: Float[Array, " n_q"]
    ) -> tuple[IndependentErrors, Float[Array, ""], Float[Array, ""]]:
        """The errors at their best level, the square of the level, and the log scale that goes with it.

        C. Liu and D. B. Rubin, Statistica Sinica 5 (1995) 19: a point of residual z, in units of its error,
        counts by u = (ν + 1) / (ν + z²), and the best variance is the mean of u z² times the last one.
        """
        learned = isinstance(self.normal, LearnedLogNormal)
        unit, fixed = self._unit_errors(), jax.lax.stop_gradient(log_intensity)

        def step(_: Array, last: tuple[Array, Array]) -> tuple[Array, Array]:
            variance, log_scale = last
            residual, weight = unit.working(fixed + log_scale)
            square = weight * residual**2 / variance
            share = self._share(square)
            moved = log_scale + (share * weight) @ residual / (share @ weight)
            return variance * (share * square).mean() + 1e-30 if learned else variance, moved

        start = unit.quadratic(fixed, 0)
        variance = start.reduced_chi_square(0) + 1e-30 if learned else jnp.ones(())
        # At a maximum over both, gradients by the log intensities need not see them.
        variance, log_scale = jax.lax.fori_loop(0, STEPS, step, (variance, start.log_scale))
        known = self.normal.at(jnp.sqrt(variance)) if isinstance(self.normal, LearnedLogNormal) else unit
        return known, variance, log_scale

    def _unit_errors(self) -> IndependentErrors:
        """The observations with their errors; those of unit level if it is learned."""
        if isinstance(self.normal, LearnedLogNormal):
            return self.normal.relative
        return self.normal.at(self.normal.level) if isinstance(self.normal, Floor) else self.normal

    def _share(self, square: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
        """By how much points (n_q,) count whose residuals have these squares in units of their errors."""
        return (self.degrees_of_freedom + 1) / (self.degrees_of_freedom + square)

    def log_likelihood(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        known, _, log_scale = self._best(log_intensity)
        return self._tails(known.point_density(log_intensity + log_scale, {})).log_prob(self.observed).sum()

    def best_log_scale(self, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return self._best(log_intensity)[2]

    def quadratic(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> Quadratic:
        """See :class:`Likelihood`; the information is (ν + 1) / (ν + 3) of that of normal errors."""
        known, variance, log_scale = self._best(log_intensity)
        residual, weight = known.working(log_intensity + log_scale)
        score = self._share(weight * residual**2) * weight * residual
        informative = weight * (self.degrees_of_freedom + 1) / (self.degrees_of_freedom + 3)
        precision, squares = Diagonal(informative), score @ residual
        return Quadratic(log_scale, residual, score, precision, weight, squares, variance)

    def settled(self, log_intensity: Float[Array, " n_q"], n_parameters: int) -> "StudentT":
        """See :class:`Likelihood`."""
        return replace(self, normal=self.normal.settled(log_intensity, n_parameters))

    def shifted(self, offset: Float[Array | np.ndarray, " n_q"]) -> "StudentT":
        """See :class:`Likelihood`."""
        return replace(self, normal=self.normal.shifted(offset))

    def subset(self, rows: np.ndarray) -> LearnedLogNormal:
        """See :class:`Likelihood`."""
        return self.normal.subset(rows)

    def with_known_noise(self, noise_variance: float) -> "StudentT":
        """See :class:`Likelihood`."""
        known = self.normal
        if isinstance(known, LearnedLogNormal | Floor):
            known = known.with_known_noise(noise_variance)
        return replace(self, normal=known)

    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""
        return self.normal.unknowns() | {SCALE: flat_scale()}

    def coordinates(self, here: Quadratic) -> dict[str, tuple[float, float]]:
        """See :class:`Likelihood`."""
        # The best scale of normal errors, from which that of the draws is counted, follows the outliers.
        away = float((here.weight @ here.residual) / here.weight.sum())
        spread = float(here.precision.row_sums.sum()) ** -0.5
        return self.normal.coordinates(here) | {SCALE: (-away, spread)}

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        log_expected = log_intensity + self.log_scale(log_intensity, unknowns)
        return self.point_density(log_expected, unknowns).log_prob(self.observed).sum()

    def log_scale(
        self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns, key: Array | None = None
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`; an offset from the best scale of normal errors."""
        return self.normal.log_scale(log_intensity, unknowns) + unknowns[SCALE]

    def point_density(self, log_expected: Float[Array, " n_q"], unknowns: Unknowns) -> dist.StudentT:
        """See :class:`Likelihood`."""
        return self._tails(self.normal.point_density(log_expected, unknowns))

    def _tails(self, normal: dist.Normal) -> dist.StudentT:
        return dist.StudentT(self.degrees_of_freedom, normal.loc, normal.scale)
