"""Draws of correlated noise, and the density of part of the data given the rest."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import solve_triangular

from bayestds.inference.correlation import Correlation

COLUMNS = 256
"""Columns of the precision that are computed at once."""


def draw_noise(
    correlation: Correlation, n_draws: int, seed: int | Sequence[int]
) -> Float[np.ndarray, "n_draws n_q"]:
    """Draws from N(0, Σ), Σ⁻¹ = S (1 - Σ_b V_b V_bᵀ - W Wᵀ) S.

    With B = 1 - Σ_b V_b V_bᵀ, S Σ S = B⁻¹ + B⁻¹ W (1 - Wᵀ B⁻¹ W)⁻¹ Wᵀ B⁻¹ by Woodbury's identity, and
    B⁻¹ = 1 + Σ_b L_b L_bᵀ, where L_b has the singular values s / √(1 - s²) if V_b has s.
    """
    rng = np.random.default_rng(seed)
    root, common = np.asarray(correlation.root), np.asarray(correlation.common)
    noise, spread = rng.normal(size=(len(root), n_draws)), common.copy()
    for members, factors in zip(correlation.members, correlation.factors, strict=True):
        for place, factor in zip(np.asarray(members), np.asarray(factors), strict=True):
            points = place[place < len(root)]
            left, s, _ = np.linalg.svd(factor[: len(points)], full_matrices=False)
            wide = left * (s / np.sqrt(1 - s**2))
            noise[points] += wide @ rng.normal(size=(len(s), n_draws))
            spread[points] += wide @ (wide.T @ common[points])
    lower = np.linalg.cholesky(np.eye(common.shape[1]) - common.T @ spread)
    noise += spread @ solve_triangular(lower.T, rng.normal(size=(common.shape[1], n_draws)))
    return (noise / root[:, None]).T


def conditional_log_density(
    correlation: Correlation, misfit: Float[np.ndarray, "n_draws n_q"], groups: Int[np.ndarray, " n_q"]
) -> Float[np.ndarray, "n_draws n_groups"]:
    """Log density of the data of each group given those of all others.

    With P = Σ⁻¹ and the misfit r, group g given the rest is normal about its own value less
    P_gg⁻¹ (P r)_g, with the covariance P_gg⁻¹.

    Args:
        correlation: Σ⁻¹.
        misfit: observed minus expected log intensity, of each draw.
        groups: (n_q,) int from 0.
    """
    pulled = np.asarray(correlation.times(jnp.asarray(misfit.T)))
    found = []
    for group in range(groups.max() + 1):
        points = np.flatnonzero(groups == group)
        lower = np.linalg.cholesky(_block(correlation, points))
        white = solve_triangular(lower, pulled[points], lower=True)
        constant = np.log(np.diag(lower)).sum() - 0.5 * len(points) * np.log(2 * np.pi)
        found.append(constant - 0.5 * (white**2).sum(axis=0))
    return np.array(found).T


def _block(correlation: Correlation, points: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """Rows and columns of Σ⁻¹ at some points."""
    columns = []
    for start in range(0, len(points), COLUMNS):
        chosen = points[start : start + COLUMNS]
        unit = jnp.zeros((len(correlation.root), len(chosen))).at[chosen, np.arange(len(chosen))].set(1.0)
        columns.append(np.asarray(correlation.times(unit))[points])
    return np.concatenate(columns, axis=1)
