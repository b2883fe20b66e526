"""Damaged files in every format: a reader gives a valid volume or one of our own errors, nothing else.

Damaged bytes are read in a process of its own, since they reach HDF5 before they reach us, and HDF5 2.0 may
crash, or loop for ever, where its heap of texts is damaged. That is told apart from a fault of ours by where
it died. The longer run, `pytest -m slow tests/io/test_fuzz.py`, takes about a minute of CPU.
"""

import io
import subprocess
import sys
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayestds.errors import VolumeError
from bayestds.io import read_volume, write_volume
from bayestds.io.registry import FORMATS, WRITTEN
from bayestds.scattering.volume import check_volume, make_volume
from tests.io import test_binoculars as binoculars
from tests.io import test_nexus_groups as groups
from tests.io import test_rspace3d as rspace3d

KINDS = (*FORMATS, "nested")
"""Formats, and a NeXus file of several volumes."""

READER = """
import faulthandler, sys, warnings
from bayestds.errors import BayesTDSError
from bayestds.io import read_volume
warnings.simplefilter("error")
for line in sys.stdin:
    faulthandler.dump_traceback_later(10, exit=True)
    try:
        read_volume(line.strip())
        answer = "read"
    except BayesTDSError:
        answer = "refused"
    except BaseException as error:
        answer = f"{type(error).__name__}: {error}".replace(chr(10), " ")
    faulthandler.cancel_dump_traceback_later()
    print(answer, flush=True)
"""


class Reader:
    """Reads volumes in another process, and starts it again when it dies."""

    def __init__(self, folder):
        self.folder, self.process = folder, None

    def __call__(self, content):
        """What came of reading a file with this content: read, refused, died in h5py, or a fault of ours."""
        path = self.folder / "damaged"
        path.write_bytes(content)
        if self.process is None:
            with open(self.folder / "stderr", "w") as stderr:
                self.process = subprocess.Popen(
                    [sys.executable, "-X", "faulthandler", "-c", READER],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
                )  # fmt: skip
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() or self._death()

    def _death(self):
        self.close()
        words = (self.folder / "stderr").read_text()
        innermost = next((line for line in words.splitlines() if line.lstrip().startswith("File ")), "")
        return "died in h5py" if "h5py" in innermost else words

    def close(self):
        if self.process is not None:
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The bytes of one small file in each format."""
    rng = np.random.default_rng(3)
    shape = (4, 3, 2)
    volume = make_volume(
        np.linspace(-1, 0.5, 4),
        np.linspace(0, 0.2, 3),
        np.linspace(2, 3, 2),
        rng.uniform(1, 9, shape),
        sigma=rng.uniform(0.1, 0.2, shape),
        counts=rng.integers(0, 50, shape),
        mask=rng.uniform(size=shape) > 0.7,
        lattice=(3.0, 4.0, 5.0, 80.0, 85.0, 95.0),
        temperature=120.5,
        title="a test",
    )
    folder = tmp_path_factory.mktemp("files")
    for name in WRITTEN:
        write_volume(volume, folder / name, name)
    binoculars.written(folder / "binoculars", variances=binoculars.COUNTS)
    rspace3d.written(folder / "rspace3d")
    nested(folder / "nested")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def nested(path):
    """NeXus with all that a file of several volumes may have: NXsubentry, samples, weights, edges, a log."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = groups.group(file, "entry", "NXentry", default="xtal2")
        entry["title"] = "300 K"
        groups.sample(entry)
        inner = groups.group(entry, "xtal2", "NXsubentry", default="transform")
        groups.group(groups.sample(inner), "temperature", "NXlog")["value"] = [99.0, 101.0]
        edges = np.linspace(-1.25, 0.75, 5)
        for parent in (entry, inner):
            data = groups.transform(
                parent,
                "transform",
                axes=("[H,H,0]", "[-K,K,0]", "[0,0,L]"),
                values=(edges, groups.K, groups.L),
            )
            data["weight"] = data["mask"] = np.ones(groups.DATA.shape, dtype=int)


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


def flip(content, where):
    damaged = bytearray(content)
    for place, value in where:
        damaged[int(place * len(damaged))] = value
    return bytes(damaged)


@pytest.mark.parametrize("format", KINDS)
@settings(max_examples=40)
@given(where=flips)
def test_damaged_bytes(reader, files, format, where):
    assert reader(flip(files[format], where)) in ("read", "refused", "died in h5py")


@pytest.mark.slow
@pytest.mark.parametrize("format", KINDS)
def test_many_damaged_bytes(reader, files, format):
    outcomes = []

    @settings(max_examples=500)
    @given(where=flips)
    def run(where):
        outcomes.append(reader(flip(files[format], where)))
        assert outcomes[-1] in ("read", "refused", "died in h5py")

    run()
    # At most 3 deaths of 500 were seen: many more would mean that we provoke them.
    assert outcomes.count("died in h5py") <= 10


