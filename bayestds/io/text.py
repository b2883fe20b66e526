"""Lists of voxels as text: h k l I, or h k l I sigma, one voxel a line, in any order.

Programs write such lists with and without a header, with blanks, tabs, commas or semicolons between the
columns and with as many digits as they like. The voxels must lie on a uniform grid; those that are not listed
were not measured.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.memory import too_much
from bayestds.scattering.volume import AXES, make_volume

LOOKED_AT = 2**16
"""Bytes at the beginning of a file that show whether it is such a list."""

SPARSE = 1000
"""Largest number of places of the grid for each voxel that is listed."""

OFF = 0.1
"""Largest distance of a coordinate from the grid, in steps: digits that were left out."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)


def recognises(path: Path) -> bool:
    """True for text that has lines of four or five numbers."""
    return _first_row(path) is not None


def read(path: Path) -> xr.Dataset:
    """The volume in a list of voxels.

    Raises:
        VolumeError: lines of another kind, voxels that are listed twice, or off a uniform grid.
    """
    first = _first_row(path)
    assert first is not None
    line, columns, separator = first
    rows = _numbers(path, line, columns, separator)
    rows = rows[np.isfinite(rows[:, :3]).all(axis=1)]
    if not len(rows):
        raise VolumeError(
            f"{path}: it lists no voxel.", "Every line has an index that is NaN.", "Write it again."
        )
    along = [_axis(rows[:, i], name, path) for i, name in enumerate(AXES)]
    h, k, l_ = (axis for axis, _ in along)
    shape = (len(h), len(k), len(l_))
    n_voxels = int(np.prod([float(size) for size in shape]))
    if n_voxels > SPARSE * len(rows) or (reason := too_much(24 * n_voxels)):
        raise VolumeError(
            f"{path}: its {len(rows)} voxels are spread over a grid of {' x '.join(map(str, shape))}.",
            "They do not fill a uniform grid." if n_voxels > SPARSE * len(rows) else f"{reason}",
            "List the voxels of a grid with uniform steps along h, k and l.",
        )
    flat: np.ndarray = np.ravel_multi_index(tuple(place for _, place in along), shape)
    if len(np.unique(flat)) < len(flat):
        twice = rows[np.flatnonzero(np.bincount(flat)[flat] > 1)[0], :3]
        raise VolumeError(
            f"{path}: {len(flat) - len(np.unique(flat))} voxels are listed twice, such as {twice.tolist()}.",
            "A voxel has one intensity. Are these unmerged reflections?",
            "Average them, or remove all but one.",
        )
    arrays: dict[str, Any] = {}
    for key, column in zip(("intensity", "sigma")[: columns - 3], rows.T[3:], strict=True):
        values = np.full(n_voxels, np.nan)
        values[flat] = column
        arrays[key] = values.reshape(shape)
    return make_volume(h, k, l_, name=str(path), **arrays)


def _first_row(path: Path) -> tuple[int, int, str] | None:
    """Number of the first line of numbers, how many these are, and the separator; None for no such list."""
    with open(path, "rb") as file:
        start = file.read(LOOKED_AT)
    if b"\0" in start:
        return None
    for number, text in enumerate(start.decode("utf-8", errors="replace").splitlines()):
        separator = next((sign for sign in ";,\t" if sign in text.strip()), r"\s+")
        fields = [field.strip() for field in re.split(separator, text.strip()) if field.strip()]
        if len(fields) in (4, 5) and all(NUMBER.fullmatch(field) for field in fields):
            return number, len(fields), separator
    return None


def _numbers(path: Path, line: int, columns: int, separator: str) -> np.ndarray:
    """All rows (n_rows, columns) from a line on."""
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            header=None,
            skiprows=line,
            names=range(columns),
            usecols=range(columns),
            comment="#",
            dtype=np.float64,
            skipinitialspace=True,
            index_col=False,
            encoding_errors="replace",
        )
    except (ValueError, pd.errors.ParserError, OverflowError) as error:
        raise VolumeError(
            f"{path}: a line after the first one of numbers cannot be read.",
            f"{str(error).splitlines()[0]}.",
            f"Every line must hold {columns} numbers: h, k, l, the intensity"
            f"{' and its standard error' if columns == 5 else ''}.",
        ) from error
    rows = table.to_numpy()
    if len(rows) and np.isnan(rows[:, :4]).any(axis=1).all():
        raise VolumeError(f"{path}: it holds no numbers.", "Every line is incomplete.", "Write it again.")
    return rows


def _axis(values: np.ndarray, name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The uniform axis that coordinates (n_rows,) lie on, and the place (n_rows,) of each."""
    distinct, which = np.unique(values, return_inverse=True)
    if len(distinct) == 1:
        return distinct, which.reshape(-1)
    steps = np.diff(distinct)
    whole = np.rint(steps / np.median(steps))
    places = np.append(0, np.cumsum(whole))
    axis = np.linspace(distinct[0], distinct[-1], int(places[-1]) + 1) if places[-1] < 1e6 else distinct
    step = (distinct[-1] - distinct[0]) / max(places[-1], 1)
    off = np.abs(distinct - (distinct[0] + step * places)) if step > 0 else np.full(len(distinct), np.inf)
    if (whole < 1).any() or places[-1] >= 1e6 or off.max() > OFF * step:
        raise VolumeError(
            f"{path}: the values of {name} are not uniformly spaced: {np.round(distinct[:4], 5).tolist()}...",
            "The voxels must lie on a grid with uniform steps.",
            "List the voxels of such a grid, with the columns h, k, l, I and perhaps sigma.",
        )
    return axis, places.astype(int)[which.reshape(-1)]
