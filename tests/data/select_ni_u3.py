"""Select the force constants of Ni U3 from the file of potentials: select_ni_u3.py potentials.json."""

import json
import sys
from pathlib import Path


def select(full: Path, out: Path) -> None:
    data = json.loads(full.read_text("utf-8"))
    potential = data["Ni_u3"]
    kept = {key: potential[key] for key in ("lattice_constant_A", "onsite", "shells")}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in kept["shells"].items()]
    text = json.dumps({"about": data["about"], **kept | {"shells": "SHELLS"}}, indent=1)
    out.write_text(text.replace('"SHELLS"', "{\n  " + ",\n  ".join(lines) + "\n }") + "\n", "utf-8")


if __name__ == "__main__":
    select(Path(sys.argv[1]), Path(__file__).with_name("ni_u3.json"))
