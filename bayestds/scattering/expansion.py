"""Choice of the near pairs and the phonon order from a tolerance, and the error that they leave."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.crystal.supercell import Supercell
from bayestds.scattering.exact import (
    MEMORY,
    PRODUCTS,
    ExactEngine,
    damping,
    log_intensity,
    make_engine,
    packed_covariance,
    pair_table,
)
from bayestds.scattering.polynomials import n_monomials

HIGHEST_ORDER = 6
"""Highest phonon order that is tried."""

_EXPONENTIAL_COST = 10
"""Cost of a near pair, in monomials of a far one (measured)."""

_EVALUATIONS = 1.5e6
"""Exponentials spent on measuring the error; beyond it a sample of the Q points is measured."""


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
    direct = _sample(supercell, q_points, scattering_factors)
    lengths = pair_table(supercell).lengths
    # Only whole shells of pairs, so that the choice does not break the symmetry.
    shell_ends = np.flatnonzero(np.append(np.diff(lengths) > 1e-3, True)) + 1
    n_kinds = len(direct.kinds)
    best_cost, best = np.inf, (len(lengths), 0)
    for order, errors in _truncation_errors(direct, covariance):
        good = shell_ends[errors[:, shell_ends].max(axis=0) <= tolerance]
        cost = _EXPONENTIAL_COST * good[0] + n_kinds * n_monomials(order)
        if cost < best_cost:
            best_cost, best = cost, (int(good[0]), order)
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
        sample = _sample(supercell, q_points, scattering_factors)
        errors = dict(_truncation_errors(sample, covariance))[engine.order]
        return Truncation(errors[:, len(engine.near_pairs)], np.zeros(len(q_points)))
    direct = make_engine(supercell, q_points, scattering_factors)
    difference = np.asarray(_evaluate(direct, covariance) - _evaluate(engine, covariance))
    return Truncation(difference, difference)


_evaluate = jax.jit(log_intensity)


def _truncation_errors(
    direct: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Iterator[tuple[int, np.ndarray]]:
    """For each order, the errors (n_q, n_pairs + 1) in log intensity when the first pairs are near.

    The error is the part of the exponential series that is left out, summed over the far pairs.
    """
    exponent, damped, weights = _terms(direct, packed_covariance(np.asarray(covariance)))
    term = np.exp(-damped)
    tail = np.exp(exponent - damped) - term
    weights /= (weights * tail).sum(axis=1, keepdims=True)
    for order in range(1, HIGHEST_ORDER + 1):
        term *= exponent / order
        tail -= term
        missing = np.cumsum((weights * tail)[:, ::-1], axis=1)[:, ::-1]
        yield order, np.abs(np.pad(missing, ((0, 0), (0, 1))))


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


def _sample(supercell: Supercell, q_points: np.ndarray, factors: np.ndarray | None) -> ExactEngine:
    """Direct engine at all Q points, or where they are many at those of longest |Q| and random others."""
    limit = int(_EVALUATIONS / len(pair_table(supercell).cells))
    rows = np.arange(len(q_points))
    if len(rows) > limit:
        length = np.linalg.norm(supercell.crystal.scattering_vectors(q_points), axis=1)
        order = np.argsort(-length, kind="stable")
        drawn = np.random.default_rng(0).permutation(order[limit // 2 :])[: limit - limit // 2]
        rows = np.sort(np.concatenate([order[: limit // 2], drawn]))
    factors = factors if factors is None or np.ndim(factors) == 1 else factors[rows]
    return make_engine(supercell, q_points[rows], factors)
