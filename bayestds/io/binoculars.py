"""BINoculars, and programs that write its layout: counts on a grid, and how many pixels gave them.

Layout: https://github.com/id03/binoculars (binoculars/space.py), a group `binoculars` or the root with
- axes/NAME = [dimension, min, max, resolution, imin, imax]: the centres are i * resolution for i = imin ...
  imax;
- counts, contributions: the intensity is their ratio, and there is none without contributions;
- variances, of the counts, in newer files.

Diamond's fast_rsm (https://github.com/DiamondLightSource/fast_rsm, diamond_utils.py) writes the same with
counts that are normalised already and contributions of 0 or 1; its imin is rounded down, so that the centres
are taken from `min`, as it does itself.
"""

import h5py
import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.io.directions import letter_of
from bayestds.scattering.reindex import from_centres
from bayestds.scattering.slabs import Stored
from bayestds.scattering.volume import AXES, make_volume

GROUP = "binoculars"


def recognises(file: h5py.File) -> bool:
    """True for files with axes, counts and contributions."""
    group = _group(file)
    return all(hdf5.has(group, key) for key in ("axes", "counts", "contributions"))


def read(file: h5py.File) -> xr.Dataset:
    """The volume in a file of BINoculars or fast_rsm.

    Raises:
        VolumeError: other axes than h, k and l, missing or inconsistent datasets.
    """
    group = _group(file)
    counts, contributions = (hdf5.stored_numbers(group, key) for key in ("counts", "contributions"))
    arrays = {"intensity": counts.combined(hdf5.ratio, _alike(contributions, counts, file, "contributions"))}
    if hdf5.has(group, "variances"):
        variances = _alike(hdf5.stored_numbers(group, "variances"), counts, file, "variances")
        if variances.count(lambda part: part > 0):
            arrays["sigma"] = variances.combined(
                lambda variance, n: hdf5.ratio(np.sqrt(np.maximum(variance, 0)), n), contributions
            )
    axes = _axes(group, counts.shape)
    directions = np.array([[float(letter_of(name) == axis) for axis in AXES] for name, _ in axes])
    placed, order = from_centres([centres for _, centres in axes], directions, arrays, file.filename)
    return hdf5.with_order(make_volume(name=file.filename, **placed), order)


def _group(file: h5py.File) -> h5py.Group:
    inner = hdf5.find(file, GROUP)
    return inner if isinstance(inner, h5py.Group) else file


def _alike(array: Stored, like: Stored, file: h5py.File, key: str) -> Stored:
    if array.shape != like.shape:
        raise VolumeError(
            f"{file.filename}: {key} has the shape {array.shape}, the counts {like.shape}.",
            "There must be one value for every voxel.",
            "Write the file again.",
        )
    return array


def _axes(group: h5py.Group, shape: tuple[int, ...]) -> list[tuple[str, np.ndarray]]:
    """Name and centres of the axis of each dimension."""
    folder = hdf5.subgroup(group, "axes")
    described = {name: hdf5.vector(folder, name, 6) for name in folder}
    wrong = [name for name in described if letter_of(name) is None]
    if wrong or len(described) != 3 or len(shape) != 3:
        raise VolumeError(
            f"{group.file.filename}: it has {len(shape)} dimensions, its axes are {', '.join(described)}.",
            "The three axes H, K, L are expected.",
            "Bin the data in h, k, l with the projection 'hklprojection'.",
        )
    found: list[tuple[str, np.ndarray]] = []
    for name, (_, first, _, step, low, high) in sorted(described.items(), key=lambda item: item[1][0]):
        size = round(high) - round(low) + 1
        if size != shape[len(found)] or not step > 0:
            raise VolumeError(
                f"{group.file.filename}: the axis {name} has {size} values in steps of {step:g}.",
                f"The counts have {shape[len(found)]} along it, and the step must be positive.",
                "Write the file again.",
            )
        found.append((name, first + step * np.arange(size)))
    return found
