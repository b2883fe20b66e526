"""Space group and Laue group as exact integers. The one door to spglib."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import spglib

from bayestds.errors import CrystalError

Cell = tuple[np.ndarray, np.ndarray, list[int]]
"""Lattice rows (3, 3) Å, fractional positions (n_atoms, 3), atom types."""

CENTRINGS = frozenset(
    frozenset(points)
    for points in (
        {(0, 0, 0)},  # P
        {(0, 0, 0), (0, 3, 3)},  # A
        {(0, 0, 0), (3, 0, 3)},  # B
        {(0, 0, 0), (3, 3, 0)},  # C
        {(0, 0, 0), (3, 3, 3)},  # I
        {(0, 0, 0), (0, 3, 3), (3, 0, 3), (3, 3, 0)},  # F
        {(0, 0, 0), (4, 2, 2), (2, 4, 4)},  # R, obverse
        {(0, 0, 0), (2, 4, 2), (4, 2, 4)},  # R, reverse
        {(0, 0, 0), (4, 2, 0), (2, 4, 0)},  # H
    )
)
"""Lattice points of centred cells, in sixths of the axes (International Tables A, 2016, table 2.1.1.2)."""


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


def _ask(function: Callable[..., Any], cell: Cell, tolerance: float, **options: bool) -> Any:
    try:
        return function(cell, symprec=tolerance, **options)
    except spglib.SpglibError as error:
        raise CrystalError(
            "No space group was found for this structure.",
            f"spglib failed at a tolerance of {tolerance:g} Å ({error}); two atoms may overlap.",
            "Check the atomic positions and the lattice.",
        ) from error


def _dataset(cell: Cell, tolerance: float) -> Any:
    return _ask(spglib.get_symmetry_dataset, cell, tolerance)


def _standardized(cell: Cell, tolerance: float, to_primitive: bool) -> Cell:
    lattice, positions, types = _ask(
        spglib.standardize_cell, cell, tolerance, to_primitive=to_primitive, no_idealize=True
    )
    return lattice, positions, [int(number) for number in types]


def find_cells(cell: Cell, tolerance: float) -> tuple[Cell, np.ndarray, np.ndarray]:
    """Primitive cell of a structure, and its conventional cell as integer and rational matrices.

    The conventional axes are those of the given cell, each as short as a lattice vector along it can be, if
    all rotations are integer matrices in them and their cell is centred in one of the usual ways. They are
    those of spglib's standard setting otherwise: for the primitive cell of a centred lattice (rhombohedral
    axes are one), and where the shape of the given cell hides rotations of the crystal. Of the standard axes
    that the Laue group makes equivalent, those closest to the given ones are taken. Nothing is rotated.

    Args:
        cell: the structure as given.
        tolerance: spglib's symprec, Å.

    Returns:
        the primitive cell, the (3, 3) int matrix M with conventional rows = M @ primitive rows, and the
        (3, 3) rational matrix N with conventional rows = N @ given rows.

    Raises:
        CrystalError: no space group is found, or the given cell is no multiple of its primitive cell.
    """
    primitive = _standardized(cell, tolerance, to_primitive=True)
    standard = _standardized(cell, tolerance, to_primitive=False)
    rotations = np.asarray(_dataset(primitive, tolerance).rotations)
    given = _integers(cell[0] @ np.linalg.inv(primitive[0]), tolerance)
    matrix = given // np.gcd.reduce(given, axis=1)[:, None]
    centred = len(standard[1]) > len(primitive[1])
    if not _is_conventional(matrix, rotations, centred):
        matrix = _integers(standard[0] @ np.linalg.inv(primitive[0]), tolerance)
        matrix = _closest(matrix, rotations, primitive[0], cell[0])
    multiple = round(abs(np.linalg.det(given)))  # the entries of N are multiples of 1 / multiple
    return primitive, matrix, np.rint(matrix @ np.linalg.inv(given) * multiple) / multiple


def _integers(matrix: np.ndarray, tolerance: float) -> np.ndarray:
    rounded = np.rint(matrix).astype(int)
    if np.abs(matrix - rounded).max() > 1e-2:
        raise CrystalError(
            "The conventional cell is not a multiple of the primitive one.",
            f"It was found as {np.round(matrix, 3).tolist()} at a tolerance of {tolerance:g} Å.",
            "Give the structure with more digits.",
        )
    return rounded


def _in_basis(matrix: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) of the primitive cell as they act in the cell matrix @ primitive rows."""
    return np.linalg.inv(matrix.T) @ rotations @ matrix.T


def _is_conventional(matrix: np.ndarray, rotations: np.ndarray, centred: bool) -> bool:
    """Whether a cell shows all rotations, and is centred in one of the usual ways (if the lattice is)."""
    turned = _in_basis(matrix, rotations)
    # In units of 1/6, in which all usual centrings are integers. The primitive vectors generate the others.
    primitive = 6 * np.linalg.inv(matrix)
    if max(np.abs(x - np.rint(x)).max() for x in (turned, primitive)) > 1e-6:
        return False
    sums = np.array(list(product(range(6), repeat=3))) @ np.rint(primitive).astype(int)
    points = frozenset(map(tuple, (sums % 6).tolist()))
    return points in CENTRINGS and not (centred and len(points) == 1)


