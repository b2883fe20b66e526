"""Periodic supercells of the primitive cell and their commensurate wave vectors, on an FFT grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayestds.crystal.axes import GridAxes
from bayestds.crystal.structure import Crystal
from bayestds.errors import CrystalError
from bayestds.memory import too_much

COMMENSURATE = 1e-3
"""Largest distance from a commensurate wave vector, in units of the supercell's reciprocal vectors."""


def smith_normal_form(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unimodular U, V and positive diagonal D with U @ matrix @ V = diag(D), for a (3, 3) int matrix.

    The invariant factors divide each other in turn.

    Raises:
        CrystalError: the matrix is singular.
    """
    d = np.array(matrix, dtype=object)
    size = len(d)
    u, v = np.eye(size, dtype=object), np.eye(size, dtype=object)
    for step in range(size):
        while True:
            rest = [(abs(d[i, j]), i, j) for i in range(step, size) for j in range(step, size) if d[i, j]]
            if not rest:
                raise CrystalError(
                    "The supercell matrix is singular.",
                    f"{np.asarray(matrix).tolist()} has determinant 0.",
                    "Give three independent supercell vectors.",
                )
            _, i, j = min(rest)
            d[[step, i]], u[[step, i]] = d[[i, step]], u[[i, step]]
            d[:, [step, j]], v[:, [step, j]] = d[:, [j, step]], v[:, [j, step]]
            for row in range(step + 1, size):
                factor = d[row, step] // d[step, step]
                d[row], u[row] = d[row] - factor * d[step], u[row] - factor * u[step]
            for column in range(step + 1, size):
                factor = d[step, column] // d[step, step]
                d[:, column], v[:, column] = (
                    d[:, column] - factor * d[:, step],
                    v[:, column] - factor * v[:, step],
                )
            if any(d[step + 1 :, step]) or any(d[step, step + 1 :]):
                continue
            indivisible = [row for row in range(step + 1, size) if any(d[row] % d[step, step])]
            if not indivisible:
                break
            d[step], u[step] = d[step] + d[indivisible[0]], u[step] + u[indivisible[0]]
        if d[step, step] < 0:
            d[step], u[step] = -d[step], -u[step]
    return u.astype(int), d.diagonal().astype(int), v.astype(int)


@dataclass(frozen=True, eq=False)
class Supercell:
    """A periodic supercell; its primitive cells and wave vectors each fill one FFT grid.

    Cell t (in primitive vectors) has grid index (t @ V) mod D, and wave vector k has index
    (U @ S @ k) mod D, where U S V = diag(D) is the Smith normal form of the supercell matrix S.

    Attributes:
        crystal: the crystal.
        matrix: (3, 3) int, supercell vectors = matrix @ primitive vectors.
        grid_shape: the invariant factors D.
        left, right: the unimodular U and V.
    """

    crystal: Crystal
    matrix: np.ndarray
    grid_shape: tuple[int, int, int]
    left: np.ndarray
    right: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of primitive cells, and of commensurate wave vectors."""
        return int(np.prod(self.grid_shape))

    @property
    def lattice_vectors(self) -> np.ndarray:
        """Supercell vectors (3, 3), Å, one a row."""
        return self.matrix @ self.crystal.lattice_vectors

    @property
    def _grid(self) -> np.ndarray:
        return np.stack(np.unravel_index(np.arange(self.n_cells), self.grid_shape), axis=-1)

    @property
    def cells(self) -> np.ndarray:
        """Primitive cells (n_cells, 3) int of the supercell, in the order of the grid."""
        return self._grid @ np.rint(np.linalg.inv(self.right)).astype(int)

    @property
    def k_points(self) -> np.ndarray:
        """Commensurate wave vectors (n_cells, 3), fractional in the primitive reciprocal cell."""
        return (self._grid / np.array(self.grid_shape)) @ self.right.T

    def cell_index(self, cells: np.ndarray) -> np.ndarray:
        """Flat grid index (...,) of primitive cells (..., 3) int, modulo the supercell."""
        grid = np.moveaxis((np.asarray(cells) @ self.right) % self.grid_shape, -1, 0)
        return np.ravel_multi_index(tuple(grid), self.grid_shape)

    def phases(self, k_index: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """exp(ik·R) (n_k, n_cells) for grid indices k_index (n_k,) and cells (n_cells,), from a table."""
        # The last invariant factor is a multiple of the others, so every phase is one of its roots of unity.
        period = self.grid_shape[-1]
        waves = self._grid[k_index] * (period // np.array(self.grid_shape))
        roots = np.exp(2j * np.pi * np.arange(period) / period)
        return roots[(waves @ self._grid[cells].T) % period]

    @property
    def _to_waves(self) -> np.ndarray:
        """Maps rows of conventional r.l.u. to what is integer for commensurate points."""
        return np.linalg.inv(self.crystal.conventional_matrix).T @ self.matrix.T

    def snap(self, q_points: np.ndarray) -> np.ndarray:
        """The nearest commensurate points to q_points (n_q, 3), conventional r.l.u."""
        return np.linalg.solve(self._to_waves.T, np.rint(np.asarray(q_points) @ self._to_waves).T).T

    def k_index(self, q_points: np.ndarray, tolerance: float = COMMENSURATE) -> np.ndarray:
        """Flat grid index (n_q,) of q_points (n_q, 3) in conventional r.l.u., modulo the lattice.

        Points that are not commensurate with the supercell get -1.
        """
        waves = np.asarray(q_points) @ self._to_waves
        rounded = np.rint(waves).astype(int)
        grid = np.moveaxis((rounded @ self.left.T) % self.grid_shape, -1, 0)
        index = np.ravel_multi_index(tuple(grid), self.grid_shape)
        return np.where(np.abs(waves - rounded).max(axis=-1) > tolerance, -1, index)

    def k_images(self, rotations: np.ndarray) -> np.ndarray:
        """Grid index (n_ops, n_k) of all k @ rotation, for rotations (n_ops, 3, 3) of primitive coordinates.

        A rotation that takes wave vectors to others that are not commensurate has -1.
        """
        size = np.array(self.grid_shape)
        turned = (self.right.T / size[:, None]) @ rotations @ (np.linalg.inv(self.right.T) * size)
        on_grid = np.rint(turned).astype(int)
        fits = np.abs(turned - on_grid).max(axis=(1, 2)) < COMMENSURATE
        images = np.full((len(rotations), self.n_cells), -1)
        for row in np.flatnonzero(fits):
            grid = (self._grid @ on_grid[row]) % self.grid_shape
            images[row] = np.ravel_multi_index(tuple(grid.T), self.grid_shape)
        return images

    def k_index_of_grid(self, axes: GridAxes) -> np.ndarray:
        """The same of all points (n_1, n_2, n_3) of a grid with these axes, in fewer steps."""
        waves = [axes.sums(column) for column in self._to_waves.T]
        rounded = [np.rint(wave).astype(int) for wave in waves]
        index = np.zeros((1, 1, 1), dtype=int)
        for row, size in zip(self.left, self.grid_shape, strict=True):
            place = sum((int(n) * wave for n, wave in zip(row, rounded, strict=True) if n), start=0 * index)
            index = index * size + place % size
        index = np.array(np.broadcast_to(index, axes.shape))
        for wave, nearest in zip(waves, rounded, strict=True):
            index[np.broadcast_to(np.abs(wave - nearest) > COMMENSURATE, index.shape)] = -1
        return index

    def nearest_images(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shortest periodic images of pairs (n_pairs, 5) int as (κ, κ', R).

        Returns:
            the smallest length of R + τ_κ - τ_κ' modulo the supercell (n_pairs,), Å, and the number of
            images that share it (n_pairs,) int.
        """
        _, lengths = self._images(pairs)
        shortest = lengths.min(axis=1)
        return shortest, (lengths < shortest[:, None] + 1e-4).sum(axis=1)

    def shortest_images(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All shortest periodic images of pairs (n_pairs, 5) int as (κ, κ', R).

        Returns:
            the pair that each image belongs to (n_images,) int, and its R + τ_κ - τ_κ' (n_images, 3), Å.
        """
        bonds, lengths = self._images(pairs)
        pair, image = np.nonzero(lengths < lengths.min(axis=1, keepdims=True) + 1e-4)
        return pair, bonds[pair, image]

    def _images(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n_pairs, n_images, 3) Å of pairs, the shortest among them, and their lengths."""
        bonds = self.crystal.bond_vectors(pairs)
        # Two cells each way are enough only for a reduced basis, so reduce the supercell lattice first.
        lattice = _reduced(self.lattice_vectors)
        fractional = bonds @ np.linalg.inv(lattice)
        bonds = (fractional - np.rint(fractional)) @ lattice
        steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        images = bonds[:, None] + steps @ lattice
        return images, np.linalg.norm(images, axis=-1)


def _reduced(lattice: np.ndarray) -> np.ndarray:
    """A reduced basis of a lattice: pairs of vectors are shortened until none gets shorter."""
    lattice = lattice.copy()
    while True:
        before = np.linalg.norm(lattice, axis=1).sum()
        for i in range(3):
            for j in range(3):
                if i != j:
                    lattice[i] -= np.rint(lattice[i] @ lattice[j] / (lattice[j] @ lattice[j])) * lattice[j]
        if np.linalg.norm(lattice, axis=1).sum() > before - 1e-9:
            return lattice


def make_supercell(crystal: Crystal, matrix: Sequence | np.ndarray) -> Supercell:
    """Supercell of the *conventional* cell: three multiples, or a (3, 3) int matrix.

    Raises:
        CrystalError: the matrix is not integer or singular, or the supercell does not fit into memory.
    """
    given = np.asarray(matrix)
    given = np.diag(given) if given.ndim == 1 else given
    if given.shape != (3, 3) or not np.array_equal(given, np.rint(given)):
        raise CrystalError(
            f"A supercell of {np.asarray(matrix).tolist()} cannot be made.",
            "Three whole numbers or a 3x3 matrix of them are expected.",
            "For example [5, 5, 5].",
        )
    n_cells = abs(np.linalg.det(given.astype(float)) * np.linalg.det(crystal.conventional_matrix))
    # The complex blocks Φ(k) (n_k, 3n, 3n), of which every computation makes several.
    if reason := too_much(16 * 9 * crystal.n_atoms**2 * n_cells):
        raise CrystalError(
            f"A supercell of {given.astype(int).tolist()} has {n_cells:.3g} primitive cells.",
            reason,
            "Make it smaller: it need only hold the wave vectors that are measured.",
        )
    primitive = np.rint(given).astype(int) @ crystal.conventional_matrix
    left, diagonal, right = smith_normal_form(primitive)
    a, b, c = diagonal.tolist()
    return Supercell(crystal, primitive, (a, b, c), left, right)
