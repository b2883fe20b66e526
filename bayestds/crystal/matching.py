"""One crystal described in two ways: the rotation, origin and order of atoms that relate them."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from bayestds.crystal.species import as_species
from bayestds.crystal.structure import Crystal
from bayestds.errors import CrystalError

STRAIN = 0.01
"""Largest relative difference of lattice vectors."""

EQUALLY_GOOD = 1e-3
"""Relative difference of metrics up to which two choices of axes fit equally well."""

DISPLACED = 0.2
"""Largest distance of an atom from its place, Å: far less than a bond, more than a relaxation."""


@dataclass(frozen=True, eq=False)
class Match:
    """Where the atoms of another description of the crystal are.

    Attributes:
        rotation: (3, 3) orthogonal; a Cartesian row vector there times it is one here.
        lattice_matrix: (3, 3) int; lattice vectors there, rotated, are lattice_matrix @ primitive vectors.
        kinds: (n_atoms,) int, the atom κ of the primitive cell that each atom there is.
        cells: (n_atoms, 3) int, the primitive cell that it lies in.
        strain: largest relative difference of the lattice vectors.
        displaced: largest distance of an atom from its place, Å.
    """

    rotation: np.ndarray
    lattice_matrix: np.ndarray
    kinds: np.ndarray
    cells: np.ndarray
    strain: float
    displaced: float


def match_crystal(
    crystal: Crystal, lattice: np.ndarray, positions: np.ndarray, species: tuple[str, ...], name: str
) -> Match:
    """Find a crystal in another description of it, in any cell, orientation, origin and order of atoms.

    Lattices may differ by 1 % and atoms by 0.2 Å: force constants belong to bonds, which stay what they are.
    Of several ways, related by the symmetry of the lattice, the one that fits best is taken, and of those the
    one that turns least.

    Args:
        crystal: the crystal.
        lattice: (3, 3) Å, one vector a row, a primitive cell or a multiple of one.
        positions: (n_atoms, 3) fractional.
        species: (n_atoms,) element symbols; an element may stand for the crystal's isotope of it.
        name: of the other description, for messages.

    Raises:
        CrystalError: it is another crystal.
    """
    species = tuple(as_species(species, crystal.species))
    if sorted(set(species)) != sorted(set(crystal.species)):
        raise CrystalError(
            f"{name} is not the crystal of the model.",
            f"It consists of {', '.join(sorted(set(species)))}, the model of "
            f"{', '.join(sorted(set(crystal.species)))}.",
            "Use the model of this crystal.",
        )
    bases = _equal_bases(crystal, lattice)
    if not bases:
        raise CrystalError(
            f"{name} is not the crystal of the model.",
            f"Its cell has lengths {_text(np.linalg.norm(lattice, axis=1))} Å and a volume of "
            f"{abs(np.linalg.det(lattice)):.5g} Å³; the model has no lattice vectors with these lengths and "
            f"angles within {STRAIN:.0%} (its primitive cell has "
            f"{abs(np.linalg.det(crystal.lattice_vectors)):.5g} Å³).",
            "Use the model of this crystal, with its lattice constants.",
        )
    found = [match for basis in bases if (match := _match_atoms(crystal, lattice, basis, positions, species))]
    if not found:
        raise CrystalError(
            f"{name} is not the crystal of the model.",
            f"The lattices agree, but its {len(species)} atoms are not within {DISPLACED:g} Å of those of "
            "the model for any origin.",
            "Compare the positions of the atoms.",
        )
    # Rounding, so that ways that differ by rounding errors only are told apart by how far they turn.
    return min(found, key=lambda m: (round(m.strain, 6), round(m.displaced, 4), -np.trace(m.rotation)))


def miller_matrices(crystal: Crystal, lattice: np.ndarray) -> list[np.ndarray]:
    """Matrices (3, 3) M that take Miller indices of another cell to those of the conventional one, h' = M h.

    Args: crystal: the crystal. lattice: (3, 3) Å, one vector a row, of a cell whose edges may be any lattice
        vectors of the crystal; its
            orientation does not matter.

    Returns:
        One matrix for each choice of the axes that the Laue group does not relate to another, of those that
        fit best; none where the crystal has no such lattice vectors. M may have rational entries, for a
        supercell.
    """
    hand = np.sign(np.linalg.det(crystal.conventional_matrix))
    bases = [one for one in _equal_bases(crystal, lattice) if np.sign(np.linalg.det(one)) == hand]
    misfits = np.array([_misfit(basis @ crystal.lattice_vectors, lattice) for basis in bases])
    found: dict[tuple[float, ...], np.ndarray] = {}
    for basis, misfit in zip(bases, misfits, strict=True):
        if misfit > misfits.min() + EQUALLY_GOOD:
            continue
        matrix = crystal.conventional_matrix @ np.linalg.inv(basis)
        images = [np.round((matrix.T @ rotation).T, 9) + 0.0 for rotation in crystal.laue_group]
        # The one that turns least among those that the Laue group relates.
        best = max(images, key=lambda one: (round(np.trace(one), 6), tuple(one.ravel())))
        found[tuple(best.ravel())] = best
    return sorted(found.values(), key=lambda one: -np.trace(one))


def _misfit(lattice: np.ndarray, other: np.ndarray) -> float:
    """Largest relative difference of the metrics of two lattices (3, 3), one vector a row."""
    lengths = np.linalg.norm(other, axis=1)
    return float((np.abs(lattice @ lattice.T - other @ other.T) / np.outer(lengths, lengths)).max())


def _equal_bases(crystal: Crystal, lattice: np.ndarray) -> list[np.ndarray]:
    """Integer matrices (3, 3): lattice vectors of the crystal with the lengths and angles of a lattice."""
    lengths = np.linalg.norm(lattice, axis=1)
    longest = lengths.max() * (1 + STRAIN)
    reach = np.floor(longest * np.linalg.norm(np.linalg.inv(crystal.lattice_vectors), axis=0)).astype(int)
    steps = np.array(list(product(*(range(-n, n + 1) for n in reach))))
    vectors = steps @ crystal.lattice_vectors
    near = [np.abs(np.linalg.norm(vectors, axis=1) - length) < STRAIN * length for length in lengths]
    first, second, third = (np.flatnonzero(one) for one in near)

    def agrees(i: int, j: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product_there = lattice[i] @ lattice[j]
        return np.abs(vectors[a] @ vectors[b].T - product_there) < 2 * STRAIN * lengths[i] * lengths[j]

    with_second, with_third = agrees(0, 1, first, second), agrees(0, 2, first, third)
    both = agrees(1, 2, second, third)
    triples = [
        (first[a], second[b], third[c])
        for a, b in np.argwhere(with_second)
        for c in np.flatnonzero(with_third[a] & both[b])
    ]
    bases = [steps[list(triple)] for triple in triples]
    return [basis for basis in bases if round(abs(np.linalg.det(basis))) > 0]


def _match_atoms(
    crystal: Crystal,
    lattice: np.ndarray,
    basis: np.ndarray,
    positions: np.ndarray,
    species: tuple[str, ...],
) -> Match | None:
    """The origin and order of atoms for a given basis of the lattice, None where there is none."""
    if len(species) != round(abs(np.linalg.det(basis))) * crystal.n_atoms:
        return None
    here = basis @ crystal.lattice_vectors
    u, _, v = np.linalg.svd(lattice.T @ here)
    rotation = u @ v
    strain = np.linalg.norm(lattice @ rotation - here, axis=1) / np.linalg.norm(here, axis=1)
    scaled = positions @ basis
    same = np.array(species)[:, None] == np.array(crystal.species)[None]
    best: Match | None = None
    for kind in np.flatnonzero(same[0]):
        shift = crystal.fractional_positions[kind] - scaled[0]
        delta = (scaled + shift)[:, None] - crystal.fractional_positions[None]
        cells = np.rint(delta).astype(int)
        distance = np.linalg.norm((delta - cells) @ crystal.lattice_vectors, axis=-1)
        distance[~same] = np.inf
        kinds = distance.argmin(axis=1)
        rows = np.arange(len(species))
        offsets = ((delta - cells) @ crystal.lattice_vectors)[rows, kinds]
        # The origin is that of the mean of all atoms, not of the first one.
        displaced = float(np.linalg.norm(offsets - offsets.mean(axis=0), axis=1).max())
        if (
            displaced > DISPLACED
            or not np.isfinite(distance[rows, kinds]).all()
            or (np.bincount(kinds, minlength=crystal.n_atoms) != len(species) // crystal.n_atoms).any()
        ):
            continue
        if best is None or displaced < best.displaced - 1e-6:
            best = Match(rotation, basis, kinds, cells[rows, kinds], float(strain.max()), displaced)
    return best


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.5g}" for value in values)
