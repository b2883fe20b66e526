"""Statistics of thermal displacements: from force-constant blocks Φ(k) to their covariance C(k)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.choices import StatisticsName
from bayestds.lattice_dynamics.covariance import STABILITY_FLOOR, classical_covariance, quantum_covariance
from bayestds.lattice_dynamics.imaginary_time import Nodes, covariance_at_times, make_nodes
from bayestds.units import BOLTZMANN, PHONON_ENERGY


@runtime_checkable
class Statistics(Protocol):
    """How atoms move at a temperature; a pytree."""

    @property
    def thermal_energy(self) -> Float[Array, ""]:
        """k_B T, eV."""
        ...

    def covariance(
        self, blocks: Complex[Array, "n_k three_n three_n"]
    ) -> Complex[Array, "n_k three_n three_n"]:
        """Displacement covariance C(k), Å², of force-constant blocks Φ(k), eV/Å²; k = 0 is the first."""
        ...

    def nodes(self, blocks: Complex[Array, "n_k three_n three_n"]) -> Nodes:
        """Imaginary times at which third order needs C of a crystal that is stable with these blocks."""
        ...

    def covariance_at(
        self, blocks: Complex[Array, "n_k three_n three_n"], times: Float[Array, " n_times"]
    ) -> Complex[Array, "n_times n_k three_n three_n"]:
        """C(k, τ), Å², at imaginary times, 1/eV; see :mod:`bayestds.lattice_dynamics.imaginary_time`."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Classical:
    """Classical motion, as in molecular dynamics: C(k) = k_B T Φ(k)⁻¹; a pytree.

    Attributes:
        thermal_energy: k_B T, eV.
    """

    thermal_energy: Float[Array, ""]

    def covariance(
        self, blocks: Complex[Array, "n_k three_n three_n"]
    ) -> Complex[Array, "n_k three_n three_n"]:
        """See :class:`Statistics`."""
        return classical_covariance(blocks, self.thermal_energy)

    def nodes(self, blocks: Complex[Array, "n_k three_n three_n"]) -> Nodes:
        """See :class:`Statistics`; nothing depends on τ."""
        return Nodes(jnp.zeros(1), 1 / self.thermal_energy[None])

    def covariance_at(
        self, blocks: Complex[Array, "n_k three_n three_n"], times: Float[Array, " n_times"]
    ) -> Complex[Array, "n_times n_k three_n three_n"]:
        """See :class:`Statistics`."""
        found = self.covariance(blocks)
        return jnp.broadcast_to(found, (len(times), *found.shape))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Quantum:
    """Quantum motion, as in a real crystal, with zero-point vibrations; a pytree.

    Attributes:
        thermal_energy: k_B T, eV; may be zero.
        masses: (n_atoms,) amu.
    """

    thermal_energy: Float[Array, ""]
    masses: Float[Array, " n_atoms"]

    def covariance(
        self, blocks: Complex[Array, "n_k three_n three_n"]
    ) -> Complex[Array, "n_k three_n three_n"]:
        """See :class:`Statistics`."""
        return quantum_covariance(blocks, self.masses, self.thermal_energy)

    def nodes(
        self,
        blocks: Complex[Array, "n_k three_n three_n"],
        n_nodes: int | None = None,
        stretch: float = 1.0,
    ) -> Nodes:
        """See :class:`Statistics`; the last arguments are those of :func:`~.imaginary_time.make_nodes`."""
        weights = np.repeat(np.asarray(self.masses), 3) ** -0.5
        squares = np.linalg.eigvalsh(weights[:, None] * np.asarray(blocks) * weights)
        # All but the three rigid translations; where the crystal is not stable, any finite nodes will do.
        squares = np.maximum(np.sort(squares, axis=None)[3:], STABILITY_FLOOR * weights.min() ** 2)
        energies = PHONON_ENERGY * np.sqrt(squares)
        return make_nodes(float(self.thermal_energy), energies[0], energies[-1], n_nodes, stretch)

    def covariance_at(
        self, blocks: Complex[Array, "n_k three_n three_n"], times: Float[Array, " n_times"]
    ) -> Complex[Array, "n_times n_k three_n three_n"]:
        """See :class:`Statistics`."""
        return covariance_at_times(blocks, self.masses, self.thermal_energy, times)


def make_statistics(
    name: StatisticsName, temperature: float, masses: Float[np.ndarray, " n_atoms"]
) -> Statistics:
    """Statistics of atoms of these masses (amu) at a temperature (K), which may be zero in quantum ones."""
    thermal_energy = jnp.asarray(BOLTZMANN * temperature)
    if name == "quantum":
        return Quantum(thermal_energy, jnp.asarray(masses))
    return Classical(thermal_energy)
