"""Standard errors of residuals that hang together, against sums by hand."""

import numpy as np
import pytest
from scipy.linalg import inv, sqrtm

from bayestds.inference.uncertainty import Scores, clustered


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
