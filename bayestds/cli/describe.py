"""Commands that describe: the irreducible force constants of a crystal, and a result."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.assemble import build_study
from bayestds.cli.output import number, print_json, print_table
from bayestds.config import load_model
from bayestds.diagnostics.dataset import read_result
from bayestds.diagnostics.per_shell import (
    INTERVAL,
    RULE,
    ConstantSummary,
    ShellSummary,
    summarise_normal,
    summarise_shells,
)

AXES = ("xx", "xy", "xz", "yx", "yy", "yz", "zx", "zy", "zz")


def irreducible(model: str, shells: int | None, as_json: bool) -> None:
    """Print the irreducible force constants of a model's crystal."""
    study = build_study(load_model(model), shells)
    crystal, constants = study.crystal, study.irreducible
    orbits = [
        {
            "shell": orbit.shell,
            "representative": (np.round(crystal.bond_vectors(orbit.pairs[:1])[0], 6) + 0.0).tolist(),
            "atoms": [crystal.species[atom] for atom in orbit.representative[:2]],
            "distance": orbit.distance,
            "multiplicity": len(orbit.pairs),
            "parameters": list(names),
            "matrix": [list(matrix[i : i + 3]) for i in (0, 3, 6)],
        }
        for orbit, names, matrix in zip(
            constants.orbits, constants.orbit_names, constants.orbit_matrices, strict=True
        )
    ]
    record = {
        "irreducible": list(constants.names),
        "n_irreducible": constants.n_irreducible,
        "self_terms": list(constants.self_names),
        "sum_rule": "; ".join(constants.sum_rules),
        "space_group": {"number": crystal.space_group.number, "symbol": crystal.space_group.symbol},
        "orbits": orbits,
    }
    if as_json:
        print_json(record)
    else:
        _print_orbits(record)


def _print_orbits(record: dict[str, Any]) -> None:
    group = record["space_group"]
    rows = [
        (
            str(orbit["shell"]),
            "-".join(orbit["atoms"]),
            f"{orbit['distance']:.4f}",
            str(orbit["multiplicity"]),
            " ".join(f"{x:.3f}" for x in orbit["representative"]),
            ", ".join(
                f"{axis}={x}" for axis, x in zip(AXES, chain(*orbit["matrix"]), strict=True) if x != "0"
            ),
        )
        for orbit in record["orbits"]
    ]
    columns = ("shell", "atoms", "distance (Å)", "pairs", "representative bond (Å)", "force-constant block")
    title = f"{record['n_irreducible']} irreducible force constants, {group['symbol']} ({group['number']})"
    print_table(title, columns, rows)
    print("Acoustic sum rule:")
    for rule in record["sum_rule"].split("; "):
        print(f"  {rule}")


def summary(path: Path, as_json: bool) -> None:
    """Print the summary of a result."""
    tree = read_result(path)
    names, constants, shells = result_summary(tree)
    fit = tree["point_fit"].dataset
    record = {
        "ifcs": {
            name: {
                "mean": c.mean,
                "sd": c.sd,
                "interval_low": c.interval_low,
                "interval_high": c.interval_high,
                "contraction": c.contraction,
                "r_hat": None,
                "ess_bulk": None,
                "ess_tail": None,
                "shell": int(shell),
                "clustered_sd": float(clustered),
            }
            for name, c, shell, clustered in zip(
                names, constants, fit["shell"].values, fit["clustered_standard_error"].values, strict=True
            )
        },
        "shells": {
            str(shell): {
                "verdict": s.verdict,
                "told_from_zero": list(s.told_from_zero),
                "contraction": s.contraction,
                "signal_to_noise": s.signal_to_noise,
            }
            for shell, s in shells.items()
        },
        "divergences": 0,
        "interval": INTERVAL,
        "rule": RULE,
        "kind": tree.attrs["kind"],
        "converged": bool(tree.attrs["converged"]),
    }
    if as_json:
        print_json(record)
        return
    rows = [
        (
            name,
            str(c["shell"]),
            number(c["mean"]),
            number(c["sd"], 6),
            number(c["clustered_sd"], 6),
            f"{number(c['interval_low'])} .. {number(c['interval_high'])}",
            number(c["contraction"], 6),
        )
        for name, c in record["ifcs"].items()
    ]
    columns = ("IFC", "shell", "value", "sd", "clustered sd", f"{INTERVAL:.0%} interval", "contraction")
    print_table(f"{path} (eV/Å²)", columns, rows)
    print_shells(shells)
    print(tree.attrs["message"])


def result_summary(
    tree: xr.DataTree,
) -> tuple[tuple[str, ...], list[ConstantSummary], dict[int, ShellSummary]]:
    """Names and summaries by constant and by shell of a point fit."""
    fit = tree["point_fit"].dataset
    names = tuple(str(name) for name in fit["irreducible"].values)
    constants = summarise_normal(fit["value"].values, fit["standard_error"].values, fit["prior_scale"].values)
    return names, constants, summarise_shells(names, fit["shell"].values, constants)


def print_shells(shells: dict[int, ShellSummary]) -> None:
    """Print the verdict on each shell, and the rule behind it."""
    rows = [
        (str(shell), s.verdict, ", ".join(s.told_from_zero) or "none", number(s.signal_to_noise, 1))
        for shell, s in shells.items()
    ]
    print_table("By shell", ("shell", "verdict", "told from zero", "largest |value| / sd"), rows)
    print(RULE)
