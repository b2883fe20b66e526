"""Commands that read and write volumes."""

from pathlib import Path

import numpy as np
import xarray as xr

from bayestds.cli.output import check_output, print_json, print_table, words
from bayestds.io import format_name, read_volume, write_volume

STATED = ("noise", "configurations", "snapshots", "title")
"""Attributes that are described where a volume has them."""


def info(path: Path, as_json: bool) -> None:
    """Print what a volume holds."""
    record = describe(read_volume(path))
    if as_json:
        print_json({"file": str(path), **record})
    else:
        print_table(str(path), ("", ""), [(key.replace("_", " "), _text(v)) for key, v in record.items()])


def convert(path: Path, output: Path, file_format: str | None, as_json: bool) -> None:
    """Write a volume in another format."""
    format_name(output, file_format)
    check_output(output)
    volume = read_volume(path)
    write_volume(volume, output, file_format)
    tell_written(describe(volume), output, as_json)


def describe(volume: xr.Dataset) -> dict[str, object]:
    """What was understood of a volume, for people and programs."""
    intensity = volume["intensity"].values
    measured = np.isfinite(intensity)
    if "mask" in volume:
        measured &= ~volume["mask"].values
    values = intensity[measured]
    axes = {
        f"axis_{name}": {
            "first": float(volume[name][0]),
            "last": float(volume[name][-1]),
            "points": volume.sizes[name],
            "unit": "r.l.u.",
        }
        for name in "hkl"
    }
    return {
        **axes,
        "voxels": intensity.size,
        "measured": int(measured.sum()),
        "not_positive": int((values <= 0).sum()),
        "intensity_range": [float(values.min()), float(values.max())] if values.size else None,
        "intensity_units": volume.attrs.get("intensity_units", "arbitrary"),
        "standard_errors": "sigma" in volume,
        "counts": "counts" in volume,
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
    if isinstance(value, list):
        return " ".join(f"{item:.6g}" for item in value)
    return str(value)


def tell_written(record: dict[str, object], target: Path, as_json: bool) -> None:
    """Say that a volume was written, or give its description to a program."""
    words.print(f"Wrote {target}: {record['measured']} measured voxels.", markup=False)
    if as_json:
        print_json({"output": str(target), **record})
