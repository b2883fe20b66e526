"""Fits to a volume that is a mean over M independent configurations of a harmonic crystal.

Voxels of equal k share the displacement amplitudes of a few waves, so their noise is strongly correlated.
It has two parts. The first is what the error of the sample covariance C(k) brings about, common to all
voxels (:mod:`bayestds.inference.ensemble_modes`). Its amplitudes θ, normal with variance 2/M, are unknowns
of the fit beside the force constants φ: the maximum of the joint posterior is found by linearising in θ
about its last estimate and integrating it out, again and again. The rest is uncorrelated with it and
correlated within each star of k only (:mod:`bayestds.scattering.fluctuations`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int
from scipy.special import digamma

from bayestds.inference.correlation import make_correlation
from bayestds.inference.ensemble_modes import (
    BlockSymmetry,
    Cosets,
    Modes,
    block_symmetry,
    find_cosets,
    square_roots,
    transformed,
)
from bayestds.inference.noise import FitData, learn_noise, precision_times
from bayestds.inference.point_fit import PointFit, point_fit, refine
from bayestds.inference.problem import Problem
from bayestds.lattice_dynamics.covariance import covariance_in_real_space
from bayestds.scattering import exact
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.fluctuations import Star, find_stars, orbit_shares, star_noise
from bayestds.scattering.forward import (
    Deviation,
    ForwardModel,
    blocks,
    displacement_covariance,
    log_intensity,
)
from bayestds.scattering.forward import covariance as crystal_covariance

INDEPENDENT = 1e-5
"""Share of each variance that is added as independent noise.

