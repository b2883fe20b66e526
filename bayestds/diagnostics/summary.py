"""Everything that a result says of its force constants, as one record."""

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.cautions import sound, standing
from bayestds.diagnostics.cubic import cubic_record
from bayestds.diagnostics.dataset import ERRORS, POINT_FIT, POSTERIOR, chain_diagnostics
from bayestds.diagnostics.draws import mean_and_covariance, posterior_draws
from bayestds.diagnostics.per_shell import (
    INNER_INTERVAL,
    INTERVAL,
    RULE,
    ConstantSummary,
    directions,
    stiffness_error,
    summarise_draws,
    summarise_normal,
    summarise_shells,
    trade_offs,
)

N_DIRECTIONS = 3
"""Stiff and sloppy directions that are reported."""

SMALLEST_COMPONENT = 0.3
"""Components of a direction that are named."""

LARGEST_R_HAT, SMALLEST_ESS, LARGEST_K = 1.01, 400, 0.7
"""Limits of chains that have converged (Vehtari et al., Bayesian Anal. 16 (2021) 667), and of a Gaussian
that can stand for its posterior (Vehtari et al., J. Mach. Learn. Res. 25 (2024) 72)."""

ENSEMBLE = (
    "Standard errors are those of a harmonic crystal's independent configurations: they allow for noise that "
    "voxels of equal k share."
)
"""Of a volume that is a mean over configurations."""

ANHARMONIC = (
    "Standard errors are those of a harmonic crystal: they exclude the bias that anharmonicity brings into a "
    "real or molecular-dynamics volume. Those by star and by zone allow for residuals that are correlated "
    "within stars of equivalent wave vectors or Brillouin zones, not for a shift common to all of them."
)
"""Of any other volume with noise, from a harmonic fit."""

THIRD_ORDER = (
    "Third-order constants are part of the fit, to first order: standard errors no longer exclude the bias "
    "that their leading effect brings into the second-order ones. They do exclude what remains: second-order "
    "effects of cubic and first-order effects of quartic constants are absorbed in second-order constants "
    "that are effective ones at this temperature. Errors by star and by zone allow for residuals that are "
    "correlated within stars of equivalent wave vectors or Brillouin zones, not for a shift common to all of "
    "them."
)
"""The same where third-order constants were fitted."""


def error_words(noise: str, cubic: bool) -> str:
    """What standard errors mean and leave out, by the kind of noise and whether third order was fitted."""
    if noise == "ensemble":
        return ENSEMBLE
    return THIRD_ORDER if cubic else ANHARMONIC


def chi_square_words(value: float | None, noise: str | None) -> str:
    """Chi-square per degree of freedom, and what it is measured by, in a sentence."""
    if value is None or not math.isfinite(value):
        return (
            "Chi-square is not known: the noise was learned from the residual, and no equivalent voxels tell "
            "its size."
        )
    against = {
        "given": "the errors that were given",
        "counts": "Poisson counts",
        "ensemble": "independent configurations",
        "learned": "the scatter of equivalent voxels",
    }.get(str(noise))
    return f"Chi-square per degree of freedom {value:.3g}" + (f", against {against}." if against else ".")


def summary_record(tree: xr.DataTree) -> dict[str, Any]:
    """Everything that a result says of each constant and each shell, with the keys of the JSON output."""
    fit = tree[POINT_FIT].dataset
    names = tuple(str(name) for name in fit["irreducible"].values)
    prior_sd = prior_deviations(tree)
    constants, mean, covariance = moments(tree)
    stiffness = stiffness_error(fit["self_coefficients"].values, mean, covariance)
    args = (names, fit["shell"].values, constants, covariance, prior_sd, stiffness, sound(tree))
    shells, chains = summarise_shells(*args), chain_diagnostics(tree)
    ifcs = {}
    for i, (name, constant) in enumerate(zip(names, constants, strict=True)):
        ifcs[name] = asdict(constant) | {
            "signal_to_noise": constant.signal_to_noise,
            **{key: float(chains[key][i]) if chains else None for key in ("r_hat", "ess_bulk", "ess_tail")},
            "shell": int(fit["shell"].values[i]),
            **{key: float(fit[name].values[i]) for key, name in ERRORS.items()},
        }
    return {
        "ifcs": ifcs,
        "shells": {str(number): asdict(shell) for number, shell in shells.items()},
        "stiffness_error": stiffness,
        **_combinations(names, fit, covariance),
        **cubic_record(tree, stiffness, sound(tree)),
        "background": _background(tree),
        "learned_noise": _learned_noise(tree),
        "divergences": int(tree["sample_stats"]["diverging"].sum()) if chains else 0,
        "interval": INTERVAL,
        "inner_interval": INNER_INTERVAL,
        "rule": RULE,
        "kind": tree.attrs["kind"],
        "method": tree.attrs.get("method", "laplace"),
        "pareto_k": tree.attrs.get("pareto_k"),
        "message": tree.attrs["message"],
        "noise": tree.attrs.get("noise"),
        **standing(tree),
        "notes": json.loads(tree.attrs.get("notes", "[]")),
    }


