"""Wrong volumes, of whatever format: here NeXus."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from bayestds.io import write_volume
from tests.cli.bad_input.case import Case, nothing
from tests.cli.tiny import MODEL, POINTS, tiny_volume

SHAPE = (POINTS,) * 3
DATA = "/entry/transform/data"
AXIS = np.linspace(-2, 2, POINTS)
HEXAGONAL = (2.5, 2.5, 4.1, 90.0, 90.0, 120.0)


def few_counts() -> np.ndarray:
    """Intensities that are one count each, or two, or none."""
    h, k, l_ = np.meshgrid(AXIS, AXIS, AXIS, indexing="ij")
    return np.random.default_rng(0).poisson((1 + h**2 + k**2 + l_**2) / 5) * 0.37


def cut(path: str, keep: float) -> None:
    """Truncate a file."""
    os.truncate(path, int(os.path.getsize(path) * keep))


def volume(change: Callable[[h5py.File], object] | None = None, **parts: object) -> Callable[[], None]:
    """What writes bad.nxs: a NeXus file with other parts, or changed afterwards."""

    def write() -> None:
        write_volume(tiny_volume(**parts), "bad.nxs")
        if change is not None:
            with h5py.File("bad.nxs", "r+") as file:
                change(file)

    return write


def put(name: str, value: object) -> Callable[[h5py.File], None]:
    """Another value, or link, in the place of a dataset, which keeps its attributes."""

    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = value
        if not isinstance(value, h5py.ExternalLink | h5py.SoftLink):
            file[name].attrs.update(attributes)

    return change


def attribute(name: str, key: str, value: object) -> Callable[[h5py.File], None]:
    """Another attribute."""

    def change(file: h5py.File) -> None:
        file[name].attrs[key] = value

    return change


def removed(name: str) -> Callable[[h5py.File], None]:
    """Without a dataset."""

    def change(file: h5py.File) -> None:
        del file[name]

    return change


def spoiled(value: float, where: object = np.s_[6, 6, 5]) -> np.ndarray:
    """Intensities of which some are not to be had."""
    intensity = np.full(SHAPE, 2.0)
    intensity[where] = value
    return intensity


def sparse() -> np.ndarray:
    """Hardly any measured voxel."""
    intensity = np.full(SHAPE, np.nan)
    intensity[5:7, 5:7, 5:7] = 1.0
    return intensity


def truncated() -> None:
    write_volume(tiny_volume(), "bad.nxs")
    cut("bad.nxs", 0.5)


def damaged() -> None:
    """Bytes in the middle of the data, which are compressed, are others."""
    volume()()
    with h5py.File("bad.nxs", "r+") as file:
        values, attributes = file[DATA][()], dict(file[DATA].attrs)
        del file[DATA]
        stored = file.create_dataset(DATA, data=values, chunks=SHAPE, compression="gzip", fletcher32=True)
        stored.attrs.update(attributes)
        place = stored.id.get_chunk_info(0)
    with open("bad.nxs", "r+b") as raw:
        raw.seek(place.byte_offset + place.size // 2)
        raw.write(b"\xff" * 64)


def unknown_layout() -> None:
    with h5py.File("bad.nxs", "w") as file:
        file["image"] = np.ones((5, 5))


def counted(change: Callable[[np.ndarray], object]) -> Callable[[], None]:
    """A volume with one count for each unit of intensity, changed."""

    def write() -> None:
        intensity = np.round(10 * tiny_volume()["intensity"].values)
        counts = intensity.copy()
        found = change(counts)
        write_volume(tiny_volume(intensity=intensity if found is None else found, counts=counts), "bad.nxs")

    return write


def one_and_no_count(counts: np.ndarray) -> np.ndarray:
    """One voxel without counts, and half of the others measured for twice the time."""
    counts[6, 6, 5] = 0
    intensity = counts.copy()
    intensity[:6] /= 2
    return intensity


def wrong(what: str, prepare: Callable[[], object], *words: str) -> Case:
    """A volume that must be refused with its name and these words."""
    return Case(what, prepare, "fit tiny.toml bad.nxs", ("bad.nxs", *words))


def with_mask() -> None:
    """A mask that leaves nothing of a good volume."""
    volume()()
    Path("tiny.toml").write_text(MODEL.replace("[fit]", "[mask]\nq_min = 99\n[fit]"))


VOLUMES = [
    wrong("volume missing", nothing, "no such file"),
    wrong("folder for a volume", lambda: os.mkdir("bad.nxs"), "folder"),
    wrong("file of no bytes", lambda: Path("bad.nxs").touch(), "empty", "zero bytes"),
    wrong(
        "text for a volume",
        lambda: Path("bad.nxs").write_text("h k l\n0 0 1\n"),
        "neither an HDF5 file nor a list",
    ),
    wrong("truncated HDF5", truncated, "truncated"),
    wrong("corrupt HDF5", damaged, "'data' in /entry/transform cannot be read", "damaged"),
    wrong("HDF5 of another kind", unknown_layout, "unknown layout", "image", "nexus"),
    wrong(
        "dangling external link",
        volume(put(DATA, h5py.ExternalLink("detector.h5", "/entry/data"))),
        "leads nowhere",
        "/entry/data in file detector.h5",
    ),
    wrong(
        "dangling soft link", volume(put(DATA, h5py.SoftLink("/entry/gone"))), "leads nowhere", "/entry/gone"
    ),
    wrong("axis missing", volume(removed("/entry/transform/Qk")), "'Qk' is missing"),
    wrong(
        "axis of another length", volume(put("/entry/transform/Qh", AXIS[:9])), "shape (9,)", "are 13 voxels"
    ),
    wrong(
        "dimensions in the wrong order",
        volume(
            attribute("/entry/transform", "axes", ["Qh", "Qk", "Ql"]),
            l=AXIS[:7],
            intensity=np.ones((13, 13, 7)),
        ),
        "Qh",
        "has the shape (13,)",
        "are 7 voxels",
    ),
    wrong("plane without a third dimension", volume(put(DATA, np.ones((13, 13)))), "'data'", "2 dimensions"),
    wrong(
        "axis that goes back", volume(put("/entry/transform/Qk", np.abs(AXIS))), "axis k", "does not increase"
    ),
    wrong(
        "axis that is not uniform", volume(put("/entry/transform/Ql", (AXIS + 3) ** 2)), "axis l", "uniform"
    ),
    wrong("axis NaN", volume(put("/entry/transform/Qh", np.full(POINTS, np.nan))), "axis h", "finite"),
    wrong(
        "mixed units: an axis in 1/Å beside two in r.l.u.",
        volume(attribute("/entry/transform/Qk", "units", "1/angstrom")),
        "Qk is in '1/angstrom'",
        "Miller indices",
    ),
    wrong(
        "mixed units: temperature in degrees Celsius",
        volume(attribute("/entry/sample/temperature", "units", "degC"), temperature=300.0),
        "temperature is in 'degC'",
        "'K'",
    ),
    wrong(
        "mixed units: cell in nm",
        volume(attribute("/entry/sample/unitcell_b", "units", "nm")),
        "unitcell_b is in 'nm'",
        "angstrom",
    ),
    wrong(
        "temperature of zero",
        volume(put("/entry/sample/temperature", 0.0), temperature=300.0),
        "temperature is 0.0",
    ),
    wrong("lattice NaN", volume(put("/entry/sample/unitcell_b", np.nan)), "lattice (3.52, nan"),
    wrong("lattice infinite", volume(put("/entry/sample/unitcell_b", np.inf)), "lattice (3.52, inf"),
    wrong("negative lattice parameter", volume(put("/entry/sample/unitcell_c", -3.52)), "-3.52"),
    wrong(
        "angles that close no cell",
        volume(put("/entry/sample/unitcell_gamma", 179.0), lattice=(3.52, 3.52, 3.52, 60, 60, 90)),
        "179.0",
        "volume is not positive",
    ),
    wrong("another lattice", volume(lattice=HEXAGONAL), "does not match the crystal", "120", "3.52"),
    wrong("another lattice parameter", volume(lattice=(5.43, 5.43, 5.43, 90, 90, 90)), "5.43", "3.52"),
    wrong("not commensurate with the supercell", volume(h=AXIS + 0.1, k=AXIS, l=AXIS), "supercell", "-1.9"),
    wrong("text for intensities", volume(put(DATA, "bright")), "'data'", "Real numbers"),
    wrong("complex intensities", volume(put(DATA, np.ones(SHAPE, complex))), "complex128", "Real numbers"),
    wrong("every intensity NaN", volume(put(DATA, np.full(SHAPE, np.nan))), "every intensity is NaN"),
    wrong(
        "infinite intensity", volume(put(DATA, spoiled(np.inf))), "1 intensities are infinite", "(5, 6, 6)"
    ),
    wrong(
        "negative intensity",
        volume(intensity=spoiled(-1e4)),
        "1 of",
        "means of equivalent voxels",
        "zero or negative",
    ),
    wrong("zeros among few counts", volume(intensity=few_counts()), "exactly zero may be measured or not"),
    wrong("every intensity zero", volume(intensity=np.zeros(SHAPE)), "2162 of 2162", "exactly zero"),
    wrong("too few voxels", volume(intensity=sparse()), "irreducible points", "larger volume"),
    wrong("mask of the volume leaves nothing", volume(mask=np.ones(SHAPE, dtype=bool)), "0 of 2197 voxels"),
    wrong("mask of the model leaves nothing", with_mask, "0 of 2197 voxels", "mask"),
    wrong(
        "mask that is no mask",
        volume(put("/entry/transform/mask", "bright"), mask=np.zeros(SHAPE)),
        "'mask'",
        "Real numbers",
    ),
    wrong(
        "negative standard error",
        volume(put("/entry/transform/data_errors", spoiled(-0.1)), sigma=np.ones(SHAPE)),
        "sigma is -0.1 at index (5, 6, 6)",
    ),
    wrong(
        "every standard error zero",
        volume(put("/entry/transform/data_errors", np.zeros(SHAPE)), sigma=np.ones(SHAPE)),
        "0 of 2197 voxels",
        "standard errors, have one above zero",
    ),
    wrong("zero counts everywhere", counted(lambda counts: counts.fill(0)), "contradict"),
    wrong(
        "zero counts, exposures that differ",
        counted(one_and_no_count),
        "1 voxels have no counts",
        "from 1 to 2",
    ),
    wrong(
        "counts that contradict the intensity",
        counted(lambda counts: counts.__setitem__((6, 6, 5), 0)),
        "contradict",
    ),
    wrong(
        "fractional number of configurations",
        volume(attribute("/entry/bayestds", "configurations", 2.5), configurations=2),
        "configurations is 2.5",
    ),
    Case(
        "third order and a mean over configurations",
        volume(configurations=50, statistics="classical"),
        "fit tiny.toml bad.nxs --cubic 1",
        ("tiny.toml", "bad.nxs", "50 independent configurations", "harmonic"),
    ),
    wrong(
        "unknown statistics",
        volume(attribute("/entry/bayestds", "statistics", "Bose"), statistics="quantum"),
        "'Bose'",
    ),
]
