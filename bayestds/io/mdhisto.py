"""Mantid's MDHistoWorkspace, as SaveMD (version 2) writes it.

Layout: https://github.com/mantidproject/mantid, Framework/MDAlgorithms/src/SaveMD2.cpp. In
MDHistoWorkspace/data lie signal[D2, D1, D0], errors_squared, num_events and mask, alike, and D0, D1, D2: bin
*edges*, whose `long_name` is the direction in hkl, such as [H,0,0], [0,-K,0] or [H,H,0] (MDNorm.cpp,
QDimensionName). Axes in other directions than h, k and l stay what they are, see `make_volume`.
The cell is in experiment0/sample/oriented_lattice (OrientedLattice.cpp).

Unmeasured are voxels without signal (NaN) and without events; voxels that Mantid masks are masked. The signal
is taken as it is, as Mantid's `visual_normalization` is only for display. Numbers of events are not read as
counts: the signal may be normalised, or its bins filled by symmetry. What Mantid has no place for
(temperature, counts, transmission) goes to the group `bayestds`.
"""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from ase.geometry import cellpar_to_cell

from bayestds.crystal.axes import direction_names, spacing
from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.io.directions import direction_of
from bayestds.io.stated import usable_lattice
from bayestds.scattering.reindex import from_centres
from bayestds.scattering.slabs import Stored
from bayestds.scattering.volume import AXES, make_volume, volume_axes

ROOT = "MDHistoWorkspace"
EVENTS = "MDEventWorkspace"
LATTICE = "experiment0/sample/oriented_lattice"
CELL = tuple(f"unit_cell_{parameter}" for parameter in ("a", "b", "c", "alpha", "beta", "gamma"))
DIMENSIONS = ("D0", "D1", "D2")
EXTRA_VARIABLES = ("counts", "transmission")
HKL = 3
"""Mantid's SpecialCoordinateSystem of Miller indices."""


def recognises(file: h5py.File) -> bool:
    """True for files that SaveMD wrote, of histograms or events."""
    return hdf5.has(file, ROOT) or hdf5.has(file, EVENTS)


def read(file: h5py.File) -> xr.Dataset:
    """The volume in a file of SaveMD, version 2.

    Raises:
        VolumeError: events instead of a histogram, other axes than h, k, l, centres instead of edges, missing
            or inconsistent datasets.
    """
    name = file.filename
    if not hdf5.has(file, ROOT):
        raise VolumeError(
            f"{name}: it holds the events of an MDEventWorkspace.",
            "A volume is a histogram of them.",
            "Bin them in Mantid, with MDNorm or BinMD, and save the result with SaveMD.",
        )
    workspace = hdf5.subgroup(file, ROOT)
    data = hdf5.subgroup(workspace, "data")
    dimensions = _dimensions(data)
    signal = hdf5.stored_numbers(data, "signal")
    _check_three(signal, dimensions, name)
    directions = [_direction(data, key) for key in dimensions]
    centres = [_centres(data, key, size) for key, size in zip(dimensions, signal.shape, strict=True)]
    extras = hdf5.read_extras(file, EXTRA_VARIABLES)
    arrays = _arrays(data, signal)
    arrays |= {key: extras.pop(key).turned((2, 1, 0)) for key in EXTRA_VARIABLES if key in extras}
    if hdf5.has(workspace, LATTICE):
        lattice = hdf5.subgroup(workspace, LATTICE)
        extras["lattice"] = usable_lattice(np.concatenate([hdf5.vector(lattice, key, 1) for key in CELL]))
    placed, order = from_centres(centres, directions, arrays, name)
    volume = hdf5.with_order(make_volume(name=name, **placed | extras), order)
    if hdf5.has(data, "num_events"):
        events = hdf5.stored_numbers(data, "num_events")
        volume.encoding["one_event_a_bin"] = not events.count(lambda part: part > 1)
    return volume


def write(volume: xr.Dataset, path: Path) -> None:
    """Write SaveMD's layout; standard errors that are not known are written as NaN."""
    with h5py.File(path, "w") as file:
        workspace = file.create_group(ROOT)
        workspace.attrs.update({"NX_class": "NXentry", "SaveMDVersion": 2})
        workspace["coordinate_system"] = np.array([HKL], dtype=np.uint32)
        workspace["visual_normalization"] = np.array([0], dtype=np.uint32)
        data = workspace.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        names = [name.upper() for name in direction_names(volume_axes(volume).directions)]
        for key, long_name, axis in zip(DIMENSIONS, names, AXES, strict=True):
            data[key] = _edges(volume[axis].values)
            data[key].attrs.update({"units": "r.l.u.", "long_name": long_name, "frame": "HKL"})
        arrays: dict[str, str | Callable[[xr.Dataset], np.ndarray]] = {
            "signal": "intensity",
            "errors_squared": _variance,
            "num_events": _measured,
            "mask": _masked,
        }
        for key, values in arrays.items():
            hdf5.write_array(data, key, volume, values, transposed=True)
        data["signal"].attrs.update({"signal": 1, "axes": "D2:D1:D0"})
        if "lattice" in volume.attrs:
            _write_lattice(workspace, volume.attrs["lattice"])
        hdf5.write_extras(file, volume, EXTRA_VARIABLES, known={"lattice", "directions"})


