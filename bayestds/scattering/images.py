"""Shortest periodic images of pairs of atoms: what stands for the pairs of the infinite crystal."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.lattice_dynamics.third_cumulant import sum_over_nodes

TERMS_AT_ONCE = 2**21
"""Waves that are held at once, 32 MiB."""


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
    """Images of all cells of a supercell, for sums of exp(iq·R) over them; a pytree of constant arrays.

    Attributes:
        sources: (n_images,) int, grid index of the cell of each.
        cells: (n_images, 3) R of the image, in primitive lattice vectors.
        shares: (n_images, n_atoms, n_atoms) of each image in the pair (κ, κ', R); mostly 0 or 1.
    """

    sources: Int[Array, " n_images"]
    cells: Float[Array, "n_images 3"]
    shares: Float[Array, "n_images n_atoms n_atoms"]


def make_folding(supercell: Supercell) -> Folding:
    """Images of all pairs of atoms of a supercell, each pair and its conjugate."""
    n_atoms = supercell.crystal.n_atoms
    atoms = np.stack(np.meshgrid(*[np.arange(n_atoms)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    source = np.repeat(np.arange(supercell.n_cells), len(atoms))
    atoms = np.tile(atoms, (supercell.n_cells, 1))
    images = images_of_pairs(supercell, np.column_stack([atoms, supercell.cells[source]]))
    where = np.column_stack([source[images.pair], images.cells])
    terms, term = np.unique(where, axis=0, return_inverse=True)
    shares = np.zeros((len(terms), n_atoms, n_atoms))
    np.add.at(shares, (term.ravel(), *atoms[images.pair].T), images.shares)
    return Folding(jnp.asarray(terms[:, 0]), jnp.asarray(terms[:, 1:], float), jnp.asarray(shares))


def folded(
    folding: Folding, field: Float[Array, "n_cells n_atoms n_atoms n"], q: Float[Array, "n_k 3"]
) -> Complex[Array, "n_k n_atoms n_atoms n"]:
    """Σ exp(iq·R) field(R) over the images of all cells.

    Args:
        folding: from :func:`make_folding`.
        field: at every R of the supercell.
        q: in the reciprocal primitive lattice.
    """
    n_k, n_images = len(q), len(folding.sources)
    weighted = field[folding.sources] * folding.shares[..., None]
    n_chunks = -(-n_k * n_images // TERMS_AT_ONCE)
    padding = -n_images % n_chunks
    values = jnp.pad(weighted.reshape(n_images, -1), ((0, padding), (0, 0))).reshape(
        n_chunks, -1, weighted[0].size
    )
    cells = jnp.pad(folding.cells, ((0, padding), (0, 0))).reshape(n_chunks, -1, 3)

    def of_chunk(chunk: tuple[Array, Array]) -> Array:
        of_cells, there = chunk
        turns = 2 * jnp.pi * q @ there.T
        return jax.lax.complex(jnp.cos(turns) @ of_cells, jnp.sin(turns) @ of_cells)

    return sum_over_nodes(of_chunk, (values, cells)).reshape(n_k, *field.shape[1:])
