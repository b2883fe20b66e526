"""Does the fit find the truth from anywhere? Random starts for fcc Ni on the paper's grid, noise-free.

Starts are drawn from normal priors of mean zero, never centred on the truth; unstable ones, which most of
them are, are kept.

Usage: python benchmarks/random_starts.py [N]
"""

import sys
import time

import jax
import numpy as np

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.inference.point_fit import point_fit
from bayestds.lattice_dynamics.harmonic import stable

SCALES = (1.0, 0.3, 0.1, 0.05, 0.03)
"""Prior standard deviation of each shell, eV/Å²."""


def main() -> None:
    """Fit from every start and count."""
    jax.config.update("jax_enable_x64", True)
    n_starts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    study = build_study(load_model("ni_fcc_paper"))
    truth = study.ifcs("u3_paper")
    problem = study.problem(study.simulated("u3_paper", scale=2.5), "paper grid")
    crystal = problem.crystal(problem.volumes[0])
    rng = np.random.default_rng(20261123)
    scales = np.array(SCALES)[study.irreducible.shells - 1]
    reached = honest = unstable = 0
    for number in range(n_starts):
        start = scales * rng.normal(size=len(truth))
        is_stable = bool(stable(crystal, start))
        began = time.perf_counter()
        fit = point_fit(problem, start)
        error = float(np.abs(fit.irreducible - truth).max())
        found = error < 1e-5
        unstable += not is_stable
        reached += found
        honest += fit.converged == found
        print(
            f"start {number:3d} {'stable  ' if is_stable else 'unstable'} converged {fit.converged!s:5} "
            f"error {error:.1e} eV/Å² rounds {len(fit.history)} {time.perf_counter() - began:.1f} s",
            flush=True,
        )
    print(
        f"{reached} of {n_starts} starts reached the truth within 1e-5 eV/Å² ({unstable} unstable); "
        f"'converged' was right for {honest}"
    )


if __name__ == "__main__":
    main()