def _variance(part: xr.Dataset) -> np.ndarray:
    return part["sigma"].values ** 2 if "sigma" in part else np.full(part["intensity"].shape, np.nan)


def _measured(part: xr.Dataset) -> np.ndarray:
    return np.isfinite(part["intensity"].values).astype(float)


def _masked(part: xr.Dataset) -> np.ndarray:
    return (
        part["mask"].values.astype(np.int8) if "mask" in part else np.zeros(part["intensity"].shape, np.int8)
    )


def _dimensions(data: h5py.Group) -> list[str]:
    """Names of the bin edges, in the order of the dimensions of the signal."""
    axes = hdf5.text(hdf5.required(data, "signal").attrs.get("axes"))
    return axes.split(":") if axes else list(reversed(DIMENSIONS))


def _check_three(signal: Stored, dimensions: list[str], name: str) -> None:
    if signal.ndim != 3 or len(dimensions) != 3:
        raise VolumeError(
            f"{name}: the signal has {signal.ndim} dimensions and the axes {', '.join(dimensions)}.",
            "A volume has three: h, k, l.",
            "Bin the data in Mantid in these alone, integrated over all others such as the energy.",
        )


def _direction(data: h5py.Group, key: str) -> np.ndarray:
    """The hkl of an axis, read from its long_name."""
    axis = hdf5.required(data, key)
    name = hdf5.text(axis.attrs.get("long_name")) or ""
    frame = hdf5.text(axis.attrs.get("frame")) or ""
    if frame != "HKL":
        hdf5.check_miller_indices(axis, data)
    direction = None if frame in ("QSample", "QLab") else direction_of(name)
    if direction is None:
        raise VolumeError(
            f"{data.file.filename}: the axis {axis.name} is called '{name}', in the frame '{frame}'.",
            "Its direction in hkl is expected, such as [H,0,0].",
            "Bin the workspace in Miller indices (MDNorm, or ConvertToMD with Q3DFrames HKL) and save that.",
        )
    return direction


def _centres(data: h5py.Group, key: str, size: int) -> np.ndarray:
    edges = hdf5.numbers(data, key)
    if edges.shape != (size + 1,):
        guess = " Are these their centres?" if edges.shape == (size,) else ""
        raise VolumeError(
            f"{data.file.filename}: the axis {key} has {edges.size} values for {size} bins.{guess}",
            "Axes are the edges of the bins, one more than there are bins, and the signal has the dimensions "
            "D2, D1, D0.",
            "Save the workspace again with SaveMD, or store the edges.",
        )
    return np.asarray((edges[:-1] + edges[1:]) / 2)


def _edges(centres: np.ndarray) -> np.ndarray:
    step = spacing(centres)
    return np.append(centres - step / 2, centres[-1] + step / 2)


def _arrays(data: h5py.Group, signal: Stored) -> dict[str, Stored]:
    """Intensity, sigma and mask as they lie in the file; the last two only where they say something."""
    arrays = {"intensity": signal}
    if hdf5.has(data, "num_events"):
        events = _alike(data, "num_events", signal)
        arrays["intensity"] = signal.combined(lambda part, n: np.where(n == 0, np.nan, part), events)
    if hdf5.has(data, "mask"):
        masked = _alike(data, "mask", signal).combined(lambda part: part != 0, dtype=bool)
        arrays |= {"mask": masked} if masked.count(np.asarray) else {}
    if hdf5.has(data, "errors_squared"):
        variance = _alike(data, "errors_squared", signal)
        if n_bad := variance.count(lambda part: part < 0):
            raise VolumeError(
                f"{data.file.filename}: errors_squared is negative at {n_bad} voxels.",
                "It is the variance of the signal.",
                "Save the workspace again, or mask these voxels in it.",
            )
        arrays |= {"sigma": variance.combined(np.sqrt)} if variance.count(lambda part: part > 0) else {}
    return arrays


def _alike(data: h5py.Group, key: str, signal: Stored) -> Stored:
    """A dataset that has one value for every value of the signal."""
    array = hdf5.stored_numbers(data, key)
    if array.shape != signal.shape:
        raise VolumeError(
            f"{data.file.filename}: {key} has the shape {array.shape}, the signal {signal.shape}.",
            "There must be one value for every bin.",
            "Save the workspace again with SaveMD.",
        )
    return array


def _write_lattice(workspace: h5py.Group, lattice: tuple[float, ...]) -> None:
    group = workspace.create_group(LATTICE)
    classes = {"experiment0": "NXgroup", "experiment0/sample": "NXsample", LATTICE: "NXcrystal"}
    for key, nx_class in classes.items():
        workspace[key].attrs["NX_class"] = nx_class
    for key, value in zip(CELL, lattice, strict=True):
        group[key] = [value]
    # Mantid takes the cell from here; the orientation of the crystal is none that was measured.
    group["orientation_matrix"] = np.linalg.inv(cellpar_to_cell(lattice))
