"""The lattice sums of a fit: the cheapest one that is accurate enough, and what it leaves out."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.inference.problem import Problem, Volume
from bayestds.lattice_dynamics.harmonic import covariance
from bayestds.scattering.expansion import Truncation
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.instrument import measured


def direct_model(problem: Problem, volume: Volume, parameters: Array) -> ForwardModel:
    """Forward model of a volume that is accurate for any force constants; its terms suit these parameters."""
    crystal, lattice_sum = problem.crystal(volume), volume.q_points.direct()
    return ForwardModel(crystal, problem.terms(crystal, parameters), lattice_sum, volume.effects)


def cheapest_model(problem: Problem, volume: Volume, parameters: Array) -> ForwardModel:
    """Forward model of a volume with the cheapest sum within the tolerance at these parameters of it."""
    crystal = problem.crystal(volume)
    here = covariance(crystal, parameters[: crystal.n_irreducible])
    # Half the tolerance: the force constants will still move.
    lattice_sum = volume.q_points.cheapest(here, problem.tolerance / 2)
    return ForwardModel(crystal, problem.terms(crystal, parameters), lattice_sum, volume.effects)


def truncation_at(forward: ForwardModel, volume: Volume, parameters: Array) -> Truncation:
    """What the lattice sum of a forward model leaves out at these parameters of a volume.

    Errors are those of the crystal's intensity, offsets those of the measured one, diluted by a background.
    """
    bare, constants = forward.without_effects, parameters[: forward.sizes.n_constants]
    found = volume.q_points.truncation(bare, constants)
    if not found.offset.any():
        return replace(found, offset=np.zeros(volume.n_points))
    diffuse = log_intensity(bare, constants)
    strengths = forward.sizes.split(parameters).background
    direct, ours = (
        measured(forward.effects, value, strengths) for value in (diffuse + found.offset, diffuse)
    )
    return replace(found, offset=np.asarray(direct - ours))


def imaginary_time_error(forward: ForwardModel, parameters: Array) -> float:
    """Largest error in log intensity of the terms' integrals over imaginary time, 0 where there are none.

    The larger of two: against one node more, and against two more on an interval that is twice as long.
    """
    bare, constants = forward.without_effects, parameters[: forward.sizes.n_constants]
    second = forward.sizes.split(parameters).second
    finer = [
        (*bare.terms[:i], one, *bare.terms[i + 1 :])
        for i, term in enumerate(bare.terms)
        for one in term.finer(bare.crystal, second)
    ]
    if not finer:
        return 0.0
    here = log_intensity(bare, constants)
    others = [log_intensity(replace(bare, terms=terms), constants) for terms in finer]
    return max(float(jnp.abs(other - here).max()) for other in others)
