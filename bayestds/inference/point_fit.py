"""Point fit by stochastic variational inference: AutoDelta and Adam in whitened coordinates.

Adam moves in coordinates whose unit is about the distance still to go: the posterior standard
deviations, stretched by the length of the Gauss-Newton step. After each round of steps the coordinates
are computed anew, so that the error falls by a constant factor a round. A first stage works on a random
subset of the Q points with the direct form of the intensity, which is accurate for any force constants.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoDelta
from numpyro.optim import optax_to_numpyro

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
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

STEPS_PER_ROUND = 60
LEARNING_RATES = (0.1, 0.005)
"""First and last Adam rate of a round, in units of the whitened coordinates."""

UNSTABLE_RATES = (0.05, 0.05)
"""The same on the way out of the unstable region, in units of the prior."""

MAX_ROUNDS = 12
CONVERGED = 1e-3
"""A fit has converged when the next Gauss-Newton step is below this many standard errors."""

SMALLEST_STEP = 1e-9
"""... or below this, eV/Å²."""

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
    """Gauss-Newton picture of the posterior at one point.

    Attributes:
        log_intensity: (n_q,) of the model, without the scale.
        derivative: (n_q, n) of the log intensities, Å²/eV.
        residual: (n_q,) observed minus model log intensity at the best scale.
        precision: (n, n) Fisher information plus prior precision, Å⁴/eV².
        step: (n,) Gauss-Newton step to the maximum, eV/Å².
        residual_rms: weighted rms of the residual.
        noise_variance: factor on 1 / weight that makes it a variance.
    """

    log_intensity: Array
    derivative: Array
    residual: Array
    precision: Array
    step: Array
    residual_rms: Array
    noise_variance: Array

    @property
    def covariance(self) -> np.ndarray:
        """Posterior covariance (n, n) in the Gaussian approximation, eV²/Å⁴."""
        return np.asarray(jnp.linalg.inv(self.precision))

    @property
    def distance(self) -> float:
        """Length of the step in posterior standard deviations (the Newton decrement)."""
        return float(jnp.sqrt(self.step @ self.precision @ self.step))

    @property
    def converged(self) -> bool:
        """Whether the step is negligible beside the standard errors."""
        step, sd = np.abs(np.asarray(self.step)), np.sqrt(np.diag(self.covariance))
        return bool(((step < CONVERGED * sd) | (step < SMALLEST_STEP)).all())


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


@partial(jax.jit, static_argnames="rates")
def descend(
    location: Float[Array, " n"],
    scale_tril: Float[Array, "n n"],
    forward: ForwardModel,
    data: FitData,
    prior_scales: Float[Array, " n"],
    rates: tuple[float, float] = LEARNING_RATES,
) -> Float[Array, " n"]:
    """One round of SVI (AutoDelta, Adam) from ``location``, in coordinates of unit ``scale_tril``."""
    arguments = (location, scale_tril, forward, data, prior_scales)
    schedule = optax.exponential_decay(rates[0], STEPS_PER_ROUND, rates[1] / rates[0])
    start = init_to_value(values={"irreducible_whitened": jnp.zeros_like(location)})
    svi = SVI(
        whitened,
        AutoDelta(whitened, init_loc_fn=start),
        optax_to_numpyro(optax.adam(schedule, b2=0.99)),
        Trace_ELBO(),
    )
    # AutoDelta draws nothing: the key only satisfies the interface.
    state = svi.init(jax.random.key(0), *arguments)
    state, _ = jax.lax.scan(lambda state, _: svi.update(state, *arguments), state, length=STEPS_PER_ROUND)
    return location + scale_tril @ svi.get_params(state)["irreducible_whitened_auto_loc"]


@jax.jit
def curvature(forward: ForwardModel, data: FitData, irreducible: Array, prior_scales: Array) -> Curvature:
    """Curvature of the log posterior and the Gauss-Newton step, at stable force constants."""
    fitted, derivative = log_intensity_and_jacobian(forward, irreducible)
    misfit = residual(data, fitted)
    variance = jnp.maximum(noise_variance(data, misfit, len(irreducible)), 1e-30)
    precision = fisher_information(data, derivative) / variance + jnp.diag(prior_scales**-2.0)
    slope = derivative.T @ precision_times(data, misfit) / variance - irreducible / prior_scales**2
    rms = jnp.sqrt((data.weight * misfit**2).sum() / data.weight.sum())
    step = jnp.linalg.solve(precision, slope)
    return Curvature(fitted, derivative, misfit, precision, step, rms, variance)


def _look(forward: ForwardModel, problem: Problem, data: FitData, irreducible: Array) -> Curvature | None:
    """Curvature at stable force constants, None at unstable ones."""
    if not bool(stable(forward, irreducible)):
        return None
    return curvature(forward, data, irreducible, jnp.asarray(problem.prior_scales))


def _round(
    forward: ForwardModel, problem: Problem, data: FitData, location: Array, here: Curvature | None
) -> Array:
    """One round of SVI in the coordinates that suit the place."""
    priors = jnp.asarray(problem.prior_scales)
    if here is None:
        return descend(location, jnp.diag(priors), forward, data, priors, UNSTABLE_RATES)
    # Posterior, stretched to the length of the step, but within the prior.
    stretched = here.precision / max(here.distance, 1e-3) ** 2 + jnp.diag(priors**-2.0)
    factor = jnp.linalg.cholesky(stretched)
    unit = jax.scipy.linalg.solve_triangular(factor.T, jnp.eye(len(factor)), lower=False)
    return descend(location, unit, forward, data, priors)


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
        if here is not None and (here.residual_rms < SUBSET_MISFIT or here.distance < 1):
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
    forward = _with_engine(bare, problem, location)
    data, truncation = problem.data, None
    converged = False
    for number in range(MAX_ROUNDS):
        here = _look(forward, problem, data, location)
        _record(history, location, here, f"all points, round {number + 1}", progress)
        if here is None or not here.converged:
            location = _round(forward, problem, data, location, here)
            continue
        converged = truncation is not None
        if converged:
            break
        truncation = _truncation(forward, problem, location)
        if np.abs(truncation.error).max() > problem.tolerance:
            # The force constants have moved out of the range of the engine: choose it anew.
            forward, truncation = _with_engine(bare, problem, location), None
        else:
            data = replace(data, log_intensity=problem.data.log_intensity - truncation.offset)
    truncation = truncation or _truncation(forward, problem, location)
    return _result(forward, problem, data, location, converged, truncation, np.array(history))


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
        progress(f"{stage}: residual rms {here.residual_rms:.2g}, {here.distance:.2g} standard errors to go")


def _with_engine(bare: ForwardModel, problem: Problem, location: Array) -> ForwardModel:
    engine = choose_engine(
        problem.supercell,
        problem.grid.q_points,
        covariance(bare, location),
        problem.scattering_factors,
        # Half the tolerance: the force constants will still move.
        problem.tolerance / 2,
    )
    return bare.with_engine(engine)


def _truncation(forward: ForwardModel, problem: Problem, location: Array) -> Truncation:
    assert isinstance(forward.engine, ExactEngine)
    return measure_truncation(
        forward.engine,
        problem.supercell,
        problem.grid.q_points,
        covariance(forward, location),
        problem.scattering_factors,
    )


def _result(
    forward: ForwardModel,
    problem: Problem,
    data: FitData,
    location: Array,
    converged: bool,
    truncation: Truncation,
    history: np.ndarray,
) -> PointFit:
    here = curvature(forward, data, location, jnp.asarray(problem.prior_scales))
    is_stable = bool(stable(forward, location))
    if converged:
        message = f"Converged: the next step is below {CONVERGED:g} standard errors."
    elif not is_stable:
        message = "Not converged: the fit ended at force constants for which the crystal is unstable."
    else:
        message = (
            f"Not converged: {here.distance:.2g} standard errors were still to go after {MAX_ROUNDS} rounds."
        )
    log_scale = float(jnp.mean(data.log_intensity - here.log_intensity - here.residual))
    return PointFit(
        irreducible=np.asarray(location),
        precision=np.asarray(here.precision),
        covariance=here.covariance if is_stable else np.full_like(here.covariance, np.nan),
        log_intensity=np.asarray(problem.data.log_intensity - here.residual),
        residual=np.asarray(here.residual),
        derivative=np.asarray(here.derivative),
        log_scale=log_scale,
        noise_variance=float(here.noise_variance),
        residual_rms=float(here.residual_rms),
        converged=converged,
        message=message,
        truncation=truncation,
        history=history,
        forward=forward,
    )
