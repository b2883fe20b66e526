"""Cost of value and gradient of the log-likelihood, up to 20³ conventional cells and 33 million voxels.

Usage: python benchmarks/scaling.py [-o benchmarks/results/scaling.json]

Nickel, and two cubic crystals of springs, with 1, 2 and 8 atoms in the primitive cell. The voxels are all
wave vectors of the supercell with |h|, |k|, |l| up to a limit; of their Laue orbits one point each is
evaluated. Every size runs in a process of its own, which tells its peak memory. All sizes run in turn, and
then again: a shared machine is at times slower by a third for a minute, and of each size the faster round
is kept.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from density import log_likelihood
from machine import in_words, machine

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.crystal.structure import build_crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.log_normal import learned_log_normal
from bayestds.io.atomic import atomic_path
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, covariance, harmonic_crystal, star_blocks
from bayestds.lattice_dynamics.stars import packed_in_real_space
from bayestds.memory import keep_freed_memory
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.exact import log_intensity
from bayestds.scattering.expansion import choose_engine, measure_truncation
from bayestds.scattering.forward import ForwardModel
from bayestds.scattering.lattice_sum import OnMesh

MODEL, IFCS = "ni_fcc_paper", "u3_paper"
"""Of nickel, which is the case "fcc"."""

CASES: dict[str, dict[str, Any]] = {
    "fcc": {"reach": 8},
    "diamond": {"space_group": 227, "a": 5.43, "sites": {"Si": [0, 0, 0]}, "shells": 3, "reach": 8},
    "A15": {
        "space_group": 223,
        "a": 4.56,
        "sites": {"Cr": [0.25, 0, 0.5], "Si": [0, 0, 0]},
        "shells": 3,
        "reach": 4,
    },
}
"""What the crystals of springs are made of does not matter, only how many numbers there are."""

STIFFNESS = 1.5
"""Longitudinal spring constant of the first shell, eV/Å²; each further shell has a third of the last."""

SIZES = {"fcc": (5, 7, 10, 14, 20), "diamond": (5, 7, 10, 14, 20), "A15": (5, 7, 10, 14, 20)}
"""Supercells, conventional cells along each axis."""

ROUNDS = 2

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Parts of the points of the largest fcc supercell, taken at random."""


def crystal_of(name: str) -> tuple[IrreducibleForceConstants, np.ndarray]:
    """Irreducible force constants of a case, and their values, eV/Å²."""
    if name == "fcc":
        study = build_study(load_model(MODEL))
        return study.irreducible, study.ifcs(IFCS)
    case = CASES[name]
    lattice, sites = [case["a"]] * 3 + [90] * 3, case["sites"]
    crystal = build_crystal(lattice, list(sites), list(sites.values()), space_group=case["space_group"])
    irreducible = irreducible_force_constants(crystal, case["shells"])
    return irreducible, springs(irreducible)


def springs(irreducible: IrreducibleForceConstants) -> np.ndarray:
    """Irreducible force constants of springs, a tenth as stiff across a bond as along it, eV/Å²."""
    pairs, crystal = irreducible.pairs, irreducible.crystal
    bonds = crystal.bond_vectors(pairs)
    lengths = np.linalg.norm(bonds, axis=1)
    bonded = lengths > 1e-6
    shell = np.unique(lengths[bonded].round(3), return_inverse=True)[1]
    along = bonds[bonded] / lengths[bonded, None]
    stiffness = STIFFNESS / 3.0 ** shell[:, None, None]
    blocks = -stiffness * (0.9 * np.einsum("pi,pj->pij", along, along) + 0.1 * np.eye(3))
    basis = irreducible.basis[bonded].reshape(-1, irreducible.n_irreducible)
    return np.linalg.lstsq(basis, blocks.ravel())[0]


