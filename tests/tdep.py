"""Folders as TDEP writes them, from the definition of the format; other cells, axes and orders of atoms."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from bayestds.crystal.structure import Crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from tests.brute_force import bonds_of


@dataclass(frozen=True)
class OtherCell:
    """A crystal as another program may have it: cell matrix @ primitive vectors, turned, atoms shuffled."""

    lattice: np.ndarray
    positions: np.ndarray
    kinds: np.ndarray
    rotation: np.ndarray
    """A Cartesian row vector of ours times it is one there."""


def random_rotation(seed: int, improper: bool = False) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    wanted = -1 if improper else 1
    return q * wanted * np.sign(np.linalg.det(q))


def other_cell(crystal: Crystal, matrix: np.ndarray, rotation: np.ndarray, seed: int) -> OtherCell:
    """The crystal in the cell matrix @ primitive vectors, with another origin and order of atoms."""
    rng = np.random.default_rng(seed)
    span = int(np.abs(matrix).sum())
    cells = np.array(list(product(range(-span, span + 1), repeat=3)))
    inside = cells[((s := cells @ np.linalg.inv(matrix)) > -1e-9).all(axis=1) & (s < 1 - 1e-9).all(axis=1)]
    kinds = np.repeat(np.arange(crystal.n_atoms), len(inside))
    scaled = (crystal.fractional_positions[:, None] + inside).reshape(-1, 3) @ np.linalg.inv(matrix)
    order = rng.permutation(len(kinds))
    # Whole cells too: an atom may lie in any of them.
    moved = scaled[order] + rng.uniform(size=3) + rng.integers(-1, 2, (len(order), 3))
    return OtherCell(matrix @ crystal.lattice_vectors @ rotation, moved, kinds[order], rotation)


def write_tdep(
    folder: Path, irreducible: IrreducibleForceConstants, values: np.ndarray, cell: OtherCell
) -> None:
    """Write infile.ucposcar and outfile.forceconstant."""
    crystal, block = irreducible.crystal, bonds_of(irreducible, values)
    reach = np.linalg.norm(crystal.bond_vectors(irreducible.pairs), axis=1).max() + 1e-4
    names = [crystal.species[kind] for kind in cell.kinds]
    species = sorted(set(names))
    # POSCAR has the atoms of an element together.
    order = np.array(sorted(range(len(names)), key=lambda atom: names[atom]))
    positions, kinds = cell.positions[order], cell.kinds[order]
    rows = ["other cell", "1.0", *(" ".join(f"{x:.15f}" for x in row) for row in cell.lattice)]
    rows += [" ".join(species), " ".join(str(names.count(name)) for name in species), "Direct"]
    rows += [" ".join(f"{x:.15f}" for x in row) for row in positions]
    (folder / "infile.ucposcar").write_text("\n".join(rows) + "\n")

    heights = 1 / np.linalg.norm(np.linalg.inv(cell.lattice), axis=0)
    n = np.ceil(reach / heights).astype(int) + 3
    shifts = np.array(list(product(*(range(-m, m + 1) for m in n))))
    lines = [
        f" {len(kinds):9d}               How many atoms per unit cell",
        f" {reach:20.15f}     Realspace cutoff (A)",
    ]
    for i, first in enumerate(kinds):
        found = []
        for j, second in enumerate(kinds):
            bonds = (positions[i] - positions[j] - shifts) @ cell.lattice
            for shift, bond in zip(shifts, bonds, strict=True):
                if np.linalg.norm(bond) < reach:
                    phi = (
                        cell.rotation.T
                        @ block(int(first), int(second), bond @ cell.rotation.T)
                        @ cell.rotation
                    )
                    found.append((j + 1, shift, phi))
        lines.append(f" {len(found):9d}               How many neighbours does atom {i + 1:3d} have")
        for number, (j, shift, phi) in enumerate(found, start=1):
            lines.append(
                f" {j:9d}  In the unit cell, what is the index of neighbour {number} of atom {i + 1}"
            )
            lines += [" ".join(f"{x:24.16e}" for x in row) for row in (shift.astype(float), *phi)]
    lines.append(" 0   # This contains no information about Born charges or dielectric tensors")
    (folder / "outfile.forceconstant").write_text("\n".join(lines) + "\n")
