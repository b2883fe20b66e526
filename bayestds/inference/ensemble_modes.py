"""Symmetry-allowed fluctuations of the displacement covariance, as independent modes of equal variance.

The mean over M configurations estimates C(k) with an error. Of that error the average over equivalent
voxels sees what is invariant under the operations that leave the set of voxels alone. With a basis of
invariant Hermitian G_s(k), orthonormal under Σ_k Tr G_s G_t, the error is C + Σ_s θ_s B_s with
B_s = C^½ G_s C^½, and the inverse of (M/2) Σ_k Tr[C⁻¹ B_s C⁻¹ B_t], the Fisher information of the
displacements, is 2/M times the identity.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int

from bayestds.lattice_dynamics.covariance import translation_projector
from bayestds.lattice_dynamics.symmetry import BlockSymmetry
from bayestds.scattering.fluctuations import products


@dataclass(frozen=True, eq=False)
class Modes:
    """Orthonormal invariant G_s, each on the wave vectors of one star.

    Attributes:
        k_index: (n_modes, n_members) int, grid index of the wave vectors.
        blocks: (n_modes, n_members, 3n, 3n) G_s there; zero where a star has fewer members.
    """

    k_index: Int[np.ndarray, "n_modes n_members"]
    blocks: Complex[np.ndarray, "n_modes n_members size size"]


def fluctuation_modes(symmetry: BlockSymmetry, kept: np.ndarray) -> Modes:
    """Modes that are invariant under some of the operations; without rigid translations at k = 0.

    Args:
        symmetry: from :func:`block_symmetry`.
        kept: (n_ops,) bool, a subgroup.
    """
    operations = np.flatnonzero(kept)
    size = 3 * symmetry.supercell.crystal.n_atoms
    images = symmetry.images[operations]
    n_members = max(len(np.unique(column)) for column in images.T)
    rows, blocks = [], []
    for k in np.flatnonzero(images.min(axis=0) == np.arange(images.shape[1])):
        invariant = _invariant_blocks(symmetry, int(k), operations[images[:, k] == k], size)
        members, first = np.unique(images[:, k], return_index=True)
        moved = [symmetry.transform(operations[i], int(k), invariant) for i in first]
        padded = np.zeros((len(invariant), n_members, size, size), complex)
        padded[:, : len(members)] = np.stack(moved, axis=1) / np.sqrt(len(members))
        row = np.full(n_members, k)
        row[: len(members)] = members
        rows.append(np.broadcast_to(row, (len(invariant), n_members)))
        blocks.append(padded)
    return Modes(np.concatenate(rows), np.concatenate(blocks))


def _invariant_blocks(
    symmetry: BlockSymmetry, k_index: int, little_group: np.ndarray, size: int
) -> Complex[np.ndarray, "n size size"]:
    """Orthonormal basis of the Hermitian matrices that the little group of k leaves invariant."""
    basis = _hermitian_basis(size)
    allowed = np.eye(size) - (translation_projector(size // 3) if k_index == 0 else 0)
    basis_here = allowed @ basis @ allowed
    mean = sum(symmetry.transform(which, k_index, basis_here) for which in little_group) / len(little_group)
    projector = np.einsum("aij,bji->ab", basis, mean).real
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return np.tensordot(vectors[:, values > 0.5].T, basis, axes=1)


def _hermitian_basis(size: int) -> Complex[np.ndarray, "n size size"]:
    """Orthonormal real basis (size², size, size) of the Hermitian matrices."""
    unit = np.eye(size * size).reshape(-1, size, size)
    symmetric = (unit + unit.swapaxes(1, 2)) / 2
    antisymmetric = (unit - unit.swapaxes(1, 2)) / 2
    upper = np.triu_indices(size, 1)
    flat = np.ravel_multi_index(upper, (size, size))
    diagonal = unit[:: size + 1]
    return np.concatenate([diagonal, np.sqrt(2) * symmetric[flat], 1j * np.sqrt(2) * antisymmetric[flat]])


def square_roots(covariance: Complex[np.ndarray, "n_k size size"]) -> Complex[np.ndarray, "n_k size size"]:
    """C^½ of every block."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.conj().swapaxes(1, 2)


@dataclass(frozen=True, eq=False)
class Cosets:
    """How the modes act on the voxels that were averaged.

    The averages over orbits see only modes that are invariant under the operations which leave the set of
    voxels alone. The orbit of a point falls into as many parts as that subgroup has cosets.

    Attributes:
        modes: of the subgroup.
        inverses: (n_cosets,) int, the operation of the symmetry that undoes each coset's representative.
        shares: (n_q, n_cosets) share of each part in the average.
    """

    modes: Modes
    inverses: np.ndarray
    shares: np.ndarray


def find_cosets(symmetry: BlockSymmetry, shares: Float[np.ndarray, "n_q n_ops"]) -> Cosets:
    """Cosets of the subgroup of the Laue group that leaves the averaged voxels alone.

    Args:
        symmetry: of the supercell.
        shares: from ``orbit_shares`` with the rotations of the Laue group.
    """
    rotations = symmetry.supercell.crystal.laue_group
    table = products(rotations)
    kept = np.array([np.allclose(shares[:, column], shares) for column in table.T])
    representatives = table[:, kept].min(axis=1)
    laue = (symmetry.rotations[:, None] == rotations).all(axis=(-1, -2)).argmax(axis=1)
    cosets = np.unique(representatives)
    identity = (rotations == np.eye(3)).all(axis=(-1, -2)).argmax()
    inverses = [np.flatnonzero(table[c, laue] == identity)[0] for c in cosets]
    parts = np.stack([shares[:, representatives == c].sum(axis=1) for c in cosets], axis=1)
    return Cosets(fluctuation_modes(symmetry, kept[laue]), np.array(inverses), parts)


def transformed(symmetry: BlockSymmetry, modes: Modes, which: int | np.integer) -> Modes:
    """Modes under one operation."""
    blocks = np.empty_like(modes.blocks)
    for k in np.unique(modes.k_index):
        here = modes.k_index == k
        blocks[here] = symmetry.transform(which, int(k), modes.blocks[here])
    return Modes(symmetry.images[which][modes.k_index], blocks)