def wedge_points(supercell: Supercell, n: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Points 0 <= l <= k <= h <= reach in steps of 1/n, and how many voxels each stands for; Laue group m-3m.

    Each is moved to an equivalent so that few distinct k occur, and Bragg points are left out: what
    ``reduce_grid`` finds by going through all voxels.
    """
    rows = []
    for h in range(reach * n + 1):
        k, l_ = np.tril_indices(h + 1)
        rows.append(np.column_stack([np.full(len(k), h), k, l_]))
    steps = np.concatenate(rows)
    orders = 1 + (np.diff(steps, axis=1) != 0).sum(axis=1)
    # 1, 3 or 6 orders of three numbers, and a sign for each that is not zero.
    multiplicity = np.array([0, 1, 3, 6])[orders] * 2 ** (steps != 0).sum(axis=1)
    # One rotation for each k of the supercell: that to the smallest index.
    matrix = supercell.crystal.conventional_matrix.T
    rotations = supercell.crystal.laue_group
    images = np.stack([supercell.k_index(supercell.k_points @ matrix @ turn) for turn in rotations])
    k_index = supercell.k_index(steps / n)
    points = np.einsum("qi,qij->qj", steps / n, rotations[images.argmin(axis=0)[k_index]])
    return points[k_index > 0], multiplicity[k_index > 0]


def timed(function: Callable[..., object], *arguments: object, seconds: float = 6.0) -> dict[str, float]:
    """Seconds of a compiled call: best and median, and what all cores together worked for one in the mean."""
    began = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    compiled = time.perf_counter() - began
    walls: list[float] = []
    work = time.process_time()
    while len(walls) < 5 or sum(walls) < seconds:
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        walls.append(time.perf_counter() - start)
    work = time.process_time() - work
    return {
        "best": min(walls),
        "median": float(np.median(walls)),
        "processor": work / len(walls),
        "repeats": len(walls),
        "first_call": compiled,
    }


def rates() -> dict[str, float]:
    """Multiply-adds, bytes copied and exponentials in a second of one core of this machine."""
    square = jnp.asarray(np.random.default_rng(0).normal(size=(1500, 1500)))
    long = jnp.linspace(-20.0, 0.0, 2**24)
    short = long[: 2**17]
    times = {
        "multiply_adds": 1500**3 / timed(jax.jit(lambda x: x @ x), square, seconds=3)["processor"],
        "bytes": 16 * len(long) / timed(jax.jit(lambda x: x + 1.0), long, seconds=3)["processor"],
        "exponentials": len(short) / timed(jax.jit(jnp.exp), short, seconds=1)["processor"],
    }
    return times


def operations(engine: ExactEngine) -> dict[str, float]:
    """How much there is to do for one value and gradient, beside the covariance itself."""
    passes = 1 if engine.n_groups == 1 else 2
    points, sums, lattice = engine.points, engine.sums, engine.lattice
    places, n_kinds, n_rows = points.products.size // 6, len(engine.kinds), engine.n_atoms**2
    n_cells, n_k = sums.weights.shape[1], len(sums.k_points)
    monomials = [(2 * n + 1) * (n + 1) for n in range(1, engine.order + 1)]
    transformed, direct = monomials[: sums.n_transformed], monomials[sums.n_transformed :]
    # Cells in each order that is summed directly.
    in_order = [sum(x.cells.size for x in sums.direct if x.weights.shape[1] > n) for n in range(len(direct))]
    of_cells = n_cells * sum(transformed) + sum(np.multiply(in_order, direct))
    if lattice is None:
        polynomials = (passes + 1) * places * n_rows * sum(monomials)
    else:
        polynomials = 2 * n_rows * n_k * lattice.monomials.shape[1] * comb(2 * engine.order + 3, 3)
    found = {
        # Evaluated again on the way back where the points are in groups.
        "exponentials": passes * places * (len(engine.near_pairs) + n_kinds),
        # Exponents, and the derivative of their coefficients.
        "exponents": 6 * (passes + 1) * places * (len(engine.near_pairs) + n_kinds),
        # Values and the derivative of coefficients.
        "polynomials": polynomials,
        # Made twice and differentiated once, six products each.
        "series": 3 * 6 * n_kinds * of_cells,
        "waves": 2 * n_rows * n_k * float(sum(np.multiply(in_order, direct))),
        # 2.5 N log2 N for real numbers, there and back.
        "transforms": 2 * 2.5 * n_kinds * sum(transformed) * n_cells * np.log2(n_cells),
        # Products, structure factors and Fourier sums of every point, read at each pass.
        "bytes": 8 * (passes + 1) * places * (6 + 2 * n_rows),
    }
    return {part: float(number) for part, number in found.items()}


def measure(name: str, n: int, share: float = 1.0) -> dict[str, Any]:
    """One size: cost, peak memory, and what the engine looks like."""
    irreducible, values = crystal_of(name)
    supercell = make_supercell(irreducible.crystal, [n] * 3)
    points, multiplicity = wedge_points(supercell, n, CASES[name]["reach"])
    if share < 1:
        rows = np.random.default_rng(0).permutation(len(points))[: int(share * len(points))]
        points, multiplicity = points[np.sort(rows)], multiplicity[np.sort(rows)]
    phi = jnp.asarray(values)
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    engine = choose_engine(supercell, points, covariance(crystal, phi))
    forward = ForwardModel(crystal, (), OnMesh(engine), ())
    observed = jax.jit(log_intensity)(engine, packed_covariance(covariance(crystal, 1.01 * phi)))
    data = learned_log_normal(observed, multiplicity.astype(float))

    def likelihood(phi: jax.Array, forward: ForwardModel, data: Likelihood) -> jax.Array:
        return log_likelihood(forward, data, phi)

    def sum_of_squares(phi: jax.Array, crystal: HarmonicCrystal) -> jax.Array:
        waves = crystal.statistics.covariance(star_blocks(crystal, phi))
        return (packed_in_real_space(crystal.stars, waves) ** 2).sum()

    found = timed(jax.jit(jax.value_and_grad(likelihood)), phi, forward, data)
    alone = timed(jax.jit(jax.value_and_grad(sum_of_squares)), phi, crystal, seconds=2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    error = np.abs(measure_truncation(engine, supercell, points, covariance(crystal, phi)).error).max()
    return {
        "crystal": name,
        "atoms": irreducible.crystal.n_atoms,
        "conventional_cells": n**3,
        "cells": supercell.n_cells,
        "voxels": (2 * CASES[name]["reach"] * n + 1) ** 3,
        "points": len(points),
        "share": share,
        "order": engine.order,
        "near_pairs": len(engine.near_pairs),
        "groups": engine.n_groups,
        "seconds": found,
        "covariance": alone,
        "operations": operations(engine),
        "error in ln I": float(error),
        "peak_GiB": peak,
        "load": os.getloadavg()[0],
    }


def in_its_own_process(*case: str) -> dict[str, Any]:
    """What :func:`measure` finds in a fresh process."""
    command = [sys.executable, __file__, "--case", *case]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{found['crystal']:8s} {found['conventional_cells']:6d} cells {found['points']:7d} points: "
        f"median {found['seconds']['median']:.4f} s, processor {found['seconds']['processor']:.4f} s, "
        f"peak {found['peak_GiB']:.2f} GiB (order {found['order']}, {found['near_pairs']} near pairs, "
        f"error in ln I {found['error in ln I']:.1e})",
        flush=True,
    )
    return found


def exponent(runs: list[dict[str, Any]], of: str, over: str = "points") -> float:
    """Slope of ln(time) over ln(points), or over that of the voxels they stand for."""
    sizes = np.log([run[over] for run in runs])
    return float(np.polyfit(sizes, np.log([run["seconds"][of] for run in runs]), 1)[0])


def exponents(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How the time grows with the points: at one supercell, and along with the supercell."""
    found = {}
    for of in ("median", "processor"):
        found[of] = found_here = {}
        for name in CASES:
            runs = [run for run in record["sizes"] if run["crystal"] == name]
            if len(runs) > 1:
                found_here[f"voxels and supercell, {name}"] = exponent(runs, of, "voxels")
                found_here[f"points and supercell, {name}"] = exponent(runs, of)
            if len(runs) > 2:
                found_here[f"the same without the smallest, {name}"] = exponent(runs[1:], of)
        if len(record["shares"]) > 1:
            found_here["points of one supercell, fcc"] = exponent(record["shares"], of)
    return found


def main() -> None:
    """Every figure, and the file of results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results/scaling.json")
    parser.add_argument("--case", nargs=3, metavar=("CRYSTAL", "N", "SHARE"))
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if given.case:
        # As the command line does.
        keep_freed_memory()
        name, n, share = given.case
        print(json.dumps(measure(name, int(n), float(share))))
        return
    found = machine()
    print(in_words(found))
    record: dict[str, Any] = {"machine": found, "rates": rates(), "sizes": [], "shares": []}
    largest = max(SIZES["fcc"])
    cases = [("sizes", name, n, 1.0) for name in CASES for n in SIZES[name]]
    cases += [("shares", "fcc", largest, share) for share in SHARES]
    rounds: list[list[dict[str, Any]]] = []
    for _ in range(ROUNDS):
        rounds.append([in_its_own_process(name, str(n), str(share)) for _, name, n, share in cases])
        faster = [min(runs, key=lambda run: run["seconds"]["median"]) for runs in zip(*rounds, strict=True)]
        for group in ("sizes", "shares"):
            record[group] = [run for run, case in zip(faster, cases, strict=True) if case[0] == group]
        record["exponents"] = exponents(record)
        # After each: they take their time.
        with atomic_path(given.output) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    for of, values in record["exponents"].items():
        for name, value in values.items():
            print(f"exponent of the {of} time, {name}: {value:.3f}")


if __name__ == "__main__":
    main()
