"""The inverse problem of one volume: its data, the model of its crystal, and the scattering engines."""

from dataclasses import dataclass, replace

import numpy as np
from jax import Array

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.log_normal import learned_log_normal
from bayestds.inference.priors import learned_factor
from bayestds.scattering.engine import MEMORY, ExactEngine, make_engine
from bayestds.scattering.expansion import Truncation, choose_engine, measure_truncation
from bayestds.scattering.forward import (
    Engine,
    ForwardModel,
    Statistics,
    Tangent,
    covariance,
    log_intensity,
    make_forward_model,
)
from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.instrument import Instrument, measured_log_intensity, some_rows
from bayestds.scattering.points import make_point_engine


@dataclass(frozen=True, eq=False)
class Problem:
    """The inverse problem of one volume: parameters and priors, the forward model, and the data.

    Attributes:
        irreducible: the parameters.
        supercell: the periodic supercell.
        temperature: K.
        grid: the Q points.
        likelihood: what was observed at them, and how it scatters about what is expected.
        prior_scales: (n_irreducible,) eV/Å², standard deviations of their normal prior.
        scattering_factors: f_κ (n_atoms,) or (n_q, n_atoms), may be complex; None for 1. With ``points`` they
            are those of all of these, one after the other.
        tolerance: of the forward model in log intensity.
        tangent: the log intensity to first order, about a sample that deviates from the crystal; None for the
            log intensity of the crystal.
        statistics: of the displacements.
        points: (n_q, n_points, 3) r.l.u., over which the intensity of each Q point is averaged, anywhere in
            reciprocal space; None if it is that of the Q point, on a wave vector of the supercell.
        on_mesh: whether these points are wave vectors of the supercell.
        instrument: what the measured intensity has beyond the crystal's, None for nothing.
        third_order: the parameters that follow the irreducible ones, None for a harmonic crystal.
        cubic_scales: (n_cubic,) eV/Å³, standard deviations of their normal prior.
        learns_scale: whether a common factor on all prior scales is learned.
        memory: bytes for the points that the forward model evaluates at once.
    """

    irreducible: IrreducibleForceConstants
    supercell: Supercell
    temperature: float
    grid: IrreducibleGrid
    likelihood: Likelihood
    prior_scales: np.ndarray
    scattering_factors: np.ndarray | None = None
    tolerance: float = 1e-4
    tangent: Tangent | None = None
    statistics: Statistics = "classical"
    points: np.ndarray | None = None
    on_mesh: bool = False
    instrument: Instrument | None = None
    third_order: ThirdOrderForceConstants | None = None
    cubic_scales: np.ndarray | None = None
    learns_scale: bool = False
    memory: float | int = MEMORY

    @property
    def scattering_points(self) -> np.ndarray:
        """All points (n, 3) at which the crystal scatters, those of one Q point after those of another."""
        return self.grid.q_points if self.points is None else self.points.reshape(-1, 3)

    @property
    def anywhere(self) -> bool:
        """Whether the crystal scatters at points between the wave vectors of the supercell."""
        return self.points is not None and not self.on_mesh

    @property
    def constant_scales(self) -> np.ndarray:
        """Prior standard deviations (n_constants,) of the force constants of both orders."""
        return (
            self.prior_scales
            if self.cubic_scales is None
            else np.append(self.prior_scales, self.cubic_scales)
        )

    @property
    def parameter_scales(self) -> np.ndarray:
        """Prior standard deviations (n_parameters,) of force constants and strengths of the background."""
        if self.instrument is None:
            return self.constant_scales
        return np.append(self.constant_scales, self.instrument.scales)

    def with_scale_of(self, irreducible: np.ndarray) -> "Problem":
        """The same with prior scales that suit force constants (n_irreducible,), where they are learned."""
        if not self.learns_scale:
            return self
        factor = learned_factor(irreducible, self.prior_scales)
        cubic = None if self.cubic_scales is None else factor * self.cubic_scales
        return replace(self, prior_scales=factor * self.prior_scales, cubic_scales=cubic)

    @property
    def harmonic(self) -> "Problem":
        """The same without third-order force constants."""
        return replace(self, third_order=None, cubic_scales=None)

    @property
    def with_learned_noise(self) -> "Problem":
        """The same log intensities with a noise level that is learned."""
        weight = self.grid.multiplicity.astype(float)
        return replace(self, likelihood=learned_log_normal(self.likelihood.observed, weight))

    def forward_model(self, engine: Engine | None = None) -> ForwardModel:
        """Forward model of the crystal and the instrument, or its tangent."""
        forward = make_forward_model(
            self.irreducible, self.supercell, self.temperature, engine, self.statistics, self.third_order
        )
        return replace(forward, instrument=self.instrument, tangent=self.tangent)

    def some_rows(self, rows: np.ndarray) -> "Problem":
        """The problem at some of its Q points, with a learned noise level; its grid stays."""
        # Points by themselves, which the grid holds no longer.
        points, on_mesh = self.points, self.on_mesh
        if points is None:
            points, on_mesh = self.grid.q_points[:, None], True
        factors = self.scattering_factors
        if factors is not None and factors.ndim == 2:
            by_point = factors.reshape(len(self.grid.q_points), -1, factors.shape[1])
            factors = by_point[rows].reshape(-1, factors.shape[1])
        return replace(
            self,
            likelihood=self.likelihood.subset(rows),
            scattering_factors=factors,
            points=points[rows],
            on_mesh=on_mesh,
            instrument=None if self.instrument is None else some_rows(self.instrument, rows),
        )


