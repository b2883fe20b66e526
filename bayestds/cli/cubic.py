"""Third-order force constants on the command line: what a fit asks for, what it found, and words for it."""

from typing import Any

import numpy as np

from bayestds.cli.output import number, print_table
from bayestds.diagnostics.cubic import anharmonic_words
from bayestds.diagnostics.dataset import ERRORS
from bayestds.inference.fit_result import PointFit
from bayestds.inference.problem import Problem


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
    values = {
        "value": result.cubic,
        "sd": np.sqrt(np.diag(covariance))[len(covariance) - len(result.cubic) :],
    }
    values |= {key: columns[name] for key, name in ERRORS.items()}
    return {
        name: {"shell": int(problem.third_order.shells[i]), **{key: float(x[i]) for key, x in values.items()}}
        for i, name in enumerate(problem.third_order.names)
    }


def print_cubic(record: dict[str, Any]) -> None:
    """Print the third-order constants of the record of a fit, and how anharmonic the volume is."""
    print_cubic_constants(record)
    if record["cubic"]:
        for sentence in anharmonic_words(record["anharmonicity"]):
            print(sentence)


def print_cubic_constants(record: dict[str, Any]) -> None:
    """Print the third-order constants of the record of a fit, if there are any."""
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
