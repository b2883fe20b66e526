"""Wrong crystal structure files."""

from collections.abc import Callable
from pathlib import Path

from tests.cli.bad_input.case import Case
from tests.cli.tiny import MODEL

INLINE = MODEL[MODEL.index("lattice") : MODEL.index("[force_constants]")]
CIF = """\
data_nickel
_cell_length_a 3.52
_cell_length_b 3.53
_cell_length_c 3.54
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Ni1 Ni 0 0 0 1.0
"""
POSCAR = "nickel\n1.0\n0 1.76 1.76\n1.76 0 1.76\n{third}\nNi\n1\nDirect\n{site}\n"


def crystal(name: str, text: str) -> Callable[[], object]:
    """What writes a structure file, and wrong.toml with it for a crystal."""

    def write() -> None:
        Path(name).write_text(text)
        Path("wrong.toml").write_text(MODEL.replace(INLINE, f'file = "{name}"\n'))

    return write


def wrong(what: str, text: str, *words: str, name: str = "ni.cif") -> Case:
    """A structure file that must be refused with its name and these words."""
    return Case(what, crystal(name, text), "irreducible wrong.toml", (name, *words))


def changed(old: str, new: str) -> str:
    """The CIF file with other words in one place."""
    assert CIF.count(old) == 1
    return CIF.replace(old, new)


CRYSTALS = [
    Case(
        "CIF missing",
        lambda: Path("wrong.toml").write_text(MODEL.replace(INLINE, 'file = "none.cif"\n')),
        "irreducible wrong.toml",
        ("none.cif", "not a file"),
    ),
    wrong("CIF empty", "", "cannot be read"),
    wrong("CIF that is prose", "this is not a CIF file\n", "no structure", "valid CIF"),
    wrong("CIF without atoms", CIF[: CIF.index("loop_")], "no structure"),
    wrong("CIF cut off", CIF[: CIF.index(" 0 1.0")], "incomplete row"),
    wrong(
        "CIF with partial occupancy",
        changed("0 1.0\n", "0 0.5\nCu1 Cu 0 0 0 0.5\n"),
        "Site 1 is partially occupied",
    ),
    wrong("CIF without symmetry", changed("_symmetry_Int_Tables_number 225\n", ""), "_space_group_IT_number"),
    wrong("CIF with an unknown space group", changed("225", "1225"), "1225"),
    wrong("CIF without a cell", changed("_cell_length_b 3.53\n", ""), "no unit cell"),
    wrong("CIF with a length NaN", changed("3.53", "nan"), "_cell_length_b is nan"),
    wrong("CIF with a length infinite", changed("3.53", "inf"), "_cell_length_b is inf"),
    wrong("CIF with a length unknown", changed("3.53", "?"), "_cell_length_b is ?"),
    wrong("CIF with a negative length", changed("3.53", "-3.53"), "_cell_length_b is -3.53"),
    wrong("CIF with an angle of 390 degrees", changed("gamma 90", "gamma 390"), "_cell_angle_gamma is 390"),
    wrong("CIF with a position unknown", changed("Ni 0 0 0", "Ni 0 0 ?"), "_atom_site_fract_z of site 1"),
    wrong("CIF with an unknown element", changed("Ni1 Ni", "Xx1 Xx"), "site 1", "'Xx'"),
    wrong(
        "POSCAR with a vector NaN",
        POSCAR.format(third="1.76 1.76 nan", site="0 0 0"),
        "not finite",
        "nan] Å",
        name="POSCAR",
    ),
    wrong(
        "POSCAR with a flat cell",
        POSCAR.format(third="1.76 1.76 3.52", site="0 0 0"),
        "no unit cell",
        name="POSCAR",
    ),
    wrong("POSCAR cut off", POSCAR.format(third="1.76 1.76 0", site=""), "cannot be read", name="POSCAR"),
]
