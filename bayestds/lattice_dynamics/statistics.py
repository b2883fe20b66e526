"""Statistics of thermal displacements: from force-constant blocks Φ(k) to their covariance C(k)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.choices import StatisticsName
from bayestds.lattice_dynamics.covariance import classical_covariance, quantum_covariance
from bayestds.units import BOLTZMANN


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


def make_statistics(
    name: StatisticsName, temperature: float, masses: Float[np.ndarray, " n_atoms"]
) -> Statistics:
    """Statistics of atoms of these masses (amu) at a temperature (K), which may be zero in quantum ones."""
    thermal_energy = jnp.asarray(BOLTZMANN * temperature)
    if name == "quantum":
        return Quantum(thermal_energy, jnp.asarray(masses))
    return Classical(thermal_energy)
