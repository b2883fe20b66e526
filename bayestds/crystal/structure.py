"""The crystal: a frozen primitive cell with its symmetry, from CIF, POSCAR or ASE."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import cellpar_to_cell
from ase.io import read
from ase.io.formats import filetype
from ase.spacegroup import crystal as ase_crystal
from jaxtyping import Int

from bayestds.crystal.cif import check_cif
from bayestds.crystal.symmetry import Cell, SpaceGroup, find_cells, find_space_group
from bayestds.errors import CrystalError

EXACT = 1e-5
"""Tolerance for positions that were averaged over their space group before, Å."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A primitive cell in the standard orientation (conventional a along x, b in the xy plane).

    Attributes:
        lattice_vectors: (3, 3) Å, primitive, one vector a row.
        fractional_positions: (n_atoms, 3) in the primitive cell.
        species: (n_atoms,) element symbols.
        masses: (n_atoms,) amu.
        conventional_matrix: (3, 3) int; conventional vectors = conventional_matrix @ lattice_vectors.
        space_group: its operations in the primitive cell.
        given_matrix: (3, 3) rational; conventional vectors = given_matrix @ lattice vectors of the
            description (file, ASE atoms, lattice parameters) that the crystal was made from. Miller indices
            transform alike: hkl of the conventional cell = given_matrix @ hkl of the cell described.
    """

    lattice_vectors: np.ndarray
    fractional_positions: np.ndarray
    species: tuple[str, ...]
    masses: np.ndarray
    conventional_matrix: np.ndarray
    space_group: SpaceGroup
    given_matrix: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the primitive cell."""
        return len(self.species)

    @property
    def conventional_lattice(self) -> np.ndarray:
        """Conventional lattice vectors (3, 3), Å, one a row."""
        return self.conventional_matrix @ self.lattice_vectors

    @property
    def cell_parameters(self) -> np.ndarray:
        """Conventional a, b, c (Å) and alpha, beta, gamma (degrees), (6,)."""
        lattice = self.conventional_lattice
        lengths = np.linalg.norm(lattice, axis=1)
        cosines = (lattice @ lattice.T) / np.outer(lengths, lengths)
        return np.append(lengths, np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]])))

    @property
    def cartesian_positions(self) -> np.ndarray:
        """Atom positions (n_atoms, 3), Å."""
        return self.fractional_positions @ self.lattice_vectors

    @cached_property
    def cartesian_rotations(self) -> np.ndarray:
        """Rotations (n_ops, 3, 3) of the space group as orthogonal matrices."""
        lattice = self.lattice_vectors.T
        return lattice @ self.space_group.rotations @ np.linalg.inv(lattice)

    @cached_property
    def laue_group(self) -> np.ndarray:
        """Laue rotations (n_laue, 3, 3) acting on rows of conventional Miller indices, q' = q @ W."""
        return np.unique(np.concatenate([self.point_group, -self.point_group]), axis=0)

    @cached_property
    def point_group(self) -> np.ndarray:
        """Rotations (n_rotations, 3, 3) of the point group, acting like those of the Laue group."""
        to_conventional = np.linalg.inv(self.conventional_matrix).T
        rotations = to_conventional @ self.space_group.rotations @ self.conventional_matrix.T
        return np.unique(np.rint(rotations).astype(int), axis=0)

    @property
    def is_centrosymmetric(self) -> bool:
        """Whether the crystal has a centre of symmetry."""
        return len(self.point_group) == len(self.laue_group)

    def scattering_vectors(self, q_points: np.ndarray) -> np.ndarray:
        """Cartesian Q (n_q, 3) in Å⁻¹ of q_points (n_q, 3) in r.l.u. of the conventional cell."""
        return 2 * np.pi * np.asarray(q_points) @ np.linalg.inv(self.conventional_lattice).T

    def bond_vectors(self, pairs: np.ndarray) -> np.ndarray:
        """Vectors R + τ_κ - τ_κ' (n_pairs, 3), Å, of pairs (n_pairs, 5) int as (κ, κ', R)."""
        pairs = np.asarray(pairs)
        positions = self.fractional_positions
        return (pairs[:, 2:] + positions[pairs[:, 0]] - positions[pairs[:, 1]]) @ self.lattice_vectors


