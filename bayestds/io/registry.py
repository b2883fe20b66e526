"""All volume formats: which one a file is in, reading it, and writing another."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import binoculars, discus, mdhisto, netcdf, nexus, rspace3d, text, yell
from bayestds.io.atomic import atomic_path
from bayestds.io.hdf5 import open_for_reading
from bayestds.io.stated import with_notes
from bayestds.scattering.slabs import SLAB_BYTES
from bayestds.scattering.volume import COMPANIONS, check_volume, settled


@dataclass(frozen=True)
class VolumeFormat:
    """One file format on HDF5: how it is recognised, read and, for some, written; and its suffixes."""

    recognises: Callable[[h5py.File], bool]
    read: Callable[[h5py.File], xr.Dataset]
    write: Callable[[xr.Dataset, Path], None] | None = None
    suffixes: tuple[str, ...] = ()


# The first that recognises a file reads it: those of special content before NeXus, which is a general one,
# and NeXus before BINoculars, whose group programs add to NeXus files.
FORMATS = {
    "mdhisto": VolumeFormat(mdhisto.recognises, mdhisto.read, mdhisto.write, (".md.nxs",)),
    "discus": VolumeFormat(discus.recognises, discus.read, discus.write, (".discus.h5",)),
    "nexus": VolumeFormat(nexus.recognises, nexus.read, nexus.write, (".nxs", ".nx.h5")),
    "binoculars": VolumeFormat(binoculars.recognises, binoculars.read),
    "yell": VolumeFormat(yell.recognises, yell.read, yell.write, (".h5", ".hdf5")),
    "rspace3d": VolumeFormat(rspace3d.recognises, rspace3d.read),
    "netcdf": VolumeFormat(netcdf.recognises, netcdf.read, netcdf.write, (".nc",)),
}
WRITTEN = {name: entry for name, entry in FORMATS.items() if entry.write is not None}


def read_volume(
    path: str | os.PathLike[str], slab_bytes: int = SLAB_BYTES, group: str | None = None
) -> xr.Dataset:
    """Read a scattering volume; the format is detected from the content, not from the suffix.

    A volume larger than a slab stays in its file, and is read from there slab by slab when it is needed: the
    file must be left alone meanwhile. Reading a whole variable (`volume["intensity"].values`) keeps it in
    memory, as with `xarray.open_dataset`. A list of voxels as text is read at once.

    Args:
        path: the file.
        slab_bytes: memory that working on one slab of the volume may take.
        group: path of the volume inside a NeXus file; by default the one that the file calls its default.

    Returns: The volume, as `bayestds.scattering.volume.make_volume` describes it. Its `encoding` says, for
        people, the `format` of the file, the `order` of the axes in it, the `candidates` that a NeXus file
        holds, `notes` on what it leaves out or cannot mean and, of netCDF, the variables `ignored`.

    Raises:
        VolumeError: the file is missing, damaged, of no known layout, or holds no valid volume.
    """
    if Path(path).is_file() and not h5py.is_hdf5(path) and text.recognises(Path(path)):
        _refuse_group(path, group, "text")
        volume = text.read(Path(path))
        volume.encoding |= {"format": "text", "order": "h k l", "slab_bytes": slab_bytes}
        return settled(with_notes(volume))
    with open_for_reading(path) as file:
        try:
            for name, volume_format in FORMATS.items():
                if volume_format.recognises(file):
                    if name == "nexus":
                        volume = nexus.read(file, group)
                    else:
                        _refuse_group(path, group, name)
                        volume = volume_format.read(file)
                    volume.encoding |= {"format": name, "slab_bytes": slab_bytes}
                    return settled(with_notes(volume))
            found = ", ".join(sorted(file)) or "nothing"
        except VolumeError:
            raise
        # HDF5 and netCDF promise no set of exceptions for files whose inner structure is broken.
        except Exception as error:
            raise VolumeError(
                f"{path}: the file cannot be understood.",
                f"{type(error).__name__}: {error}.",
                "It may be damaged, or written in a way its format does not allow: write it again.",
            ) from error
    raise VolumeError(
        f"{path}: this HDF5 file has an unknown layout.",
        f"Its root holds: {found}. Known formats: {', '.join(FORMATS)}.",
        "Convert the data to one of these formats, or list the voxels as text, h k l I [sigma].",
    )


def _refuse_group(path: str | os.PathLike[str], group: str | None, name: str) -> None:
    if group is not None:
        raise VolumeError(
            f"{path}: there is no choice of a volume '{group}' in it.",
            f"It is a file of the format {name}, which holds one volume.",
            "Leave the path inside the file out.",
        )


def write_volume(dataset: xr.Dataset, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write a scattering volume, whole or not at all.

    Args:
        dataset: the volume.
        path: the file; an existing one is replaced.
        format: "nexus", "mdhisto", "discus", "yell" or "netcdf"; without it the suffix decides: `.nxs` and
            `.nx.h5` for nexus, `.md.nxs` for mdhisto, `.discus.h5` for discus, `.h5` and `.hdf5` for yell,
            `.nc` for netcdf.

    Raises:
        VolumeError: the dataset is no valid volume, the format is unknown or has no place for one of its
            variables, or writing fails.
    """
    check_volume(dataset)
    name = format_name(path, format)
    strange = sorted({str(key) for key in dataset.data_vars} - {"intensity", *COMPANIONS, "mask"})
    if strange and name != "netcdf":
        raise VolumeError(
            f"Cannot write {path}: the volume has the variables {', '.join(strange)}.",
            f"The format {name} has no place for them.",
            "Drop them, or write netCDF.",
        )
    write = FORMATS[name].write
    assert write is not None
    with atomic_path(path, dataset.nbytes) as temporary:
        try:
            write(dataset, temporary)
        except VolumeError as error:
            raise VolumeError(f"Cannot write {path}: {error.summary}", error.reason, error.fix) from error
        except (OSError, RuntimeError) as error:
            raise VolumeError(
                f"Cannot write {path}.", f"{error}.", "Check the free space and the permissions there."
            ) from error


def format_name(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Name of the format that a file would be written in.

    Raises:
        VolumeError: the format is unknown, or the suffix selects none.
    """
    if format in WRITTEN:
        return format
    # The longest suffix wins: .nx.h5 is also .h5.
    suffixes = {suffix: name for name, entry in WRITTEN.items() for suffix in entry.suffixes}
    for suffix in sorted(suffixes, key=len, reverse=True):
        if format is None and str(path).lower().endswith(suffix):
            return suffixes[suffix]
    problem = "its suffix selects no format" if format is None else f"the format '{format}' is unknown"
    raise VolumeError(
        f"Cannot write {path}: {problem}.",
        "Suffixes: " + ", ".join(f"{suffix} ({name})" for suffix, name in suffixes.items()) + ".",
        f"Use one of them, or name the format: {', '.join(WRITTEN)}.",
    )
