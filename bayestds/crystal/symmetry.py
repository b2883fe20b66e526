"""Space group and Laue group as exact integers. The one door to spglib."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib

from bayestds.errors import CrystalError

Cell = tuple[np.ndarray, np.ndarray, list[int]]
"""Lattice rows (3, 3) Å, fractional positions (n_atoms, 3), atom types."""


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """Operations x' = W x + w on fractional coordinates of the primitive cell.

    Attributes:
        number: number of the space-group type, 1 to 230.
        symbol: Hermann-Mauguin symbol.
        rotations: (n_ops, 3, 3) int, the matrices W.
        translations: (n_ops, 3), the vectors w.
        permutations: (n_ops, n_atoms) int, the atom that each atom is carried to.
        cell_shifts: (n_ops, n_atoms, 3) int, the cell it lands in, starting from cell 0.
    """

    number: int
    symbol: str
    rotations: np.ndarray
    translations: np.ndarray
    permutations: np.ndarray
    cell_shifts: np.ndarray

    def map_pairs(self, pair: np.ndarray) -> np.ndarray:
        """Images (n_ops, 5) of a pair (κ, κ', R): atom κ in cell R with atom κ' in cell 0."""
        first, second, cell = pair[0], pair[1], pair[2:]
        shift = self.cell_shifts[:, first] - self.cell_shifts[:, second]
        return np.column_stack(
            [self.permutations[:, first], self.permutations[:, second], self.rotations @ cell + shift]
        )


# spglib's own switch: exceptions instead of None, which is its coming default.
spglib.error.OLD_ERROR_HANDLING = False


def _dataset(cell: Cell, tolerance: float) -> Any:
    try:
        return spglib.get_symmetry_dataset(cell, symprec=tolerance)  # type: ignore[arg-type]
    except spglib.SpglibError as error:
        raise CrystalError(
            "No space group was found for this structure.",
            f"spglib failed at a tolerance of {tolerance:g} Å ({error}); two atoms may overlap.",
            "Check the atomic positions and the lattice.",
        ) from error


def _standardized(cell: Cell, tolerance: float, to_primitive: bool) -> Cell:
    found: Any = spglib.standardize_cell(
        cell,  # type: ignore[arg-type]
        to_primitive=to_primitive,
        no_idealize=True,
        symprec=tolerance,
    )
    lattice, positions, types = found
    return lattice, positions, [int(number) for number in types]


def find_cells(cell: Cell, tolerance: float) -> tuple[Cell, np.ndarray]:
    """Primitive cell of a structure, and its conventional cell as an integer matrix.

    The given cell is taken as the conventional one (data are indexed in it) if every rotation is an
    integer matrix there and it is not the primitive cell of a centred lattice; otherwise spglib's
    standard setting is. Nothing is rotated.

    Args:
        cell: the structure as given.
        tolerance: spglib's symprec, Å.

    Returns:
        the primitive cell and the (3, 3) int matrix M with conventional rows = M @ primitive rows.
    """
    dataset = _dataset(cell, tolerance)
    primitive = _standardized(cell, tolerance, to_primitive=True)
    standard = _standardized(cell, tolerance, to_primitive=False)
    to_primitive = np.linalg.inv(primitive[0])
    given = cell[0] @ to_primitive
    # Rotations of the lattice in the basis of the given cell are integers there by spglib's own
    # construction, but some of the crystal's may be missing: compare the orders of the point groups.
    n_rotations = len(np.unique(_dataset(primitive, tolerance).rotations, axis=0))
    complete = len(np.unique(dataset.rotations, axis=0)) == n_rotations
    given_is_primitive = len(cell[1]) == len(primitive[1])
    centred = len(standard[1]) > len(primitive[1])
    keep = complete and not (given_is_primitive and centred)
    matrix = given if keep else standard[0] @ to_primitive
    rounded = np.rint(matrix).astype(int)
    if np.abs(matrix - rounded).max() > 1e-2:
        raise CrystalError(
            "The conventional cell is not a multiple of the primitive one.",
            f"It was found as {np.round(matrix, 3).tolist()} at a tolerance of {tolerance:g} Å.",
            "Give the structure with more digits.",
        )
    return primitive, rounded


def find_space_group(cell: Cell, tolerance: float) -> SpaceGroup:
    """Space group of a primitive cell, with its action on atoms and cells as integers.

    Raises:
        CrystalError: no group is found, or an operation does not carry the atoms into each other.
    """
    dataset = _dataset(cell, tolerance)
    lattice, positions, types = cell
    rotations = np.asarray(dataset.rotations, dtype=int)
    translations = np.asarray(dataset.translations, dtype=float)
    images = np.einsum("oij,aj->oai", rotations, positions) + translations[:, None]
    difference = images[:, :, None] - positions[None, None]
    cell_of = np.rint(difference).astype(int)
    distance = np.linalg.norm((difference - cell_of) @ lattice, axis=-1)
    distance[:, np.not_equal.outer(types, types)] = np.inf
    permutations = distance.argmin(axis=-1)
    if np.take_along_axis(distance, permutations[..., None], -1).max() > 10 * tolerance:
        raise CrystalError(
            "A symmetry operation does not map the atoms onto each other.",
            f"The positions disagree by more than {10 * tolerance:g} Å.",
            "Give the structure with more digits.",
        )
    shifts = np.take_along_axis(cell_of, permutations[..., None, None], axis=2)[:, :, 0]
    return SpaceGroup(
        int(dataset.number), str(dataset.international), rotations, translations, permutations, shifts
    )
