"""Precision of data with correlated noise: independent, block by block and common parts in low rank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

SMALLEST_EIGENVALUE = 0.1
"""Directions of a block whose variance is below this share of the independent one are left out."""

SIZES = 4
"""Blocks are padded to this many different sizes."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Correlation:
    """Σ⁻¹ = S (1 - Σ_b V_b V_bᵀ - W Wᵀ) S of n_q correlated data; a pytree of constant arrays.

    Attributes:
        root: (n_q,) the diagonal of S, one over the standard deviation of the independent part.
        members: for each block size (n_blocks, size) int, the points of the blocks; n_q where padded.
        factors: for each block size (n_blocks, size, rank) the V_b.
        common: (n_q, n_common) W.
        row_sums: (n_q,) Σ⁻¹ 1.
    """

    root: Float[Array, " n_q"]
    members: tuple[Int[Array, "_ _"], ...]
    factors: tuple[Float[Array, "_ _ _"], ...]
    common: Float[Array, "n_q n_common"]
    row_sums: Float[Array, " n_q"]

    @property
    def degrees_of_freedom(self) -> Float[Array, ""]:
        """Expected χ² if the noise is that of blocks and common part, without the independent one."""
        return sum(((factor**2).sum() for factor in self.factors), start=(self.common**2).sum())

    def times(self, values: Float[Array, "n_q *columns"]) -> Float[Array, "n_q *columns"]:
        """Σ⁻¹ times values."""
        columns = self.root[:, None] * values.reshape(len(values), -1)
        reduced = _less_blocks(self.members, self.factors, columns)
        reduced -= self.common @ (self.common.T @ columns)
        return (self.root[:, None] * reduced).reshape(values.shape)

    def square(self, values: Float[Array, " n_q"]) -> Float[Array, ""]:
        """Valuesᵀ Σ⁻¹ values, as a difference of squares: every array is read once."""
        scaled = self.root * values
        total = (scaled**2).sum() - ((self.common.T @ scaled) ** 2).sum()
        for members, factors in zip(self.members, self.factors, strict=True):
            total -= (jnp.einsum("bsr,bs->br", factors, _gathered(scaled, members)) ** 2).sum()
        return total


def make_correlation(
    variance: Float[np.ndarray, " n_q"],
    members: Sequence[Int[np.ndarray, " _"]],
    factors: Sequence[Float[np.ndarray, "_ _"]],
    common: Float[np.ndarray, "n_q n_common"],
) -> Correlation:
    """Correlation of noise with the covariance diag(variance) + Σ_b L_b L_bᵀ + common commonᵀ.

    By Woodbury's identity, first for the blocks, then for the common part.

    Args:
        variance: of the independent part; positive.
        members: the points of each block, every point in one of them at most.
        factors: L_b (n_members, rank).
        common: columns of the common part.
    """
    root = 1 / np.sqrt(variance)
    scaled = [root[m, None] * factor for m, factor in zip(members, factors, strict=True)]
    places, padded = _padded(members, [_reduced(factor) for factor in scaled], len(root))
    relative = jnp.asarray(root[:, None] * common)
    reduced = _less_blocks(places, padded, relative)
    lower = jnp.linalg.cholesky(jnp.eye(common.shape[1]) + relative.T @ reduced)
    shared = jax.scipy.linalg.solve_triangular(lower, reduced.T, lower=True).T
    correlation = Correlation(jnp.asarray(root), places, padded, shared, jnp.zeros(len(root)))
    return replace(correlation, row_sums=correlation.times(jnp.ones(len(root))))


def _less_blocks(
    members: tuple[Array, ...], factors: tuple[Array, ...], columns: Float[Array, "n_q n"]
) -> Float[Array, "n_q n"]:
    """(1 - Σ_b V_b V_bᵀ) columns."""
    result = jnp.pad(columns, ((0, 1), (0, 0)))
    for place, factor in zip(members, factors, strict=True):
        projected = jnp.einsum("bsr,bsc->brc", factor, _gathered(columns, place))
        result = result.at[place].add(-jnp.einsum("bsr,brc->bsc", factor, projected))
    return result[:-1]


def _gathered(values: Float[Array, "n_q *n"], members: Int[Array, "b s"]) -> Float[Array, "b s *n"]:
    """Values at the members of each block, 0 where padded."""
    return jnp.pad(values, [(0, 1)] + [(0, 0)] * (values.ndim - 1))[members]


def _reduced(factor: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n rank"]:
    """V with 1 - V Vᵀ = (1 + L Lᵀ)⁻¹, less the directions of the smallest variance."""
    values, vectors = np.linalg.eigh(factor.T @ factor)
    large = values > SMALLEST_EIGENVALUE
    return factor @ vectors[:, large] / np.sqrt(1 + values[large])


def _padded(
    members: Sequence[np.ndarray], factors: list[np.ndarray], n_q: int
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Blocks of similar size side by side, padded."""
    sizes = np.array([len(m) for m in members])
    quantum = max(1, -(-sizes.max(initial=1) // SIZES))
    classes = -(-sizes // quantum)
    places, padded = [], []
    for number in np.unique(classes):
        chosen = np.flatnonzero(classes == number)
        size = sizes[chosen].max()
        rank = max(factors[b].shape[1] for b in chosen)
        place, factor = np.full((len(chosen), size), n_q), np.zeros((len(chosen), size, rank))
        for row, b in enumerate(chosen.tolist()):
            place[row, : sizes[b]] = members[b]
            factor[row, : sizes[b], : factors[b].shape[1]] = factors[b]
        places.append(jnp.asarray(place))
        padded.append(jnp.asarray(factor))
    return tuple(places), tuple(padded)
