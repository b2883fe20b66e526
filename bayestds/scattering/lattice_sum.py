"""Lattice sums: from the displacements of a crystal to its diffuse intensity at Q points."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
from jax import Array
from jaxtyping import Float

from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.scattering import exact, points
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.motion import Motion, MotionAtPoints
from bayestds.scattering.terms import Term


@runtime_checkable
class LatticeSum(Protocol):
    """Sum over the pairs of atoms of a crystal; a pytree."""

    def log_intensity(self, motion: Motion, terms: tuple[Term, ...]) -> Float[Array, " n_points"]:
        """Logarithm of the diffuse intensity per primitive cell, of a harmonic crystal and further terms."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class OnMesh:
    """At wave vectors of the supercell, through fast Fourier transforms; a pytree.

    Attributes:
        engine: tables of the Q points.
    """

    engine: ExactEngine

    def log_intensity(self, motion: Motion, terms: tuple[Term, ...]) -> Float[Array, " n_points"]:
        """See :class:`LatticeSum`."""
        # Terms of higher order need all elements of C, of which quadratic forms are then a part.
        packed = packed_covariance(motion.everywhere) if terms else motion.packed
        parts = [term.on_mesh(self.engine, motion) for term in terms]
        harmonic = exact.harmonic(self.engine, packed)
        return exact.logarithm(exact.sum_of_exponentials(self.engine, packed, harmonic, *parts))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Anywhere:
    """At Q points between wave vectors of the supercell as well; a pytree.

    Attributes:
        engine: tables of the Q points.
    """

    engine: points.PointEngine

    def log_intensity(self, motion: Motion, terms: tuple[Term, ...]) -> Float[Array, " n_points"]:
        """See :class:`LatticeSum`."""
        constants = motion.crystal.force_constants(motion.parameters.second)
        blocks = points.blocks_at_points(self.engine, constants)
        here = MotionAtPoints(motion.crystal, motion.parameters, motion.star_blocks, blocks)
        packed = packed_covariance(here.everywhere) if terms else here.packed
        parts = [term.anywhere(self.engine, here) for term in terms]
        harmonic = points.harmonic_anywhere(self.engine, packed, here.at_points)
        return exact.logarithm(exact.sum_of_exponentials(self.engine.engine, packed, harmonic, *parts))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Linearised:
    """The log intensity to first order in the irreducible force constants; a pytree.

    It need not be that of the crystal: the atoms that scatter may deviate from it.

    Attributes:
        location: (n_irreducible,) where it was taken, eV/Å².
        value: (n_points,) log intensity there.
        derivative: (n_points, n_irreducible) Å²/eV.
    """

    location: Float[Array, " n_irreducible"]
    value: Float[Array, " n_points"]
    derivative: Float[Array, "n_points n_irreducible"]

    def log_intensity(self, motion: Motion, terms: tuple[Term, ...]) -> Float[Array, " n_points"]:
        """See :class:`LatticeSum`."""
        assert not terms, "refused where the forward model is made"
        return self.value + self.derivative @ (motion.parameters.second - self.location)
