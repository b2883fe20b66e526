"""rspace3d: volumes put together from the unwarped layers of CrysAlisPro.

Layout: https://github.com/dubajicmilos/rspace3d (rspace3d/volume_builder.py, save_volume_h5): the root holds
data, its axes H, K and L in the order of the dimensions, and the attributes cell_a ... cell_gamma. What the
axes are follows from `plane_type`, the two indices in the layers: h, k, l of HK, h, l, k of HL, k, l, h of
KL. The layers are squares in Cartesian coordinates; M_inv (2, 2) takes these to the two indices in the plane.
Where it is not diagonal, as in monoclinic or hexagonal planes, the axes H, K and L are no indices of the
voxels.
"""

import h5py
import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.io.stated import usable_lattice
from bayestds.scattering.reindex import from_centres
from bayestds.scattering.volume import make_volume

NAMES = ("H", "K", "L")
INDICES = {"HK": "hkl", "HL": "hlk", "KL": "klh"}
"""Index along each dimension, by the plane of the layers."""
CELL = tuple(f"cell_{parameter}" for parameter in ("a", "b", "c", "alpha", "beta", "gamma"))
SHEAR = 1e-3
"""Largest off-diagonal element of M_inv, relative to the diagonal, of a plane that is not sheared."""


def recognises(file: h5py.File) -> bool:
    """True for files with data, H, K and L in the root."""
    return all(isinstance(file.get(key), h5py.Dataset) for key in ("data", *NAMES))


def read(file: h5py.File) -> xr.Dataset:
    """The volume in a file of rspace3d.

    Raises:
        VolumeError: a sheared volume, missing or inconsistent datasets.
    """
    name = file.filename
    if hdf5.has(file, "M_inv"):
        matrix = hdf5.numbers(file, "M_inv")
        size = np.abs(matrix).max() if matrix.shape == (2, 2) else 0.0
        if not size or np.abs(matrix - np.diag(np.diagonal(matrix))).max() > SHEAR * size:
            raise VolumeError(
                f"{name}: its planes are sheared (M_inv is {np.round(matrix, 5).tolist()}).",
                "The axes H, K and L are then no indices of the voxels.",
                "Reconstruct the volume on axes along h, k and l.",
            )
    plane = hdf5.text(file.attrs.get("plane_type")) or "HK"
    if plane not in INDICES:
        raise VolumeError(
            f"{name}: its plane_type is '{plane}'.",
            f"Known are {', '.join(INDICES)}.",
            "Write the file again with rspace3d.",
        )
    directions = np.array([[float(index == axis) for axis in "hkl"] for index in INDICES[plane]])
    cell = [file.attrs.get(key) for key in CELL]
    lattice = None if None in cell else usable_lattice([float(value) for value in cell])
    arrays = {"intensity": hdf5.stored_numbers(file, "data")}
    centres = [hdf5.numbers(file, key).ravel() for key in NAMES]
    placed, order = from_centres(centres, directions, arrays, name)
    return hdf5.with_order(make_volume(name=name, lattice=lattice, **placed), order)
