"""The command that compares posteriors of the same data."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.output import number, print_json, print_table
from bayestds.diagnostics.dataset import POINT_FIT, POSTERIOR, leave_one_out, shells_of
from bayestds.diagnostics.result_file import read_result
from bayestds.diagnostics.summary import LARGEST_K
from bayestds.errors import ResultError

FEWEST_STARS = 2
"""One star cannot be predicted from others."""

CLEAR = 2.0
"""Standard errors by which one result must predict better than another to be preferred to it."""


def compare(paths: list[Path], as_json: bool) -> None:
    """Print which of several posteriors predicts data best that it has not seen."""
    trees = [_posterior(path) for path in paths]
    for path, tree in zip(paths[1:], trees[1:], strict=True):
        _check_same_data(trees[0], tree, paths[0], path)
    record = comparison_record(paths, trees)
    if as_json:
        print_json(record)
    else:
        print_comparison(record)


def _posterior(path: Path) -> xr.DataTree:
    tree = read_result(path)
    if tree.attrs["kind"] != POSTERIOR:
        raise ResultError(
            f"{path} is a point fit.",
            "Posteriors are compared, by how well they predict data that they have not seen.",
            "Give files that `bayestds sample` wrote.",
        )
    return tree


def _check_same_data(first: xr.DataTree, other: xr.DataTree, name: Path, other_name: Path) -> None:
    """Refuse results of other data: only densities of the same numbers can be compared."""
    # Of the measured log intensities: those of an ensemble are corrected anew by every fit.
    if first.attrs.get("data_digest") != other.attrs.get("data_digest"):
        raise ResultError(
            f"{name} and {other_name} are posteriors of different data.",
            "Only densities of the same log intensities at the same points can be compared.",
            "Sample both from the same volume with the same mask and supercell.",
        )


def comparison_record(paths: list[Path], trees: list[xr.DataTree]) -> dict[str, Any]:
    """How well each of several posteriors of the same data predicts stars that it has not seen."""
    scores = [leave_one_out(tree) for tree in trees]
    if len(scores[0].log_density) < FEWEST_STARS:
        raise ResultError(
            f"{' and '.join(map(str, paths))} cannot be compared.",
            "All their Q points have one star of wave vectors in common: nothing is left to predict it from.",
            "Sample more of reciprocal space.",
        )
    totals = [score.log_density.sum() for score in scores]
    best = int(np.argmax(totals))
    results = {}
    for path, tree, score, total in zip(paths, trees, scores, totals, strict=True):
        behind = scores[best].log_density - score.log_density
        results[str(path)] = {
            "shells": shells_of(tree),
            "n_irreducible": tree[POINT_FIT].sizes["irreducible"],
            "log_density": float(total),
            "behind": float(behind.sum()),
            # Of a sum of independent terms, from their scatter.
            "behind_se": float(np.sqrt(len(behind)) * behind.std(ddof=1)),
            "largest_k": float(score.pareto_k.max()),
            "unreliable_stars": int((score.pareto_k > LARGEST_K).sum()),
        }
    # Among those that are not clearly worse, the simplest.
    equal = [name for name, r in results.items() if r["behind"] <= CLEAR * r["behind_se"]]
    supported = min(equal, key=lambda name: results[name]["n_irreducible"])
    reliable = not any(r["unreliable_stars"] for r in results.values())
    return {
        "results": results,
        "supported": supported,
        "reliable": reliable,
        "n_stars": len(scores[0].log_density),
    }


def print_comparison(record: dict[str, Any]) -> None:
    """Print a comparison as a table and words."""
    rows = [
        (
            name,
            str(r["shells"]),
            str(r["n_irreducible"]),
            number(r["log_density"], 1),
            number(r["behind"], 1),
            number(r["behind_se"], 1),
            f"{r['largest_k']:.2f}",
        )
        for name, r in record["results"].items()
    ]
    columns = ("result", "shells", "IFCs", "log density (nats)", "behind the best", "±", "largest k-hat")
    print_table(f"Prediction of {record['n_stars']} stars of k, each left out in turn", columns, rows)
    verb = "support" if record["reliable"] else "seem to support"
    print(
        f"The data {verb} {record['supported']}: the fewest constants among the results that are less "
        f"than {CLEAR:g} standard errors behind the best."
    )
    doubtful = [
        f"{name} ({r['unreliable_stars']})" for name, r in record["results"].items() if r["unreliable_stars"]
    ]
    if doubtful:
        print(
            f"This is no verdict: for some stars of {', '.join(doubtful)} k-hat exceeds {LARGEST_K}, so one "
            "star alone moves the constants by more than their errors. The noise model then misses "
            "something, such as anharmonicity."
        )
