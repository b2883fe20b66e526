"""Fits to a volume that is a mean over M independent configurations of a harmonic crystal.

Voxels of equal k share the displacement amplitudes of a few waves, so their noise is strongly correlated.
It has two parts. The first is what the error of the sample covariance C(k) brings about, common to all
voxels (:mod:`bayestds.inference.ensemble_modes`). Its amplitudes θ, normal with variance 2/M, are unknowns
of the fit beside the force constants φ: the maximum of the joint posterior is found by linearising in both
about their last estimates and integrating θ out, again and again. Any change of C(k) by φ is one by θ as
well, and only if both are linear do they stay so: else the data, which know the sum of both far better than
either, seem to tell them apart. As θ is scaled by C(k), each of these steps is, classically, one of Newton's
to the maximum likelihood of the displacements. The rest of the noise is uncorrelated with θ and correlated
within each star of k only (:mod:`bayestds.scattering.fluctuations`).
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int
from scipy.special import digamma, logsumexp, softmax

from bayestds.errors import CrystalError
from bayestds.inference.correlation import make_correlation
from bayestds.inference.ensemble_modes import (
    Cosets,
    Modes,
    find_cosets,
    square_roots,
    transformed,
)
from bayestds.inference.fit_result import PointFit
from bayestds.inference.likelihoods.correlated import Correlated
from bayestds.inference.problem import Problem
from bayestds.inference.rounds import Progress, harmonic_fit, refine
from bayestds.inference.sums import cheapest_model, truncation_at
from bayestds.lattice_dynamics.covariance import covariance_in_real_space, packed_covariance
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks
from bayestds.lattice_dynamics.harmonic import covariance as crystal_covariance
from bayestds.lattice_dynamics.symmetry import BlockSymmetry, block_symmetry
from bayestds.scattering import exact
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.fluctuations import Star, find_stars, orbit_shares, star_noise
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import Linearised, OnMesh
from bayestds.scattering.q_points import LinearisedPoints, MeshPoints

INDEPENDENT = 1e-5
"""Share of each variance that is added as independent noise.

The noise is smooth over the Q points, so that in many directions it has almost none. A larger share gives
information away: in a wedge of 25° of fcc standard errors are up to 20 % above the bound of the displacements
with 0.01, 9 % with 1e-3, 7 % with 1e-4, 6 % with this and 5 % with less.
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


def make_ensemble(problem: Problem) -> Ensemble:
    """Ensemble of configurations behind the only volume of a problem.

    Raises:
        CrystalError: the supercell has not the symmetry of the crystal.
        ModelError: the noise of such a mean is not known for this problem.
    """
    (volume,) = problem.volumes
    symmetry = block_symmetry(problem.supercell)
    if not symmetry.is_complete:
        raise CrystalError(
            "The supercell has not the symmetry of the crystal.",
            "A symmetry operation takes some of its wave vectors to others that do not fit it.",
            "Use a supercell that the rotations of the crystal leave unchanged, or give the noise.",
        )
    q_points = volume.grid.q_points
    problem.check()
    assert isinstance(volume.q_points, MeshPoints)
    shares = orbit_shares(volume.grid, problem.supercell.crystal.laue_group)
    shape = len(q_points), problem.supercell.crystal.n_atoms
    factors = np.ones(shape) if volume.q_points.factors is None else volume.q_points.factors
    return Ensemble(
        volume.configurations,
        symmetry,
        find_cosets(symmetry, shares),
        find_stars(problem.supercell, q_points, shares),
        np.broadcast_to(factors, shape),
    )


@dataclass(frozen=True, eq=False)
class Response:
    """The log intensities of the averaged voxels near some force constants φ and amplitudes θ of the modes.

    Attributes:
        log_intensity: (n_q,) there.
        by_constant: (n_q, n_irreducible) derivative J by φ, at fixed deviation of the sample, Å²/eV.
        by_mode: (n_q, n_modes) derivative U by θ.
    """

    log_intensity: np.ndarray
    by_constant: np.ndarray
    by_mode: np.ndarray


