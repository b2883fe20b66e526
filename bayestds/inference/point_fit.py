"""Point fit by stochastic variational inference: AutoDelta and Adam in whitened coordinates.

The rounds are those of :mod:`bayestds.inference.ascent`. A first stage works on a random subset of the
Q points with the direct form of the intensity, which is accurate for any force constants.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.inference.ascent import Newton, newton, one_round, verdict
from bayestds.inference.information import fisher_information, log_intensity_and_jacobian
from bayestds.inference.model import whitened
from bayestds.inference.noise import (
    FitData,
    best_log_scale,
    linearised,
    noise_variance,
    precision_times,
    residual,
    shifted,
)
from bayestds.inference.problem import Problem, direct_engine, engine_for, truncation_at
from bayestds.scattering.expansion import Truncation
from bayestds.scattering.forward import ForwardModel, stable

MAX_ROUNDS = 12
SUBSET_SIZE = 800
SUBSET_MISFIT = 1e-3
"""Residual rms of log intensity at which the first stage hands over to the full data."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Curvature:
    """What the data say at one point.

    Attributes:
        log_scale: of the intensity.
        fitted: (n_q,) log intensity of the model at this scale.
        weight: (n_q,) inverse variances; relative ones if the noise is learned.
        derivative: (n_q, n) of the log intensities, Å²/eV.
        residual: (n_q,) observed minus model log intensity at the best scale; relative differences of counts.
        information: (n, n) Fisher information, Å⁴/eV².
        slope: (n,) of the log-likelihood, Å²/eV.
        newton: the step to the maximum of the posterior.
        residual_rms: weighted rms of the residual.
        noise_variance: factor on 1 / weight that makes it a variance.
    """

    log_scale: Array
    fitted: Array
    weight: Array
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
        irreducible: (n_irreducible,) φ, eV/Å².
        cubic: (n_cubic,) γ, eV/Å³; none of a harmonic crystal.
        precision: (n_constants, n_constants) Fisher information plus prior precision of φ and γ together,
            Å⁴/eV² for φ. Strengths of a background are marginalised.
        covariance: its inverse, eV²/Å⁴ for φ.
        background: (n_terms,) strengths of the background.
        parameter_precision: (n_parameters, n_parameters) of force constants and strengths together.
        log_intensity: (n_q,) fitted, at the best scale.
        residual: (n_q,) observed minus fitted log intensity; of counts, their relative difference.
        weight: (n_q,) inverse variance of each; relative ones if the noise is learned.
        derivative: (n_q, n_constants) of the log intensities at the fit, Å²/eV for φ, where the strengths
            follow.
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
    cubic: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray
    background: np.ndarray
    parameter_precision: np.ndarray
    log_intensity: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
    derivative: np.ndarray
    log_scale: float
    noise_variance: float
    residual_rms: float
    converged: bool
    message: str
    truncation: Truncation
    history: np.ndarray
    forward: ForwardModel

    @property
    def irreducible_precision(self) -> np.ndarray:
        """Precision (n_irreducible, n_irreducible) of φ alone, where γ is marginalised as well, Å⁴/eV²."""
        return marginal_precision(self.precision, len(self.irreducible))

    @property
    def background_standard_error(self) -> np.ndarray:
        """Of the strengths (n_terms,); NaN where the crystal is unstable."""
        n = len(self.precision)
        if not np.isfinite(self.covariance).all():
            return np.full(len(self.background), np.nan)
        return np.sqrt(np.diag(np.linalg.inv(self.parameter_precision))[n:])


@jax.jit
def curvature(forward: ForwardModel, data: FitData, parameters: Array, prior_scales: Array) -> Curvature:
    """Curvature of the log posterior and the Gauss-Newton step, at stable force constants."""
    value, derivative = log_intensity_and_jacobian(forward, parameters)
    log_scale = best_log_scale(data, value)
    data = linearised(data, value)
    misfit = residual(data, value)
    variance = jnp.maximum(noise_variance(data, misfit, len(parameters)), 1e-30)
    information = fisher_information(data, derivative) / variance
    slope = derivative.T @ precision_times(data, misfit) / variance
    rms = jnp.sqrt((data.weight * misfit**2).sum() / data.weight.sum())
    step = newton(information, slope, parameters, prior_scales)
    fitted = value + log_scale
    return Curvature(
        log_scale, fitted, data.weight, derivative, misfit, information, slope, step, rms, variance
    )


def _look(forward: ForwardModel, problem: Problem, data: FitData, parameters: Array) -> Curvature | None:
    """Curvature at stable force constants, None at unstable ones."""
    if not bool(stable(forward, parameters)):
        return None
    return curvature(forward, data, parameters, jnp.asarray(problem.parameter_scales))


