"""Wrong trajectories, results, arguments and options."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from ase.build import bulk
from ase.io import write

from bayestds.diagnostics.result_file import write_result
from bayestds.io import write_volume
from tests.cli.bad_input.case import Case, nothing
from tests.cli.bad_input.volumes import cut
from tests.cli.tiny import MODEL, tiny_volume
from tests.results import point_fit_result

SIMULATE = "simulate tiny.toml --trajectory"


def header(shape: tuple[int, ...]) -> bytes:
    """What an array file of NumPy begins with."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def huge_frames() -> None:
    """Frames of 10^15 atoms, of which there is only the announcement."""
    with zipfile.ZipFile("md.npz", "w") as archive:
        archive.writestr("positions.npy", header((2, 10**15, 3)))
        archive.writestr("cell.npy", header((3, 3)) + np.eye(3).tobytes())


def frame(name: str, **changes: object) -> Callable[[], None]:
    """A trajectory of one frame, the tiny model's supercell at rest, changed."""

    def prepare() -> None:
        atoms = bulk("Ni", a=3.52, cubic=True).repeat(3)
        if "atoms" in changes:
            atoms = atoms[: changes["atoms"]]
        if "position" in changes:
            atoms.positions[3] = changes["position"]
        if "cell" in changes:
            atoms.set_cell(changes["cell"])
        write(name, atoms)

    return prepare


TRAJECTORIES = [
    Case("trajectory missing", nothing, f"{SIMULATE} none.xyz", ("none.xyz", "no such file")),
    Case("trajectory of no bytes", lambda: Path("md.xyz").touch(), f"{SIMULATE} md.xyz", ("md.xyz", "empty")),
    Case(
        "trajectory that is prose",
        lambda: Path("md.txt").write_text("once upon a time\n"),
        f"{SIMULATE} md.txt",
        ("md.txt", "ASE"),
    ),
    Case(
        "trajectory of too few atoms",
        frame("md.xyz", atoms=107),
        f"{SIMULATE} md.xyz",
        ("md.xyz, frame 1", "107 atoms", "108"),
    ),
    Case(
        "trajectory of another cell",
        frame("md.xyz", cell=[12.0, 12.0, 12.0]),
        f"{SIMULATE} md.xyz",
        ("md.xyz, frame 1", "12 12 12 Å", "10.56 10.56 10.56 Å", "13.6%"),
    ),
    Case(
        "trajectory with a position NaN",
        frame("md.traj", position=[np.nan, 0.0, 0.0]),
        f"{SIMULATE} md.traj",
        ("md.traj, frame 1", "atom 4", "nan"),
    ),
    Case(
        "arrays without a cell",
        lambda: np.savez("md.npz", positions=np.zeros((2, 108, 3))),
        f"{SIMULATE} md.npz",
        ("md.npz", "no array cell"),
    ),
    Case(
        "frames of 10^15 atoms declared",
        huge_frames,
        f"{SIMULATE} md.npz",
        ("md.npz", "(2, 1000000000000000, 3)", "22,351,741.8 GiB"),
    ),
]


def other_netcdf() -> None:
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf("bad.nc", engine="h5netcdf")


def cut_result() -> None:
    other_netcdf()
    cut("bad.nc", 0.6)


def huge_result() -> None:
    with h5py.File("bad.nc", "w") as file:
        file.create_dataset("point_fit/value", (10**15,), "f8", chunks=(10,))


def result(what: str, prepare: Callable[[], object], *words: str, command: str = "summary bad.nc") -> Case:
    """A result file that must be refused with its name and these words."""
    return Case(what, prepare, command, ("bad.nc", *words))


