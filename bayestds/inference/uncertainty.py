"""Standard errors that allow for residuals which are not independent, and which errors a fit needs.

Plain errors take points as independent. Points of one star of wave vectors share the noise of a volume that
is a mean over configurations; points of one Brillouin zone share what a model lacks (anharmonicity,
absorption). A sandwich estimate over such clusters allows for either. Whether it is needed is tested: do the
scores of the points of a cluster add up to more than signs at random would make them?
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import gamma

CHANCE = 1e-3
"""Probability with which independent residuals are taken for coherent ones."""

ACCEPTABLE_CHI_SQUARE = 2.0
"""Chi-square per degree of freedom above which a model does not describe the data."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What the points of a volume say of the parameters at a fit.

    Attributes:
        derivative: (n_q, n) J, of the log intensities by the parameters, less its weighted mean.
        weight: (n_q,) w, inverse variances in the Fisher information Σ w J Jᵀ.
        score: (n_q,) derivative of the log-likelihood by each expected log intensity.
    """

    derivative: Float[np.ndarray, "n_q n"]
    weight: Float[np.ndarray, " n_q"]
    score: Float[np.ndarray, " n_q"]


@dataclass(frozen=True, eq=False)
class Clustered:
    """Errors of residuals that hang together within clusters.

    Attributes:
        covariance: (n, n) of the parameters.
        n_clusters: how many there are.
        coherence: squared length of the clusters' scores, over that of independent residuals of the same
            size.
        p_value: probability of a larger coherence if residuals are independent.
    """

    covariance: Float[np.ndarray, "n n"]
    n_clusters: int
    coherence: float
    p_value: float

    @property
    def coherent(self) -> bool:
        """Whether residuals hang together within clusters beyond chance."""
        return self.p_value < CHANCE


def clustered(
    precision: Float[np.ndarray, "n n"],
    trusted: Float[np.ndarray, "n n"],
    volumes: Sequence[tuple[Scores, Int[np.ndarray, " n_q"]]],
) -> Clustered:
    """Sandwich covariance of fitted parameters, and the test of whether it is needed.

    With the score s_c of each of C clusters (Liang and Zeger, Biometrika 73 (1986) 13), corrected for what
    the fit takes from it, s̃_c = (1 - H_c H⁻¹)^-½ s_c, H_c being the share of the cluster in H (Bell and
    McCaffrey, Survey Methodology 28 (2002) 169),

        S = H⁻¹ (P + Σ_c s̃_c s̃_cᵀ) H⁻¹,   P = precision of the prior.

    Few clusters do not tell a whole matrix, so that it is drawn towards one with the correlations of H⁻¹,

        V = (1 - a) S + a t H⁻¹,   t = Tr(H S)/n,   a = n/(n + C).

    With signs ±1 at random the scores x_i of the points, in units where H is 1, have Σ_c |Σ_i ±x_i|² of the
    mean Σ_i |x_i|² and of the variance 2 Σ_c Σ_{i≠j} (x_i·x_j)², as a gamma variable of so many degrees of
    freedom. What a fit leaves has fewer, and in proportion a smaller mean, by the factor
    Σ_c Tr B_c (1 - B_c) / Σ_c Tr B_c, with B_c = H_c in these units. That gives the p-value.

    Args:
        precision: H (n, n), Fisher information plus prior precision.
        trusted: P, with the information of volumes whose noise model has such correlations already.
        volumes: scores of the points of each volume and the cluster (n_q,) of each; those of different
            volumes have nothing in common.
    """
    n, root = len(precision), _power(precision, -0.5)
    total = root @ trusted @ root
    squares, mean, variance, shares, left, n_clusters = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for scores, labels in volumes:
        scaled = scores.derivative @ root
        for rows in _members(labels):
            part, score = scaled[rows], scores.score[rows]
            share = part.T @ (scores.weight[rows, None] * part)
            point_scores = score[:, None] * part
            together, lengths = point_scores.sum(axis=0), (point_scores**2).sum(axis=1)
            corrected = _power(np.eye(n) - share, -0.5) @ together
            total += np.outer(corrected, corrected)
            squares += together @ together
            mean += lengths.sum()
            shares, left = shares + np.trace(share), left + np.trace(share - share @ share)
            variance += 2 * (((point_scores.T @ point_scores) ** 2).sum() - (lengths**2).sum())
            n_clusters += 1
    shrink = n / (n + n_clusters)
    covariance = root @ ((1 - shrink) * total + shrink * np.trace(total) / n * np.eye(n)) @ root
    kept = left / shares
    coherence = squares / max(kept * mean, 1e-300)
    freedom = kept * mean**2 / variance if variance > 0 else np.inf
    p_value = gamma.sf(coherence, freedom, scale=1 / freedom) if np.isfinite(freedom) else 1.0
    return Clustered(covariance, n_clusters, coherence, float(p_value))


def _members(labels: Int[np.ndarray, " n_q"]) -> list[Int[np.ndarray, " _"]]:
    """Points of each cluster."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _power(matrix: Float[np.ndarray, "n n"], power: float) -> Float[np.ndarray, "n n"]:
    """Power of a symmetric matrix, whose eigenvalues are taken as positive."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-12 * max(values[-1], 1e-300)) ** power) @ vectors.T


def wider(first: Float[np.ndarray, "n n"], second: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """The larger of two covariances, direction by direction; never below the first."""
    root = _power(first, 0.5)
    inverse = _power(first, -0.5)
    values, vectors = np.linalg.eigh(inverse @ second @ inverse)
    return root @ (vectors * np.maximum(values, 1.0)) @ vectors.T @ root


def stretch(plain: Float[np.ndarray, "n n"], needed: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Matrix that takes deviations of one covariance to those of another: T plain Tᵀ = needed."""
    root, inverse = _power(plain, 0.5), _power(plain, -0.5)
    return root @ _power(inverse @ needed @ inverse, 0.5) @ inverse


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Errors of a fit, and those that it needs.

    Attributes:
        plain: (n, n) covariance for independent residuals of the size that the noise model says.
        star: errors clustered by star of wave vectors; None where the noise model has such correlations.
        zone: errors clustered by Brillouin zone; likewise.
        chi_square: per degree of freedom, of the noise as it is known from the volume; NaN where it is not.
        known: whether the plain errors are for that noise, and not for a level learned from the residuals.
        exact: whether the volume is free of noise, so that residuals are rounding and tell nothing.
    """

    plain: Float[np.ndarray, "n n"]
    star: Clustered | None
    zone: Clustered | None
    chi_square: float
    known: bool
    exact: bool = False

    @property
    def widened_by(self) -> tuple[str, ...]:
        """Why the plain errors are too small: misfit, star, zone."""
        if self.exact or not np.isfinite(self.plain).all():
            return ()
        reasons = {
            "misfit": self.known and self.chi_square > ACCEPTABLE_CHI_SQUARE,
            "star": self.star is not None and self.star.coherent,
            "zone": self.zone is not None and self.zone.coherent,
        }
        return tuple(name for name, holds in reasons.items() if holds)

    @property
    def covariance(self) -> Float[np.ndarray, "n n"]:
        """The covariance (n, n) that the fit needs: the widest of those that apply, in every direction."""
        needed, reasons = self.plain, self.widened_by
        if "misfit" in reasons:
            needed = self.chi_square * needed
        for name, found in (("star", self.star), ("zone", self.zone)):
            if name in reasons and found is not None:
                needed = wider(needed, found.covariance)
        return needed
