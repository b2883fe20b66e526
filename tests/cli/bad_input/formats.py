"""Wrong files of each format: what only its reader can see."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from bayestds.io import write_volume
from tests.cli.bad_input.case import Case
from tests.cli.bad_input.volumes import SHAPE, attribute, put, removed
from tests.cli.tiny import POINTS, tiny_volume

INTENSITIES = {
    "nexus": "/entry/transform/data",
    "mdhisto": "/MDHistoWorkspace/data/signal",
    "discus": "/entry/data/data_values",
    "yell": "/data",
    "netcdf": "/intensity",
}
EDGE = 100_000
"""Points along an axis of a volume that no memory holds."""

OF_VOXELS, OF_AN_AXIS = "5,587,935.4 GiB", "22,351,741.8 GiB"
"""What 10^15 voxels take, read in slabs, and three copies of so many points along an axis."""


def written(file_format: str, *changes: Callable[[h5py.File], object], **parts: object) -> Callable[[], None]:
    """What writes bad.h5 in a format, changed."""

    def write() -> None:
        write_volume(tiny_volume(**parts), "bad.h5", file_format)
        with h5py.File("bad.h5", "r+") as file:
            for change in changes:
                change(file)

    return write


def huge(name: str, shape: tuple[int, ...] = (EDGE,) * 3) -> Callable[[h5py.File], None]:
    """A dataset of dimensions that only its header has: chunks that were never written take no space."""

    def change(file: h5py.File) -> None:
        attributes = {key: value for key, value in file[name].attrs.items() if not key.isupper()}
        del file[name]
        stored = file.create_dataset(name, shape, "f4", chunks=(10,) * len(shape))
        stored.attrs.update({key: value for key, value in attributes.items() if key[0] != "_"})

    return change


def virtual(file: h5py.File) -> None:
    """A dataset that is put together from a file that is not there; HDF5 reads it as zeros."""
    attributes = dict(file[INTENSITIES["nexus"]].attrs)
    del file[INTENSITIES["nexus"]]
    layout = h5py.VirtualLayout(SHAPE, "f8")
    layout[...] = h5py.VirtualSource("part.h5", "part", SHAPE)
    file.create_virtual_dataset(INTENSITIES["nexus"], layout).attrs.update(attributes)


def second_volume(file: h5py.File) -> None:
    """Another NXdata, and no word which of the two is meant."""
    file.copy("/entry/transform", "/entry/other")
    file.move("/entry/transform", "/entry/one")
    del file["/entry"].attrs["default"]


def events(file: h5py.File) -> None:
    """Mantid's list of events in the place of their histogram."""
    file.move("/MDHistoWorkspace", "/MDEventWorkspace")


def sheared() -> None:
    """A volume of rspace3d whose planes are not along its axes."""
    with h5py.File("bad.h5", "w") as file:
        file["data"] = np.ones(SHAPE)
        file["H"] = file["K"] = file["L"] = np.linspace(-2, 2, POINTS)
        file["M_inv"] = [[0.1, 0.05], [0.0, 0.1]]


def binoculars() -> None:
    """A space of BINoculars in inverse lengths."""
    with h5py.File("bad.h5", "w") as file:
        file["binoculars/counts"] = file["binoculars/contributions"] = np.ones(SHAPE)
        for index, name in enumerate(("Qx", "Qy", "Qz")):
            file[f"binoculars/axes/{name}"] = [index, 0.0, 1.2, 0.1, 0, POINTS - 1]


def listed_twice() -> None:
    """A list h k l I with a voxel more than there are."""
    Path("bad.h5").write_text("0 0 1 5\n0 0 2 6\n0 0 1 5.1\n")


def wrong(what: str, prepare: Callable[[], object], *words: str) -> Case:
    """A file that must be refused with its name and these words."""
    return Case(what, prepare, "info bad.h5", ("bad.h5", *words))


