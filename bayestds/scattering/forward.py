"""The forward model as one differentiable function: parameters -> log intensity, stage by stage.

parameters -> force constants -> displacements -> terms -> lattice sum -> effects of the instrument
"""

from dataclasses import dataclass, replace

import jax
from jax import Array
from jaxtyping import Complex, Float

from bayestds.choices import StatisticsName
from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, harmonic_crystal, star_blocks
from bayestds.scattering.instrument import Effect, measured
from bayestds.scattering.lattice_sum import LatticeSum
from bayestds.scattering.motion import Motion
from bayestds.scattering.parameters import Sizes
from bayestds.scattering.terms import Term


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ForwardModel:
    """The stages from the parameters of a volume to its expected log intensity; a pytree.

    Attributes:
        crystal: in a supercell at a temperature.
        terms: of the intensity, beyond that of a harmonic crystal.
        lattice_sum: at the Q points.
        effects: of the instrument, one after the other.
    """

    crystal: HarmonicCrystal
    terms: tuple[Term, ...]
    lattice_sum: LatticeSum
    effects: tuple[Effect, ...]

    @property
    def sizes(self) -> Sizes:
        """Numbers of parameters, by kind."""
        return Sizes(
            self.crystal.n_irreducible,
            sum(term.n_parameters for term in self.terms),
            sum(effect.n_parameters for effect in self.effects),
        )

    def with_sum(self, lattice_sum: LatticeSum) -> "ForwardModel":
        """The same crystal and instrument with another lattice sum."""
        return replace(self, lattice_sum=lattice_sum)

    @property
    def without_effects(self) -> "ForwardModel":
        """The scattering of the crystal alone; its parameters end with the force constants."""
        return replace(self, effects=())


def make_forward_model(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    temperature: float,
    lattice_sum: LatticeSum,
    statistics: StatisticsName = "classical",
    effects: tuple[Effect, ...] = (),
    terms: tuple[Term, ...] = (),
) -> ForwardModel:
    """Forward model of a crystal at a temperature (K), which may be zero in quantum statistics.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
        PrecisionError: JAX runs in 32 bits.
    """
    crystal = harmonic_crystal(irreducible, supercell, temperature, statistics)
    return ForwardModel(crystal, terms, lattice_sum, effects)


def intensity_of_blocks(
    forward: ForwardModel,
    vector: Float[Array, " n_parameters"],
    phi_blocks: Complex[Array, "n_stars three_n three_n"],
) -> Float[Array, " n_q"]:
    """Logarithm of the measured intensity, from blocks that are known already.

    Args:
        forward: the stages.
        vector: the parameters, as :class:`~bayestds.scattering.parameters.Parameters` lie in it.
        phi_blocks: from :func:`~bayestds.lattice_dynamics.harmonic.star_blocks` of the same.
    """
    parameters = forward.sizes.split(vector)
    motion = Motion(forward.crystal, parameters, phi_blocks)
    diffuse = forward.lattice_sum.log_intensity(motion, forward.terms)
    return measured(forward.effects, diffuse, parameters.background)


@jax.jit
def log_intensity(forward: ForwardModel, vector: Float[Array, " n_parameters"]) -> Float[Array, " n_q"]:
    """Logarithm of the measured intensity at every Q point, up to the overall scale.

    Finite everywhere; meaningful only where the crystal is stable.

    Args:
        forward: the stages.
        vector: the parameters: φ in eV/Å², γ in eV/Å³, and strengths of the background.
    """
    second = forward.sizes.split(vector).second
    return intensity_of_blocks(forward, vector, star_blocks(forward.crystal, second))
