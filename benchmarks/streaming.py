"""Memory and time of volumes that need not fit into memory: fcc nickel on 321³ voxels.

The volume (h, k, l from -8 to 8 in steps of 0.05, a 20x20x20 supercell, 33 million voxels) is simulated with
the constants of the model ni_fcc_paper. Each step runs in a process of its own, imports included, whose peak
memory and seconds are printed and written to results/streaming.json; files go to FOLDER. Named steps are
measured again, beside the others of before. Where the machine does other things as well, compare seconds of
CPU.

Usage: python benchmarks/streaming.py FOLDER [STEP ...]
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
    began = time.process_time()
    volume = read_volume(sys.argv[2], int(float(sys.argv[3]) * 2**20))
    read = time.process_time()
    points = len(average(volume, supercell).log_intensity)
    print(read - began, time.process_time() - read, points)
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
    """Seconds, on the clock and of CPU, and peak memory (GiB) of a process, and what it printed."""
    # A process in between, since the peak of children is that of the largest one so far.
    middle = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    middle += "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    middle += "print(used.ru_maxrss, used.ru_utime + used.ru_stime)"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", middle, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    *printed, used = done.stdout.splitlines()
    peak, cpu = map(float, used.split())
    found = {"seconds": time.perf_counter() - began, "cpu_seconds": cpu, "peak_GiB": peak / 2**20}
    return found, "\n".join(printed)


def in_single_precision(double: Path, single: Path) -> Path:
    """The file ``single``, made from the other in a process of its own."""
    single.write_bytes(double.read_bytes())
    subprocess.run([sys.executable, "-c", SINGLE, single], check=True)
    return single


def averaged(path: Path, volume: Path, slab: float) -> dict[str, float]:
    """Reading and averaging a volume in slabs of so many MiB."""
    found, printed = run(sys.executable, "-c", AVERAGE, path, volume, slab)
    read, average, points = map(float, printed.split())
    return found | {
        "read_cpu_seconds": read,
        "average_cpu_seconds": average,
        "points": int(points),
        "slab_MiB": slab,
    }


def main(folder: Path, chosen: list[str]) -> None:
    """Measure all steps, or those chosen, print them, and write them beside those of before."""
    folder.mkdir(parents=True, exist_ok=True)
    path, double, single = model(folder), folder / "double.nxs", folder / "single.nxs"
    steps: dict[str, Callable[[], dict[str, float]]] = {
        "imports": lambda: run(sys.executable, "-c", AVERAGE, path)[0],
        "simulate": lambda: run(*COMMAND, "simulate", path, "-o", double)[0],
        "read and average": lambda: averaged(path, double, 256),
        "in slabs of 16 MiB": lambda: averaged(path, double, 16),
        "single precision": lambda: averaged(path, in_single_precision(double, single), 256),
        "info": lambda: run(*COMMAND, "info", double)[0],
        "convert to Yell": lambda: run(*COMMAND, "convert", double, folder / "converted.h5")[0],
        "convert to netCDF": lambda: run(*COMMAND, "convert", double, folder / "converted.nc")[0],
        "fit": lambda: run(*COMMAND, "fit", path, double, "-o", folder / "fit.nc")[0],
    }
    found = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"steps": {}}
    for name in chosen or steps:
        step = found["steps"][name] = steps[name]()
        seconds = f"{step['seconds']:.1f} s, {step['cpu_seconds']:.1f} s of CPU"
        print(f"{name}: {step['peak_GiB']:.2f} GiB, {seconds}", flush=True)
        found |= {"voxels": 321**3, "file_MiB": double.stat().st_size / 2**20, "machine": machine()}
        found["steps"] = {name: found["steps"][name] for name in steps if name in found["steps"]}
        RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(in_words(found["machine"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
