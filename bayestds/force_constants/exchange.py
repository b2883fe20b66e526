"""Force constants for other programs: folders that phonopy and ASE read."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from bayestds.crystal.species import element_of
from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.errors import CrystalError, MissingPackageError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.linear_map import grid_positions
from bayestds.memory import too_much

PHONOPY_FILES = ("phonopy.yaml", "force_constants.hdf5")
ASE_FILES = ("supercell.extxyz", "hessian.npy")


def exchange_supercell(irreducible: IrreducibleForceConstants) -> Supercell:
    """The smallest supercell of conventional cells in which no pair ties with its own periodic image.

    With force constants on such a supercell the Fourier interpolation of phonopy is exact: between any two
    images of a pair there is a lattice vector of the supercell, which is longer than both together.
    """
    crystal = irreducible.crystal
    reach = np.linalg.norm(crystal.bond_vectors(irreducible.pairs), axis=1).max()
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.conventional_lattice), axis=0)
    return make_supercell(crystal, np.floor(2 * reach / heights + 1e-3).astype(int) + 1)


def conventional_atoms(crystal: Crystal) -> Atoms:
    """The conventional cell, sorted by the atoms of the primitive cell."""
    cells = make_supercell(crystal, [1, 1, 1]).cells
    n_cells = len(cells)
    positions = (crystal.fractional_positions[:, None] + cells[None]).reshape(-1, 3) @ crystal.lattice_vectors
    return Atoms(
        np.repeat([element_of(name) for name in crystal.species], n_cells),
        positions=positions,
        masses=np.repeat(crystal.masses, n_cells),
        cell=crystal.conventional_lattice,
        pbc=True,
    )


def locate(crystal: Crystal, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The atom κ (n,) and the primitive cell (n, 3) int at Cartesian positions (n, 3), Å.

    Raises:
        CrystalError: there is no atom at one of them.
    """
    scaled = positions @ np.linalg.inv(crystal.lattice_vectors)
    delta = scaled[:, None] - crystal.fractional_positions[None]
    cells = np.rint(delta).astype(int)
    distance = np.linalg.norm((delta - cells) @ crystal.lattice_vectors, axis=-1)
    kinds = distance.argmin(axis=1)
    rows = np.arange(len(positions))
    if (off := distance[rows, kinds].max()) > 1e-3:
        raise CrystalError(
            "An atom is not where the crystal has one.",
            f"It is {off:.3g} Å away.",
            "Compare the two structures.",
        )
    return kinds, cells[rows, kinds]


def supercell_blocks(
    irreducible: IrreducibleForceConstants,
    values: np.ndarray,
    supercell: Supercell,
    positions: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Blocks ∂²E/∂u_i∂u_j (n_rows, n_atoms, 3, 3), eV/Å², of some atoms i with all atoms j of a supercell.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
        supercell: in which no pair ties with its periodic image.
        positions: (n_atoms, 3) Å of the atoms of the supercell, in any order.
        rows: (n_rows,) int, the atoms i.
    """
    kinds, cells = locate(irreducible.crystal, positions)
    n_atoms = irreducible.crystal.n_atoms
    flat = np.zeros((supercell.n_cells * n_atoms * n_atoms, 3, 3))
    flat[grid_positions(irreducible, supercell)] = irreducible.basis @ values
    by_cell = flat.reshape(supercell.n_cells, n_atoms, n_atoms, 3, 3)
    apart = supercell.cell_index(cells[rows][:, None] - cells[None])
    return by_cell[apart, kinds[rows][:, None], kinds[None]]


class PhonopyWriter:
    """Writes force constants of a crystal as phonopy has them.

    Attributes:
        irreducible: what the values mean.
        supercell: of the force constants.

    Raises:
        MissingPackageError: phonopy is not installed.
    """

    files = PHONOPY_FILES

    def __init__(self, irreducible: IrreducibleForceConstants):
        phonopy = import_phonopy()
        from phonopy.structure.atoms import PhonopyAtoms

        self.irreducible, self.supercell = irreducible, exchange_supercell(irreducible)
        crystal = irreducible.crystal
        cell = conventional_atoms(crystal)
        unit = PhonopyAtoms(
            cell.get_chemical_symbols(), cell=cell.cell, positions=cell.positions, masses=cell.get_masses()
        )
        conventional = np.rint(self.supercell.matrix @ np.linalg.inv(crystal.conventional_matrix)).astype(int)
        # Phonopy's matrices act on columns: (a_p b_p c_p) = (a b c) M.
        self._phonon = phonopy.Phonopy(unit, conventional.T, np.linalg.inv(crystal.conventional_matrix).T)

    def write(self, values: np.ndarray, folder: Path) -> None:
        """Write phonopy.yaml and force_constants.hdf5 of values (n_irreducible,), eV/Å², into a folder."""
        from phonopy.file_IO import write_force_constants_to_hdf5

        phonon = self._phonon
        rows = np.array(phonon.primitive.p2s_map)
        blocks = supercell_blocks(
            self.irreducible, values, self.supercell, np.array(phonon.supercell.positions), rows
        )
        # With them, phonopy writes their unit, which Euphonic asks for.
        phonon.force_constants = blocks
        write_force_constants_to_hdf5(
            blocks, str(folder / PHONOPY_FILES[1]), p2s_map=rows, physical_unit="eV/angstrom^2"
        )
        left_out = ("force_sets", "displacements", "force_constants", "born_effective_charge")
        phonon.save(folder / PHONOPY_FILES[0], settings=dict.fromkeys(left_out, False))


class AseWriter:
    """Writes the Hessian of a periodic supercell, as the harmonic calculator of ASE takes it.

    Attributes:
        irreducible: what the values mean.
        supercell: of the Hessian.

    Raises:
        CrystalError: the Hessian does not fit into memory.
    """

    files = ASE_FILES

    def __init__(self, irreducible: IrreducibleForceConstants):
        self.irreducible, self.supercell = irreducible, exchange_supercell(irreducible)
        n_atoms = self.supercell.n_cells * irreducible.crystal.n_atoms
        if reason := too_much(2 * 8 * 9 * n_atoms**2):
            raise CrystalError(
                f"The Hessian of {n_atoms} atoms is too large.", reason, "Use fewer shells, or phonopy."
            )

    def write(self, values: np.ndarray, folder: Path) -> None:
        """Write the supercell and its Hessian (3 n_atoms, 3 n_atoms), eV/Å², into a folder."""
        atoms = supercell_atoms(self.supercell)
        n = len(atoms)
        blocks = supercell_blocks(self.irreducible, values, self.supercell, atoms.positions, np.arange(n))
        write(folder / ASE_FILES[0], atoms)
        np.save(folder / ASE_FILES[1], blocks.swapaxes(1, 2).reshape(3 * n, 3 * n))


def supercell_atoms(supercell: Supercell) -> Atoms:
    """All atoms of a supercell at rest, cell by cell."""
    crystal = supercell.crystal
    positions = (supercell.cells[:, None] + crystal.fractional_positions[None]).reshape(-1, 3)
    return Atoms(
        [element_of(name) for name in crystal.species] * supercell.n_cells,
        positions=positions @ crystal.lattice_vectors,
        masses=np.tile(crystal.masses, supercell.n_cells),
        cell=supercell.lattice_vectors,
        pbc=True,
    )


def import_phonopy() -> Any:
    """Phonopy, which only the exchange with it needs.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import phonopy
    except ImportError as error:
        raise MissingPackageError(
            "Phonopy is not installed.",
            "Its folders are read and written by itself.",
            "Install it: pip install phonopy",
        ) from error
    return phonopy
