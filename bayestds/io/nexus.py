"""NeXus files: NXdata over h, k and l, in an NXentry or deeper.

- NXrefine (https://github.com/nexpy/nxrefine, src/nxrefine/nxreduce.py): NXdata with the axes Ql, Qk, Qh, in
  that order of dimensions; the data are links into other files. A per-rotation transform (entries f1, f2,
  ...) is a sum and has a member `weights`: the intensity is data / weights. The combined transform (entry
  `entry`) is normalised and has none; the symmetrised one has `data_weights`, a window for Fourier
  transforms, which is no part of the intensity. Since May 2026 results may lie in an NXsubentry.
- nxs-analysis-tools and CHESS (https://github.com/stevenjgomez/nxs_analysis_tools, datareduction.py): NXdata
  `data` with the axes H, K, L, and an intensity that is called `counts` although it is scaled.
- Diamond's msmapper (https://github.com/DawnScience/scisoft-core, MillerSpaceMapper.java) and ParProcCo,
  which adds such files up (https://github.com/DiamondLightSource/ParProcCo): processed/reciprocal_space with
  h-axis, k-axis, l-axis, the normalised `volume` and its `weight`, zero where nothing was measured. The cell
  is in the entry of the scan, which is linked beside it.
- The layout "Disorder scattering 1.0" that the authors of Yell and DISCUS propose: scattering/data with
  `unit_cell`.
- In old files the signal and its axes are named by attributes of the dataset itself.

Axes may be named by their directions, such as [H,H,0], and hold the centres of the bins or their n + 1 edges.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from bayestds.crystal.axes import axis_names
from bayestds.errors import VolumeError
from bayestds.io import hdf5, nexus_groups
from bayestds.io.nexus_groups import Candidate
from bayestds.io.stated import temperature_in_title, usable_lattice
from bayestds.scattering.reindex import from_centres
from bayestds.scattering.slabs import AXES, Stored
from bayestds.scattering.volume import make_volume, volume_axes

CELL = ("a", "b", "c", "alpha", "beta", "gamma")
LENGTH = ("angstrom", "angstroms", "å", "a")
ANGLE = ("degree", "degrees", "deg", "°")
KELVIN = ("K", "kelvin")
EXTRA_VARIABLES = ("transmission",)
DATASETS = {"intensity": "data", "sigma": "data_errors", "counts": "counts", "mask": "mask"}
"""Names that we write; the intensity may have any other in files that we read."""


def recognises(file: h5py.File) -> bool:
    """True for files with an NXentry in the root."""
    return bool(nexus_groups.entries_of(file))


def read(file: h5py.File, path: str | None = None) -> xr.Dataset:
    """A volume of a file: the one at a path, its default, or its only one.

    The temperature and the cell come from the nearest NXsample that tells them. `<signal>_errors` or `errors`
    are standard errors; weights are not.

    Args:
        file: the file.
        path: of the NXdata, or of a group that holds one.

    Raises:
        VolumeError: no or several such NXdata, dangling links, missing or inconsistent datasets.
    """
    chosen, paths = nexus_groups.choose(file, path)
    data, signal = chosen.data, chosen.signal
    name = f"{file.filename}: {chosen.path}"
    if signal is None:
        raise VolumeError(f"{name} has no attribute 'signal'.", "It names the intensity.", "Add it.")
    if hdf5.text(data.attrs.get("space")) == "direct":
        raise VolumeError(
            f"{name}: this is a map of direct space (its attribute 'space').",
            "Thermal diffuse scattering is a map of reciprocal space.",
            "Give the scattering volume that the map was computed from.",
        )
    arrays = _arrays(data, signal, chosen.is_plane, name)
    notes: list[str] = []
    centres = _centres(chosen, arrays["intensity"].shape, notes)
    extras: dict[str, Any] = {}
    for entry in reversed(chosen.entries):
        extras |= hdf5.read_extras(entry, EXTRA_VARIABLES)
    # They are kept in the order of our axes, which is that of the file backwards.
    arrays |= {key: extras.pop(key).turned((2, 1, 0)) for key in EXTRA_VARIABLES if key in extras}
    placed, order = from_centres(centres, chosen.directions, arrays, name)
    attributes: dict[str, Any] = _sample(chosen, file, notes) | {
        "title": _title(chosen),
        "intensity_units": hdf5.text(data[signal].attrs.get("units")),
    }
    volume = hdf5.with_order(make_volume(name=name, **placed | attributes | extras), order)
    if len(paths) > 1:
        notes.insert(0, f"the file holds {len(paths)} volumes: {', '.join(paths)}. This is {chosen.path}.")
    volume.encoding |= {"notes": notes, "path": chosen.path, "candidates": paths}
    return volume


def write(volume: xr.Dataset, path: Path) -> None:
    """Write a combined, normalised transform; what NeXus has no place for goes to `bayestds`."""
    attributes = volume.attrs
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "transform"
        if "title" in attributes:
            entry["title"] = attributes["title"]
        sample = _group(entry, "sample", "NXsample")
        if "temperature" in attributes:
            sample["temperature"] = attributes["temperature"]
            sample["temperature"].attrs["units"] = "K"
        for parameter, value in zip(CELL, attributes.get("lattice", ()), strict=False):
            sample[f"unitcell_{parameter}"] = value

        data = _group(entry, "transform", "NXdata")
        along = volume_axes(volume)
        names = axis_names(along.directions)
        labels = [f"Q{axis}" if along.along_hkl else name for axis, name in zip(AXES, names, strict=True)]
        data.attrs.update({"signal": "data", "axes": labels[::-1]})
        for axis, label, name in zip(AXES, labels, names, strict=True):
            data[label] = volume[axis].values
            data[label].attrs.update({"long_name": f"{name.upper()} (r.l.u.)", "units": "r.l.u."})
        for variable, key in DATASETS.items():
            if variable in volume:
                hdf5.write_array(data, key, volume, variable, transposed=True)
        data["data"].attrs["units"] = attributes.get("intensity_units", "arbitrary")
        known = {"title", "temperature", "lattice", "intensity_units", "directions"}
        hdf5.write_extras(entry, volume, EXTRA_VARIABLES, known)


def _title(chosen: Candidate) -> str | None:
    """Title of the data, or of the nearest entry that has one."""
    titles = (hdf5.text(hdf5.find(group, "title")) for group in (*chosen.entries, chosen.data))
    return next((title for title in titles if title), None)


def _centres(chosen: Candidate, shape: tuple[int, ...], notes: list[str]) -> list[np.ndarray]:
    """Bin centres of the axes, which must not be inverse lengths; from edges where all of them are such."""
    data, axes = chosen.data, []
    for label in chosen.axes:
        hdf5.check_miller_indices(hdf5.find(data, label), data)
        values = hdf5.numbers(data, label)
        axes.append(values.reshape(1) if values.size == 1 else values)
    edges = [values.shape == (size + 1,) for values, size in zip(axes, shape, strict=True)]
    # A plane has its third index as one number.
    if all(edges) or (chosen.is_plane and edges == [True, True, False]):
        notes.append("the axes have one value more than there are voxels: these are taken as edges of bins.")
        axes = [
            np.asarray((values[:-1] + values[1:]) / 2) if edge else values
            for values, edge in zip(axes, edges, strict=True)
        ]
    for label, values, size in zip(chosen.axes, axes, shape, strict=True):
        if values.shape != (size,):
            raise VolumeError(
                f"{data.file.filename}: the axis {label} in {data.name} has the shape {values.shape}.",
                f"Along it there are {size} voxels: so many centres of bins are expected or, on all axes, "
                "one edge more.",
                "Check the order of the dimensions in the attribute 'axes'.",
            )
    return axes


def _arrays(data: h5py.Group, signal: str, is_plane: bool, name: str) -> dict[str, Stored]:
    """Intensity and what goes with it, with the dimensions of the file."""

    def array(key: str) -> Stored:
        return _array(data, key, is_plane)

    # nexusformat names errors and masks in attributes of the array.
    said = hdf5.required(data, signal).attrs
    names = {"intensity": signal, "sigma": f"{signal}_errors", "counts": "counts"}
    if not hdf5.has(data, names["sigma"]):
        names["sigma"] = hdf5.text(said.get("uncertainties")) or "errors"
    arrays = {
        key: array(dataset)
        for key, dataset in names.items()
        if key == "intensity" or (hdf5.has(data, dataset) and dataset != signal)
    }
    if hdf5.has(data, "weights"):
        _normalise(arrays, array("weights"), name)
    for key in hdf5.UNMEASURED_WHERE_ZERO:
        if hdf5.has(data, key) and key != signal:
            arrays["intensity"] = hdf5.measured(arrays["intensity"], array(key), f"{name}: {key}")
    masks = [name for name in (hdf5.text(said.get("mask")), f"{signal}_mask", "mask") if name]
    found = [name for name in masks if hdf5.has(data, name) and name != signal]
    if found:
        arrays["mask"] = array(found[0]).combined(lambda part: part != 0, dtype=bool)
    return arrays


def _array(data: h5py.Group, key: str, is_plane: bool) -> Stored:
    """A dataset of three dimensions, or of two where the volume is a plane."""
    values = hdf5.stored_numbers(data, key, planes=is_plane)
    if values.ndim != 3:
        raise VolumeError(
            f"{data.file.filename}: '{key}' in {data.name} has {values.ndim} dimensions.",
            "A volume has three, one for every axis.",
            "Store a volume, or a single plane.",
        )
    return values


def _normalise(arrays: dict[str, Stored], weights: Stored, name: str) -> None:
    """Divide sums, and their errors, by the weights; without weight a voxel is unmeasured."""
    for key in ("intensity", "sigma"):
        if key in arrays:
            values = arrays[key]
            if weights.shape != values.shape:
                raise VolumeError(
                    f"{name}: weights have the shape {weights.shape}, {key} {values.shape}.",
                    "The intensity is their ratio.",
                    "Transform the data again.",
                )
            arrays[key] = values.combined(hdf5.ratio, weights)


def _sample(chosen: Candidate, file: h5py.File, notes: list[str]) -> dict[str, Any]:
    """Lattice and temperature, each from the data or the nearest sample that tells it."""
    found: dict[str, Any] = {}
    if hdf5.has(chosen.data, "unit_cell"):
        found["lattice"] = usable_lattice(hdf5.vector(chosen.data, "unit_cell", 6))
    near, far = nexus_groups.samples(chosen, file)
    for sample in (*near, *far):
        if found.get("lattice") is None:
            found["lattice"] = usable_lattice(_lattice(sample))
    for sample in near:
        if "temperature" not in found and (temperature := _temperature(sample, notes)) is not None:
            found["temperature"] = temperature
    # That of another entry may be of another measurement.
    if "temperature" not in found and len(far) == 1 and temperature_in_title(_title(chosen) or "") is None:
        temperature = _temperature(far[0], notes)
        if temperature is not None:
            found["temperature"] = temperature
            notes.append(f"the temperature of {temperature:g} K is that of {far[0].name}.")
    return found


def _temperature(sample: h5py.Group, notes: list[str]) -> float | None:
    """The temperature of a sample: a number, or the mean of a log."""
    if not hdf5.has(sample, "temperature"):
        return None
    log = hdf5.find(sample, "temperature")
    if not isinstance(log, h5py.Group):
        _check_units(sample, "temperature", KELVIN)
        return float(hdf5.vector(sample, "temperature", 1)[0])
    key = next((one for one in ("average_value", "value") if hdf5.has(log, one)), None)
    if key is None:
        return None
    _check_units(log, key, KELVIN)
    values = hdf5.numbers(log, key)
    if not values.size:
        return None
    if np.ptp(values) > 0:
        notes.append(f"the temperature is the mean of a log, from {values.min():g} to {values.max():g} K.")
    return float(values.mean())


def _lattice(sample: h5py.Group) -> np.ndarray | None:
    """The cell from NXrefine's six datasets, or from the one or two of the NeXus definition NXsample."""
    if any(hdf5.has(sample, f"unitcell_{parameter}") for parameter in CELL):
        for number, parameter in enumerate(CELL):
            _check_units(sample, f"unitcell_{parameter}", LENGTH if number < 3 else ANGLE)
        return np.concatenate([hdf5.vector(sample, f"unitcell_{parameter}", 1) for parameter in CELL])
    if hdf5.has(sample, "unit_cell"):
        # Six numbers have two units, of which files name one or none.
        _check_units(sample, "unit_cell", (*LENGTH, *ANGLE, "angstrom, degree", ""))
        return hdf5.vector(sample, "unit_cell", 6)
    if hdf5.has(sample, "unit_cell_abc"):
        keys = {"unit_cell_abc": LENGTH, "unit_cell_alphabetagamma": ANGLE}
        for key, units in keys.items():
            _check_units(sample, key, units)
        return np.concatenate([hdf5.vector(sample, key, 3) for key in keys])
    return None


def _check_units(sample: h5py.Group, key: str, expected: tuple[str, ...]) -> None:
    """VolumeError if a dataset states another unit; where it states none, the expected one is meant."""
    units = hdf5.text(hdf5.required(sample, key).attrs.get("units")) or expected[0]
    if units.lower() not in map(str.lower, expected):
        raise VolumeError(
            f"{sample.file.filename}: {sample.name}/{key} is in '{units}'.",
            f"'{expected[0]}' is expected.",
            "Convert it, or correct its attribute 'units'.",
        )


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group
