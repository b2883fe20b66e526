"""Force constants of a result: the crystal that was fitted, and draws of their posterior."""

import numpy as np
import pytest

from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import read_result, write_result
from bayestds.errors import ResultError
from bayestds.lattice_dynamics.phonons import frequencies
from tests.brute_force import random_stable
from tests.crystals import SAMPLES, default_supercell, make_irreducible
from tests.results import point_fit_result, posterior_result


@pytest.mark.parametrize("name", SAMPLES)
def test_the_crystal_comes_back(name, tmp_path):
    write_result(point_fit_result(name), tmp_path / "r.nc")
    found = force_constant_draws(read_result(tmp_path / "r.nc"), n_draws=3)
    expected = make_irreducible(name)
    assert found.irreducible.names == expected.names
    np.testing.assert_array_equal(found.irreducible.pairs, expected.pairs)
    np.testing.assert_allclose(found.irreducible.basis, expected.basis, atol=1e-9)
    assert found.irreducible.crystal.species == expected.crystal.species
    assert found.temperature == 300
    np.testing.assert_array_equal(found.supercell.matrix, default_supercell(name).matrix)


def test_normal_draws_have_the_moments_of_the_fit():
    """Means of 4000 draws within 5 standard errors, covariance within 10 % of its scale."""
    values = random_stable(make_irreducible("fcc", 2), default_supercell("fcc"), 0)
    root = 1e-3 * np.random.default_rng(1).normal(size=(5, 5))
    found = force_constant_draws(point_fit_result("fcc", values, root @ root.T, 2), 4000)
    sd = np.sqrt(np.diag(found.covariance))
    assert np.abs((found.draws.mean(axis=0) - values) / sd).max() < 5 / np.sqrt(4000)
    assert (np.abs(np.cov(found.draws.T) - found.covariance) / np.outer(sd, sd)).max() < 0.1


def test_draws_are_repeatable_and_depend_on_the_seed():
    tree = point_fit_result("fcc")
    first, same, other = (force_constant_draws(tree, 5, seed).draws for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_wide_draws_are_stable_crystals():
    """Shell 1 is known to 60 %: without the condition every fifth crystal would be unstable."""
    values = random_stable(make_irreducible("fcc", 1), default_supercell("fcc"), 0)
    tree = point_fit_result("fcc", values, np.diag((0.6 * values) ** 2), 1)
    found = force_constant_draws(tree, 300)
    points = np.argwhere(np.ones((6, 6, 6)))[1:] / 3
    lowest = min(frequencies(found.irreducible, row, points).min() for row in found.draws[:50])
    assert lowest > -1e-5
    free = np.random.default_rng(0).multivariate_normal(values, np.diag((0.6 * values) ** 2), 50)
    assert min(frequencies(found.irreducible, row, points).min() for row in free) < -0.1


def test_posterior_draws_are_spread_over_all_chains():
    draws = np.arange(2 * 50 * 5, dtype=float).reshape(2, 50, 5)
    found = force_constant_draws(posterior_result("fcc", draws, 2), 4)
    flat = draws.reshape(-1, 5)
    np.testing.assert_array_equal(found.draws, flat[[0, 33, 66, 99]])
    np.testing.assert_allclose(found.mean, flat.mean(axis=0))
    assert len(force_constant_draws(posterior_result("fcc", draws, 2), 1000).draws) == 100


def test_hopeless_errors_are_refused():
    values = random_stable(make_irreducible("fcc", 2), default_supercell("fcc"), 0)
    with pytest.raises(ResultError, match=r"so large that it says little"):
        force_constant_draws(point_fit_result("fcc", values + 30, np.diag(np.full(5, 1e-4)), 2), 10)
    with pytest.raises(ResultError, match="no standard errors"):
        force_constant_draws(point_fit_result("fcc", values, np.full((5, 5), np.nan), 2))


def test_results_without_their_crystal_are_refused():
    tree = point_fit_result("fcc")
    tree["constant_data"] = tree["constant_data"].dataset.drop_vars("primitive_vectors")
    with pytest.raises(ResultError, match="does not hold its crystal"):
        force_constant_draws(tree)
    tree = point_fit_result("fcc")
    renamed = [f"z{i}" for i in range(tree["point_fit"].sizes["irreducible"])]
    tree["point_fit"] = tree["point_fit"].dataset.assign_coords(irreducible=renamed)
    with pytest.raises(ResultError, match="not those of its crystal"):
        force_constant_draws(tree)
