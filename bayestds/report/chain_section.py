"""The section of the report page on the chains of a posterior."""

from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.dataset import IFCS, POSTERIOR
from bayestds.diagnostics.summary import prior_deviations
from bayestds.report.chains import (
    EXPECTED,
    LEAST_BFMI,
    TRACE_POINTS,
    bfmi,
    energy_chart,
    predictive_check,
    prior_posterior_chart,
    rank_chart,
    trace_chart,
)

MOST_CHAINS = 36
"""Constants whose traces are shown; of more, those with the largest R-hat."""


def chain_section(tree: xr.DataTree, record: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """Words and charts of a posterior, and sentences on what a result has no data for."""
    if record["kind"] != POSTERIOR:
        return None, [
            "Traces, ranks, energies and predictive checks: this is a point fit, which has no chains; "
            "the command “bayestds sample” draws from the posterior."
        ]
    groups, missing = [], []
    draws, names = tree[POSTERIOR].dataset[IFCS].values, list(record["ifcs"])
    if "sample_stats" in tree.children:
        groups += _chain_groups(tree, record, draws, names)
    else:
        missing.append(
            "Traces, ranks and energies: the draws are independent ones of an approximation "
            f"({record['method']}), not of chains."
        )
    prior_sd = prior_deviations(tree)
    flat = draws.reshape(-1, draws.shape[-1])
    groups.append(
        {
            "heading": "Prior and posterior",
            "caption": "Grey: prior; blue: posterior. Both are drawn to the same height.",
            "small": True,
            "charts": [prior_posterior_chart(*one) for one in zip(names, prior_sd, flat.T, strict=True)],
        }
    )
    if "posterior_predictive" in tree.children and "observed_data" in tree.children:
        groups.append(_predictions(tree))
    else:
        missing.append("The predictive check: the result holds no predictions.")
    return {"words": _words(tree, record, draws), "groups": groups}, missing


def _chain_groups(
    tree: xr.DataTree, record: dict[str, Any], draws: np.ndarray, names: list[str]
) -> list[dict[str, Any]]:
    r_hat = np.array([record["ifcs"][name]["r_hat"] for name in names])
    shown = np.sort(np.argsort(-r_hat)[:MOST_CHAINS])
    which = (
        "" if len(shown) == len(names) else f" The {len(shown)} constants with the largest R-hat are shown."
    )
    groups = [
        {
            "heading": "Traces",
            "caption": f"One colour per chain, {min(TRACE_POINTS, draws.shape[1])} of its draws. Chains that "
            f"have converged lie on top of each other and do not drift.{which}",
            "small": True,
            "charts": [trace_chart(names[i], draws[..., i]) for i in shown],
        },
        {
            "heading": "Ranks",
            "caption": "Ranks of each chain's draws among all: level where the chains agree (Vehtari et "
            f"al. 2021); shaded: where {EXPECTED:.0%} of the bars of independent draws lie.",
            "small": True,
            "charts": [rank_chart(names[i], draws[..., i]) for i in shown],
        },
    ]
    stats = tree["sample_stats"].dataset
    if "energy" in stats:
        fractions = ", ".join(f"{x:.2f}" for x in bfmi(stats["energy"].values))
        groups.append(
            {
                "heading": "Energy",
                "caption": "Energies of the draws (blue) and their changes from draw to draw (orange): like "
                f"widths mean that the sampler moves freely. Energy fraction (BFMI) by chain: {fractions}; "
                f"below {LEAST_BFMI} is a warning.",
                "small": False,
                "charts": [energy_chart(stats["energy"].values)],
            }
        )
    return groups


def _predictions(tree: xr.DataTree) -> dict[str, Any]:
    observed = tree["observed_data"].dataset
    ((name, replicated),) = tree["posterior_predictive"].dataset.data_vars.items()
    expected = observed["expected"].values
    # Differences of intensities and counts are relative ones, as residuals are.
    unit = 1.0 if name == "log_intensity" else expected
    found = predictive_check(
        (observed[name].values - expected) / unit,
        (replicated.values.reshape(-1, len(expected)).astype(float) - expected) / unit,
        observed["multiplicity"].values,
    )
    return {
        "heading": "Predictions of the posterior",
        "caption": "First: where the observed intensities lie among those that draws of the posterior "
        f"predict, level if the noise is right (shaded: {EXPECTED:.0%} of the bars, if points were "
        "independent). "
        "Second: spread of the residuals in predictions (bars) and in the data (orange line); "
        f"{found.exceeding:.0%} of the predictions have a larger one.",
        "small": False,
        "charts": [found.ranks, found.spread],
    }


def _words(tree: xr.DataTree, record: dict[str, Any], draws: np.ndarray) -> str:
    chains, n_draws = draws.shape[:2]
    text = f"Method: {record['method']}, {chains} chain{'s' * (chains > 1)} of {n_draws} draws"
    for key, name in (("warmup", "warm-up"), ("seed", "seed"), ("prior", "prior")):
        if key in tree.attrs:
            text += f", {name} {tree.attrs[key]}"
    return f"{text}."
