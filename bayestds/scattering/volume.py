"""A measured or simulated scattering volume: one ``xarray.Dataset``, built and checked by functions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayestds.errors import VolumeError

# ArrayLike alone refuses lists and tuples where annotations are checked at run time.
Numbers = ArrayLike | Sequence[Any]
AXES = ("h", "k", "l")
COMPANIONS = ("sigma", "counts", "transmission")
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
    name: str = "volume",
    **attrs: Any,
) -> xr.Dataset:
    """Build a scattering volume and check it.

    Args:
        h, k, l: axes, (n_h,), (n_k,), (n_l,), in reciprocal lattice units of the conventional cell;
            uniform and strictly increasing.
        intensity: (n_h, n_k, n_l); NaN where nothing was measured. Negative values, as background
            subtraction leaves them, are kept.
        sigma: standard error of the intensity, same shape and unit.
        counts: counts behind every voxel, same shape.
        transmission: known factor that the intensity and its error still contain, same shape, positive:
            absorption, flat field, solid angle.
        mask: same shape, True where a voxel is excluded.
        lattice: a, b, c in Å and alpha, beta, gamma in degrees, of the conventional cell.
        temperature: K.
        name: what error messages call the volume, such as the file it came from.
        attrs: further attributes, text or numbers: `intensity_units` ("arbitrary" unless given),
            `configurations` (simulated from that many), `noise`, `source`, `title`.

    Returns:
        `intensity`, `sigma`, `counts`, `transmission` (float64), `mask` (bool) over `h`, `k`, `l`; all but
        the first if given.

    Raises:
        VolumeError: anything that is not as described above.
    """
    axes = {axis: _axis(values, axis, name) for axis, values in zip(AXES, (h, k, l), strict=True)}
    shape = tuple(values.size for values in axes.values())
    numbers = {"intensity": intensity, "sigma": sigma, "counts": counts, "transmission": transmission}
    arrays = {
        key: _of_shape(_numbers(array, key, name), shape, key, name)
        for key, array in numbers.items()
        if array is not None
    }
    if mask is not None:
        arrays["mask"] = _of_shape(_booleans(mask, name), shape, "mask", name)

    given = {"lattice": lattice, "temperature": temperature} | attrs
    attributes = {key: _plain(value) for key, value in given.items() if value is not None}
    dataset = xr.Dataset(
        {key: (AXES, values) for key, values in arrays.items()},
        coords={axis: (axis, values, {"units": "r.l.u."}) for axis, values in axes.items()},
        attrs={"intensity_units": "arbitrary"} | attributes,
    )
    check_volume(dataset, name)
    return dataset


def check_volume(dataset: xr.Dataset, name: str = "volume") -> None:
    """Raise VolumeError, calling the volume `name`, unless `dataset` is as `make_volume` describes."""
    if "intensity" not in dataset:
        raise VolumeError(
            f"{name}: it has no variable 'intensity'.",
            f"Its variables are {sorted(map(str, dataset.variables))}.",
            "Build volumes with bayestds.scattering.volume.make_volume.",
        )
    for key in ("intensity", *COMPANIONS, "mask"):
        if key in dataset:
            _check_layout(dataset[key], "bool" if key == "mask" else "float64", name)
    for axis in AXES:
        _check_axis(dataset, axis, name)
    _check_intensity(dataset, name)
    for key in COMPANIONS:
        if key in dataset:
            _check_companion(dataset, key, name)
    _check_attributes(dataset.attrs, name)


def spacing(axis: np.ndarray) -> float:
    """Mean step of an axis (n_points,); 1 for a single point, which has none of its own."""
    return float(axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else 1.0


def _axis(values: Numbers, axis: str, name: str) -> np.ndarray:
    array = _numbers(values, axis, name)
    if array.ndim != 1:
        raise VolumeError(
            f"{name}: axis {axis} has {array.ndim} dimensions.",
            "An axis is a list of bin centres.",
            "Give a one-dimensional array.",
        )
    return array


def _numbers(values: Numbers, key: str, name: str) -> np.ndarray:
    """A float64 array; complex numbers and text are refused rather than cast."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise VolumeError(
            f"{name}: {key} holds values of type {array.dtype}.",
            "Real numbers are expected.",
            f"Store {key} as float64.",
        )
    return array.astype(np.float64)


def _booleans(values: Numbers, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise VolumeError(
            f"{name}: the mask holds something else than True and False.",
            "True marks an excluded voxel.",
            "Store the mask as booleans.",
        )
    return array.astype(bool)


def _of_shape(array: np.ndarray, shape: tuple[int, ...], key: str, name: str) -> np.ndarray:
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


def _check_layout(array: xr.DataArray, dtype: str, name: str) -> None:
    if array.dims != AXES or array.dtype != dtype:
        raise VolumeError(
            f"{name}: {array.name} has dimensions {array.dims} and type {array.dtype}.",
            f"Dimensions {AXES} and type {dtype} are expected.",
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


def _check_intensity(dataset: xr.Dataset, name: str) -> None:
    intensity = dataset["intensity"].values
    infinite = np.isinf(intensity)
    if infinite.any():
        raise VolumeError(
            f"{name}: {infinite.sum()} intensities are infinite, the first at index {_first(infinite)}.",
            "Intensities are finite, or NaN where nothing was measured.",
            "Replace them by NaN.",
        )
    if np.isnan(intensity).all():
        raise VolumeError(
            f"{name}: every intensity is NaN.",
            "NaN means unmeasured: this volume holds no data.",
            "Check how the volume was reduced or masked.",
        )


def _check_companion(dataset: xr.Dataset, key: str, name: str) -> None:
    """Companions must be finite and not negative, the transmission positive, where the intensity is used."""
    used = ~np.isnan(dataset["intensity"].values)
    if "mask" in dataset:
        used &= ~dataset["mask"].values
    values = dataset[key].values
    positive = key == "transmission"
    bad = used & ~(np.isfinite(values) & ((values > 0) if positive else (values >= 0)))
    if bad.any():
        first = _first(bad)
        raise VolumeError(
            f"{name}: {key} is {values[first]:g} at index {first}, and bad at {bad.sum()} voxels.",
            f"Where the intensity is measured, {key} must be finite and "
            f"{'positive' if positive else 'not negative'}.",
            "Mask these voxels or set their intensity to NaN.",
        )


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


def _first(flags: np.ndarray) -> tuple[int, ...]:
    """Index (i_h, i_k, i_l) of the first True."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(flags)), flags.shape))
