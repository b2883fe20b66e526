"""The command that summarises a result."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.output import number, print_background, print_json, print_table
from bayestds.diagnostics.dataset import IFCS, POINT_FIT, POSTERIOR, chain_diagnostics, read_result
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
"""Components of a direction that are printed."""


def summary(path: Path, as_json: bool) -> None:
    """Print the summary of a result."""
    record = summary_record(read_result(path))
    if as_json:
        print_json(record)
    else:
        print_summary(str(path), record)


def summary_record(tree: xr.DataTree) -> dict[str, Any]:
    """Everything that a result says of each constant and each shell, with the keys of the JSON output."""
    fit = tree[POINT_FIT].dataset
    names = tuple(str(name) for name in fit["irreducible"].values)
    fixed = tree["constant_data"].dataset
    prior_sd = (fixed["prior_sd"] if "prior_sd" in fixed else fit["prior_scale"]).values
    constants, mean, covariance = _moments(tree, prior_sd)
    stiffness = stiffness_error(fit["self_coefficients"].values, mean, covariance)
    shells = summarise_shells(names, fit["shell"].values, constants, covariance, prior_sd, stiffness)
    chains = chain_diagnostics(tree)
    clustered = fit["clustered_standard_error"].values
    ifcs = {}
    for i, (name, constant) in enumerate(zip(names, constants, strict=True)):
        ifcs[name] = asdict(constant) | {
            "signal_to_noise": constant.signal_to_noise,
            **{key: float(chains[key][i]) if chains else None for key in ("r_hat", "ess_bulk", "ess_tail")},
            "shell": int(fit["shell"].values[i]),
            "clustered_sd": float(clustered[i]),
        }
    return {
        "ifcs": ifcs,
        "shells": {str(number): asdict(shell) for number, shell in shells.items()},
        "stiffness_error": stiffness,
        **_combinations(names, fit, covariance),
        "background": _background(tree),
        "learned_noise": _learned_noise(tree),
        "divergences": int(tree["sample_stats"]["diverging"].sum()) if chains else 0,
        "interval": INTERVAL,
        "inner_interval": INNER_INTERVAL,
        "rule": RULE,
        "kind": tree.attrs["kind"],
        "method": tree.attrs.get("method", "laplace"),
        "pareto_k": tree.attrs.get("pareto_k"),
        "converged": bool(tree.attrs["converged"]),
        "message": tree.attrs["message"],
    }


def _moments(tree: xr.DataTree, prior_sd: np.ndarray) -> tuple[list[ConstantSummary], np.ndarray, np.ndarray]:
    """Summaries of the constants, their mean and their covariance."""
    if tree.attrs["kind"] == POSTERIOR:
        draws = tree[POSTERIOR].dataset[IFCS].values
        flat = draws.reshape(-1, draws.shape[-1])
        return summarise_draws(flat, prior_sd), flat.mean(axis=0), np.atleast_2d(np.cov(flat.T))
    fit = tree[POINT_FIT].dataset
    value, error = fit["value"].values, fit["standard_error"].values
    return summarise_normal(value, error, prior_sd), value, fit["covariance"].values


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
    if not np.isfinite(fit["covariance"].values).all():
        return {"sloppy": [], "stiff": [], "trade_offs": []}
    information = np.linalg.inv(fit["covariance"].values) - np.diag(scale**-2.0)
    found = [
        {"information": d.information, "components": dict(zip(names, d.components.tolist(), strict=True))}
        for d in directions(information, scale)
    ]
    pairs = [
        {"between": [first, second], "correlation": value}
        for first, second, value in trade_offs(names, covariance)
    ]
    return {"sloppy": found[:N_DIRECTIONS], "stiff": found[: -N_DIRECTIONS - 1 : -1], "trade_offs": pairs}


def print_summary(title: str, record: dict[str, Any]) -> None:
    """Print a summary as tables and words."""
    sampled = record["kind"] == POSTERIOR
    rows = []
    for name, c in record["ifcs"].items():
        row = [name, str(c["shell"]), number(c["mean"]), number(c["sd"], 6)]
        row += [] if sampled else [number(c["clustered_sd"], 6)]
        row += [f"{number(c['interval_low'])} .. {number(c['interval_high'])}"]
        row += [number(c["contraction"], 6), number(c["information"], 1), number(c["signal_to_noise"], 1)]
        if c["r_hat"] is not None:
            row += [number(c["r_hat"], 3), number(c["ess_bulk"], 0), number(c["ess_tail"], 0)]
        rows.append(row)
    columns = ["IFC", "shell", "mean" if sampled else "value", "sd"] + ([] if sampled else ["clustered sd"])
    columns += [f"{INTERVAL:.0%} interval", "contraction", "gain (nats)", "|mean| / sd"]
    columns += ["R-hat", "bulk ESS", "tail ESS"][: len(rows[0]) - len(columns)]
    print_table(f"{title} (eV/Å²)", columns, rows)
    print_background(record["background"])
    if (noise := record["learned_noise"]) is not None:
        interval = f"{noise['interval_low']:.2g} .. {noise['interval_high']:.2g}"
        print(f"Relative noise that was learned: {noise['value']:.3g}, {INTERVAL:.0%} interval {interval}")
    print_table(
        "By shell",
        ("shell", "verdict", "contraction", "gain (nats)", "in words"),
        [
            (shell, s["verdict"], number(s["contraction"], 6), number(s["information"], 1), s["words"])
            for shell, s in record["shells"].items()
        ],
    )
    print(RULE)
    print(f"The overall stiffness is uncertain by {record['stiffness_error']:.2g} of itself.")
    for kind in ("sloppy", "stiff"):
        if record[kind]:
            print(f"Most {kind} direction, {_direction(record[kind][0])}.")
    if record["trade_offs"]:
        pairs = [f"{' and '.join(p['between'])} ({p['correlation']:+.2f})" for p in record["trade_offs"]]
        print(f"Correlated in the posterior: {', '.join(pairs)}.")
    if record["pareto_k"] is not None:
        print(f"k-hat of the {record['method']} approximation: {record['pareto_k']:.2f} (good below 0.7).")
    if sampled and record["method"] == "nuts":
        print(f"Divergent trajectories: {record['divergences']}.")
    print(f"Point fit: {record['message']}")


def _direction(direction: dict[str, Any]) -> str:
    large = {n: x for n, x in direction["components"].items() if abs(x) >= SMALLEST_COMPONENT}
    terms = " ".join(f"{x:+.2f} {name}" for name, x in large.items())
    return f"in units of the prior: {terms}, {direction['information']:.3g} times the prior's information"
