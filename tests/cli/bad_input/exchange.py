"""Wrong force constants of other programs, folders and potentials."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bayestds.crystal.structure import build_crystal
from bayestds.diagnostics.result_file import write_result
from bayestds.force_constants.exchange import PHONOPY_FILES, PhonopyWriter
from bayestds.force_constants.irreducible import irreducible_force_constants
from tests.cli.bad_input.case import Case, nothing
from tests.cli.tiny import LATTICE, TRUTH
from tests.results import point_fit_result

PHONOPY = "import tiny.toml phonopy"
TDEP = "import tiny.toml tdep"

BLOCK = "-0.5 0 0\n0 -0.5 0\n0 0 -0.5\n"
CELL = "fcc\n1.0\n0 1.76 1.76\n1.76 0 1.76\n1.76 1.76 0\nNi\n1\nDirect\n0 0 0\n"
PAIRS = f"1 atoms\n2.6 cutoff\n1 neighbours\n1 neighbour 1\n1 0 0\n{BLOCK}0 # no charges\n"


@cache
def written() -> dict[str, bytes]:
    """The files of phonopy for the tiny model."""
    crystal = build_crystal(LATTICE, ["Ni"], [(0.0, 0.0, 0.0)], None, 225)
    irreducible = irreducible_force_constants(crystal, 2)
    with TemporaryDirectory() as name:
        PhonopyWriter(irreducible).write(np.array(list(TRUTH.values())), Path(name))
        return {file: (Path(name) / file).read_bytes() for file in PHONOPY_FILES}


def phonopy_folder(change: Callable[[Path], object]) -> Callable[[], None]:
    """A folder of phonopy, changed."""

    def prepare() -> None:
        folder = Path("phonopy")
        folder.mkdir()
        for name, content in written().items():
            (folder / name).write_bytes(content)
        change(folder)

    return prepare


def text_constants(text: str) -> Callable[[Path], None]:
    """Force constants as text in place of the HDF5 file."""

    def change(folder: Path) -> None:
        (folder / PHONOPY_FILES[1]).unlink()
        (folder / "FORCE_CONSTANTS").write_text(text)

    return change


def cut_constants(folder: Path) -> None:
    path = folder / PHONOPY_FILES[1]
    path.write_bytes(path.read_bytes()[:1000])


def other_element(folder: Path) -> None:
    path = folder / PHONOPY_FILES[0]
    path.write_text(path.read_text().replace("symbol: Ni", "symbol: Cu"))


def other_units(folder: Path) -> None:
    path = folder / PHONOPY_FILES[0]
    text = path.read_text().replace("phonopy:\n", "phonopy:\n  calculator: qe\n", 1)
    path.write_text(re.sub(r"physical_unit:\n( .*\n)+", "", text))


def tdep_folder(cell: str | None = CELL, pairs: str = PAIRS) -> Callable[[], None]:
    """A folder of TDEP."""

    def prepare() -> None:
        folder = Path("tdep")
        folder.mkdir()
        (folder / "outfile.forceconstant").write_text(pairs)
        if cell is not None:
            (folder / "infile.ucposcar").write_text(cell)

    return prepare


ROWS = "1 256\n" + "1 1\n0 0 0\n0 0 0\n0 0 0\n" * 3
NOT_NUMBERS = "1 108\n1 1\n0 0 zero\n0 0 0\n0 0 0\n"


def full_folder() -> None:
    Path("out").mkdir()
    Path("out/kept").touch()


def nickel() -> None:
    """A result of the tiny model's crystal."""
    write_result(point_fit_result("fcc", n_shells=2), "r.nc")


def iron() -> None:
    """A result of bcc iron, which EMT does not know."""
    write_result(point_fit_result("bcc", n_shells=2), "r.nc")


def prose_eam() -> None:
    nickel()
    Path("Ni.eam").write_text("once upon a time\n" * 5)


