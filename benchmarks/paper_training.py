"""The stochastic training of arXiv:2603.28683 on a target of sampled configurations, from its MEAM start.

The rates are the paper's (0.4 halved to 0.1, 15 configurations an epoch), halved twice at equal intervals of
the epochs asked for. The paper states neither the unit of its parameters nor α: here they are 0.01 eV/Å² and
1 Å²/eV. An interrupted run goes on where it was, a finished one is only reported. `--literal` takes the rates
in raw eV/Å² instead.

Usage: python benchmarks/paper_training.py TARGET [--epochs 3000] [--dense] [--literal] [-o training.npz]

TARGET: bayestds simulate ni_fcc_paper --engine sampled --configurations 100000 --seed 1 -o TARGET
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.inference.stochastic_fit import Epochs, Target, Training, moving_average, start_training, train
from bayestds.io import read_volume
from bayestds.io.atomic import atomic_path
from bayestds.io.checkpoint import checkpoint_path, fingerprint, load_checkpoint, save_checkpoint
from bayestds.lattice_dynamics.displacements import cell_differences
from bayestds.lattice_dynamics.harmonic import harmonic_crystal, stable

WINDOW = 500
"""Epochs of the moving average."""

PAPER_RMS = 2.35e-3
"""Root-mean-square error of b0 ... f3 in the paper's Table 1, eV/Å²."""


def make_target(study: Study, path: Path, dense: bool) -> Target:
    """The volume to train on, every voxel that is not a Bragg peak."""
    intensity = read_volume(path)["intensity"].values
    used = np.isfinite(intensity)
    supercell = study.supercell()
    return Target(
        harmonic_crystal(study.irreducible, supercell, study.model_temperature),
        study.sampled_engine(),
        jnp.asarray(np.log(np.where(used, intensity, 1.0))),
        jnp.asarray(used),
        jnp.asarray(cell_differences(supercell)) if dense else None,
    )


def restored(path: Path, made_from: str, fresh: Epochs) -> tuple[Epochs, float]:
    """The training of a checkpoint and the seconds spent on it, or the fresh one."""
    if not path.is_file():
        return fresh, 0.0
    epochs, record = load_checkpoint(path, made_from, fresh)
    return epochs, float(record["seconds"])


def errors(study: Study, values: np.ndarray) -> str:
    """Root-mean-square error of the irreducible constants, largest one, and that of a0."""
    error = values - study.ifcs("u3_paper")
    self_term = study.irreducible.self_coefficients[0] @ error
    return (
        f"rms {np.sqrt(np.mean(error**2)):.2e}, largest {np.abs(error).max():.2e}, a0 {self_term:+.2e} eV/Å²"
    )


def trained(given: argparse.Namespace, study: Study) -> dict[str, np.ndarray]:
    """Loss, IFCs, start and seconds of the whole training: run, gone on with, or read where it is done."""
    if given.output.is_file():
        with np.load(given.output) as file:
            return {key: file[key] for key in file.files}
    target = make_target(study, given.target, given.dense)
    training = Training(halve_every=max(given.epochs // 3, 1))
    training = replace(training, unit=1.0) if given.literal else training
    start = study.ifcs("meam_paper")
    made_from = fingerprint(target, start, vars(training))
    checkpoint = checkpoint_path(given.output)
    first, before = restored(checkpoint, made_from, start_training(training, target, start, seed=0))
    print(f"start: {errors(study, start)}; going on from epoch {len(first.loss)}", flush=True)
    began = time.perf_counter()
    for epochs in train(training, target, start, first, given.epochs):
        seconds = before + time.perf_counter() - began
        save_checkpoint(checkpoint, made_from, epochs, {"seconds": np.array(seconds)})
        average = np.asarray(moving_average(epochs.irreducible, WINDOW)[-1])
        print(
            f"epoch {len(epochs.loss)}: loss {float(epochs.loss[-50:].mean()):.4f}, "
            f"{seconds / len(epochs.loss):.2f} s per epoch, "
            f"last {errors(study, np.asarray(epochs.irreducible[-1]))}, mean {errors(study, average)}",
            flush=True,
        )
    history = {
        "loss": np.asarray(epochs.loss),
        "irreducible": np.asarray(epochs.irreducible),
        "start": start,
        "seconds": np.array(seconds),
    }
    with atomic_path(given.output) as temporary, open(temporary, "wb") as file:
        np.savez(file, **history)  # type: ignore[arg-type]
    checkpoint.unlink(missing_ok=True)
    return history


def report(study: Study, history: dict[str, np.ndarray]) -> dict[str, object]:
    """What the training reached, and when it reached the errors of the paper."""
    truth = study.ifcs("u3_paper")
    crystal = harmonic_crystal(study.irreducible, study.supercell(), study.model_temperature)
    average = np.asarray(moving_average(history["irreducible"], WINDOW))
    rms = np.sqrt(np.mean((average - truth) ** 2, axis=1))
    reached = np.flatnonzero(rms < PAPER_RMS)
    unstable = [not bool(stable(crystal, jnp.asarray(phi))) for phi in history["irreducible"][::10]]
    return {
        "epochs": len(history["loss"]),
        "seconds per epoch": float(history["seconds"]) / len(history["loss"]),
        "loss, mean of the last 50 epochs": float(history["loss"][-50:].mean()),
        "error of the last epoch": errors(study, history["irreducible"][-1]),
        f"error of the mean of {WINDOW} epochs": errors(study, average[-1]),
        "epochs to the rms error of the paper": int(reached[0]) + 1 if reached.size else None,
        "share of epochs outside the stable region": float(np.mean(unstable)),
        "error by constant": dict(zip(study.irreducible.names, (average[-1] - truth).tolist(), strict=True)),
    }


def main() -> None:
    """Train, report and write the history."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("--epochs", type=int, default=3000)
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--literal", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("training.npz"))
    given = parser.parse_args()
    study = build_study(load_model("ni_fcc_paper"))
    record = report(study, trained(given, study))
    with atomic_path(given.output.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for key, value in record.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
