"""Figures 4 to 7 of arXiv:2603.28683 for our own run of its training, in our own layout.

Usage: python benchmarks/paper_figures.py TRAINING TARGET [-o FOLDER]

TRAINING and TARGET: what benchmarks/paper_training.py wrote, and what it was trained on.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from scipy.special import polygamma

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.inference.stochastic_fit import Training, moving_average
from bayestds.io import read_volume
from bayestds.lattice_dynamics.paths import band_path
from bayestds.lattice_dynamics.phonons import frequencies
from bayestds.report.plots import save_figure
from bayestds.report.training_plots import (
    comparison_figure,
    dispersion_figure,
    evolution_figure,
    loss_figure,
)
from bayestds.scattering.simulation import simulate_volume

WINDOW = 500
"""Epochs that the fit is averaged over."""

PATH = ["Γ", "X", "W", "K", "Γ", "L"]


def plane(study: Study, values: np.ndarray, l_index: float) -> np.ndarray:
    """Exact ln I (n_h, n_k) on the plane l = l_index."""
    h, k, _ = study.axes
    volume = simulate_volume(
        study.irreducible, values, study.supercell(), study.model_temperature, (h, k, np.array([l_index]))
    )
    return np.log(volume["intensity"].values[:, :, 0])


def main() -> None:
    """Write the four figures."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("training", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("."))
    given = parser.parse_args()

    study = build_study(load_model("ni_fcc_paper"))
    training = np.load(given.training)
    averaged = np.asarray(moving_average(training["irreducible"], WINDOW))
    sets = {"target": study.ifcs("u3_paper"), "initial": training["start"], "fit": averaged[-1]}
    volume = read_volume(given.target)
    for level in (0.0, 0.4):
        row = int(np.abs(volume["l"].values - level).argmin())
        target = np.log(volume["intensity"].values[:, :, row])
        initial, fit = (plane(study, sets[name], float(volume["l"][row])) for name in ("initial", "fit"))
        figure = comparison_figure(study.axes[0], study.axes[1], target, initial, fit, f"l = {level:g}")
        save_figure(figure, given.output / f"paper_slices_{level:g}.png")
    floor = float(polygamma(1, Training().configurations))
    save_figure(loss_figure(training["loss"], floor), given.output / "paper_loss.png")
    path = band_path(study.crystal, PATH)
    bands = {name: frequencies(study.irreducible, values, path.q_points) for name, values in sets.items()}
    save_figure(dispersion_figure(path, bands), given.output / "paper_dispersion.png")
    figure = evolution_figure(
        training["irreducible"], study.irreducible.names, study.irreducible.shells, sets["target"]
    )
    save_figure(figure, given.output / "paper_evolution.png")
    for name in ("initial", "fit"):
        print(f"{name}: frequencies off by at most {np.abs(bands[name] - bands['target']).max():.3f} THz")


if __name__ == "__main__":
    main()
