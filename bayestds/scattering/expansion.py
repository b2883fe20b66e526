"""Choice of the near pairs and the phonon order from a tolerance, and the error that they leave."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb

import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.scattering.engine import MEMORY, ExactEngine, make_engine
from bayestds.scattering.exact import damping
from bayestds.scattering.pairs import pair_table

HIGHEST_ORDER = 6
"""Highest phonon order that is tried."""

_EXPONENTIAL_COST = (25, 75)
"""Cost of a near pair in monomials of one Fourier sum over far ones (measured): where all pairs are of one
kind, and where a pair's structure factor is looked up."""

_SHARE_OF_REACH = 0.05
"""Part of the tolerance for pairs that lack orders which others have; the rest is for orders that none has"""

CHOOSING, MEASURING = 600, 6000
"""Q points whose error is computed to choose an engine, and to measure it where all are too many."""

_FEWEST, _TERMS = 30, 4e7
"""Where these Q points times pairs were more than the second, there are fewer, but not fewer than the first.
An array of so many numbers takes 0.3 GiB."""

DIRECT_EVALUATIONS = 3e8
"""Exponentials up to which the direct form is evaluated at every Q point."""


Cost = Callable[[int, Sequence[int]], float]
"""What an engine with a number of near pairs, and of pairs in each order, costs for a point, in any unit."""


def mesh_cost(n_atoms: int) -> Cost:
    """That of points that share few wave vectors: what depends on these alone counts nothing."""

    def cost(n_near: int, reach: Sequence[int]) -> float:
        return float(_EXPONENTIAL_COST[n_atoms > 1] * n_near + n_atoms**2 * comb(2 * len(reach) + 3, 3))

    return cost


@dataclass(frozen=True, eq=False)
class Truncation:
    """How far an engine lies from the direct form at given force constants, in log intensity.

    Attributes:
        error: (n_checked,) direct minus engine, at the points that were checked.
        offset: (n_q,) the same at every point, 0 where it was not affordable.
    """

    error: np.ndarray
    offset: np.ndarray


def choose_engine(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    scattering_factors: np.ndarray | None = None,
    tolerance: float = 1e-4,
    memory: float | int = MEMORY,
) -> ExactEngine:
    """Cheapest engine whose log intensity differs from the direct form by at most ``tolerance``.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u., commensurate.
        covariance: C_κκ'(R), Å², at which the error is measured.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms); 1 by default.
        tolerance: in log intensity.
        memory: bytes for the points that it evaluates at once.
    """
    rows = sample_rows(supercell, q_points, CHOOSING)
    direct = make_engine(supercell, q_points[rows], factors_at(scattering_factors, rows))
    n_near, reach = choose_reach(direct, supercell, covariance, tolerance, mesh_cost(direct.n_atoms))
    given = supercell, q_points, scattering_factors
    return make_engine(*given, n_near, len(reach), memory=memory, reach=reach)


def choose_reach(
    direct: ExactEngine,
    supercell: Supercell,
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    tolerance: float,
    cost: Cost,
) -> tuple[int, list[int]]:
    """Numbers of near pairs, and of pairs in each order, of the cheapest engine within a tolerance.

    Args:
        direct: the direct form, at some of the points.
        supercell: the periodic supercell.
        covariance: C_κκ'(R), Å², at which the error is measured.
        tolerance: in log intensity.
        cost: of a number of near pairs, and of numbers of pairs in each order.
    """
    pairs = pair_table(supercell)
    # Only whole shells of pairs, so that the choice does not break the symmetry.
    shell_ends = np.flatnonzero(np.append(np.diff(pairs.lengths) > 1e-3, True)) + 1
    n_all = len(pairs.lengths)
    # Few numbers of pairs, so that for similar data the same program does, which is compiled once.
    rungs = np.searchsorted(shell_ends, n_all / 16.0 ** np.arange(5)[::-1])
    best: tuple[int, list[int]] = (n_all, [])
    best_cost = cost(*best)
    missing: list[np.ndarray] = []
    for order, (tail, term) in enumerate(_left_out(direct, covariance, shell_ends), 1):
        missing.append(term)
        n_near = shell_ends[tail <= (1 - _SHARE_OF_REACH) * tolerance][0]
        each = _SHARE_OF_REACH * tolerance / max(1, order - 1)
        reach = [n_all] + [shell_ends[rungs][term[rungs] <= each][0] for term in missing[1:]]
        found = int(n_near), np.maximum(np.minimum.accumulate(reach), n_near).tolist()
        if cost(*found) < best_cost:
            best_cost, best = cost(*found), found
        if best_cost < cost(0, [0] * (order + 1)):
            break
    return best