@pytest.mark.parametrize("format", KINDS)
@settings(max_examples=15)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_files(tmp_path_factory, files, format, share):
    path = tmp_path_factory.getbasetemp() / "truncated"
    path.write_bytes(files[format][: int(share * len(files[format]))])
    with pytest.raises(VolumeError, match="truncated"):
        read_volume(path)


OTHERS = [
    *(0.0, -1.0, np.nan, np.inf, 10**12, True, 1j, "text", "", b"\xff\xfe", "Yell 1.0", "NXentry"),
    *(np.zeros(shape) for shape in [0, 3, (0, 3, 2), (2, 3, 4), (4, 3, 2), (1, 1, 1, 1)]),
    *(np.full((4, 3, 2), np.nan), np.full((4, 3, 2), b"a"), np.full(6, 1e308), np.ones((2, 3, 4))),
    *(
        np.array([1, 2], "u1"),
        np.array([2**63], "u8"),
        np.ones(3, "f2"),
        np.zeros(2, [("a", "f8"), ("b", "i4")]),
    ),
    *(np.array(["h", "k", "l"], dtype=object), h5py.Empty("f8"), h5py.Empty("S4")),
]
"""What may lie where something else should: other types, shapes and values."""
LINKS = [h5py.SoftLink("/nowhere"), h5py.SoftLink("/"), h5py.ExternalLink("gone.h5", "/there")]


@st.composite
def mutations(draw):
    """What to do to which member or attribute of a file, chosen by numbers that any file can satisfy."""
    action = draw(
        st.sampled_from(["drop", "rename", "replace", "link", "group", "attribute", "no attribute"])
    )
    return draw(st.integers(0, 200)), action, draw(st.sampled_from(OTHERS)), draw(st.sampled_from(LINKS))


def mutate(file, number, action, other, link):
    names = []
    file.visit(names.append)
    if not names:
        return
    name = names[number % len(names)]
    if action in ("attribute", "no attribute"):
        owned = [(owner, key) for owner in ("/", *names) for key in file[owner].attrs]
        if owned:
            owner, key = owned[number % len(owned)]
            del file[owner].attrs[key]
            if action == "attribute":
                file[owner].attrs[key] = other
    elif action == "rename":
        file.move(name, f"{name}_")
    else:
        del file[name]
        if action == "group":
            file.create_group(name)
        elif action != "drop":
            file[name] = other if action == "replace" else link


def check_mutated(folder, content, steps):
    path = folder / "mutated"
    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        for step in steps:
            mutate(file, *step)
    path.write_bytes(memory.getvalue())
    # What comes is a valid volume, or an error of ours.
    with suppress(VolumeError):
        check_volume(read_volume(path))


@pytest.mark.parametrize("format", KINDS)
@settings(max_examples=60)
@given(steps=st.lists(mutations(), min_size=1, max_size=3))
def test_other_structures(tmp_path_factory, files, format, steps):
    check_mutated(tmp_path_factory.getbasetemp(), files[format], steps)


@pytest.mark.slow
@pytest.mark.parametrize("format", KINDS)
@settings(max_examples=500)
@given(steps=st.lists(mutations(), min_size=1, max_size=3))
def test_many_other_structures(tmp_path_factory, files, format, steps):
    check_mutated(tmp_path_factory.getbasetemp(), files[format], steps)


TEXT = "# h k l I sigma\n" + "\n".join(
    f"{h / 2} {k / 2} {2 + l} {1 + h + k + l} 0.5"
    for h in range(4)
    for k in range(3)
    for l in range(2)  # noqa: E741
)
edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["cut", "insert", "replace"]),
        st.text("0123456789.,;-+eEdD nan\t\n#é\x00", min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=5,
)


def check_text(folder, changes):
    text = TEXT
    for place, kind, piece in changes:
        at = int(place * len(text))
        text = text[:at] + (
            "" if kind == "cut" else piece + text[at + (len(piece) if kind == "replace" else 0) :]
        )
    (folder / "edited").write_text(text, "utf-8")
    with suppress(VolumeError):
        check_volume(read_volume(folder / "edited"))


@settings(max_examples=100)
@given(changes=edits)
def test_edited_lists(tmp_path_factory, changes):
    check_text(tmp_path_factory.getbasetemp(), changes)


@pytest.mark.slow
@settings(max_examples=3000)
@given(changes=edits)
def test_many_edited_lists(tmp_path_factory, changes):
    check_text(tmp_path_factory.getbasetemp(), changes)
