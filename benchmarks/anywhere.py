"""Points between wave vectors of the supercell: what value and gradient cost beside those on the mesh.

The grid of the paper (12,286 points of nickel, 5x5x5 cells, 16 constants), with and without third order,
classical and quantum: on the mesh; moved by a fraction of its step, so that points share their q;
and at random, where every point has its own.

Usage: python benchmarks/anywhere.py
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from machine import in_words, machine
from run import milliseconds

from bayestds.choices import StatisticsName
from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.force_constants.third_order import third_order_force_constants
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.q_points import FreePoints, MeshPoints
from bayestds.scattering.terms import make_cubic

RESULT = Path(__file__).parent / "results" / "anywhere.json"
TOLERANCE = 5e-5
SHIFT = np.array([0.03, 0.07, 0.05])
"""Of the points that share their q, conventional r.l.u.; wave vectors of the supercell are 0.2 apart."""


@jax.jit
def value_and_gradient(forward: ForwardModel, parameters: jax.Array) -> object:
    """Of the sum of the log intensities."""
    return jax.value_and_grad(lambda p: log_intensity(forward, p).sum())(parameters)


def main() -> None:
    """Print every figure, and write them."""
    jax.config.update("jax_enable_x64", True)
    found = machine()
    print(in_words(found))
    study = build_study(load_model("ni_fcc_paper"))
    problem = study.problem(study.own_volume(), "paper grid")
    (volume,), supercell = problem.volumes, problem.supercell
    on_mesh = volume.grid.q_points
    at_random = on_mesh + np.random.default_rng(0).uniform(-0.1, 0.1, on_mesh.shape)
    points = {
        "mesh": MeshPoints(supercell, on_mesh),
        "shared q": FreePoints(study.irreducible, supercell, on_mesh + SHIFT),
        "own q each": FreePoints(study.irreducible, supercell, at_random),
    }
    third_order = third_order_force_constants(study.crystal, 1)
    phi = jnp.asarray(study.ifcs("u3_paper"))
    both = jnp.append(phi, jnp.asarray(1e-2 * np.arange(1.0, third_order.n_cubic + 1)))
    statistics: tuple[StatisticsName, ...] = ("classical", "quantum")
    figures: dict[str, dict[str, float]] = {name: {} for name in points}
    for motion in statistics:
        crystal = harmonic_crystal(study.irreducible, supercell, volume.temperature, motion)
        term = make_cubic(third_order, supercell, crystal, phi)
        for name, where in points.items():
            forward = ForwardModel(crystal, (), where.cheapest(covariance(crystal, phi), TOLERANCE), ())
            with_third = ForwardModel(crystal, (term,), forward.lattice_sum, ())
            for words, model, place in (("harmonic", forward, phi), ("third order", with_third, both)):
                median, _ = milliseconds(value_and_gradient, model, place)
                figures[name][f"{words}, {motion}"] = median
            print(
                f"{motion}, {len(term.nodes.times)} nodes, {name}: {json.dumps(figures[name])} ms", flush=True
            )
    RESULT.write_text(json.dumps({"machine": found, "ms": figures}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
