"""Commands that make, read and write volumes."""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from bayestds.cli.assemble import build_study
from bayestds.cli.output import check_output, print_json, print_table, words
from bayestds.config import load_model
from bayestds.errors import ModelError
from bayestds.io import format_name, read_volume, write_volume


def simulate(model: str, output: Path | None, ifcs: str | None, scale: float, as_json: bool) -> None:
    """Simulate a volume and write it."""
    study = build_study(load_model(model))
    measurement = study.model.measurement
    name = ifcs or (measurement.ifcs if measurement else None)
    if name is None:
        raise ModelError(
            f"The model file {study.model.path} does not say which force constants to simulate.",
            "Its [measurement] has no `ifcs`.",
            f"Choose one with --ifcs: {', '.join(study.model.ifcs) or 'it defines none'}.",
        )
    target = output or Path(re.sub(r"[^\w.-]+", "_", f"{study.model.path.stem}_{name}.nc"))
    format_name(target)
    check_output(target)
    volume = study.simulated(name, scale)
    write_volume(volume, target)
    _tell(describe(volume), target, as_json)


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
    _tell(describe(volume), output, as_json)


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
        **{key: volume.attrs[key] for key in ("noise", "configurations", "title") if key in volume.attrs},
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


def _tell(record: dict[str, object], target: Path, as_json: bool) -> None:
    words.print(f"Wrote {target}: {record['measured']} measured voxels.", markup=False)
    if as_json:
        print_json({"output": str(target), **record})
