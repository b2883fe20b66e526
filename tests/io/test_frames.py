"""Frames of trajectories: files that ASE wrote, LAMMPS dumps made after their specification, arrays."""

import gzip
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from bayestds.errors import VolumeError
from bayestds.io.frames import read_frames

SPECIES = ["Ga", "As", "As", "Ga", "Ga"]
N_FRAMES = 4


def images() -> list[Atoms]:
    """Frames in cells that differ, vectors as LAMMPS wants them, some atoms outside of the cell."""
    rng = np.random.default_rng(5)
    cell = np.array([[7.0, 0, 0], [-2.5, 6.0, 0], [1.5, -1.0, 8.0]])
    return [
        Atoms(SPECIES, rng.uniform(-2, 9, (5, 3)), cell=cell * (1 + 0.01 * number), pbc=True)
        for number in range(N_FRAMES)
    ]


def lammps_dump(frames: list[Atoms], columns: str) -> str:
    """A text dump as the LAMMPS manual describes it, `dump custom`, triclinic box, atoms in random order."""
    rng, lines = np.random.default_rng(0), []
    for number, atoms in enumerate(frames):
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = np.array(atoms.cell)
        low, high = (sorted([0.0, xy, xz, xy + xz])[i] for i in (0, -1))
        lines += ["ITEM: TIMESTEP", str(number), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp", f"{low:.12f} {lx + high:.12f} {xy:.12f}"]
        lines += [f"{min(0.0, yz):.12f} {ly + max(0.0, yz):.12f} {xz:.12f}", f"0.0 {lz:.12f} {yz:.12f}"]
        lines += [f"ITEM: ATOMS {columns}"]
        rows = [
            {
                "id": str(i + 1),
                "type": str(1 + (symbol == "As")),
                "element": symbol,
                "x": f"{x:.12f}",
                "y": f"{y:.12f}",
                "z": f"{z:.12f}",
            }
            for i, (symbol, (x, y, z)) in enumerate(zip(atoms.symbols, atoms.positions, strict=True))
        ]
        lines += [" ".join(rows[i][key] for key in columns.split()) for i in rng.permutation(len(rows))]
    return "\n".join(lines) + "\n"


def write_dump(path: Path, frames: list[Atoms]) -> None:
    path.write_text(lammps_dump(frames, "id type element x y z"))


def write_gzipped_dump(path: Path, frames: list[Atoms]) -> None:
    path.write_bytes(gzip.compress(lammps_dump(frames, "id element x y z").encode()))


def write_npz(path: Path, frames: list[Atoms]) -> None:
    positions, cell = np.array([f.positions for f in frames]), np.array([np.array(f.cell) for f in frames])
    np.savez(path, positions=positions, cell=cell, species=np.array(SPECIES))


def write_compressed_npz(path: Path, frames: list[Atoms]) -> None:
    positions, cell = np.array([f.positions for f in frames]), np.array([np.array(f.cell) for f in frames])
    with open(path, "wb") as file:  # numpy would add a suffix to a name
        np.savez_compressed(file, positions=positions, cell=cell, species=np.array(SPECIES))


FILES: dict[str, Callable[[Path, list[Atoms]], None]] = {
    "md.xyz": write,
    "md.traj": write,
    "md.dump": write_dump,
    "md.lammpstrj.gz": write_gzipped_dump,
    "md.npz": write_npz,
    # Recognised by its content.
    "compressed.dat": write_compressed_npz,
    # A part of the name, not the number of a frame.
    "md@1.xyz": write,
}


@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_that_were_written(tmp_path, name):
    FILES[name](tmp_path / name, images())
    frames = list(read_frames(tmp_path / name))
    assert len(frames) == N_FRAMES
    for frame, atoms in zip(frames, images(), strict=True):
        # Extended XYZ holds eight decimals.
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-8)
        np.testing.assert_allclose(frame.cell, np.array(atoms.cell), atol=1e-10)
        assert frame.species.tolist() == SPECIES


def test_xdatcar(tmp_path):
    """VASP's own order of atoms, one element after the other, and fractional coordinates."""
    same_cell = [Atoms(sorted(SPECIES), a.positions, cell=images()[0].cell, pbc=True) for a in images()]
    write(tmp_path / "XDATCAR", same_cell, format="vasp-xdatcar")
    frames = list(read_frames(tmp_path / "XDATCAR"))
    assert len(frames) == N_FRAMES
    for frame, atoms in zip(frames, same_cell, strict=True):
        difference = (frame.positions - atoms.positions) @ np.linalg.inv(atoms.cell)
        np.testing.assert_allclose(difference, np.rint(difference), atol=1e-7)
        assert frame.species.tolist() == sorted(SPECIES)


