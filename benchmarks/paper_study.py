"""The studies of arXiv:2603.28683 on one target of sampled configurations: full grid, wedge and plane.

For each model: our errors and standard errors, the Cramér-Rao bound of the configurations behind the target,
the maximum-likelihood fit to the raw displacements of the same configurations, and the errors that the paper
prints. The displacements are drawn again from the seed that the target carries.

Usage: python benchmarks/paper_study.py TARGET [TARGET ...] [--models MODEL [MODEL ...]] [-o study.json]

TARGET: bayestds simulate ni_fcc_paper --engine sampled --configurations 100000 --seed 1 -o TARGET
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.inference.displacement_fit import displacement_fit
from bayestds.inference.information import displacement_information
from bayestds.inference.point_fit import point_fit
from bayestds.io import read_volume
from bayestds.io.atomic import atomic_path
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, harmonic_crystal
from bayestds.scattering.simulation import configuration, displacement_root

MODELS = ["ni_fcc_paper", "ni_fcc_paper_wedge", "ni_fcc_paper_plane"]
COLUMNS = ("true", "fit", "error", "sd", "bound", "from displacements", "paper's error")


@partial(jax.jit, static_argnames=("grid_shape", "n_atoms"))
def sample_covariance(
    root: Array, seed: int, configurations: int, grid_shape: tuple[int, int, int], n_atoms: int
) -> Array:
    """Ĉ(k) (n_k, 3n, 3n), Å², of the configurations that `bayestds simulate` draws."""
    n_cells, size = int(np.prod(grid_shape)), 3 * n_atoms
    key = jax.random.key(seed)

    def add(m: Array, total: Array) -> Array:
        u = configuration(root, key, m, grid_shape).reshape(*grid_shape, size)
        waves = jnp.fft.ifftn(u, axes=(0, 1, 2), norm="forward").reshape(n_cells, size)
        return total + waves[:, :, None] * waves[:, None, :].conj()

    total = jax.lax.fori_loop(0, configurations, add, jnp.zeros((n_cells, size, size), complex))
    return total / (configurations * n_cells)


def from_displacements(
    study: Study, crystal: HarmonicCrystal, volume: xr.Dataset, truth: np.ndarray
) -> np.ndarray:
    """Maximum-likelihood fit to the raw displacements behind a volume."""
    covariance = sample_covariance(
        displacement_root(crystal, jnp.asarray(truth)),
        volume.attrs["seed"],
        volume.attrs["configurations"],
        crystal.grid_shape,
        study.crystal.n_atoms,
    )
    return displacement_fit(crystal, covariance, truth)


def examine(name: str, path: Path) -> dict:
    """Fit one model to one target and compare."""
    study, volume = build_study(load_model(name)), read_volume(path)
    reference, m = study.model.fit.reference, volume.attrs["configurations"]
    truth = study.ifcs(reference)
    crystal = harmonic_crystal(study.irreducible, study.supercell(), study.model_temperature)
    began = time.perf_counter()
    problem = study.problem(volume, str(path)).with_volume(configurations=m)
    fit = point_fit(problem, study.ifcs(study.model.fit.start))
    seconds = time.perf_counter() - began
    bound = np.linalg.inv(np.asarray(displacement_information(crystal, jnp.asarray(truth), m)))
    likely = from_displacements(study, crystal, volume, truth)
    printed = [key for key in study.model.ifcs if key.endswith("_converged")]
    record = {
        "model": name,
        "target": path.name,
        "configurations": m,
        "seed": volume.attrs["seed"],
        "names": list(study.irreducible.names),
        "true": truth,
        "fit": fit.irreducible,
        "error": fit.irreducible - truth,
        "sd": np.sqrt(np.diag(fit.covariance)),
        "bound": np.sqrt(np.diag(bound)),
        "from displacements": likely,
        "paper's error": study.ifcs(printed[0]) - truth if printed else np.full(len(truth), np.nan),
        "converged": fit.converged,
        "seconds": seconds,
    }
    error, miss = record["error"], likely - truth
    record |= {
        "rms error, 1e-4 eV/Å²": 1e4 * rms(error),
        "paper's rms error, 1e-4 eV/Å²": 1e4 * rms(record["paper's error"]),
        "rms pull": rms(error / record["sd"]),
        "chi-square": float(error @ np.linalg.solve(fit.covariance, error)),
        "chi-square of the fit to displacements": float(miss @ np.linalg.solve(bound, miss)),
        "rms distance to that fit, in sd": rms((fit.irreducible - likely) / record["sd"]),
        "smallest and largest sd / bound": [f((record["sd"] / record["bound"]).tolist()) for f in (min, max)],
    }
    return record


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def show(record: dict) -> None:
    """Print one comparison."""
    print(f"\n{record['model']} on {record['target']}, {record['configurations']} configurations (eV/Å²)")
    print("IFC " + "".join(f"{column:>20s}" for column in COLUMNS))
    for i, name in enumerate(record["names"]):
        cells = [
            f"{record[column][i]:20.2e}" if column in ("sd", "bound") else f"{record[column][i]:+20.6f}"
            for column in COLUMNS
        ]
        print(f"{name:4s}" + "".join(cells))
    for key in list(record)[list(record).index("converged") :]:
        value = record[key]
        print(f"{key}: {value if isinstance(value, bool) else np.round(value, 4)}")


def main() -> None:
    """Every model on every target; pulls pooled over targets."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", type=Path, nargs="+")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("-o", "--output", type=Path, default=Path("study.json"))
    given = parser.parse_args()
    records = []
    for name in given.models:
        for path in given.targets:
            records.append(examine(name, path))
            show(records[-1])
            plain = [
                {key: value.tolist() if hasattr(value, "tolist") else value for key, value in record.items()}
                for record in records
            ]
            with atomic_path(given.output) as temporary:
                temporary.write_text(json.dumps(plain, indent=1))
        pulls = [r["rms pull"] for r in records if r["model"] == name]
        print(
            f"\n{name}: rms of pulls pooled over {len(pulls)} targets {rms(np.array(pulls)):.3f}", flush=True
        )


if __name__ == "__main__":
    main()
