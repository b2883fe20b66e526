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


def cubic(old: str, new: str) -> str:
    """The same with a cubic lattice, which fits the space group."""
    return changed(old, new).replace("3.53", "3.52").replace("3.54", "3.52")


OPERATIONS = "loop_\n_space_group_symop_operation_xyz\n"
CRYSTALS = [
    Case(
        "CIF missing",
        lambda: Path("wrong.toml").write_text(MODEL.replace(INLINE, 'file = "none.cif"\n')),
        "irreducible wrong.toml",
        ("none.cif", "not a file"),
    ),
    wrong("CIF empty", "", "cannot be read"),
    wrong("CIF that is prose", "this is not a CIF file\n", "not a valid CIF", "line 1"),
    wrong("CIF without atoms", CIF[: CIF.index("loop_")], "no structure"),
    wrong("CIF cut off", CIF[: CIF.index(" 0 1.0")], "not a valid CIF", "line 9"),
    wrong(
        "CIF with partial occupancy",
        changed("0 1.0\n", "0 0.5\nCu1 Cu 0 0 0 0.5\n"),
        "Site Ni1 is partially occupied (0.5)",
        "Cu1",
    ),
    wrong("CIF without symmetry", changed("_symmetry_Int_Tables_number 225\n", ""), "_space_group_IT_number"),
    wrong("CIF with an unknown space group", changed("225", "1225"), "1225"),
    wrong("CIF without a cell", changed("_cell_length_b 3.53\n", ""), "_cell_length_b is ?"),
    wrong("CIF with a length NaN", changed("3.53", "nan"), "_cell_length_b is nan"),
    wrong("CIF with a length infinite", changed("3.53", "inf"), "_cell_length_b is inf"),
    wrong("CIF with a length unknown", changed("3.53", "?"), "_cell_length_b is ?"),
    wrong("CIF with a negative length", changed("3.53", "-3.53"), "_cell_length_b is -3.53"),
    wrong("CIF with an angle of 390 degrees", changed("gamma 90", "gamma 390"), "_cell_angle_gamma is 390"),
    wrong("CIF with a position unknown", changed("Ni 0 0 0", "Ni 0 0 ?"), "_atom_site_fract_z of site Ni1"),
    wrong("CIF with an unknown element", changed("Ni1 Ni", "Xx1 Xx"), "Site Xx1", "'Xx'"),
    wrong(
        "CIF whose lattice is not that of its space group",
        CIF,
        "F m -3 m (225)",
        "lattice parameters do not have",
    ),
    wrong(
        "CIF with too few symmetry operations",
        cubic("225\n", f"225\n{OPERATIONS}x,y,z\n"),
        "Pm-3m (221), less than F m -3 m (225)",
        "192",
    ),
    wrong(
        "CIF with operations that are no group",
        cubic("225\n", f"225\n{OPERATIONS}x,y,z\ny,z,x\n"),
        "2 symmetry operations are no group",
    ),
    wrong(
        "CIF with an operation that cannot be read",
        cubic("225\n", f"225\n{OPERATIONS}x,y\n"),
        "symmetry operation 'x,y'",
    ),
    wrong("CIF without choice of the origin", cubic("225", "227"), "origin of 227", "':1' or ':2'"),
    wrong(
        "CIF with two space groups",
        cubic("225\n", "225\n_symmetry_space_group_name_H-M 'P m -3 m'\n"),
        "P m -3 m (221) and F m -3 m (225)",
    ),
    wrong("CIF with two structures", CIF + CIF.replace("data_nickel", "data_copper"), "2 structures"),
    wrong(
        "CIF with a site off a special position",
        cubic("Ni 0 0 0", "Ni 0.031 0 0"),
        "Site Ni1 and its images",
        "0.154 Å",
    ),
    wrong(
        "CIF of an alloy",
        cubic("0 1.0\n", "0 1.0\nCu1 Cu 0 0 0 1.0\n"),
        "Atoms Ni1 and Cu1",
    ),
    wrong(
        "CIF with a site split over two labels",
        cubic("Ni 0 0 0 1.0\n", "Ni 0.01 0 0 0.5(1)\nNi2 Ni -0.01 0 0 0.5(1)\n"),
        "Site Ni1 is partially occupied (0.5(1))",
        "Ni2",
    ),
    wrong(
        "CIF with hydrogen that was not located",
        cubic("_atom_site_occupancy\n", "_atom_site_attached_hydrogens\n").replace("0 1.0", "0 2"),
        "Ni1 has 2 hydrogen atoms",
    ),
    wrong(
        "CIF with a label that is of two elements",
        cubic("_atom_site_type_symbol\n", "").replace("Ni1 Ni", "CA1"),
        "Site CA1 may be C or Ca",
    ),
    wrong("CIF with an isotope that does not exist", cubic("Ni1 Ni", "Ni1 99Ni"), "'99Ni'"),
    wrong(
        "POSCAR without species",
        POSCAR.replace("Ni\n", "").format(third="1.76 1.76 0", site="0 0 0"),
        "does not name its species",
        "'nickel'",
        name="POSCAR",
    ),
    wrong(
        "POSCAR with two species and one number",
        POSCAR.replace("Ni", "Ni Cu").format(third="1.76 1.76 0", site="0 0 0"),
        "2 species",
        "'Ni Cu' and '1'",
        name="POSCAR",
    ),
    wrong(
        "POSCAR with an unknown element",
        POSCAR.replace("Ni", "Xx").format(third="1.76 1.76 0", site="0 0 0"),
        "no element 'Xx'",
        name="POSCAR",
    ),
    wrong(
        "POSCAR with too many atoms",
        POSCAR.replace("\n1\n", "\n99\n").format(third="1.76 1.76 0", site="0 0 0"),
        "fewer positions than atoms",
        "99",
        name="POSCAR",
    ),
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
