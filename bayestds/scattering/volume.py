"""A measured or simulated scattering volume: one ``xarray.Dataset``, built and checked by functions.

Its arrays may lie in a file that is larger than the memory: they are then read slab by slab.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayestds.crystal.axes import GridAxes
from bayestds.errors import VolumeError
from bayestds.scattering.slabs import AXES, COPYING, Place, Stored, shifted, slab_bytes, slabs

# ArrayLike alone refuses lists and tuples where annotations are checked at run time.
Numbers = ArrayLike | Sequence[Any] | Stored
COMPANIONS = ("sigma", "counts", "transmission")
SMALL = 4
"""A volume is in memory as a whole if a slab could take so many of it."""

UNIFORMITY = 1e-3
"""Largest deviation of an axis step from the mean step, relative; wide enough for float32 axes."""


def make_volume(
    h: Numbers,
    k: Numbers,
    l: Numbers,  # noqa: E741  the crystallographer's name of the third Miller index
    intensity: Numbers,
    *,
    sigma: Numbers | None = None,
    counts: Numbers | None = None,
    transmission: Numbers | None = None,
    mask: Numbers | None = None,
    lattice: Numbers | None = None,
    temperature: float | int | None = None,
    directions: Numbers | None = None,
    name: str = "volume",
    **attrs: Any,
) -> xr.Dataset:
    """Build a scattering volume and check it.

    Args:
        h, k, l: axes, (n_h,), (n_k,), (n_l,), in reciprocal lattice units of the conventional cell;
            uniform and strictly increasing.
        intensity: (n_h, n_k, n_l); NaN where nothing was measured. Negative values, as background
            subtraction leaves them, are kept. This and what follows may be :class:`Stored`: values are then
            neither read nor checked here.
        sigma: standard error of the intensity, same shape and unit.
        counts: counts behind every voxel, same shape.
        transmission: known factor that the intensity and its error still contain, same shape, positive:
            absorption, flat field, solid angle.
        mask: same shape, True where a voxel is excluded.
        lattice: a, b, c in Å and alpha, beta, gamma in degrees, of the conventional cell.
        temperature: K.
        directions: (3, 3), a row of h, k, l for each axis, where these do not run along h, k and l: a voxel
            is at (coordinates on the axes) @ directions.
        name: what error messages call the volume, such as the file it came from.
        attrs: further attributes, text or numbers: `intensity_units` ("arbitrary" unless given),
            `configurations` (simulated from that many), `noise`, `source`, `title`.

    Returns:
        `intensity`, `sigma`, `counts`, `transmission` (float32 if they came as such, else float64), `mask`
        (bool) over `h`, `k`, `l`; all but the first if given.

    Raises:
        VolumeError: anything that is not as described above.
    """
    axes = {axis: _axis(values, axis, name) for axis, values in zip(AXES, (h, k, l), strict=True)}
    shape = tuple(values.size for values in axes.values())
    numbers = {"intensity": intensity, "sigma": sigma, "counts": counts, "transmission": transmission}
    arrays = _arrays(numbers | {"mask": mask}, shape, name)
    given = {"lattice": lattice, "temperature": temperature, **_directions(directions, name), **attrs}
    attributes = {key: _plain(value) for key, value in given.items() if value is not None}
    dataset = xr.Dataset(
        {key: v.variable() if isinstance(v, Stored) else (AXES, v) for key, v in arrays.items()},
        coords={axis: (axis, values, {"units": "r.l.u."}) for axis, values in axes.items()},
        attrs={"intensity_units": "arbitrary"} | attributes,
    )
    dataset.encoding["source"] = name
    _check_form(dataset, name)
    if not any(isinstance(values, Stored) for values in arrays.values()):
        _check_values(dataset, name)
    return dataset


def _directions(values: Numbers | None, name: str) -> dict[str, np.ndarray]:
    """Directions of the axes as nine numbers, as files keep them; nothing where they are h, k and l."""
    if values is None:
        return {}
    array = np.asarray(values, dtype=float)
    if array.size != 9 or not np.isfinite(array).all() or abs(np.linalg.det(direction_matrix(array))) < 1e-9:
        raise VolumeError(
            f"{name}: the directions of the axes are {array.tolist()}.",
            "Three independent directions in h, k and l are expected.",
            "Correct the directions of the axes.",
        )
    matrix = direction_matrix(array)
    return {} if np.array_equal(matrix, np.eye(3)) else {"directions": matrix.ravel()}


def _arrays(
    given: dict[str, Numbers | None], shape: tuple[int, ...], name: str
) -> dict[str, np.ndarray | Stored]:
    """The arrays of a volume of this shape, of the types that they should have."""
    arrays = {
        key: _booleans(array, name) if key == "mask" else _numbers(array, key, name)
        for key, array in given.items()
        if array is not None
    }
    return {key: _of_shape(array, shape, key, name) for key, array in arrays.items()}


def check_volume(dataset: xr.Dataset, name: str = "volume") -> None:
    """Raise VolumeError, calling the volume `name`, unless `dataset` is as `make_volume` describes.

    All its values are read once, slab by slab.
    """
    _check_form(dataset, name)
    _check_values(dataset, name)


def settled(volume: xr.Dataset) -> xr.Dataset:
    """A volume of Stored arrays ready for use: checked, and in memory where it is small beside a slab.

    Raises:
        VolumeError: values are not as `make_volume` describes them, or cannot be read.
    """
    if SMALL * volume.nbytes <= slab_bytes(volume):
        volume.load()
    _check_values(volume, volume.encoding["source"])
    return volume


def _check_form(dataset: xr.Dataset, name: str) -> None:
    """Refuse what is wrong whatever the values are."""
    if "intensity" not in dataset:
        raise VolumeError(
            f"{name}: it has no variable 'intensity'.",
            f"Its variables are {sorted(map(str, dataset.variables))}.",
            "Build volumes with bayestds.scattering.volume.make_volume.",
        )
    for key in ("intensity", *COMPANIONS, "mask"):
        if key in dataset:
            _check_layout(dataset[key], ("bool",) if key == "mask" else ("float64", "float32"), name)
    for axis in AXES:
        _check_axis(dataset, axis, name)
    _check_attributes(dataset.attrs, name)


def volume_axes(volume: xr.Dataset) -> GridAxes:
    """Where the voxels of a volume, or of a part of it, are."""
    h, k, l_ = (np.asarray(volume[axis].values) for axis in AXES)
    directions = volume.attrs.get("directions")
    return GridAxes((h, k, l_)) if directions is None else GridAxes((h, k, l_), direction_matrix(directions))


def direction_matrix(directions: Any) -> np.ndarray:
    """The attribute `directions` of a volume, nine numbers, as a matrix (3, 3)."""
    return np.array(directions, dtype=float).reshape(3, 3)


def _axis(values: Numbers, axis: str, name: str) -> np.ndarray:
    array = np.asarray(_numbers(values, axis, name))
    if array.ndim != 1:
        raise VolumeError(
            f"{name}: axis {axis} has {array.ndim} dimensions.",
            "An axis is a list of bin centres.",
            "Give a one-dimensional array.",
        )
    return array


def _numbers(values: Numbers, key: str, name: str) -> np.ndarray | Stored:
    """An array of float64, or float32 as it came; complex numbers and text are refused rather than cast."""
    array = values if isinstance(values, Stored) else np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise VolumeError(
            f"{name}: {key} holds values of type {array.dtype}.",
            "Real numbers are expected.",
            f"Store {key} as float64.",
        )
    kind = np.float32 if array.dtype == np.float32 else np.float64
    if isinstance(array, Stored):
        return array.combined(lambda part: part.astype(kind), dtype=kind)
    return array.astype(kind)


def _booleans(values: Numbers, name: str) -> np.ndarray | Stored:
    array = values if isinstance(values, Stored) else np.asarray(values)

    def checked(part: np.ndarray) -> np.ndarray:
        if part.dtype.kind not in "biuf" or not np.isin(part, (0, 1)).all():
            raise VolumeError(
                f"{name}: the mask holds something else than True and False.",
                "True marks an excluded voxel.",
                "Store the mask as booleans.",
            )
        return part.astype(bool)

    return array.combined(checked, dtype=bool) if isinstance(array, Stored) else checked(array)


def _of_shape(array: np.ndarray | Stored, shape: tuple[int, ...], key: str, name: str) -> np.ndarray | Stored:
    if array.shape != shape:
        raise VolumeError(
            f"{name}: {key} has shape {array.shape}, the axes h, k, l ask for {shape}.",
            "There must be one value for every (h, k, l), in that order.",
            "Check the lengths of the axes and the order of the dimensions.",
        )
    return array


def _plain(value: Any) -> Any:
    """Attributes as Python objects, so that they compare and serialise alike from every source."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _check_layout(array: xr.DataArray, dtypes: tuple[str, ...], name: str) -> None:
    if array.dims != AXES or array.dtype not in dtypes:
        raise VolumeError(
            f"{name}: {array.name} has dimensions {array.dims} and type {array.dtype}.",
            f"Dimensions {AXES} and type {' or '.join(dtypes)} are expected.",
            "Build volumes with bayestds.scattering.volume.make_volume.",
        )


