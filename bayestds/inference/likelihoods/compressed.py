"""The likelihood of many points from the intensity at few of them; see ``inference/compression.py``.

Normal errors make χ² a quadratic function of the log intensities, or of the intensities. Where these are, at
all points, f₀ + B c with few c, and the c follow from few of the points, so does χ².
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Complex, Float

from bayestds.inference.likelihoods.base import LOG_NOISE, Diagonal, Unknowns, centred
from bayestds.inference.likelihoods.gaussian import Gaussian
from bayestds.inference.likelihoods.log_normal import LEVEL, LearnedLogNormal, LogNormal


class Compressed(ABC):
    """What stands for a likelihood in a posterior; its log intensities are those of few points. A pytree."""

    @abstractmethod
    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""

    @abstractmethod
    def log_density(self, log_intensity: Float[Array, " n"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""

    @abstractmethod
    def chi_square(self, log_intensity: Float[Array, " n"]) -> Float[Array, ""]:
        """χ² of all points at the best scale, with relative weights where the noise level is learned."""

    def outside(
        self, stable: Bool[Array, ""], phi_blocks: Complex[Array, "n_stars three_n three_n"]
    ) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return jnp.asarray(-jnp.inf)

    def log_scale(self, log_intensity: Float[Array, " n"], unknowns: Unknowns) -> Float[Array, ""]:
        """The few points do not tell it."""
        raise AttributeError("A compressed likelihood has no scale.")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class CompressedLogNormal(Compressed):
    """Log intensities with normal errors; a pytree.

    Attributes:
        log_intensity: (n,) at which χ² is least.
        factor: (n, n) A; χ² of all points is |A (log_intensity - those of the model)|² + remainder.
        remainder: what is left of χ² at its least.
        log_normaliser: that of all points.
        n_points: how many these are.
        learned: whether the noise level is.
    """

    log_intensity: Float[Array, " n"]
    factor: Float[Array, "n n"]
    remainder: Float[Array, ""]
    log_normaliser: Float[Array, ""]
    n_points: Float[Array, ""]
    learned: bool = field(metadata={"static": True})

    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""
        return {LEVEL: dist.Normal(*LOG_NOISE)} if self.learned else {}

    def chi_square(self, log_intensity: Float[Array, " n"]) -> Float[Array, ""]:
        """See :class:`Compressed`."""
        return ((self.factor @ (self.log_intensity - log_intensity)) ** 2).sum() + self.remainder

    def log_density(self, log_intensity: Float[Array, " n"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        log_level = unknowns[LEVEL] if self.learned else jnp.zeros(())
        squares = self.chi_square(log_intensity) * jnp.exp(-2 * log_level)
        return self.log_normaliser - 0.5 * squares - (self.n_points - 1) * log_level


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class CompressedGaussian(Compressed):
    """Intensities with normal errors of known variance; a pytree.

    Attributes:
        log_intensity: (n,) of the model where the intensities relative to what is expected are ``middle``.
        middle: (n,) these.
        inverse: (n, n) from differences of relative intensities to coefficients c.
        metric: (n + 1, n + 1) products Bᵀ W B of the basis (f₀, B), W the inverse variances.
        pull: (n + 1,) products Bᵀ W y with the observed relative intensities y.
        total: yᵀ W y.
    """

    log_intensity: Float[Array, " n"]
    middle: Float[Array, " n"]
    inverse: Float[Array, "n n"]
    metric: Float[Array, "n_and_1 n_and_1"]
    pull: Float[Array, " n_and_1"]
    total: Float[Array, ""]

    def unknowns(self) -> dict[str, dist.Distribution]:
        """See :class:`Likelihood`."""
        return {}

    def chi_square(self, log_intensity: Float[Array, " n"]) -> Float[Array, ""]:
        """See :class:`Compressed`."""
        relative = self.middle * jnp.exp(log_intensity - self.log_intensity)
        coefficients = jnp.append(1.0, self.inverse @ (relative - self.middle))
        return self.total - (self.pull @ coefficients) ** 2 / (coefficients @ self.metric @ coefficients)

    def log_density(self, log_intensity: Float[Array, " n"], unknowns: Unknowns) -> Float[Array, ""]:
        """See :class:`Likelihood`."""
        return -0.5 * self.chi_square(log_intensity)


class Compressible(ABC):
    """A likelihood whose χ² is a quadratic function of values that follow from the log intensities.

    Attributes:
        weight: (n_q,) inverse variances of the values.
    """

    weight: Float[Array, " n_q"]

    @abstractmethod
    def values(self, log_intensity: Float[Array, "*n n_q"]) -> Float[Array, "*n n_q"]:
        """The values."""

    @abstractmethod
    def chi_square(self, values: Float[Array, " n_q"]) -> Float[Array, ""]:
        """χ² at the best scale."""

    @abstractmethod
    def compressed(
        self,
        rows: np.ndarray,
        basis: Float[np.ndarray, "n_q n"],
        middle: Float[Array, " n_q"],
        here: Float[Array, " n"],
    ) -> Compressed:
        """What stands for the likelihood where values are ``middle`` + basis @ c.

        Args:
            rows: (n,) the few points.
            basis: of the values at all points.
            middle: the values about which it is.
            here: log intensities of the model at the few points that belong to it.
        """


COMPRESSIBLE = (LogNormal, LearnedLogNormal, Gaussian)
"""Likelihoods that can be compressed."""


def compressible(
    likelihood: LogNormal | LearnedLogNormal | Gaussian, log_intensity: Float[Array, " n_q"]
) -> Compressible:
    """A likelihood in the form that can be compressed, about these log intensities."""
    if isinstance(likelihood, Gaussian):
        return _Intensities(likelihood, likelihood.best_log_scale(log_intensity))
    if isinstance(likelihood, LearnedLogNormal):
        return _LogIntensities(likelihood.relative, learned=True)
    return _LogIntensities(likelihood, learned=False)


class _LogIntensities(Compressible):
    def __init__(self, likelihood: LogNormal, learned: bool):
        self.likelihood, self.learned, self.weight = likelihood, learned, likelihood.weight

    def values(self, log_intensity: Float[Array, "*n n_q"]) -> Float[Array, "*n n_q"]:
        return log_intensity

    def chi_square(self, values: Float[Array, " n_q"]) -> Float[Array, ""]:
        return self.likelihood.chi_square(values)

    def compressed(
        self,
        rows: np.ndarray,
        basis: Float[np.ndarray, "n_q n"],
        middle: Float[Array, " n_q"],
        here: Float[Array, " n"],
    ) -> Compressed:
        precision = Diagonal(self.weight)
        metric = basis.T @ np.asarray(precision.times(centred(precision, jnp.asarray(basis))))
        above = np.linalg.cholesky(metric).T
        wanted = self.likelihood.log_intensity - middle
        pulled = precision.times(centred(precision, wanted))
        best = np.linalg.solve(metric, basis.T @ np.asarray(pulled))
        return CompressedLogNormal(
            here + basis[rows] @ best,
            jnp.asarray(np.linalg.solve(basis[rows].T, above.T).T),
            wanted @ pulled - ((above @ best) ** 2).sum(),
            self.likelihood.log_normaliser(),
            jnp.asarray(float(len(self.weight))),
            self.learned,
        )


class _Intensities(Compressible):
    """Intensities relative to what is expected, so that they are near 1 at all points."""

    def __init__(self, likelihood: Gaussian, log_scale: Float[Array, ""]):
        self.weight = likelihood.relative_weight
        self.observed = likelihood.intensity / likelihood.expected
        self.offset = log_scale - jnp.log(likelihood.expected)

    def values(self, log_intensity: Float[Array, "*n n_q"]) -> Float[Array, "*n n_q"]:
        return jnp.exp(log_intensity + self.offset)

    def chi_square(self, values: Float[Array, " n_q"]) -> Float[Array, ""]:
        weighted = self.weight * values
        scale = self.observed @ weighted / (values @ weighted)
        return (self.weight * (self.observed - scale * values) ** 2).sum()

    def compressed(
        self,
        rows: np.ndarray,
        basis: Float[np.ndarray, "n_q n"],
        middle: Float[Array, " n_q"],
        here: Float[Array, " n"],
    ) -> Compressed:
        both = np.column_stack([middle, basis])
        weighted = np.asarray(self.weight)[:, None] * both
        return CompressedGaussian(
            here,
            middle[rows],
            jnp.asarray(np.linalg.inv(basis[rows])),
            jnp.asarray(both.T @ weighted),
            jnp.asarray(np.asarray(self.observed) @ weighted),
            (self.weight * self.observed**2).sum(),
        )
