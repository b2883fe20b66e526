"""The displacements that scatter: what lattice sums and terms of the intensity need of a crystal's motion."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Complex, Float

from bayestds.lattice_dynamics.covariance import half_in_real_space
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, half_blocks
from bayestds.lattice_dynamics.stars import packed_in_real_space
from bayestds.scattering.parameters import Parameters


@dataclass(frozen=True, eq=False)
class Motion:
    """Displacements of a crystal with given parameters; each form is computed where it is asked for.

    Attributes:
        crystal: in its supercell, at its temperature.
        parameters: φ, and what else there is.
        star_blocks: Φ(k), eV/Å², at one k of each star.
    """

    crystal: HarmonicCrystal
    parameters: Parameters
    star_blocks: Complex[Array, "n_stars three_n three_n"]

    @cached_property
    def everywhere(self) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
        """C_κκ'(R), Å²."""
        half = half_blocks(self.crystal, self.parameters.second)
        return half_in_real_space(self.crystal.statistics.covariance(half), self.crystal.grid_shape)

    @cached_property
    def packed(self) -> Float[Array, "6 n_kinds n_cells"]:
        """Coefficients of QᵀC_κκ'(R)Q, as ``packed_covariance`` gives them; cheaper than all of C."""
        waves = self.crystal.statistics.covariance(self.star_blocks)
        return packed_in_real_space(self.crystal.stars, waves)

    def everywhere_at(
        self, times: Float[Array, " n_times"]
    ) -> Float[Array, "n_times n_cells n_atoms n_atoms 3 3"]:
        """C_κκ'(R, τ), Å², at imaginary times τ, 1/eV."""
        half = half_blocks(self.crystal, self.parameters.second)
        waves = self.crystal.statistics.covariance_at(half, times)
        return jax.vmap(lambda one: half_in_real_space(one, self.crystal.grid_shape))(waves)


@dataclass(frozen=True, eq=False)
class MotionAtPoints(Motion):
    """Displacements of a crystal, at further wave vectors as well.

    Attributes:
        point_blocks: Φ(q), eV/Å², there.
    """

    point_blocks: Complex[Array, "n_k three_n three_n"]

    @property
    def _with_zero(self) -> Complex[Array, "n_blocks three_n three_n"]:
        """The blocks behind that of k = 0, which is the first wherever covariances are taken."""
        return jnp.concatenate([self.star_blocks[:1], self.point_blocks])

    @cached_property
    def at_points(self) -> Complex[Array, "n_k three_n three_n"]:
        """C(q), Å²."""
        return self.crystal.statistics.covariance(self._with_zero)[1:]

    def at_points_at(self, times: Float[Array, " n_times"]) -> Complex[Array, "n_times n_k three_n three_n"]:
        """C(q, τ), Å², at imaginary times τ, 1/eV."""
        return self.crystal.statistics.covariance_at(self._with_zero, times)[:, 1:]
