"""Volumes inside a page: compact numbers that a browser turns into planes."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps

from bayestds.crystal.axes import axis_names
from bayestds.scattering.volume import AXES, volume_axes

LARGEST_BYTES = 5_000_000
"""Of all volumes of a page together; base 64 makes them a third longer, so that a page stays below 8 MB."""

NONE = 65535
"""Code of a value that there is not."""

FIELDS = {"observed": "log_intensity", "fitted": "fitted", "residual": "residual"}

UNITS = {
    "observed": "ln I (arbitrary units)",
    "fitted": "ln I (arbitrary units)",
    "residual": "residual of ln I",
}


@dataclass(frozen=True, eq=False)
class Slices:
    """A volume for a page.

    Attributes:
        payload: what the script of the page reads; JSON.
        stride: every so many planes along each axis are there.
        n_bytes: of its numbers before base 64.
    """

    payload: dict[str, Any]
    stride: int
    n_bytes: int


def volume_slices(observed: xr.Dataset, largest: int = LARGEST_BYTES) -> Slices:
    """A volume as codes: which point each voxel is, and the values of each point in steps of 16 bits.

    Equivalent voxels share their point, so nothing is said twice. Where the whole would be too large, planes
    are left out evenly; none is averaged, so a value that is shown is one that was fitted.

    Args:
        observed: the group `observed_data` of a result or of one of its volumes.
        largest: bytes that the numbers may take.
    """
    stride = 0
    while True:
        stride += 1
        kept = {axis: _kept(observed[axis].values, stride) for axis in AXES}
        points = observed["point_of_voxel"].values[np.ix_(*kept.values())]
        if 2 * points.size > largest and max(points.shape) > 1:
            continue  # too large whatever its points are, and sorting them would take long
        used, place = np.unique(points, return_inverse=True)
        place = place.reshape(points.shape) - int(used[0] < 0)
        used = used[used >= 0]
        wide = len(used) >= NONE
        n_bytes = place.size * (4 if wide else 2) + 2 * len(FIELDS) * len(used)
        if n_bytes <= largest or max(points.shape) == 1:
            break
    kind = "<u4" if wide else "<u2"
    unused = np.iinfo(kind).max
    payload = {
        "names": axis_names(volume_axes(observed).directions),
        "axes": [observed[axis].values[kept[axis]].tolist() for axis in AXES],
        "points": _text(np.where(place < 0, unused, place).astype(kind)),
        "wide": wide,
        "fields": _fields(observed, used),
    }
    return Slices(payload, stride, n_bytes)


def _kept(axis: np.ndarray, stride: int) -> np.ndarray:
    """Places of every so many values, one of them the nearest to zero."""
    return np.arange(int(np.abs(axis).argmin()) % stride, len(axis), stride)


def _fields(observed: xr.Dataset, used: np.ndarray) -> list[dict[str, Any]]:
    values = {name: np.asarray(observed[key].values)[used] for name, key in FIELDS.items()}
    both = np.concatenate([values["observed"], values["fitted"]])
    shared = _percentiles(both, 0.5, 99.5)
    reach = max(_percentiles(np.abs(values["residual"]), 0.0, 99.5)[1], 1e-12)
    limits = {"observed": shared, "fitted": shared, "residual": (-reach, reach)}
    return [
        {
            "name": name,
            "unit": UNITS[name],
            "colours": "RdBu_r" if name == "residual" else "viridis",
            "limits": limits[name],
            **quantised(array),
        }
        for name, array in values.items()
    ]


def _percentiles(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    found = np.percentile(finite, [low, high])
    return float(found[0]), float(found[1])


def quantised(values: np.ndarray) -> dict[str, Any]:
    """Values (n,) as `low` + code × `step`, codes of 16 bits in base 64; :data:`NONE` where not finite."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    step = (high - low) / (NONE - 1) or 1.0
    codes = np.where(np.isfinite(values), np.rint((values - low) / step), NONE)
    return {"low": low, "step": step, "codes": _text(codes.astype("<u2"))}


def colour_tables() -> dict[str, str]:
    """The 256 colours (r, g, b) of each map in base 64."""
    shades = np.linspace(0, 1, 256)
    return {
        name: _text((255 * colormaps[name](shades)[:, :3]).round().astype(np.uint8))
        for name in ("viridis", "RdBu_r")
    }


def _text(array: np.ndarray) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode()
