"""Speed on this machine: the grid of arXiv:2603.28683, and a fit and a posterior from process start.

The figures are printed and written to results/speed.json with the machine and the versions.

Usage: python benchmarks/run.py
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from density import log_likelihood
from machine import in_words, machine
from numpyro.infer.util import potential_energy

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.inference import stochastic_fit
from bayestds.inference.compression import compress
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.model import scattering
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target, starting_points
from bayestds.inference.stochastic_fit import Training, start_training, train
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.lattice_dynamics.displacements import cell_differences
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.exact import log_intensity
from bayestds.scattering.expansion import choose_engine
from bayestds.scattering.forward import ForwardModel
from bayestds.scattering.lattice_sum import OnMesh

RESULT = Path(__file__).parent / "results" / "speed.json"

REPEATS = 50

COMMANDS = ("fit ni_fcc_paper", "sample ni_fcc_paper --chains 4 --draws 1000")
"""Run twice: the second time, what the first compiled is on disk."""

CHAINS = 4
"""Points that are evaluated at once, as vectorised chains do."""

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


def paper_grid() -> dict[str, Any]:
    """Value and gradient of the log-likelihood on 12,286 irreducible points, and the accuracy it has."""
    study = build_study(load_model("ni_fcc_paper"))
    problem = study.problem(study.own_volume(), "paper grid")
    phi = jax.numpy.asarray(study.ifcs("u3_paper"))
    (volume,) = problem.volumes
    crystal = harmonic_crystal(study.irreducible, problem.supercell, volume.temperature)
    displacement = covariance(crystal, phi)
    packed = packed_covariance(displacement)
    engines = {
        "near/far": choose_engine(problem.supercell, volume.grid.q_points, displacement),
        "direct": make_engine(problem.supercell, volume.grid.q_points),
    }
    exact = np.asarray(jax.jit(log_intensity)(engines["direct"], packed))

    one, several = jax.jit(value_and_gradient), jax.jit(jax.vmap(value_and_gradient, (0, None, None)))
    chains = phi * (1 + 1e-3 * jax.random.normal(jax.random.key(0), (CHAINS, len(phi))))
    figures = {}
    for name, engine in engines.items():
        given = ForwardModel(crystal, (), OnMesh(engine), ()), volume.likelihood
        median, smallest = milliseconds(one, phi, *given)
        together, least = (x / CHAINS for x in milliseconds(several, chains, *given))
        figures[name] = {
            "order": engine.order,
            "near pairs": len(engine.near_pairs),
            "error in ln I": float(np.abs(np.asarray(jax.jit(log_intensity)(engine, packed)) - exact).max()),
            "ms": {"median": median, "least": smallest},
            "ms per chain of four": {"median": together, "least": least},
        }
        print(f"value and gradient, {len(exact)} points, {name}: {json.dumps(figures[name])}")
    return figures


def posterior_density() -> dict[str, Any]:
    """Value and gradient of the density that chains see: of all points, and compressed to few."""
    study = build_study(load_model("ni_fcc_paper"))
    problem = study.problem(study.own_volume(), "paper grid")
    fit = point_fit(problem, study.ifcs("meam_paper"))
    target = make_target(fit, fit.problem.prior(study.model.priors.family))
    compressed = compress(target, problem)
    assert compressed is not None

    def density(place: dict[str, jax.Array], arguments: tuple) -> object:
        return jax.value_and_grad(lambda p: potential_energy(scattering, arguments, {}, p))(place)

    one, several = jax.jit(density), jax.jit(jax.vmap(density, (0, None)))
    chains = {name: jax.numpy.asarray(x) for name, x in starting_points(target, CHAINS, seed=0).items()}
    figures: dict[str, Any] = {
        "points": {"all": problem.volumes[0].n_points, "few": compressed.n_points},
        "error of the log-likelihood": compressed.volumes[0].error,
    }
    for name, each in (("all", target.arguments), ("few", compressed.target.arguments)):
        median, smallest = milliseconds(one, {site: x[0] for site, x in chains.items()}, each)
        together, least = (x / CHAINS for x in milliseconds(several, chains, each))
        figures[name] = {
            "ms": {"median": median, "least": smallest},
            "ms per chain of four": {"median": together, "least": least},
        }
    print(f"density of the posterior: {json.dumps(figures)}")
    return figures


def value_and_gradient(phi: jax.Array, forward: ForwardModel, data: Likelihood) -> object:
    """Of the log-likelihood at the best scale and level of noise."""
    return jax.value_and_grad(lambda p: log_likelihood(forward, data, p))(phi)


def paper_epoch(study: Study) -> float:
    """Seconds per epoch of the algorithm of arXiv:2603.28683: dense Cholesky, 15 configurations."""
    volume, supercell = study.own_volume(), study.supercell()
    intensity = volume["intensity"].values
    used = np.isfinite(intensity)
    target = stochastic_fit.Target(
        harmonic_crystal(study.irreducible, supercell, study.model_temperature),
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
    return min(seconds)  # the first chunk is compiled


def paper_algorithm(step: float) -> dict[str, Any]:
    """The algorithm of arXiv:2603.28683 beside the exact engine, whose step takes ``step`` ms."""
    study = build_study(load_model("ni_fcc_paper"))
    epoch = paper_epoch(study)
    problem = study.problem(study.own_volume(), "paper grid")
    point_fit(problem, study.ifcs("meam_paper"))
    began = time.perf_counter()
    point_fit(problem, study.ifcs("meam_paper"))
    fit = time.perf_counter() - began
    epochs = json.loads(TRAINING.read_text("utf-8"))["epochs to the rms error of the paper"]
    figures = {
        "seconds per epoch": epoch,
        "epoch over a step of the exact engine": 1e3 * epoch / step,
        "seconds of the exact fit, compiled": fit,
        "epochs to the rms error of the paper's Table 1": epochs,
        "minutes of these epochs": None if epochs is None else epochs * epoch / 60,
        "these over the exact fit": None if epochs is None else epochs * epoch / fit,
    }
    print(f"the paper's algorithm: {json.dumps(figures)}")
    return figures


def from_process_start(*arguments: str) -> dict[str, float]:
    """A command as a user runs it, imports included: seconds, the first time and again, and peak memory."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        # A cache of its own, so that the first run finds nothing compiled.
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        for name in ("first.nc", "second.nc"):
            command = [sys.executable, "-m", "bayestds", *arguments, "-o", str(Path(folder, name))]
            began = time.perf_counter()
            subprocess.run(
                command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    first, again = seconds
    figures = {"seconds, nothing compiled before": first, "seconds": again, "peak memory so far, GiB": peak}
    print(f"bayestds {' '.join(arguments)}: {json.dumps(figures)}")
    return figures


def main() -> None:
    """Print every figure, and write them."""
    jax.config.update("jax_enable_x64", True)
    found = machine()
    print(in_words(found))
    figures: dict[str, Any] = {
        "machine": found,
        "from process start": {words: from_process_start(*words.split()) for words in COMMANDS},
        "value and gradient": paper_grid(),
        "density of the posterior": posterior_density(),
    }
    step = figures["value and gradient"]["near/far"]["ms"]["median"]
    figures["paper's algorithm"] = paper_algorithm(step)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
