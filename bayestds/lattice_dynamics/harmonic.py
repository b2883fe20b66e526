"""A harmonic crystal in a periodic supercell at a temperature: irreducible force constants -> C(k), C(R)."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Complex, Float, Int

from bayestds.choices import StatisticsName
from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.linear_map import (
    force_constant_blocks,
    force_constants,
    grid_positions,
    half_of_blocks,
)
from bayestds.lattice_dynamics.covariance import half_in_real_space, is_stable
from bayestds.lattice_dynamics.stars import Stars, blocks_of_waves, make_stars
from bayestds.lattice_dynamics.statistics import Statistics, make_statistics
from bayestds.precision import require_x64


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class HarmonicCrystal:
    """A crystal in a supercell at a temperature, as a function of its irreducible force constants; a pytree.

    Attributes:
        basis: (n_pairs, 3, 3, n_irreducible) the linear map φ -> Φ.
        positions: (n_pairs,) int, where the pairs lie in the supercell.
        statistics: of the displacements, which hold the temperature.
        stars: wave vectors of the supercell that are equivalent.
        grid_shape: FFT grid of the supercell.
        n_atoms: atoms in the primitive cell.
    """

    basis: Float[Array, "n_pairs 3 3 n_irreducible"]
    positions: Int[Array, " n_pairs"]
    statistics: Statistics
    stars: Stars
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})
    n_atoms: int = field(metadata={"static": True})

    @property
    def n_irreducible(self) -> int:
        """Number of irreducible force constants φ."""
        return self.basis.shape[-1]

    def force_constants(self, irreducible: Float[Array, " n_irreducible"]) -> Float[Array, "n_pairs 3 3"]:
        """Force constants of all pairs, eV/Å²."""
        return force_constants(self.basis, irreducible)


def harmonic_crystal(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    temperature: float,
    statistics: StatisticsName = "classical",
) -> HarmonicCrystal:
    """A crystal at a temperature (K), which may be zero in quantum statistics.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
        PrecisionError: JAX runs in 32 bits.
    """
    require_x64()
    return HarmonicCrystal(
        jnp.asarray(irreducible.basis),
        jnp.asarray(grid_positions(irreducible, supercell)),
        make_statistics(statistics, temperature, irreducible.crystal.masses),
        make_stars(supercell, irreducible.pairs),
        supercell.grid_shape,
        irreducible.crystal.n_atoms,
    )


def blocks(
    crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
) -> Complex[Array, "n_k three_n three_n"]:
    """Force-constant blocks Φ(k), eV/Å², at all k of the grid."""
    constants = crystal.force_constants(irreducible)
    return force_constant_blocks(constants, crystal.positions, crystal.grid_shape, crystal.n_atoms)


def half_blocks(
    crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
) -> Complex[Array, "n_half three_n three_n"]:
    """Force-constant blocks Φ(k), eV/Å², at one of each two k that are opposite; k = 0 is the first."""
    constants = crystal.force_constants(irreducible)
    return half_of_blocks(constants, crystal.positions, crystal.grid_shape, crystal.n_atoms)


def star_blocks(
    crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
) -> Complex[Array, "n_stars three_n three_n"]:
    """Force-constant blocks Φ(k), eV/Å², at one k of each star; k = 0 is the first."""
    stars, constants = crystal.stars, crystal.force_constants(irreducible)
    return blocks_of_waves(stars.waves, stars.positions, constants, crystal.n_atoms)


@jax.jit
def stable(crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]) -> Bool[Array, ""]:
    """Whether the crystal is stable with these force constants."""
    return is_stable(star_blocks(crystal, irreducible))


@jax.jit
def covariance(
    crystal: HarmonicCrystal, irreducible: Float[Array, " n_irreducible"]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """Displacement covariance C_κκ'(R), Å², of these force constants."""
    half = half_blocks(crystal, irreducible)
    return half_in_real_space(crystal.statistics.covariance(half), crystal.grid_shape)