def prior_deviations(tree: xr.DataTree) -> np.ndarray:
    """Standard deviations (n_irreducible,) of the prior of a result, eV/Å²."""
    fixed = tree["constant_data"].dataset
    return (fixed["prior_sd"] if "prior_sd" in fixed else tree[POINT_FIT].dataset["prior_scale"]).values


def moments(tree: xr.DataTree) -> tuple[list[ConstantSummary], np.ndarray, np.ndarray]:
    """Summaries of the constants, their mean (eV/Å²) and their covariance (eV²/Å⁴)."""
    prior_sd = prior_deviations(tree)
    mean, covariance = mean_and_covariance(tree)
    if tree.attrs["kind"] == POSTERIOR:
        return summarise_draws(posterior_draws(tree), prior_sd), mean, covariance
    error = tree[POINT_FIT].dataset["standard_error"].values
    return summarise_normal(mean, error, prior_sd), mean, covariance


def _learned_noise(tree: xr.DataTree) -> dict[str, float] | None:
    """Relative noise level, of a voxel or on top of the errors of a point, where draws have one."""
    if tree.attrs["kind"] != POSTERIOR or "log_relative_noise" not in tree[POSTERIOR].dataset:
        return None
    level = np.exp(tree[POSTERIOR].dataset["log_relative_noise"].values)
    low, high = np.quantile(level, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return {"value": float(level.mean()), "interval_low": float(low), "interval_high": float(high)}


def _background(tree: xr.DataTree) -> dict[str, dict[str, float]]:
    """Strengths of the background, {term: {"value", "sd"}}; those of a joint fit by volume and term."""
    if tree.attrs["kind"] == POSTERIOR and "background" in tree[POSTERIOR].dataset:
        draws = tree[POSTERIOR].dataset["background"]
        value, sd = draws.mean(["chain", "draw"]), draws.std(["chain", "draw"], ddof=1)
        found = [("", draws["term"].values, value.values, sd.values)]
    else:
        groups = {"": tree} | {f"{n} ": node for n, node in tree.children.items() if n.startswith("volume_")}
        terms = {
            prefix: n["background"].dataset for prefix, n in groups.items() if "background" in n.children
        }
        found = [
            (prefix, one["term"].values, one["value"].values, one["standard_error"].values)
            for prefix, one in terms.items()
        ]
    return {
        f"{prefix}{name}": {"value": float(value), "sd": float(sd)}
        for prefix, names, values, errors in found
        for name, value, sd in zip(names, values, errors, strict=True)
    }


def _combinations(names: tuple[str, ...], fit: xr.Dataset, covariance: np.ndarray) -> dict[str, Any]:
    """Directions of the Fisher information at the point fit, and trade-offs in the posterior."""
    scale = fit["prior_scale"].values
    if not np.isfinite(fit["plain_covariance"].values).all():
        return {"sloppy": [], "stiff": [], "trade_offs": []}
    information = np.linalg.inv(fit["plain_covariance"].values) - np.diag(scale**-2.0)
    found = [
        {"information": d.information, "components": dict(zip(names, d.components.tolist(), strict=True))}
        for d in directions(information, scale)
    ]
    pairs = [
        {"between": [first, second], "correlation": value}
        for first, second, value in trade_offs(names, covariance)
    ]
    return {"sloppy": found[:N_DIRECTIONS], "stiff": found[: -N_DIRECTIONS - 1 : -1], "trade_offs": pairs}


def chain_warnings(record: dict[str, Any]) -> list[str]:
    """What a reader of the record of a posterior should know about its draws."""
    found = []
    constants = [*record["ifcs"].values(), *record["cubic"].values()]
    if any(constant["r_hat"] is not None for constant in constants):
        r_hat = max(constant["r_hat"] for constant in constants)
        smallest = min(min(constant["ess_bulk"], constant["ess_tail"]) for constant in constants)
        if not (r_hat <= LARGEST_R_HAT and smallest >= SMALLEST_ESS):
            found.append(
                f"the chains have not converged: the largest R-hat is {r_hat:.3f} (at most {LARGEST_R_HAT}), "
                f"the smallest effective sample size {smallest:.0f} (at least {SMALLEST_ESS}); sample longer."
            )
    if record["divergences"]:
        found.append(
            f"{record['divergences']} trajectories diverged; one that leaves the region of stable crystals "
            "counts as such, others mean that the posterior is not fully explored; a higher --target-accept "
            "takes smaller steps."
        )
    k = record["pareto_k"]
    if k is not None and not k <= LARGEST_K:
        found.append(
            f"k-hat is {k:.2f}, above {LARGEST_K}: the posterior is not the Gaussian that was drawn from; "
            "use --method nuts."
        )
    return found
