"""Fifty fits in one process: does memory grow, is anything compiled again?

Nickel with five shells on a coarse grid. Every volume has force constants of its own (the model's, each off
by 2 % at random) and a noise of its own (0.1 %), and every fit starts from other values (off by 5 %): arrays
of equal shapes and different content, fitted, written and drawn as `bayestds fit` does, in one process, as a
worker of `bayestds campaign` would.

Usage: python benchmarks/soak.py [number of fits]
Writes benchmarks/results/soak.json, and ends with exit code 1 where memory grows by more than 5 % after the
warm-up or anything is compiled after the first fit.
"""

import gc
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from machine import in_words, machine

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.fitting import fit_to_file
from bayestds.config import load_model, model_folder, parse_model
from bayestds.config.tables import IFCSet

RESULT = Path(__file__).parent / "results" / "soak.json"
WARM_UP = 5
"""Fits until the memory pools of all libraries have their size."""
ALLOWED = 0.05
COARSE = "[-2, 2, 21]"
COMPILED = "/jax/core/compile/backend_compile_duration"


def coarse_study() -> Study:
    """The nickel model with a grid of 9,261 voxels."""
    path = model_folder() / "ni_fcc_u3.toml"
    lines = path.read_text("utf-8").splitlines()
    axes = [f"{line[0]} = {COARSE}" if line[:4] in ("h = ", "k = ", "l = ") else line for line in lines]
    return build_study(parse_model("\n".join(axes), path))


def with_sets(study: Study, **sets: np.ndarray) -> Study:
    """The study with further IFC sets."""
    names = study.irreducible.names
    made = {
        key: IFCSet(source="made up", values=dict(zip(names, values.tolist(), strict=True)))
        for key, values in sets.items()
    }
    model = study.model.model_copy(update={"ifcs": study.model.ifcs | made})
    return replace(study, model=model)


def resident() -> float:
    """MiB of memory that this process occupies (Linux)."""
    gc.collect()
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def one_fit(study: Study, truth: np.ndarray, seed: int, folder: Path) -> float:
    """Largest error of a constant, in its standard errors."""
    rng = np.random.default_rng(seed)
    own = truth * (1 + 0.02 * rng.normal(size=truth.shape))
    given = with_sets(study, own=own, begin=own * (1 + 0.05 * rng.normal(size=truth.shape)))
    volume = given.simulated("own")
    volume["intensity"] *= np.exp(1e-3 * rng.normal(size=volume["intensity"].shape))
    volume["sigma"] = 1e-3 * volume["intensity"]
    del volume.attrs["noise"]
    record, _ = fit_to_file(given, None, folder / "r.nc", "begin", lambda text, share=None: None, volume)
    assert record["converged"], record["message"]
    found = np.array([[one["value"], one["sd"]] for one in record["ifcs"].values()])
    return float(np.abs((found[:, 0] - own) / found[:, 1]).max())


def main(n_fits: int) -> int:
    """Run the fits, print and store the figures."""
    jax.config.update("jax_enable_x64", True)
    compilations: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compilations.append(seconds) if event == COMPILED else None
    )
    study = coarse_study()
    truth = study.ifcs(load_model("ni_fcc_u3").measurement.ifcs)
    rows = []
    with TemporaryDirectory() as name:
        for number in range(n_fits):
            began, before = time.perf_counter(), len(compilations)
            pull = one_fit(study, truth, number, Path(name))
            row = {
                "seconds": time.perf_counter() - began,
                "compilations": len(compilations) - before,
                "resident_MiB": resident(),
                "largest_pull": pull,
            }
            rows.append(row)
            print(
                f"fit {number + 1}:",
                ", ".join(f"{key} {value:.4g}" for key, value in row.items()),
                flush=True,
            )
    return conclude(rows)


def conclude(rows: list[dict[str, float]]) -> int:
    """Print and store what the fits showed; 1 if it is not what it should be."""
    memory = np.array([row["resident_MiB"] for row in rows])
    later = sum(row["compilations"] for row in rows[1:])
    warm = memory[WARM_UP - 1]
    growth = float(memory[WARM_UP:].max() / warm - 1)
    slope = float(np.polyfit(np.arange(len(memory) - WARM_UP), memory[WARM_UP:], 1)[0])
    found = {
        "machine": machine(),
        "fits": len(rows),
        "compilations_first": rows[0]["compilations"],
        "compilations_later": later,
        "seconds_first": rows[0]["seconds"],
        "seconds_later_median": float(np.median([row["seconds"] for row in rows[1:]])),
        "resident_MiB_after_warm_up": warm,
        "largest_growth": growth,
        "MiB_per_fit": slope,
        "largest_pull": max(row["largest_pull"] for row in rows),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(in_words(found["machine"]))
    print(
        f"{len(rows)} fits: {rows[0]['compilations']} compilations in the first, {later} in all others; "
        f"{found['seconds_first']:.1f} s, then {found['seconds_later_median']:.2f} s; "
        f"{warm:.0f} MiB after {WARM_UP} fits, at most {growth:+.1%} later ({slope:+.3f} MiB a fit)."
    )
    return int(growth > ALLOWED or later > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
