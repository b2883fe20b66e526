"""One fit to several volumes of a crystal: other parts of reciprocal space, other temperatures.

Volume v, measured at the temperature T_v, scatters with the force constants φ_v = A_v θ. Without a trend
θ = φ₀ are shared by all. With one θ = (φ₀, φ₁) and φ_v = φ₀ + φ₁ (T_v - T₀) / 100 K, where T₀ is the mean
temperature: the leading order of the quasi-harmonic softening. Each volume keeps its grid, noise, atoms and
scale. Log-likelihoods add up, and so does the Fisher information, Σ A_vᵀ F_v A_v.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from bayestds.errors import ModelError
from bayestds.inference.ascent import Newton, newton, one_round, verdict
from bayestds.inference.consistency import Consistency, consistency
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.model import Whiten, constrained_log_likelihood
from bayestds.inference.point_fit import (
    MAX_ROUNDS,
    SCALE_ROUNDS,
    Curvature,
    PointFit,
    curvature,
    marginal_precision,
    result_at,
)
from bayestds.inference.problem import Problem, engine_for, truncation_at
from bayestds.inference.uncertainty import Scores
from bayestds.scattering.expansion import Truncation
from bayestds.scattering.forward import ForwardModel, stable

KELVIN_PER_UNIT = 100.0
"""Change of temperature that a trend is given for."""


@dataclass(frozen=True, eq=False)
class JointProblem:
    """Several problems with shared force constants; see :func:`make_joint_problem`.

    Parameters θ are φ₀, φ₁ if there is a trend, and the strengths of the background of each volume.

    Attributes:
        problems: of each volume, with the same irreducible constants and priors.
        trend_scale: prior standard deviation of φ₁ over that of φ₀; None for no trend.
    """

    problems: tuple[Problem, ...]
    trend_scale: float | None = None

    @property
    def reference_temperature(self) -> float:
        """T₀, K."""
        return float(np.mean([problem.temperature for problem in self.problems]))

    @property
    def designs(self) -> list[np.ndarray]:
        """A_v (n_irreducible + n_terms, n_parameters) of each volume: its constants and its background."""
        n, total = self.problems[0].irreducible.n_irreducible, len(self.prior_scales)
        first, found = self.n_shared, []
        for problem in self.problems:
            n_terms = len(problem.parameter_scales) - n
            design = np.zeros((n + n_terms, total))
            design[:n, :n] = np.eye(n)
            if self.trend_scale is not None:
                lag = problem.temperature - self.reference_temperature
                design[:n, n : 2 * n] = np.eye(n) * lag / KELVIN_PER_UNIT
            design[n:, first : first + n_terms] = np.eye(n_terms)
            first += n_terms
            found.append(design)
        return found

    @property
    def n_shared(self) -> int:
        """Number of parameters that the volumes share."""
        return self.problems[0].irreducible.n_irreducible * (1 if self.trend_scale is None else 2)

    @property
    def prior_scales(self) -> np.ndarray:
        """(n_parameters,) of θ, eV/Å², eV/Å² per 100 K, and those of the backgrounds."""
        scales = self.problems[0].prior_scales
        shared = scales if self.trend_scale is None else np.append(scales, self.trend_scale * scales)
        return np.concatenate([shared, *(one.parameter_scales[len(scales) :] for one in self.problems)])

    def with_scale_of(self, parameters: np.ndarray) -> "JointProblem":
        """The same with prior scales that suit these parameters (n_parameters,), where they are learned."""
        shared = parameters[: self.problems[0].irreducible.n_irreducible]
        return replace(self, problems=tuple(one.with_scale_of(shared) for one in self.problems))


def make_joint_problem(problems: Sequence[Problem], trend_scale: float | None = None) -> JointProblem:
    """Joint problem of several volumes.

    Args:
        problems: of each volume.
        trend_scale: prior standard deviation of a change over 100 K, as a share of that of the constant
            itself; None for no trend.

    Raises:
        ModelError: the volumes have different constants or priors, or all one temperature for a trend.
    """
    first = problems[0]
    if all(problem.learns_scale for problem in problems):
        problems = [replace(problem, prior_scales=first.prior_scales) for problem in problems]
    for problem in problems[1:]:
        same = problem.irreducible.names == first.irreducible.names
        if not (same and np.array_equal(problem.prior_scales, first.prior_scales)):
            raise ModelError(
                "The volumes of a joint fit do not share their force constants.",
                "Their irreducible constants or their priors differ.",
                "Make all problems from one model.",
            )
    temperatures = [problem.temperature for problem in problems]
    if trend_scale is not None and np.ptp(temperatures) == 0:
        raise ModelError(
            "There is no temperature trend to fit.",
            f"All volumes were measured at {temperatures[0]:g} K.",
            "Leave `trend` out, or add a volume of another temperature.",
        )
    return JointProblem(tuple(problems), trend_scale)


@dataclass(frozen=True, eq=False)
class JointFit:
    """Result of a joint fit.

    Attributes:
        problem: what was fitted, with the noise level of each volume that of its own fit.
        parameters: (n_parameters,) θ, eV/Å², eV/Å² per 100 K, and strengths of backgrounds.
        precision: (n_parameters, n_parameters) Fisher information plus prior precision.
        covariance: its inverse; NaN if the crystal is unstable.
        volumes: each volume at the joint constants, as if they had been fitted to it alone.
        consistency: of each volume.
        converged: whether the fit arrived at a maximum of the posterior.
        message: what happened, in words.
        history: (n_rounds, n_parameters + n_volumes) θ and the residual rms of each volume before each round.
    """

    problem: JointProblem
    parameters: np.ndarray
    precision: np.ndarray
    covariance: np.ndarray
    volumes: tuple[PointFit, ...]
    consistency: tuple[Consistency, ...]
    converged: bool
    message: str
    history: np.ndarray

    @property
    def _n(self) -> int:
        return self.problem.problems[0].irreducible.n_irreducible

    @property
    def irreducible(self) -> np.ndarray:
        """φ₀ (n_irreducible,) at the reference temperature, eV/Å²."""
        return self.parameters[: self._n]

    @property
    def irreducible_covariance(self) -> np.ndarray:
        """Of φ₀ (n_irreducible, n_irreducible), eV²/Å⁴."""
        return self.covariance[: self._n, : self._n]

    @property
    def shared_precision(self) -> np.ndarray:
        """Precision (n_shared, n_shared) of what the volumes share, whatever their backgrounds are."""
        return marginal_precision(self.precision, self.problem.n_shared)

    def shared_scores(self, number: int) -> Scores:
        """What the points of a volume say of what the volumes share."""
        design = self.problem.designs[number][: self._n, : self.problem.n_shared]
        scores = self.volumes[number].scores
        return replace(scores, derivative=scores.derivative @ design)

    @property
    def reduced_chi_square(self) -> float:
        """χ² of all volumes per degree of freedom, with learned noise as each volume alone has it."""
        quadratics = [one.quadratic for one in self.volumes]
        freedom = sum(float(one.precision.degrees_of_freedom) - 1 for one in quadratics) - len(
            self.parameters
        )
        return float(sum(one.residual @ one.score for one in quadratics)) / max(freedom, 1.0)

    @property
    def background_standard_errors(self) -> list[np.ndarray]:
        """Of the strengths (n_terms,) of each volume."""
        return [
            np.sqrt(np.diag(design @ self.covariance @ design.T)[self._n :])
            for design in self.problem.designs
        ]

    @property
    def trend(self) -> np.ndarray | None:
        """φ₁ (n_irreducible,) in eV/Å² per 100 K; None without a trend."""
        if self.problem.trend_scale is None:
            return None
        return self.parameters[self._n : self.problem.n_shared]

    @property
    def trend_standard_error(self) -> np.ndarray | None:
        """Of φ₁ (n_irreducible,)."""
        if self.trend is None:
            return None
        return np.sqrt(np.diag(self.covariance)[self._n : self.problem.n_shared])


Volumes = tuple[tuple[ForwardModel, Likelihood, Array], ...]
"""Forward model, likelihood and A_v of each volume."""


def several_volumes(volumes: Volumes, prior_scales: Float[Array, " n_parameters"]) -> None:
    """NumPyro model: normal priors on θ, and the likelihood of every volume; the scales are profiled out.

    Sites: ``parameters`` (n_parameters,).

    Args:
        volumes: what each volume is made of.
        prior_scales: standard deviation of each normal prior.
    """
    parameters = numpyro.sample("parameters", dist.Normal(0.0, prior_scales).to_event(1))
    for number, (forward, likelihood, design) in enumerate(volumes):
        density = constrained_log_likelihood(forward, likelihood, design @ parameters)
        numpyro.factor(f"log_likelihood_{number}", density)


def _whitened(location: Array, scale_tril: Array, volumes: Volumes, prior_scales: Array) -> None:
    with numpyro.handlers.reparam(config={"parameters": Whiten(location, scale_tril)}):
        several_volumes(volumes, prior_scales)


def joint_fit(
    problem: JointProblem, fits: Sequence[PointFit], progress: Callable[[str], None] = lambda message: None
) -> JointFit:
    """Maximum of the joint posterior, with its curvature.

    Noise levels that are to be learned are those of the volumes' own fits, so that a volume which disagrees
    with the others does not get more noise for it.

    Args:
        problem: the volumes.
        fits: the point fit of each volume by itself.
        progress: called with a line of text before every round.
    """
    problem = replace(problem, problems=tuple(map(_with_known_noise, problem.problems, fits)))
    location = jnp.asarray(combined(problem, fits))
    forwards = [fit.forward for fit in fits]
    truncations: list[Truncation] = [fit.truncation for fit in fits]
    settled = converged = False
    history = []
    for number in range(MAX_ROUNDS):
        if number < SCALE_ROUNDS:
            problem = problem.with_scale_of(np.asarray(location))
        priors = jnp.asarray(problem.prior_scales)
        volumes = _volumes(problem, forwards, truncations)
        found = _look(problem, volumes, location)
        here = None if found is None else _newton(problem, found, location)
        rms = [np.nan] * len(fits) if found is None else [float(one.quadratic.residual_rms) for one in found]
        history.append(np.append(location, rms))
        distance = "unstable" if here is None else f"{here.distance:.2g} standard errors to go"
        progress(f"{len(fits)} volumes, round {number + 1} of at most {MAX_ROUNDS}: {distance}")
        if here is None or not here.converged:
            location = one_round(_whitened, "parameters", location, here, priors, (volumes, priors))
            continue
        converged = settled
        if converged:
            break
        forwards, truncations, settled = _settle(problem, forwards, location)
    return _result(problem, fits, forwards, truncations, location, converged, np.array(history))


def _with_known_noise(problem: Problem, fit: PointFit) -> Problem:
    # With variances as they are at the volume's own fit.
    settled = fit.likelihood.shifted(-fit.truncation.offset)
    return replace(problem, likelihood=settled.with_known_noise(float(fit.quadratic.noise_variance)))


def combined(problem: JointProblem, fits: Sequence[PointFit]) -> np.ndarray:
    """θ (n_parameters,) that the volumes' own fits give together if each is normal, free of its prior."""
    precision, total = np.diag(problem.prior_scales**-2.0), np.zeros(len(problem.prior_scales))
    for design, fit in zip(problem.designs, fits, strict=True):
        # With its prior the fit is at H⁻¹ F times the value that the data alone would have.
        total += design.T @ fit.parameter_precision @ np.append(fit.irreducible, fit.background)
        own = np.diag(fit.problem.parameter_scales**-2.0)
        precision += design.T @ (fit.parameter_precision - own) @ design
    return np.linalg.solve(precision, total)


