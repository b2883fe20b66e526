"""Force constants of other programs: folders of phonopy and TDEP."""

from contextlib import chdir
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from bayestds.errors import ForceConstantsError
from bayestds.force_constants.exchange import import_phonopy
from bayestds.force_constants.foreign import ForeignConstants

PHONOPY_CELLS = ("phonopy.yaml", "phonopy_params.yaml", "phonopy_disp.yaml")
PHONOPY_CONSTANTS = ("force_constants.hdf5", "FORCE_CONSTANTS")
PHONOPY_FORCES = "FORCE_SETS"
PHONOPY_CHARGES = "BORN"
TDEP_CHARGES = "infile.lotosplitting"
TDEP_CELL = "infile.ucposcar"
TDEP_CONSTANTS = ("outfile.forceconstant", "infile.forceconstant")


def read_foreign(path: Path) -> ForeignConstants:
    """Force constants in a folder of phonopy or TDEP, or from a phonopy.yaml.

    Raises:
        ForceConstantsError: there are none, or they cannot be read.
        MissingPackageError: they are phonopy's, and phonopy is not installed.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file():
        if path.name in TDEP_CONSTANTS:
            return read_tdep(folder, path)
        if path.suffix in (".yaml", ".yml"):
            return read_phonopy(folder, path)
    elif path.is_dir():
        if (found := _first(folder, TDEP_CONSTANTS)) is not None:
            return read_tdep(folder, found)
        if (found := _first(folder, PHONOPY_CELLS)) is not None:
            return read_phonopy(folder, found)
    elif not path.exists():
        raise ForceConstantsError(f"{path} does not exist.", "There is no such folder.", "Check the path.")
    raise ForceConstantsError(
        f"{path} holds no force constants that bayestds knows.",
        f"A folder of phonopy has one of {', '.join(PHONOPY_CELLS)}; one of TDEP {TDEP_CELL} with "
        f"{' or '.join(TDEP_CONSTANTS)}.",
        "Give such a folder, or its phonopy.yaml.",
    )


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_phonopy(folder: Path, cell: Path) -> ForeignConstants:
    """Force constants of phonopy, whole or of the primitive atoms alone, or made by it from forces.

    Args:
        folder: that they lie in.
        cell: the file that states the cells, such as phonopy.yaml.

    Raises:
        ForceConstantsError: there are none, they cannot be read, or are not in eV/Å².
        MissingPackageError: phonopy is not installed.
    """
    phonopy = import_phonopy()
    constants, forces = _first(folder, PHONOPY_CONSTANTS), _first(folder, (PHONOPY_FORCES,))
    files = {"force_constants_filename": constants.name} if constants else {}
    try:
        # Phonopy takes what else it needs from the current folder, whichever that is: let it be this one.
        with chdir(folder):
            phonon = phonopy.load(
                cell.name, **files, is_nac=False, symmetrize_fc=False, is_symmetry=not constants, log_level=0
            )
    except Exception as error:  # phonopy's readers raise anything from IndexError to AssertionError
        raise ForceConstantsError(
            f"{' with '.join(str(path) for path in (cell, constants or forces) if path)} cannot be read.",
            f"Phonopy says: {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": "),
            "A file may be cut off, or they belong to different supercells: write them again with phonopy.",
        ) from error
    if phonon.force_constants is None:
        raise ForceConstantsError(
            f"{folder} holds no force constants.",
            f"There are neither {' nor '.join(PHONOPY_CONSTANTS)} nor {PHONOPY_FORCES}, and {cell.name} has "
            "none of them either.",
            "Write them with phonopy: phonopy-load --writefc",
        )
    _check_units(phonon.calculator, cell)
    primitive, supercell = phonon.primitive, phonon.supercell
    lattice, rows = np.array(primitive.cell), np.array(primitive.p2s_map)
    blocks = np.array(phonon.force_constants)
    if len(blocks) == len(supercell):
        blocks = blocks[rows]
    kinds = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
    scaled = np.array(supercell.positions) @ np.linalg.inv(lattice)
    cells = np.rint(scaled - primitive.scaled_positions[kinds]).astype(int)
    n_first, n_second = blocks.shape[:2]
    pairs = np.empty((n_first, n_second, 5), dtype=int)
    pairs[..., 0], pairs[..., 1] = kinds[rows][:, None], kinds[None]
    pairs[..., 2:] = cells[rows][:, None] - cells[None]
    return ForeignConstants(
        str(folder),
        lattice,
        np.array(primitive.scaled_positions),
        tuple(primitive.symbols),
        pairs.reshape(-1, 5),
        blocks.reshape(-1, 3, 3),
        np.rint(np.array(supercell.cell) @ np.linalg.inv(lattice)).astype(int),
        (folder / PHONOPY_CHARGES).is_file()
        or "born_effective_charge" in cell.read_text("utf-8", errors="replace"),
    )


def _check_units(calculator: str | None, cell: Path) -> None:
    """Refuse force constants that phonopy does not have in eV/Å²."""
    from phonopy.interface.calculator import get_calculator_physical_units

    units = get_calculator_physical_units(calculator)
    found = (str(units.force_constants_unit), str(units.length_unit))
    if found != ("eV/angstrom^2", "angstrom"):
        raise ForceConstantsError(
            f"The force constants of {cell} are in {found[0]}.",
            f"It states the calculator {calculator}; eV/Å² and Å are needed.",
            "Convert them: write the folder again with phonopy in the units of VASP.",
        )


def read_tdep(folder: Path, constants: Path) -> ForeignConstants:
    """Force constants of TDEP: all pairs within its cutoff.

    For every atom i of the cell the file lists its neighbours: the atom j, the cell R that it lies in, and
    ∂²E/∂u_i∂u_j(R) in eV/Å², row by row (the manual of ``extract_forceconstants`` of TDEP, and what its
    ``type_forceconstant_secondorder_io.f90`` writes).

    Args:
        folder: with the unit cell, infile.ucposcar.
        constants: the file with the force constants.

    Raises:
        ForceConstantsError: a file is missing or cannot be read, or the material is polar.
    """
    atoms = _tdep_cell(folder / TDEP_CELL, constants)
    pairs, blocks = _tdep_pairs(constants, len(atoms))
    return ForeignConstants(
        str(constants),
        np.array(atoms.cell),
        atoms.get_scaled_positions(wrap=False),
        tuple(atoms.get_chemical_symbols()),
        pairs,
        blocks,
        has_charges=(folder / TDEP_CHARGES).is_file(),
    )


def _tdep_cell(path: Path, constants: Path) -> Atoms:
    if not path.is_file():
        raise ForceConstantsError(
            f"{path} is missing.",
            f"The unit cell that {constants.name} belongs to is in it.",
            "Put it beside the force constants.",
        )
    try:
        atoms = read(path, format="vasp")
    except Exception as error:  # ASE's readers raise anything
        raise ForceConstantsError(
            f"{path} cannot be read.",
            f"ASE says: {type(error).__name__}: {error}".rstrip(": "),
            "It must be a POSCAR file that names its elements.",
        ) from error
    assert isinstance(atoms, Atoms)
    return atoms


class _Numbers:
    """The numbers of a file line by line; words after them are comments."""

    def __init__(self, path: Path):
        self.path, self.line = path, 0
        self.lines = path.read_text("utf-8", errors="replace").splitlines()

    def next(self, n_numbers: int) -> list[float]:
        if self.line >= len(self.lines):
            raise ForceConstantsError(
                f"{self.path} ends too early.",
                f"{self.line} lines were read, and more neighbours are announced.",
                "The file was cut off: copy it again.",
            )
        self.line += 1
        words = self.lines[self.line - 1].split()
        try:
            found = [float(word) for word in words[:n_numbers]]
        except ValueError:
            found = []
        if len(found) < n_numbers or not np.isfinite(found).all():
            raise ForceConstantsError(
                f"Line {self.line} of {self.path} cannot be read.",
                f"{n_numbers} numbers are expected there; it says {' '.join(words)[:60]!r}.",
                "Give the file as TDEP wrote it.",
            )
        return found


def _tdep_pairs(path: Path, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n_pairs, 5) int, and their blocks (n_pairs, 3, 3)."""
    numbers = _Numbers(path)
    if (stated := int(numbers.next(1)[0])) != n_atoms:
        raise ForceConstantsError(
            f"{path} has {stated} atoms in the unit cell.",
            f"{TDEP_CELL} has {n_atoms}.",
            "Give the two files of one calculation.",
        )
    numbers.next(1)  # the cutoff
    pairs, blocks = [], []
    for atom in range(n_atoms):
        for _ in range(int(numbers.next(1)[0])):
            neighbour = int(numbers.next(1)[0]) - 1
            if not 0 <= neighbour < n_atoms:
                raise ForceConstantsError(
                    f"Line {numbers.line} of {path} names atom {neighbour + 1}.",
                    f"The unit cell has {n_atoms}.",
                    "Give the file as TDEP wrote it.",
                )
            # Their R leads from i to j, ours from j to i.
            pairs.append([atom, neighbour, *(-round(x) for x in numbers.next(3))])
            blocks.append([numbers.next(3) for _ in range(3)])
    if numbers.line < len(numbers.lines) and (last := numbers.next(1)[0]) != 0:
        raise ForceConstantsError(
            f"The force constants in {path} are those of a polar material.",
            f"Its kind of Coulomb correction is {last:g}; what lies in the file is the rest without it.",
            "Long-range Coulomb forces are out of scope: use force constants that contain them.",
        )
    return np.array(pairs, dtype=int).reshape(-1, 5), np.array(blocks).reshape(-1, 3, 3)
