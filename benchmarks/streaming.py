"""Memory and time of volumes that need not fit into memory: fcc nickel on 321³ voxels.

The volume (h, k, l from -8 to 8 in steps of 0.05, a 20x20x20 supercell, 33 million voxels) is simulated with
the constants of the model ni_fcc_paper into FOLDER, where it is not there yet, in double and in single
precision. Each step then runs in a process of its own, whose peak memory and seconds are printed and written
to results/streaming.json. Imports are part of both, and stand on a line of their own.

Usage: python benchmarks/streaming.py FOLDER [--without-fit]
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import in_words, machine

from bayestds.config import load_model

RESULT = Path(__file__).parent / "results" / "streaming.json"

AVERAGE = """
import sys, time
import numpy as np
from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.io import read_volume
from bayestds.scattering.averaging import average
study = build_study(load_model(sys.argv[1]))
supercell = study.supercell()
if len(sys.argv) > 2:
    began = time.perf_counter()
    volume = read_volume(sys.argv[2], int(float(sys.argv[3]) * 2**20))
    read = time.perf_counter()
    points = len(average(volume, supercell).log_intensity)
    print(read - began, time.perf_counter() - read, points)
"""

COMMAND = [sys.executable, "-m", "bayestds"]

SINGLE = """
import sys, h5py, numpy as np
with h5py.File(sys.argv[1], "a") as file:
    group = file["entry/transform"]
    values, attributes = group["data"][()].astype(np.float32), dict(group["data"].attrs)
    del group["data"]
    group["data"] = values
    group["data"].attrs.update(attributes)
"""


def model(folder: Path) -> Path:
    """The model of the paper with four times finer axes, in the folder."""
    text = load_model("ni_fcc_paper").text
    for old, new in (("supercell = [5, 5, 5]", "supercell = [20, 20, 20]"), ("[-8, 8, 81]", "[-8, 8, 321]")):
        assert old in text
        text = text.replace(old, new)
    path = folder / "ni_fcc_321.toml"
    path.write_text(text, "utf-8")
    return path


def run(*arguments: object) -> tuple[dict[str, float], str]:
    """Seconds and peak memory (GiB) of a process, imports included, and what it printed."""
    # A process in between, since the peak of children is that of the largest one so far.
    middle = "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:], check=True); "
    middle += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", middle, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    *printed, peak = done.stdout.splitlines()
    return {"seconds": time.perf_counter() - began, "peak_GiB": int(peak) / 2**20}, "\n".join(printed)


def averaged(path: Path, volume: Path, slab: float) -> dict[str, float]:
    """Reading and averaging a volume in slabs of so many MiB."""
    found, printed = run(sys.executable, "-c", AVERAGE, path, volume, slab)
    read, average, points = map(float, printed.split())
    return found | {"read_seconds": read, "average_seconds": average, "points": points, "slab_MiB": slab}


def main(folder: Path, with_fit: bool) -> None:
    """Measure all steps, print and write them."""
    folder.mkdir(parents=True, exist_ok=True)
    path, double, single = model(folder), folder / "double.nxs", folder / "single.nxs"
    steps: dict[str, dict[str, Any]] = {}

    def tell(name: str, found: dict[str, Any]) -> None:
        steps[name] = found
        print(f"{name}: {found['peak_GiB']:.2f} GiB, {found['seconds']:.1f} s", flush=True)

    if not double.exists():
        tell("simulate", run(*COMMAND, "simulate", path, "-o", double)[0])
    if not single.exists():
        single.write_bytes(double.read_bytes())
        subprocess.run([sys.executable, "-c", SINGLE, single], check=True)
    tell("imports and model alone", run(sys.executable, "-c", AVERAGE, path)[0])
    tell("read and average", averaged(path, double, 256))
    tell("the same in slabs of 16 MiB", averaged(path, double, 16))
    tell("the same in single precision", averaged(path, single, 256))
    tell("info", run(*COMMAND, "info", double)[0])
    for suffix in (".h5", ".nc"):
        tell(f"convert to {suffix}", run(*COMMAND, "convert", double, folder / f"converted{suffix}")[0])
    if with_fit:
        tell("fit", run(*COMMAND, "fit", path, double, "-o", folder / "fit.nc")[0])
    found = {
        "voxels": 321**3,
        "file_MiB": double.stat().st_size / 2**20,
        "steps": steps,
        "machine": machine(),
    }
    print(in_words(found["machine"]))
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--without-fit" not in sys.argv)
