"""Reading HDF5 with errors that a user can act on; shared by all formats, which are HDF5 underneath."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the compression filters of detectors, such as bitshuffle, with HDF5
import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.memory import too_much
from bayestds.scattering.slabs import AXES, COPYING, Place, Stored, slabs

EXTRAS = "bayestds"
"""Group for what a format has no place for; readers of that format ignore it."""

WHOLE = 24
"""Bytes of a number that is read at once: from the file, as float64, and checked."""

IN_SLABS = 6
"""Bytes that remain of a voxel of a volume that is read in slabs: its irreducible point, and two flags."""

UNMEASURED_WHERE_ZERO = ("weight", "num_events", "contributions")
"""Datasets that say how much was measured of each voxel of an intensity that is normalised already."""

LENGTH = r"(å|a|ang|angs|angstroms?|ångströms?|nm|nanomet(er|re)s?|m)"
INVERSE_LENGTH = re.compile(
    rf"{LENGTH}(\^|\*\*)?(-1|⁻¹)|(1|2pi|2π|2\*pi)/{LENGTH}|(inverse|inv\.?|reciprocal)_?{LENGTH}"
)
"""Units, lower case and without blanks, of axes that are no Miller indices."""


@contextmanager
def open_for_reading(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The open HDF5 file; VolumeError if it is missing, a folder, empty, not HDF5 or damaged."""
    path = Path(path)
    if not path.exists():
        raise VolumeError(
            f"{path}: there is no such file.", "A volume is expected.", "Check the name and the folder."
        )
    if path.is_dir():
        raise VolumeError(f"{path}: this is a folder.", "A file is expected.", "Name a file inside it.")
    if path.stat().st_size == 0:
        raise VolumeError(f"{path}: the file is empty.", "It has zero bytes.", "Copy or write it again.")
    try:
        if not h5py.is_hdf5(path):
            raise VolumeError(
                f"{path}: this is neither an HDF5 file nor a list of voxels.",
                "Supported are NeXus, Mantid, DISCUS, BINoculars, Yell, rspace3d and netCDF-4, which are "
                "HDF5 underneath, and text with the columns h k l I [sigma].",
                "Convert the data to one of them.",
            )
        file = h5py.File(path, "r")
    except OSError as error:
        raise VolumeError(
            f"{path}: the file cannot be opened.",
            f"HDF5 says: {error}.",
            "It may be truncated, or you may not read it: check the permissions and copy it again.",
        ) from error
    with file:
        yield file


def has(group: h5py.Group, name: str) -> bool:
    """Whether a group has a member `name`, even if it is a link that leads nowhere."""
    return group.get(name, getlink=True) is not None


def find(group: h5py.Group, name: str) -> Any:
    """Member `name` of a group, links followed; None if there is none, VolumeError if a link dangles."""
    link = group.get(name, getlink=True)
    if link is None:
        return None
    try:
        return group[name]
    except (KeyError, OSError, RuntimeError) as error:
        target = getattr(link, "path", "?")
        if isinstance(link, h5py.ExternalLink):
            target = f"{target} in file {link.filename}"
        raise VolumeError(
            f"{group.file.filename}: '{name}' in {group.name} is a link that leads nowhere.",
            f"It points to {target}.",
            "Put the file it points to beside this one, or copy the data into one file.",
        ) from error


def required(group: h5py.Group, name: str) -> Any:
    """Member `name` of a group; VolumeError if it is missing."""
    member = find(group, name)
    if member is None:
        raise VolumeError(
            f"{group.file.filename}: '{name}' is missing in {group.name}.",
            f"Found there: {', '.join(sorted(group)) or 'nothing'}.",
            "Write the file again with all its datasets.",
        )
    return member


def subgroup(group: h5py.Group, name: str) -> h5py.Group:
    """Member `name` of a group, itself a group; VolumeError if it is missing or a dataset."""
    member = required(group, name)
    if not isinstance(member, h5py.Group):
        raise VolumeError(
            f"{group.file.filename}: '{name}' in {group.name} is a dataset.",
            "A group is expected.",
            "Write the file again in its format.",
        )
    return member


def numbers(group: h5py.Group, name: str) -> np.ndarray:
    """Dataset `name` as a float64 array.

    Raises:
        VolumeError: it is missing, no dataset, not real, too large for this computer, or unreadable.
    """
    dataset = real_dataset(group, name)
    try:
        return np.asarray(dataset[()], dtype=np.float64)
    except OSError as error:
        raise VolumeError(
            f"{group.file.filename}: '{name}' in {group.name} cannot be read.",
            f"HDF5 says: {error}.",
            "The file may be damaged, or compressed by a filter without a plugin: rewrite it without.",
        ) from error


