"""Elastic constants of results: their spread, and the record of what they violate."""

import numpy as np
import pytest

from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.elastic import elastic_summary
from bayestds.force_constants.invariance import constrained, independent_conditions
from bayestds.lattice_dynamics.elasticity import bulk_and_shear, elastic_stiffness, independent_elements
from tests.crystals import make_irreducible
from tests.results import point_fit_result, posterior_result
from tests.springs import spring_constants, springs_of


def springs(name: str) -> np.ndarray:
    irreducible = make_irreducible(name)
    strengths = np.array([4 / orbit.shell for orbit in irreducible.orbits])
    return spring_constants(irreducible, springs_of(irreducible, strengths))


@pytest.mark.parametrize("name", ["fcc", "hcp", "wurtzite"])
def test_spread_is_that_of_linear_propagation(name):
    """Constants known to about 1 % move the elastic ones linearly. 4,000 draws know an sd to 1.1 % and a mean
    to 1.6 % of an sd (one sigma); 5 % and 8 % fail by chance once in 10^5 and more."""
    irreducible, values = make_irreducible(name), springs(name)
    root = 0.003 * np.random.default_rng(0).normal(size=(len(values), len(values)))
    covariance = root @ root.T
    draws = force_constant_draws(point_fit_result(name, values, covariance), 4000)
    found = elastic_summary(draws)["elastic_GPa"]

    def every(phi: np.ndarray) -> np.ndarray:
        stiffness = elastic_stiffness(irreducible, phi)
        chosen = [stiffness[place] for place in independent_elements(irreducible.crystal).values()]
        return np.array([*chosen, *map(float, bulk_and_shear(stiffness))])

    step = 1e-4
    gradient = np.array(
        [(every(values + step * e) - every(values - step * e)) / (2 * step) for e in np.eye(len(values))]
    )
    sd = np.sqrt(np.diag(gradient.T @ covariance @ gradient))
    assert list(found) == [*independent_elements(irreducible.crystal), "K", "G"]
    for each, mean, width in zip(found.values(), every(values), sd, strict=True):
        assert each["sd"] == pytest.approx(width, rel=0.05)
        assert abs(each["mean"] - mean) < 0.08 * width
        # A quantile in the tail is known to 1.4 times less than the sd of 4,000 draws: 0.04 of it.
        assert each["interval_low"] == pytest.approx(mean - 1.96 * width, abs=0.2 * width)
        assert each["interval_high"] == pytest.approx(mean + 1.96 * width, abs=0.2 * width)


def test_a_posterior_is_summarised_over_its_own_draws():
    values = springs("fcc")
    chains = values + 0.01 * np.random.default_rng(1).normal(size=(2, 50, len(values)))
    found = elastic_summary(force_constant_draws(posterior_result("fcc", chains), 100))
    expected = elastic_stiffness(make_irreducible("fcc"), chains.reshape(100, -1))
    assert found["elastic_GPa"]["C12"]["mean"] == pytest.approx(expected[:, 0, 1].mean())
    assert found["elastic_GPa"]["C12"]["sd"] == pytest.approx(expected[:, 0, 1].std(ddof=1))
    assert found["elastically_stable"] == 1
    assert found["invariance"]["conditions"] == 0
    assert found["invariance"]["chi_square"] is None
    assert len(found["elastic_words"]) == 1


def test_violation_is_told_with_its_significance():
    """One condition of hcp: a step of k standard deviations against it has a chi-square of k²."""
    irreducible, values = make_irreducible("hcp"), springs("hcp")
    covariance = np.diag(np.full(len(values), 0.02**2))
    (against,) = independent_conditions(irreducible, "both")
    quiet = elastic_summary(force_constant_draws(point_fit_result("hcp", values, covariance), 50))
    assert quiet["invariance"]["chi_square"] < 1e-12
    assert quiet["invariance"]["huang_GPa"] < 1e-9
    shifted = point_fit_result("hcp", values + 3 * 0.02 * against, covariance)
    loud = elastic_summary(force_constant_draws(shifted, 50))
    assert loud["invariance"]["conditions"] == 1
    assert loud["invariance"]["chi_square"] == pytest.approx(9)
    assert loud["invariance"]["huang_GPa"] > 0.01 * loud["elastic_GPa"]["C11"]["mean"]
    assert any("stress" in sentence for sentence in loud["elastic_words"])
    assert any("invariance" in sentence for sentence in loud["elastic_words"])


def test_a_result_with_invariance_restores_its_constants():
    """Names, number of shells and conditions are in the file; the last shell of hcp loses a constant."""
    irreducible = make_irreducible("hcp")
    found = constrained(irreducible, "both")
    places = [irreducible.names.index(name) for name in found.names]
    values = springs("hcp")[places]
    tree = point_fit_result("hcp", values, np.diag((0.01 * np.abs(values) + 1e-6) ** 2), invariance="both")
    draws = force_constant_draws(tree, 20)
    assert draws.irreducible.names == found.names
    assert draws.irreducible.invariance == "both"
    np.testing.assert_allclose(draws.irreducible.basis, found.basis, atol=1e-13)
    record = elastic_summary(draws)["invariance"]
    assert record["imposed"] == "both"
    assert record["conditions"] == 0
    assert record["huang_GPa"] < 1e-9