def from_ase(atoms: Atoms, tolerance: float = 1e-3) -> Crystal:
    """Crystal from ASE atoms: primitive cell, symmetry and standard orientation.

    Lattice and positions are averaged over the space group, so that a structure rounded to four
    digits is exactly symmetric afterwards.

    Args:
        atoms: a periodic structure; its cell should be the one that the data are indexed in.
        tolerance: distance within which atoms count as symmetry-equivalent, Å.

    Raises:
        CrystalError: not periodic, singular lattice, overlapping atoms, partial occupancy.
    """
    _check_atoms(atoms)
    cell = (np.array(atoms.cell), atoms.get_scaled_positions(), atoms.numbers.tolist())
    (lattice, positions, numbers), matrix, given_matrix = find_cells(cell, tolerance)
    group = find_space_group((lattice, positions, numbers), tolerance)
    metric = np.einsum("oji,jk,okl->il", group.rotations, lattice @ lattice.T, group.rotations)
    metric = matrix @ (metric / len(group.rotations)) @ matrix.T
    lattice = np.linalg.solve(matrix, np.linalg.cholesky(metric))
    positions = _symmetrized(positions, group)
    # The group again, now that the structure is exactly symmetric: its translations become exact too.
    exact: Cell = (lattice, positions, numbers)
    masses = dict(zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), strict=True))
    symbols = dict(zip(atoms.numbers.tolist(), atoms.get_chemical_symbols(), strict=True))
    return Crystal(
        lattice,
        positions,
        tuple(symbols[number] for number in numbers),
        np.array([masses[number] for number in numbers]),
        matrix,
        find_space_group(exact, tolerance),
        given_matrix,
    )


def _check_atoms(atoms: Atoms) -> None:
    vectors = np.concatenate([np.array(atoms.cell), atoms.positions])
    if not (finite := np.isfinite(vectors).all(axis=1)).all():
        raise CrystalError(
            "The structure has a lattice or a position that is not finite.",
            f"A vector is {vectors[~finite][0].tolist()} Å.",
            "Correct it.",
        )
    if abs(atoms.cell.volume) < 1e-3:
        raise CrystalError(
            "The structure has no unit cell.",
            f"Its lattice vectors span {atoms.cell.volume:g} Å³.",
            "Give three independent lattice vectors.",
        )
    masses = {(number, float(mass)) for number, mass in zip(atoms.numbers, atoms.get_masses(), strict=True)}
    if len(masses) > len(set(atoms.numbers)):
        raise CrystalError(
            "Atoms of one element have different masses.",
            "A species has one mass here; isotopes cannot be told apart.",
            "Give all sites of an element the same mass.",
        )
    occupancies = atoms.info.get("occupancy", {})
    partial = {site for site, shares in occupancies.items() if set(shares.values()) != {1.0}}
    if partial:
        raise CrystalError(
            f"Site {min(map(int, partial)) + 1} is partially occupied.",
            "Force constants are defined for an ordered crystal only.",
            "Give a structure whose sites are fully occupied by one species.",
        )
    scaled = atoms.get_scaled_positions()
    delta = scaled[:, None] - scaled[None]
    distance = np.linalg.norm((delta - np.rint(delta)) @ np.array(atoms.cell), axis=-1)
    np.fill_diagonal(distance, np.inf)
    if distance.min() < 0.3:
        first, second = np.unravel_index(distance.argmin(), distance.shape)
        raise CrystalError(
            f"Atoms {first + 1} and {second + 1} are only {distance.min():.3f} Å apart.",
            "No crystal has atoms that close.",
            "Check positions and units (fractional coordinates, lattice in Å).",
        )


def _symmetrized(positions: np.ndarray, group: SpaceGroup) -> np.ndarray:
    images = np.einsum("oij,aj->oai", group.rotations, positions) + group.translations[:, None]
    averaged = np.zeros_like(positions)
    for image, permutation, shift in zip(images, group.permutations, group.cell_shifts, strict=True):
        averaged[permutation] += image - shift
    return averaged / len(images)