def _volumes(
    problem: JointProblem, forwards: Sequence[ForwardModel], truncations: Sequence[Truncation]
) -> Volumes:
    """The volumes, their data free of the truncation errors of their engines."""
    return tuple(
        (forward, one.likelihood.shifted(truncation.offset), jnp.asarray(design))
        for one, forward, truncation, design in zip(
            problem.problems, forwards, truncations, problem.designs, strict=True
        )
    )


def _look(problem: JointProblem, volumes: Volumes, location: Array) -> list[Curvature] | None:
    """Curvature of each volume, None where the crystal is unstable at any of the temperatures."""
    if not all(bool(stable(forward, design @ location)) for forward, _, design in volumes):
        return None
    return _curvatures(problem, volumes, location)


def _curvatures(problem: JointProblem, volumes: Volumes, location: Array) -> list[Curvature]:
    scales = [jnp.asarray(one.parameter_scales) for one in problem.problems]
    return [
        curvature(forward, likelihood, design @ location, its_own)
        for (forward, likelihood, design), its_own in zip(volumes, scales, strict=True)
    ]


def _newton(problem: JointProblem, found: Sequence[Curvature], location: Array) -> Newton:
    """Step to the joint maximum."""
    designs = [jnp.asarray(design) for design in problem.designs]
    information = sum(a.T @ one.information @ a for a, one in zip(designs, found, strict=True))
    slope = sum(a.T @ one.slope for a, one in zip(designs, found, strict=True))
    return newton(jnp.asarray(information), jnp.asarray(slope), location, jnp.asarray(problem.prior_scales))


