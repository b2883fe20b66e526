"""What a reader of a fit should know before its numbers are used: in sentences, and as a reason to refuse."""

import json
import math
from pathlib import Path
from typing import Any

import xarray as xr

from bayestds.diagnostics.per_shell import listed
from bayestds.errors import ResultError
from bayestds.inference.uncertainty import ACCEPTABLE_CHI_SQUARE, Uncertainty

IMPLAUSIBLE = 1e-3
"""Probability below which a volume is said to disagree with the others of a joint fit."""

WIDENED = {
    "misfit": "residuals larger than the noise",
    "star": "noise that voxels of equal k share",
    "zone": "residuals that are correlated within Brillouin zones",
}
"""What standard errors allow for beyond independent noise."""


def uncertainty_record(found: Uncertainty) -> dict[str, Any]:
    """How the standard errors of a fit came about, with the keys of the JSON output."""
    clusters = {"star": found.star, "zone": found.zone}
    return {
        "widened_by": list(found.widened_by),
        "coherence": {
            name: {"ratio": one.coherence, "p_value": one.p_value, "n_clusters": one.n_clusters}
            for name, one in clusters.items()
            if one is not None
        },
    }


def misfit_warnings(found: Uncertainty, noise: str) -> list[str]:
    """Sentences on residuals that are larger than the noise, or not independent.

    Args:
        found: the errors of a fit.
        noise: what residuals are compared with, in words.
    """
    warnings = []
    if found.chi_square > ACCEPTABLE_CHI_SQUARE and not found.exact:
        warnings.append(
            f"chi-square per degree of freedom is {found.chi_square:.3g}: the residuals are larger than "
            f"{noise}. The model does not describe the data, so no shell is called determined."
        )
    if found.widened_by:
        reasons = tuple(WIDENED[name] for name in found.widened_by)
        warnings.append(f"the standard errors are widened: they allow for {listed(reasons)}.")
    if "star" in found.widened_by and found.star is not None:
        warnings.append(
            f"residuals within the {found.star.n_clusters} stars of equivalent wave vectors are correlated, "
            f"{found.star.coherence:.3g} times as much as independent noise allows, as in a mean over "
            "configurations. If the volume is one, state their number as `configurations` in [measurement]: "
            "the fit then uses the noise of such a mean."
        )
    return warnings


def cautions(tree: xr.DataTree) -> list[str]:
    """What is to be said of a result wherever its numbers are used: lack of convergence, and warnings."""
    found = [] if tree.attrs["converged"] else [f"the point fit did not converge. {tree.attrs['message']}"]
    return found + json.loads(tree.attrs.get("warnings", "[]"))


def standing(tree: xr.DataTree) -> dict[str, Any]:
    """How far a result is to be trusted, with the keys of the JSON output of all commands that use it."""
    return {
        "converged": bool(tree.attrs["converged"]),
        "reduced_chi_square": chi_square(tree),
        "widened_by": json.loads(tree.attrs.get("uncertainty", "{}")).get("widened_by", []),
        "cautions": cautions(tree),
    }


def _volumes(tree: xr.DataTree) -> list[xr.DataTree]:
    """The result itself, and the volumes of a joint fit."""
    return [tree, *(node for name, node in tree.children.items() if name.startswith("volume_"))]


def chi_square(tree: xr.DataTree) -> float:
    """The largest chi-square per degree of freedom of the volumes of a result; NaN where none is known."""
    known = [float(node.attrs.get("reduced_chi_square", math.nan)) for node in _volumes(tree)]
    return max((value for value in known if not math.isnan(value)), default=math.nan)


def sound(tree: xr.DataTree) -> bool:
    """Whether a fit may call shells determined.

    It has converged, and neither model nor prior nor, of several, another volume contradicts the data.
    """
    contradicted = bool(json.loads(tree.attrs.get("prior_conflict", "[]")))
    contradicted |= any(node.attrs.get("p_value", 1.0) < IMPLAUSIBLE for node in _volumes(tree))
    return bool(tree.attrs["converged"]) and not contradicted and not chi_square(tree) > ACCEPTABLE_CHI_SQUARE


def check_converged(tree: xr.DataTree, path: Path, insist: bool) -> None:
    """Refuse the result of a fit that did not converge, unless it is insisted on.

    Raises:
        ResultError: it did not converge.
    """
    if not (tree.attrs["converged"] or insist):
        raise ResultError(
            f"The fit in {path} did not converge.",
            f"{tree.attrs['message']} Its force constants and standard errors mean nothing yet.",
            "Fit again from another start, or with other data; --unconverged uses it all the same.",
        )
