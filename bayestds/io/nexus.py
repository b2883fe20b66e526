"""NeXus files as NXrefine writes them: NXdata with the axes Ql, Qk, Qh, in that order of dimensions.

Layout: https://github.com/nexpy/nxrefine, src/nxrefine/nxreduce.py. The data are links into other files.
A per-rotation transform (entries f1, f2, ...) is a sum and has a member `weights`: the intensity is
data / weights. The combined transform (entry `entry`) is normalised and has none; the symmetrised one
has `data_weights`, a window for Fourier transforms, which is no part of the intensity.

nxs-analysis-tools and CHESS (https://github.com/stevenjgomez/nxs_analysis_tools, datareduction.py) have an
NXdata `data` with the axes H, K, L, and an intensity that is called `counts` although it is scaled. In old
files the signal and its axes are named by attributes of the dataset itself.
"""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.scattering.slabs import AXES, Stored
from bayestds.scattering.volume import make_volume

CELL = ("a", "b", "c", "alpha", "beta", "gamma")
LENGTH = ("angstrom", "angstroms", "å", "a")
ANGLE = ("degree", "degrees", "deg", "°")
KELVIN = ("K", "kelvin")
LABELS = {"qh": "h", "qk": "k", "ql": "l", "h": "h", "k": "k", "l": "l"}
COMBINED = "/entry/transform"
EXTRA_VARIABLES = ("transmission",)
DATASETS = {"intensity": "data", "sigma": "data_errors", "counts": "counts", "mask": "mask"}
"""Names that we write; the intensity may have any other in files that we read."""


def recognises(file: h5py.File) -> bool:
    """True for files with an NXentry in the root."""
    return bool(_members(file, "NXentry"))


def read(file: h5py.File) -> xr.Dataset:
    """The volume in the file's default NXdata, in its only one over h, k, l, or in its combined transform.

    The temperature and the cell come from the NXsample of the same entry. `<signal>_errors` or `errors`
    are standard errors; weights are not.

    Raises:
        VolumeError: no or several such NXdata, dangling links, missing or inconsistent datasets.
    """
    entry, data = _choose(file)
    name = f"{file.filename}: {data.name}"
    labels = _labels(data)
    signal = _signal(data)
    if signal is None:
        raise VolumeError(f"{name} has no attribute 'signal'.", "It names the intensity.", "Add it.")

    names = {"intensity": signal, "sigma": f"{signal}_errors", "counts": "counts", "mask": "mask"}
    if not hdf5.has(data, names["sigma"]):
        names["sigma"] = "errors"
    present = {
        key: dataset
        for key, dataset in names.items()
        if key == "intensity" or (hdf5.has(data, dataset) and dataset != signal)
    }
    arrays = {key: _array(data, dataset, labels) for key, dataset in present.items()}
    if hdf5.has(data, "weights"):
        _normalise(arrays, _array(data, "weights", labels), name)

    attributes: dict[str, Any] = _sample(entry) | {
        "title": hdf5.text(hdf5.find(entry, "title")),
        "intensity_units": hdf5.text(data[signal].attrs.get("units")),
    }
    axes = {axis: _axis(data, labels[axis]) for axis in AXES}
    extras = hdf5.read_extras(entry, EXTRA_VARIABLES)
    volume = make_volume(name=name, **axes | arrays | attributes | extras)
    return hdf5.with_order(volume, tuple(labels))


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
        data.attrs.update({"signal": "data", "axes": [f"Q{axis}" for axis in reversed(AXES)]})
        for axis in AXES:
            data[f"Q{axis}"] = volume[axis].values
            data[f"Q{axis}"].attrs.update({"long_name": f"{axis.upper()} (r.l.u.)", "units": "r.l.u."})
        for variable, key in DATASETS.items():
            if variable in volume:
                hdf5.write_array(data, key, volume, variable, transposed=True)
        data["data"].attrs["units"] = attributes.get("intensity_units", "arbitrary")
        known = {"title", "temperature", "lattice", "intensity_units"}
        hdf5.write_extras(entry, volume, EXTRA_VARIABLES, known)


def _choose(file: h5py.File) -> tuple[h5py.Group, h5py.Group]:
    """The entry and the NXdata to read."""
    found = {
        data.name: (entry, data)
        for entry in _members(file, "NXentry")
        for data in _members(entry, "NXdata")
        if _labels(data)
    }
    default = _default(file)
    for path in (default, COMBINED):
        if path in found:
            return found[path]
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise VolumeError(
            f"{file.filename}: it holds several volumes: {', '.join(found)}.",
            "None is the default.",
            "Name one in the attribute 'default' of the root and of its NXentry.",
        )
    raise _no_volume(file)


