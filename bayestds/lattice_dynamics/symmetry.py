"""Space group and time reversal, acting on the Hermitian blocks C(k) or Φ(k) of a supercell."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex

from bayestds.crystal.supercell import Supercell


@dataclass(frozen=True, eq=False)
class BlockSymmetry:
    """Operations that take the wave vectors of a supercell to each other.

    An operation x' = W x + w takes C(k) to C'(k') = Γ C(k) Γ† with k' = k W⁻¹ and
    Γ_{πκ,κ} = exp(ik'·s_κ) S, where atom κ lands on atom π κ in cell s_κ and S is the Cartesian rotation;
    time reversal takes C(k) to C(-k) = C(k)*.

    Attributes:
        supercell: the periodic supercell.
        rotations: (n_ops, 3, 3) int, on rows of conventional Miller indices: k' = k @ rotation.
        images: (n_ops, n_k) int, grid index of k'.
        operations: (n_ops,) int, which operation of the space group.
        reverses: (n_ops,) bool, whether time reversal follows it.
    """

    supercell: Supercell
    rotations: np.ndarray
    images: np.ndarray
    operations: np.ndarray
    reverses: np.ndarray

    @property
    def is_complete(self) -> bool:
        """Whether the supercell has the symmetry of the crystal."""
        return len(self.operations) == 2 * len(self.supercell.crystal.space_group.rotations)

    def transform(
        self, which: int | np.integer, k_index: int, blocks: Complex[np.ndarray, "... size size"]
    ) -> Complex[np.ndarray, "... size size"]:
        """Images (..., 3n, 3n) of blocks at one k, under operation ``which``."""
        group = self.supercell.crystal.space_group
        operation, reverse = self.operations[which], self.reverses[which]
        image = self.images[which, k_index]
        sign = -1 if reverse else 1
        phases = np.exp(2j * np.pi * sign * group.cell_shifts[operation] @ self.supercell.k_points[image])
        n_atoms = self.supercell.crystal.n_atoms
        permutation = np.zeros((n_atoms, n_atoms), complex)
        permutation[group.permutations[operation], np.arange(n_atoms)] = phases
        gamma = np.kron(permutation, self.supercell.crystal.cartesian_rotations[operation])
        moved = gamma @ blocks @ gamma.conj().T
        return moved.conj() if reverse else moved


def block_symmetry(supercell: Supercell) -> BlockSymmetry:
    """Every operation of the space group that fits the supercell, with and without time reversal."""
    crystal = supercell.crystal
    matrix = crystal.conventional_matrix.T
    inverses = np.rint(np.linalg.inv(crystal.space_group.rotations)).astype(int)
    images = np.concatenate([supercell.k_images(inverses), supercell.k_images(-inverses)])
    turned = np.linalg.inv(matrix) @ inverses @ matrix
    turned = np.rint(np.concatenate([turned, -turned])).astype(int)
    n_ops = len(inverses)
    fits = images[:, -1] >= 0
    operations, reverses = np.tile(np.arange(n_ops), 2), np.repeat([False, True], n_ops)
    return BlockSymmetry(supercell, turned[fits], images[fits], operations[fits], reverses[fits])