def _settle(
    problem: JointProblem, forwards: Sequence[ForwardModel], location: Array
) -> tuple[list[ForwardModel], list[Truncation], bool]:
    """Engines and truncation errors at the joint constants, and whether no engine had to be chosen anew."""
    chosen, found, settled = [], [], True
    for one, forward, design in zip(problem.problems, forwards, problem.designs, strict=True):
        constants = jnp.asarray(design) @ location
        truncation = truncation_at(forward, one, constants)
        if np.abs(truncation.error).max() > one.tolerance:
            forward, settled = engine_for(replace(forward, engine=None), one, constants), False
            truncation = truncation_at(forward, one, constants)
        chosen.append(forward)
        found.append(truncation)
    return chosen, found, settled


def _result(
    problem: JointProblem,
    fits: Sequence[PointFit],
    forwards: Sequence[ForwardModel],
    truncations: Sequence[Truncation],
    location: Array,
    converged: bool,
    history: np.ndarray,
) -> JointFit:
    volumes = _volumes(problem, forwards, truncations)
    here = _newton(problem, _curvatures(problem, volumes, location), location)
    is_stable = all(bool(stable(forward, design @ location)) for forward, _, design in volumes)
    covariance = here.covariance if is_stable else np.full_like(here.precision, np.nan)
    constants, rms = np.split(history, [len(location)], axis=1)
    each = []
    for i, (forward, likelihood, design) in enumerate(volumes):
        its_history = np.column_stack([constants @ np.asarray(design).T, rms[:, i]])
        given = (forward, problem.problems[i], likelihood, design @ location, converged, truncations[i])
        each.append(result_at(*given, its_history))
    agreement = tuple(
        consistency(fit.irreducible, fit.precision, a @ np.asarray(location), a @ covariance @ a.T)
        for fit, a in ((fit, a[: len(fit.irreducible)]) for fit, a in zip(fits, problem.designs, strict=True))
    )
    return JointFit(
        problem,
        np.asarray(location),
        np.asarray(here.precision),
        covariance,
        tuple(each),
        agreement,
        converged,
        verdict(here, converged, is_stable, MAX_ROUNDS),
        history,
    )
