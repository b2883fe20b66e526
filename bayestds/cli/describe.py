"""The command that describes the irreducible force constants of a crystal."""

from itertools import chain
from typing import Any

import numpy as np

from bayestds.cli.assemble import build_study
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.output import print_json, print_notes, print_table
from bayestds.config import load_model

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
        "invariance": constants.invariance,
        "sum_rule": "; ".join(constants.sum_rules),
        "lattice": crystal.cell_parameters.tolist(),
        "given_matrix": crystal.given_matrix.tolist(),
        "notes": crystal_notes(crystal),
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
    if record["invariance"] != "none":
        title += f", invariance: {record['invariance']}"
    print_table(title, columns, rows)
    print("Acoustic sum rule:")
    for rule in record["sum_rule"].split("; "):
        print(f"  {rule}")
    print_notes(record["notes"])