def _round(
    forward: ForwardModel, problem: Problem, data: FitData, location: Array, here: Curvature | None
) -> Array:
    """One round of SVI in the coordinates that suit the place."""
    step = None if here is None else here.newton
    priors = jnp.asarray(problem.parameter_scales)
    return one_round(whitened, "parameters", location, step, priors, (forward, data, priors))


def point_fit(
    problem: Problem, start: np.ndarray, progress: Callable[[str], None] = lambda message: None
) -> PointFit:
    """Maximum of the posterior, with its curvature; of third-order constants, once the others are found.

    Args:
        problem: data, crystal and priors.
        start: (n_irreducible,) eV/Å²; may be unstable.
        progress: called with a line of text before every round.
    """
    if problem.third_order is not None:
        return with_cubic(problem, point_fit(problem.harmonic, start, progress), progress)
    history: list[np.ndarray] = []
    location = _first_stage(problem, _completed(problem, start), history, progress)
    return _second_stage(problem, location, history, progress)


def with_cubic(
    problem: Problem, harmonic: PointFit, progress: Callable[[str], None] = lambda message: None
) -> PointFit:
    """The maximum with third-order constants, from the fit of the same problem without them."""
    none = np.zeros(problem.third_order.n_cubic if problem.third_order else 0)
    location = jnp.asarray(np.concatenate([harmonic.irreducible, none, harmonic.background]))
    return _second_stage(problem, location, [], progress)


def refine(
    problem: Problem, start: np.ndarray, progress: Callable[[str], None] = lambda message: None
) -> PointFit:
    """The same from a start near the maximum: all Q points from the beginning."""
    return _second_stage(problem, _completed(problem, start), [], progress)


def _completed(problem: Problem, start: np.ndarray) -> Array:
    """Irreducible force constants, followed by 0 for all other parameters."""
    n_others = len(problem.parameter_scales) - len(start)
    return jnp.append(jnp.asarray(start, dtype=float), jnp.zeros(n_others))


def _first_stage(
    problem: Problem, location: Array, history: list[np.ndarray], progress: Callable[[str], None]
) -> Array:
    """Into the stable region and near the maximum, on a subset of the Q points."""
    rows = np.random.default_rng(0).permutation(len(problem.grid.q_points))[:SUBSET_SIZE]
    part = problem.some_rows(rows)
    forward, data = part.forward_model(direct_engine(part, rows)), part.data
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
    bare = problem.forward_model()
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
            data = shifted(problem.data, truncation.offset)
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


def slope_of_rest(precision: np.ndarray, n: int) -> np.ndarray:
    """dy/dx = -H_yy⁻¹ H_yx (n_parameters - n, n), by which the best of the last parameters follow the first.

    Args:
        precision: H (n_parameters, n_parameters), of the first parameters x and then the others y.
        n: number of the first.
    """
    return -np.linalg.solve(precision[n:, n:], precision[n:, :n])


def marginal_precision(precision: np.ndarray, n: int) -> np.ndarray:
    """Precision (n, n) of the first parameters, whatever the others are: what is left where these follow."""
    return precision[:n, :n] + precision[:n, n:] @ slope_of_rest(precision, n)


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
        location: (n_parameters,) φ in eV/Å², γ in eV/Å³, and strengths of the background.
        converged: whether it is a maximum.
        truncation: of the engine, at the location.
        history: of the rounds.
    """
    here = curvature(forward, data, location, jnp.asarray(problem.parameter_scales))
    is_stable = bool(stable(forward, location))
    n, first = forward.n_constants, forward.n_irreducible
    total = np.asarray(here.newton.precision)
    follow = slope_of_rest(total, n)
    precision = marginal_precision(total, n)
    covariance = np.linalg.inv(precision) if is_stable else np.full_like(precision, np.nan)
    derivative = np.asarray(here.derivative)
    return PointFit(
        irreducible=np.asarray(location[:first]),
        cubic=np.asarray(location[first:n]),
        precision=precision,
        covariance=covariance,
        background=np.asarray(location[n:]),
        parameter_precision=total,
        log_intensity=np.asarray(here.fitted + truncation.offset),
        residual=np.asarray(here.residual),
        weight=np.asarray(here.weight),
        derivative=derivative[:, :n] + derivative[:, n:] @ follow,
        log_scale=float(here.log_scale),
        noise_variance=float(here.noise_variance),
        residual_rms=float(here.residual_rms),
        converged=converged,
        message=verdict(here.newton, converged, is_stable, MAX_ROUNDS),
        truncation=truncation,
        history=np.column_stack([history[:, :first], history[:, -1]]),
        forward=forward,
    )
