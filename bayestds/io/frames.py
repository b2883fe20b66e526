"""The frames of a trajectory, one by one: whatever ASE reads, or arrays in a .npz file.

A .npz file, recognised by its content, holds ``positions`` (n_frames, n_atoms, 3) in Å, ``cell`` (3, 3) or
(n_frames, 3, 3) in Å, one vector a row, and optionally ``species`` (n_atoms,), element symbols.

Frames of extended XYZ, LAMMPS dumps, .traj and .npz are read when they are asked for. Some of ASE's readers,
XDATCAR among them, take in the whole file first.
"""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import filetype, open_with_compression
from ase.io.lammpsrun import iread_lammps_dump_text

from bayestds.errors import VolumeError
from bayestds.memory import too_much
from bayestds.scattering.snapshots import Frame


def read_frames(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """The frames of a trajectory file, in the order of the file.

    Raises:
        VolumeError: the file is missing, empty, of no known format, damaged, or has frames that do not fit
            into memory, as soon as that is met.
    """
    path, number = Path(path), 0
    if not path.exists():
        raise VolumeError(
            f"{path}: there is no such file.", "A trajectory is expected.", "Check the name and the folder."
        )
    if path.is_file() and path.stat().st_size == 0:
        raise VolumeError(f"{path}: the file is empty.", "It has zero bytes.", "Copy or write it again.")
    try:
        for frame in _npz(path) if zipfile.is_zipfile(path) else map(_frame, _images(path)):
            number += 1
            yield frame
    except VolumeError:
        raise
    except Exception as error:  # ASE's readers raise anything from KeyError to AssertionError
        raise VolumeError(
            f"{path}: frame {number + 1} cannot be read.",
            f"The reader says: {type(error).__name__}: {error}",
            "Give a .npz file or anything that ASE reads (extended XYZ, LAMMPS dump, XDATCAR, .traj ...), "
            "without a last frame that was cut off.",
        ) from error


def _images(path: Path) -> Iterator[Atoms]:
    if filetype(str(path)) == "lammps-dump-text":
        # ASE's general reader makes a list of all frames first.
        with open_with_compression(str(path)) as file:
            yield from iread_lammps_dump_text(file)
    else:
        yield from iread(path, do_not_split_by_at_sign=True)


def _frame(atoms: Atoms) -> Frame:
    return Frame(np.array(atoms.cell), atoms.positions, np.array(atoms.get_chemical_symbols()))


def _npz(path: Path) -> Iterator[Frame]:
    # NumPy leaves a damaged file open.
    with open(path, "rb") as whole, np.load(whole, allow_pickle=False) as arrays:
        missing = [key for key in ("positions", "cell") if key not in arrays]
        if missing:
            raise _layout(path, f"it has no array {' and no array '.join(missing)}")
        cell = np.asarray(arrays["cell"], dtype=float)
        species = arrays.get("species", np.empty(0, dtype=str))
    # np.load would take in all positions at once.
    with zipfile.ZipFile(path) as archive, archive.open("positions.npy") as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(file)
        if len(shape) != 3 or shape[2] != 3 or columns_first or dtype.kind not in "iuf":
            order = ", in Fortran order" if columns_first else ""
            raise _layout(path, f"positions has the shape {shape}, of {dtype}{order}")
        if reason := too_much(8 * 3 * shape[1]):
            raise VolumeError(f"{path}: positions has the shape {shape}.", reason, "Is the file damaged?")
        if cell.shape not in ((3, 3), (shape[0], 3, 3)):
            raise _layout(path, f"cell has the shape {cell.shape}")
        if species.size and species.shape != shape[1:2]:
            raise _layout(path, f"species has the shape {species.shape}")
        cells = np.broadcast_to(cell, (shape[0], 3, 3))
        for number in range(shape[0]):
            values = np.frombuffer(file.read(dtype.itemsize * 3 * shape[1]), dtype)
            yield Frame(cells[number], values.reshape(shape[1:]).astype(float), species)


def _layout(path: Path, problem: str) -> VolumeError:
    return VolumeError(
        f"{path}: {problem}.",
        "A trajectory has positions (n_frames, n_atoms, 3), real numbers in C order, cell (3, 3) or "
        "(n_frames, 3, 3), and optionally species (n_atoms,).",
        "Write it with numpy.savez(file, positions=..., cell=..., species=...).",
    )
