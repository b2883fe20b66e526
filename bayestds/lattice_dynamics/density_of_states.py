"""Density of phonon states by linear tetrahedra."""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from bayestds.crystal.structure import Crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.phonons import frequencies

MESH_SPACING = 0.15
"""Distance between the wave vectors of the default mesh, Å⁻¹."""

IN_CACHE = 1000
"""Tetrahedra that are worked through at once: twice as fast as all of them."""


def density_of_states(
    irreducible: IrreducibleForceConstants,
    values: np.ndarray,
    edges: np.ndarray,
    mesh: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """Phonon density of states (..., n_bins): mean over each bin, modes per THz and primitive cell.

    Frequencies are interpolated linearly in tetrahedra of the mesh, and the interpolation is integrated
    exactly: over bins that hold all frequencies the integral is 3 n_atoms.

    Args:
        irreducible: what the values mean.
        values: (..., n_irreducible) eV/Å².
        edges: (n_bins + 1,) of the bins, THz, ascending; what lies beyond them is left out.
        mesh: divisions of the primitive reciprocal vectors; by default no farther apart than MESH_SPACING.
    """
    tetrahedra = make_tetrahedra(irreducible.crystal, mesh or default_mesh(irreducible.crystal))
    return mean_density(tetrahedra, frequencies(irreducible, values, tetrahedra.q_points), edges)


def default_mesh(crystal: Crystal) -> tuple[int, int, int]:
    """Divisions of the primitive reciprocal vectors, equal for vectors of equal length."""
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.lattice_vectors), axis=0)
    first, second, third = np.ceil(np.round(lengths / MESH_SPACING, 6)).astype(int).tolist()
    return first, second, third


@dataclass(frozen=True, eq=False)
class Tetrahedra:
    """A mesh of the Brillouin zone, cut into tetrahedra; what symmetry makes equal appears once.

    Attributes:
        q_points: (n_q, 3) conventional r.l.u.
        corners: (n_tetrahedra, 4) int, which of them are the corners.
        weights: (n_tetrahedra,) shares of the zone; they sum to 1.
    """

    q_points: np.ndarray
    corners: np.ndarray
    weights: np.ndarray


def make_tetrahedra(crystal: Crystal, mesh: tuple[int, int, int]) -> Tetrahedra:
    """Six tetrahedra about the shortest diagonal of each cell of a mesh.

    Blöchl, Jepsen, Andersen, Phys. Rev. B 49 (1994) 16223.

    Args:
        crystal: the crystal.
        mesh: divisions of the primitive reciprocal vectors; Γ is on the mesh.
    """
    shape = np.array(mesh)
    points = np.stack(np.meshgrid(*map(np.arange, mesh), indexing="ij"), axis=-1).reshape(-1, 3)
    representative = np.arange(len(points))
    for rotation in _mesh_rotations(crystal, shape):
        images = np.ravel_multi_index(((points @ rotation) % shape).T, mesh)
        representative = np.minimum(representative, images)
    kept, index = np.unique(representative, return_inverse=True)
    steps = np.array(list(permutations(_shortest_diagonal(crystal, shape))))
    offsets = np.concatenate([np.zeros((6, 1, 3), dtype=int), np.cumsum(steps, axis=1)], axis=1)
    corners = index[np.ravel_multi_index(np.moveaxis((points[:, None, None] + offsets) % shape, -1, 0), mesh)]
    found, counts = np.unique(np.sort(corners.reshape(-1, 4), axis=1), axis=0, return_counts=True)
    q_points = points[kept] / shape @ crystal.conventional_matrix.T
    return Tetrahedra(q_points, found, counts / counts.sum())


def mean_density(tetrahedra: Tetrahedra, found: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density (..., n_bins), mean over each bin, of frequencies (..., n_q, n_branches) on a mesh."""
    edges, n_branches = np.asarray(edges, dtype=float), found.shape[-1]
    flat = found.reshape(-1, *found.shape[-2:])
    below = n_branches * np.array([_below(tetrahedra, one, edges) for one in flat])
    return (np.diff(below, axis=-1) / np.diff(edges)).reshape(*found.shape[:-2], len(edges) - 1)


def _mesh_rotations(crystal: Crystal, shape: np.ndarray) -> np.ndarray:
    """Laue rotations (n, 3, 3) int that keep a mesh, acting on rows of mesh indices."""
    matrix = crystal.conventional_matrix
    primitive = np.linalg.inv(matrix).T
    rotations = matrix.T @ crystal.laue_group @ primitive
    on_mesh = rotations / shape[:, None] * shape
    whole = np.abs(on_mesh - np.rint(on_mesh)).max(axis=(1, 2)) < 1e-6
    return np.rint(on_mesh[whole]).astype(int)


def _shortest_diagonal(crystal: Crystal, shape: np.ndarray) -> np.ndarray:
    """Steps ±1 along the three axes of a mesh, one a row, (3, 3) int, that together are the shortest."""
    vectors = np.linalg.inv(crystal.lattice_vectors).T / shape[:, None]
    signs = np.array(list(product((1, -1), repeat=3)))
    return np.diag(signs[np.round(np.linalg.norm(signs @ vectors, axis=1), 9).argmin()])


def _below(tetrahedra: Tetrahedra, found: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share (n_edges,) of all modes with frequencies (n_q, n_branches) below each edge."""
    corners = np.sort(found[tetrahedra.corners], axis=1).transpose(1, 0, 2).reshape(4, -1)
    weights = np.repeat(tetrahedra.weights, found.shape[1]) / found.shape[1]
    below = np.zeros(len(edges))
    for start in range(0, len(weights), IN_CACHE):
        some, weight = corners[:, start : start + IN_CACHE], weights[start : start + IN_CACHE]
        first, last = (np.searchsorted(edges, corner, side="right") for corner in (some[0], some[3]))
        below += np.cumsum(np.bincount(last, weight, len(edges) + 1)[:-1])
        # Every edge within a tetrahedron, one after the other.
        inside = last - first
        owner = np.repeat(np.arange(len(inside)), inside)
        edge = np.arange(len(owner)) - np.repeat(np.cumsum(inside) - inside, inside) + first[owner]
        below += np.bincount(edge, weight[owner] * _share_below(some[:, owner], edges[edge]), len(edges))
    return below


def _share_below(corners: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Share (n,) of a tetrahedron where a linear function is below a level (n,) between its extremes.

    The function is given by its values at the corners, ascending, (4, n). Equations B1 to B3 of that paper.
    """
    a, b, c, d = corners
    above, x, below = level - a, level - b, d - level
    low = above * above * above / _divisor((b - a) * (c - a) * (d - a))
    high = 1 - below * below * below / _divisor((d - a) * (d - b) * (d - c))
    cubic = (c - a + d - b) * x * x * x / _divisor((c - b) * (d - b))
    middle = ((b - a) ** 2 + 3 * x * (level - a) - cubic) / _divisor((c - a) * (d - a))
    return np.where(level < b, low, np.where(level < c, middle, high))


def _divisor(product: np.ndarray) -> np.ndarray:
    """A product of differences, 1 where it is 0: that piece of the formula is then not used."""
    return np.where(product > 0, product, 1)
