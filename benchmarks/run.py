"""Speed on this machine: value and gradient on the grid of arXiv:2603.28683, and a fit from process start.

Usage: python benchmarks/run.py
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.inference.model import constrained_log_likelihood
from bayestds.inference.point_fit import point_fit
from bayestds.inference.stochastic_fit import Target, Training, start_training, train
from bayestds.lattice_dynamics.displacements import cell_differences
from bayestds.scattering.exact import log_intensity, make_engine
from bayestds.scattering.expansion import choose_engine
from bayestds.scattering.forward import ForwardModel, covariance, make_forward_model

REPEATS = 50

EPOCHS = 4
"""Epochs of the paper's algorithm that are timed together."""

TRAINING = Path(__file__).parent / "results" / "paper_training.json"
"""What benchmarks/paper_training.py wrote for a target of 100,000 configurations."""


def milliseconds(function: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Median and smallest time of a call in steady state."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times), min(times)


def paper_grid() -> None:
    """Value and gradient of the log-likelihood on 12,286 irreducible points, and the accuracy it has."""
    study = build_study(load_model("ni_fcc_paper"))
    problem = study.problem(study.own_volume(), "paper grid")
    phi = jax.numpy.asarray(study.ifcs("u3_paper"))
    bare = make_forward_model(study.irreducible, problem.supercell, problem.temperature)
    displacement = covariance(bare, phi)
    engines = {
        "near/far": choose_engine(problem.supercell, problem.grid.q_points, displacement),
        "direct": make_engine(problem.supercell, problem.grid.q_points),
    }
    exact = np.asarray(jax.jit(log_intensity)(engines["direct"], displacement))

    @jax.jit
    def value_and_gradient(phi: jax.Array, forward: ForwardModel) -> object:
        return jax.value_and_grad(lambda p: constrained_log_likelihood(forward, problem.data, p))(phi)

    for name, engine in engines.items():
        error = np.abs(np.asarray(jax.jit(log_intensity)(engine, displacement)) - exact).max()
        median, smallest = milliseconds(value_and_gradient, phi, bare.with_engine(engine))
        print(
            f"value and gradient, {len(exact)} points, {name:8s}: median {median:.1f} ms, "
            f"least {smallest:.1f} ms (order {engine.order}, {len(engine.near_pairs)} near pairs, "
            f"error in ln I {error:.1e})"
        )


def paper_algorithm() -> None:
    """The algorithm of arXiv:2603.28683 (dense Cholesky, 15 configurations) beside the exact engine."""
    study = build_study(load_model("ni_fcc_paper"))
    volume, supercell = study.own_volume(), study.supercell()
    intensity = volume["intensity"].values
    used = np.isfinite(intensity)
    target = Target(
        make_forward_model(study.irreducible, supercell, study.model_temperature),
        study.sampled_engine(),
        jax.numpy.asarray(np.log(np.where(used, intensity, 1.0))),
        jax.numpy.asarray(used),
        jax.numpy.asarray(cell_differences(supercell)),
    )
    start, training = study.ifcs("meam_paper"), Training()
    seconds, before = [], start_training(training, target, start, seed=0)
    began = time.perf_counter()
    for _ in train(training, target, start, before, EPOCHS * 3, chunk=EPOCHS):
        seconds.append((time.perf_counter() - began) / EPOCHS)
        began = time.perf_counter()
    epoch = min(seconds)  # the first chunk is compiled

    problem = study.problem(volume, "paper grid")
    point_fit(problem, start)
    began = time.perf_counter()
    fit = point_fit(problem, start)
    exact_seconds = time.perf_counter() - began
    bare = make_forward_model(study.irreducible, supercell, study.model_temperature)
    forward = bare.with_engine(
        choose_engine(supercell, problem.grid.q_points, covariance(bare, jax.numpy.asarray(fit.irreducible)))
    )
    step, _ = milliseconds(
        jax.jit(jax.value_and_grad(lambda p, f: constrained_log_likelihood(f, problem.data, p))),
        jax.numpy.asarray(fit.irreducible),
        forward,
    )
    print(
        f"the paper's algorithm here: {epoch:.2f} s per epoch; exact engine: {step:.1f} ms per step; "
        f"ratio {1e3 * epoch / step:.0f}"
    )
    recorded = json.loads(TRAINING.read_text("utf-8"))
    epochs = recorded["epochs to the rms error of the paper"]
    if epochs is None:
        print(f"the paper's errors were not reached in the {recorded['epochs']} epochs of {TRAINING.name}")
        return
    print(
        f"to the rms error of the paper's Table 1: {epochs} epochs (recorded in {TRAINING.name}) of "
        f"{epoch:.2f} s are {epochs * epoch / 60:.0f} min; the exact fit, once compiled, takes "
        f"{exact_seconds:.1f} s to its end; ratio {epochs * epoch / exact_seconds:.0f}"
    )


def whole_fit() -> None:
    """`bayestds fit ni_fcc_paper` as a user runs it, imports and compilation included."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bayestds", "fit", "ni_fcc_paper", "-o", str(Path(folder, "fit.nc"))]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"bayestds fit ni_fcc_paper from process start: {seconds:.1f} s, peak memory {peak:.2f} GiB")


def main() -> None:
    """Print every figure."""
    jax.config.update("jax_enable_x64", True)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, jax {version('jax')}, bayestds {version('bayestds')}"
    )
    whole_fit()
    paper_grid()
    paper_algorithm()


if __name__ == "__main__":
    main()