RESULTS = [
    result("result missing", nothing, "does not exist"),
    result("folder for a result", lambda: os.mkdir("bad.nc"), "does not exist"),
    result("result of no bytes", lambda: Path("bad.nc").touch(), "cannot be read"),
    result(
        "text for a result", lambda: Path("bad.nc").write_text("b0 = 1"), "cannot be read", "bayestds fit"
    ),
    result("netCDF file of another kind", other_netcdf, "not a result", "bayestds fit"),
    result("volume for a result", lambda: write_volume(tiny_volume(), "bad.nc"), "not a result"),
    result("truncated result", cut_result, "cannot be read", "damaged"),
    result("result of 10^15 numbers declared", huge_result, "too large", "7,450,580.6 GiB"),
    result(
        "phonons of no result",
        lambda: write_volume(tiny_volume(), "bad.nc"),
        "not a result",
        command="phonons bad.nc",
    ),
    result("result to report missing", nothing, "does not exist", command="report bad.nc"),
    result(
        "volume to report",
        lambda: write_volume(tiny_volume(), "bad.nc"),
        "not a result",
        command="report bad.nc",
    ),
    result("report in the place of its result", cut_result, "input", command="report bad.nc -o bad.nc"),
    result("results to compare that are none", nothing, "does not exist", command="compare bad.nc worse.nc"),
]


def good() -> None:
    write_volume(tiny_volume(), "good.nxs")


def argument(what: str, command: str, *words: str, prepare: Callable[[], object] = good) -> Case:
    """A command that must be refused with these words, beside good.nxs."""
    return Case(what, prepare, command, words)


def folder_sub() -> None:
    good()
    os.mkdir("sub")


def folder_for_picture() -> None:
    good()
    os.mkdir("drawn.png")


def made_up_result() -> None:
    write_result(point_fit_result("fcc", n_shells=2), "r.nc")


def campaign(*lines: str) -> Callable[[], object]:
    """A campaign file of these lines, beside good.nxs."""

    def prepare() -> None:
        good()
        Path("c.toml").write_text("\n".join(lines) + "\n")

    return prepare


RUN = ('model = "tiny.toml"', "[[run]]", 'volume = "good.nxs"')

CAMPAIGNS = [
    argument("campaign file missing", "campaign none.toml", "none.toml", "No such file"),
    argument("model for a campaign", "campaign tiny.toml", "campaign file", "crystal: unknown key"),
    argument("campaign of nothing", "campaign c.toml", "`volumes`", prepare=campaign('model = "tiny.toml"')),
    argument("campaign without a model", "campaign c.toml", "a `model`", prepare=campaign(*RUN[1:])),
    argument(
        "campaign of a model that is missing",
        "campaign c.toml",
        "ni_fcc_papr",
        "Did you mean",
        prepare=campaign('model = "ni_fcc_papr"', *RUN[1:]),
    ),
    argument(
        "pattern that matches nothing",
        "campaign c.toml",
        "hot/*.nxs",
        prepare=campaign(RUN[0], 'volumes = ["hot/*.nxs"]'),
    ),
    argument(
        "run without a volume",
        "campaign c.toml",
        "run.0.volume: missing",
        prepare=campaign(*RUN[:2], "seed = 1"),
    ),
    argument(
        "unknown command of a run",
        "campaign c.toml",
        "run.0.command: expected fit or sample, found 'simulate'",
        prepare=campaign(*RUN, 'command = "simulate"'),
    ),
    argument("two runs of one name", "campaign c.toml", "called good", prepare=campaign(*RUN, *RUN[1:])),
    argument(
        "run called as the tables are",
        "campaign c.toml",
        "called campaign",
        prepare=campaign(*RUN, 'name = "campaign"'),
    ),
    argument(
        "name of a run that is a path",
        "campaign c.toml",
        "run.0.name: expected letters, digits",
        prepare=campaign(*RUN, 'name = "../x"'),
    ),
    argument(
        "file in the place of the folder of a campaign",
        "campaign c.toml -o tiny.toml",
        "tiny.toml cannot be made",
        prepare=campaign(*RUN),
    ),
]


def bare() -> None:
    write_volume(tiny_volume(lattice=None), "bare.nc")


def trend() -> None:
    good()
    Path("trend.toml").write_text(MODEL.replace("[fit]", "[fit]\ntrend = true"))


