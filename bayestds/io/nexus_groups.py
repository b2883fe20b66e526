"""Which NXdata of a NeXus file is the volume: defaults, candidates, and the sample that belongs to it.

NeXus: "The default attribute of a group names its member to be plotted, and so on down to an NXdata"
(https://manual.nexusformat.org/datarules.html, "Find the default plottable data"). NXrefine writes a chain of
three since May 2026: root, NXentry, NXsubentry, NXdata (https://github.com/nexpy/nxrefine, nxreduce.py).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from bayestds.errors import VolumeError
from bayestds.io import hdf5
from bayestds.io.directions import direction_of, letter_of

COMBINED = "/entry/transform"
"""NXrefine's combined transform, where a file of several volumes has no default."""

DEEPEST = 8
"""Groups are searched down to this level."""

ENTRIES = ("NXentry", "NXsubentry")


@dataclass(frozen=True, eq=False)
class Candidate:
    """An NXdata over h, k and l.

    Attributes:
        path: through the links of the file.
        data: the group.
        signal: name of the intensity in it; None where nothing says it.
        axes: name of the axis of each dimension of the intensity, and of that of a plane where there are two.
        directions: (3, 3), a row for each of `axes`: its direction in h, k, l.
        entries: the groups on the way to it, the innermost first.
        is_plane: whether the intensity has two dimensions, and the third of `axes` is one number.
    """

    path: str
    data: h5py.Group
    signal: str | None
    axes: tuple[str, str, str]
    directions: np.ndarray
    entries: tuple[h5py.Group, ...]
    is_plane: bool


def choose(file: h5py.File, path: str | None) -> tuple[Candidate, list[str]]:
    """The volume of a file, and the paths of all that it could be.

    Args:
        file: the file.
        path: of an NXdata, or of a group that holds one; by default the file's own default.

    Raises:
        VolumeError: there is none, or several and nothing says which.
    """
    found = list(candidates(file))
    paths = [one.path for one in found]
    if path is not None:
        inside = _inside(found, "/" + path.strip("/"), file)
        if len(inside) == 1:
            return inside[0], paths
        raise _not_one(file, path, inside, found)
    if not found:
        raise _none(file)
    start = default_path(file)
    inside = _inside(found, start, file) or found
    if len(inside) > 1 and COMBINED in paths and start in ("/", "/entry"):
        inside = _inside(found, COMBINED, file)
    if len(inside) == 1:
        return inside[0], paths
    raise VolumeError(
        f"{file.filename}: it holds several volumes: {', '.join(one.path for one in inside)}.",
        "None is the default.",
        "Choose one with `--path`, or with `path` in [measurement] of the model.",
    )


def candidates(file: h5py.File) -> Iterator[Candidate]:
    """All NXdata of a file over h, k and l; broken links are passed over, as they may not be needed."""
    seen: set[tuple[int, int]] = set()

    def walk(group: h5py.Group, path: str, above: tuple[h5py.Group, ...]) -> Iterator[Candidate]:
        info = h5py.h5o.get_info(group.id)
        if (info.fileno, info.addr) in seen or len(above) > DEEPEST:
            return
        seen.add((info.fileno, info.addr))
        if _class(group) == "NXdata":
            if candidate := _candidate(group, path, above):
                yield candidate
            return
        for key, member in _groups(group):
            yield from walk(member, f"{path}/{key}", (group, *above))

    yield from walk(file, "", ())


def default_path(file: h5py.File) -> str:
    """Where the `default` attributes lead, from the root or from its only entry."""
    group, path = file, ""
    entries = [key for key, member in _groups(file) if _class(member) == "NXentry"]
    if "default" not in file.attrs and len(entries) == 1:
        path = f"/{entries[0]}"
        group = file[entries[0]]
    for _ in range(DEEPEST):
        key = hdf5.text(group.attrs.get("default"))
        member = hdf5.find(group, key) if key else None
        if not isinstance(member, h5py.Group):
            break
        assert key is not None
        path = f"/{key.strip('/')}" if key.startswith("/") else f"{path}/{key.strip('/')}"
        group = member
    return path or "/"


def samples(candidate: Candidate, file: h5py.File) -> tuple[list[h5py.Group], list[h5py.Group]]:
    """NXsample groups: those of the entries about the data, the nearest first, and all others."""
    near = [
        member for entry in candidate.entries for _, member in _groups(entry) if _class(member) == "NXsample"
    ]
    far = []
    for _, entry in _groups(file):
        inner = [member for _, member in _groups(entry) if _class(member) in ENTRIES]
        far += [m for group in (entry, *inner) for _, m in _groups(group) if _class(m) == "NXsample"]
    return near, [sample for sample in far if sample not in near]


def entries_of(file: h5py.File) -> list[h5py.Group]:
    """The NXentry groups in the root."""
    return [member for _, member in _groups(file) if _class(member) == "NXentry"]


