"""Choice of the near pairs and the phonon order from a tolerance, and the error that they leave."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.scattering.engine import MEMORY, ExactEngine, make_engine
from bayestds.scattering.exact import PRODUCTS, damping, log_intensity, packed_covariance
from bayestds.scattering.pairs import pair_table
from bayestds.scattering.polynomials import n_monomials

HIGHEST_ORDER = 6
"""Highest phonon order that is tried."""

_EXPONENTIAL_COST = 10
"""Cost of a near pair, in monomials of a far one (measured)."""

_CHOOSING, _MEASURING = 600, 6000
"""Q points whose error is computed to choose an engine, and to measure it where all are too many."""

_FEWEST, _TERMS = 30, 4e7
"""Where these Q points times pairs were more than the second, there are fewer, but not fewer than the first.
An array of so many numbers takes 0.3 GiB."""

_DIRECT_EVALUATIONS = 3e8
"""Exponentials up to which the direct form is evaluated at every Q point."""


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
    direct = _sample(supercell, q_points, scattering_factors, _CHOOSING)
    lengths = pair_table(supercell).lengths
    # Only whole shells of pairs, so that the choice does not break the symmetry.
    shell_ends = np.flatnonzero(np.append(np.diff(lengths) > 1e-3, True)) + 1
    n_kinds = len(direct.kinds)
    best_cost, best = np.inf, (len(lengths), 0)
    for order, errors in _truncation_errors(direct, covariance, shell_ends):
        good = shell_ends[errors.max(axis=0) <= tolerance]
        cost = _EXPONENTIAL_COST * good[0] + n_kinds * n_monomials(order)
        if cost < best_cost:
            best_cost, best = cost, (int(good[0]), order)
        if best_cost < n_kinds * n_monomials(order + 1):
            break
    return make_engine(supercell, q_points, scattering_factors, *best, memory=memory)


def measure_truncation(
    engine: ExactEngine,
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    scattering_factors: np.ndarray | None = None,
) -> Truncation:
    """Truncation error of an engine at these force constants, at all Q points or at a sample."""
    if not engine.order:
        return Truncation(np.zeros(len(q_points)), np.zeros(len(q_points)))
    if len(q_points) * len(pair_table(supercell).cells) > _DIRECT_EVALUATIONS:
        sample = _sample(supercell, q_points, scattering_factors, _MEASURING)
        errors = dict(_truncation_errors(sample, covariance, np.array([len(engine.near_pairs)])))
        return Truncation(errors[engine.order][:, 0], np.zeros(len(q_points)))
    direct = make_engine(supercell, q_points, scattering_factors)
    difference = np.asarray(_evaluate(direct, covariance) - _evaluate(engine, covariance))
    return Truncation(difference, difference)


_evaluate = jax.jit(log_intensity)


def _truncation_errors(
    direct: ExactEngine,
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    n_near: Int[np.ndarray, " n_choices"],
) -> Iterator[tuple[int, np.ndarray]]:
    """For each order, the errors (n_q, n_choices) in log intensity when so many pairs are near.

    The error is the part of the exponential series that is left out, summed over the far pairs.
    """
    exponent, damped, weights = _terms(direct, packed_covariance(np.asarray(covariance)))
    term = np.exp(-damped)
    tail = np.exp(exponent - damped) - term
    weights /= (weights * tail).sum(axis=1, keepdims=True)
    # Each choice leaves out what lies between it and the next, and all that the next does.
    starts = n_near[n_near < weights.shape[1]]
    for order in range(1, HIGHEST_ORDER + 1):
        term *= exponent / order
        tail -= term
        between = np.zeros((len(weights), len(n_near)))
        if len(starts):
            between[:, : len(starts)] = np.add.reduceat(weights * tail, starts, axis=1)
        yield order, np.abs(np.cumsum(between[:, ::-1], axis=1)[:, ::-1])


def _terms(direct: ExactEngine, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """QᵀCQ, W_κ + W_κ' and the weight of every pair at every point, (n_q, n_pairs) each."""
    place = np.asarray(direct.place)
    cell, first, second = np.asarray(direct.near_pairs).T
    vectors = np.asarray(direct.vectors).swapaxes(1, 2).reshape(-1, 3)[place]
    quadratic = vectors[:, PRODUCTS[:, 0]] * vectors[:, PRODUCTS[:, 1]]
    structure = np.asarray(direct.structure).transpose(0, 3, 1, 2).reshape(-1, len(direct.kinds), 2)
    phases = np.asarray(direct.near_phases)[place // direct.vectors.shape[-1]]
    by_pair = structure[place][:, np.asarray(direct.near_kinds).argmax(axis=1)]
    weights = by_pair[..., 0] * phases[..., 0] - by_pair[..., 1] * phases[..., 1]
    return quadratic @ packed[cell, first, second].T, quadratic @ damping(packed, first, second).T, weights


def _sample(
    supercell: Supercell, q_points: np.ndarray, factors: np.ndarray | None, limit: int
) -> ExactEngine:
    """Direct engine at all Q points, or where they are many at those of longest |Q| and random others."""
    rows = np.arange(len(q_points))
    limit = int(np.clip(_TERMS / len(pair_table(supercell).cells), _FEWEST, limit))
    if len(rows) > limit:
        length = np.linalg.norm(supercell.crystal.scattering_vectors(q_points), axis=1)
        order = np.argpartition(-length, limit // 2)
        drawn = np.random.default_rng(0).choice(order[limit // 2 :], limit - limit // 2, replace=False)
        rows = np.sort(np.concatenate([order[: limit // 2], drawn]))
    factors = factors if factors is None or np.ndim(factors) == 1 else factors[rows]
    return make_engine(supercell, q_points[rows], factors)