EXCHANGE = [
    Case("export: folder that is not empty", full_folder, "export fit.nc -o out", ("out", "not empty")),
    Case(
        "export: file in the place of a folder",
        nothing,
        "export fit.nc -o tiny.toml",
        ("tiny.toml", "a file"),
    ),
    Case("export: result missing", nothing, "export fit.nc -o out", ("fit.nc", "does not exist")),
    Case("force constants: folder missing", nothing, "import tiny.toml none", ("none", "does not exist")),
    Case(
        "force constants: folder of something else",
        lambda: Path("empty").mkdir(),
        "import tiny.toml empty",
        ("empty", "phonopy.yaml", "infile.ucposcar"),
    ),
    Case(
        "phonopy: no force constants",
        phonopy_folder(lambda folder: (folder / PHONOPY_FILES[1]).unlink()),
        PHONOPY,
        ("phonopy holds no force constants", "FORCE_SETS"),
    ),
    Case("phonopy: force constants cut off", phonopy_folder(cut_constants), PHONOPY, (PHONOPY_FILES[1],)),
    Case(
        "phonopy: FORCE_CONSTANTS cut off",
        phonopy_folder(text_constants(ROWS)),
        PHONOPY,
        ("FORCE_CONSTANTS", "cannot be read"),
    ),
    Case(
        "phonopy: words in FORCE_CONSTANTS",
        phonopy_folder(text_constants(NOT_NUMBERS)),
        PHONOPY,
        ("FORCE_CONSTANTS", "cannot be read"),
    ),
    Case("phonopy: another element", phonopy_folder(other_element), PHONOPY, ("consists of Cu", "Ni")),
    Case("phonopy: Rydberg units", phonopy_folder(other_units), PHONOPY, ("qe", "Ry/au^2")),
    Case(
        "phonopy: damaged phonopy.yaml",
        phonopy_folder(lambda folder: (folder / PHONOPY_FILES[0]).write_text("a: [1\n")),
        PHONOPY,
        (PHONOPY_FILES[0], "cannot be read"),
    ),
    Case("TDEP: no unit cell", tdep_folder(cell=None), TDEP, ("infile.ucposcar", "missing")),
    Case("TDEP: unit cell is prose", tdep_folder(cell="once\n"), TDEP, ("infile.ucposcar", "cannot be read")),
    Case(
        "TDEP: force constants cut off",
        tdep_folder(pairs=PAIRS[:60]),
        TDEP,
        ("outfile.forceconstant", "early"),
    ),
    Case(
        "TDEP: words for a number",
        tdep_folder(pairs=PAIRS.replace("0 -0.5 0", "0 x 0")),
        TDEP,
        ("Line 7", "outfile.forceconstant", "0 x 0"),
    ),
    Case(
        "TDEP: a number NaN", tdep_folder(pairs=PAIRS.replace("0 -0.5 0", "0 nan 0")), TDEP, ("Line 7", "nan")
    ),
    Case(
        "TDEP: neighbour of no atom",
        tdep_folder(pairs=PAIRS.replace("1 neighbour 1", "2 neighbour 1")),
        TDEP,
        ("atom 2",),
    ),
    Case(
        "TDEP: two atoms for one",
        tdep_folder(pairs=PAIRS.replace("1 atoms", "2 atoms")),
        TDEP,
        ("2 atoms", "has 1"),
    ),
    Case("TDEP: polar material", tdep_folder(pairs=PAIRS.replace("0 # no", "1 # has")), TDEP, ("polar",)),
    Case(
        "TDEP: lattice 3 % larger",
        tdep_folder(cell=CELL.replace("1.0\n", "1.03\n", 1)),
        TDEP,
        ("not the crystal", "1%"),
    ),
    Case(
        "TDEP: all force constants zero", tdep_folder(pairs=PAIRS.replace("-0.5", "0.0")), TDEP, ("all zero",)
    ),
    Case(
        "potential unknown",
        nickel,
        "validate r.nc emtt",
        ("'emtt'", "emt, lj, morse", "module:function", "MODEL:SET"),
    ),
    Case("potential: EAM file missing", nickel, "validate r.nc Ni.eam", ("Ni.eam", "does not exist")),
    Case("potential: EAM file is prose", prose_eam, "validate r.nc Ni.eam", ("Ni.eam", "cannot be made")),
    Case("potential: module missing", nickel, "validate r.nc none:f", ("none:f", "'none'")),
    Case("potential: no parameters for the element", iron, "validate r.nc emt", ("emt", "Fe", "fails")),
    Case(
        "potential: IFC set unknown", nickel, "validate r.nc tiny.toml:other", ("'other'", "truth, springs")
    ),
    Case(
        "potential: IFC set of another crystal",
        nickel,
        "validate r.nc mg_hcp:bvk_290K",
        ("mg_hcp:bvk_290K", "another crystal"),
    ),
    Case("potential: folder of something else", nickel, "validate r.nc .", ("phonopy.yaml",)),
    Case(
        "import: name of the set taken",
        tdep_folder(),
        f"{TDEP} --name truth",
        ("'truth'", "springs"),
    ),
]