def _closest(
    matrix: np.ndarray, rotations: np.ndarray, primitive: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Of the cells that the Laue group makes of one, that whose axes are closest to the given ones."""
    turned = np.rint(_in_basis(matrix, rotations)).astype(int).transpose(0, 2, 1) @ matrix
    cells = np.concatenate([turned, -turned])
    hand = np.sign(np.linalg.det(given @ np.linalg.inv(primitive)))
    cells = cells[np.sign(np.linalg.det(cells)) == hand]
    axes = cells @ primitive
    cosines = (axes * given).sum(axis=2) / np.linalg.norm(axes, axis=2) / np.linalg.norm(given, axis=1)
    nearness = np.round(cosines.sum(axis=1), 3)
    best = cells[nearness == nearness.max()]
    # Several may be equally close: then the one with the largest components along the given axes, in order.
    along = np.round(best @ primitive @ np.linalg.inv(given), 6)
    return best[np.lexsort(along.reshape(len(best), 9).T[::-1])[-1]]


def find_space_group(cell: Cell, tolerance: float) -> SpaceGroup:
    """Space group of a cell, with its action on atoms and cells as integers.

    Raises:
        CrystalError: no group is found, or an operation does not carry the atoms into each other.
    """
    dataset = _dataset(cell, tolerance)
    lattice, positions, types = cell
    rotations = np.asarray(dataset.rotations, dtype=int)
    translations = np.asarray(dataset.translations, dtype=float)
    permutations = np.empty((len(rotations), len(positions)), dtype=int)
    shifts = np.empty((len(rotations), len(positions), 3), dtype=int)
    rows, other = np.arange(len(positions)), np.not_equal.outer(types, types)
    for operation, (rotation, translation) in enumerate(zip(rotations, translations, strict=True)):
        difference = (positions @ rotation.T + translation)[:, None] - positions
        cell_of = np.rint(difference).astype(int)
        distance = np.linalg.norm((difference - cell_of) @ lattice, axis=-1)
        distance[other] = np.inf
        found = distance.argmin(axis=1)
        if distance[rows, found].max() > 10 * tolerance:
            raise CrystalError(
                "A symmetry operation does not map the atoms onto each other.",
                f"The positions disagree by more than {10 * tolerance:g} Å.",
                "Give the structure with more digits.",
            )
        permutations[operation], shifts[operation] = found, cell_of[rows, found]
    return SpaceGroup(
        int(dataset.number), str(dataset.international), rotations, translations, permutations, shifts
    )


def group_type(rotations: np.ndarray, translations: np.ndarray) -> tuple[int, str]:
    """Number and symbol of the type of a space group with operations (n_ops, 3, 3) and (n_ops, 3).

    Raises:
        CrystalError: there is none.
    """
    try:
        found: Any = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    except spglib.SpglibError:
        found = None
    if found is None:
        raise CrystalError(
            "The symmetry operations are those of no space group.",
            f"spglib finds none with these {len(rotations)} operations.",
            "Correct the operations.",
        )
    return int(found.number), str(found.international_short)


def symmetrized(positions: np.ndarray, group: SpaceGroup) -> np.ndarray:
    """Positions (n_atoms, 3) averaged over the operations of their space group."""
    images = np.einsum("oij,aj->oai", group.rotations, positions) + group.translations[:, None]
    averaged = np.zeros_like(positions)
    for image, permutation, shift in zip(images, group.permutations, group.cell_shifts, strict=True):
        averaged[permutation] += image - shift
    return averaged / len(images)


def settle(cell: Cell, digits: int, tolerance: float) -> tuple[Cell, tuple[str, ...]]:
    """Positions of all atoms of a cell, averaged over symmetry that only their rounding hides.

    It must be a symmetry of the lattice, within ``tolerance``, and move no coordinate by more than 0.7 units
    of the last decimal: 2/3 may be cut off there, not only rounded. With less than three decimals that may
    be no rounding: the positions stay, and it is said what symmetry they nearly have.

    Args:
        cell: the structure as given.
        digits: decimals of the positions.
        tolerance: without regard to digits, Å.

    Returns:
        the structure, and what is to be said of it.
    """
    lattice, positions, types = cell
    longest = np.linalg.norm(lattice, axis=1).max()
    unit = 10.0 ** -max(digits, 2)
    loose = 4 * unit * longest  # two atoms and the images of both may each be a unit off
    if loose <= tolerance:
        return cell, ()
    try:
        known, group = _dataset(cell, tolerance), find_space_group(cell, loose)
    except CrystalError:  # a guess that fails is none
        return cell, ()
    metric = lattice @ lattice.T
    turned = group.rotations.transpose(0, 2, 1) @ metric @ group.rotations
    kept = np.abs(turned - metric).max(axis=(1, 2)) < 2 * tolerance * longest
    group = replace(
        group,
        rotations=group.rotations[kept],
        translations=group.translations[kept],
        permutations=group.permutations[kept],
        cell_shifts=group.cell_shifts[kept],
    )
    moves = symmetrized(positions, group) - positions
    moves -= moves.mean(axis=0)  # which moves the origin only
    if len(group.rotations) <= len(known.rotations) or np.abs(moves).max() > 0.7 * unit:
        return cell, ()
    moved = np.linalg.norm(moves @ lattice, axis=1).max()
    number, symbol = group_type(group.rotations, group.translations)
    name = f"{symbol} ({number})"
    if digits < 3:
        return cell, (
            f"Moved by up to {moved:.2g} Å, the atoms would have the symmetry {name}, which is not assumed: "
            "if they have it, give the positions to three decimals or more, or the space group.",
        )
    return (lattice, positions + moves, types), (
        f"Atoms were moved by up to {moved:.2g} Å, which the digits of their positions leave open, so that "
        f"they have the symmetry {name}.",
    )
