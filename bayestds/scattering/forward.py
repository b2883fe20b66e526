"""The forward model as one differentiable function: irreducible force constants -> log intensity."""

from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Complex, Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.errors import ModelError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.linear_map import (
    force_constant_blocks,
    force_constants,
    grid_positions,
    half_of_blocks,
)
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.lattice_dynamics.covariance import (
    classical_covariance,
    half_in_real_space,
    is_stable,
    packed_covariance,
    quantum_covariance,
)
from bayestds.lattice_dynamics.stars import Stars, blocks_of_stars, make_stars, packed_in_real_space
from bayestds.lattice_dynamics.third_cumulant import CubicTerm, make_cubic_term
from bayestds.precision import require_x64
from bayestds.scattering import exact, points
from bayestds.scattering.cubic import anharmonic
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.instrument import Instrument, measured_log_intensity
from bayestds.units import BOLTZMANN

Engine = ExactEngine | points.PointEngine

Statistics = Literal["classical", "quantum"]
"""How atoms move: as in molecular dynamics, or as in a real crystal."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Tangent:
    """The log intensity to first order in the force constants, in place of an engine.

    It need not be that of the crystal: the atoms that scatter may deviate from it.

    Attributes:
        location: (n_irreducible,) where it was taken, eV/Å².
        log_intensity: (n_q,) there.
        derivative: (n_q, n_irreducible) Å²/eV.
    """

    location: Float[Array, " n_irreducible"]
    log_intensity: Float[Array, " n_q"]
    derivative: Float[Array, "n_q n_irreducible"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ForwardModel:
    """A crystal in a supercell at a temperature, and an engine for its scattering; a pytree.

    Attributes:
        basis: (n_pairs, 3, 3, n_irreducible) the linear map φ -> Φ.
        positions: (n_pairs,) int, where the pairs lie in the supercell.
        thermal_energy: k_B T, eV.
        engine: constant arrays of the Q points, on the grid of the supercell or anywhere; None if no
            intensity is wanted.
        stars: wave vectors of the supercell that are equivalent.
        grid_shape: FFT grid of the supercell.
        n_atoms: atoms in the primitive cell.
        tangent: the log intensity to first order, which takes the place of the engine's; None for all orders.
        instrument: what the measured intensity has beyond the crystal's, None for nothing. Strengths of its
            background terms follow the irreducible constants, wherever these are given. The engine may have
            several points for each of its Q points.
        background_slope: (n_terms, n_constants) by which a posterior's coordinates of the strengths follow
            the constants; the intensity does not depend on it.
        masses: (n_atoms,) amu, with which atoms move by quantum statistics; None for classical ones.
        cubic: third-order force constants, whose values γ follow φ in the parameters; None for a harmonic
            crystal.
        cubic_slope: (n_cubic, n_irreducible) by which a posterior's coordinates of γ follow φ, likewise.
    """

    basis: Float[Array, "n_pairs 3 3 n_irreducible"]
    positions: Int[Array, " n_pairs"]
    thermal_energy: Float[Array, ""]
    engine: Engine | None
    stars: Stars
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})
    n_atoms: int = field(metadata={"static": True})
    tangent: Tangent | None = None
    masses: Float[Array, " n_atoms"] | None = None
    instrument: Instrument | None = None
    background_slope: Float[Array, "n_terms n_constants"] | None = None
    cubic: CubicTerm | None = None
    cubic_slope: Float[Array, "n_cubic n_irreducible"] | None = None

    @property
    def n_irreducible(self) -> int:
        """Number of irreducible force constants φ, the first of the parameters."""
        return self.basis.shape[-1]

    @property
    def n_cubic(self) -> int:
        """Number of third-order force constants γ, which follow φ."""
        return 0 if self.cubic is None else self.cubic.basis.shape[-1]

    @property
    def n_constants(self) -> int:
        """Number of force constants of both orders; strengths of a background follow these."""
        return self.n_irreducible + self.n_cubic

    def with_engine(self, engine: Engine) -> "ForwardModel":
        """The same crystal with another engine."""
        return replace(self, engine=engine)


def make_forward_model(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    temperature: float,
    engine: Engine | None = None,
    statistics: Statistics = "classical",
    third_order: ThirdOrderForceConstants | None = None,
) -> ForwardModel:
    """Forward model of a crystal at a temperature (K), which may be zero in quantum statistics.

    With third-order force constants their values γ, eV/Å³, follow the irreducible ones in the parameters.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
        ModelError: third-order force constants in quantum statistics.
        PrecisionError: JAX runs in 32 bits.
    """
    require_x64()
    if third_order is not None and statistics == "quantum":
        raise ModelError(
            "Third-order force constants are asked for in quantum statistics.",
            "The scattering that they add is known here for classical motion only.",
            'Set statistics = "classical", or leave the third order out.',
        )
    return ForwardModel(
        jnp.asarray(irreducible.basis),
        jnp.asarray(grid_positions(irreducible, supercell)),
        jnp.asarray(BOLTZMANN * temperature),
        engine,
        make_stars(supercell, irreducible.pairs),
        supercell.grid_shape,
        irreducible.crystal.n_atoms,
        masses=jnp.asarray(irreducible.crystal.masses) if statistics == "quantum" else None,
        cubic=None if third_order is None else make_cubic_term(third_order, supercell),
    )


def blocks(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"]
) -> Complex[Array, "n_k three_n three_n"]:
    """Force-constant blocks Φ(k), eV/Å², at all k of the grid."""
    return force_constant_blocks(
        _constants(forward, irreducible), forward.positions, forward.grid_shape, forward.n_atoms
    )


def star_blocks(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"]
) -> Complex[Array, "n_stars three_n three_n"]:
    """Force-constant blocks Φ(k), eV/Å², at one k of each star; k = 0 is the first."""
    return blocks_of_stars(forward.stars, _constants(forward, irreducible), forward.n_atoms)


def _constants(
    forward: ForwardModel, parameters: Float[Array, " n_parameters"]
) -> Float[Array, "n_pairs 3 3"]:
    """Force constants of all pairs, eV/Å²; what follows φ in the parameters is left out."""
    return force_constants(forward.basis, parameters[: forward.n_irreducible])


def displacement_covariance(
    forward: ForwardModel, phi_blocks: Complex[Array, "n_k three_n three_n"]
) -> Complex[Array, "n_k three_n three_n"]:
    """Displacement covariance C(k), Å², in the statistics of the model."""
    if forward.masses is None:
        return classical_covariance(phi_blocks, forward.thermal_energy)
    return quantum_covariance(phi_blocks, forward.masses, forward.thermal_energy)


@jax.jit
def stable(forward: ForwardModel, irreducible: Float[Array, " n_parameters"]) -> Bool[Array, ""]:
    """Whether the crystal is stable with these force constants."""
    return is_stable(star_blocks(forward, irreducible))


@jax.jit
def covariance(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """Displacement covariance C_κκ'(R), Å², of these force constants."""
    half = half_of_blocks(
        _constants(forward, irreducible), forward.positions, forward.grid_shape, forward.n_atoms
    )
    return half_in_real_space(displacement_covariance(forward, half), forward.grid_shape)


