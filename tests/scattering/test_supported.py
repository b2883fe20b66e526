"""Stages go together, but for the few whose physics is not known, which are refused with the reason."""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.errors import ModelError
from bayestds.inference.likelihoods.floor import Floor
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.inference.point_fit import point_fit
from bayestds.inference.problem import Problem, Volume, joined
from bayestds.inference.sums import direct_model
from bayestds.lattice_dynamics.harmonic import harmonic_crystal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.instrument import Average, Background, Effect, Factor
from bayestds.scattering.lattice_sum import Anywhere, LatticeSum, OnMesh
from bayestds.scattering.points import make_point_engine
from bayestds.scattering.q_points import FreePoints, MeshPoints
from bayestds.scattering.terms import make_cubic
from tests.crystals import commensurate_points
from tests.cubic_problems import KnownCubic, known_cubic

TEMPERATURE = 300.0
CONFIGURATIONS = 100

HARMONIC_ONLY = "noise is known for a harmonic crystal only"
IDEAL_ONLY = "noise is known for the intensity of the crystal alone, at wave vectors of the supercell"
THE_ONLY_NOISE = "noise is known, and the only one"


class Begun(Exception):
    """A fit has got to its first round."""


@pytest.fixture(scope="module")
def case() -> KnownCubic:
    return known_cubic(steps=6)


def begin(problem: Problem) -> None:
    """A point fit up to its first round."""

    def stop(message: str) -> None:
        raise Begun(message)

    point_fit(problem, problem.prior_scales, stop)


def sums(case: KnownCubic) -> dict[str, LatticeSum]:
    """Both lattice sums at a few points."""
    supercell = case.known.supercell
    q_points = commensurate_points(supercell, 4, 8.0)
    between = make_point_engine(case.known.irreducible, supercell, q_points + 0.04)
    return {"mesh": OnMesh(make_engine(supercell, q_points)), "anywhere": Anywhere(between)}


def effects_of(n_points: int) -> tuple[Effect, ...]:
    """All effects of an instrument at half as many Q points as points, two of which are averaged."""
    n_q = n_points // 2
    rng = np.random.default_rng(0)
    background = Background(jnp.asarray(rng.uniform(0, 1, (n_q, 2))), jnp.ones(2), ("one", "two"))
    return Average(2), Factor(jnp.asarray(rng.uniform(0.5, 1, n_q))), background


def finite(forward: ForwardModel, constants: np.ndarray) -> bool:
    """Whether there is an intensity at these force constants and a weak background."""
    strengths = np.full(forward.sizes.background, 1e-3)
    return bool(jnp.isfinite(log_intensity(forward, jnp.append(jnp.asarray(constants), strengths))).all())


@pytest.mark.parametrize("where", ["mesh", "anywhere"])
@pytest.mark.parametrize("statistics", ["classical", "quantum"])
@pytest.mark.parametrize("instrument", [False, True])
@pytest.mark.parametrize("third_order", [False, True])
def test_stages_of_the_forward_model_go_together(case, where, statistics, instrument, third_order):
    harmonic, effects = case.known, effects_of(4) if instrument else ()
    crystal = harmonic_crystal(harmonic.irreducible, harmonic.supercell, TEMPERATURE, statistics)
    term = make_cubic(case.third_order, harmonic.supercell, crystal, jnp.asarray(harmonic.truth))
    forward = ForwardModel(crystal, (term,) if third_order else (), sums(case)[where], effects)
    assert finite(forward, case.truth if third_order else harmonic.truth)


def between(problem: Problem) -> Problem:
    """Voxels whose points may lie anywhere."""
    (volume,) = problem.volumes
    assert isinstance(volume.q_points, MeshPoints)
    points = FreePoints(problem.irreducible, problem.supercell, volume.q_points.q_points)
    return problem.with_volume(q_points=points)


def polarised(problem: Problem) -> Problem:
    """With a known factor at every Q point."""
    n = problem.volumes[0].n_points
    return problem.with_volume(effects=(Factor(jnp.linspace(0.5, 1.0, n)),))


def on_background(problem: Problem) -> Problem:
    n = problem.volumes[0].n_points
    return problem.with_volume(effects=(Background(jnp.ones((n, 1)), jnp.ones(1), ("constant",)),))