MANTID = "/MDHistoWorkspace/data"
DISCUS = "/entry/data"
FORMATS = [
    *(
        wrong(
            f"{name}: 10^15 voxels declared",
            written(name, huge(path)),
            f"{path} has the dimensions (100000, 100000, 100000)",
            OF_VOXELS,
        )
        for name, path in INTENSITIES.items()
    ),
    wrong(
        "nexus: 10^15 points declared along an axis",
        written("nexus", huge("/entry/transform/Qk", (EDGE**3,))),
        "Qk has the dimensions (1000000000000000,)",
        OF_AN_AXIS,
    ),
    wrong(
        "mdhisto: 10^15 variances declared",
        written("mdhisto", huge(f"{MANTID}/errors_squared")),
        "errors_squared has the dimensions (100000, 100000, 100000)",
        OF_VOXELS,
    ),
    *(
        wrong(
            f"{name}: dangling external link",
            written(name, put(path, h5py.ExternalLink("gone.h5", "/there"))),
            "leads nowhere",
            "/there in file gone.h5",
        )
        for name, path in INTENSITIES.items()
        if name != "nexus"
    ),
    wrong("nexus: virtual dataset without its file", written("nexus", virtual), "part.h5 is not there"),
    wrong(
        "nexus: several volumes",
        written("nexus", second_volume),
        "/entry/one, /entry/other",
        "None is the default",
    ),
    wrong(
        "nexus: axes of other names",
        written("nexus", attribute("/entry/transform", "axes", ["x", "y", "z"])),
        "no NXdata has the three axes h, k, l",
        "['x', 'y', 'z']",
    ),
    wrong(
        "nexus: weights of another shape",
        written(
            "nexus", lambda file: file.create_dataset("/entry/transform/weights", data=np.ones((2, 2, 2)))
        ),
        "weights have the shape (2, 2, 2)",
    ),
    wrong("mdhisto: events", written("mdhisto", events), "MDEventWorkspace"),
    wrong(
        "mdhisto: centres of bins instead of edges",
        written("mdhisto", put(f"{MANTID}/D1", np.linspace(-2, 2, POINTS))),
        "D1 has 13 values for 13 bins",
    ),
    wrong(
        "mdhisto: axis of energy",
        written("mdhisto", attribute(f"{MANTID}/D1", "long_name", "DeltaE")),
        "'DeltaE'",
    ),
    wrong(
        "mdhisto: mixed units, an axis in 1/Å",
        written(
            "mdhisto",
            attribute(f"{MANTID}/D2", "units", "Angstrom^-1"),
            attribute(f"{MANTID}/D2", "frame", "General Frame"),
        ),
        "D2 is in 'Angstrom^-1'",
    ),
    wrong(
        "mdhisto: negative variance",
        written("mdhisto", put(f"{MANTID}/errors_squared", np.full(SHAPE, -1.0))),
        "errors_squared is negative at 2197 voxels",
    ),
    wrong(
        "discus: dimensions in the wrong order",
        written(
            "discus",
            put(f"{DISCUS}/data_dimension", [7, 13, 13]),
            l=np.linspace(-2, 0, 7),
            intensity=np.ones((13, 13, 7)),
        ),
        "(13, 13, 7)",
        "(7, 13, 13)",
    ),
    wrong(
        "discus: amplitudes",
        written("discus", put(f"{DISCUS}/data_type_content", "amplitude")),
        "'amplitude'",
        "'intensity'",
    ),
    wrong(
        "discus: two axes along the same direction",
        written("discus", put(f"{DISCUS}/data_increment_vector", [[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])),
        "(1 1 0)",
        "span no volume",
    ),
    wrong(
        "discus: indices of a supercell",
        written("discus", put(f"{DISCUS}/coordinate_unit", "supercell_fractional")),
        "'supercell_fractional'",
    ),
    wrong(
        "discus: cell missing", written("discus", removed(f"{DISCUS}/unit_cell_angles")), "'unit_cell_angles'"
    ),
    wrong("yell: map of direct space", written("yell", put("/is_direct", True)), "direct space", "PDF"),
    wrong("yell: another version", written("yell", put("/format", "Yell 7.0")), "'Yell 7.0'"),
    wrong("yell: step of zero", written("yell", put("/step_sizes", [0.1, 0.0, 0.1])), "[0.1 0.  0.1]"),
    wrong("yell: lattice NaN", written("yell", put("/unit_cell", [3.52, np.nan, 3.52, 90, 90, 90])), "nan"),
    wrong(
        "yell: cell of other axes",
        written("yell", lambda file: file.create_dataset("metric_tensor", data=np.eye(3))),
        "metric_tensor",
        "unit_cell",
    ),
    wrong(
        "netcdf: mixed units, an axis in 1/Å",
        written("netcdf", attribute("/k", "units", "1/Å")),
        "/k is in '1/Å'",
    ),
    wrong(
        "netcdf: variable without names of dimensions",
        written("netcdf", lambda file: file.create_dataset("sigma", data=np.ones(SHAPE))),
        "dimensions of 'sigma' have no names",
    ),
    wrong("rspace3d: sheared planes", sheared, "planes are sheared"),
    wrong("binoculars: axes of Q", binoculars, "Qx"),
    wrong("text: voxels listed twice", listed_twice, "1 voxels are listed twice"),
    Case(
        "nexus: a path that leads nowhere",
        written("nexus"),
        "info bad.h5 --path /entry/second",
        ("bad.h5", "/entry/second", "/entry/transform"),
    ),
]
