"""Standard errors of residuals that hang together, against sums by hand."""

import numpy as np
import pytest
from scipy.linalg import inv, sqrtm

from bayestds.inference.uncertainty import (
    Clustered,
    Scores,
    Uncertainty,
    clustered,
    stretch,
    wider,
)


@pytest.mark.parametrize("n_clusters", [6, 2])
def test_clustered_covariance_is_the_sum_over_clusters(n_clusters):
    rng = np.random.default_rng(5)
    derivative, score = rng.normal(size=(30, 2)), rng.normal(size=30)
    weight, prior = rng.uniform(1, 5, 30), np.diag([0.3, 0.7])
    cluster = rng.integers(0, n_clusters, 30)
    precision = prior + sum(weight[i] * np.outer(derivative[i], derivative[i]) for i in range(30))
    bread, meat = inv(precision), prior.copy()
    for label in range(n_clusters):
        members = [i for i in range(30) if cluster[i] == label]
        share = sum(weight[i] * np.outer(derivative[i], derivative[i]) for i in members)
        total = sum(score[i] * derivative[i] for i in members)
        corrected = inv(sqrtm(np.eye(2) - share @ bread)) @ total
        meat += np.outer(corrected, corrected)
    sandwich, shrink = bread @ meat @ bread, 2 / (2 + n_clusters)
    stretch = np.trace(precision @ sandwich) / 2
    found = clustered(precision, prior, [(Scores(derivative, weight, score), cluster)])
    assert found.n_clusters == n_clusters
    expected = (1 - shrink) * sandwich + shrink * stretch * bread
    assert found.covariance == pytest.approx(expected, rel=1e-10)


N_POINTS, N_CLUSTERS, N_CONSTANTS = 240, 24, 4
CLUSTER = np.arange(N_POINTS) % N_CLUSTERS


def least_squares(seed: int, shared: float) -> tuple[np.ndarray, np.ndarray, Clustered]:
    """Pulls of a linear fit by plain and by clustered errors, and what is found of the clusters.

    Points have independent errors of size 1, and those of a cluster share one of the size ``shared`` along a
    pattern of the derivatives.
    """
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(N_CLUSTERS, N_CONSTANTS))[CLUSTER]
    design = design + rng.normal(size=(N_POINTS, N_CONSTANTS))
    noise = rng.normal(size=N_POINTS) + shared * rng.normal(size=N_CLUSTERS)[CLUSTER]
    precision = design.T @ design
    error = np.linalg.solve(precision, design.T @ noise)
    scores = Scores(design, np.ones(N_POINTS), noise - design @ error)
    found = clustered(precision, np.zeros_like(precision), [(scores, CLUSTER)])
    return (
        error / np.sqrt(np.diag(np.linalg.inv(precision))),
        error / np.sqrt(np.diag(found.covariance)),
        found,
    )


def test_independent_residuals_are_called_coherent_as_seldom_as_they_should():
    """400 p-values; of 20 expected below 5 % more than 35 or fewer than 7 come once in a thousand times."""
    found = [least_squares(seed, 0.0) for seed in range(400)]
    p_values = np.array([clusters.p_value for *_, clusters in found])
    assert 7 <= (p_values < 0.05).sum() <= 35
    assert sum(clusters.coherent for *_, clusters in found) <= 4
    plain, wide = (np.concatenate([one[i] for one in found]) for i in (0, 1))
    assert np.sqrt(np.mean(plain**2)) == pytest.approx(1, abs=0.06)
    assert np.sqrt(np.mean(wide**2)) == pytest.approx(1, abs=0.15)


def test_shared_noise_is_noticed_and_allowed_for():
    found = [least_squares(seed, 1.5) for seed in range(200)]
    assert np.mean([clusters.coherent for *_, clusters in found]) > 0.95
    plain, wide = (np.concatenate([one[i] for one in found]) for i in (0, 1))
    assert np.sqrt(np.mean(plain**2)) > 2
    assert np.sqrt(np.mean(wide**2)) == pytest.approx(1, abs=0.2)


def random_covariance(seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(3, 6))
    return root @ root.T


def test_the_wider_of_two_covariances():
    first, second = np.diag([1.0, 4.0, 9.0]), np.diag([2.0, 1.0, 10.0])
    np.testing.assert_allclose(wider(first, second), np.diag([2.0, 4.0, 10.0]))
    first, second = random_covariance(0), random_covariance(1)
    both = wider(first, second)
    for one in (first, second):
        assert np.linalg.eigvalsh(both - one).min() > -1e-9
    np.testing.assert_allclose(wider(first, 0.5 * first), first, rtol=1e-9)


def test_deviations_are_stretched_to_the_covariance_that_is_needed():
    plain, needed = random_covariance(2), random_covariance(3)
    found = stretch(plain, needed)
    np.testing.assert_allclose(found @ plain @ found.T, needed, rtol=1e-9)


def clusters_of(covariance: np.ndarray, p_value: float) -> Clustered:
    return Clustered(covariance, 10, 1.0, p_value)


def test_the_errors_that_a_fit_needs():
    plain, coherent, calm = np.eye(2), clusters_of(9 * np.eye(2), 1e-9), clusters_of(9 * np.eye(2), 0.2)
    assert Uncertainty(plain, calm, calm, 1.0, known=True).widened_by == ()
    np.testing.assert_array_equal(Uncertainty(plain, calm, calm, 1.0, known=True).covariance, plain)
    shared = Uncertainty(plain, coherent, calm, 1.0, known=True)
    assert shared.widened_by == ("star",)
    np.testing.assert_allclose(shared.covariance, 9 * plain)
    misfit = Uncertainty(plain, calm, coherent, 16.0, known=True)
    assert misfit.widened_by == ("misfit", "zone")
    np.testing.assert_allclose(misfit.covariance, 16 * plain)
    # A level that was learned from the residuals has the misfit in it already.
    assert Uncertainty(plain, None, None, 16.0, known=False).widened_by == ()
    # Residuals of a volume that is free of noise are rounding.
    assert Uncertainty(plain, coherent, coherent, 16.0, known=True, exact=True).widened_by == ()