def average(problem: Problem) -> Problem:
    """A mean over configurations."""
    return problem.with_volume(configurations=CONFIGURATIONS)


def quantum(problem: Problem) -> Problem:
    return problem.with_volume(statistics="quantum")


def with_tails(problem: Problem) -> Problem:
    """Student's t for the normal distribution of the errors."""
    return problem.with_volume(likelihood=StudentT(known_errors(problem.volumes[0]), jnp.asarray(4.0)))


def with_floor(problem: Problem) -> Problem:
    return problem.with_volume(likelihood=Floor(known_errors(problem.volumes[0]), jnp.asarray(1e-3)))


def known_errors(volume: Volume) -> LogNormal:
    assert isinstance(volume.likelihood, LogNormal)
    return volume.likelihood


Change = Callable[[Problem], Problem]


def changed(problem: Problem, *changes: Change) -> Problem:
    for change in changes:
        problem = change(problem)
    return problem


REFUSED = {
    "third order, mean": (True, (average,), "are asked for", HARMONIC_ONLY),
    "mean, factor": (False, (average, polarised), "effects of an instrument", IDEAL_ONLY),
    "mean, background": (False, (average, on_background), "effects of an instrument", IDEAL_ONLY),
    "mean, anywhere": (False, (average, between), "commensurate = false", IDEAL_ONLY),
    "mean, tails": (False, (with_tails, average), "degrees_of_freedom", THE_ONLY_NOISE),
    "mean, floor": (False, (with_floor, average), "noise_floor", THE_ONLY_NOISE),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("n_volumes", [1, 2])
def test_fits_are_refused_before_they_begin(case, name, n_volumes):
    """Also where it is the second of two volumes only, whose first would be fitted before."""
    third_order, changes, words, reason = REFUSED[name]
    problem = case.problem() if third_order else case.problem().harmonic
    refused = changed(problem, *changes)
    if n_volumes == 2:
        refused = joined([problem, refused])
    with pytest.raises(ModelError, match=words) as error:
        begin(refused)
    assert reason in error.value.reason
    if "mean" in name:
        assert f"mean over {CONFIGURATIONS} independent configurations" in error.value.summary
        assert "correlated" in error.value.summary


ALLOWED = {
    "third order": (True, ()),
    "third order, factor": (True, (polarised,)),
    "third order, background": (True, (on_background,)),
    "third order, tails": (True, (with_tails,)),
    "third order, floor": (True, (with_floor,)),
    "third order, quantum": (True, (quantum,)),
    "third order, anywhere": (True, (between,)),
    "third order, anywhere, quantum, background": (True, (between, quantum, on_background)),
    "quantum": (False, (quantum,)),
    "anywhere": (False, (between,)),
    "anywhere, quantum, background": (False, (between, quantum, on_background)),
    "mean": (False, (average,)),
    "mean, quantum": (False, (average, quantum)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_fits_of_all_others_begin(case, name):
    third_order, changes = ALLOWED[name]
    problem = case.problem() if third_order else case.problem().harmonic
    problem = changed(problem, *changes)
    with pytest.raises(Begun):
        begin(problem)
    # Third order comes into a fit after its first rounds.
    constants = case.truth if third_order else case.known.truth
    assert finite(direct_model(problem, problem.volumes[0], jnp.asarray(constants)), constants)


def test_several_volumes_of_different_kinds_are_fitted_together(case):
    """Third order asks something of every volume, a mean over configurations of itself only."""
    problem = case.problem()
    (volume,) = problem.volumes
    warmer = replace(volume, temperature=500.0)
    with pytest.raises(Begun):
        begin(problem.with_volumes(volume, replace(warmer, effects=polarised(problem).volumes[0].effects)))
    mean = average(problem).volumes[0]
    others = [quantum(problem), on_background(problem), between(problem), with_tails(problem)]
    with pytest.raises(Begun):
        begin(problem.harmonic.with_volumes(mean, *(other.volumes[0] for other in others)))


def test_noise_of_a_mean_that_is_learned_goes_with_third_order(case):
    """As the refusal of the known noise says."""
    mean = average(case.problem()).volumes[0]
    with pytest.raises(Begun):
        begin(case.problem().with_volumes(mean.with_learned_noise))
