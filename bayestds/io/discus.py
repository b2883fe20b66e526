"""DISCUS "Disorder unified data": the common format of programs for diffuse scattering.

Layout: https://github.com/tproffen/DiffuseCode, unified_write_mod and lib_unified_chars_mod. All datasets lie
in /entry/data. As h5py sees them: data_values[abscissa, ordinate, top axis]; data_increment_vector[component,
axis], the step in hkl along each of these; data_corner, the hkl of the first voxel; unit_cell_lengths and
unit_cell_angles. Which of h, k, l each axis is called after (data_axes) follows from the steps.

The format has no place for standard errors, counts, transmissions, masks and attributes: they go to the group
`bayestds`.
"""

from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.io.stated import usable_lattice
from bayestds.scattering.reindex import from_corner
from bayestds.scattering.slabs import Stored
from bayestds.scattering.volume import COMPANIONS, make_volume, volume_axes

PLACE = "entry/data"
EXTRA_VARIABLES = (*COMPANIONS, "mask")
KIND = {
    "data_type_reciprocal": "reciprocal",
    "data_type_axes": "hkl",
    "data_type_content": "intensity",
    "data_type_number": "real",
    "data_type_style": "single_diffraction",
}
"""What a volume of diffuse scattering says of itself."""

UNIT = "basecell_fractional"
"""Of coordinates in reciprocal-lattice units of the unit cell."""

DESCRIPTION = {
    "coordinate_unit": UNIT,
    "symmetry_space_group_name_H-M": "P1",
    "symmetry_space_group_abc": "abc",
    "data_type_experiment": "unknown",
    "data_type_with_bragg": "unknown",
    "data_type_symmetrized": "unknown",
    "data_radiation": "unknown",
    "data_rad_symbol": "unknown",
    "audit_conform_dict_name": "Disorder unified data",
    "audit_conform_dict_version": "0.0.0",
    "audit_creation_method": "bayestds",
    "audit_author_name": "unknown",
}
"""Datasets that the format demands and a volume has nothing to say about."""


def recognises(file: h5py.File) -> bool:
    """True for files with data_values and their increments in /entry/data."""
    return all(hdf5.has(file, f"{PLACE}/{key}") for key in ("data_values", "data_increment_vector"))


def read(file: h5py.File) -> xr.Dataset:
    """The volume in a file of DISCUS, or of any program that follows its format.

    Raises:
        VolumeError: a map of direct space, amplitudes, another order of dimensions than `data_dimension`
            says, axes that are not along h, k, l, missing datasets.
    """
    name = file.filename
    data = hdf5.subgroup(file, PLACE)
    for key, expected in KIND.items():
        _check_kind(data, key, expected)
    _check_unit(data)
    values = hdf5.stored_numbers(data, "data_values")
    _check_shape(data, values)
    corner = hdf5.vector(data, "data_corner", 3)
    lengths, angles = (hdf5.vector(data, f"unit_cell_{key}", 3) for key in ("lengths", "angles"))
    extras = hdf5.read_extras(file, EXTRA_VARIABLES)
    arrays = {"intensity": values} | {key: extras.pop(key) for key in EXTRA_VARIABLES if key in extras}
    lattice = usable_lattice(np.concatenate([lengths, angles]))
    placed, order = from_corner(corner, _steps(data), arrays, name)
    return hdf5.with_order(make_volume(name=name, lattice=lattice, **placed | extras), order)


def write(volume: xr.Dataset, path: Path) -> None:
    """Write all datasets that DISCUS asks for."""
    if "lattice" not in volume.attrs:
        raise VolumeError(
            "The volume has no lattice.", "A DISCUS file needs one.", "Add it, or write NeXus or netCDF."
        )
    axes = volume_axes(volume)
    lattice = volume.attrs["lattice"]
    with h5py.File(path, "w") as file:
        data = file.create_group(PLACE)
        for key, value in (KIND | DESCRIPTION).items():
            data[key] = value
        data["audit_creation_date"] = "unknown"
        data["unit_cell_lengths"], data["unit_cell_angles"] = lattice[:3], lattice[3:]
        data["space_group_origin"] = data["space_group_symop_number"] = np.array([1], dtype=np.int32)
        data["space_group_symop_operation_mat"] = np.eye(3, 4)[:, :, None]
        data["data_rad_length"] = np.zeros(3)
        data["data_dimension"] = np.array(axes.shape, dtype=np.int32)
        data["data_axes"] = np.array([1, 2, 3], dtype=np.int32)
        data["data_corner"] = axes.at((0, 0, 0))
        data["data_increment_vector"] = axes.steps.T
        hdf5.write_array(data, "data_values", volume, "intensity")
        hdf5.write_extras(file, volume, EXTRA_VARIABLES, known={"lattice", "directions"})


def _check_kind(data: h5py.Group, key: str, expected: str) -> None:
    """Where a file says what it holds, it must be intensities of reciprocal space."""
    found = hdf5.text(hdf5.find(data, key))
    if found is not None and found != expected:
        raise VolumeError(
            f"{data.file.filename}: its {key} is '{found}'.",
            f"A scattering volume has '{expected}'.",
            "Give a file of intensities in reciprocal space.",
        )


def _check_unit(data: h5py.Group) -> None:
    """Indices must be those of the unit cell: nothing in a file says how many cells a supercell has."""
    unit = hdf5.text(hdf5.find(data, "coordinate_unit"))
    if unit not in (None, "unknown", UNIT):
        raise VolumeError(
            f"{data.file.filename}: its coordinate_unit is '{unit}'.",
            f"Indices h, k, l of the unit cell are expected, '{UNIT}'.",
            "Write the file again in these units: indices of a supercell are to be divided by its number of "
            "cells along each axis.",
        )


def _check_shape(data: h5py.Group, values: Stored) -> None:
    if values.ndim != 3:
        raise VolumeError(
            f"{data.file.filename}: data_values has {values.ndim} dimensions.",
            "A volume has three.",
            "Store a single plane with an axis of length 1.",
        )
    expected = hdf5.vector(data, "data_dimension", 3)
    if not np.array_equal(values.shape, expected):
        said = ", ".join(f"{size:g}" for size in expected)
        raise VolumeError(
            f"{data.file.filename}: data_values has the shape {values.shape}, data_dimension says ({said}).",
            "They must agree, in this order: abscissa, ordinate, top axis.",
            "Was the file written from another language, with its dimensions reversed? Transpose data_values "
            "and data_increment_vector.",
        )


def _steps(data: h5py.Group) -> np.ndarray:
    """The increments, a row for each dimension."""
    columns = hdf5.numbers(data, "data_increment_vector")
    if columns.shape != (3, 3):
        raise VolumeError(
            f"{data.file.filename}: data_increment_vector has the shape {columns.shape}.",
            "It holds three components for each of three axes.",
            "Write the file again.",
        )
    return columns.transpose()
