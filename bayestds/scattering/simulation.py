"""Scattering volumes from force constants: exact and free of noise, or averaged over configurations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jaxtyping import Float, Int

from bayestds.choices import StatisticsName
from bayestds.crystal.supercell import Supercell
from bayestds.errors import InstabilityError, VolumeError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.covariance import stable_blocks
from bayestds.lattice_dynamics.displacements import (
    block_root,
    covariance_root,
    dense_hessian,
    dense_root,
    displacements,
    stiffness_blocks,
    white_noise,
)
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks, harmonic_crystal, stable
from bayestds.lattice_dynamics.statistics import Classical
from bayestds.scattering.beamline import Beamline
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.grid import IrreducibleGrid, Mask, reduce_grid, voxel_mask
from bayestds.scattering.instrument import SMALLEST_SHARE, background_of
from bayestds.scattering.lattice_sum import LatticeSum, OnMesh
from bayestds.scattering.q_points import FreePoints, MeshPoints
from bayestds.scattering.sampled import SampledEngine, folded_intensity, folded_shape, unfolded
from bayestds.scattering.slabs import COPYING, places
from bayestds.scattering.volume import make_volume

Axes = tuple[np.ndarray, np.ndarray, np.ndarray]

ScatteringFactors = np.ndarray | Callable[[np.ndarray], np.ndarray | None]

CHUNK = 100
"""Configurations between two reports of progress."""


def simulate_volume(
    irreducible: IrreducibleForceConstants,
    values: np.ndarray,
    supercell: Supercell,
    temperature: float,
    axes: Axes,
    scattering_factors: ScatteringFactors | None = None,
    scale: float = 1.0,
    one_phonon: bool = False,
    statistics: StatisticsName = "classical",
    beamline: Beamline | None = None,
    strengths: Sequence[float] | Array = (),
) -> xr.Dataset:
    """Exact diffuse intensity on a grid of voxels, in the direct form; NaN at Bragg peaks.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
        supercell: its wave vectors must contain the voxels, unless the beamline says otherwise.
        temperature: K.
        axes: h, k and l of the voxels, conventional r.l.u.
        scattering_factors: f_κ (n_atoms,), or a function of the Q points (n_q, 3) in r.l.u.; 1 by default.
        scale: overall factor of the intensity.
        one_phonon: leave out all that is not scattered by one phonon.
        statistics: of the displacements.
        beamline: what it is measured with; by default the intensity is that of the crystal.
        strengths: of the background of the beamline.

    Raises:
        InstabilityError: the crystal is unstable.
        VolumeError: voxels are not commensurate with the supercell, or have no finite intensity, or
            the background leaves none.
    """
    beamline = beamline or Beamline(supercell.crystal)
    crystal = stable_crystal(irreducible, values, supercell, temperature, statistics)
    attributes = {"temperature": temperature, "noise": "none", "statistics": statistics}
    volume = empty_volume(axes, supercell, beamline.commensurate, **attributes)
    used = np.isfinite(volume["intensity"].values)
    grid = reduce_grid(volume, supercell, used, beamline.commensurate, beamline.friedel)
    points = beamline.points(grid.q_points, grid.axes)
    q_points = points.reshape(-1, 3)
    factors = scattering_factors(q_points) if callable(scattering_factors) else scattering_factors
    lattice_sum: LatticeSum
    if one_phonon:
        # Without near pairs, whose sum has all orders, and up to the first order of the expansion.
        lattice_sum = OnMesh(make_engine(supercell, q_points, factors, n_near=0, order=1))
    elif beamline.on_mesh:
        lattice_sum = MeshPoints(supercell, q_points, factors).direct()
    else:
        lattice_sum = FreePoints(irreducible, supercell, q_points, factors).direct()
    forward = ForwardModel(crystal, (), lattice_sum, beamline.effects(grid.q_points, points.shape[1]))
    phi, strengths = jnp.asarray(values), jnp.asarray(strengths, dtype=float)
    if (strengths < 0).any():
        _check_background(forward, phi, strengths, grid.q_points)
    intensity = jnp.exp(log_intensity(forward, jnp.append(phi, strengths)))
    return _filled(volume, scale * np.asarray(intensity), grid)


def _filled(volume: xr.Dataset, intensity: np.ndarray, grid: IrreducibleGrid) -> xr.Dataset:
    """The volume with the intensity (n_q,) of its point at each voxel."""
    # A last value for Bragg peaks, which have no point: their number is -1.
    of_point = np.append(intensity, np.nan)
    for place in places(grid.point_of_voxel.shape, 0, COPYING):
        volume["intensity"].values[place] = of_point[grid.point_of_voxel[place]]
    return volume


def _check_background(forward: ForwardModel, phi: Array, strengths: Array, q_points: np.ndarray) -> None:
    """Refuse a negative background that leaves nothing of the intensity, where a fit would leave a little."""
    bare = np.asarray(jnp.exp(log_intensity(forward, jnp.append(phi, 0 * strengths))))
    left = bare + np.asarray(background_of(forward.effects).terms @ strengths)
    if (gone := left <= SMALLEST_SHARE * bare).any():
        raise VolumeError(
            f"The background leaves no intensity at {gone.sum()} of {len(gone)} points.",
            f"The first is {np.round(q_points[gone][0], 4).tolist()} r.l.u.: {bare[gone][0]:.4g} less "
            f"{bare[gone][0] - left[gone][0]:.4g}, per primitive cell.",
            "Use weaker negative strengths.",
        )


def stable_crystal(
    irreducible: IrreducibleForceConstants,
    values: np.ndarray,
    supercell: Supercell,
    temperature: float,
    statistics: StatisticsName = "classical",
) -> HarmonicCrystal:
    """A crystal that is stable with these values (n_irreducible,), eV/Å².

    Raises:
        InstabilityError: the crystal is unstable.
    """
    crystal = harmonic_crystal(irreducible, supercell, temperature, statistics)
    if not stable(crystal, jnp.asarray(values)):
        raise InstabilityError(
            "The crystal is unstable with these force constants.",
            "A mode has a force constant that is not positive, so that its displacement is not defined.",
            "Check the signs of the values: those of bonds are negative where they bind.",
        )
    return crystal


def empty_volume(
    axes: Axes, supercell: Supercell, commensurate: bool = True, **attributes: Any
) -> xr.Dataset:
    """A volume of zeros, NaN at Bragg peaks.

    Args:
        axes: h, k and l of the voxels, conventional r.l.u.
        supercell: of the crystal.
        commensurate: whether its wave vectors must contain the voxels.
        attributes: of the volume.

    Raises:
        VolumeError: voxels are not commensurate with the supercell.
    """
    zeros = np.zeros(tuple(len(axis) for axis in axes))
    volume = make_volume(*axes, zeros, lattice=supercell.crystal.cell_parameters, **attributes)
    used = voxel_mask(volume, supercell, Mask())
    reduce_grid(volume, supercell, used, commensurate)
    volume["intensity"].values[~used] = np.nan
    return volume


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class IntensitySum:
    """Scattered intensity summed over the configurations so far.

    Attributes:
        total: the sum, in the layout of the engine.
        count: number of configurations.
    """

    total: Array
    count: int | Array


def no_configurations(engine: SampledEngine) -> IntensitySum:
    """The sum over none."""
    return IntensitySum(jnp.zeros(folded_shape(engine)), 0)


def displacement_root(
    crystal: HarmonicCrystal,
    values: Float[Array, " n_irreducible"],
    differences: Int[Array | np.ndarray, "n_cells n_cells"] | None = None,
) -> Array:
    """What turns white noise into displacements: block by block, or dense as in arXiv:2603.28683.

    Args:
        crystal: in its supercell.
        values: (n_irreducible,) eV/Å²; blocks that are not stable are replaced by the identity.
        differences: from ``cell_differences``, to factorise the Hessian of the whole supercell.
    """
    phi_blocks = blocks(crystal, values)
    if not isinstance(crystal.statistics, Classical):
        covariance = crystal.statistics.covariance(phi_blocks)
        if differences is None:
            return covariance_root(covariance)
        stiffness, thermal_energy = stiffness_blocks(covariance), jnp.ones(())
    elif differences is None:
        return block_root(phi_blocks, crystal.statistics.thermal_energy)
    else:
        stiffness, thermal_energy = stable_blocks(phi_blocks), crystal.statistics.thermal_energy
    hessian = dense_hessian(stiffness, jnp.asarray(differences), crystal.grid_shape)
    return dense_root(hessian, thermal_energy)


def sample_intensity(
    engine: SampledEngine,
    root: Array,
    grid_shape: tuple[int, int, int],
    seed: int,
    configurations: int,
    start: IntensitySum,
) -> Iterator[IntensitySum]:
    """Sums over ever more random configurations, up to all of them.

    Configuration m depends on the seed and on m alone, and sums run in the order of m: a sum that is resumed
    from any earlier one is the same to the last bit.

    Args:
        engine: atoms and voxels.
        root: from :func:`displacement_root`.
        grid_shape: FFT grid of the supercell.
        seed: of the random numbers.
        configurations: number of configurations M.
        start: the sum to go on from, :func:`no_configurations` at first.
    """
    running, key = start, jax.random.key(seed)
    while running.count < configurations:
        last = min(int(running.count) + CHUNK, configurations)
        total = _add_configurations(engine, root, key, running.count, last, running.total, grid_shape)
        running = IntensitySum(jax.block_until_ready(total), last)
        yield running


@partial(jax.jit, static_argnames="grid_shape")
def _add_configurations(
    engine: SampledEngine,
    root: Array,
    key: Array,
    first: int | Array,
    last: int | Array,
    total: Array,
    grid_shape: tuple[int, int, int],
) -> Array:
    """Sum of the intensities of configurations first to last - 1, added to a total."""

    def add(m: Array, total: Array) -> Array:
        return total + folded_intensity(engine, configuration(root, key, m, grid_shape))

    return jax.lax.fori_loop(first, last, add, total)


def configuration(
    root: Array, key: Array, number: int | Array, grid_shape: tuple[int, int, int]
) -> Float[Array, "n_cells n_atoms 3"]:
    """Displacements, Å, of configuration ``number`` of :func:`sample_intensity`."""
    n_cells = int(np.prod(grid_shape))
    n_atoms = root.shape[-1] // (3 if root.ndim == 3 else 3 * n_cells)
    white = white_noise(jax.random.fold_in(key, number), 1, n_cells, n_atoms)
    return displacements(root, white, grid_shape)[0]


def averaged_volume(
    volume: xr.Dataset, engine: SampledEngine, sum_: IntensitySum, scale: float
) -> xr.Dataset:
    """An empty volume filled with the mean over configurations.

    Args:
        volume: from :func:`empty_volume`.
        engine: that made the sum.
        sum_: over the configurations.
        scale: overall factor of the intensity.
    """
    mean = scale * np.asarray(unfolded(engine, sum_.total)) / int(sum_.count)
    filled = volume["intensity"].copy(data=np.where(np.isnan(volume["intensity"].values), np.nan, mean))
    return volume.assign(intensity=filled).assign_attrs(configurations=int(sum_.count), noise="ensemble")
