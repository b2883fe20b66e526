"""Speed on this machine: value and gradient on the grid of arXiv:2603.28683, and a fit from process start.

Usage: python benchmarks/run.py
"""

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
from bayestds.scattering.exact import log_intensity, make_engine
from bayestds.scattering.expansion import choose_engine
from bayestds.scattering.forward import ForwardModel, covariance, make_forward_model

REPEATS = 50


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


if __name__ == "__main__":
    main()
