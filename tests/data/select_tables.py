"""Select the tables of constants that the shipped models come from: select_tables.py born_von_karman.json."""

import json
import sys
from pathlib import Path

ENTRIES = """
ag_296 al_300 au_295 ce_295 cr_300 cu_296 fe_295 k_9 li_98 mg_290 na_90 nb_296 ni_298 pd_296 pt_90 rb_85
sc_295 th_296 ti_295 v_296 w_298 y_295 zn_80 zr_295
"""
KEPT = ("element", "lattice", "force_constants")

if __name__ == "__main__":
    models = json.loads(Path(sys.argv[1]).read_text())["models"]
    lines = [
        f'"{entry}": {json.dumps({key: models[entry][key] for key in KEPT})}' for entry in ENTRIES.split()
    ]
    Path(__file__).with_name("born_von_karman.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
