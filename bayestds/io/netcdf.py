"""The package's own file: the volume's Dataset as netCDF-4, nothing lost."""

from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.io.hdf5 import UNMEASURED_WHERE_ZERO
from bayestds.io.stated import usable_lattice
from bayestds.scattering.slabs import AXES, COPYING, Place, Stored, slabs
from bayestds.scattering.volume import COMPANIONS, make_volume

VARIABLES = ("intensity", *COMPANIONS, "mask", *AXES)
RESERVED = {"name", *VARIABLES}
"""Names of arguments of make_volume, under which a foreign file may have attributes of its own."""

CODED = {"scale_factor", "add_offset", "missing_value", "_Unsigned", "units"}
"""Attributes that a variable has in the file and not any more when xarray has decoded it with them."""


def recognises(file: h5py.File) -> bool:
    """True for files with an intensity and its three axes in the root."""
    return all(key in file for key in ("intensity", *AXES))


def _is_data(file: h5py.File, key: str) -> bool:
    """Whether it is a variable, and no dimension, group or dangling link."""
    return isinstance(file.get(key), h5py.Dataset) and not file[key].is_scale


def read(file: h5py.File) -> xr.Dataset:
    """The volume in a netCDF file that `write`, or any program with the same names, wrote.

    Raises:
        VolumeError: dimensions other than h, k, l, or values that `make_volume` refuses.
    """
    name = file.filename
    present = [key for key in VARIABLES if hdf5.has(file, key)]
    for key in present:
        variable = hdf5.real_dataset(file, key, hdf5.WHOLE if key in AXES else hdf5.IN_SLABS)
        hdf5.check_miller_indices(variable, file)
        # h5netcdf would give them the names of any others.
        if key not in AXES and not all(len(dimension) for dimension in variable.dims):
            raise VolumeError(
                f"{name}: the dimensions of '{key}' have no names.",
                "netCDF names the dimensions of every variable.",
                f"Write the file again with xarray or netCDF4, with the dimensions {AXES}.",
            )
    # A coordinate is loaded as soon as xarray opens the file, however large, and whatever it is for.
    others = [key for key in file if key not in (*VARIABLES, *UNMEASURED_WHERE_ZERO)]
    with xr.open_dataset(name, engine="h5netcdf", drop_variables=others, cache=False) as opened:
        # A plane that xarray took out of a volume has the third index as one number.
        if missing := [axis for axis in AXES if axis not in opened.variables]:
            raise VolumeError(
                f"{name}: axis {missing[0]} has no values.",
                "Numbers of voxels alone do not say where these are.",
                "Give the volume the coordinates h, k and l, in r.l.u.",
            )
        axes = {axis: np.atleast_1d(opened[axis].values) for axis in AXES}
        variables = {key: opened[key].variable for key in present if key not in AXES}
        weights = {key: opened[key].variable for key in UNMEASURED_WHERE_ZERO if key in opened}
        attributes = {str(key): value for key, value in opened.attrs.items() if key not in RESERVED}
    values: dict[str, Any] = {key: _stored(file, key, array, others) for key, array in variables.items()}
    for key, weight in weights.items():
        if set(weight.dims) == set(variables["intensity"].dims):
            stored = _stored(file, key, weight, others)
            values["intensity"] = hdf5.measured(values["intensity"], stored, f"{name}: {key}")
        else:
            others.append(key)
    if "lattice" in attributes and np.size(attributes["lattice"]) == 6:
        attributes["lattice"] = usable_lattice(attributes["lattice"])
    volume = make_volume(name=name, **axes | values | attributes)
    volume.encoding["ignored"] = ", ".join(sorted(key for key in others if _is_data(file, key)))
    return hdf5.with_order(volume, tuple(map(str, variables["intensity"].dims)))


def _stored(file: h5py.File, key: str, variable: xr.Variable, others: list[str]) -> Stored:
    """A variable over h, k, l, to be read part by part; as xarray decodes it (slower) if need be."""
    name = file.filename
    order = _order(variable, key, name)
    if CODED.isdisjoint(variable.encoding) and np.isnan(variable.encoding.get("_FillValue", np.nan)):
        return hdf5.stored_numbers(file, key, planes=True).turned(order)
    others = [*others, *(other for other in VARIABLES if other != key)]

    def read(path: Path, place: Place) -> np.ndarray:
        with xr.open_dataset(path, engine="h5netcdf", drop_variables=others, cache=False) as opened:
            inside = place[: variable.ndim]
            return np.asarray(opened[key].variable[inside].values).reshape(
                *(len(range(size)[part]) for size, part in zip(shape, place, strict=True))
            )

    shape = (*variable.shape, 1)[:3]
    part = hdf5.reopened(name, read, f"{name}: '{key}'")
    return Stored(part, shape, variable.dtype).turned(order)


def _order(variable: xr.Variable, key: str, name: str) -> list[int]:
    """The dimensions of a variable that run along h, k, l; the last one is that of a plane's third index."""
    dims = [str(dim) for dim in variable.dims]
    if len(dims) == 2:
        dims += [axis for axis in AXES if axis not in dims][:1]
    if sorted(dims) != list(AXES):
        raise VolumeError(
            f"{name}: {key} has the dimensions {variable.dims}.",
            f"They must be {AXES}, in any order.",
            "Write the file again with these names.",
        )
    return [dims.index(axis) for axis in AXES]


def write(volume: xr.Dataset, path: Path) -> None:
    """Write netCDF-4 with all variables and attributes; arrays over h, k, l go slab by slab."""
    arrays = {str(key): array for key, array in volume.data_vars.items() if array.dims == AXES}
    volume.drop_vars(list(arrays)).to_netcdf(path, engine="h5netcdf")
    with h5netcdf.File(path, "a") as file:
        for key, array in arrays.items():
            # As xarray would: netCDF has no booleans, and a missing number is NaN.
            masks = array.dtype == bool
            fill = np.nan if array.dtype.kind == "f" else None
            made = file.create_variable(key, AXES, "i1" if masks else array.dtype, fillvalue=fill)
            made.attrs.update(array.attrs | ({"dtype": "bool"} if masks else {}))
        for place, part in slabs(volume, COPYING):
            for key in arrays:
                file[key][place] = part[key].values