def test_types_without_elements(tmp_path):
    """ASE reads types as atomic numbers; whoever uses the frames must know."""
    (tmp_path / "md.dump").write_text(lammps_dump(images(), "id type x y z"))
    assert next(read_frames(tmp_path / "md.dump")).species.tolist() == ["H", "He", "He", "H", "H"]


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", "int32"])
@pytest.mark.parametrize("layout", ["one cell", "each its cell"])
def test_arrays(tmp_path, dtype, layout):
    positions = (10 * np.random.default_rng(1).normal(size=(3, 4, 3))).astype(dtype)
    cell = np.diag([5.0, 6, 7]) if layout == "one cell" else np.diag([5.0, 6, 7]) * np.ones((3, 1, 1))
    np.savez(tmp_path / "md.npz", positions=positions, cell=cell)
    frames = list(read_frames(tmp_path / "md.npz"))
    np.testing.assert_array_equal([frame.positions for frame in frames], positions.astype(float))
    np.testing.assert_array_equal([frame.cell for frame in frames], np.diag([5.0, 6, 7]) * np.ones((3, 1, 1)))
    assert all(frame.species.size == 0 for frame in frames)


@pytest.mark.parametrize("name", ["md.dump", "md.xyz", "md.npz"])
def test_frames_come_one_by_one(tmp_path, name):
    """What is wrong with a later frame is not known before it is asked for."""
    FILES[name](tmp_path / name, images())
    if name == "md.npz":
        with zipfile.ZipFile(tmp_path / name) as archive:
            stored = {item.filename: archive.read(item) for item in archive.infolist()}
        stored["positions.npy"] = stored["positions.npy"][:-100]
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for item, content in stored.items():
                archive.writestr(item, content)
    else:
        lines = (tmp_path / name).read_text().splitlines()
        lines[-1] = lines[-1].replace(".", "x")
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    frames = read_frames(tmp_path / name)
    assert len(list(islice(frames, 3))) == 3
    with pytest.raises(VolumeError, match=r"frame 4 cannot be read") as caught:
        next(frames)
    assert name in caught.value.summary
    assert caught.value.reason
    assert "cut off" in caught.value.fix


def arrays(**changes: object) -> Callable[[Path], None]:
    """A .npz file in which some arrays are others, or missing (None)."""
    good = {"positions": np.zeros((2, 5, 3)), "cell": np.eye(3), "species": np.array(SPECIES)}

    def make(path: Path) -> None:
        np.savez(path, **{key: value for key, value in (good | changes).items() if value is not None})

    return make


MISTAKES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing": (lambda path: None, ["no such file"]),
    "empty": (Path.touch, ["empty"]),
    "folder": (Path.mkdir, ["frame 1 cannot be read"]),
    "unknown": (lambda path: path.write_text("nothing that is known\n"), ["frame 1", "ASE reads", ".npz"]),
    "no positions": (arrays(positions=None), ["no array positions", "(n_frames, n_atoms, 3)"]),
    "no cell": (arrays(cell=None), ["no array cell", "numpy.savez"]),
    "flat positions": (arrays(positions=np.zeros((2, 15))), ["positions has the shape (2, 15)"]),
    "two dimensions": (arrays(positions=np.zeros((2, 5, 2))), ["positions has the shape (2, 5, 2)"]),
    "Fortran order": (arrays(positions=np.zeros((2, 5, 3), order="F")), ["Fortran order", "C order"]),
    "complex positions": (arrays(positions=np.zeros((2, 5, 3), dtype=complex)), ["complex128"]),
    "pickled positions": (arrays(positions=np.full((2, 5, 3), None)), ["object"]),
    "cell parameters": (arrays(cell=np.ones(6)), ["cell has the shape (6,)"]),
    "cells of other frames": (arrays(cell=np.ones((3, 3, 3))), ["cell has the shape (3, 3, 3)"]),
    "species of other atoms": (arrays(species=np.array(["Ga"])), ["species has the shape (1,)"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(tmp_path, mistake):
    make, words = MISTAKES[mistake]
    # A suffix that says nothing: the content decides.
    make(tmp_path / "bad.npz")
    with pytest.raises(VolumeError) as caught:
        next(read_frames(tmp_path / "bad.npz"))
    assert "bad.npz" in caught.value.summary
    assert caught.value.fix
    for word in words:
        assert word in str(caught.value)


def cut_off(path: Path) -> None:
    """Leave out the last two atoms."""
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")


def test_a_last_frame_that_was_cut_off(tmp_path):
    write(tmp_path / "md.xyz", images())
    cut_off(tmp_path / "md.xyz")
    with pytest.raises(VolumeError, match="frame 4 cannot be read"):
        list(read_frames(tmp_path / "md.xyz"))


def test_a_last_frame_of_a_dump_that_was_cut_off(tmp_path):
    """ASE does not mind, so that the number of atoms must tell."""
    write_dump(tmp_path / "md.dump", images())
    cut_off(tmp_path / "md.dump")
    assert [len(frame.positions) for frame in read_frames(tmp_path / "md.dump")] == [5, 5, 5, 3]
