"""Point fit by stochastic variational inference: AutoDelta and Adam in whitened coordinates.

The rounds are those of :mod:`bayestds.inference.ascent`. A first stage works on a random subset of the
Q points with the direct form of the intensity, which is accurate for any force constants.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.ascent import Newton, newton, one_round, verdict
from bayestds.inference.information import fisher_information, log_intensity_and_jacobian
from bayestds.inference.model import whitened
from bayestds.inference.noise import FitData, noise_variance, precision_times, residual, subset
from bayestds.scattering.exact import ExactEngine, make_engine
from bayestds.scattering.expansion import Truncation, choose_engine, measure_truncation
from bayestds.scattering.forward import (
    Deviation,
    ForwardModel,
    Statistics,
    covariance,
    make_forward_model,
    stable,
)
from bayestds.scattering.grid import IrreducibleGrid

MAX_ROUNDS = 12
SUBSET_SIZE = 800
SUBSET_MISFIT = 1e-3
"""Residual rms of log intensity at which the first stage hands over to the full data."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted to what.

    Attributes:
        irreducible: the parameters.
        supercell: the periodic supercell.
        temperature: K.
        grid: the Q points.
        data: log intensities at them.
        prior_scales: (n_irreducible,) eV/Å².
        scattering_factors: f_κ (n_atoms,) or (n_q, n_atoms), may be complex; None for 1.
        tolerance: of the forward model in log intensity.
        deviation: of the sample covariance behind the data from the crystal's, None if it is not known.
        statistics: of the displacements.
    """

    irreducible: IrreducibleForceConstants
    supercell: Supercell
    temperature: float
    grid: IrreducibleGrid
    data: FitData
    prior_scales: np.ndarray
    scattering_factors: np.ndarray | None = None
    tolerance: float = 1e-4
    deviation: Deviation | None = None
    statistics: Statistics = "classical"

    def forward_model(self, engine: ExactEngine | None = None) -> ForwardModel:
        """Forward model of the crystal, without the deviation."""
        return make_forward_model(self.irreducible, self.supercell, self.temperature, engine, self.statistics)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Curvature:
    """What the data say at one point.

    Attributes:
        log_intensity: (n_q,) of the model, without the scale.
        derivative: (n_q, n) of the log intensities, Å²/eV.
        residual: (n_q,) observed minus model log intensity at the best scale.
        information: (n, n) Fisher information, Å⁴/eV².
        slope: (n,) of the log-likelihood, Å²/eV.
        newton: the step to the maximum of the posterior.
        residual_rms: weighted rms of the residual.
        noise_variance: factor on 1 / weight that makes it a variance.
    """

    log_intensity: Array
    derivative: Array
    residual: Array
    information: Array
    slope: Array
    newton: Newton
    residual_rms: Array
    noise_variance: Array


@dataclass(frozen=True, eq=False)
class PointFit:
    """Result of a point fit.

    Attributes:
        irreducible: (n_irreducible,) eV/Å².
        precision: (n_irreducible, n_irreducible) Fisher information plus prior precision, Å⁴/eV².
        covariance: its inverse, eV²/Å⁴.
        log_intensity: (n_q,) fitted, at the best scale.
        residual: (n_q,) observed minus fitted log intensity.
        derivative: (n_q, n_irreducible) of the log intensities at the fit, Å²/eV.
        log_scale: logarithm of the overall scale.
        noise_variance: factor on 1 / weight that makes it a variance; 1 unless the noise was learned.
        residual_rms: weighted rms of the residual.
        converged: whether the fit arrived at a maximum of the posterior.
        message: what happened, in words.
        truncation: error of the near/far expansion at the fit.
        history: (n_rounds, n_irreducible + 1) IFCs and residual rms before each round.
        forward: the forward model used last.
    """

    irreducible: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray
    log_intensity: np.ndarray
    residual: np.ndarray
    derivative: np.ndarray
    log_scale: float
    noise_variance: float
    residual_rms: float
    converged: bool
    message: str
    truncation: Truncation
    history: np.ndarray
    forward: ForwardModel


@jax.jit
def curvature(forward: ForwardModel, data: FitData, irreducible: Array, prior_scales: Array) -> Curvature:
    """Curvature of the log posterior and the Gauss-Newton step, at stable force constants."""
    fitted, derivative = log_intensity_and_jacobian(forward, irreducible)
    misfit = residual(data, fitted)
    variance = jnp.maximum(noise_variance(data, misfit, len(irreducible)), 1e-30)
    information = fisher_information(data, derivative) / variance
    slope = derivative.T @ precision_times(data, misfit) / variance
    rms = jnp.sqrt((data.weight * misfit**2).sum() / data.weight.sum())
    to_maximum = newton(information, slope, irreducible, prior_scales)
    return Curvature(fitted, derivative, misfit, information, slope, to_maximum, rms, variance)


def _look(forward: ForwardModel, problem: Problem, data: FitData, irreducible: Array) -> Curvature | None:
    """Curvature at stable force constants, None at unstable ones."""
    if not bool(stable(forward, irreducible)):
        return None
    return curvature(forward, data, irreducible, jnp.asarray(problem.prior_scales))


def _round(
    forward: ForwardModel, problem: Problem, data: FitData, location: Array, here: Curvature | None
) -> Array:
    """One round of SVI in the coordinates that suit the place."""
    step = None if here is None else here.newton
    priors = jnp.asarray(problem.prior_scales)
    return one_round(whitened, "irreducible", location, step, priors, (forward, data, priors))


def point_fit(
    problem: Problem, start: np.ndarray, progress: Callable[[str], None] = lambda message: None
) -> PointFit:
    """Maximum of the posterior, with its curvature.

    Args:
        problem: data, crystal and priors.
        start: (n_irreducible,) eV/Å²; may be unstable.
        progress: called with a line of text before every round.
    """
    history: list[np.ndarray] = []
    location = _first_stage(problem, jnp.asarray(start, dtype=float), history, progress)
    return _second_stage(problem, location, history, progress)


def refine(
    problem: Problem, start: np.ndarray, progress: Callable[[str], None] = lambda message: None
) -> PointFit:
    """The same from a start near the maximum: all Q points from the beginning."""
    return _second_stage(problem, jnp.asarray(start, dtype=float), [], progress)


def _first_stage(
    problem: Problem, location: Array, history: list[np.ndarray], progress: Callable[[str], None]
) -> Array:
    """Into the stable region and near the maximum, on a subset of the Q points."""
    rows = np.random.default_rng(0).permutation(len(problem.grid.q_points))[:SUBSET_SIZE]
    data = subset(problem.data, rows)
    factors = problem.scattering_factors
    factors = factors if factors is None or factors.ndim == 1 else factors[rows]
    engine = make_engine(problem.supercell, problem.grid.q_points[rows], factors)
    forward = problem.forward_model(engine)
    for number in range(MAX_ROUNDS):
        here = _look(forward, problem, data, location)
        if here is not None and (here.residual_rms < SUBSET_MISFIT or here.newton.distance < 1):
            break
        _record(history, location, here, f"subset, round {number + 1}", progress)
        location = _round(forward, problem, data, location, here)
    return location


def _second_stage(
    problem: Problem, location: Array, history: list[np.ndarray], progress: Callable[[str], None]
) -> PointFit:
    """To the maximum, on all Q points with the cheapest engine within the tolerance.

    Where the fit has converged, the truncation error of the engine is measured and taken off the data, so
    that the last rounds end at the maximum of the direct form.
    """
    bare = replace(problem.forward_model(), deviation=problem.deviation)
    forward = engine_for(bare, problem, location)
    data, truncation = problem.data, None
    converged = False
    for number in range(MAX_ROUNDS):
        here = _look(forward, problem, data, location)
        _record(history, location, here, f"all points, round {number + 1}", progress)
        if here is None or not here.newton.converged:
            location = _round(forward, problem, data, location, here)
            continue
        converged = truncation is not None
        if converged:
            break
        truncation = truncation_at(forward, problem, location)
        if np.abs(truncation.error).max() > problem.tolerance:
            # The force constants have moved out of the range of the engine: choose it anew.
            forward, truncation = engine_for(bare, problem, location), None
        else:
            data = replace(data, log_intensity=problem.data.log_intensity - truncation.offset)
    truncation = truncation or truncation_at(forward, problem, location)
    return result_at(forward, problem, data, location, converged, truncation, np.array(history))


def _record(
    history: list[np.ndarray],
    location: Array,
    here: Curvature | None,
    stage: str,
    progress: Callable[[str], None],
) -> None:
    history.append(np.append(location, np.nan if here is None else float(here.residual_rms)))
    if here is None:
        progress(f"{stage}: the crystal is unstable, moving into the stable region")
    else:
        distance = here.newton.distance
        progress(f"{stage}: residual rms {here.residual_rms:.2g}, {distance:.2g} standard errors to go")


def engine_for(bare: ForwardModel, problem: Problem, location: Array) -> ForwardModel:
    """The forward model with the cheapest engine within the tolerance at these force constants."""
    engine = choose_engine(
        problem.supercell,
        problem.grid.q_points,
        covariance(bare, location),
        problem.scattering_factors,
        # Half the tolerance: the force constants will still move.
        problem.tolerance / 2,
    )
    return bare.with_engine(engine)


def truncation_at(forward: ForwardModel, problem: Problem, location: Array) -> Truncation:
    """What the engine of the forward model leaves out at these force constants."""
    assert isinstance(forward.engine, ExactEngine)
    return measure_truncation(
        forward.engine,
        problem.supercell,
        problem.grid.q_points,
        covariance(forward, location),
        problem.scattering_factors,
    )


def result_at(
    forward: ForwardModel,
    problem: Problem,
    data: FitData,
    location: Array,
    converged: bool,
    truncation: Truncation,
    history: np.ndarray,
) -> PointFit:
    """The point fit that ended at a location, with everything evaluated there.

    Args:
        forward: with the engine used last.
        problem: what was fitted.
        data: its data, free of the truncation error of the engine.
        location: (n_irreducible,) eV/Å².
        converged: whether it is a maximum.
        truncation: of the engine, at the location.
        history: of the rounds.
    """
    here = curvature(forward, data, location, jnp.asarray(problem.prior_scales))
    is_stable = bool(stable(forward, location))
    log_scale = float(jnp.mean(data.log_intensity - here.log_intensity - here.residual))
    return PointFit(
        irreducible=np.asarray(location),
        precision=np.asarray(here.newton.precision),
        covariance=here.newton.covariance if is_stable else np.full_like(here.newton.precision, np.nan),
        log_intensity=np.asarray(problem.data.log_intensity - here.residual),
        residual=np.asarray(here.residual),
        derivative=np.asarray(here.derivative),
        log_scale=log_scale,
        noise_variance=float(here.noise_variance),
        residual_rms=float(here.residual_rms),
        converged=converged,
        message=verdict(here.newton, converged, is_stable, MAX_ROUNDS),
        truncation=truncation,
        history=history,
        forward=forward,
    )
