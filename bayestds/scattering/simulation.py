"""A noise-free scattering volume from force constants."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.crystal.supercell import Supercell
from bayestds.errors import InstabilityError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.scattering.exact import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model, stable
from bayestds.scattering.grid import Mask, reduce_grid, voxel_mask
from bayestds.scattering.volume import make_volume


def simulate_volume(
    irreducible: IrreducibleForceConstants,
    values: np.ndarray,
    supercell: Supercell,
    temperature: float,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    scattering_factors: np.ndarray | None = None,
    scale: float = 1.0,
) -> xr.Dataset:
    """Exact diffuse intensity on a grid of voxels, in the direct form; NaN at Bragg peaks.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
        supercell: its wave vectors must contain the voxels.
        temperature: K, classical statistics.
        axes: h, k and l of the voxels, conventional r.l.u.
        scattering_factors: f_κ (n_atoms,); 1 by default.
        scale: overall factor of the intensity.

    Raises:
        InstabilityError: the crystal is unstable.
        VolumeError: voxels are not commensurate with the supercell.
    """
    forward = make_forward_model(irreducible, supercell, temperature)
    phi = jnp.asarray(values)
    if not stable(forward, phi):
        raise InstabilityError(
            "The crystal is unstable with these force constants.",
            "A mode has a force constant that is not positive, so that its displacement is not defined.",
            "Check the signs of the values: those of bonds are negative where they bind.",
        )
    volume = make_volume(
        *axes,
        np.zeros(tuple(len(axis) for axis in axes)),
        lattice=supercell.crystal.cell_parameters,
        temperature=temperature,
        noise="none",
    )
    used = voxel_mask(volume, supercell, Mask())
    grid = reduce_grid(volume, supercell, used)
    engine = make_engine(supercell, grid.q_points, scattering_factors)
    log_i = np.asarray(log_intensity(forward.with_engine(engine), phi))
    volume["intensity"].values[~used] = np.nan
    volume["intensity"].values[used] = scale * np.exp(log_i[grid.point_of_voxel[used]])
    return volume
