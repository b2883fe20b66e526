"""All pairs of atoms of a supercell, in order of their distance."""

from dataclasses import dataclass

import numpy as np

from bayestds.crystal.structure import pair_kinds
from bayestds.crystal.supercell import Supercell


@dataclass(frozen=True, eq=False)
class PairTable:
    """One of each two conjugate pairs (κ, κ', R) and (κ', κ, -R) of a supercell, shortest first.

    Attributes:
        cells: (n_pairs,) int, grid index of R.
        atoms: (n_pairs, 2) int, κ and κ'.
        lengths: (n_pairs,) |R + τ_κ - τ_κ'|, Å, of the shortest periodic image.
        counts: (n_pairs,) 2 where the conjugate is another pair, else 1.
    """

    cells: np.ndarray
    atoms: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray

    def first(self, n_pairs: int) -> "PairTable":
        """The table of the ``n_pairs`` shortest pairs."""
        return PairTable(*(x[:n_pairs] for x in (self.cells, self.atoms, self.lengths, self.counts)))


def pair_table(supercell: Supercell) -> PairTable:
    """All pairs of atoms of a supercell, conjugates once."""
    n_atoms = supercell.crystal.n_atoms
    opposite = supercell.cell_index(-supercell.cells)
    cells = np.arange(supercell.n_cells)
    blocks = []
    for first, second in pair_kinds(n_atoms):
        kept = cells if first != second else cells[cells <= opposite]
        counts = np.where((opposite[kept] == kept) & (first == second), 1, 2)
        pairs = np.column_stack([np.broadcast_to([first, second], (len(kept), 2)), supercell.cells[kept]])
        blocks.append((kept, pairs[:, :2], supercell.nearest_images(pairs)[0], counts))
    cell, atoms, lengths, counts = (np.concatenate(part) for part in zip(*blocks, strict=True))
    order = np.argsort(lengths, kind="stable")
    return PairTable(cell[order], atoms[order], lengths[order], counts[order])
