"""The crystal: a frozen primitive cell with its symmetry, from CIF, POSCAR or ASE."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.formats import filetype
from jaxtyping import Int

from bayestds.crystal.cif import read_cif
from bayestds.crystal.poscar import read_poscar
from bayestds.crystal.sites import OVERLAP, Sites, all_atoms, distances, make_lattice, partly_occupied
from bayestds.crystal.species import charges_left_out, isotope_by_mass, mass_of, read_species
from bayestds.crystal.stated import compare, named_group
from bayestds.crystal.symmetry import (
    Cell,
    SpaceGroup,
    find_cells,
    find_space_group,
    settle,
    symmetrized,
)
from bayestds.errors import CrystalError

TOLERANCE = 1e-3
"""Distance within which atoms count as symmetry-equivalent, Å."""

EXACT = 1e-5
"""Tolerance for positions that were averaged over their space group before, Å."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A primitive cell in the standard orientation (conventional a along x, b in the xy plane).

    Attributes:
        lattice_vectors: (3, 3) Å, primitive, one vector a row.
        fractional_positions: (n_atoms, 3) in the primitive cell.
        species: (n_atoms,) elements or isotopes: "Na", "D", "58Ni".
        masses: (n_atoms,) amu.
        conventional_matrix: (3, 3) int; conventional vectors = conventional_matrix @ lattice_vectors.
        space_group: its operations in the primitive cell.
        given_matrix: (3, 3) rational; conventional vectors = given_matrix @ lattice vectors of the
            description (file, ASE atoms, lattice parameters) that the crystal was made from. Miller indices
            transform alike: hkl of the conventional cell = given_matrix @ hkl of the cell described.
        remarks: what a user should know about how the description was read, one sentence each.
    """

    lattice_vectors: np.ndarray
    fractional_positions: np.ndarray
    species: tuple[str, ...]
    masses: np.ndarray
    conventional_matrix: np.ndarray
    space_group: SpaceGroup
    given_matrix: np.ndarray
    remarks: tuple[str, ...] = ()

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


def from_ase(atoms: Atoms, tolerance: float = TOLERANCE) -> Crystal:
    """Crystal from ASE atoms: primitive cell, symmetry and standard orientation.

    Lattice and positions are averaged over the space group, so that a structure rounded to three
    digits is exactly symmetric afterwards.

    Args:
        atoms: a periodic structure; its cell should be the one that the data are indexed in.
        tolerance: distance within which atoms count as symmetry-equivalent, Å.

    Raises:
        CrystalError: not periodic, singular lattice, overlapping atoms, partial occupancy.
    """
    return _make_crystal(_sites_of(atoms, atoms.get_chemical_symbols()), tolerance)


def _sites_of(atoms: Atoms, species: Sequence[str]) -> Sites:
    """ASE atoms, of which it may not know the isotopes, as sites."""
    if not len(atoms):
        raise CrystalError("The structure has no atoms.", "It has a cell only.", "Give at least one atom.")
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
    occupancies = atoms.info.get("occupancy", {})
    partial = {site for site, shares in occupancies.items() if set(shares.values()) != {1.0}}
    if partial:
        raise partly_occupied(f"{int(min(partial)) + 1}")
    labels = tuple(f"{symbol}{number}" for number, symbol in enumerate(species, start=1))
    plain = zip(species, atoms.get_chemical_symbols(), atoms.get_masses(), strict=True)
    masses = [float(mass) if name == symbol else mass_of(name) for name, symbol, mass in plain]
    species = tuple(map(isotope_by_mass, species, masses))
    positions = atoms.get_scaled_positions()
    return Sites(np.array(atoms.cell), labels, species, np.array(masses), positions, np.zeros_like(positions))


def _make_crystal(sites: Sites, tolerance: float) -> Crystal:
    """The crystal that consists of these sites."""
    positions, owners, remarks = all_atoms(sites)
    _check_distances(sites, positions, owners)
    species = [sites.species[owner] for owner in owners]
    masses = {(sites.species[owner], float(sites.masses[owner])) for owner in owners}
    if len(masses) > len(set(species)):
        raise CrystalError(
            "Atoms of one element have different masses.",
            "A species has one mass here.",
            'Give all sites of an element the same mass, or name its isotopes, such as "D" or "58Ni".',
        )
    kinds = list(dict.fromkeys(species))
    cell: Cell = (sites.lattice, positions, [kinds.index(name) for name in species])
    if sites.group is None or sites.group.number == 1:
        cell, settled = settle(cell, sites.digits, tolerance)
        remarks += settled
    (lattice, positions, types), matrix, given_matrix = find_cells(cell, tolerance)
    group = find_space_group((lattice, positions, types), tolerance)
    remarks += compare(sites.stated, group, sites.lattice, lattice)
    metric = np.einsum("oji,jk,okl->il", group.rotations, lattice @ lattice.T, group.rotations)
    metric = matrix @ (metric / len(group.rotations)) @ matrix.T
    lattice = np.linalg.solve(matrix, np.linalg.cholesky(metric))
    positions = symmetrized(positions, group)
    # The group again, now that the structure is exactly symmetric: its translations become exact too.
    exact: Cell = (lattice, positions, types)
    return Crystal(
        lattice,
        positions,
        tuple(kinds[kind] for kind in types),
        np.array([dict(masses)[kinds[kind]] for kind in types]),
        matrix,
        find_space_group(exact, tolerance),
        given_matrix,
        sites.remarks + remarks,
    )


def _check_distances(sites: Sites, positions: np.ndarray, owners: np.ndarray) -> None:
    apart = distances(positions, positions, sites.lattice)
    np.fill_diagonal(apart, np.inf)
    if apart.min() >= OVERLAP:
        return
    one, other = (int(owners[atom]) for atom in np.unravel_index(apart.argmin(), apart.shape))
    first, second = sites.labels[one], sites.labels[other]
    if one == other:
        raise CrystalError(
            f"Site {first} and its images by symmetry are only {apart.min():.3f} Å apart.",
            "No crystal has atoms that close, and the digits of the site do not allow for one atom on a "
            "special position.",
            "Correct the site, or its space group and origin; put a split site onto its mean position.",
        )
    where = f"only {apart.min():.3f} Å apart" if apart.min() > 1e-3 else "at the same place"
    raise CrystalError(
        f"Atoms {first} and {second} are {where}.",
        "No crystal has atoms that close.",
        "Check positions and units (fractional coordinates, lattice in Å), and any space group.",
    )


def read_crystal(path: str | Path, tolerance: float = TOLERANCE) -> Crystal:
    """Crystal from a CIF or POSCAR file (or anything else that ASE reads as one structure).

    Raises:
        CrystalError: the file is missing, cannot be read, or holds no usable crystal.
    """
    try:
        return _make_crystal(_read_sites(path), tolerance)
    except CrystalError as error:
        said = error.summary
        summary = f"Crystal file {path}{said[2:] if said.startswith('It ') else f': {said}'}"
        raise CrystalError(summary, error.reason, error.fix) from error


def _read_sites(path: str | Path) -> Sites:
    try:
        kind = filetype(str(path))
        if kind == "cif":
            return read_cif(path)
        if kind == "vasp":
            atoms, species, charges = read_poscar(path)
            return replace(_sites_of(atoms, species), remarks=charges_left_out(charges))
        found = read(path)
        if isinstance(found, Atoms):
            return _sites_of(found, found.get_chemical_symbols())
    except CrystalError:
        raise
    except FileNotFoundError as error:
        raise CrystalError(
            "It does not exist.", "There is no file of this name.", "Check the path."
        ) from error
    except Exception as error:  # ASE's readers raise anything from KeyError to AssertionError
        raise CrystalError(
            "It cannot be read.",
            f"ASE says: {type(error).__name__}: {error}".rstrip(": "),
            "Give a valid CIF or POSCAR file.",
        ) from error
    raise CrystalError("It holds no structure.", "ASE finds none in it.", "Give one structure.")


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
        species: element or isotope of each site: "Na", "Na1+" (the charge is left out), "D" or "58Ni".
        positions: (n_sites, 3) fractional coordinates in that cell; 0.333 will do for 1/3.
        masses: amu of each site; None takes that of the species.
        space_group: number or Hermann-Mauguin symbol if the sites are the asymmetric unit only; see
            :func:`bayestds.crystal.stated.named_group`.

    Raises:
        CrystalError: an element, the lattice or the space group does not exist, or as for `from_ase`.
    """
    places = np.array(positions, dtype=float)
    if places.shape != (len(species), 3) or not len(species):
        raise CrystalError(
            f"There are {len(species)} species and positions of shape {places.shape}.",
            "Each site has a species and three coordinates.",
            "Correct the sites.",
        )
    vectors = make_lattice(np.asarray(lattice))
    names, charges = zip(*map(read_species, species), strict=True)
    angles = np.asarray(lattice, dtype=float)[3:].tolist()
    group = None if space_group is None else named_group(space_group, angles)
    given = [None] * len(names) if masses is None else masses
    weights = [mass_of(name) if mass is None else mass for name, mass in zip(names, given, strict=True)]
    sites = Sites(
        vectors,
        tuple(f"{name}{number}" for number, name in enumerate(names, start=1)),
        tuple(map(isotope_by_mass, names, weights)),
        np.array(weights, dtype=float),
        places,
        np.zeros_like(places),
        group,
        () if group is None else (group,),
        charges_left_out(charges),
    )
    return _make_crystal(sites, TOLERANCE)


def restore_crystal(
    lattice_vectors: np.ndarray,
    fractional_positions: np.ndarray,
    species: Sequence[str],
    masses: np.ndarray,
    conventional_matrix: np.ndarray,
    given_matrix: np.ndarray,
) -> Crystal:
    """The very crystal that once had these attributes, its space group found again."""
    kinds = list(dict.fromkeys(species))
    cell = (lattice_vectors, fractional_positions, [kinds.index(name) for name in species])
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
