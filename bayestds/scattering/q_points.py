"""Where the crystal scatters into the voxels of a volume, and the lattice sums that serve these Q points."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.harmonic import covariance
from bayestds.scattering.engine import MEMORY, ExactEngine, make_engine
from bayestds.scattering.expansion import (
    CHOOSING,
    DIRECT_EVALUATIONS,
    MEASURING,
    Truncation,
    choose_engine,
    choose_reach,
    factors_at,
    sample_rows,
    truncation_error,
)
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import Anywhere, LatticeSum, Linearised, OnMesh
from bayestds.scattering.pairs import pair_table
from bayestds.scattering.points import make_point_engine, point_cost

DIRECT_WAVES = 2e7
"""The same of points anywhere, which do not share their waves."""


@runtime_checkable
class QPoints(Protocol):
    """Points at which a crystal scatters, and the sums that give its intensity there.

    Attributes:
        on_mesh: whether they are wave vectors of the supercell.
    """

    on_mesh: bool

    def direct(self) -> LatticeSum:
        """The sum that is accurate for any force constants."""
        ...

    def cheapest(
        self, displacements: Float[Array, "n_cells n_atoms n_atoms 3 3"], tolerance: float
    ) -> LatticeSum:
        """The fastest sum within a tolerance in log intensity, for displacements of this covariance, Å²."""
        ...

    def truncation(self, forward: ForwardModel, constants: Float[Array, " n_constants"]) -> Truncation:
        """What the sum of a forward model without effects leaves out of the intensity at force constants."""
        ...

    def some_rows(self, rows: np.ndarray, n_rows: int) -> "QPoints":
        """The points of some of ``n_rows`` voxels, each of which has equally many in a row."""
        ...


@dataclass(frozen=True, eq=False)
class MeshPoints:
    """Points on wave vectors of the supercell.

    Attributes:
        supercell: the periodic supercell.
        q_points: (n, 3) conventional r.l.u.
        factors: f_κ (n_atoms,) or (n, n_atoms), may be complex; None for 1.
        memory: bytes for the points that are evaluated at once.
    """

    supercell: Supercell
    q_points: np.ndarray
    factors: np.ndarray | None = None
    memory: float | int = MEMORY
    on_mesh = True

    def direct(self) -> OnMesh:
        """See :class:`QPoints`."""
        return OnMesh(make_engine(self.supercell, self.q_points, self.factors))

    def cheapest(
        self, displacements: Float[Array, "n_cells n_atoms n_atoms 3 3"], tolerance: float
    ) -> OnMesh:
        """See :class:`QPoints`."""
        given = self.supercell, self.q_points, displacements, self.factors
        return OnMesh(choose_engine(*given, tolerance, self.memory))

    def truncation(self, forward: ForwardModel, constants: Float[Array, " n_constants"]) -> Truncation:
        """See :class:`QPoints`."""
        assert isinstance(forward.lattice_sum, OnMesh)
        return _truncation(self, forward.lattice_sum.engine, forward, constants, DIRECT_EVALUATIONS)

    def sample(self, limit: int) -> ExactEngine:
        """The direct form at some of the points."""
        rows = sample_rows(self.supercell, self.q_points, limit)
        return make_engine(self.supercell, self.q_points[rows], factors_at(self.factors, rows))

    def some_rows(self, rows: np.ndarray, n_rows: int) -> "MeshPoints":
        """See :class:`QPoints`."""
        q_points, factors = (
            _some_rows(self.q_points, rows, n_rows),
            _factors_of_rows(self.factors, rows, n_rows),
        )
        return replace(self, q_points=q_points, factors=factors)


@dataclass(frozen=True, eq=False)
class FreePoints:
    """Points anywhere in reciprocal space.

    Attributes:
        irreducible: which pairs of atoms have force constants.
        supercell: of the displacements of atoms that scatter by several phonons.
        q_points: (n, 3) conventional r.l.u.
        factors: f_κ (n_atoms,) or (n, n_atoms), may be complex; None for 1.
        memory: bytes for the points that are evaluated at once.
    """

    irreducible: IrreducibleForceConstants
    supercell: Supercell
    q_points: np.ndarray
    factors: np.ndarray | None = None
    memory: float | int = MEMORY
    on_mesh = False

    def direct(self) -> Anywhere:
        """See :class:`QPoints`."""
        return Anywhere(make_point_engine(self.irreducible, self.supercell, self.q_points, self.factors))

    def cheapest(
        self, displacements: Float[Array, "n_cells n_atoms n_atoms 3 3"], tolerance: float
    ) -> Anywhere:
        """See :class:`QPoints`."""
        cost = point_cost(self.supercell, self.q_points)
        n_near, reach = choose_reach(self.sample(CHOOSING), self.supercell, displacements, tolerance, cost)
        given = self.irreducible, self.supercell, self.q_points, self.factors, n_near, reach
        return Anywhere(make_point_engine(*given, self.memory))

    def truncation(self, forward: ForwardModel, constants: Float[Array, " n_constants"]) -> Truncation:
        """See :class:`QPoints`."""
        assert isinstance(forward.lattice_sum, Anywhere)
        return _truncation(self, forward.lattice_sum.engine.engine, forward, constants, DIRECT_WAVES)

    def sample(self, limit: int) -> ExactEngine:
        """The direct form at some of the points."""
        rows = sample_rows(self.supercell, self.q_points, limit)
        factors = factors_at(self.factors, rows)
        return make_point_engine(self.irreducible, self.supercell, self.q_points[rows], factors).engine

    def some_rows(self, rows: np.ndarray, n_rows: int) -> "FreePoints":
        """See :class:`QPoints`."""
        q_points, factors = (
            _some_rows(self.q_points, rows, n_rows),
            _factors_of_rows(self.factors, rows, n_rows),
        )
        return replace(self, q_points=q_points, factors=factors)


@dataclass(frozen=True, eq=False)
class LinearisedPoints:
    """Points whose log intensity is known to first order in the force constants.

    Attributes:
        lattice_sum: that gives it.
    """

    lattice_sum: Linearised
    on_mesh = True

    def direct(self) -> Linearised:
        """See :class:`QPoints`."""
        return self.lattice_sum

    def cheapest(
        self, displacements: Float[Array, "n_cells n_atoms n_atoms 3 3"], tolerance: float
    ) -> Linearised:
        """See :class:`QPoints`; there is no other."""
        return self.lattice_sum

    def truncation(self, forward: ForwardModel, constants: Float[Array, " n_constants"]) -> Truncation:
        """See :class:`QPoints`; nothing."""
        return nothing_left_out(len(self.lattice_sum.value))

    def some_rows(self, rows: np.ndarray, n_rows: int) -> "LinearisedPoints":
        """See :class:`QPoints`."""
        value, derivative = self.lattice_sum.value[rows], self.lattice_sum.derivative[rows]
        return LinearisedPoints(replace(self.lattice_sum, value=value, derivative=derivative))


def _truncation(
    points: MeshPoints | FreePoints,
    engine: ExactEngine,
    forward: ForwardModel,
    constants: Float[Array, " n_constants"],
    affordable: float,
) -> Truncation:
    """The direct form less that of an engine, at all points where so many exponentials suffice for that.

    Else the error of the harmonic intensity, at a sample of points.
    """
    if not engine.order:
        return nothing_left_out(len(points.q_points))
    if len(points.q_points) * len(pair_table(points.supercell).cells) > affordable:
        here = covariance(forward.crystal, forward.sizes.split(constants).second)
        error = truncation_error(engine, points.sample(MEASURING), here)
        return replace(nothing_left_out(len(points.q_points)), error=error)
    direct = log_intensity(forward.with_sum(points.direct()), constants)
    difference = np.asarray(direct - log_intensity(forward, constants))
    return Truncation(difference, difference)


def nothing_left_out(n_points: int) -> Truncation:
    """The truncation of a sum that leaves nothing out."""
    return Truncation(np.zeros(n_points), np.zeros(n_points))


def _some_rows(values: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Those of some voxels, each of which has equally many in a row."""
    return values.reshape(n_rows, -1, values.shape[-1])[rows].reshape(-1, values.shape[-1])


def _factors_of_rows(factors: np.ndarray | None, rows: np.ndarray, n_rows: int) -> np.ndarray | None:
    """Scattering factors of some voxels."""
    return factors if factors is None or factors.ndim == 1 else _some_rows(factors, rows, n_rows)
