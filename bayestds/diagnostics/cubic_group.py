"""The group of a result file that holds the third-order force constants of its point fit."""

import numpy as np
import xarray as xr

from bayestds.inference.fit_result import PointFit
from bayestds.inference.problem import Problem


def cubic_group(
    problem: Problem, fit: PointFit, covariance: np.ndarray, columns: dict[str, np.ndarray]
) -> xr.Dataset:
    """Third-order constants by name: values, errors, priors, shells, and their covariances.

    Args:
        problem: what was fitted, with third-order constants.
        fit: its result.
        covariance: (n_constants, n_constants) of what all volumes share.
        columns: further values by third-order constant, (n_cubic,) each.
    """
    assert problem.third_order is not None
    n, names = len(fit.irreducible), list(problem.third_order.names)
    # With a trend, it lies between both orders.
    third = slice(len(covariance) - len(names), None)
    one = {
        "value": fit.cubic,
        "standard_error": np.sqrt(np.diag(covariance))[third],
        "prior_scale": problem.cubic_scales,
        **columns,
    }
    found = {name: ("third_order", values, {"units": "eV/Å³"}) for name, values in one.items()}
    both, cross = ("third_order", "third_order_2"), ("irreducible", "third_order")
    matrices = {
        "shell": ("third_order", problem.third_order.shells),
        "n_shells": ((), problem.third_order.n_shells),
        "covariance": (both, covariance[third, third], {"units": "eV²/Å⁶"}),
        "cross_covariance": (cross, covariance[:n, third], {"units": "eV²/Å⁵"}),
    }
    labels = {"third_order": names, "third_order_2": names, "irreducible": list(problem.irreducible.names)}
    return xr.Dataset(found | matrices, labels, {"units": "eV/Å³"})
