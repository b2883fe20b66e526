"""Phonons of a result: error bars against linear propagation, instability in words."""

from dataclasses import replace

import numpy as np
import pytest

from bayestds.diagnostics.draws import ForceConstantDraws, force_constant_draws
from bayestds.diagnostics.phonon_bands import INNER_INTERVAL, INTERVAL, POLAR, phonon_bands
from bayestds.errors import CrystalError
from bayestds.lattice_dynamics.phonons import frequencies
from tests.brute_force import random_stable
from tests.crystals import default_supercell, make_irreducible
from tests.results import point_fit_result


def draws_of(name: str, n_shells: int, n_draws: int, error: float = 1e-3) -> ForceConstantDraws:
    irreducible, supercell = make_irreducible(name, n_shells), default_supercell(name)
    values = random_stable(irreducible, supercell, 0)
    root = error * np.random.default_rng(1).normal(size=(len(values), len(values)))
    return force_constant_draws(point_fit_result(name, values, root @ root.T, n_shells), n_draws)


def test_standard_errors_are_those_of_linear_propagation():
    """Of 500 draws: four times the sampling errors (3 % of an sd, 5 % of a width, 0.09 sd of a centre)."""
    draws = draws_of("fcc", 2, 500)
    found = phonon_bands(draws, ["Γ", "X"])
    points, step = np.array(list(found.special.values())), 1e-5
    ends = draws.mean + step * np.array([[1], [-1]])[..., None] * np.eye(len(draws.mean))
    up, down = frequencies(draws.irreducible, ends, points)
    slopes = (up - down) / (2 * step)
    sd = np.sqrt(np.einsum("iqm,ij,jqm->qm", slopes, draws.covariance, slopes))
    away = [i for i, name in enumerate(found.special) if name != "Γ"]
    special = found.at_special
    np.testing.assert_allclose(special.sd[away], sd[away], rtol=0.13)
    np.testing.assert_allclose(special.value[away], frequencies(draws.irreducible, draws.mean, points)[away])
    for low, high, width in (
        (special.low, special.high, 1.959964),
        (special.inner_low, special.inner_high, 0.674490),
    ):
        np.testing.assert_allclose((high - low)[away], 2 * width * sd[away], rtol=0.21)
        np.testing.assert_allclose(((high + low) / 2 - special.value)[away] / sd[away], 0, atol=0.36)
    assert (INTERVAL, INNER_INTERVAL) == (0.95, 0.5)


def test_bands_and_density_of_states_agree():
    draws = draws_of("rocksalt", 3, 20)
    found = phonon_bands(draws)
    n_q = len(found.path.q_points)
    for array in vars(found.bands).values():
        assert array.shape == (n_q, 6)
    np.testing.assert_allclose(
        found.bands.value, frequencies(draws.irreducible, draws.mean, found.path.q_points), atol=1e-9
    )
    assert (found.bands.low <= found.bands.inner_low).all()
    assert (found.bands.inner_high <= found.bands.high).all()
    assert found.dos.value @ np.diff(found.edges) == pytest.approx(6, rel=1e-9)
    assert found.edges[-1] > found.bands.high.max()
    # Nothing above the highest frequency.
    assert found.dos.value[found.edges[:-1] > found.bands.value.max() * 1.02].max() == 0
    assert found.participation.shape == (len(found.special), 6, 3)
    assert found.words == (POLAR,)


def test_path_of_the_users_choice():
    found = phonon_bands(draws_of("fcc", 2, 20), ["L", "Γ", "X"])
    assert found.path.labels == ("L", "Γ", "X")
    assert found.words == ()
    with pytest.raises(CrystalError, match="no special point 'Q'"):
        phonon_bands(draws_of("fcc", 2, 20), ["L", "Q"])


def test_no_more_is_known_than_the_constants_allow():
    """Without any error the bands are lines."""
    found = phonon_bands(draws_of("diamond", 2, 20, error=0.0))
    for spread in (found.bands, found.at_special, found.dos):
        np.testing.assert_allclose(spread.low, spread.value, atol=1e-6)
        np.testing.assert_allclose(spread.high, spread.value, atol=1e-6)


def test_instability_is_said_in_words():
    stable = draws_of("fcc", 2, 20)
    draws = np.concatenate([np.tile(stable.draws, (3, 1)), -stable.draws])
    some = phonon_bands(replace(stable, draws=draws))
    assert len(some.words) == 1
    assert "Of the draws 25.0% have imaginary frequencies" in some.words[0]
    assert some.edges[0] < some.bands.low.min() < 0
    assert some.dos.value @ np.diff(some.edges) == pytest.approx(3)
    none = phonon_bands(replace(stable, mean=-stable.mean, draws=draws))
    lowest = none.bands.value.min()
    assert "unstable crystal" in none.words[0]
    assert f"the lowest {min(lowest, none.at_special.value.min()):.1f}"[:-1] in none.words[0]
    assert none.dos.value @ np.diff(none.edges) == pytest.approx(3)


def test_a_crystal_without_one_real_frequency():
    stable = draws_of("fcc", 2, 20)
    found = phonon_bands(replace(stable, mean=-stable.mean, draws=-stable.draws))
    assert "unstable crystal" in found.words[0]
    assert "Of the draws 100.0%" in found.words[1]
    assert found.dos.value @ np.diff(found.edges) == pytest.approx(3)
