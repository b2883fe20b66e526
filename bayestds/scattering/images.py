"""Shortest periodic images of pairs of atoms: what stands for the pairs of the infinite crystal."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.accumulation import sum_in_parts
from bayestds.crystal.supercell import Supercell

MOST_WAVES = 10_000_000
"""Waves that are held at once, 160 MB; more are made anew each time, in parts."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images of pairs (κ, κ', R).

    Attributes:
        pair: (n_images,) int, the pair of each.
        cells: (n_images, 3) int, R of the image, in primitive lattice vectors.
        shares: (n_images,) one over the number of images of the pair.
    """

    pair: Int[np.ndarray, " n_images"]
    cells: Int[np.ndarray, "n_images 3"]
    shares: Float[np.ndarray, " n_images"]


def images_of_pairs(supercell: Supercell, pairs: Int[np.ndarray, "n_pairs 5"]) -> Images:
    """All images of pairs (κ, κ', R) of a supercell that share the shortest length."""
    crystal = supercell.crystal
    offsets = crystal.bond_vectors(pairs) - pairs[:, 2:] @ crystal.lattice_vectors
    pair, bonds = supercell.shortest_images(pairs)
    cells = np.rint((bonds - offsets[pair]) @ np.linalg.inv(crystal.lattice_vectors)).astype(int)
    return Images(pair, cells, (1 / np.bincount(pair))[pair])


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Folding:
    """Sums of exp(iq·R) over the images of all cells of a supercell; a pytree of constant arrays.

    Attributes:
        sources: (n_images,) int, grid index of the cell of each.
        cells: (n_images, 3) R of the image, in primitive lattice vectors.
        shares: (n_images, n_atoms, n_atoms) of each image in the pair (κ, κ', R); mostly 0 or 1.
        q: (n_k, 3) wave vectors, in the reciprocal primitive lattice.
        waves: (2, n_images, n_k) cosine and sine of q·R; None if they are too many to keep.
    """

    sources: Int[Array, " n_images"]
    cells: Float[Array, "n_images 3"]
    shares: Float[Array, "n_images n_atoms n_atoms"]
    q: Float[Array, "n_k 3"]
    waves: Float[Array, "2 n_images n_k"] | None


def make_folding(supercell: Supercell, q: Float[np.ndarray, "n_k 3"]) -> Folding:
    """Sums over the images of all pairs of atoms of a supercell, each pair and its conjugate."""
    n_atoms = supercell.crystal.n_atoms
    atoms = np.stack(np.meshgrid(*[np.arange(n_atoms)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    source = np.repeat(np.arange(supercell.n_cells), len(atoms))
    atoms = np.tile(atoms, (supercell.n_cells, 1))
    images = images_of_pairs(supercell, np.column_stack([atoms, supercell.cells[source]]))
    where = np.column_stack([source[images.pair], images.cells])
    terms, term = np.unique(where, axis=0, return_inverse=True)
    shares = np.zeros((len(terms), n_atoms, n_atoms))
    np.add.at(shares, (term.ravel(), *atoms[images.pair].T), images.shares)
    cells, points = jnp.asarray(terms[:, 1:], float), jnp.asarray(q)
    waves = _waves(cells, points) if len(cells) * len(q) <= MOST_WAVES else None
    return Folding(jnp.asarray(terms[:, 0]), cells, jnp.asarray(shares), points, waves)


@jax.jit
def _waves(cells: Float[Array, "n_images 3"], q: Float[Array, "n_k 3"]) -> Float[Array, "2 n_images n_k"]:
    turns = 2 * jnp.pi * cells @ q.T
    return jnp.stack([jnp.cos(turns), jnp.sin(turns)])


def folded(
    folding: Folding, values: Float[Array, "n_cells n_atoms n_atoms n"]
) -> Complex[Array, "n_k n_atoms n_atoms n"]:
    """Σ exp(iq·R) values(R) over the images of all cells, of values at every R of the supercell."""
    n_k, n_images = len(folding.q), len(folding.sources)
    weighted = (values[folding.sources] * folding.shares[..., None]).reshape(n_images, -1).T

    def summed(some: Array, waves: Array) -> Array:
        return jax.lax.complex(some @ waves[0], some @ waves[1])

    if folding.waves is not None:
        found = summed(weighted, folding.waves)
    else:
        n_chunks = -(-n_k * n_images // MOST_WAVES)
        padding = -n_images % n_chunks
        parts = jnp.pad(weighted, ((0, 0), (0, padding))).reshape(len(weighted), n_chunks, -1).swapaxes(0, 1)
        cells = jnp.pad(folding.cells, ((0, padding), (0, 0))).reshape(n_chunks, -1, 3)
        found = sum_in_parts(lambda some, there: summed(some, _waves(there, folding.q)), parts, cells)
    return found.T.reshape(n_k, *values.shape[1:])