def direct_engine(problem: Problem) -> Engine:
    """Engine that is accurate for any force constants."""
    if problem.anywhere:
        return _point_engine(problem)
    return make_engine(problem.supercell, problem.scattering_points, problem.scattering_factors)


def _point_engine(problem: Problem) -> Engine:
    return make_point_engine(
        problem.irreducible, problem.supercell, problem.scattering_points, problem.scattering_factors
    )


def engine_for(bare: ForwardModel, problem: Problem, location: Array) -> ForwardModel:
    """The forward model with the cheapest engine within the tolerance at these force constants."""
    if problem.tangent is not None:
        return bare
    if problem.anywhere:
        return bare.with_engine(_point_engine(problem))
    engine = choose_engine(
        problem.supercell,
        problem.scattering_points,
        covariance(bare, location),
        problem.scattering_factors,
        # Half the tolerance: the force constants will still move.
        problem.tolerance / 2,
        problem.memory,
    )
    return bare.with_engine(engine)


def truncation_at(forward: ForwardModel, problem: Problem, location: Array) -> Truncation:
    """What the engine of the forward model leaves out at these force constants.

    Errors are those of the crystal's intensity, offsets those of the measured one, diluted by a background.
    """
    if not isinstance(forward.engine, ExactEngine):
        nothing = np.zeros(len(problem.grid.q_points))
        return Truncation(nothing, nothing)
    found = measure_truncation(
        forward.engine,
        problem.supercell,
        problem.scattering_points,
        covariance(forward, location),
        problem.scattering_factors,
    )
    diffuse = log_intensity(replace(forward, instrument=None), location)
    if forward.cubic is not None and found.offset.any():
        # Where the direct form is affordable, it gives the error of the third-order term as well.
        bare = replace(forward.with_engine(direct_engine(problem)), instrument=None)
        difference = np.asarray(log_intensity(bare, location) - diffuse)
        found = Truncation(difference, difference)
    if forward.instrument is None:
        return found
    strengths = location[forward.n_constants :]
    direct, ours = (
        measured_log_intensity(forward.instrument, value, strengths)
        for value in (diffuse + found.offset, diffuse)
    )
    return replace(found, offset=np.asarray(direct - ours))
