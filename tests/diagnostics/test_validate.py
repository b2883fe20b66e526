"""Scores of potentials: closed forms, what chance does, and which shell is named."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bayestds.diagnostics.validate import score, verdict, widened
from bayestds.errors import ResultError

ROOT = Path(__file__).parents[2]

NAMES = ("b0", "b1", "c0", "d0", "d1", "d2")
SHELLS = np.array([1, 1, 2, 3, 3, 3])
MEAN = np.array([-1.0, 0.2, 0.1, -0.05, 0.02, 0.01])


def covariance(seed: int = 0) -> np.ndarray:
    """Correlated errors over four decades."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(6) + 0.4 * rng.normal(size=(6, 6))
    scale = np.diag([1e-1, 1e-2, 1e-3, 1e-3, 1e-4, 1e-5])
    return scale @ mixing @ mixing.T @ scale


def test_independent_errors_in_closed_form():
    sd = np.array([0.1, 0.02, 0.01, 0.005, 0.002, 0.001])
    steps = np.array([1.0, -2.0, 0.5, 3.0, 0.0, -1.0])
    found = score(NAMES, SHELLS, MEAN, np.diag(sd**2), MEAN + steps * sd)
    assert found.chi_square == pytest.approx(1 + 4 + 0.25 + 9 + 1)
    assert found.mahalanobis == pytest.approx(np.sqrt(15.25))
    assert found.shells[1].mahalanobis == pytest.approx(np.sqrt(5))
    # χ² of two degrees of freedom: exp(-x / 2).
    assert found.shells[1].p_value == pytest.approx(np.exp(-2.5))
    assert found.shells[3].z == pytest.approx({"d0": 3.0, "d1": 0.0, "d2": -1.0})
    assert found.shells[3].z_max == pytest.approx(3.0)
    assert found.shells[1].deviation == pytest.approx(np.sqrt((0.1**2 + 0.04**2) / 2))
    assert found.deviation == pytest.approx(np.linalg.norm(steps * sd) / np.linalg.norm(MEAN))


def test_distance_does_not_depend_on_the_coordinates():
    """Constants mixed by any matrix, errors with them: the distance is that of the same potential."""
    rng, c = np.random.default_rng(1), covariance()
    values, mixing = MEAN + 1e-3 * rng.normal(size=6), rng.normal(size=(6, 6))
    here = score(NAMES, SHELLS, MEAN, c, values)
    there = score(NAMES, SHELLS, mixing @ MEAN, mixing @ c @ mixing.T, mixing @ values)
    assert there.chi_square == pytest.approx(here.chi_square, rel=1e-4)  # the mixed matrix is nearly singular


def test_the_truth_is_as_far_as_chance_has_it():
    """χ² of 6 has mean 6 and variance 12; shells are wrongly called wrong once in a hundred at most."""
    c = covariance()
    draws = np.random.default_rng(2).multivariate_normal(MEAN, c, 500, method="cholesky")
    found = [score(NAMES, SHELLS, MEAN, c, values) for values in draws]
    # Five standard errors: chance fails it once in a million times.
    assert np.mean([one.chi_square for one in found]) == pytest.approx(6, abs=5 * np.sqrt(12 / 500))
    p_values = np.sort([one.p_value for one in found])
    assert np.abs(p_values - np.arange(500) / 500).max() < 2.2 / np.sqrt(500)  # Kolmogorov, 1e-4
    accused = np.mean([bool(one.wrong_shells) for one in found])
    assert accused < 0.01 + 5 * np.sqrt(0.01 / 500)


@pytest.mark.parametrize("shell", [1, 2, 3])
def test_the_wrong_shell_is_named(shell):
    sd = np.sqrt(np.diag(covariance()))
    values = MEAN + np.where(shell == SHELLS, 100 * sd, 0.0)
    found = score(NAMES, SHELLS, MEAN, covariance(), values)
    assert found.wrong_shells == [shell]
    right = ", ".join(str(n) for n in (1, 2, 3) if n != shell)
    assert verdict(found, 6).startswith(f"Wrong in shell {shell} (")
    assert verdict(found, 6).endswith(f"not told apart from the data: {right}.")


@pytest.mark.parametrize(("z", "wrong"), [(2.90, False), (2.97, True)])
def test_where_a_shell_becomes_wrong(z, wrong):
    """One constant of three shells: a probability of 0.01 / 3 is at 2.935 standard errors."""
    values = MEAN + z * np.sqrt(np.diag(covariance())) * (SHELLS == 2)
    assert score(NAMES, SHELLS, MEAN, covariance(), values).shells[2].wrong is wrong


def test_nothing_wrong_is_said_too():
    found = score(NAMES, SHELLS, MEAN, covariance(), MEAN)
    assert (found.chi_square, found.p_value, found.wrong_shells) == (0.0, 1.0, [])
    assert verdict(found, 6).startswith("No shell is wrong: χ² = 0 for 6 constants")


def test_singular_covariance():
    c = covariance()
    c[:, 1] = c[1] = c[0]
    c[1, 1] = c[0, 0]
    with pytest.raises(ResultError, match="singular"):
        score(NAMES, SHELLS, MEAN, c, MEAN)


def test_larger_errors_keep_correlations():
    c = covariance()
    sd = np.sqrt(np.diag(c))
    wide = widened(c, np.array([2.0, 0.5, 1, 1, 1, 3]) * sd)
    assert np.allclose(np.sqrt(np.diag(wide)) / sd, [2, 1, 1, 1, 1, 3])
    assert np.allclose(wide / np.sqrt(np.outer(np.diag(wide), np.diag(wide))), c / np.outer(sd, sd))
    assert widened(c, np.full(6, np.nan)) is None


def test_page_is_that_of_the_results(tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "potentials_page.py"), "-o", str(page)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert page.read_text("utf-8") == (ROOT / "docs" / "potentials.md").read_text("utf-8")
