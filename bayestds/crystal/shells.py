"""Neighbour shells of the infinite crystal and the symmetry orbits of atom pairs in them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bayestds.crystal.structure import Crystal
from bayestds.errors import CrystalError

REACHES = (2.03, 4.07, 8.17)
"""Radii in which neighbours tell atoms apart, tried in turn: times the cube root of the volume per atom.

Odd numbers, so that no shell of neighbours lies on such a sphere, half of it within by rounding.
"""


@dataclass(frozen=True, eq=False)
class Orbit:
    """Pairs of atoms that the space group, or exchanging the two ends, carries into each other.

    A pair (κ, κ', R) is atom κ in cell R with atom κ' in cell 0. The first pair is the
    representative: the one with the lexicographically largest Cartesian bond R + τ_κ - τ_κ'. Of
    several with this bond, it is that of the atom whose neighbours are farther up along z, then y and
    x, whatever the order of the atoms: constants mean the same however the crystal was written down.

    Attributes:
        shell: 0 for the self terms, 1 for the nearest neighbours, and so on.
        distance: bond length, Å.
        pairs: (n_pairs, 5) int.
        operations: (n_pairs,) int, an operation that carries the representative to each pair.
        swapped: (n_pairs,) bool, whether its ends are exchanged as well.
        stabilizer: (n_stabilizer, 2) int, the (operation, swapped) that keep the representative.
    """

    shell: int
    distance: float
    pairs: np.ndarray
    operations: np.ndarray
    swapped: np.ndarray
    stabilizer: np.ndarray

    @property
    def representative(self) -> np.ndarray:
        """The representative pair (5,) int."""
        return self.pairs[0]


def find_orbits(crystal: Crystal, n_shells: int, tolerance: float = 1e-3) -> list[Orbit]:
    """Orbits of the self terms and of the first ``n_shells`` neighbour shells, in order.

    Shells are the sorted distinct distances over all pairs of atoms of the infinite crystal.

    Args:
        crystal: the crystal.
        n_shells: number of distinct distances.
        tolerance: distances closer than this are one shell, Å.

    Raises:
        CrystalError: ``n_shells`` is not positive.
    """
    if n_shells < 1:
        raise CrystalError(f"{n_shells} neighbour shells were asked for.", "", "Ask for at least one.")
    pairs, shell_of = _pairs_by_shell(crystal, n_shells, tolerance)
    bonds = crystal.bond_vectors(pairs)
    rank = _representative_order(pairs, bonds, _atom_ranks(crystal))
    pending = {tuple(pairs[i]): int(shell_of[i]) for i in rank}
    orbits = []
    while pending:
        pair, shell = next(iter(pending.items()))
        orbit = _make_orbit(crystal, np.array(pair), shell)
        members = [tuple(member) for member in orbit.pairs]
        if any(member not in pending for member in members):
            raise CrystalError(
                f"Symmetry-equivalent pairs near {orbit.distance:.4f} Å fall in different shells.",
                f"The shell tolerance of {tolerance:g} Å is finer than the accuracy of the structure.",
                "Raise shell_tolerance.",
            )
        for member in members:
            del pending[member]
        orbits.append(orbit)
    # A stable sort: within a shell the order of the representatives, largest bond first, stays.
    return sorted(orbits, key=lambda orbit: orbit.shell)


def _pairs_by_shell(crystal: Crystal, n_shells: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (n_pairs, 5) up to the given shell, self terms included, and the shell of each."""
    radius = 2 * _heights(crystal).max()
    while True:
        pairs, lengths = _pairs_within(crystal, radius)
        shell = np.concatenate([[0], np.cumsum(np.diff(lengths) > tolerance)])
        # The last shell inside the radius may continue beyond it.
        if shell[-1] > n_shells:
            keep = shell <= n_shells
            return pairs[keep], shell[keep]
        radius *= 1.4


def _heights(crystal: Crystal) -> np.ndarray:
    """Distances (3,) of the faces of the primitive cell, Å."""
    return 1 / np.linalg.norm(np.linalg.inv(crystal.lattice_vectors), axis=0)


def _pairs_within(crystal: Crystal, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (n_pairs, 5) closer than a radius, and their distances, Å, in the order of these."""
    # Positions may lie one cell apart, hence the extra cell each way.
    axes = [np.arange(-n, n + 1) for n in np.ceil(radius / _heights(crystal)).astype(int) + 1]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    atoms = np.arange(crystal.n_atoms)
    first, second, cell = np.meshgrid(atoms, atoms, np.arange(len(cells)), indexing="ij")
    pairs = np.column_stack([first.ravel(), second.ravel(), cells[cell.ravel()]])
    lengths = np.linalg.norm(crystal.bond_vectors(pairs), axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] < radius]
    return pairs[order], lengths[order]


def _atom_ranks(crystal: Crystal) -> np.ndarray:
    """Order (n_atoms,) of the atoms: by species, then by the neighbours of each, then as they are listed."""
    order_of = {species: number for number, species in enumerate(dict.fromkeys(crystal.species))}
    kinds = np.array([order_of[species] for species in crystal.species])
    for reach in REACHES:
        radius = reach * np.cbrt(abs(np.linalg.det(crystal.lattice_vectors)) / crystal.n_atoms)
        pairs = _pairs_within(crystal, radius)[0]
        bonds = crystal.bond_vectors(pairs)
        distance, x, y, z = map(_grouped, (np.linalg.norm(bonds, axis=1), *-bonds.T))
        seen = np.column_stack([distance, z, y, x, kinds[pairs[:, 0]]])
        around = [
            (int(kind), sorted(map(tuple, seen[pairs[:, 1] == atom].tolist())))
            for atom, kind in enumerate(kinds)
        ]
        ranked = sorted(range(crystal.n_atoms), key=around.__getitem__)
        if all(around[first] != around[second] for first, second in pairwise(ranked)):
            break
    return np.argsort(ranked)


def _representative_order(pairs: np.ndarray, bonds: np.ndarray, atom_ranks: np.ndarray) -> np.ndarray:
    """Indices that put the largest Cartesian bond first; equal bonds by the ranks of their atoms."""
    x, y, z = (_grouped(component) for component in bonds.T)
    first, second = atom_ranks[pairs[:, :2]].T
    return np.lexsort([second, first, -z, -y, -x])


def _grouped(values: np.ndarray, tolerance: float = 1e-4) -> np.ndarray:
    """Rank of each value, the same for values that differ by rounding (which np.round can tear apart)."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), dtype=int)
    ranks[order] = np.concatenate([[0], np.cumsum(np.diff(values[order]) > tolerance)])
    return ranks


def _make_orbit(crystal: Crystal, pair: np.ndarray, shell: int) -> Orbit:
    images = crystal.space_group.map_pairs(pair)
    n_ops = len(images)
    exchanged = np.column_stack([images[:, 1], images[:, 0], -images[:, 2:]])
    both = np.concatenate([images, exchanged])
    members, first = np.unique(both, axis=0, return_index=True)
    order = np.argsort(_rank_of(members, pair), kind="stable")
    kept = np.flatnonzero((both == pair).all(axis=1))
    return Orbit(
        shell,
        float(np.linalg.norm(crystal.bond_vectors(pair[None])[0])),
        members[order],
        first[order] % n_ops,
        first[order] >= n_ops,
        np.column_stack([kept % n_ops, kept >= n_ops]),
    )


def _rank_of(members: np.ndarray, representative: np.ndarray) -> np.ndarray:
    return np.where((members == representative).all(axis=1), 0, 1)