def _no_volume(file: h5py.File) -> VolumeError:
    """The reason why no NXdata qualifies, which may be a broken link."""
    groups = []
    for entry in _members(file, "NXentry"):
        for key in entry:
            hdf5.find(entry, key)
        groups += [f"{data.name} with axes {_axis_names(data)}" for data in _members(entry, "NXdata")]
    return VolumeError(
        f"{file.filename}: no NXdata has the three axes h, k, l.",
        f"Found: {'; '.join(groups) or 'no NXdata'}.",
        "Name the axes Qh, Qk, Ql (or h, k, l) in its attribute 'axes', in order of dimensions.",
    )


def _default(file: h5py.File) -> str | None:
    """Path of the NXdata that the `default` attributes of the root and of its entry lead to."""
    group: Any = file
    for _ in ("entry", "data"):
        key = hdf5.text(group.attrs.get("default"))
        group = hdf5.find(group, key) if key else None
        if not isinstance(group, h5py.Group):
            return None
    return str(group.name)


def _members(parent: h5py.Group, nx_class: str) -> list[h5py.Group]:
    """Groups of a NeXus class in `parent`; broken links are passed over, as they may not be needed."""
    groups = []
    for key in parent:
        try:
            member = hdf5.find(parent, key)
        except VolumeError:
            continue
        if isinstance(member, h5py.Group) and hdf5.text(member.attrs.get("NX_class")) == nx_class:
            groups.append(member)
    return groups


def _signal(data: h5py.Group) -> str | None:
    """Name of the intensity: the attribute `signal` or, in old files, the dataset whose `signal` is 1."""
    if "signal" in data.attrs:
        return hdf5.text(data.attrs["signal"])
    for key in data:
        member = data.get(key) if isinstance(data.get(key, getlink=True), h5py.HardLink) else None
        if isinstance(member, h5py.Dataset) and str(member.attrs.get("signal")) in ("1", "b'1'"):
            return str(key)
    return None


def _axis(data: h5py.Group, label: str) -> np.ndarray:
    """Bin centres of an axis, which must not be an inverse length."""
    hdf5.check_miller_indices(hdf5.find(data, label), data)
    return hdf5.numbers(data, label)


def _axis_names(data: h5py.Group) -> list[str]:
    """The attribute `axes`, of the group or its signal: names or, in old files, one text with separators."""
    axes = data.attrs.get("axes", ())
    signal = None if "axes" in data.attrs else _signal(data)
    if signal is not None and isinstance(data.get(signal), h5py.Dataset):
        axes = data[signal].attrs.get("axes", ())
    joined = hdf5.text(axes)
    if joined is not None:
        return re.split(r"[:,\s]+", joined.strip("[] "))
    return [hdf5.text(name) or "" for name in np.ravel(axes)]


def _labels(data: h5py.Group) -> dict[str, str]:
    """Dataset name of the axes h, k, l, in order of dimensions; empty unless these are the axes."""
    names = _axis_names(data)
    labels = {LABELS.get(name.lower(), ""): name for name in names}
    return labels if len(names) == 3 and set(labels) == set(AXES) else {}


def _array(data: h5py.Group, key: str, labels: dict[str, str]) -> Stored:
    """Dataset `key` with its dimensions in the order h, k, l."""
    values = hdf5.stored_numbers(data, key)
    if values.ndim != 3:
        raise VolumeError(
            f"{data.file.filename}: '{key}' in {data.name} has {values.ndim} dimensions.",
            "A volume has three, one for every axis.",
            "Store a single plane with an axis of length 1.",
        )
    dimensions = list(labels)
    return values.turned([dimensions.index(axis) for axis in AXES])


def _normalise(arrays: dict[str, Stored], weights: Stored, name: str) -> None:
    """Divide sums, and their errors, by the weights; without weight a voxel is unmeasured."""
    for key in ("intensity", "sigma"):
        if key in arrays:
            values = arrays[key]
            if weights.shape != values.shape:
                raise VolumeError(
                    f"{name}: weights have the shape {weights.shape}, {key} {values.shape}, as (h, k, l).",
                    "The intensity is their ratio.",
                    "Transform the data again.",
                )
            arrays[key] = values.combined(hdf5.ratio, weights)


def _sample(entry: h5py.Group) -> dict[str, Any]:
    """Lattice and temperature, as far as the entry has an NXsample that tells them."""
    samples = _members(entry, "NXsample")
    if not samples:
        return {}
    sample = samples[0]
    attributes: dict[str, Any] = {"lattice": _lattice(sample)}
    if hdf5.has(sample, "temperature"):
        _check_units(sample, "temperature", KELVIN)
        attributes["temperature"] = hdf5.vector(sample, "temperature", 1)[0]
    return attributes


def _lattice(sample: h5py.Group) -> np.ndarray | None:
    """The cell from NXrefine's six datasets, or from the one or two of the NeXus definition NXsample."""
    if any(hdf5.has(sample, f"unitcell_{parameter}") for parameter in CELL):
        for number, parameter in enumerate(CELL):
            _check_units(sample, f"unitcell_{parameter}", LENGTH if number < 3 else ANGLE)
        return np.concatenate([hdf5.vector(sample, f"unitcell_{parameter}", 1) for parameter in CELL])
    if hdf5.has(sample, "unit_cell"):
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