The noise is smooth over the Q points, so that in many directions it has almost none. A larger share gives
information away: 0.01 costs up to 26 % of the standard errors in a wedge, 1e-3 20 %, 1e-4 14 %, this 10 %,
while pulls stay at one.
"""

NEGLIGIBLE = 0.1
"""Variance that may be left out of the correlated part, as a share of the independent one."""

MAX_ROUNDS = 8
SETTLED = 0.05
"""The noise has settled when a new evaluation moves the fit by less than this many standard errors."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What the noise of a problem's data depends on beside the force constants.

    Attributes:
        configurations: number M of independent configurations.
        symmetry: of the supercell.
        cosets: the modes, and how the averaged voxels see them.
        stars: the Q points by stars of k.
        factors: (n_q, n_atoms) f_κ at the Q points.
    """

    configurations: int
    symmetry: BlockSymmetry
    cosets: Cosets
    stars: list[Star]
    factors: np.ndarray


def make_ensemble(problem: Problem, configurations: int) -> Ensemble:
    """Ensemble of ``configurations`` behind the data of a problem.

    Raises:
        CrystalError: the supercell has not the symmetry of the crystal.
    """
    symmetry = block_symmetry(problem.supercell)
    shares = orbit_shares(problem.grid, problem.supercell.crystal.laue_group)
    shape = len(problem.grid.q_points), problem.supercell.crystal.n_atoms
    factors = np.ones(shape) if problem.scattering_factors is None else problem.scattering_factors
    return Ensemble(
        configurations,
        symmetry,
        find_cosets(symmetry, shares),
        find_stars(problem.supercell, problem.grid.q_points, shares),
        np.broadcast_to(factors, shape),
    )


@dataclass(frozen=True, eq=False)
class Response:
    """How the log intensities of the averaged voxels depend on the amplitudes θ of the modes.

    Attributes:
        derivative: (n_q, n_modes) U.
        deviation: the θ at which they were taken, as a deviation of C_κκ'(R).
    """

    derivative: np.ndarray
    deviation: Deviation


def mode_response(
    ensemble: Ensemble, forward: ForwardModel, irreducible: np.ndarray, amplitudes: np.ndarray
) -> Response:
    """Response at force constants φ (eV/Å²) and amplitudes θ.

    Args:
        ensemble: the modes.
        forward: crystal and engine; its own deviation does not matter.
        irreducible: (n_irreducible,).
        amplitudes: (n_modes,).
    """
    assert isinstance(forward.engine, ExactEngine)
    covariance = displacement_covariance(forward, blocks(forward, jnp.asarray(irreducible)))
    centre = covariance_in_real_space(covariance, forward.grid_shape)
    roots = square_roots(np.asarray(covariance))
    shifts, values, slopes = [], [], []
    for inverse in ensemble.cosets.inverses:
        modes = _in_units_of(transformed(ensemble.symmetry, ensemble.cosets.modes, inverse), roots)
        arrays = jnp.asarray(modes.k_index), jnp.asarray(modes.blocks)
        shift = _combined(*arrays, jnp.asarray(amplitudes), forward.grid_shape)
        value, slope = _mode_derivatives(forward.engine, centre + shift, *arrays)
        shifts.append(shift)
        values.append(np.asarray(value))
        slopes.append(np.asarray(slope))
    with np.errstate(divide="ignore"):
        log_shares = np.log(ensemble.cosets.shares)
    # Parts of the average count by their intensities, which are equal only at θ = 0.
    weights = np.array(jax.nn.softmax(np.array(values) + log_shares.T, axis=0))
    return Response(
        np.einsum("cq,csq->qs", weights, slopes),
        Deviation(jnp.stack(shifts), jnp.asarray(log_shares)),
    )


def _in_units_of(modes: Modes, roots: Complex[np.ndarray, "n_k size size"]) -> Modes:
    """B_s = C^½ G_s C^½."""
    here = roots[modes.k_index]
    return Modes(modes.k_index, here @ modes.blocks @ here)


@partial(jax.jit, static_argnames="grid_shape")
def _combined(
    k_index: Int[Array, "n_modes n_members"],
    blocks: Complex[Array, "n_modes n_members size size"],
    amplitudes: Float[Array, " n_modes"],
    grid_shape: tuple[int, int, int],
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """Σ_s θ_s B_s in real space."""
    waves = jnp.zeros((int(np.prod(grid_shape)), *blocks.shape[2:]), blocks.dtype)
    waves = waves.at[k_index].add(amplitudes[:, None, None, None] * blocks)
    return covariance_in_real_space(waves, grid_shape)


@jax.jit
def _mode_derivatives(
    engine: ExactEngine,
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    k_index: Int[Array, "n_modes n_members"],
    blocks: Complex[Array, "n_modes n_members size size"],
) -> tuple[Float[Array, " n_q"], Float[Array, "n_modes n_q"]]:
    """Log I, and its derivative along every mode."""

    def along(mode: tuple[Array, Array]) -> tuple[Array, Array]:
        members, values = mode
        direction = _combined(members[None], values[None], jnp.ones(1), engine.grid_shape)
        return jax.jvp(lambda c: exact.log_intensity(engine, c), (covariance,), (direction,))

    value, slope = jax.lax.map(along, (k_index, blocks))
    return value[0], slope


def ensemble_data(
    ensemble: Ensemble,
    problem: Problem,
    forward: ForwardModel,
    irreducible: np.ndarray,
    amplitudes: np.ndarray,
    response: Response,
) -> FitData:
    """Data of a problem with the noise of an ensemble, linearised in the amplitudes θ.

    The logarithm of a mean lies below that of its expectation, by log(m) - digamma(m) if the rest of the
    noise is that of a mean of m exponentials; that is corrected for, and the model of θ has the same for
    the part that is linear in θ. With the normal prior of θ integrated out, residuals of data shifted by
    U θ have the covariance U Uᵀ 2/M plus that of the rest.

    Args:
        ensemble: the modes and stars.
        problem: the observed log intensities.
        forward: crystal and engine.
        irreducible: (n_irreducible,) at which the noise is evaluated.
        amplitudes: (n_modes,) θ.
        response: at both, from :func:`mode_response`.
    """
    m = ensemble.configurations
    crystal, phi = replace(forward, deviation=None), jnp.asarray(irreducible)
    intensity = np.exp(np.asarray(log_intensity(crystal, phi)))
    centre = np.asarray(crystal_covariance(crystal, phi))
    noises = [
        star_noise(problem.supercell, centre, star, ensemble.factors, intensity) for star in ensemble.stars
    ]
    members = [star.points for star in ensemble.stars]
    rest_variance = np.empty(len(intensity))
    for points, noise in zip(members, noises, strict=True):
        rest_variance[points] = noise.diagonal() / m
    common = np.sqrt(2 / m) * response.derivative
    variance = rest_variance + (common**2).sum(axis=1)
    independent = INDEPENDENT * variance
    factors = [
        noise.factor(NEGLIGIBLE * m * independent[points]) / np.sqrt(m)
        for points, noise in zip(members, noises, strict=True)
    ]
    effective = 1 / np.maximum(rest_variance, 1e-12)
    bias = digamma(effective) - np.log(effective)
    observed = np.asarray(problem.data.log_intensity) - bias + response.derivative @ amplitudes
    correlation = make_correlation(independent, members, factors, common)
    return FitData(jnp.asarray(observed), jnp.asarray(1 / variance), False, correlation)


def estimated_amplitudes(
    ensemble: Ensemble, data: FitData, response: Response, fit: PointFit
) -> Float[np.ndarray, " n_modes"]:
    """Posterior mean of θ at a fit to data from :func:`ensemble_data`."""
    pull = precision_times(data, jnp.asarray(fit.residual))
    return 2 / ensemble.configurations * response.derivative.T @ np.asarray(pull)


def ensemble_fit(
    problem: Problem,
    start: np.ndarray,
    configurations: int,
    progress: Callable[[str], None] = lambda message: None,
) -> tuple[Problem, PointFit]:
    """Point fit to a volume that is a mean over independent configurations.

    Args:
        problem: data, crystal and priors; the noise of its data is ignored.
        start: (n_irreducible,) eV/Å²; may be unstable.
        configurations: their number M.
        progress: called with a line of text before every round.

    Returns:
        the problem with the noise at the fit, and the fit to it.

    Raises:
        CrystalError: the supercell has not the symmetry of the crystal.
    """
    ensemble = make_ensemble(problem, configurations)
    problem = replace(problem, data=learn_noise(problem.data, problem.grid))
    fit, noisy = point_fit(problem, start, progress), problem
    amplitudes = np.zeros(len(ensemble.cosets.modes.k_index))
    for number in range(MAX_ROUNDS):
        progress(f"noise of {configurations} configurations, evaluation {number + 1}")
        response = mode_response(ensemble, fit.forward, fit.irreducible, amplitudes)
        data = ensemble_data(ensemble, problem, fit.forward, fit.irreducible, amplitudes, response)
        noisy = replace(problem, data=data, deviation=response.deviation)
        before, fit = fit, refine(noisy, fit.irreducible, progress)
        amplitudes = estimated_amplitudes(ensemble, data, response, fit)
        step = fit.irreducible - before.irreducible
        if step @ fit.precision @ step < SETTLED**2 * len(step):
            break
    return noisy, fit
