"""Charts and numbers of chains, against closed forms and ArviZ."""

import re

import arviz_stats  # noqa: F401  (adds the accessor)
import numpy as np
import pytest
import xarray as xr

from bayestds.report.chains import bfmi, predictive_check, rank_chart


def test_energy_fraction_is_that_of_arviz():
    energy = np.random.default_rng(0).normal(size=(3, 200)).cumsum(axis=1)
    data = xr.DataTree.from_dict({"sample_stats": xr.Dataset({"energy": (("chain", "draw"), energy)})})
    found = data["sample_stats"]["energy"].azstats.bfmi().values
    np.testing.assert_allclose(bfmi(energy), found, rtol=1e-2)


def test_energy_fraction_of_independent_draws_is_two():
    """The variance of a difference is twice that of its terms; 20,000 draws know it to 2 %."""
    assert bfmi(np.random.default_rng(1).normal(size=(1, 20_000)))[0] == pytest.approx(2, rel=0.05)


def counts(picture: str) -> tuple[float, float]:
    low, high = re.search(r"bins, ([\d.]+) to ([\d.]+)", picture).groups()
    return float(low), float(high)


def test_ranks_of_equal_chains_are_level():
    one = np.arange(400.0)
    low, high = counts(str(rank_chart("b0", np.stack([one, one]))))
    assert (low, high) == (1.0, 1.0)


def test_ranks_of_chains_apart_are_not():
    """Chains that do not meet fill half of the ranks each: twice what is expected, or nothing."""
    one = np.arange(400.0)
    assert counts(str(rank_chart("b0", np.stack([one, one + 1000])))) == (0.0, 2.0)


def test_predictions_of_the_right_noise():
    """Ranks of 4,000 points in 20 bins scatter by 7 % each; all lie within 5 of these with near certainty."""
    rng = np.random.default_rng(2)
    found = predictive_check(rng.normal(size=4000), rng.normal(size=(99, 4000)), np.ones(4000))
    low, high = counts(str(found.ranks))
    assert 0.65 < low <= high < 1.35
    assert 0.001 < found.exceeding < 0.999


def test_predictions_of_too_little_noise():
    rng = np.random.default_rng(3)
    found = predictive_check(2 * rng.normal(size=4000), rng.normal(size=(99, 4000)), np.ones(4000))
    low, high = counts(str(found.ranks))
    # A third of the data lie outside a distribution of half their width.
    assert high > 3 > 1 > low
    assert found.exceeding == 0


def test_the_scale_of_the_intensity_is_no_misfit():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=300)
    replicated = rng.normal(size=(50, 300))
    shifted = [predictive_check(noise + s, replicated, np.ones(300)).exceeding for s in (0.0, 3.0)]
    assert shifted[0] == shifted[1]
