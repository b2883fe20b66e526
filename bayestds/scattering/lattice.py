"""Polynomials in Q = k + G: the points of all k share one list of reciprocal lattice vectors G.

A polynomial in Q whose coefficients depend on k is one in G whose coefficients do, p(k + G) = exp(k·∇) p(G).
Its values at all k and G are then one product of two matrices, coefficients by k and monomials by G, which
costs a fraction of making, or only of reading, the monomials of every Q. It does not pay where few of all
sums of k and G are points, nor with many atoms.
"""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.monomials import exponents
from bayestds.scattering.blocks import Blocks

MOST_ATOMS = 2
"""With more in the cell, products with monomials of every Q, which all rows share, are faster (measured)."""

LARGEST_EXCESS = 8
"""Pairs (k, G) for each point up to which values at all of them are faster than at the points (measured)."""

MOST_VALUES = 5e7
"""Values at all pairs (k, G) that are held at once, 0.4 GiB; where there are more, points are taken alone."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LatticePoints:
    """Q points as sums of k and G; a pytree of constant arrays.

    Attributes:
        origins: (3, n_k) the shortest k, Å⁻¹.
        monomials: (n_all, n_g) all products of components of G.
        place: (n_groups, n_blocks, block_size) int, which of all pairs (G, k) each place of the blocks is.
    """

    origins: Float[Array, "3 n_k"]
    monomials: Float[Array, "n_all n_g"]
    place: Int[Array, "n_groups n_blocks block_size"]


def make_lattice(
    supercell: Supercell, q_points: Float[np.ndarray, "n_q 3"], blocks: Blocks, degree: int
) -> LatticePoints | None:
    """Q points as sums of k and G, or None where their own monomials are faster.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u., commensurate.
        blocks: of these points.
        degree: highest one of the monomials.
    """
    crystal = supercell.crystal
    if crystal.n_atoms > MOST_ATOMS:
        return None
    to_conventional = crystal.conventional_matrix.T
    waves = supercell.k_points[blocks.k_points]
    images = (waves - np.rint(waves))[:, None] + np.array(list(np.ndindex(3, 3, 3))) - 1
    lengths = np.linalg.norm(crystal.scattering_vectors(images @ to_conventional), axis=-1)
    waves = np.take_along_axis(images, lengths.argmin(axis=1)[:, None, None], axis=1)[:, 0]
    k_of_point = np.empty(len(q_points), dtype=int)
    used = blocks.points >= 0
    k_of_point[blocks.points[used]] = np.repeat(blocks.k_of_block, used.sum(axis=-1).ravel())
    steps = np.rint(q_points @ np.linalg.inv(to_conventional) - waves[k_of_point]).astype(int)
    lattice, g_of_point = np.unique(steps, axis=0, return_inverse=True)
    n_sums = len(waves) * len(lattice)
    if n_sums > LARGEST_EXCESS * len(q_points) or n_sums * crystal.n_atoms**2 > MOST_VALUES:
        return None
    # The last is that of the padded places, whose point is -1.
    place = np.append(g_of_point.reshape(-1) * len(waves) + k_of_point, 0)
    origins, vectors = (crystal.scattering_vectors(x @ to_conventional).T for x in (waves, lattice))
    return LatticePoints(
        jnp.asarray(origins), jnp.asarray(_all_monomials(vectors, degree)), jnp.asarray(place[blocks.points])
    )


def _all_monomials(vectors: Float[np.ndarray, "3 n"], degree: int) -> Float[np.ndarray, "n_monomials n"]:
    """All products of vector components of degree 0, 1, ..., degree."""
    powers = np.stack([vectors**n for n in range(degree + 1)])
    x, y, z = np.array([e for n in range(degree + 1) for e in exponents(n)]).T
    return np.asarray(powers[x, 0] * powers[y, 1] * powers[z, 2])


@cache
def _gradient(degree: int) -> Float[np.ndarray, "n_lower_3 n_monomials"]:
    """The three derivatives of each monomial, on those of one degree less."""
    lower, monomials = exponents(degree - 1), exponents(degree)
    index = {powers: m for m, powers in enumerate(monomials)}
    table = np.zeros((3, len(lower), len(monomials)))
    for axis, row in np.ndindex(table.shape[:2]):
        above = tuple(power + (i == axis) for i, power in enumerate(lower[row]))
        table[axis, row, index[above]] = above[axis]
    return table.reshape(-1, len(monomials))


def translated(
    coefficients: dict[int, Float[Array, "_ n_rows n_k"]], origins: Float[Array, "3 n_k"]
) -> Float[Array, "n_all n_rows n_k"]:
    """Coefficients in G of polynomials in k + G, on the monomials of degree 0, 1, ....

    Args:
        coefficients: of each degree in Q that occurs, on ``monomials.exponents``.
        origins: k.
    """
    found = []
    # Derivatives along k by now, (k·∇)ⁿ/n!, one for each degree that they started from.
    terms, sources = None, np.zeros(0)
    for degree in range(max(coefficients), -1, -1):
        if degree in coefficients:
            started = coefficients[degree][:, None]
            terms = started if terms is None else jnp.concatenate([terms, started], axis=1)
            sources = np.append(sources, degree)
        assert terms is not None
        found.append(terms.sum(axis=1))
        if degree:
            slopes = jnp.tensordot(_gradient(degree), terms, axes=1).reshape(3, -1, *terms.shape[1:])
            count = (sources - (degree - 1))[:, None, None]
            terms = (slopes * origins[:, None, None, None]).sum(axis=0) / count
    return jnp.concatenate(found[::-1])


def values(
    points: LatticePoints, coefficients: dict[int, Float[Array, "_ n_rows n_k"]]
) -> Float[Array, "n_groups n_rows n_blocks block_size"]:
    """Values of polynomials in Q at the points of every block.

    Args:
        points: where.
        coefficients: as those of :func:`translated`.
    """
    by_k = translated(coefficients, points.origins)
    # Rows last: so they are taken, and in the transpose added, together.
    found = jnp.einsum("mg,mrk->gkr", points.monomials[: len(by_k)], by_k)
    found = found.reshape(-1, found.shape[-1]).at[points.place].get(mode="promise_in_bounds")
    return jnp.moveaxis(found, -1, 1)
