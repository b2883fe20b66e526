"""Yell and Meerkat files: one HDF5 array with bin centres from lower limits and step sizes.

Layouts: Yell's src/IntensityMap.cpp (https://github.com/YellProgram/Yell) and Meerkat's meerkat.py
(https://github.com/aglie/meerkat). All datasets lie in the root.

- "Yell 1.0": data[h,k,l], NaN where unmeasured.
- "Yell 0.9": rebinned_data[h,k,l] / number_of_pixels_rebinned[h,k,l], no pixels = unmeasured.
- Either may lack `format` (older Meerkat), call `step_sizes` step_size, and give `maxind`, the upper
  limit of axes that are symmetric about zero, for `lower_limits`.
- DISCUS writes Yell 1.0 with data[abscissa, ordinate, top axis] and, for each of these dimensions, its step
  as a vector in hkl: step_sizes_abs, step_sizes_ord, step_sizes_top (DiffuseCode's hdf5_def_mod). step_sizes
  are then in the order of the dimensions, lower_limits in that of h, k, l.
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

FORMATS = ("Yell 1.0", "Yell 0.9")
EXTRA_VARIABLES = (*COMPANIONS, "mask")
VECTORS = ("step_sizes_abs", "step_sizes_ord", "step_sizes_top")
METRIC_TOLERANCE = 1e-2


def recognises(file: h5py.File) -> bool:
    """True for files that call themselves Yell, and for Meerkat's without a name but with its datasets."""
    if (hdf5.text(file.get("format")) or "").startswith("Yell"):
        return True
    has_data = hdf5.has(file, "data") or hdf5.has(file, "rebinned_data")
    has_steps = hdf5.has(file, "step_sizes") or hdf5.has(file, "step_size")
    return has_data and has_steps and (hdf5.has(file, "lower_limits") or hdf5.has(file, "maxind"))


def read(file: h5py.File) -> xr.Dataset:
    """The volume in a Yell 1.0, Yell 0.9 or older Meerkat file.

    Raises:
        VolumeError: another version, a map of direct space, missing or inconsistent datasets, or axes
            that are not those of `unit_cell`.
    """
    name = file.filename
    version = _check_kind(file)
    intensity = _intensity(file, version)
    if intensity.ndim != 3:
        raise VolumeError(
            f"{name}: the intensity has {intensity.ndim} dimensions.",
            "A volume has three: h, k, l.",
            "Store a single plane with an axis of length 1.",
        )
    symmetric = hdf5.has(file, "maxind") and not hdf5.has(file, "lower_limits")
    lower = -hdf5.vector(file, "maxind", 3) if symmetric else hdf5.vector(file, "lower_limits", 3)
    step = hdf5.vector(file, "step_size" if hdf5.has(file, "step_size") else "step_sizes", 3)
    if not (step > 0).all():
        raise VolumeError(f"{name}: the step sizes are {step}.", "They must be positive.", "Correct them.")
    steps = np.diag(step)
    if any(hdf5.has(file, key) for key in VECTORS):
        steps = np.array([hdf5.vector(file, key, 3) for key in VECTORS])
    lattice = usable_lattice(hdf5.vector(file, "unit_cell", 6))
    extras = hdf5.read_extras(file, EXTRA_VARIABLES)
    arrays = {"intensity": intensity} | {key: extras.pop(key) for key in EXTRA_VARIABLES if key in extras}
    placed, order = from_corner(lower, steps, arrays, name)
    volume = hdf5.with_order(make_volume(lattice=lattice, name=name, **placed | extras), order)
    if hdf5.has(file, "metric_tensor") and lattice is not None:
        _check_metric(hdf5.vector(file, "metric_tensor", 9).reshape(3, 3), volume.attrs["lattice"], name)
    return volume


def write(volume: xr.Dataset, path: Path) -> None:
    """Write Yell 1.0; what Yell does not know (its companions, mask, ...) goes to the group `bayestds`."""
    if "lattice" not in volume.attrs:
        raise VolumeError(
            "The volume has no lattice.", "A Yell file needs one.", "Add it, or write NeXus or netCDF."
        )
    axes = volume_axes(volume)
    with h5py.File(path, "w") as file:
        file["format"] = FORMATS[0]
        hdf5.write_array(file, "data", volume, "intensity")
        file["lower_limits"] = axes.at((0, 0, 0))
        if axes.along_hkl:
            file["step_sizes"] = axes.steps.diagonal()
        else:  # as DISCUS writes them
            file["step_sizes"] = np.linalg.norm(axes.steps, axis=1)
            for key, step in zip(VECTORS, axes.steps, strict=True):
                file[key] = step
        file["unit_cell"] = volume.attrs["lattice"]
        file["is_direct"] = False
        hdf5.write_extras(file, volume, EXTRA_VARIABLES, known={"lattice", "directions"})


def _check_kind(file: h5py.File) -> str:
    """The version; VolumeError unless it is known and the map one of reciprocal space."""
    fallback = FORMATS[1] if hdf5.has(file, "rebinned_data") else FORMATS[0]
    version = hdf5.text(hdf5.find(file, "format")) or fallback
    if version not in FORMATS:
        raise VolumeError(
            f"{file.filename}: its format is '{version}'.",
            f"Known are {' and '.join(FORMATS)}.",
            "Write the file again in one of them.",
        )
    # The oldest files lack it, and were only ever reconstructions of scattering.
    if (hdf5.has(file, "format") or hdf5.has(file, "is_direct")) and _flag(file, "is_direct"):
        raise VolumeError(
            f"{file.filename}: this is a map of direct space, such as a PDF (is_direct is true).",
            "Thermal diffuse scattering is a map of reciprocal space.",
            "Give the scattering volume that the map was computed from.",
        )
    return version


def _flag(file: h5py.File, name: str) -> bool:
    """A flag of Yell, which writes one byte of memory as an integer of four: only the low byte counts."""
    return bool(int(hdf5.vector(file, name, 1)[0]) & 0xFF)


def _intensity(file: h5py.File, version: str) -> Stored:
    if version == FORMATS[0]:
        return hdf5.stored_numbers(file, "data")
    total = hdf5.stored_numbers(file, "rebinned_data")
    pixels = hdf5.stored_numbers(file, "number_of_pixels_rebinned")
    if total.shape != pixels.shape:
        raise VolumeError(
            f"{file.filename}: rebinned_data has shape {total.shape}, its pixel numbers {pixels.shape}.",
            "The intensity is rebinned_data / number_of_pixels_rebinned.",
            "Reconstruct the volume again.",
        )
    return total.combined(hdf5.ratio, pixels)


def _check_metric(metric: np.ndarray, lattice: tuple[float, ...], name: str) -> None:
    """Meerkat keeps the original `unit_cell` when asked for an orthonormal or a transformed basis.

    `metric_tensor` (3, 3), Å², then belongs to the axes and not to `unit_cell`.
    """
    lengths = np.array(lattice[:3])
    ca, cb, cg = np.cos(np.radians(lattice[3:]))
    cosines = np.array([[1, cg, cb], [cg, 1, ca], [cb, ca, 1]])
    scale = np.outer(lengths, lengths)
    if not (np.abs(metric - cosines * scale) <= METRIC_TOLERANCE * scale).all():
        raise VolumeError(
            f"{name}: metric_tensor does not belong to unit_cell.",
            "The volume was reconstructed on other axes: orthonormal ones, or those of a transformed cell.",
            "Reconstruct it on the conventional cell, or store the cell of its axes as unit_cell.",
        )
