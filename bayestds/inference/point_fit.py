"""Point fit by stochastic variational inference: the maximum of the posterior, and its curvature there."""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from bayestds.inference.consistency import Consistency, consistency
from bayestds.inference.ensemble import ensemble_fit
from bayestds.inference.fit_result import PointFit, VolumeFit
from bayestds.inference.problem import Problem, Volume
from bayestds.inference.rounds import Ascent, Progress, full_stage, harmonic_fit, with_cubic


def point_fit(problem: Problem, start: np.ndarray, progress: Progress = lambda message: None) -> PointFit:
    """Maximum of the posterior, with its curvature.

    Several volumes are fitted each by itself first. Third-order constants follow once the others are found.

    Args:
        problem: data, crystal and priors.
        start: (n_irreducible,) eV/Å²; may be unstable.
        progress: called with a line of text before every round.

    Raises:
        CrystalError: a volume is a mean over configurations, and its supercell has not the symmetry of the
            crystal.
        ModelError: see :meth:`~bayestds.inference.problem.Problem.check`.
    """
    # Here, and not after hours where a stage first needs it.
    problem.check()
    if len(problem.volumes) > 1:
        own = [point_fit(problem.alone(volume), start, progress) for volume in problem.volumes]
        return joint_fit(problem, own, progress)
    (volume,) = problem.volumes
    if volume.configurations:
        return ensemble_fit(problem, start, progress)
    if problem.third_order is not None:
        return with_cubic(problem, harmonic_fit(problem.harmonic, start, progress), progress)
    return harmonic_fit(problem, start, progress)


def joint_fit(
    problem: Problem, own: Sequence[PointFit], progress: Progress = lambda message: None
) -> PointFit:
    """Maximum of the posterior of several volumes, from the fit to each by itself.

    Noise levels that are to be learned are those of the volumes' own fits, so that a volume which disagrees
    with the others does not get more noise for it.

    Args:
        problem: of the volumes.
        own: the point fit of each by itself.
        progress: called with a line of text before every round.
    """
    alone = [fit.volumes[0] for fit in own]
    volumes = tuple(_with_known_noise(one) for one in alone)
    problem = replace(problem, volumes=volumes, factor=own[0].problem.factor)
    forwards, truncations = (one.forward for one in alone), (one.truncation for one in alone)
    ascent = Ascent(problem, volumes, tuple(forwards), tuple(truncations))
    fit = full_stage(ascent, jnp.asarray(combined(problem, own)), [], progress)
    return replace(fit, own=tuple(own), consistency=_consistency(fit, own))


def _with_known_noise(fit: VolumeFit) -> Volume:
    # With variances as they are at the volume's own fit.
    settled = fit.likelihood.shifted(-fit.truncation.offset)
    known = settled.with_known_noise(float(fit.quadratic.noise_variance))
    return replace(fit.volume, likelihood=known)


def combined(problem: Problem, own: Sequence[PointFit]) -> np.ndarray:
    """θ (n_parameters,) that the volumes' own fits give together if each is normal, free of its prior."""
    precision = np.diag(problem.parameter_scales**-2.0)
    total = np.zeros(len(precision))
    for design, fit in zip(problem.designs, own, strict=True):
        # With its prior the fit is at H⁻¹ F times the value that the data alone would have.
        total += design.T @ fit.parameter_precision @ fit.parameters
        prior = np.diag(fit.problem.parameter_scales**-2.0)
        precision += design.T @ (fit.parameter_precision - prior) @ design
    return np.linalg.solve(precision, total)


def _consistency(fit: PointFit, own: Sequence[PointFit]) -> tuple[Consistency, ...]:
    """Agreement of what each volume gives by itself with what all of them give together."""
    found = []
    for alone, design in zip(own, fit.problem.designs, strict=True):
        n = len(alone.constants)
        shared = design[:n, : len(fit.constants)]
        joint = shared @ fit.constants, shared @ fit.covariance @ shared.T
        found.append(consistency(alone.constants, alone.precision, *joint))
    return tuple(found)