ARGUMENTS = [
    argument("model missing", "irreducible none.toml", "none.toml", "ni_fcc_paper"),
    argument(
        "shipped model misspelt", "irreducible ni_fcc_papr", "ni_fcc_papr", "Did you mean ni_fcc_paper?"
    ),
    argument("folder for a model", "irreducible sub", "'sub'", prepare=folder_sub),
    argument("volume for a model", "irreducible good.nxs", "good.nxs", "UTF-8"),
    argument(
        "set to simulate unknown", "simulate tiny.toml --ifcs other", "'other'", "truth, springs, repulsive"
    ),
    argument(
        "draws beyond the memory",
        f"sample tiny.toml --draws {10**13}",
        "10,000,000,000,000 draws",
        "GiB free",
    ),
    argument("set to simulate unstable", "simulate tiny.toml --ifcs repulsive", "unstable", "'repulsive'"),
    argument(
        "folder for a volume missing", "simulate tiny.toml -o none/v.nxs", "none/v.nxs", "existing folder"
    ),
    argument("folder in the place of a new volume", "simulate tiny.toml -o sub", "sub", prepare=folder_sub),
    argument("suffix of no format", "simulate tiny.toml -o v.xyz", "v.xyz", ".nxs (nexus)"),
    argument("set to start from unknown", "fit tiny.toml good.nxs --start other", "'other'", "springs"),
    argument(
        "set to start from unstable", "fit tiny.toml good.nxs --start repulsive", "unstable", "'repulsive'"
    ),
    argument(
        "folder for a result missing", "fit tiny.toml good.nxs -o none/r.nc", "none/r.nc", "existing folder"
    ),
    argument("file in the place of a folder", "fit tiny.toml good.nxs -o tiny.toml/r.nc", "tiny.toml/r.nc"),
    argument("folder in the place of a result", "fit tiny.toml good.nxs -o sub", "sub", prepare=folder_sub),
    argument("picture in the place of a result", "fit tiny.toml good.nxs -o r.png", "r.png", ".nc"),
    argument(
        "folder in the place of a picture",
        "fit tiny.toml good.nxs -o drawn.nc",
        "drawn.png",
        "folder",
        prepare=folder_for_picture,
    ),
    argument(
        "volume that its fit would overwrite", "fit tiny.toml good.nxs -o good.nxs", "good.nxs", "input"
    ),
    argument("one of several volumes missing", "fit tiny.toml good.nxs none.nxs", "none.nxs", "no such file"),
    argument(
        "trend from one volume", "fit trend.toml good.nxs", "trend.toml", "one temperature", prepare=trend
    ),
    argument(
        "set to plan with unknown", "plan tiny.toml --ifcs other", "'other'", "truth, springs, repulsive"
    ),
    argument("special point unknown", "phonons r.nc --path 'G Q'", "'Q'", "Γ, X, L", prepare=made_up_result),
    argument("path of one point", "phonons r.nc --path X", "X is no path", "Γ, X, L", prepare=made_up_result),
    argument("path of no points", "phonons r.nc --path ''", "no path", "Γ, X, L", prepare=made_up_result),
    argument(
        "folder for phonons missing", "phonons r.nc -o none/p.png", "none/p.png", prepare=made_up_result
    ),
    argument(
        "result that its picture would overwrite",
        "phonons r.nc -o r.nc",
        "r.nc",
        "input",
        prepare=made_up_result,
    ),
    argument("volume to sample missing", "sample tiny.toml none.nxs", "none.nxs", "no such file"),
    argument("folder for a report missing", "report r.nc -o none/r.html", "none/r.html", "existing folder"),
    argument("folder in the place of a report", "report r.nc -o sub", "sub", prepare=folder_sub),
    argument("suffix of no volume", "convert good.nxs v.cif", "v.cif", ".nxs (nexus)"),
    argument("format unknown", "convert good.nxs v.nc --format vtk", "'vtk'", "mdhisto, discus, nexus, yell"),
    argument("folder for a converted volume missing", "convert good.nxs none/v.nc", "none/v.nc"),
    argument("folder in the place of a converted volume", "convert good.nxs sub", "sub", prepare=folder_sub),
    argument("volume without a cell for Yell", "convert bare.nc v.h5", "v.h5", "no lattice", prepare=bare),
    argument(
        "matrix that is singular",
        "convert good.nxs v.nc --reindex '1 1 0 / 1 1 0 / 0 0 1'",
        "1 1 0 / 1 1 0 / 0 0 1",
        "independent",
    ),
    argument(
        "matrix of two rows", "convert good.nxs v.nc --reindex '1 0 / 0 1'", "'1 0 / 0 1'", "Three rows"
    ),
]