def _check_axis(dataset: xr.Dataset, axis: str, name: str) -> None:
    if axis not in dataset.coords:
        raise VolumeError(
            f"{name}: axis {axis} has no values.", "Every axis needs them.", "Give its bin centres, in r.l.u."
        )
    values = np.asarray(dataset[axis].values)
    if values.size == 0 or not np.isfinite(values).all():
        raise VolumeError(
            f"{name}: axis {axis} is empty or not finite.",
            "An axis holds at least one finite value, in r.l.u.",
            f"Repair axis {axis} in the source of the volume.",
        )
    if values.size == 1:
        return
    steps = np.diff(values)
    if not (steps > 0).all():
        first = int(np.argmin(steps > 0))
        raise VolumeError(
            f"{name}: axis {axis} does not increase from {values[first]:g} to {values[first + 1]:g}.",
            "Axes must be strictly increasing.",
            f"Sort the volume along {axis}.",
        )
    mean = (values[-1] - values[0]) / steps.size
    worst = int(np.argmax(np.abs(steps - mean)))
    if abs(steps[worst] - mean) > UNIFORMITY * mean:
        raise VolumeError(
            f"{name}: axis {axis} is not uniform: after {values[worst]:g} the step is {steps[worst]:g}.",
            f"Axes must be uniformly spaced; the mean step is {mean:g}.",
            "Rebin the volume on a uniform grid.",
        )


