"""Third-order force constants on the command line: what a fit asks for, what it found, and words for it."""

from typing import Any

import numpy as np

from bayestds.cli.output import number, print_table
from bayestds.config import Model
from bayestds.diagnostics.cubic import anharmonic_words
from bayestds.diagnostics.dataset import ERRORS
from bayestds.errors import ModelError
from bayestds.inference.point_fit import PointFit
from bayestds.inference.problem import Problem
from bayestds.scattering.forward import Statistics

ASKED = "third-order force constants (`cubic_shells` in [force_constants], or --cubic)"


def check_cubic(
    model: Model, name: str, statistics: Statistics, on_mesh: bool, configurations: int | None
) -> None:
    """Refuse third-order constants where what they add to the scattering, or its noise, is not known.

    Args:
        model: which asks for them.
        name: of the volume.
        statistics: of the displacements behind it.
        on_mesh: whether its voxels are wave vectors of the supercell, and nothing is averaged.
        configurations: that it is a mean over, None for other volumes.

    Raises:
        ModelError: the volume is one of quantum displacements, between wave vectors of the supercell, or a
            mean over configurations of a harmonic crystal.
    """
    summary = f"{model.path} asks for {ASKED} in the fit to {name}."
    if statistics == "quantum":
        raise ModelError(
            summary,
            "Its displacements have quantum statistics; the scattering that third order adds is known here "
            "for classical motion only.",
            'Give statistics = "classical" in [measurement] if the volume is one of molecular dynamics; else '
            "leave third order out.",
        )
    if not on_mesh:
        raise ModelError(
            summary,
            "Its voxels are averaged over, or lie between, wave vectors of the supercell; the scattering "
            "that third order adds is known here at these wave vectors only.",
            "Leave third order out, or commensurate = false and what [instrument] averages over.",
        )
    if configurations:
        raise ModelError(
            summary,
            f"It is a mean over {configurations} independent configurations, whose noise is known for a "
            "harmonic crystal only.",
            'Leave third order out, or set noise = "learned" in [fit].',
        )


def refuse_cubic(model: Model, asked: bool) -> None:
    """Refuse third-order constants in a fit of several volumes.

    Raises:
        ModelError: they are asked for.
    """
    if asked:
        raise ModelError(
            f"{model.path} asks for {ASKED}.",
            "Fits of several volumes are harmonic.",
            "Fit each volume by itself, or leave third order out: --cubic 0.",
        )


def cubic_values(
    problem: Problem, result: PointFit, covariance: np.ndarray, columns: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Third-order constants of a fit by name, with the keys of the JSON output; none of a harmonic fit.

    Args:
        problem: what was fitted.
        result: the fit.
        covariance: (n_constants, n_constants) of the constants of both orders.
        columns: standard errors (n_cubic,) of each kind.
    """
    if problem.third_order is None:
        return {}
    values = {"value": result.cubic, "sd": np.sqrt(np.diag(covariance))[len(result.irreducible) :]}
    values |= {key: columns[name] for key, name in ERRORS.items()}
    return {
        name: {"shell": int(problem.third_order.shells[i]), **{key: float(x[i]) for key, x in values.items()}}
        for i, name in enumerate(problem.third_order.names)
    }


def print_cubic(record: dict[str, Any]) -> None:
    """Print the third-order constants of the record of a fit, and how anharmonic the volume is."""
    if not record["cubic"]:
        return
    rows = [
        (
            name,
            str(one["shell"]),
            number(one["value"], 4),
            *(number(one[key], 4) for key in ("sd", *ERRORS)),
        )
        for name, one in record["cubic"].items()
    ]
    columns = ("IFC", "shell", "fit", "standard error", "independent", "by star", "by zone")
    print_table("Third-order force constants (eV/Å³)", columns, rows)
    for sentence in anharmonic_words(record["anharmonicity"]):
        print(sentence)