def stored_numbers(group: h5py.Group, name: str, planes: bool = False) -> Stored:
    """Dataset `name` of a volume, to be read part by part as float32 if it is that, else as float64.

    Args:
        group: it is in.
        name: of the dataset.
        planes: whether two dimensions are a plane, which becomes a volume of one layer.

    Raises:
        VolumeError: it is missing, no dataset, not real, or too large for this computer; also whenever a part
            is read, see `reopened`.
    """
    dataset = real_dataset(group, name, IN_SLABS)
    single = dataset.dtype.kind == "f" and dataset.dtype.itemsize == 4
    kind, member = np.dtype(np.float32 if single else np.float64), dataset.name
    plane = planes and dataset.ndim == 2

    def read(path: Path, place: Place) -> np.ndarray:
        with h5py.File(path, "r") as file:
            if plane:
                return np.asarray(file[member][place[:2]], dtype=kind)[:, :, None][:, :, place[2]]
            return np.asarray(file[member][place], dtype=kind)

    where = f"{group.file.filename}: '{name}' in {group.name}"
    shape = (*dataset.shape, 1) if plane else dataset.shape
    return Stored(reopened(dataset.file.filename, read, where), shape, kind)


def ratio(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums over weights; NaN where there are none."""
    return np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)


def measured(intensity: Stored, weight: Stored, what: str) -> Stored:
    """The intensity, NaN where the weight is zero."""
    if weight.shape != intensity.shape:
        raise VolumeError(
            f"{what} has the shape {weight.shape}, the intensity {intensity.shape}.",
            "It says for every voxel how much of it was measured.",
            "Write the file again.",
        )
    return intensity.combined(lambda part, share: np.where(share == 0, np.nan, part), weight)


def reopened(
    filename: str, read: Callable[[Path, Place], np.ndarray], where: str
) -> Callable[[Place], np.ndarray]:
    """What reads a part of an array from a file, which may have come to harm since it was first opened.

    Args:
        filename: of the file.
        read: opens it and reads the part at a place.
        where: what error messages call the array.

    Raises (when a part is read):
        VolumeError: the part is unreadable, or the file was changed or removed since.
    """
    path = Path(filename).absolute()
    state = _state(path)

    def careful(place: Place) -> np.ndarray:
        if _state(path) != state:
            raise VolumeError(
                f"{where}: the file was changed while it was in use.",
                "A large volume is read from its file part by part, when it is needed.",
                "Start again, and write to other files meanwhile.",
            )
        try:
            return read(path, place)
        # HDF5 and netCDF promise no set of exceptions for files whose inner structure is broken.
        except Exception as error:
            raise VolumeError(
                f"{where} cannot be read.",
                f"HDF5 says: {error}.",
                "The file may be damaged, or compressed by a filter without a plugin: rewrite it without.",
            ) from error

    return careful


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written again; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def real_dataset(group: h5py.Group, name: str, bytes_a_number: int = WHOLE) -> h5py.Dataset:
    """Dataset `name`, of real numbers that fit into memory at so many bytes each; VolumeError otherwise."""
    dataset = required(group, name)
    where = f"{group.file.filename}: '{name}' in {group.name}"
    found = f"of type {dataset.dtype}" if isinstance(dataset, h5py.Dataset) else "not a dataset"
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf" or dataset.shape is None:
        raise VolumeError(f"{where} is {found}.", "Real numbers are expected.", "Store float64 values.")
    _check_readable(dataset, bytes_a_number)
    return dataset


def _check_readable(dataset: h5py.Dataset, bytes_a_number: int) -> None:
    """Refuse, before anything is allocated, what HDF5 would not refuse itself.

    A file of some kilobytes may declare any dimensions: chunks that were never written take no space. A
    virtual dataset without the files that it is made of reads as zeros.

    Raises:
        VolumeError: a dataset does not fit into memory, or files that it is made of are missing.
    """
    if reason := too_much(bytes_a_number * dataset.size):
        raise VolumeError(
            f"{dataset.file.filename}: {dataset.name} has the dimensions {dataset.shape}.",
            reason,
            "Rebin the volume or cut it down, or use a computer with more memory.",
        )
    folder = Path(dataset.file.filename).parent
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        if source.file_name != "." and not _holds(folder / source.file_name, source.dset_name):
            raise VolumeError(
                f"{dataset.file.filename}: {dataset.name} is put together from other files.",
                f"{source.file_name} is not there.",
                "Put these files beside this one, or copy the data into one file.",
            )


def _holds(path: Path, dataset: str) -> bool:
    """Whether a file is there, and a dataset in it; True for a pattern that stands for many files."""
    if "%" in path.name or "%" in dataset:
        return True
    if not path.exists():
        return False
    with h5py.File(path, "r") as file:
        return dataset in file


def declared_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes of all datasets of a file, whether they were ever written or not.

    Raises:
        OSError: the file is missing, or no HDF5.
    """
    sizes = []

    def add(_: str, member: Any) -> None:
        if isinstance(member, h5py.Dataset):
            sizes.append((member.size or 0) * member.dtype.itemsize)

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return sum(sizes)


def check_miller_indices(axis: Any, group: h5py.Group) -> None:
    """VolumeError if an axis says that its unit is an inverse length; no unit, or any other, will do."""
    units = text(axis.attrs.get("units")) if isinstance(axis, h5py.Dataset) else None
    if units and INVERSE_LENGTH.fullmatch(re.sub(r"\s", "", units.lower().replace("^{-1}", "^-1"))):
        raise VolumeError(
            f"{group.file.filename}: the axis {axis.name} is in '{units}'.",
            "Axes are Miller indices, in reciprocal lattice units of the conventional cell.",
            "Convert the axes to r.l.u., or correct their attribute 'units'.",
        )


def with_order(volume: xr.Dataset, order: Sequence[str]) -> xr.Dataset:
    """The volume, which remembers in which order its file had the axes; for people, not for computing."""
    volume.encoding["order"] = " ".join(order)
    return volume


def vector(group: h5py.Group, name: str, size: int) -> np.ndarray:
    """Dataset `name` as `size` float64 numbers, whatever its dimensions; VolumeError otherwise."""
    values = numbers(group, name).ravel()
    if values.size != size:
        raise VolumeError(
            f"{group.file.filename}: '{name}' in {group.name} holds {values.size} numbers.",
            f"{size} are expected.",
            f"Correct '{name}' in the file.",
        )
    return values


def text(value: Any) -> str | None:
    """Text of an attribute, or of a dataset's content; None if it is no text."""
    if isinstance(value, h5py.Dataset):
        value = value[()] if value.shape in ((), (1,)) else None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    # Fortran pads text with blanks, C with zeros.
    return value.rstrip("\0 ") if isinstance(value, str) else None


def write_array(
    group: h5py.Group,
    name: str,
    volume: xr.Dataset,
    values: str | Callable[[xr.Dataset], np.ndarray],
    transposed: bool = False,
) -> h5py.Dataset:
    """Write an array of a volume slab by slab.

    Args:
        group: it goes there.
        name: of the new dataset.
        volume: the source.
        values: name of the variable, or what makes the array of a slab.
        transposed: whether the dimensions are to be l, k, h.
    """
    order = (2, 1, 0) if transposed else (0, 1, 2)
    shape = [volume.sizes[AXES[axis]] for axis in order]
    for place, part in slabs(volume, COPYING):
        array = part[values].values if isinstance(values, str) else values(part)
        if name not in group:
            group.create_dataset(name, shape, array.dtype)
        group[name][tuple(place[axis] for axis in order)] = array.transpose(order)
    return group[name]


def write_extras(
    parent: h5py.Group, dataset: xr.Dataset, variables: tuple[str, ...], known: set[str]
) -> None:
    """Keep in a group `bayestds` these variables and the attributes that are not `known` to the format."""
    attributes = {str(key): value for key, value in dataset.attrs.items() if key not in known}
    present = [key for key in variables if key in dataset]
    if attributes or present:
        group = parent.create_group(EXTRAS)
        group.attrs["NX_class"] = "NXcollection"
        group.attrs.update(attributes)
        for key in present:
            write_array(group, key, dataset, key)


def read_extras(parent: h5py.Group, variables: tuple[str, ...]) -> dict[str, Any]:
    """What `write_extras` kept, as keyword arguments of `make_volume`; arrays to be read part by part."""
    group = find(parent, EXTRAS)
    if not isinstance(group, h5py.Group):
        return {}
    arrays: dict[str, Any] = {key: stored_numbers(group, key) for key in variables if has(group, key)}
    for key, array in arrays.items():
        if array.ndim != 3:
            raise VolumeError(
                f"{group.file.filename}: '{key}' in {group.name} has {array.ndim} dimensions.",
                "A volume has three: h, k, l.",
                "Write the file again.",
            )
    return arrays | {key: value for key, value in group.attrs.items() if key != "NX_class"}