def _left_out(
    direct: ExactEngine,
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    n_pairs: Int[np.ndarray, " n_choices"],
) -> Iterator[tuple[Float[np.ndarray, " n_choices"], Float[np.ndarray, " n_choices"]]]:
    """For each order what all but so many pairs lack without the orders above, and what without this one.

    Largest absolute errors in log intensity.
    """
    weights, series = _series(direct, covariance)
    # Each choice leaves out what lies between it and the next, and all that the next does.
    starts = n_pairs[n_pairs < weights.shape[1]]

    def beyond(values: np.ndarray) -> np.ndarray:
        between = np.add.reduceat(weights * values, starts, axis=1)
        found = np.abs(np.cumsum(between[:, ::-1], axis=1)[:, ::-1]).max(axis=0)
        return np.append(found, np.zeros(len(n_pairs) - len(starts)))

    for tail, term in series:
        yield beyond(tail), beyond(term)


def truncation_error(
    engine: ExactEngine, direct: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Float[np.ndarray, " n_q"]:
    """Absolute error of an engine in log intensity: of each pair, the orders above its highest one."""
    weights, series = _series(direct, covariance)
    ends = [*engine.reach, len(engine.near_pairs)]
    error = np.zeros(len(weights))
    for (end, start), (tail, _) in zip(pairwise(ends), series, strict=False):
        error += (weights[:, start:end] * tail[:, start:end]).sum(axis=1)
    return np.abs(error)


def _series(
    direct: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> tuple[np.ndarray, Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Weight of every pair, and of each order of the exponential what follows it and its own term.

    All are (n_q, n_pairs); a weighted sum over pairs is a relative error in the intensity.
    """
    exponent, damped, weights = _terms(direct, packed_covariance(np.asarray(covariance)))
    term = np.exp(-damped)
    tail = np.exp(exponent - damped) - term
    weights /= (weights * tail).sum(axis=1, keepdims=True)

    def orders() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal term, tail
        for order in range(1, HIGHEST_ORDER + 1):
            term *= exponent / order
            tail -= term
            yield tail, term

    return weights, orders()


def _terms(direct: ExactEngine, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """QᵀCQ, W_κ + W_κ' and the weight of every pair at every point, (n_q, n_pairs) each."""
    points = direct.points
    layout = (*direct.k_index.shape, points.vectors.shape[-1])
    group, block, slot = np.unravel_index(np.asarray(direct.place), layout)
    cells = np.asarray(direct.near_pairs)[:, 0]
    quadratic = np.asarray(points.products)[group, :, block, slot]
    structure = np.asarray(points.structure)[group, :, block, slot]
    phases = np.asarray(direct.near_phases)[group, :, :, block]
    kinds = np.asarray(direct.near_kinds)
    n_different = structure.shape[1] - len(direct.kinds)
    weights = structure[:, kinds] * phases[..., 0] + structure[:, kinds + n_different] * phases[..., 1]
    damped = damping(packed, np.asarray(direct.kinds))[kinds]
    return quadratic @ packed[:, kinds, cells], quadratic @ damped.T, weights


def sample_rows(supercell: Supercell, q_points: np.ndarray, limit: int) -> Int[np.ndarray, " n"]:
    """All Q points, or where they are many those of longest |Q| and random others."""
    rows = np.arange(len(q_points))
    limit = int(np.clip(_TERMS / len(pair_table(supercell).cells), _FEWEST, limit))
    if len(rows) <= limit:
        return rows
    length = np.linalg.norm(supercell.crystal.scattering_vectors(q_points), axis=1)
    order = np.argpartition(-length, limit // 2)
    drawn = np.random.default_rng(0).choice(order[limit // 2 :], limit - limit // 2, replace=False)
    return np.sort(np.concatenate([order[: limit // 2], drawn]))


def factors_at(factors: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Scattering factors of some points."""
    return factors if factors is None or np.ndim(factors) == 1 else factors[rows]