def _check_values(dataset: xr.Dataset, name: str) -> None:
    """Refuse values that are wrong: infinite intensities, none at all, companions that contradict them.

    Companions must be finite and not negative, the transmission positive, where the intensity is used.
    """
    keys = [key for key in COMPANIONS if key in dataset]
    found, measured = {key: Bad() for key in ("intensity", *keys)}, 0
    for place, part in slabs(dataset, COPYING):
        intensity = part["intensity"].values
        used = ~np.isnan(intensity)
        measured += used.sum()
        found["intensity"].add(np.isinf(intensity), intensity, place)
        if "mask" in part:
            used &= ~part["mask"].values
        for key in keys:
            values = part[key].values
            right = (values > 0) if key == "transmission" else (values >= 0)
            found[key].add(used & ~(np.isfinite(values) & right), values, place)
    infinite = found["intensity"]
    if infinite.count:
        raise VolumeError(
            f"{name}: {infinite.count} intensities are infinite, the first at index {infinite.first}.",
            "Intensities are finite, or NaN where nothing was measured.",
            "Replace them by NaN.",
        )
    if not measured:
        raise VolumeError(
            f"{name}: every intensity is NaN.",
            "NaN means unmeasured: this volume holds no data.",
            "Check how the volume was reduced or masked.",
        )
    for key in keys:
        if (bad := found[key]).count:
            raise VolumeError(
                f"{name}: {key} is {bad.value:g} at index {bad.first}, and bad at {bad.count} voxels.",
                f"Where the intensity is measured, {key} must be finite and "
                f"{'positive' if key == 'transmission' else 'not negative'}.",
                "Mask these voxels or set their intensity to NaN.",
            )


@dataclass
class Bad:
    """Voxels that something is wrong with, slab by slab: how many, the first index, and its value."""

    count: int = 0
    first: tuple[int, ...] = ()
    value: float = math.nan

    def add(self, flags: np.ndarray, values: np.ndarray, place: Place) -> None:
        """Those that are flagged in a slab of values at a place."""
        if not flags.any():
            return
        index = np.unravel_index(int(np.argmax(flags)), flags.shape)
        first = shifted(index, place)
        if not self.count or first < self.first:
            self.first, self.value = first, float(values[index])
        self.count += int(flags.sum())


def _check_attributes(attrs: dict[Any, Any], name: str) -> None:
    attrs = {key: _plain(value) for key, value in attrs.items()}
    for key, value in attrs.items():
        entries = value if isinstance(value, tuple) else (value,)
        if not (isinstance(value, str) or all(_is_number(entry) for entry in entries)):
            raise VolumeError(
                f"{name}: attribute '{key}' is {value!r}.",
                "An attribute must be text, a number or a flat sequence of numbers to fit into a file.",
                f"Turn '{key}' into text, or leave it out.",
            )
    if "lattice" in attrs:
        _check_lattice(attrs["lattice"], name)
    temperature = attrs.get("temperature", 1.0)
    if not (_is_number(temperature) and math.isfinite(temperature) and temperature > 0):
        raise VolumeError(
            f"{name}: the temperature is {temperature!r}.",
            "It must be a positive number.",
            "Give the temperature in K.",
        )
    if attrs.get("statistics", "classical") not in ("classical", "quantum"):
        raise VolumeError(
            f"{name}: statistics is {attrs['statistics']!r}.",
            "Displacements in a simulated volume are classical or quantum.",
            "Give one of the two, or leave it out for measured data.",
        )
    configurations = attrs.get("configurations", 1)
    if not (isinstance(configurations, int) and configurations > 0):
        raise VolumeError(
            f"{name}: configurations is {configurations!r}.",
            "It counts the configurations that a simulated volume was averaged over.",
            "Give a positive integer, or leave it out for measured data.",
        )


def _check_lattice(lattice: Any, name: str) -> None:
    def refuse(reason: str) -> VolumeError:
        return VolumeError(
            f"{name}: the lattice {lattice!r} cannot be used.",
            reason,
            "Give a, b, c in Å and alpha, beta, gamma in degrees of the conventional cell.",
        )

    if not (isinstance(lattice, tuple) and len(lattice) == 6 and all(map(_is_number, lattice))):
        raise refuse("Six numbers are expected.")
    if not all(math.isfinite(value) and value > 0 for value in lattice) or max(lattice[3:]) >= 180:
        raise refuse("Lengths must be positive and angles between 0 and 180 degrees.")
    ca, cb, cg = (math.cos(math.radians(angle)) for angle in lattice[3:])
    # (V / abc)², zero but for rounding where the cell is flat.
    if 1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg < 1e-9:
        raise refuse("These three angles do not close a cell: its volume is not positive.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
