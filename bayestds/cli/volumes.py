"""Commands that read and write volumes."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.assemble import build_study
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.fitted import volume_notes
from bayestds.cli.output import (
    check_output,
    number,
    print_equivalents,
    print_json,
    print_notes,
    print_table,
    print_warnings,
    words,
)
from bayestds.config import load_model
from bayestds.crystal.axes import axis_names
from bayestds.diagnostics.equivalents import agreement_record, agreement_warnings
from bayestds.errors import VolumeError
from bayestds.io import format_name, read_volume, write_volume
from bayestds.scattering.reindex import reindex
from bayestds.scattering.slabs import COPYING, slabs
from bayestds.scattering.volume import volume_axes

STATED = ("noise", "statistics", "configurations", "snapshots", "title")
"""Attributes that are described where a volume has them."""


def info(path: Path, model: str | None, group: str | None, as_json: bool) -> None:
    """Print what a volume holds and, with a model, how well its equivalent voxels agree."""
    study = None if model is None else build_study(load_model(model))
    volume = read_volume(path, group=group) if study is None else study.read(path, group)
    found: dict[str, Any] = {"format": volume.encoding["format"], "order_in_file": volume.encoding["order"]}
    if path_inside := volume.encoding.get("path"):
        found |= {"path": path_inside, "candidates": volume.encoding["candidates"]}
    if ignored := volume.encoding.get("ignored"):
        found["not_read"] = ignored
    record = found | describe(volume)
    observations = None if study is None else study.observations(volume, str(path))
    record["notes"] = volume.encoding["notes"]
    if study is not None and observations is not None:
        record["notes"] = crystal_notes(study.crystal) + volume_notes(volume, observations)
        record["equivalents"] = agreement_record(observations.agreement)
    if as_json:
        print_json({"file": str(path), **record})
    else:
        # Several volumes of a file are named in a note.
        shown = {
            key: value for key, value in record.items() if key not in ("candidates", "notes", "equivalents")
        }
        print_table(str(path), ("", ""), [(key.replace("_", " "), _text(v)) for key, v in shown.items()])
        if observations is not None:
            print_agreement(record["equivalents"])
    if observations is not None:
        print_warnings(agreement_warnings(observations.agreement))
    print_notes(record["notes"])


def print_agreement(record: dict[str, Any]) -> None:
    """Print how well equivalent voxels agree: in all, by |Q| and by symmetry operation."""
    print_equivalents(record)
    if not record["n_orbits"]:
        print("No voxel has an equivalent that was measured independently.")
    rows = [
        (f"{one['q_low']:.2f} to {one['q_high']:.2f}", *_merging(one), str(one["n_orbits"]))
        for one in record["by_q"]
    ]
    if rows:
        print_table("Agreement by |Q|", ("|Q| (Å⁻¹)", "R_int", "R_meas", "chi-square", "orbits"), rows)
    rows = [
        (
            one["operation"],
            f"{one['r']:.2%}",
            number(one["mean_square"], 3),
            str(one["n_pairs"]),
            "disagrees" if one["disagrees"] else "",
        )
        for one in record["by_operation"]
    ]
    if rows:
        columns = ("h, k, l become", "R", "mean square / expected", "pairs", "")
        print_table("Agreement by symmetry operation", columns, rows)


def _merging(one: dict[str, Any]) -> tuple[str, str, str]:
    chi_square = "-" if one["chi_square"] is None else number(one["chi_square"], 3)
    return f"{one['r_int']:.2%}", f"{one['r_meas']:.2%}", chi_square


def convert(
    path: Path, output: Path, file_format: str | None, matrix: str | None, group: str | None, as_json: bool
) -> None:
    """Write a volume in another format and, where a matrix is given, with other Miller indices."""
    format_name(output, file_format)
    entries = None if matrix is None else read_matrix(matrix)
    check_output(output)
    volume = read_volume(path, group=group)
    if ignored := volume.encoding.get("ignored"):
        words.print(f"Warning: {path} has variables that a volume does not know: {ignored}.", markup=False)
    if entries is not None:
        volume = reindex(volume, entries, str(path))
    # Before the file is written, which may take the place of the one that the volume is read from.
    record = describe(volume)
    notes = volume.encoding["notes"]
    write_volume(volume, output, file_format)
    tell_written(record, output, as_json)
    print_notes(notes)


def read_matrix(text: str) -> np.ndarray:
    """A (3, 3) matrix of integers or fractions, written row by row as "0 1 0 / 0 0 1 / 1/2 0 0".

    Raises:
        VolumeError: it is written in another way.
    """
    try:
        rows = [[float(Fraction(entry)) for entry in row.split()] for row in re.split(r"\s/\s", text.strip())]
    except (ValueError, ZeroDivisionError, OverflowError):
        rows = []
    if [len(row) for row in rows] != [3, 3, 3]:
        raise VolumeError(
            f"The matrix '{text}' cannot be read.",
            "Three rows of three integers or fractions are expected, the rows parted by ' / ' with blanks.",
            'Write it like "0 1 0 / 0 0 1 / 1/2 0 0".',
        )
    return np.array(rows)


def describe(volume: xr.Dataset) -> dict[str, object]:
    """What was understood of a volume, for people and programs."""
    measured, not_positive, zero, least, most = 0, 0, 0, np.inf, -np.inf
    for _, part in slabs(volume, COPYING):
        values = part["intensity"].values
        values = values[np.isfinite(values) & ~part["mask"].values if "mask" in part else np.isfinite(values)]
        measured, not_positive = measured + values.size, not_positive + int((values <= 0).sum())
        zero += int((values == 0).sum())
        least, most = min(least, values.min(initial=np.inf)), max(most, values.max(initial=-np.inf))
    names = axis_names(volume_axes(volume).directions)
    axes = {
        f"axis_{label}": {
            "first": float(volume[name][0]),
            "last": float(volume[name][-1]),
            "points": volume.sizes[name],
            "unit": "r.l.u.",
        }
        for name, label in zip("hkl", names, strict=True)
    }
    return {
        **axes,
        "voxels": volume["intensity"].size,
        "measured": measured,
        "coverage": measured / volume["intensity"].size,
        "not_positive": not_positive,
        "exactly_zero": zero,
        "intensity_range": [float(least), float(most)] if measured else None,
        "intensity_units": volume.attrs.get("intensity_units", "arbitrary"),
        "standard_errors": "sigma" in volume,
        "counts": "counts" in volume,
        "transmission": "transmission" in volume,
        "lattice": list(volume.attrs["lattice"]) if "lattice" in volume.attrs else None,
        "temperature_K": volume.attrs.get("temperature"),
        **{key: volume.attrs[key] for key in STATED if key in volume.attrs},
    }


def _text(value: object) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "{first:g} to {last:g} {unit}, {points} points".format(**value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and isinstance(value[0], str):
        return ", ".join(value)
    if isinstance(value, list):
        return " ".join(f"{item:.6g}" for item in value)
    return str(value)


def tell_written(record: dict[str, object], target: Path, as_json: bool) -> None:
    """Say that a volume was written, or give its description to a program."""
    words.print(f"Wrote {target}: {record['measured']} measured voxels.", markup=False)
    if as_json:
        print_json({"output": str(target), **record})
