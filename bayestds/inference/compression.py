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
from bayestds.inference.model import Observation, scattering
from bayestds.inference.nuts import Draws, site_values
from bayestds.inference.posterior import Target, starting_points
from bayestds.inference.problem import Problem, Volume
from bayestds.inference.sums import direct_model
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import Linearised

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
class Short:
    """A volume with the likelihood of few points.

    Attributes:
        observation: its forward model has the few points.
        whole: the likelihood of all points.
        n_points: how many there are in the short one.
        error: largest error of the log-likelihood among draws that the basis has not seen.
    """

    observation: Observation
    whole: Compressible
    n_points: int
    error: float


@dataclass(frozen=True, eq=False)
class ShortTarget:
    """A posterior in which volumes have likelihoods of few points.

    Attributes:
        target: to sample from.
        volumes: each of them, None where the likelihood is that of all points.
    """

    target: Target
    volumes: tuple[Short | None, ...]

    @property
    def n_points(self) -> int:
        """How many points the short likelihoods have together."""
        return sum(short.n_points for short in self.volumes if short is not None)


def compress(target: Target, problem: Problem, seed: int = 0) -> ShortTarget | None:
    """The posterior with likelihoods of few points; None where no volume has one of the tolerated error.

    Args:
        target: the posterior.
        problem: that it is of.
        seed: of the draws.
    """
    n_parameters = sum(location.size for location, _ in target.coordinates.values())
    n_draws = min(MOST_DRAWS, (n_parameters + 1) * (n_parameters + 2))
    if not any(_worthwhile(one, n_draws) for one in target.volumes):
        return None
    parameters = _draws(target, n_draws + CHECKED, seed)
    tolerated = TOLERATED / len(target.volumes)
    found = tuple(
        _short(one, problem, volume, parameters, n_parameters, tolerated)
        if _worthwhile(one, n_draws)
        else None
        for one, volume in zip(target.volumes, problem.volumes, strict=True)
    )
    if not any(found):
        return None
    volumes = (short.observation if short else one for short, one in zip(found, target.volumes, strict=True))
    return ShortTarget(replace(target, volumes=tuple(volumes)), found)


def _worthwhile(one: Observation, n_draws: int) -> bool:
    """Whether a likelihood can be compressed, with fewer draws than it has points."""
    linear = isinstance(one.forward.lattice_sum, Linearised)
    if not isinstance(one.likelihood, COMPRESSIBLE) or linear:
        return False
    n_points = one.likelihood.n_points
    return n_draws <= n_points and n_draws * n_points <= MOST_NUMBERS


def _short(
    one: Observation,
    problem: Problem,
    volume: Volume,
    parameters: Float[np.ndarray, "n n_parameters"],
    n_parameters: int,
    tolerated: float,
) -> Short | None:
    """A volume with the likelihood of few points; None where its error is too large.

    Args:
        one: with all points.
        problem: that it belongs to.
        volume: its data.
        parameters: θ of draws about the point fit, which is the first.
        n_parameters: how many are sampled.
        tolerated: error of the log-likelihood.
    """
    assert isinstance(one.likelihood, COMPRESSIBLE)
    own = parameters @ np.asarray(one.design).T
    log_intensities = _log_intensities(one.forward, own)
    whole = compressible(one.likelihood, log_intensities[0])
    values = whole.values(log_intensities)
    # Small is what the noise makes so, that at the fit where it is learned.
    variance = float(one.likelihood.quadratic(log_intensities[0], n_parameters).noise_variance)
    for share in SMALLEST_SHARES:
        basis = _basis(whole.weight / variance, values[1:-CHECKED] - values[0], share)
        _, _, order = qr(basis.T, mode="economic", pivoting=True)
        rows = np.sort(order[: basis.shape[1]])
        exact = direct_model(problem, volume.some_rows(rows), jnp.asarray(own[0]))
        # What the forward models of both differ by at the fit is nothing that the data say.
        few = whole.compressed(rows, basis, values[0], log_intensity(exact, jnp.asarray(own[0])))
        short = Short(replace(one, forward=exact, likelihood=few), whole, len(rows), 0.0)
        error = _range(short, values[-CHECKED:], own[-CHECKED:]) / variance
        if error <= tolerated:
            return replace(short, error=error)
    return None


def compression_error(target: Target, short: ShortTarget, draws: Draws) -> float:
    """Range of the error of the log-likelihood over some draws from the compressed posterior."""
    every = {name: values.reshape(-1, *values.shape[2:]) for name, values in draws.sites.items()}
    n_draws = len(every["irreducible"])
    chosen = np.linspace(0, n_draws - 1, min(CHECKED, n_draws)).round().astype(int)
    some = {name: values[chosen] for name, values in every.items()}
    parameters, total = target.parameters(some), 0.0
    for one, few in zip(target.volumes, short.volumes, strict=True):
        if few is None:
            continue
        own, level = parameters @ np.asarray(one.design).T, one.prefix + LEVEL
        variance = np.exp(2 * some[level]).min() if level in some else 1.0
        total += _range(few, few.whole.values(_log_intensities(one.forward, own)), own) / variance
    return total


def _draws(target: Target, n: int, seed: int) -> Float[np.ndarray, "n n_parameters"]:
    """Parameters within the stable region around the point fit, which is the first."""
    positions = {name: values[None] for name, values in starting_points(target, n, seed, SPREAD).items()}
    for values in positions.values():
        values[0, 0] = 0.0
    sites = site_values(scattering, target.arguments, positions)
    return target.parameters({name: values[0] for name, values in sites.items()})


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


def _range(short: Short, values: Float[Array, "n n_q"], parameters: np.ndarray) -> float:
    """Range of the error of χ²/2 over some parameters; a constant error is none.

    Args:
        short: the likelihood of few points, and that of all.
        values: that the χ² of all points is of, there.
        parameters: (n, n_own) of these.
    """
    few = short.observation.likelihood
    assert isinstance(few, Compressed)
    all_points = jax.lax.map(lambda row: 0.5 * short.whole.chi_square(row), values)
    at_few = _log_intensities(short.observation.forward, parameters)
    return float(jnp.ptp(all_points - jax.lax.map(lambda row: 0.5 * few.chi_square(row), at_few)))