def respond(
    ensemble: Ensemble, forward: ForwardModel, irreducible: np.ndarray, amplitudes: np.ndarray
) -> Response:
    """Response at force constants φ (eV/Å²) and amplitudes θ.

    Args:
        ensemble: the modes.
        forward: crystal and engine.
        irreducible: (n_irreducible,).
        amplitudes: (n_modes,).
    """
    assert isinstance(forward.lattice_sum, OnMesh)
    engine, grid_shape = forward.lattice_sum.engine, forward.crystal.grid_shape
    waves, changes = _covariance_and_derivative(forward.crystal, jnp.asarray(irreducible))
    centre = covariance_in_real_space(waves, grid_shape)
    roots = square_roots(np.asarray(waves))
    values, slopes = [], []
    for inverse in ensemble.cosets.inverses:
        modes = _in_units_of(transformed(ensemble.symmetry, ensemble.cosets.modes, inverse), roots)
        # The symmetry of the crystal leaves its own covariance, and changes of it, as they are.
        arrays = jnp.asarray(modes.k_index), jnp.asarray(modes.blocks)
        shift = _combined(*arrays, jnp.asarray(amplitudes), grid_shape)
        found = _derivatives(engine, centre + shift, changes, *arrays)
        values.append(np.asarray(found[0]))
        slopes.append(np.asarray(found[1]))
    with np.errstate(divide="ignore"):
        parts = np.array(values) + np.log(ensemble.cosets.shares.T)
    # Parts of the average count by their intensities, which are equal only at θ = 0.
    slope = np.einsum("cq,csq->qs", softmax(parts, axis=0), slopes)
    n = len(irreducible)
    return Response(logsumexp(parts, axis=0), slope[:, :n], slope[:, n:])


@jax.jit
def _covariance_and_derivative(
    crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
) -> tuple[Complex[Array, "n_k size size"], Float[Array, "n_irreducible n_cells n_atoms n_atoms 3 3"]]:
    """C(k), and the derivative of C_κκ'(R) by every irreducible force constant."""

    def along(tangent: Float[Array, " n_irreducible"]) -> Array:
        return jax.jvp(lambda phi: crystal_covariance(crystal, phi), (irreducible,), (tangent,))[1]

    waves = crystal.statistics.covariance(blocks(crystal, irreducible))
    return waves, jax.lax.map(along, jnp.eye(len(irreducible)))


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
def _derivatives(
    engine: ExactEngine,
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    changes: Float[Array, "n_changes n_cells n_atoms n_atoms 3 3"],
    k_index: Int[Array, "n_modes n_members"],
    blocks: Complex[Array, "n_modes n_members size size"],
) -> tuple[Float[Array, " n_q"], Float[Array, "n_changes_and_modes n_q"]]:
    """Log I, and its derivative along changes of C_κκ'(R) and then along every mode."""

    def along(change: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda c: exact.log_intensity(engine, packed_covariance(c)), (covariance,), (change,))

    def along_mode(mode: tuple[Array, Array]) -> Array:
        members, values = mode
        return along(_combined(members[None], values[None], jnp.ones(1), engine.grid_shape))[1]

    value, by_change = jax.lax.map(along, changes)
    return value[0], jnp.concatenate([by_change, jax.lax.map(along_mode, (k_index, blocks))])


