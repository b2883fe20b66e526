"""Terms of the diffuse intensity beyond that of a harmonic crystal."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax

from bayestds.lattice_dynamics.third_cumulant import CubicTerm
from bayestds.scattering.cubic import anharmonic
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.exact import Part
from bayestds.scattering.motion import Motion


@runtime_checkable
class Term(Protocol):
    """A term of the intensity; a pytree."""

    @property
    def n_parameters(self) -> int:
        """Number of parameters that it adds."""
        ...

    def part(self, engine: ExactEngine, motion: Motion) -> Part:
        """What it adds to the weights of the lattice sum."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Cubic:
    """What third-order force constants add to the intensity, to first order in them; a pytree.

    Attributes:
        lattice: the third-order force constants in the supercell.
    """

    lattice: CubicTerm

    @property
    def n_parameters(self) -> int:
        """Number of third-order constants γ."""
        return self.lattice.basis.shape[-1]

    def part(self, engine: ExactEngine, motion: Motion) -> Part:
        """See :class:`Term`."""
        return anharmonic(
            engine, self.lattice, motion.parameters.third, motion.everywhere, motion.thermal_energy
        )
