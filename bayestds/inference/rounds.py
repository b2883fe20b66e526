"""Rounds of a point fit: into the stable region, near the maximum, and to it.

The rounds are those of :mod:`bayestds.inference.ascent`. A first stage works on a random subset of the
Q points of a volume with the direct form of the intensity, which is accurate for any force constants.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.inference.ascent import Newton, newton, one_round, verdict
from bayestds.inference.fit_result import PointFit, VolumeFit
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import Likelihood, Quadratic, fisher_information
from bayestds.inference.likelihoods.profiled import Profiled
from bayestds.inference.model import Observation
from bayestds.inference.problem import Problem, Volume
from bayestds.inference.sums import cheapest_model, direct_model, imaginary_time_error, truncation_at
from bayestds.lattice_dynamics.harmonic import stable
from bayestds.scattering.expansion import Truncation
from bayestds.scattering.forward import ForwardModel

MAX_ROUNDS = 12
SCALE_ROUNDS = 6
"""Rounds of each stage in which a learned prior scale follows the force constants."""

SUBSET_SIZE = 800
SUBSET_MISFIT = 1e-3
"""Residual rms of log intensity at which the first stage hands over to the full data."""

Progress = Callable[[str], None]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Curvature:
    """What the data of a volume say at one point.

    Attributes:
        likelihood: with its variances as they are here.
        quadratic: its least-squares form.
        fitted: (n_q,) log intensity of the model at the best scale.
        derivative: (n_q, n_own) of the log intensities, Å²/eV.
        information: (n_own, n_own) Fisher information, Å⁴/eV².
        slope: (n_own,) of the log-likelihood, Å²/eV.
    """

    likelihood: Likelihood
    quadratic: Quadratic
    fitted: Array
    derivative: Array
    information: Array
    slope: Array


@jax.jit
def curvature(forward: ForwardModel, likelihood: Likelihood, parameters: Array) -> Curvature:
    """What a volume says at its parameters A_v θ, of a stable crystal."""
    value, derivative = log_intensity_and_jacobian(forward, parameters)
    likelihood = likelihood.settled(value, len(parameters))
    here = likelihood.quadratic(value, len(parameters))
    information = fisher_information(here.precision, derivative)
    return Curvature(
        likelihood, here, value + here.log_scale, derivative, information, derivative.T @ here.score
    )


@jax.jit
def _newton(
    found: Sequence[Curvature], designs: Sequence[Array], location: Array, prior_scales: Array
) -> Newton:
    """Gauss-Newton step to the maximum that all volumes have together."""
    pairs = list(zip(designs, found, strict=True))
    information = sum(a.T @ one.information @ a for a, one in pairs)
    slope = sum(a.T @ one.slope for a, one in pairs)
    return newton(jnp.asarray(information), jnp.asarray(slope), location, prior_scales)


@dataclass(frozen=True, eq=False)
class Ascent:
    """Where a fit is: volumes with their forward models, and what these leave out.

    Attributes:
        problem: what is fitted.
        volumes: of the problem, or parts of them.
        forwards: of each volume.
        truncations: of each forward model where it was measured last, None where it has not been yet.
    """

    problem: Problem
    volumes: tuple[Volume, ...]
    forwards: tuple[ForwardModel, ...]
    truncations: tuple[Truncation | None, ...]

    @property
    def designs(self) -> list[Array]:
        """A_v of each volume."""
        return [jnp.asarray(design) for design in self.problem.designs]

    @property
    def prior_scales(self) -> Array:
        """Standard deviations (n_parameters,) of the prior."""
        return jnp.asarray(self.problem.parameter_scales)

    @property
    def likelihoods(self) -> list[Likelihood]:
        """Of each volume, its data free of what the forward model leaves out."""
        return [
            volume.likelihood if found is None else volume.likelihood.shifted(found.offset)
            for volume, found in zip(self.volumes, self.truncations, strict=True)
        ]

    def stable_at(self, location: Array) -> bool:
        """Whether the crystal is stable at the temperatures of all volumes."""
        return all(
            bool(stable(forward.crystal, forward.sizes.split(design @ location).second))
            for forward, design in zip(self.forwards, self.designs, strict=True)
        )

    def curvatures(self, location: Array) -> list[Curvature]:
        """What each volume says."""
        given = zip(self.forwards, self.likelihoods, self.designs, strict=True)
        return [curvature(forward, likelihood, design @ location) for forward, likelihood, design in given]

    def newton(self, found: Sequence[Curvature], location: Array) -> Newton:
        """The step to the maximum."""
        return _newton(found, self.designs, location, self.prior_scales)

    def rescaled(self, location: Array, number: int) -> "Ascent":
        """With a learned prior scale that suits stable force constants, in the first rounds."""
        if not self.problem.learns_scale or number >= SCALE_ROUNDS or not self.stable_at(location):
            return self
        return replace(self, problem=self.problem.with_scale_of(np.asarray(location)))

    def moved(self, location: Array, found: Sequence[Curvature] | None, here: Newton | None) -> Array:
        """The location after one round of SVI in the coordinates that suit the place."""
        likelihoods = self.likelihoods if found is None else [one.likelihood for one in found]
        given = zip(self.forwards, likelihoods, self.designs, self.problem.prefixes, strict=True)
        volumes = tuple(
            Observation(forward, Profiled(likelihood), design, prefix)
            for forward, likelihood, design, prefix in given
        )
        return one_round(self.problem.normal_prior, volumes, location, here, self.prior_scales)

    def measured(self, location: Array) -> tuple["Ascent", bool]:
        """With the truncation errors measured here, and whether no lattice sum had to be chosen anew."""
        forwards, truncations, settled = [], [], True
        for volume, forward, design in zip(self.volumes, self.forwards, self.designs, strict=True):
            own = design @ location
            truncation = truncation_at(forward, volume, own)
            accurate = np.abs(truncation.error).max() <= self.problem.tolerance
            # Else the force constants have moved out of the range of the sum: choose it anew.
            forwards.append(forward if accurate else cheapest_model(self.problem, volume, own))
            truncations.append(truncation if accurate else None)
            settled = settled and bool(accurate)
        return replace(self, forwards=tuple(forwards), truncations=tuple(truncations)), settled


def subset_stage(problem: Problem, location: Array, history: list[np.ndarray], progress: Progress) -> Array:
    """Into the stable region and near the maximum, on a subset of the Q points of the only volume."""
    (volume,) = problem.volumes
    part = volume.some_rows(np.random.default_rng(0).permutation(volume.n_points)[:SUBSET_SIZE])
    ascent = Ascent(problem, (part,), (direct_model(problem, part, location),), (None,))
    for number in range(MAX_ROUNDS):
        ascent = ascent.rescaled(location, number)
        found = ascent.curvatures(location) if ascent.stable_at(location) else None
        here = None if found is None else ascent.newton(found, location)
        close = found is not None and found[0].quadratic.residual_rms < SUBSET_MISFIT
        if here is not None and (close or here.distance < 1):
            break
        _record(history, location, found, here, f"subset, {_round(number)}", progress)
        location = ascent.moved(location, found, here)
    return location


def full_stage(ascent: Ascent, location: Array, history: list[np.ndarray], progress: Progress) -> PointFit:
    """To the maximum, on all Q points of all volumes.

    Where the fit has converged, the truncation errors of the lattice sums are measured and taken off the
    data, so that the last rounds end at the maximum of the direct form.
    """
    n = len(ascent.volumes)
    stage = "all points" if n == 1 else f"{n} volumes"
    settled = converged = False
    for number in range(MAX_ROUNDS):
        ascent = ascent.rescaled(location, number)
        found = ascent.curvatures(location) if ascent.stable_at(location) else None
        here = None if found is None else ascent.newton(found, location)
        _record(history, location, found, here, f"{stage}, {_round(number)}", progress, n)
        if here is None or not here.converged:
            location = ascent.moved(location, found, here)
            continue
        converged = settled
        if converged:
            break
        ascent, settled = ascent.measured(location)
    return _result(ascent, location, converged, np.array(history))


def harmonic_fit(problem: Problem, start: np.ndarray, progress: Progress) -> PointFit:
    """Maximum of the posterior of a harmonic crystal and one volume, from (n_irreducible,) eV/Å²."""
    history: list[np.ndarray] = []
    location = subset_stage(problem, _completed(problem, start), history, progress)
    return full_stage(make_ascent(problem, location), location, history, progress)


def with_cubic(problem: Problem, harmonic: PointFit, progress: Progress) -> PointFit:
    """The maximum with third-order constants, from the fit of the same problem without them."""
    problem = problem.with_scale_of(harmonic.irreducible)
    start = harmonic.blocks | {"cubic": np.zeros(len(problem.cubic_scales))}
    location = jnp.asarray(np.concatenate([start[name] for name in problem.blocks]))
    return full_stage(make_ascent(problem, location), location, [], progress)


def refine(problem: Problem, start: np.ndarray, progress: Progress = lambda message: None) -> PointFit:
    """The same as :func:`harmonic_fit` from a start near the maximum: all Q points from the beginning."""
    location = _completed(problem, start)
    return full_stage(make_ascent(problem, location), location, [], progress)


def _completed(problem: Problem, start: np.ndarray) -> Array:
    """Irreducible force constants, followed by 0 for all other parameters."""
    n_others = len(problem.parameter_scales) - len(start)
    return jnp.append(jnp.asarray(start, dtype=float), jnp.zeros(n_others))


def make_ascent(problem: Problem, location: Array) -> Ascent:
    """A fit at this location, with the cheapest lattice sums for it."""
    designs = [jnp.asarray(design) for design in problem.designs]
    forwards = tuple(
        cheapest_model(problem, volume, design @ location)
        for volume, design in zip(problem.volumes, designs, strict=True)
    )
    return Ascent(problem, problem.volumes, forwards, (None,) * len(forwards))


def _round(number: int) -> str:
    return f"round {number + 1} of at most {MAX_ROUNDS}"


def _record(
    history: list[np.ndarray],
    location: Array,
    found: Sequence[Curvature] | None,
    here: Newton | None,
    stage: str,
    progress: Progress,
    n_volumes: int = 1,
) -> None:
    if found is None or here is None:
        history.append(np.append(location, np.full(n_volumes, np.nan)))
        progress(f"{stage}: the crystal is unstable, moving into the stable region")
        return
    rms = [float(one.quadratic.residual_rms) for one in found]
    history.append(np.append(location, rms))
    residual = f"residual rms {' and '.join(f'{one:.2g}' for one in rms)}"
    progress(f"{stage}: {residual}, {here.distance:.2g} standard errors to go")


def _result(ascent: Ascent, location: Array, converged: bool, history: np.ndarray) -> PointFit:
    """The point fit that ended at a location, with everything evaluated there."""
    problem, found = ascent.problem, ascent.curvatures(location)
    here, is_stable = ascent.newton(found, location), ascent.stable_at(location)
    volumes = []
    for i, one in enumerate(found):
        design = np.asarray(ascent.designs[i])
        own, volume, forward = design @ np.asarray(location), ascent.volumes[i], ascent.forwards[i]
        truncation = ascent.truncations[i] or truncation_at(forward, volume, jnp.asarray(own))
        priors = np.diag(problem.alone(volume).parameter_scales ** -2.0)
        volumes.append(
            VolumeFit(
                volume,
                design,
                own,
                forward,
                one.likelihood,
                one.quadratic,
                np.asarray(one.fitted + truncation.offset),
                np.asarray(one.derivative),
                np.asarray(one.information) + priors,
                truncation,
                imaginary_time_error(forward, jnp.asarray(own)),
            )
        )
    return PointFit(
        problem,
        np.asarray(location),
        np.asarray(here.precision),
        tuple(volumes),
        is_stable,
        converged,
        verdict(here, converged, is_stable, MAX_ROUNDS),
        history,
    )
