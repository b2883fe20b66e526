"""Select the reference points of the tests from the full table: select_reference.py FULL.npz."""

import sys
from pathlib import Path

import numpy as np

N_POINTS = 600
N_EXTREME = 40
KEPT = ("target", "start", "names", "mean_square_displacement_target")


def select(full: Path, out: Path) -> None:
    data = np.load(full)
    lengths = np.linalg.norm(data["q_points"], axis=1)
    rows: list[int] = []
    for values in (lengths, data["log_intensity_target"], data["log_intensity_start"]):
        order = np.argsort(values, kind="stable")
        rows += [*order[:N_EXTREME].tolist(), *order[-N_EXTREME:].tolist()]
    chosen = list(dict.fromkeys(rows))
    rest = np.setdiff1d(np.arange(len(lengths)), chosen)
    chosen += np.random.default_rng(0).choice(rest, N_POINTS - len(chosen), replace=False).tolist()
    picked = np.sort(chosen)
    tables = {
        name: data[name][picked] for name in ("q_points", "log_intensity_target", "log_intensity_start")
    }
    np.savez_compressed(out, **tables, **{name: data[name] for name in KEPT})


if __name__ == "__main__":
    select(Path(sys.argv[1]), Path(__file__).with_name("ni_fcc_exact.npz"))
