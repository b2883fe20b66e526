"""Real input: a molecular-dynamics volume of copper, fitted from two starts, with other priors and shells.

Usage: python benchmarks/copper.py [VOLUME]
"""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.diagnostics.residuals import residual_report, zone_labels
from bayestds.inference.point_fit import point_fit
from bayestds.inference.predictive import star_labels
from bayestds.inference.uncertainty import clustered
from bayestds.io import read_volume
from bayestds.lattice_dynamics.phonons import frequencies

VOLUME = Path(__file__).parents[1] / "tests" / "data" / "cu_md_300K.nxs"
POINTS = {"X": [1.0, 0.0, 0.0], "L": [0.5, 0.5, 0.5]}
POTENTIAL_THZ = {"X": [5.074675, 5.074675, 7.620592], "L": [3.171944, 3.171944, 7.556224]}
"""Static zone-boundary frequencies of the potential (finite differences, LAMMPS)."""


def main() -> None:
    """Print every figure."""
    jax.config.update("jax_enable_x64", True)
    volume = read_volume(sys.argv[1] if len(sys.argv) > 1 else VOLUME)
    study = build_study(load_model("cu_fcc"))
    problem = study.problem(volume, "copper")
    fits = {name: point_fit(problem, study.ifcs(name)) for name in ("bvk_296K", "springs")}
    fit = fits["bvk_296K"]
    sd = np.sqrt(np.diag(fit.covariance))
    grid = problem.volumes[0].grid
    zones = zone_labels(grid.q_points, study.crystal)
    stars = star_labels(problem.supercell, grid.q_points)
    trusted = np.diag(problem.prior_scales**-2.0)
    found = {
        name: clustered(fit.precision, trusted, [(fit.volumes[0].scores(len(sd)), labels)])
        for name, labels in (("star", stars), ("zone", zones))
    }
    robust = {name: np.sqrt(np.diag(one.covariance)) for name, one in found.items()}
    print("IFC        fit    independent  by star  by zone  potential  difference (eV/Å²)")
    for i, name in enumerate(study.irreducible.names):
        value, reference = fit.irreducible[i], study.ifcs("u3")[i]
        errors = f"{sd[i]:.1e}  {robust['star'][i]:.1e}  {robust['zone'][i]:.1e}"
        print(f"{name}  {value:+.5f}  {errors}  {reference:+.5f}  {value - reference:+.5f}")
    for name, one in found.items():
        print(f"{one.n_clusters} {name}s: residuals cohere {one.coherence:.1f} times as much as by chance")
    residual = fit.volumes[0].residual
    print(residual_report(residual, grid.point_of_voxel, grid.axes, zones, study.crystal))
    difference = np.abs(fits["springs"].irreducible - fit.irreducible).max()
    print(f"two starts differ by at most {difference:.1e} eV/Å²; converged: "
          f"{[f.converged for f in fits.values()]}")  # fmt: skip
    wide = point_fit(replace(problem, given_scales=10 * problem.given_scales), fit.irreducible)
    print(
        f"tenfold wider priors: largest move {np.abs((wide.irreducible - fit.irreducible) / sd).max():.4f} sd"
    )

    for shells in (3, 4, 5, 6):
        other = build_study(load_model("cu_fcc"), shells)
        task = other.problem(volume, "copper")
        result = point_fit(task, other.ifcs("bvk_296K", complete=False))
        errors = np.sqrt(np.diag(result.covariance))
        first = ", ".join(
            f"{name} {result.irreducible[i]:+.4f} ± {errors[i]:.4f}"
            for i, name in enumerate(other.irreducible.names[:5])
        )
        print(
            f"{shells} shells: residual rms {result.residual_rms:.5f}, {first}, converged {result.converged}"
        )
        for point, q in POINTS.items():
            found = frequencies(other.irreducible, result.irreducible, np.array([q]))[0]
            percent = 100 * (found / np.array(POTENTIAL_THZ[point]) - 1)
            print(f"  {point}: {np.round(found, 3)} THz, {np.round(percent, 2)} % from the potential")


if __name__ == "__main__":
    main()
