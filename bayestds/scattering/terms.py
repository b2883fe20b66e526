"""Terms of the diffuse intensity beyond that of a harmonic crystal."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import jax
from jax import Array
from jaxtyping import Float

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, star_blocks
from bayestds.lattice_dynamics.imaginary_time import Nodes
from bayestds.lattice_dynamics.statistics import Quantum
from bayestds.lattice_dynamics.third_cumulant import CubicTerm, half_forces, make_cubic_term, third_cumulant
from bayestds.scattering.cubic import anharmonic
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.exact import Part
from bayestds.scattering.motion import Motion, MotionAtPoints
from bayestds.scattering.points import PointEngine
from bayestds.scattering.points_cubic import anharmonic_anywhere


@runtime_checkable
class Term(Protocol):
    """A term of the intensity; a pytree."""

    @property
    def n_parameters(self) -> int:
        """Number of parameters that it adds."""
        ...

    def on_mesh(self, engine: ExactEngine, motion: Motion) -> Part:
        """What it adds to the weights of the lattice sum at wave vectors of the supercell."""
        ...

    def anywhere(self, engine: PointEngine, motion: MotionAtPoints) -> Part:
        """What it adds to the weights of the lattice sum at any points."""
        ...

    def finer(
        self, crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
    ) -> tuple["Term", ...]:
        """The term with finer integrals, none where all are exact; φ is that of a stable crystal."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Cubic:
    """What third-order force constants add to the intensity, to first order in them; a pytree.

    Attributes:
        lattice: the third-order force constants in the supercell.
        nodes: of imaginary time.
    """

    lattice: CubicTerm
    nodes: Nodes

    @property
    def n_parameters(self) -> int:
        """Number of third-order constants γ."""
        return self.lattice.basis.shape[-1]

    def on_mesh(self, engine: ExactEngine, motion: Motion) -> Part:
        """See :class:`Term`."""
        _, cumulant = self._cumulant(motion)
        return anharmonic(engine, *cumulant, packed_covariance(motion.everywhere))

    def anywhere(self, engine: PointEngine, motion: MotionAtPoints) -> Part:
        """See :class:`Term`."""
        squares, cumulant = self._cumulant(motion)
        here = motion.everywhere
        waves = motion.at_points, motion.at_points_at(self.nodes.times)
        return anharmonic_anywhere(engine, squares, cumulant, here, packed_covariance(here), *waves)

    def finer(
        self, crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
    ) -> tuple["Cubic", ...]:
        """See :class:`Term`: with one node more, and with two more on an interval that is twice as long."""
        if not isinstance(crystal.statistics, Quantum):
            return ()
        blocks, n = star_blocks(crystal, irreducible), len(self.nodes.times)
        rules = [crystal.statistics.nodes(blocks, n + 1), crystal.statistics.nodes(blocks, n + 2, 2.0)]
        return tuple(replace(self, nodes=nodes) for nodes in rules)

    def _cumulant(self, motion: Motion) -> tuple[Array, tuple[Array, Array]]:
        """Half forces, and the third cumulant with its part that does not depend on R."""
        covariances = motion.everywhere_at(self.nodes.times)
        squares = half_forces(self.lattice, motion.parameters.third, covariances, self.nodes.weights)
        return squares, third_cumulant(squares, covariances, motion.crystal.grid_shape)


def make_cubic(
    third_order: ThirdOrderForceConstants,
    supercell: Supercell,
    crystal: HarmonicCrystal,
    irreducible: Float[Array, " n_irreducible"],
) -> Cubic:
    """The third-order term of a crystal.

    Args:
        third_order: its force constants.
        supercell: the periodic supercell.
        crystal: in the supercell, at its temperature.
        irreducible: φ, eV/Å², of a stable crystal, for the choice of the nodes of imaginary time.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
    """
    nodes = crystal.statistics.nodes(star_blocks(crystal, irreducible))
    return Cubic(make_cubic_term(third_order, supercell), nodes)
