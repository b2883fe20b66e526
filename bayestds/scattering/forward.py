"""The forward model as one differentiable function: irreducible force constants -> log intensity."""

from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Complex, Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.linear_map import force_constant_blocks, force_constants, grid_positions
from bayestds.lattice_dynamics.covariance import (
    classical_covariance,
    covariance_in_real_space,
    is_stable,
    quantum_covariance,
)
from bayestds.precision import require_x64
from bayestds.scattering import exact, points
from bayestds.scattering.instrument import Instrument, measured_log_intensity
from bayestds.units import BOLTZMANN

Engine = exact.ExactEngine | points.PointEngine

Statistics = Literal["classical", "quantum"]
"""How atoms move: as in molecular dynamics, or as in a real crystal."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Deviation:
    """What the covariance of a sample of configurations has beyond that of the crystal.

    It need not be symmetric: the voxels that are averaged for one point may see several images of it.

    Attributes:
        shifts: (n_parts, n_cells, n_atoms, n_atoms, 3, 3) images of the deviation of C_κκ'(R), Å².
        log_shares: (n_q, n_parts) logarithm of the share of each in the average over voxels.
    """

    shifts: Float[Array, "n_parts n_cells n_atoms n_atoms 3 3"]
    log_shares: Float[Array, "n_q n_parts"]


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
        grid_shape: FFT grid of the supercell.
        n_atoms: atoms in the primitive cell.
        deviation: added to the covariance of the crystal before it scatters, None for nothing.
        instrument: what the measured intensity has beyond the crystal's, None for nothing. Strengths of its
            background terms follow the irreducible constants, wherever these are given. The engine may have
            several points for each of its Q points.
        background_slope: (n_terms, n_irreducible) by which a posterior's coordinates of the strengths follow
            the constants; the intensity does not depend on it.
        masses: (n_atoms,) amu, with which atoms move by quantum statistics; None for classical ones.
    """

    basis: Float[Array, "n_pairs 3 3 n_irreducible"]
    positions: Int[Array, " n_pairs"]
    thermal_energy: Float[Array, ""]
    engine: Engine | None
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})
    n_atoms: int = field(metadata={"static": True})
    deviation: Deviation | None = None
    masses: Float[Array, " n_atoms"] | None = None
    instrument: Instrument | None = None
    background_slope: Float[Array, "n_terms n_irreducible"] | None = None

    def with_engine(self, engine: Engine) -> "ForwardModel":
        """The same crystal with another engine."""
        return replace(self, engine=engine)


def make_forward_model(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    temperature: float,
    engine: Engine | None = None,
    statistics: Statistics = "classical",
) -> ForwardModel:
    """Forward model of a crystal at a temperature (K), which may be zero in quantum statistics.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
        PrecisionError: JAX runs in 32 bits.
    """
    require_x64()
    return ForwardModel(
        jnp.asarray(irreducible.basis),
        jnp.asarray(grid_positions(irreducible, supercell)),
        jnp.asarray(BOLTZMANN * temperature),
        engine,
        supercell.grid_shape,
        irreducible.crystal.n_atoms,
        masses=jnp.asarray(irreducible.crystal.masses) if statistics == "quantum" else None,
    )


def blocks(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"]
) -> Complex[Array, "n_k three_n three_n"]:
    """Force-constant blocks Φ(k), eV/Å²."""
    return force_constant_blocks(
        _constants(forward, irreducible), forward.positions, forward.grid_shape, forward.n_atoms
    )


def _constants(
    forward: ForwardModel, parameters: Float[Array, " n_parameters"]
) -> Float[Array, "n_pairs 3 3"]:
    """Force constants of all pairs, eV/Å²; any strengths of a background that follow φ are left out."""
    return force_constants(forward.basis, parameters[: forward.basis.shape[-1]])


def displacement_covariance(
    forward: ForwardModel, phi_blocks: Complex[Array, "n_k three_n three_n"]
) -> Complex[Array, "n_k three_n three_n"]:
    """Displacement covariance C(k), Å², in the statistics of the model."""
    if forward.masses is None:
        return classical_covariance(phi_blocks, forward.thermal_energy)
    return quantum_covariance(phi_blocks, forward.masses, forward.thermal_energy)


def real_space_covariance(
    forward: ForwardModel, phi_blocks: Complex[Array, "n_k three_n three_n"]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """Displacement covariance C_κκ'(R), Å²."""
    covariance = displacement_covariance(forward, phi_blocks)
    return covariance_in_real_space(covariance, forward.grid_shape)


@jax.jit
def stable(forward: ForwardModel, irreducible: Float[Array, " n_parameters"]) -> Bool[Array, ""]:
    """Whether the crystal is stable with these force constants."""
    return is_stable(blocks(forward, irreducible))


@jax.jit
def covariance(
    forward: ForwardModel, irreducible: Float[Array, " n_parameters"]
) -> Float[Array, "n_cells n_atoms n_atoms 3 3"]:
    """Displacement covariance C_κκ'(R), Å², of these force constants."""
    return real_space_covariance(forward, blocks(forward, irreducible))


def scattered(
    forward: ForwardModel,
    parameters: Float[Array, " n_parameters"],
    phi_blocks: Complex[Array, "n_k three_n three_n"],
) -> Float[Array, " n_q"]:
    """Logarithm of the intensity as it is measured.

    Args:
        forward: the crystal, its engine, and what else is in the intensity.
        parameters: φ in eV/Å², followed by the strengths of the instrument's background.
        phi_blocks: from :func:`blocks` of the same.
    """
    diffuse = _diffuse(forward, parameters, phi_blocks)
    if forward.instrument is None:
        return diffuse
    strengths = parameters[forward.basis.shape[-1] :]
    return measured_log_intensity(forward.instrument, diffuse, strengths)


def _diffuse(
    forward: ForwardModel,
    irreducible: Float[Array, " n_parameters"],
    phi_blocks: Complex[Array, "n_k three_n three_n"],
) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity, where the sample deviates from the crystal with its deviation."""
    engine = forward.engine
    assert engine is not None
    covariance = real_space_covariance(forward, phi_blocks)
    if isinstance(engine, points.PointEngine):
        at_points = points.point_blocks(engine, _constants(forward, irreducible))
        # The first block is the one that is treated as k = 0.
        everywhere = displacement_covariance(forward, jnp.concatenate([phi_blocks[:1], at_points]))
        return points.log_intensity(engine, covariance, everywhere[1:])
    if forward.deviation is None:
        return exact.log_intensity(engine, covariance)
    moved = covariance + forward.deviation.shifts
    parts = jax.lax.map(lambda c: exact.log_intensity(engine, c), moved)
    return jax.nn.logsumexp(parts.T + forward.deviation.log_shares, axis=1)


@jax.jit
def log_intensity(forward: ForwardModel, irreducible: Float[Array, " n_parameters"]) -> Float[Array, " n_q"]:
    """Logarithm of the diffuse intensity per primitive cell at every Q point of the engine.

    Finite everywhere; meaningful only where :func:`stable`.
    """
    return scattered(forward, irreducible, blocks(forward, irreducible))