def _inside(found: list[Candidate], path: str, file: h5py.File) -> list[Candidate]:
    """Those at a path or below it; the path may be another name of the same group."""
    prefix = path.rstrip("/") + "/"
    named = [one for one in found if (one.path + "/").startswith(prefix)]
    group = file.get(path)
    if named or not isinstance(group, h5py.Group):
        return named
    return [one for one in found if group == one.data or group in one.entries]


def _groups(parent: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    for key in parent:
        try:
            member = hdf5.find(parent, key)
        except VolumeError:
            continue
        if isinstance(member, h5py.Group):
            yield key, member


def _class(group: h5py.Group) -> str | None:
    return hdf5.text(group.attrs.get("NX_class"))


def _candidate(data: h5py.Group, path: str, above: tuple[h5py.Group, ...]) -> Candidate | None:
    """The NXdata, if its axes run through reciprocal space."""
    signal, names = _signal(data), _axis_names(data)
    if len(names) not in (2, 3):
        return None
    is_plane = len(names) == 2
    if is_plane and (normal := _normal(data, names)):
        names = [*names, normal]
    directions = [direction for name in names if (direction := _direction(data, name)) is not None]
    if len(names) != 3 or len(directions) != 3 or np.linalg.matrix_rank(np.array(directions)) < 3:
        return None
    first, second, third = names
    return Candidate(path, data, signal, (first, second, third), np.array(directions), above, is_plane)


def _direction(data: h5py.Group, name: str) -> np.ndarray | None:
    """Direction of an axis, told by its long_name if that is one, or by its name."""
    axis = data.get(name)
    long_name = hdf5.text(axis.attrs.get("long_name")) if isinstance(axis, h5py.Dataset) else None
    direction = direction_of(long_name or "")
    return direction_of(name) if direction is None else direction


def _normal(data: h5py.Group, names: list[str]) -> str | None:
    """The axis that a plane is at one value of: the one of h, k, l that is none of its own."""
    own = {letter_of(name) for name in names}
    for key in data:
        letter, axis = letter_of(key), data.get(key)
        if letter and letter not in own and isinstance(axis, h5py.Dataset) and axis.size == 1:
            # nexusformat keeps the middle of the bins that it has summed over: these are no plane.
            return str(key) if int(axis.attrs.get("summed_bins", 1)) == 1 else None
    return None


def _signal(data: h5py.Group) -> str | None:
    """Name of the intensity: the attribute `signal` or, in old files, the dataset whose `signal` is 1."""
    for attribute in ("signal", "signals"):  # the second as ParProcCo writes it
        if attribute in data.attrs:
            return hdf5.text(data.attrs[attribute])
    for key in data:
        member = data.get(key) if isinstance(data.get(key, getlink=True), h5py.HardLink) else None
        if isinstance(member, h5py.Dataset) and str(member.attrs.get("signal")) in ("1", "b'1'"):
            return str(key)
    return None


def _axis_names(data: h5py.Group) -> list[str]:
    """The attribute `axes`, of the group or its signal: names or, in old files, one text with separators."""
    axes = data.attrs.get("axes", ())
    signal = None if "axes" in data.attrs else _signal(data)
    if signal is not None and isinstance(data.get(signal), h5py.Dataset):
        axes = data[signal].attrs.get("axes", ())
    joined = hdf5.text(axes)
    if joined is not None:
        return re.split(r"[:,\s]+", joined.strip("[] "))
    return [hdf5.text(name) or "" for name in np.ravel(axes)]


def _none(file: h5py.File) -> VolumeError:
    """The reason why no NXdata qualifies, which may be a broken link."""
    for entry in entries_of(file):
        for key in entry:
            hdf5.find(entry, key)
    found = []

    def note(name: str, member: Any) -> None:
        if isinstance(member, h5py.Group) and _class(member) == "NXdata":
            found.append(f"/{name} with axes {_axis_names(member)}")

    file.visititems(note)
    return VolumeError(
        f"{file.filename}: no NXdata has the three axes h, k, l.",
        f"Found: {'; '.join(found) or 'no NXdata'}.",
        "Name the axes Qh, Qk, Ql (or h, k, l, or a direction such as [H,H,0]) in its attribute 'axes', in "
        "order of dimensions, and the intensity in its attribute 'signal'; a plane also needs the value of "
        "the third index, as a dataset of one number.",
    )


def _not_one(file: h5py.File, path: str, inside: list[Candidate], found: list[Candidate]) -> VolumeError:
    shown = ", ".join(one.path for one in inside or found) or "none"
    how = f"It holds {len(inside)} volumes" if inside else "There is no volume at this place"
    return VolumeError(
        f"{file.filename}: the path '{path}' does not choose a volume.",
        f"{how}. Volumes: {shown}.",
        "Give the path of one of them.",
    )
