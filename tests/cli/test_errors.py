"""Every mistake ends with exit code 2, one message that names it and says what to do, and no file."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from bayestds.io import write_volume
from tests.cli.tiny import MODEL, POINTS, Outcome, call, tiny_volume

NOISE = ("Traceback", "Warning", "warning", 'File "', "<class", "pydantic")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, and the bytes of the files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refused(folder: Path, *words: str) -> Outcome:
    """Run a command that must be refused without a trace."""
    before = contents(folder)
    outcome = call(*words)
    assert outcome.code == 2, outcome.out
    assert outcome.out == ""
    assert contents(folder) == before
    for noise in NOISE:
        assert noise not in outcome.err
    return outcome


def says(outcome: Outcome, *words: str) -> None:
    """Check that there is one message of at least a summary and a way out, with these words."""
    lines = outcome.err.strip().splitlines()
    assert lines[0].startswith("Error: ")
    assert sum(line.startswith("Error: ") for line in lines) == 1
    assert len(lines) >= 2
    assert all(len(line) < 1000 for line in lines)
    for word in words:
        assert word in outcome.err


GRID = MODEL[MODEL.index("[measurement.grid]") : MODEL.index("[fit]")]
MEASUREMENT = MODEL[MODEL.index("[measurement]") : MODEL.index("[fit]")]
CRYSTAL = MODEL[MODEL.index("lattice") : MODEL.index("[force_constants]")]
SMALL = GRID.replace("[-2, 2, 13]", "[0, 0.3333333, 2]")

# What is replaced in the model, by what, and what the message must say beside the name of the file.
MODEL_MISTAKES = {
    "TOML syntax": ('"tiny fcc"', "tiny fcc", ["not valid TOML", "line 1"]),
    "missing section": ("[force_constants]\nshells = 2\n", "", ["force_constants: missing"]),
    "missing key": ("temperature = 300\n", "", ["measurement.temperature: missing", "positive temperature"]),
    "unknown key": ("temperature = 300", "temprature = 300", ["did you mean 'temperature'?"]),
    "temperature with unit": ("temperature = 300", 'temperature = "300 K"', ["'300 K'", "in K"]),
    "negative temperature": ("temperature = 300", "temperature = -300", ["found -300"]),
    "NaN value": ("b0 = -1.0", "b0 = nan", ["ifcs.truth.values.b0", "finite"]),
    "unknown start": ('"springs"\nref', '"sprngs"\nref', ["fit.start", "sprngs", "`springs`"]),
    "unstable start": ('"springs"\nref', '"repulsive"\nref', ["unstable", "'repulsive'", "signs"]),
    "unstable truth": ('ifcs = "truth"', 'ifcs = "repulsive"', ["unstable", "'repulsive'"]),
    "missing name": (", c1 = 0.0}", "}", ["'springs'", "missing: c1"]),
    "unknown name": ("c1 = 0.0}", "c7 = 0.0}", ["Unknown: c7; missing: c1"]),
    "supercell zero": ("[3, 3, 3]", "[0, 3, 3]", ["measurement.supercell", "at least 1"]),
    "shells beyond half the supercell": ("[3, 3, 3]", "[1, 1, 1]", ["supercell"]),
    "grid not commensurate": ("h = [-2, 2, 13]", "h = [-2, 2, 12]", ["supercell"]),
    "too few points": (GRID, SMALL, ["irreducible points"]),
    "nothing inside the mask": ("[fit]", "[mask]\nq_min = 99\n[fit]", ["mask"]),
    "no measurement": (MEASUREMENT, "", ["[measurement]", "supercell and temperature"]),
    "no data": ('ifcs = "truth"\n', "", ["names no data"]),
    "no such element": ('"Ni"', '"Xx"', ["Xx"]),
    "no such space group": ("space_group = 225", 'space_group = "Fm-3x"', ["space_group"]),
    "overlapping atoms": (
        "[0, 0, 0]}]",
        '[0, 0, 0]}, {species = "Ni", position = [0.01, 0, 0]}]',
        ["too close|apart"],
    ),
    "CIF missing": (CRYSTAL, 'file = "none.cif"\n', ["none.cif", "not a file"]),
    "CIF garbage": (CRYSTAL, 'file = "garbage.cif"\n', ["garbage.cif", "valid CIF"]),
    "CIF empty": (CRYSTAL, 'file = "empty.cif"\n', ["empty.cif"]),
    "CIF with partial occupancy": (CRYSTAL, 'file = "partial.cif"\n', ["partial.cif", "partially occupied"]),
    "data file missing": ('ifcs = "truth"\n', 'file = "none.nxs"\n', ["none.nxs", "not a file"]),
}

PARTIAL_CIF = """\
data_alloy
_cell_length_a 3.52
_cell_length_b 3.52
_cell_length_c 3.52
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Ni1 Ni 0 0 0 0.5
Cu1 Cu 0 0 0 0.5
"""


@pytest.mark.parametrize("mistake", MODEL_MISTAKES)
def test_model_mistake(folder, mistake):
    old, new, words = MODEL_MISTAKES[mistake]
    assert MODEL.count(old) == 1
    (folder / "garbage.cif").write_text("this is not a CIF file\n")
    (folder / "empty.cif").touch()
    (folder / "partial.cif").write_text(PARTIAL_CIF)
    (folder / "wrong.toml").write_text(MODEL.replace(old, new))
    outcome = refused(folder, "fit", "wrong.toml")
    says(outcome)
    named = "wrong.toml" in outcome.err or ".cif" in outcome.err or "own measurement" in outcome.err
    assert named or mistake == "shells beyond half the supercell"
    for word in words:
        assert any(choice in outcome.err for choice in word.split("|")), outcome.err


def cut(path: str, keep: float) -> None:
    """Truncate a file."""
    os.truncate(path, int(os.path.getsize(path) * keep))


def volume(change: Callable[[h5py.File], None] | None = None, **parts) -> Callable[[], None]:
    """What writes bad.nxs: a NeXus file with other parts, or changed afterwards."""

    def write() -> None:
        write_volume(tiny_volume(**parts), "bad.nxs")
        if change is not None:
            with h5py.File("bad.nxs", "r+") as file:
                change(file)

    return write


def signal(file: h5py.File) -> str:
    """Path of the three-dimensional dataset."""
    found: list[str] = []
    file.visititems(lambda path, item: found.append(path) if getattr(item, "ndim", 0) == 3 else None)
    return found[0]


def replaced(name: str, values: object) -> Callable[[h5py.File], None]:
    """Other values in the place of an axis or of the signal."""

    def change(file: h5py.File) -> None:
        path = signal(file) if name == "signal" else f"{file[signal(file)].parent.name}/Q{name}"
        attributes = dict(file[path].attrs)
        del file[path]
        file[path] = values
        file[path].attrs.update(attributes)

    return change


def not_hdf5() -> None:
    Path("bad.nxs").write_text("h k l intensity\n0 0 1 5\n")


def truncated() -> None:
    write_volume(tiny_volume(), "bad.nxs")
    cut("bad.nxs", 0.5)


def unknown_layout() -> None:
    with h5py.File("bad.nxs", "w") as file:
        file["image"] = np.ones((5, 5))


def dangling_link(file: h5py.File) -> None:
    path = signal(file)
    del file[path]
    file[path] = h5py.ExternalLink("detector.h5", "/entry/data")


def spoiled(value: float, where: object = np.s_[6, 6, 5]) -> np.ndarray:
    """Intensities of which some are not to be had."""
    intensity = np.full((POINTS,) * 3, 2.0)
    intensity[where] = value
    return intensity


def sparse() -> np.ndarray:
    """Hardly any measured voxel."""
    intensity = np.full((POINTS,) * 3, np.nan)
    intensity[5:7, 5:7, 5:7] = 1.0
    return intensity


HEXAGONAL = (2.5, 2.5, 4.1, 90.0, 90.0, 120.0)
SHIFTED = np.linspace(-2, 2, POINTS) + 0.1
VOLUME_MISTAKES = {
    "missing": (lambda: None, ["no such file"]),
    "folder": (lambda: os.mkdir("bad.nxs"), ["folder"]),
    "empty": (lambda: Path("bad.nxs").touch(), ["empty"]),
    "not HDF5": (not_hdf5, ["not an HDF5 file"]),
    "truncated": (truncated, ["truncated"]),
    "unknown layout": (unknown_layout, ["unknown layout", "image", "nexus"]),
    "dangling link": (volume(dangling_link), ["detector.h5"]),
    "axis of another length": (volume(replaced("h", np.linspace(-2, 2, 9))), ["shape"]),
    "axis that decreases": (volume(replaced("k", np.linspace(2, -2, POINTS))), ["axis k", "increas"]),
    "axis that is not uniform": (
        volume(replaced("l", np.linspace(0, 2, POINTS) ** 2)),
        ["axis l", "uniform"],
    ),
    "axis that is not finite": (volume(replaced("h", np.full(POINTS, np.nan))), ["axis h", "finite"]),
    "negative voxels": (volume(intensity=spoiled(-1.0)), ["1 of", "zero or negative", "unmeasured"]),
    "all NaN": (volume(replaced("signal", np.full((POINTS,) * 3, np.nan))), ["NaN"]),
    "infinite voxel": (volume(replaced("signal", spoiled(np.inf))), ["infinite"]),
    "another lattice": (volume(lattice=HEXAGONAL), ["does not match the crystal", "120", "3.52"]),
    "another lattice parameter": (volume(lattice=(5.43, 5.43, 5.43, 90, 90, 90)), ["5.43", "3.52"]),
    "too few voxels": (volume(intensity=sparse()), ["irreducible points", "larger volume"]),
    "everything masked": (volume(mask=np.ones((POINTS,) * 3, dtype=bool)), ["measured"]),
    "not commensurate": (volume(h=SHIFTED, k=SHIFTED, l=SHIFTED), ["supercell", "-1.9"]),
}


@pytest.mark.parametrize("mistake", VOLUME_MISTAKES)
def test_volume_mistake(folder, mistake):
    prepare, words = VOLUME_MISTAKES[mistake]
    prepare()
    says(refused(folder, "fit", "tiny.toml", "bad.nxs"), "bad.nxs", *words)


@pytest.mark.parametrize("mistake", ["missing", "folder", "not HDF5", "truncated", "infinite voxel"])
@pytest.mark.parametrize("words", [["info", "bad.nxs"], ["convert", "bad.nxs", "out.nc"]])
def test_volume_mistake_of_other_commands(folder, mistake, words):
    VOLUME_MISTAKES[mistake][0]()
    says(refused(folder, *words), "bad.nxs")


def other_netcdf(path: str) -> None:
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")


def cut_result(path: str) -> None:
    other_netcdf(path)
    cut(path, 0.6)


RESULT_MISTAKES = {
    "missing": (lambda path: None, ["does not exist", "Check the path"]),
    "folder": (os.mkdir, ["does not exist|folder"]),
    "empty": (lambda path: Path(path).touch(), ["cannot be read"]),
    "text": (lambda path: Path(path).write_text("b0 = 1"), ["cannot be read", "bayestds fit"]),
    "another netCDF file": (other_netcdf, ["not a result", "bayestds fit"]),
    "a volume": (lambda path: write_volume(tiny_volume(), path, "netcdf"), ["not a result"]),
    "truncated": (cut_result, ["cannot be read", "damaged"]),
}


@pytest.mark.parametrize("mistake", RESULT_MISTAKES)
def test_result_mistake(folder, mistake):
    prepare, words = RESULT_MISTAKES[mistake]
    prepare("bad.nc")
    outcome = refused(folder, "summary", "bad.nc")
    says(outcome, "bad.nc")
    for word in words:
        assert any(choice in outcome.err for choice in word.split("|"))


# Commands in a folder with tiny.toml, good.nxs, a folder `sub`, and what their messages must say.
ARGUMENT_MISTAKES = [
    ("irreducible none.toml", ["none.toml", "ni_fcc_paper"]),
    ("irreducible ni_fcc_papr", ["ni_fcc_papr", "Did you mean ni_fcc_paper?"]),
    ("irreducible sub", ["sub"]),
    ("irreducible good.nxs", ["good.nxs", "UTF-8"]),
    ("simulate tiny.toml --ifcs other", ["'other'", "truth, springs, repulsive"]),
    ("simulate tiny.toml --ifcs repulsive", ["unstable", "'repulsive'"]),
    ("simulate tiny.toml -o none/v.nxs", ["none/v.nxs", "existing folder"]),
    ("simulate tiny.toml -o sub", ["sub"]),
    ("simulate tiny.toml -o v.xyz", ["v.xyz", ".nxs (nexus)"]),
    ("fit tiny.toml good.nxs --start other", ["'other'", "truth, springs, repulsive"]),
    ("fit tiny.toml good.nxs --start repulsive", ["unstable", "'repulsive'"]),
    ("fit tiny.toml good.nxs -o none/r.nc", ["none/r.nc", "existing folder"]),
    ("fit tiny.toml good.nxs -o tiny.toml/r.nc", ["tiny.toml/r.nc", "existing folder"]),
    ("fit tiny.toml good.nxs -o sub", ["sub", "folder"]),
    ("fit tiny.toml good.nxs -o r.png", ["r.png", ".nc"]),
    ("fit tiny.toml good.nxs -o drawn.nc", ["drawn.png", "folder"]),
    ("convert good.nxs v.cif", ["v.cif", ".nxs (nexus)"]),
    ("convert good.nxs v.nc --format vtk", ["'vtk'", "nexus, yell, netcdf"]),
    ("convert good.nxs none/v.nc", ["none/v.nc", "existing folder"]),
    ("convert good.nxs sub", ["sub"]),
    ("convert bare.nc v.h5", ["lattice"]),
]


@pytest.mark.parametrize(("command", "words"), ARGUMENT_MISTAKES, ids=[case[0] for case in ARGUMENT_MISTAKES])
def test_argument_mistake(folder, command, words):
    write_volume(tiny_volume(), "good.nxs")
    write_volume(tiny_volume(lattice=None), "bare.nc")
    os.mkdir("sub")
    os.mkdir("drawn.png")
    says(refused(folder, *command.split()), *words)


@pytest.mark.parametrize("command", ["irreducible tiny.toml", "simulate tiny.toml", "fit tiny.toml"])
def test_json_does_not_change_an_error(folder, command):
    (folder / "tiny.toml").write_text(MODEL.replace("shells = 2", "shells = 0"))
    plain, as_json = (refused(folder, *command.split(), *flag) for flag in ([], ["--json"]))
    assert plain == as_json
    says(plain, "force_constants.shells")


# The parser's own messages.
USAGE_MISTAKES = [
    ("", "Usage"),
    ("fly", "No such command"),
    ("--nope", "No such option"),
    ("fit", "Missing argument 'MODEL'"),
    ("fit tiny.toml x.nxs --startt zero", "--start"),
    ("fit tiny.toml --shells 0", "--shells"),
    ("fit tiny.toml --shells two", "integer"),
    ("simulate tiny.toml --engine magic", "'magic'"),
    ("simulate tiny.toml --scale 0", "0 is not a positive number"),
    ("simulate tiny.toml --scale nan", "nan is not a positive number"),
    ("convert x.nxs", "Missing argument 'OUT'"),
    ("summary", "Missing argument 'RESULT'"),
]


@pytest.mark.parametrize(
    ("command", "words"), USAGE_MISTAKES, ids=[case[0] or "none" for case in USAGE_MISTAKES]
)
def test_usage_mistake(folder, command, words):
    before = contents(folder)
    outcome = call(*command.split())
    assert outcome.code == 2
    assert words in outcome.err + (outcome.out if not command else "")
    assert contents(folder) == before


def test_old_result_survives_a_failed_fit(folder):
    (folder / "r.nc").write_text("precious")
    refused(folder, "fit", "tiny.toml", "none.nxs", "-o", "r.nc")


def test_hostile_names_in_messages(folder):
    outcome = refused(folder, "info", "[/bold] [red].nxs")
    says(outcome, "[/bold] [red].nxs")


def test_error_is_no_json(folder):
    outcome = refused(folder, "info", "none.nxs", "--json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(outcome.err)
