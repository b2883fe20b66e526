"""Choice of the near pairs and the phonon order from a tolerance, and the error that they leave."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from bayestds.crystal.supercell import Supercell
from bayestds.scattering.exact import ExactEngine, log_intensity, make_engine, pair_table, terms

HIGHEST_ORDER = 6
"""Highest phonon order that is tried."""

_EXPONENTIAL_COST = 10
"""Cost of a near pair, in monomials of a far one (measured)."""

_EVALUATIONS = 5e6
"""Exponentials spent on measuring the error; beyond it a sample of the Q points is measured."""


@dataclass(frozen=True)
class ExpansionError:
    """How far an engine lies from the direct form, measured on Q points at given force constants.

    Attributes:
        largest: largest difference in log intensity.
        median: median difference.
        n_checked, n_points: number of Q points measured, and in all.
    """

    largest: float
    median: float
    n_checked: int
    n_points: int


def choose_engine(
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    scattering_factors: np.ndarray | None = None,
    tolerance: float = 1e-4,
) -> ExactEngine:
    """Cheapest engine whose log intensity differs from the direct form by at most ``tolerance``.

    Args:
        supercell: the periodic supercell.
        q_points: conventional r.l.u., commensurate.
        covariance: C_κκ'(R), Å², at which the error is measured.
        scattering_factors: f_κ, (n_atoms,) or (n_q, n_atoms); 1 by default.
        tolerance: in log intensity.
    """
    rows = _checked_points(supercell, q_points)
    direct = make_engine(supercell, q_points[rows], _factors_at(scattering_factors, rows))
    pairs = pair_table(supercell)
    # Only whole shells of pairs, so that the choice does not break the symmetry.
    shell_ends = np.flatnonzero(np.append(np.diff(pairs.lengths) > 1e-3, True)) + 1
    n_kinds = len(direct.kinds)
    best_cost, best = np.inf, (len(pairs.cells), 0)
    for order, errors in _truncation_errors(direct, covariance):
        good = shell_ends[errors[shell_ends - 1] <= tolerance]
        if not len(good):
            continue
        n_monomials = sum((2 * n + 1) * (n + 1) for n in range(1, order + 1))
        cost = _EXPONENTIAL_COST * good[0] + n_kinds * n_monomials
        if cost < best_cost:
            best_cost, best = cost, (int(good[0]), order)
    return make_engine(supercell, q_points, scattering_factors, *best)


def _truncation_errors(
    direct: ExactEngine, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Iterator[tuple[int, np.ndarray]]:
    """For each order, the largest error (n_pairs,) in log intensity when pairs 0 to i are near."""
    exponent, damping, weights = (np.asarray(x).reshape(-1, x.shape[-1]) for x in terms(direct, covariance))
    intensity = (weights * (np.exp(exponent - damping) - np.exp(-damping))).sum(axis=1)
    used = intensity > 0
    exponent, damping, weights = exponent[used], damping[used], weights[used]
    weights = weights * np.exp(-damping) / intensity[used, None]
    power = exponent.copy()
    tail = np.expm1(exponent) - exponent
    for order in range(2, HIGHEST_ORDER + 1):
        power *= exponent / order
        tail -= power
        missing = (weights * tail)[:, ::-1].cumsum(axis=1)[:, ::-1]
        yield order, np.append(np.abs(missing[:, 1:]).max(axis=0), 0.0)


def expansion_error(
    engine: ExactEngine,
    supercell: Supercell,
    q_points: Float[np.ndarray, "n_q 3"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    scattering_factors: np.ndarray | None = None,
) -> ExpansionError:
    """Difference between an engine and the direct form at these force constants."""
    rows = _checked_points(supercell, q_points)
    direct = make_engine(supercell, q_points[rows], _factors_at(scattering_factors, rows))
    found = np.asarray(_evaluate(engine, covariance))[rows]
    error = np.abs(found - np.asarray(_evaluate(direct, covariance)))
    return ExpansionError(float(error.max()), float(np.median(error)), len(rows), len(q_points))


_evaluate = jax.jit(log_intensity)


def _checked_points(supercell: Supercell, q_points: np.ndarray) -> np.ndarray:
    """Indices of the points to measure: all, or half the longest |Q| and half at random."""
    limit = int(_EVALUATIONS / len(pair_table(supercell).cells))
    if len(q_points) <= limit:
        return np.arange(len(q_points))
    length = np.linalg.norm(supercell.crystal.scattering_vectors(q_points), axis=1)
    order = np.argsort(-length, kind="stable")
    drawn = np.random.default_rng(0).permutation(order[limit // 2 :])[: limit - limit // 2]
    return np.sort(np.concatenate([order[: limit // 2], drawn]))


def _factors_at(factors: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return factors if factors is None or np.ndim(factors) == 1 else np.asarray(factors)[rows]