def scattered(
    forward: ForwardModel,
    parameters: Float[Array, " n_parameters"],
    phi_blocks: Complex[Array, "n_stars three_n three_n"],
) -> Float[Array, " n_q"]:
    """Logarithm of the intensity as it is measured.

    Args:
        forward: the crystal, its engine, and what else is in the intensity.
        parameters: φ in eV/Å², followed by γ in eV/Å³ and the strengths of the instrument's background.
        phi_blocks: from :func:`star_blocks` of the same.
    """
    diffuse = _diffuse(forward, parameters, phi_blocks)
    if forward.instrument is None:
        return diffuse
    strengths = parameters[forward.n_constants :]
    return measured_log_intensity(forward.instrument, diffuse, strengths)


def _diffuse(
    forward: ForwardModel,
    parameters: Float[Array, " n_parameters"],
    phi_blocks: Complex[Array, "n_stars three_n three_n"],
) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity, in the form that the model has."""
    tangent = forward.tangent
    if tangent is not None:
        step = parameters[: forward.n_irreducible] - tangent.location
        return tangent.log_intensity + tangent.derivative @ step
    engine = forward.engine
    assert engine is not None
    if isinstance(engine, points.PointEngine):
        if forward.cubic is not None:
            raise ModelError(
                "Third-order force constants are asked for at Q points that do not fit the supercell.",
                "The scattering that they add is known here at wave vectors of the supercell only.",
                "Set commensurate = true with a supercell that fits, or leave the third order out.",
            )
        at_points = points.point_blocks(engine, _constants(forward, parameters))
        everywhere = displacement_covariance(forward, jnp.concatenate([phi_blocks, at_points]))
        n_stars = len(phi_blocks)
        packed = packed_in_real_space(forward.stars, everywhere[:n_stars])
        return points.log_intensity(engine, packed, everywhere[n_stars:])
    if forward.cubic is None:
        waves = displacement_covariance(forward, phi_blocks)
        return exact.log_intensity(engine, packed_in_real_space(forward.stars, waves))
    everything = covariance(forward, parameters)
    packed = packed_covariance(everything)
    cubic = parameters[forward.n_irreducible : forward.n_constants]
    parts = (
        exact.harmonic(engine, packed),
        anharmonic(engine, forward.cubic, cubic, everything, forward.thermal_energy),
    )
    return exact.logarithm(exact.sum_of_exponentials(engine, packed, *parts))


@jax.jit
def log_intensity(forward: ForwardModel, irreducible: Float[Array, " n_parameters"]) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity per primitive cell at every Q point of the engine.

    Finite everywhere; meaningful only where :func:`stable`.
    """
    return scattered(forward, irreducible, star_blocks(forward, irreducible))