def ensemble_data(
    ensemble: Ensemble,
    problem: Problem,
    forward: ForwardModel,
    irreducible: np.ndarray,
    amplitudes: np.ndarray,
    response: Response,
) -> Correlated:
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
        response: at both, from :func:`respond`.
    """
    m = ensemble.configurations
    phi = jnp.asarray(irreducible)
    intensity = np.exp(np.asarray(log_intensity(forward, phi)))
    centre = np.asarray(crystal_covariance(forward.crystal, phi))
    noises = [
        star_noise(problem.supercell, centre, star, ensemble.factors, intensity) for star in ensemble.stars
    ]
    members = [star.points for star in ensemble.stars]
    rest_variance = np.empty(len(intensity))
    for points, noise in zip(members, noises, strict=True):
        rest_variance[points] = noise.diagonal() / m
    common = np.sqrt(2 / m) * response.by_mode
    variance = rest_variance + (common**2).sum(axis=1)
    independent = INDEPENDENT * variance
    factors = [
        noise.factor(NEGLIGIBLE * m * independent[points]) / np.sqrt(m)
        for points, noise in zip(members, noises, strict=True)
    ]
    effective = 1 / np.maximum(rest_variance, 1e-12)
    bias = digamma(effective) - np.log(effective)
    observed = np.asarray(problem.volumes[0].likelihood.observed) - bias + response.by_mode @ amplitudes
    correlation = make_correlation(independent, members, factors, common)
    return Correlated(jnp.asarray(observed), jnp.asarray(1 / variance), correlation)


def estimated_amplitudes(
    ensemble: Ensemble, response: Response, fit: PointFit
) -> Float[np.ndarray, " n_modes"]:
    """Posterior mean of θ at a fit to data from :func:`ensemble_data`."""
    return 2 / ensemble.configurations * response.by_mode.T @ np.asarray(fit.volumes[0].quadratic.score)


def ensemble_fit(problem: Problem, start: np.ndarray, progress: Progress = lambda message: None) -> PointFit:
    """Point fit to a volume that is a mean over independent configurations.

    Args:
        problem: data, crystal and priors; the noise of its data is ignored.
        start: (n_irreducible,) eV/Å²; may be unstable.
        progress: called with a line of text before every round.

    Returns:
        the fit, whose volume has the noise as it is there.

    Raises:
        CrystalError: the supercell has not the symmetry of the crystal.
    """
    ensemble = make_ensemble(problem)
    (volume,) = problem.volumes
    plain = volume.with_learned_noise
    fit = harmonic_fit(problem.with_volumes(plain), start, progress)
    forward, truncation = fit.volumes[0].forward, fit.volumes[0].truncation
    problem = fit.problem
    amplitudes, settled = np.zeros(len(ensemble.cosets.modes.k_index)), False
    for number in range(MAX_ROUNDS):
        evaluation = f"evaluation {number + 1} of at most {MAX_ROUNDS}"
        progress(f"noise of {ensemble.configurations} configurations, {evaluation}")
        here = jnp.asarray(fit.irreducible)
        if np.abs(truncation.error).max() > problem.tolerance:
            forward = cheapest_model(problem, plain, here)
            truncation = truncation_at(forward, plain, here)
        response = respond(ensemble, forward, fit.irreducible, amplitudes)
        data = ensemble_data(ensemble, problem, forward, fit.irreducible, amplitudes, response)
        about = fit.irreducible, response.log_intensity + truncation.offset, response.by_constant
        linearised = LinearisedPoints(Linearised(*map(jnp.asarray, about)))
        noisy = fit.problem.with_volumes(replace(volume, likelihood=data, q_points=linearised))
        before, fit = fit, refine(noisy, fit.irreducible, progress)
        truncation = truncation_at(forward, plain, jnp.asarray(fit.irreducible))
        amplitudes = estimated_amplitudes(ensemble, response, fit)
        step = fit.irreducible - before.irreducible
        if settled := bool(step @ fit.precision @ step < SETTLED**2 * len(step)):
            break
    # The linearised intensity is free of the truncation error: what is left of it is for the record.
    nothing_taken_off = replace(truncation, offset=np.zeros_like(truncation.offset))
    fit = replace(fit, volumes=(replace(fit.volumes[0], truncation=nothing_taken_off),))
    if not settled:
        message = f"Not converged: after {MAX_ROUNDS} evaluations of the noise the fit still moves with it."
        fit = replace(fit, converged=False, message=message)
    return fit
