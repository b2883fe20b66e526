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
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import Likelihood, Quadratic, centred, fisher_information
from bayestds.inference.model import whitened
from bayestds.inference.problem import Problem, direct_engine, engine_for, truncation_at
from bayestds.inference.uncertainty import Scores
from bayestds.scattering.expansion import Truncation
from bayestds.scattering.forward import ForwardModel, stable

MAX_ROUNDS = 12
SCALE_ROUNDS = 6
"""Rounds of each stage in which a learned prior scale follows the force constants."""

SUBSET_SIZE = 800
SUBSET_MISFIT = 1e-3
"""Residual rms of log intensity at which the first stage hands over to the full data."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Curvature:
    """What the data say at one point.

    Attributes:
        likelihood: with its variances as they are here.
        quadratic: its least-squares form.
        fitted: (n_q,) log intensity of the model at the best scale.
        derivative: (n_q, n) of the log intensities, Å²/eV.
        information: (n, n) Fisher information, Å⁴/eV².
        slope: (n,) of the log-likelihood, Å²/eV.
        newton: the step to the maximum of the posterior.
    """

    likelihood: Likelihood
    quadratic: Quadratic
    fitted: Array
    derivative: Array
    information: Array
    slope: Array
    newton: Newton


@dataclass(frozen=True, eq=False)
class PointFit:
    """Result of a point fit.

    Attributes:
        problem: what was fitted, a prior scale that is learned as it was last.
        irreducible: (n_irreducible,) φ, eV/Å².
        cubic: (n_cubic,) γ, eV/Å³; none of a harmonic crystal.
        precision: (n_constants, n_constants) Fisher information plus prior precision of φ and γ together,
            Å⁴/eV² for φ. Strengths of a background are marginalised.
        covariance: its inverse, eV²/Å⁴ for φ.
        background: (n_terms,) strengths of the background.
        parameter_precision: (n_parameters, n_parameters) of force constants and strengths together.
        log_intensity: (n_q,) fitted, at the best scale.
        likelihood: of the data at the fit, free of the truncation error of the engine.
        quadratic: its least-squares form there.
        derivative: (n_q, n_constants) of the log intensities at the fit, Å²/eV for φ, where the strengths
            follow.
        converged: whether the fit arrived at a maximum of the posterior.
        message: what happened, in words.
        truncation: error of the near/far expansion at the fit.
        history: (n_rounds, n_irreducible + 1) IFCs and residual rms before each round.
        forward: the forward model used last.
    """

    problem: Problem
    irreducible: np.ndarray
    cubic: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray
    background: np.ndarray
    parameter_precision: np.ndarray
    log_intensity: np.ndarray
    likelihood: Likelihood
    quadratic: Quadratic
    derivative: np.ndarray
    converged: bool
    message: str
    truncation: Truncation
    history: np.ndarray
    forward: ForwardModel

    @property
    def residual(self) -> np.ndarray:
        """Observed minus fitted log intensity (n_q,); of intensities and counts the relative difference."""
        return np.asarray(self.quadratic.residual)

    @property
    def weight(self) -> np.ndarray:
        """Inverse variance (n_q,) of each residual."""
        return np.asarray(self.quadratic.weight)

    @property
    def residual_rms(self) -> float:
        """Weighted rms of the residual."""
        return float(self.quadratic.residual_rms)

    @property
    def reduced_chi_square(self) -> float:
        """χ² per degree of freedom; 1 where the noise level was learned."""
        return float(self.quadratic.reduced_chi_square(len(self.parameter_precision)))

    @property
    def scores(self) -> Scores:
        """What the points say of the constants; independent ones only."""
        precision = self.quadratic.precision
        derivative = np.asarray(centred(precision, jnp.asarray(self.derivative)))
        return Scores(derivative, np.asarray(precision.row_sums), np.asarray(self.quadratic.score))

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
def curvature(
    forward: ForwardModel, likelihood: Likelihood, parameters: Array, prior_scales: Array
) -> Curvature:
    """Curvature of the log posterior and the Gauss-Newton step, at stable force constants."""
    value, derivative = log_intensity_and_jacobian(forward, parameters)
    likelihood = likelihood.settled(value, len(parameters))
    here = likelihood.quadratic(value, len(parameters))
    information = fisher_information(here.precision, derivative)
    slope = derivative.T @ here.score
    step = newton(information, slope, parameters, prior_scales)
    return Curvature(likelihood, here, value + here.log_scale, derivative, information, slope, step)


def _look(
    forward: ForwardModel, problem: Problem, likelihood: Likelihood, parameters: Array
) -> Curvature | None:
    """Curvature at stable force constants, None at unstable ones."""
    if not bool(stable(forward, parameters)):
        return None
    return curvature(forward, likelihood, parameters, jnp.asarray(problem.parameter_scales))


def _round(
    forward: ForwardModel, problem: Problem, likelihood: Likelihood, location: Array, here: Curvature | None
) -> Array:
    """One round of SVI in the coordinates that suit the place."""
    step = None if here is None else here.newton
    priors = jnp.asarray(problem.parameter_scales)
    likelihood = likelihood if here is None else here.likelihood
    return one_round(whitened, "parameters", location, step, priors, (forward, likelihood, priors))


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
    problem = problem.with_scale_of(harmonic.irreducible)
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
    forward, likelihood = part.forward_model(direct_engine(part)), part.likelihood
    for number in range(MAX_ROUNDS):
        problem = _rescaled(problem, forward, location, number)
        here = _look(forward, problem, likelihood, location)
        close = here is not None and here.quadratic.residual_rms < SUBSET_MISFIT
        if here is not None and (close or here.newton.distance < 1):
            break
        _record(history, location, here, f"subset, round {number + 1} of at most {MAX_ROUNDS}", progress)
        location = _round(forward, problem, likelihood, location, here)
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
    likelihood: Likelihood = problem.likelihood
    truncation = None
    converged = False
    for number in range(MAX_ROUNDS):
        problem = _rescaled(problem, forward, location, number)
        here = _look(forward, problem, likelihood, location)
        _record(history, location, here, f"all points, round {number + 1} of at most {MAX_ROUNDS}", progress)
        if here is None or not here.newton.converged:
            location = _round(forward, problem, likelihood, location, here)
            continue
        converged = truncation is not None
        if converged:
            break
        truncation = truncation_at(forward, problem, location)
        if np.abs(truncation.error).max() > problem.tolerance:
            # The force constants have moved out of the range of the engine: choose it anew.
            forward, truncation = engine_for(bare, problem, location), None
        else:
            likelihood = problem.likelihood.shifted(truncation.offset)
    truncation = truncation or truncation_at(forward, problem, location)
    return result_at(forward, problem, likelihood, location, converged, truncation, np.array(history))


def _rescaled(problem: Problem, forward: ForwardModel, location: Array, number: int) -> Problem:
    """The problem with a learned prior scale that suits stable force constants, in the first rounds."""
    if not problem.learns_scale or number >= SCALE_ROUNDS or not bool(stable(forward, location)):
        return problem
    return problem.with_scale_of(np.asarray(location[: forward.n_irreducible]))


def _record(
    history: list[np.ndarray],
    location: Array,
    here: Curvature | None,
    stage: str,
    progress: Callable[[str], None],
) -> None:
    history.append(np.append(location, np.nan if here is None else float(here.quadratic.residual_rms)))
    if here is None:
        progress(f"{stage}: the crystal is unstable, moving into the stable region")
    else:
        distance = here.newton.distance
        progress(
            f"{stage}: residual rms {here.quadratic.residual_rms:.2g}, {distance:.2g} standard errors to go"
        )


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
    likelihood: Likelihood,
    location: Array,
    converged: bool,
    truncation: Truncation,
    history: np.ndarray,
) -> PointFit:
    """The point fit that ended at a location, with everything evaluated there.

    Args:
        forward: with the engine used last.
        problem: what was fitted.
        likelihood: of its data, free of the truncation error of the engine.
        location: (n_parameters,) φ in eV/Å², γ in eV/Å³, and strengths of the background.
        converged: whether it is a maximum.
        truncation: of the engine, at the location.
        history: of the rounds.
    """
    here = curvature(forward, likelihood, location, jnp.asarray(problem.parameter_scales))
    is_stable = bool(stable(forward, location))
    n, first = forward.n_constants, forward.n_irreducible
    total = np.asarray(here.newton.precision)
    follow = slope_of_rest(total, n)
    precision = marginal_precision(total, n)
    covariance = np.linalg.inv(precision) if is_stable else np.full_like(precision, np.nan)
    derivative = np.asarray(here.derivative)
    return PointFit(
        problem=problem,
        irreducible=np.asarray(location[:first]),
        cubic=np.asarray(location[first:n]),
        precision=precision,
        covariance=covariance,
        background=np.asarray(location[n:]),
        parameter_precision=total,
        log_intensity=np.asarray(here.fitted + truncation.offset),
        likelihood=here.likelihood,
        quadratic=here.quadratic,
        derivative=derivative[:, :n] + derivative[:, n:] @ follow,
        converged=converged,
        message=verdict(here.newton, converged, is_stable, MAX_ROUNDS),
        truncation=truncation,
        history=np.column_stack([history[:, :first], history[:, -1]]),
        forward=forward,
    )
