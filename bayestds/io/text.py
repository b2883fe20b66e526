"""Lists of voxels as text, one voxel a line, in any order: h k l I, or h k l I sigma.

Programs write such lists with and without a header, with blanks, tabs, commas or semicolons between the
columns and with as many digits as they like. A header that names h, k and l is obeyed: it says which column
is which, and columns that a volume does not know are left out. Without one the columns are h, k, l, the
intensity and, if there are five, its standard error. The voxels must lie on a uniform grid; those that are
not listed were not measured.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io.directions import letter_of
from bayestds.memory import too_much
from bayestds.scattering.volume import AXES, make_volume

LOOKED_AT = 2**16
"""Bytes at the beginning of a file that show whether it is such a list."""

SPARSE = 1000
"""Largest number of places of the grid for each voxel that is listed."""

OFF = 0.1
"""Largest distance of a coordinate from the grid, in steps: digits that were left out."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)

NAMES = {
    "intensity": {"i", "int", "intensity", "signal", "data", "value", "f2", "i(hkl)"},
    "sigma": {
        "sigma",
        "sig",
        "sigi",
        "sigma_i",
        "sigmai",
        "sigma(i)",
        "error",
        "err",
        "errors",
        "esd",
        "std",
        "sd",
    },
    "counts": {"counts", "count", "n_counts"},
}
"""What columns are called, in small letters."""

UNNAMED = ("h", "k", "l", "intensity", "sigma")


@dataclass(frozen=True)
class Layout:
    """How the numbers of a list are arranged.

    Attributes:
        line: number of the first line of numbers.
        separator: of the columns, a regular expression.
        columns: what each column holds; None where the list does not say.
        n_columns: how many there are.
    """

    line: int
    separator: str
    columns: tuple[str, ...] | None
    n_columns: int


def recognises(path: Path) -> bool:
    """True for text that has lines of at least four numbers."""
    return _layout(path) is not None


def read(path: Path) -> xr.Dataset:
    """The volume in a list of voxels.

    Raises:
        VolumeError: columns of unknown meaning, lines of another kind, voxels that are listed twice, or off a
            uniform grid.
    """
    layout = _layout(path)
    assert layout is not None
    columns = _meanings(layout, path)
    table = _numbers(path, layout)
    rows = np.stack([table[:, columns.index(name)] for name in AXES], axis=1)
    listed = np.isfinite(rows).all(axis=1)
    rows, table = rows[listed], table[listed]
    if not len(rows):
        raise VolumeError(f"{path}: it lists no voxel.", "No line has three indices.", "Write it again.")
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
    _check_once(flat, rows, path)
    arrays: dict[str, Any] = {}
    for key in ("intensity", "sigma", "counts"):
        if key in columns:
            values = np.full(n_voxels, np.nan)
            values[flat] = table[:, columns.index(key)]
            arrays[key] = values.reshape(shape)
    volume = make_volume(h, k, l_, name=str(path), **arrays)
    if left_out := [name for name in columns if name not in (*AXES, *arrays)]:
        volume.encoding["notes"] = [
            f"columns that a volume does not know are left out: {', '.join(left_out)}."
        ]
    return volume


def _check_once(flat: np.ndarray, rows: np.ndarray, path: Path) -> None:
    distinct, n = np.unique(flat, return_counts=True)
    if len(distinct) == len(flat):
        return
    twice = rows[np.flatnonzero(flat == distinct[n > 1][0])[0]]
    raise VolumeError(
        f"{path}: {len(flat) - len(distinct)} voxels are listed twice, such as {twice.tolist()}.",
        "A voxel has one intensity. Are these unmerged reflections?",
        "Average them, or remove all but one.",
    )


def _layout(path: Path) -> Layout | None:
    """How a list is arranged; None for files that are none."""
    with open(path, "rb") as file:
        start = file.read(LOOKED_AT)
        whole = not file.read(1)
    if b"\0" in start:
        return None
    lines = start.decode("utf-8-sig", errors="replace").splitlines()
    header: list[str] = []
    for number, text in enumerate(lines if whole else lines[:-1]):
        separator = next((sign for sign in ";,\t" if sign in text.strip()), r"\s+")
        fields = [field.strip() for field in re.split(separator, text.strip().strip(separator))]
        if len(fields) >= 4 and all(NUMBER.fullmatch(field) for field in fields):
            named = tuple(field.lower() for field in header)
            columns = named if len(named) == len(fields) else None
            return Layout(number, separator, columns, len(fields))
        words = re.split(separator, text.strip().lstrip("#%! "))
        header = [word.strip().strip("\"'") for word in words]
    return None


def _meanings(layout: Layout, path: Path) -> list[str]:
    """What each column holds: h, k, l, intensity, sigma, counts, or the name of anything else."""
    named = layout.columns or ()
    if any(re.match(r"q_?[xyz]", name) for name in named):
        raise VolumeError(
            f"{path}: its columns are called {', '.join(named)}.",
            "Q in inverse lengths does not say where a voxel is in the lattice.",
            "List h, k and l in reciprocal lattice units.",
        )
    letters = [letter_of(re.sub(r"\s*\(.*\)$", "", name)) for name in named]
    if set(AXES) <= set(letters):
        known = {alias: key for key, aliases in NAMES.items() for alias in aliases}
        found = [letter or known.get(name, name) for letter, name in zip(letters, named, strict=True)]
        if "intensity" not in found and found.count("counts") == 1:
            found[found.index("counts")] = "intensity"  # of which nobody knows the exposure
        if found.count("intensity") == 1 and all(found.count(key) <= 1 for key in (*AXES, "sigma", "counts")):
            return [name or f"column {i}" for i, name in enumerate(found, start=1)]
    elif layout.n_columns <= len(UNNAMED):
        return list(UNNAMED[: layout.n_columns])
    raise VolumeError(
        f"{path}: it has {layout.n_columns} columns" + (f" called {', '.join(named)}." if named else "."),
        "It is not known which of them is the intensity, or its standard error.",
        "Name them in a header such as 'h k l I sigma', or leave all others out.",
    )


def _numbers(path: Path, layout: Layout) -> np.ndarray:
    """All rows (n_rows, n_columns) from the first line of numbers on."""
    source: Any = path
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = [file.readline() for _ in range(layout.line + 1)][-1]
    if re.search(r"\d[dD][+-]?\d", first):  # as Fortran writes double precision
        source = io.StringIO(
            path.read_text("utf-8-sig", errors="replace").replace("D", "E").replace("d", "e")
        )
    try:
        table = pd.read_csv(
            source,
            sep=layout.separator,
            header=None,
            skiprows=layout.line,
            names=range(layout.n_columns),
            usecols=range(layout.n_columns),
            comment="#",
            dtype=np.float64,
            skipinitialspace=True,
            index_col=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
        )
    except (ValueError, pd.errors.ParserError, OverflowError) as error:
        raise VolumeError(
            f"{path}: a line after the first one of numbers cannot be read.",
            f"{str(error).splitlines()[0]}.",
            f"Every line must hold {layout.n_columns} numbers.",
        ) from error
    return table.to_numpy()


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
