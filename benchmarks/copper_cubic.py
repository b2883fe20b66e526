"""Third-order force constants of copper from molecular dynamics: what they explain, and what they move.

Usage: python benchmarks/copper_cubic.py FOLDER [--volume VOLUME] [--as-is]

Runs the commands below in the folder, as far as their results are not there yet (with --as-is none of them),
and writes benchmarks/results/copper.json from all results; benchmarks/anharmonic_page.py makes the page.
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from cubic import gauss_newton
from machine import machine

from bayestds.cli.assemble import build_study
from bayestds.cli.comparison import comparison_record
from bayestds.config import load_model
from bayestds.diagnostics.cubic import anharmonicity
from bayestds.diagnostics.dataset import POSTERIOR
from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import read_result
from bayestds.diagnostics.summary import summary_record
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.log_normal import LearnedLogNormal
from bayestds.inference.predictive import star_labels
from bayestds.io import read_volume
from bayestds.io.atomic import atomic_path
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.expansion import choose_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.terms import make_cubic

HERE = Path(__file__).parent
VOLUME = HERE.parent / "tests" / "data" / "cu_md_300K.nxs"
MODEL = "cu_fcc"

HARMONIC, CUBIC, TWO_SHELLS = "copper_harmonic.nc", "copper_cubic.nc", "copper_two_shells.nc"
COMMANDS = {
    HARMONIC: ["sample"],
    CUBIC: ["sample", "--cubic", "1"],
    TWO_SHELLS: ["fit", "--cubic", "2"],
}

POTENTIAL = {
    (1, 1, 0): {"longitudinal": -9.4723, "transverse_001": 0.6439},
    (2, 0, 0): {"longitudinal": 0.0989, "transverse_001": -0.0719},
}
"""∂³E/∂u₀∂u₀∂u_j (eV/Å³) of the copper potential U3 of the run (Foiles, Baskes, Daw, Phys. Rev. B 33 (1986)
7983), by finite differences of the energy at 0 K (LAMMPS, 864 atoms): the last derivative along the bond, in
units of a/2, to atom j; the others along it too, or both along [001]."""


def main() -> None:
    """Make what is missing, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--volume", type=Path, default=VOLUME)
    parser.add_argument("--as-is", action="store_true")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in COMMANDS.items():
        if not given.as_is and not (folder / name).exists():
            command = [words[0], MODEL, str(given.volume.resolve()), *words[1:], "-o", name]
            subprocess.run([sys.executable, "-m", "bayestds", *command], cwd=folder, check=True)
    trees = {name: read_result(folder / name) for name in COMMANDS if (folder / name).exists()}
    sampled = [name for name, tree in trees.items() if tree.attrs["kind"] == POSTERIOR]
    found = {
        "machine": machine(),
        # Without the folders of whoever ran them.
        "commands": {name: re.sub(r"\S*/", "", tree.attrs["command"]) for name, tree in trees.items()},
        "residual": {name: json.loads(tree.attrs["residuals"]) for name, tree in trees.items()},
        "anharmonicity": {name: anharmonicity(trees[name]) for name in trees if name != HARMONIC},
        "bonds": {" ".join(map(str, bond)): _bond(trees, bond) for bond in POTENTIAL},
        "second_order": _second_order(trees),
        "posterior": {name: _posterior(trees[name]) for name in sampled},
    }
    if CUBIC in trees:
        found["left_out"] = left_out(given.volume)
    if len(sampled) > 1:
        found["compare"] = comparison_record([Path(name) for name in sampled], [trees[n] for n in sampled])
    with atomic_path(HERE / "results" / "copper.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def left_out(volume: Path) -> dict[str, Any]:
    """Log densities of the points of each star of k under fits to all others, in nats.

    What ``compare`` estimates from the draws of one posterior. Here the constants, the scale and the noise
    are fitted anew without each star; their uncertainty, small beside the noise, is not in the density.
    """
    study = build_study(load_model(MODEL))
    problem = study.problem(read_volume(volume), "copper")
    (data,) = problem.volumes
    stars = star_labels(problem.supercell, data.grid.q_points)
    third_order = third_order_force_constants(study.crystal, 1)
    phi = study.ifcs("bvk_296K")
    given = study.irreducible, problem.supercell, data.temperature
    crystal = harmonic_crystal(*given)
    here = covariance(crystal, jnp.asarray(phi))
    lattice_sum = OnMesh(choose_engine(problem.supercell, data.grid.q_points, here))
    terms = (make_cubic(third_order, problem.supercell, crystal, jnp.asarray(phi)),)
    forward = ForwardModel(crystal, terms, lattice_sum, ())
    density, noise = {}, {}
    for name, n_cubic in ((HARMONIC, 0), (CUBIC, third_order.n_cubic)):
        model = forward if n_cubic else replace(forward, terms=())
        start, likelihood = np.append(phi, np.zeros(n_cubic)), data.likelihood
        start = gauss_newton(model, likelihood, start, np.eye(len(phi) + n_cubic))[0]
        found = [_of_star(model, likelihood, start, stars == star) for star in np.unique(stars)]
        density[name], noise[name] = (np.array(column) for column in zip(*found, strict=True))
    behind = density[CUBIC] - density[HARMONIC]
    return {
        "stars": len(behind),
        "stars that the harmonic fit predicts worse": int((behind > 0).sum()),
        "behind": float(behind.sum()),
        "behind_se": float(np.sqrt(len(behind)) * behind.std(ddof=1)),
        "noise": {name: [float(values.min()), float(values.max())] for name, values in noise.items()},
    }


def _of_star(
    forward: ForwardModel, data: Likelihood, start: np.ndarray, left_out: np.ndarray
) -> tuple[float, float]:
    """Log density of some points under the fit to the others, and the noise of a voxel that it has."""
    assert isinstance(data, LearnedLogNormal)
    others = replace(data.relative, weight=jnp.where(left_out, 0.0, data.relative.weight))
    # From the fit to all points two steps go all the way.
    place, _ = gauss_newton(forward, others, start, np.eye(len(start)), steps=2)
    misfit = np.asarray(others.quadratic(log_intensity(forward, jnp.asarray(place)), 0).residual)
    weight = np.asarray(data.relative.weight)
    squares = weight * misfit**2
    variance = squares[~left_out].sum() / ((~left_out).sum() - len(start) - 1)
    logs = np.log(2 * np.pi * variance / weight)
    return float(-0.5 * (logs + squares / variance)[left_out].sum()), float(np.sqrt(variance))


def _bond(trees: dict[str, xr.DataTree], bond: tuple[int, int, int]) -> dict[str, Any]:
    """What the fits say of the third derivatives along a bond, beside the potential's; eV/Å³."""
    found: dict[str, Any] = {kind: {"potential": value} for kind, value in POTENTIAL[bond].items()}
    for name in trees:
        if name == HARMONIC:
            continue
        draws, fit = force_constant_draws(trees[name], 20), trees[name]["cubic"].dataset
        assert draws.third_order is not None
        for kind, one in found.items():
            row = _projection(draws.third_order, np.array(bond), kind == "longitudinal")
            if row is None:
                continue
            sd = float(np.sqrt(row @ fit["covariance"].values @ row))
            one[name] = {"value": float(row @ fit["value"].values), "sd": sd}
    return found


def _projection(
    third_order: ThirdOrderForceConstants, bond: np.ndarray, longitudinal: bool
) -> np.ndarray | None:
    """Coefficients (n_cubic,) of a third derivative along a bond; None where no shell has it."""
    crystal, along = third_order.crystal, bond / np.linalg.norm(bond)
    other = along if longitudinal else np.array([0.0, 0.0, 1.0])
    vectors = third_order.bonds[:, 2:] @ crystal.lattice_vectors
    wanted = bond * crystal.cell_parameters[0] / 2
    for sign in (1, -1):
        same = np.flatnonzero(np.abs(vectors - sign * wanted).max(axis=1) < 1e-6)
        if len(same):
            return sign * np.einsum("abcg,a,b,c->g", third_order.basis[same[0]], other, other, along)
    return None


def _second_order(trees: dict[str, xr.DataTree]) -> dict[str, Any]:
    """The irreducible constants of each fit with their errors, and how far all are from the potential's."""
    static = load_model(MODEL).ifcs["u3"].values
    names = [str(name) for name in trees[HARMONIC]["point_fit"].dataset["irreducible"].values]
    target, constants, distance = np.array([static[name] for name in names]), {}, {}
    for result, tree in trees.items():
        fit = tree["point_fit"].dataset
        keys = {"value": "value", "sd": "standard_error", "clustered_sd": "clustered_standard_error"}
        columns = {key: fit[variable].values for key, variable in keys.items()}
        constants[result] = {
            name: {key: float(column[i]) for key, column in columns.items()} for i, name in enumerate(names)
        }
        distance[result] = float(np.sqrt(np.mean((columns["value"] - target) ** 2)))
    before, after = (np.array([one["value"] for one in constants[n].values()]) for n in (HARMONIC, CUBIC))
    closer = [n for n, a, b, t in zip(names, before, after, target, strict=True) if abs(b - t) < abs(a - t)]
    return {"potential": static, "constants": constants, "rms_from_potential": distance, "closer": closer}


def _posterior(tree: xr.DataTree) -> dict[str, Any]:
    """What the chains say of the noise and of themselves."""
    record = summary_record(tree)
    constants = [*record["ifcs"].values(), *record["cubic"].values()]
    return {
        "learned_noise": record["learned_noise"],
        "largest_r_hat": max(one["r_hat"] for one in constants),
        "smallest_ess": min(min(one["ess_bulk"], one["ess_tail"]) for one in constants),
        "divergences": record["divergences"],
        "cubic": {name: {key: c[key] for key in ("mean", "sd")} for name, c in record["cubic"].items()},
        "likelihood_points": None if (points := tree.attrs.get("likelihood_points")) is None else int(points),
    }


if __name__ == "__main__":
    main()
