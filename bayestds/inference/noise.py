"""Likelihood of log intensities or counts, with the overall scale (and the noise level) profiled out."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.inference import correlation as correlated
from bayestds.inference.correlation import Correlation
from bayestds.scattering.averaging import FEWEST_COUNTS, Observations
from bayestds.scattering.grid import IrreducibleGrid


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Counts:
    """Counts that are Poisson variables; a pytree.

    Attributes:
        number: (n_q,) counts.
        exposure: (n_q,) counts for an intensity of 1.
    """

    number: Float[Array, " n_q"]
    exposure: Float[Array, " n_q"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Compression:
    """What few points, n, say of many, N, at the best scale; a pytree. See `inference/compression.py`.

    Attributes:
        factor: (n, n) A; χ² of all points is |A (observed - log_intensity)|² + remainder.
        remainder: what is left of χ² at its least.
        log_weights: what :func:`log_normaliser` is for all points.
        n_points: N.
    """

    factor: Float[Array, "n_q n_q"]
    remainder: Float[Array, ""]
    log_weights: Float[Array, ""]
    n_points: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FitData:
    """Log intensities with their weights, or counts; a pytree.

    Attributes:
        log_intensity: (n_q,) observed.
        weight: (n_q,) inverse variance of each; relative ones (multiplicities) if the noise is learned.
        learned: whether one common noise level is estimated along with the scale.
        correlation: of the noise, if points are not independent; it holds their variances too.
        counts: from which the log intensities were made, where it is they that are fitted; else None.
        compression: of the data of many points, for which these few stand; else None.
    """

    log_intensity: Float[Array, " n_q"]
    weight: Float[Array, " n_q"]
    learned: bool = field(metadata={"static": True})
    correlation: Correlation | None = None
    counts: Counts | None = None
    compression: Compression | None = None


def make_fit_data(observations: Observations, noise: float | None) -> FitData:
    """Data of a fit.

    Args:
        observations: Laue-averaged log intensities.
        noise: relative standard deviation of one voxel, None to learn it. Standard errors or counts that the
            observations carry take precedence over both.
    """
    if observations.counts is not None:
        counts = Counts(jnp.asarray(observations.counts), jnp.asarray(observations.exposure))
        return FitData(jnp.asarray(observations.log_intensity), positive(counts.number), False, counts=counts)
    multiplicity = observations.grid.multiplicity.astype(float)
    learned = noise is None and observations.relative_sigma is None
    if observations.relative_sigma is not None:
        weight = observations.relative_sigma**-2.0
    else:
        weight = multiplicity / (noise or 1.0) ** 2
    return FitData(jnp.asarray(observations.log_intensity), jnp.asarray(weight), learned)


def positive(counts: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
    """Counts (n_q,), with :data:`FEWEST_COUNTS` in place of none."""
    return jnp.maximum(counts, FEWEST_COUNTS)


def learn_noise(data: FitData, grid: IrreducibleGrid) -> FitData:
    """The same data with a noise level that is to be learned."""
    return FitData(data.log_intensity, jnp.asarray(grid.multiplicity.astype(float)), learned=True)


def subset(data: FitData, rows: np.ndarray) -> FitData:
    """The data at some of the Q points, with a learned noise level."""
    weight = data.weight[rows] / data.weight[rows].mean()
    return FitData(data.log_intensity[rows], weight, learned=True)


def linearised(data: FitData, log_intensity: Float[Array, " n_q"]) -> FitData:
    """The data whose least squares have the slope and the Fisher information of the likelihood here.

    For counts N with expectations μ at the best scale these are log μ + (N - μ)/μ with the weights μ
    (iteratively reweighted least squares; Nelder and Wedderburn, J. R. Stat. Soc. A 135 (1972) 370). Other
    data are such already.
    """
    if data.counts is None:
        return data
    log_expected = log_intensity + best_log_scale(data, log_intensity)
    expected = data.counts.exposure * jnp.exp(log_expected)
    return replace(data, log_intensity=log_expected + data.counts.number / expected - 1, weight=expected)


def best_log_scale(data: FitData, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
    """Logarithm of the scale that fits best to data of known noise.

    Args:
        data: what was observed.
        log_intensity: (n_q,) of the model, without a scale.
    """
    if data.counts is None:
        return weighted_mean(data, data.log_intensity - log_intensity)
    total = jax.nn.logsumexp(log_intensity + jnp.log(data.counts.exposure))
    return jnp.log(data.counts.number.sum()) - total


def shifted(data: FitData, offset: Float[Array | np.ndarray, " n_q"]) -> FitData:
    """Data for a model that is smaller by an offset (n_q,) in log intensity."""
    counts = data.counts
    if counts is not None:
        counts = replace(counts, exposure=counts.exposure * jnp.exp(offset))
    return replace(data, log_intensity=data.log_intensity - offset, counts=counts)


def precision_times(data: FitData, values: Float[Array, "n_q *columns"]) -> Float[Array, "n_q *columns"]:
    """Inverse covariance of the data times values."""
    if data.correlation is not None:
        return correlated.precision_times(data.correlation, values)
    return (data.weight * values.T).T


def chi_square(data: FitData, misfit: Float[Array | np.ndarray, " n_q"]) -> Float[Array, ""]:
    """Squared length of a residual in the metric of the inverse covariance."""
    if data.compression is not None:
        return ((data.compression.factor @ misfit) ** 2).sum() + data.compression.remainder
    if data.correlation is not None:
        return correlated.chi_square(data.correlation, jnp.asarray(misfit))
    return (data.weight * misfit**2).sum()


def centred(data: FitData, values: Float[Array, "n_q *columns"]) -> Float[Array, "n_q *columns"]:
    """Values less their weighted mean over the Q points: what is left of them once the scale is fitted.

    The weights are the row sums of the inverse covariance (generalised least squares).
    """
    return values - weighted_mean(data, values)


def weighted_mean(data: FitData, values: Float[Array, "n_q *columns"]) -> Float[Array, "*columns"]:
    """Mean over the Q points with the weights of :func:`centred`; of a misfit, the best log scale."""
    weight = data.weight if data.correlation is None else data.correlation.row_sums
    return jnp.tensordot(weight, values, axes=1) / weight.sum()


def residual(data: FitData, log_intensity: Float[Array, " n_q"]) -> Float[Array, " n_q"]:
    """Observed minus fitted log intensity at the best scale."""
    misfit = data.log_intensity - log_intensity
    return misfit if data.compression is not None else centred(data, misfit)


def log_likelihood(data: FitData, log_intensity: Float[Array, " n_q"]) -> Float[Array, ""]:
    """Log-likelihood up to a constant, at the best scale and, if learned, the best noise level.

    It is Gaussian in log intensities; with equal weights and learned noise its maximum is that of the
    variance loss of arXiv:2603.28683. Counts are Poisson variables.
    """
    if data.counts is not None:
        counts = data.counts
        total = jax.nn.logsumexp(log_intensity + jnp.log(counts.exposure))
        return counts.number @ log_intensity - counts.number.sum() * total
    squares = chi_square(data, residual(data, log_intensity))
    if not data.learned:
        return -0.5 * squares
    # The floor keeps noise-free data, fitted to the last digit, away from log 0.
    return -0.5 * len(data.weight) * jnp.log(squares / data.weight.sum() + 1e-30)


def noise_variance(data: FitData, misfit: Float[Array, " n_q"], n_parameters: int) -> Float[Array, ""]:
    """Factor by which 1 / weight must be multiplied to be the variance: 1 unless the noise is learned.

    With multiplicities as weights it is the variance of one voxel: an average of m has 1/m of it.
    """
    if not data.learned:
        return jnp.ones(())
    return reduced_chi_square(data, misfit, n_parameters)


def reduced_chi_square(
    data: FitData, misfit: Float[Array | np.ndarray, " n_q"], n_parameters: int
) -> Float[Array, ""]:
    """χ² per degree of freedom, of which the parameters and the scale take one each."""
    independent = len(data.weight) if data.correlation is None else data.correlation.degrees_of_freedom
    return chi_square(data, misfit) / jnp.maximum(independent - n_parameters - 1, 1)
