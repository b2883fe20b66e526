"""The likelihood of many Q points from the intensity at few of them.

Within a posterior, log I at all points is a smooth function of few parameters, so its values span a space
of few dimensions: log I ≈ f₀ + B c. A few points, as many as dimensions, tell the c, and the quadratic
likelihood becomes a quadratic function of log I at these points alone (reduced-order quadrature; Canizares et
al., Phys. Rev. D 87 (2013) 124005; the points as by Drmač and Gugercin, SIAM J. Sci. Comput. 38 (2016) A631).
Nothing is linearised: at the points the forward model is the full one. The error is measured at draws that
the basis has not seen, and again at those that are drawn.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.linalg import qr

from bayestds.inference.likelihoods.compressed import COMPRESSIBLE, Compressed, Compressible, compressible
from bayestds.inference.likelihoods.log_normal import LEVEL
from bayestds.inference.model import has_background, whitened_posterior
from bayestds.inference.nuts import Draws, site_values
from bayestds.inference.posterior import Target, starting_points
from bayestds.inference.problem import Problem, direct_engine
from bayestds.scattering.forward import ForwardModel, log_intensity

SPREAD = 1.5
"""Width of the draws that span the basis, and of those that measure its error, in posterior widths."""

SMALLEST_SHARES = (1e-4, 1e-5)
"""Directions along which log intensities spread by less than this are left out; 1 is a change of χ² by 1.
The second is tried where the first leaves too large an error."""

TOLERATED = 0.01
"""Error of the log-likelihood, anywhere among the draws that measure it, with which it is compressed."""

CHECKED = 64
ACCEPTED = 0.1
"""Error of the log-likelihood among draws from the posterior up to which they stand for it: they would be
accepted or rejected wrongly once in twenty times at most, and ratios of densities are off by 10 %."""

MOST_DRAWS = 800
MOST_NUMBERS = 2e8
"""Log intensities that are held at once; beyond it the likelihood is not compressed."""


@dataclass(frozen=True, eq=False)
class ShortTarget:
    """A posterior with the likelihood of few points.

    Attributes:
        target: to sample from; its forward model has the few points.
        whole: the likelihood of all points.
        n_points: how many.
        error: largest error of the log-likelihood among draws that the basis has not seen.
    """

    target: Target
    whole: Compressible
    n_points: int
    error: float


def compress(target: Target, problem: Problem, seed: int = 0) -> ShortTarget | None:
    """The posterior with a likelihood of few points; None where it has none of the tolerated error.

    Args:
        target: the posterior.
        problem: that it is of.
        seed: of the draws.
    """
    forward, likelihood = target.forward, target.likelihood
    n_parameters = sum(location.size for location, _ in target.coordinates.values())
    n_draws = min(MOST_DRAWS, (n_parameters + 1) * (n_parameters + 2))
    if not isinstance(likelihood, COMPRESSIBLE) or forward.tangent is not None:
        return None
    n_points = likelihood.n_points
    if n_draws * n_points > MOST_NUMBERS or n_draws > n_points:
        return None
    parameters = _draws(target, n_draws + CHECKED, seed)
    log_intensities = _log_intensities(forward, parameters)
    whole = compressible(likelihood, log_intensities[0])
    values = whole.values(log_intensities)
    # Small is what the noise makes so, that at the fit where it is learned.
    variance = float(likelihood.quadratic(log_intensities[0], n_parameters).noise_variance)
    for share in SMALLEST_SHARES:
        basis = _basis(whole.weight / variance, values[1:-CHECKED] - values[0], share)
        _, _, order = qr(basis.T, mode="economic", pivoting=True)
        rows = np.sort(order[: basis.shape[1]])
        few = _at_rows(target, whole, problem, rows, basis, parameters[0], values[0])
        error = _range(whole, values[-CHECKED:], few, parameters[-CHECKED:]) / variance
        if error <= TOLERATED:
            return ShortTarget(few, whole, len(rows), error)
    return None


def compression_error(target: Target, short: ShortTarget, draws: Draws) -> float:
    """Range of the error of the log-likelihood over some draws from the compressed posterior."""
    every = {name: values.reshape(-1, *values.shape[2:]) for name, values in draws.sites.items()}
    n_draws = len(every["irreducible"])
    chosen = np.linspace(0, n_draws - 1, min(CHECKED, n_draws)).round().astype(int)
    some = {name: values[chosen] for name, values in every.items()}
    parameters = _parameters(target, some)
    variance = np.exp(2 * some[LEVEL]).min() if LEVEL in some else 1.0
    values = short.whole.values(_log_intensities(target.forward, parameters))
    return _range(short.whole, values, short.target, parameters) / variance


def _parameters(target: Target, sites: dict[str, np.ndarray]) -> Float[np.ndarray, "n n_parameters"]:
    """The parameters of the forward model among the sites."""
    kinds = {
        "irreducible": True,
        "cubic": target.forward.n_cubic > 0,
        "background": has_background(target.forward),
    }
    return np.concatenate([sites[name] for name, used in kinds.items() if used], axis=1)


def _draws(target: Target, n: int, seed: int) -> Float[np.ndarray, "n n_parameters"]:
    """Parameters within the stable region around the point fit, which is the first."""
    positions = {name: values[None] for name, values in starting_points(target, n, seed, SPREAD).items()}
    for values in positions.values():
        values[0, 0] = 0.0
    sites = site_values(whitened_posterior, target.arguments, positions)
    return _parameters(target, {name: values[0] for name, values in sites.items()})


@jax.jit
def _log_intensities(forward: ForwardModel, parameters: Float[Array, "n n_p"]) -> Float[Array, "n n_q"]:
    return jax.lax.map(lambda row: log_intensity(forward, row), parameters)


def _basis(
    weight: Float[Array, " n_q"], spread: Float[Array, "n n_q"], smallest: float
) -> Float[np.ndarray, "n_q rank"]:
    """Directions in which log intensities vary by more than a share, orthonormal with these weights."""
    scaled = jnp.sqrt(weight) * spread
    squares, vectors = np.linalg.eigh(np.asarray(scaled @ scaled.T))
    kept = squares > len(squares) * smallest**2
    return np.asarray((vectors[:, kept] / np.sqrt(squares[kept])).T @ spread).T


def _at_rows(
    target: Target,
    whole: Compressible,
    problem: Problem,
    rows: np.ndarray,
    basis: Float[np.ndarray, "n_q rank"],
    location: np.ndarray,
    middle: Float[Array, " n_q"],
) -> Target:
    """The posterior with the forward model of some points, and the likelihood that stands for that of all."""
    part = problem.some_rows(rows)
    exact = part.forward_model(direct_engine(part))
    given = target.forward
    exact = replace(exact, background_slope=given.background_slope, cubic_slope=given.cubic_slope)
    # What the engines of both differ by at the fit is nothing that the data say.
    here = log_intensity(exact, jnp.asarray(location))
    return replace(target, forward=exact, likelihood=whole.compressed(rows, basis, middle, here))


def _range(whole: Compressible, values: Float[Array, "n n_q"], few: Target, parameters: np.ndarray) -> float:
    """Range of the error of χ²/2 over some parameters; a constant error is none.

    Args:
        whole: the likelihood of all points.
        values: that its χ² is of, at all points.
        few: the posterior with the likelihood that stands for it.
        parameters: (n, n_parameters) of these.
    """
    assert isinstance(few.likelihood, Compressed)
    all_points = jax.lax.map(lambda row: 0.5 * whole.chi_square(row), values)
    at_few = _log_intensities(few.forward, parameters)
    return float(jnp.ptp(all_points - jax.lax.map(lambda row: 0.5 * few.likelihood.chi_square(row), at_few)))