def read_crystal(path: str | Path, tolerance: float = 1e-3) -> Crystal:
    """Crystal from a CIF or POSCAR file (or anything else that ASE reads as one structure).

    Raises:
        CrystalError: the file is missing, cannot be read, or holds no usable crystal.
    """
    try:
        if filetype(str(path)) == "cif":
            check_cif(path)
        atoms = read(path)
    except CrystalError:
        raise
    except FileNotFoundError as error:
        raise CrystalError(
            f"Crystal file {path} does not exist.", "There is no file of this name.", "Check the path."
        ) from error
    except Exception as error:  # ASE's readers raise anything from KeyError to AssertionError
        raise CrystalError(
            f"Crystal file {path} cannot be read.",
            f"ASE says: {type(error).__name__}: {error}".rstrip(": "),
            "Give a valid CIF or POSCAR file.",
        ) from error
    if not isinstance(atoms, Atoms):
        raise CrystalError(
            f"Crystal file {path} holds no structure.", "ASE finds none in it.", "Give one structure."
        )
    try:
        return from_ase(atoms, tolerance)
    except CrystalError as error:
        raise CrystalError(f"Crystal file {path}: {error.summary}", error.reason, error.fix) from error


def build_crystal(
    lattice: Sequence | np.ndarray,
    species: Sequence,
    positions: Sequence | np.ndarray,
    masses: Sequence | None = None,
    space_group: int | str | None = None,
) -> Crystal:
    """Crystal from a conventional cell written down by hand.

    Args:
        lattice: (6,) a, b, c in Å and alpha, beta, gamma in degrees.
        species: element symbol of each site.
        positions: (n_sites, 3) fractional coordinates in that cell.
        masses: amu of each site; None takes the natural mass.
        space_group: number or Hermann-Mauguin symbol if the sites are the asymmetric unit only.

    Raises:
        CrystalError: an element, the lattice or the space group does not exist, or as for `from_ase`.
    """
    if unknown := sorted(set(species) - set(chemical_symbols[1:])):
        raise CrystalError(
            f"There is no element {unknown[0]!r}.",
            "Sites have the symbols of elements.",
            "Correct the sites.",
        )
    try:
        cell = cellpar_to_cell(lattice)
        sites = Atoms(species, scaled_positions=positions, cell=cell, pbc=True)
        if masses is not None:
            natural = sites.get_masses()
            sites.set_masses([m if m is not None else n for m, n in zip(masses, natural, strict=True)])
        if space_group is not None:
            sites = ase_crystal(sites, spacegroup=space_group, cellpar=lattice)
    except Exception as error:  # ASE signals bad species, groups and lattices each in its own way
        raise CrystalError(
            "The crystal of the model cannot be built.",
            f"ASE says: {type(error).__name__}: {error}",
            "Check lattice, space_group and sites.",
        ) from error
    return from_ase(sites)


def restore_crystal(
    lattice_vectors: np.ndarray,
    fractional_positions: np.ndarray,
    species: Sequence[str],
    masses: np.ndarray,
    conventional_matrix: np.ndarray,
    given_matrix: np.ndarray,
) -> Crystal:
    """The very crystal that once had these attributes, its space group found again."""
    cell = (lattice_vectors, fractional_positions, [chemical_symbols.index(name) for name in species])
    group = find_space_group(cell, EXACT)
    return Crystal(
        lattice_vectors,
        fractional_positions,
        tuple(species),
        masses,
        conventional_matrix,
        group,
        given_matrix,
    )


def pair_kinds(n_atoms: int) -> Int[np.ndarray, "n_kinds 2"]:
    """Kinds κ ≤ κ' of pairs of atoms: first the n_atoms of an atom with its own images, then the others."""
    same = [(atom, atom) for atom in range(n_atoms)]
    return np.array(same + list(combinations(range(n_atoms), 2)))


def kind_of_pair(n_atoms: int) -> Int[np.ndarray, "n_atoms n_atoms"]:
    """Which of :func:`pair_kinds` the pair κ, κ' is, in either order."""
    kinds = pair_kinds(n_atoms)
    found = np.empty((n_atoms, n_atoms), dtype=int)
    found[kinds[:, 0], kinds[:, 1]] = found[kinds[:, 1], kinds[:, 0]] = np.arange(len(kinds))
    return found
