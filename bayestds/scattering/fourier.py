"""Fourier sums over R of what the far pairs of atoms have in each phonon order, at the distinct k.

A pair counts in every order up to a highest one, which is lower the farther it is. Low orders, in which most
pairs count, are summed by fast Fourier transforms; high ones, or all where k are few, as products with a
matrix of waves, over the cells that have them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float, Int

from bayestds.accumulation import sum_in_parts
from bayestds.crystal.structure import kind_of_pair, pair_kinds
from bayestds.crystal.supercell import Supercell
from bayestds.scattering.pairs import PairTable
from bayestds.scattering.polynomials import n_monomials

FEW_WAVES = 80
"""Up to so many products with waves for each cell and kind these are faster than transforms (measured)."""

NUMBERS_AT_ONCE = 2**17
"""Coefficients of the series that are held at once where sums are direct, 1 MiB: they stay in the cache."""

Series = Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
"""What is summed: a function of arrays (..., n_cells) and of the weights of each order, (n_kinds, n_cells),
that gives the terms of each order, (n_monomials, n_kinds, n_cells)."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DirectSums:
    """Cells of one highest order, in chunks; a pytree of constant arrays.

    Attributes:
        cells: (n_chunks, n_cells) int; those of the padding have no waves.
        weights: (n_chunks, n_orders, n_kinds, n_cells) those of the far pairs in each order that is not
            transformed.
        waves: (n_chunks, 2, n_cells, n_k) cosine and sine of k·R.
    """

    cells: Int[Array, "*n_chunks n_cells"]
    weights: Float[Array, "*n_chunks n_orders n_kinds n_cells"]
    waves: Float[Array, "*n_chunks 2 n_cells n_k"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FourierSums:
    """Where, and with which weights, the sums are taken; a pytree of constant arrays.

    Attributes:
        k_points: (n_k,) int, grid index of the distinct k.
        factors: (n_kinds, n_cells) of all pairs in the lattice sum: the window, times 2 where a kind κ < κ'
            stands for its conjugate κ' > κ as well.
        weights: (n_kinds, n_cells) those of the far pairs; 0 of near ones.
        direct: of the cells with pairs in orders that are not transformed, by their highest order, ascending.
        n_transformed: orders up to this are transformed.
        grid_shape: FFT grid of the supercell.
        n_atoms: atoms in the primitive cell.
    """

    k_points: Int[Array, " n_k"]
    factors: Float[Array, "n_kinds n_cells"]
    weights: Float[Array, "n_kinds n_cells"]
    direct: tuple[DirectSums, ...]
    n_transformed: int = field(metadata={"static": True})
    grid_shape: tuple[int, int, int] = field(metadata={"static": True})
    n_atoms: int = field(metadata={"static": True})


def make_sums(
    supercell: Supercell,
    pairs: PairTable,
    k_points: Int[np.ndarray, " n_k"],
    window: Float[np.ndarray, " n_cells"],
    n_near: int,
    reach: tuple[int, ...],
) -> FourierSums:
    """Sums at some k.

    Args:
        supercell: the periodic supercell.
        pairs: all of its pairs.
        k_points: grid index of each k.
        window: factors of the cells in the lattice sum.
        n_near: number of near pairs, shortest first.
        reach: number of pairs, shortest first and the near ones included, that count in each order.
    """
    n_atoms = supercell.crystal.n_atoms
    kinds = pair_kinds(n_atoms)
    orders = _highest_orders(supercell, pairs, kinds, n_near, reach)
    factors = window * np.where(kinds[:, :1] == kinds[:, 1:], 1, 2)
    highest, n_cells = orders.max(axis=0), supercell.n_cells
    # The first order has all cells: the part of the Bragg peaks, the same at all R, is summed with it.
    in_order = [n_cells] + [int(np.count_nonzero(highest >= n)) for n in range(2, len(reach) + 1)]
    products = len(k_points) * n_atoms**2 / len(kinds)
    n_transformed = int(np.count_nonzero(np.array(in_order) * products > FEW_WAVES * n_cells))
    # Cells whose pairs are all near count in the first order, see above.
    highest = np.maximum(highest, 1)
    direct = []
    for order in np.unique(highest[highest > n_transformed]):
        cells = np.flatnonzero(highest == order)
        counts = orders[:, cells] >= np.arange(n_transformed + 1, order + 1)[:, None, None]
        phases = supercell.phases(k_points, cells).T
        direct.append(make_direct_sums(cells, factors[:, cells] * counts, phases, int(order)))
    return FourierSums(
        jnp.asarray(k_points),
        jnp.asarray(factors),
        jnp.asarray(factors * (orders > 0)),
        tuple(direct),
        n_transformed,
        supercell.grid_shape,
        n_atoms,
    )


def make_direct_sums(
    cells: Int[np.ndarray, " n_cells"],
    weights: Float[np.ndarray, "n_orders n_kinds n_cells"],
    phases: Complex[np.ndarray, "n_cells n_k"],
    highest: int,
) -> DirectSums:
    """Direct sums over some cells, which have the same highest order, in chunks that fit the cache.

    Args:
        cells: grid index of each; periodic images of one may be several.
        weights: of the pairs in each order that is not transformed.
        phases: exp(ik·R).
        highest: order.
    """
    numbers = n_monomials(range(2, 2 * highest + 1, 2)) * weights.shape[1] * len(cells)
    n_chunks = -(-numbers // NUMBERS_AT_ONCE)
    padding = -len(cells) % n_chunks
    waves = np.pad(np.stack([phases.real, phases.imag]), ((0, 0), (0, padding), (0, 0)))

    def in_chunks(array: np.ndarray, axis: int) -> Array:
        shape = (*array.shape[:axis], n_chunks, -1, *array.shape[axis + 1 :])
        return jnp.asarray(np.moveaxis(array.reshape(shape), axis, 0))

    padded = np.pad(cells, (0, padding), mode="edge")
    weights = np.pad(weights, ((0, 0), (0, 0), (0, padding)), mode="edge")
    return DirectSums(in_chunks(padded, 0), in_chunks(weights, 2), in_chunks(waves, 1))


def _highest_orders(
    supercell: Supercell, pairs: PairTable, kinds: np.ndarray, n_near: int, reach: tuple[int, ...]
) -> Int[np.ndarray, "n_kinds n_cells"]:
    """Highest phonon order of every pair; 0 of near ones."""
    rank = np.arange(len(pairs.cells))
    order = (rank[:, None] < np.array(reach, dtype=int)).sum(axis=1) * (rank >= n_near)
    kind = kind_of_pair(supercell.crystal.n_atoms)[pairs.atoms[:, 0], pairs.atoms[:, 1]]
    same = pairs.atoms[:, 0] == pairs.atoms[:, 1]
    found = np.empty((len(kinds), supercell.n_cells), dtype=int)
    found[kind, pairs.cells] = order
    # The conjugates of pairs with κ = κ' are pairs of the same kind.
    opposite = supercell.cell_index(-supercell.cells[pairs.cells[same]])
    found[kind[same], opposite] = order[same]
    return found


def fourier_sums(
    sums: FourierSums, series: Series, arrays: tuple[Array, ...], turned: bool = False
) -> list[Float[Array, "_ n_rows n_k"]]:
    """Σ_R exp(ik·R) series(R) of each order, in rows: real parts, then imaginary ones.

    The rows are those of :func:`bayestds.crystal.structure.pair_kinds`; an atom with its own images has no
    imaginary one, because the sum over R and -R is real.

    Args:
        sums: where.
        series: what.
        arrays: of all cells, from which the series is made.
        turned: times i.
    """
    found = []
    if sums.n_transformed:
        for total in _sums_by_plane(sums, series, arrays):
            total = 1j * total if turned else total
            found.append(jnp.concatenate([total.real, total[:, sums.n_atoms :].imag], axis=1))
    return found + direct_sums(sums, series, arrays, turned)


def direct_sums(
    sums: FourierSums, series: Series, arrays: tuple[Array, ...], turned: bool = False
) -> list[Float[Array, "_ n_rows n_k"]]:
    """Those of the orders that are not transformed; see :func:`fourier_sums`."""
    n_transformed, n_atoms = sums.n_transformed, sums.n_atoms

    def of_chunk(chunk: DirectSums, there: tuple[Array, ...]) -> list[Array]:
        weights = tuple(chunk.weights)
        terms = series(there, (weights[0],) * n_transformed + weights)[n_transformed:]
        cosine, sine = chunk.waves
        real, imaginary = (-sine, cosine) if turned else (cosine, sine)
        return [jnp.concatenate([x @ real, x[:, n_atoms:] @ imaginary], axis=1) for x in terms]

    found: list[Array] = []
    for cells in sums.direct:
        there = tuple(jnp.moveaxis(x[..., cells.cells], -2, 0) for x in arrays)
        # Of as many orders as those before, or more.
        terms = sum_in_parts(of_chunk, cells, there)
        found = [x + y for x, y in zip(found, terms, strict=False)] + terms[len(found) :]
    return found


def _sums_by_plane(
    sums: FourierSums, series: Series, arrays: tuple[Array, ...]
) -> list[Complex[Array, "_ n_kinds n_k"]]:
    """Those of the transformed orders, plane by plane of the grid, so that the series stay in the cache."""
    first, *plane = sums.grid_shape
    waves = jnp.stack(jnp.unravel_index(sums.k_points, sums.grid_shape))
    # Of each two opposite k the real transform, which has exp(-ik·R), has one.
    there = waves[2] <= plane[1] // 2
    waves = jnp.where(there, waves, -waves % jnp.array(sums.grid_shape)[:, None])
    place = waves[1] * (plane[1] // 2 + 1) + waves[2]
    n_planes, counts = first, np.ones(first)
    if sums.n_atoms == 1:
        # With one atom, terms at R and -R are equal, or opposite where the sums are turned: opposite planes
        # add the same to the part that is wanted.
        n_planes = first // 2 + 1
        counts = np.where(2 * np.arange(n_planes) % first == 0, 1, 2)
    turns = jnp.arange(n_planes)[:, None] * waves[0]
    phases = counts[:, None] * jnp.exp(-2j * jnp.pi / first * turns)

    def of_plane(phase: Array, weights: Array, *parts: Array) -> list[Array]:
        found = []
        for values in series(parts, (weights,) * sums.n_transformed):
            spectrum = jnp.fft.rfft2(values.reshape(*values.shape[:2], *plane))
            found.append(phase * spectrum.reshape(*values.shape[:2], -1)[..., place])
        return found

    grids = (x.reshape(*x.shape[:-1], first, -1) for x in (sums.weights, *arrays))
    planes = (jnp.moveaxis(x, -2, 0)[:n_planes] for x in grids)
    total = sum_in_parts(of_plane, phases, *planes)
    return [jnp.where(there, x.conj(), x) for x in total]
