"""Damaged structures, trajectories and results: they are read, or one of our own errors says why not.

Digits stay one digit, so that no damage asks for more atoms than a test has memory for.
"""

import io
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ase.build import bulk
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from bayestds.crystal.structure import read_crystal
from bayestds.diagnostics.result_file import read_result, write_result
from bayestds.errors import BayesTDSError
from bayestds.io.frames import read_frames
from tests.crystal.test_databases import FILES

EXAMPLES, MANY = 60, 1500
ALPHABET = " .-+'#_;()\n\tNaClxyz=/?DX\x00é"
STRUCTURES = {"salt.cif": "cif", "POSCAR": "vasp", "salt.xyz": "extxyz", "salt.xsf": "xsf"}
DATABASES = {f"{number}.cif": file.text for number, file in enumerate(FILES.values())} | {
    "POSCAR_ions": "ions\n-179.4\n1 0 0\n0 1 0\n0 0 1\nNa1+ D\n1 1\nSelective\nDirect\n"
    "0 0 0 T T F\n.5 .5 .5 F F T\n",
    "POSCAR_4": "Na_pv Cl\n5.64\n0 .5 .5\n.5 0 .5\n.5 .5 0\n1 1\nCartesian\n0 0 0\n.5 .5 .5\n",
}
edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["cut", "delete", "insert", "replace", "digit", "line"]),
        st.text(ALPHABET, min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("good")
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    for name, kind in STRUCTURES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(folder / name, atoms, format=kind)
    return DATABASES | {name: (folder / name).read_text() for name in STRUCTURES}


def edited(text: str, changes: list[tuple[float, str, str]]) -> str:
    for place, kind, piece in changes:
        at = int(place * len(text))
        if kind == "cut":
            text = text[:at]
        elif kind == "delete":
            text = text[:at] + text[at + len(piece) :]
        elif kind == "insert":
            text = text[:at] + piece + text[at:]
        elif kind == "replace":
            text = text[:at] + piece + text[at + len(piece) :]
        elif kind == "digit" and text[at : at + 1].isdigit():
            text = text[:at] + str(len(piece) * 3) + text[at + 1 :]
        elif kind == "line":
            lines = text.splitlines()
            if lines:
                del lines[int(place * len(lines))]
            text = "\n".join(lines)
    return text


def read_damaged(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    with warnings.catch_warnings():
        # ASE warns of what it guesses; here only errors matter.
        warnings.simplefilter("ignore")
        with suppress(BayesTDSError):
            read_crystal(path)
        with suppress(BayesTDSError):
            for _ in read_frames(path):
                pass


@pytest.mark.parametrize("name", [*STRUCTURES, "0.cif", "4.cif", "9.cif", "POSCAR_ions", "POSCAR_4"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(changes=edits)
def test_damaged_structures(tmp_path_factory, texts, name, changes):
    read_damaged(tmp_path_factory.getbasetemp(), name, edited(texts[name], changes).encode())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STRUCTURES, *DATABASES])
@settings(max_examples=MANY, deadline=None)
@given(changes=edits)
def test_many_damaged_structures(tmp_path_factory, texts, name, changes):
    read_damaged(tmp_path_factory.getbasetemp(), name, edited(texts[name], changes).encode())


@settings(max_examples=EXAMPLES, deadline=None)
@given(where=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6))
def test_damaged_frames(tmp_path_factory, where):
    file = io.BytesIO()
    np.savez(file, positions=np.zeros((2, 3, 3)), cell=np.eye(3), species=["Na", "Cl", "Na"])
    damaged = bytearray(file.getvalue())
    for place, value in where:
        damaged[int(place * len(damaged))] = value
    path = tmp_path_factory.getbasetemp() / "frames.npz"
    path.write_bytes(bytes(damaged))
    with suppress(BayesTDSError):
        for frame in read_frames(path):
            assert frame.positions.shape == (3, 3)


PARTS = ("value", "standard_error", "covariance", "prior_scale", "self_coefficients", "shell")


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    dropped=st.sets(st.sampled_from(PARTS)),
    kind=st.sampled_from(["point_fit", "posterior", "", "text", None]),
    group=st.sampled_from(["point_fit", "posterior", "other"]),
)
def test_results_without_some_of_their_parts(tmp_path_factory, dropped, kind, group):
    names = [name for name in PARTS if name not in dropped]
    tree = xr.DataTree.from_dict({group: xr.Dataset({name: ("irreducible", np.ones(2)) for name in names})})
    tree.attrs = {} if kind is None else {"kind": kind}
    path = tmp_path_factory.getbasetemp() / "result.nc"
    write_result(tree, path)
    with suppress(BayesTDSError):
        found = read_result(path)
        assert kind == "point_fit"
        assert group in found.children
