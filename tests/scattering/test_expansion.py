"""The expansion in phonon orders against the direct form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.scattering import exact, expansion
from bayestds.scattering.exact import make_engine, pair_table
from bayestds.scattering.expansion import choose_engine, expansion_error
from bayestds.scattering.forward import covariance, make_forward_model
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, default_supercell, make_crystal, make_irreducible

log_intensity = jax.jit(exact.log_intensity)
NAMES = ["fcc", "diamond", "hcp", "quartz", "triclinic"]


def make_case(name: str, longest: float, n_points: int = 60):
    """A supercell, points, complex factors and a covariance."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    found = covariance(make_forward_model(irreducible, supercell, 300.0), phi)
    q_points = commensurate_points(supercell, n_points, longest, seed=2)
    rng = np.random.default_rng(9)
    shape = (n_points, irreducible.crystal.n_atoms)
    return supercell, q_points, found, rng.uniform(0.5, 2, shape) + 1j * rng.uniform(-1, 1, shape)


def whole_shell(supercell: Supercell, at_least: int) -> int:
    lengths = pair_table(supercell).lengths
    ends = np.flatnonzero(np.append(np.diff(lengths) > 1e-3, True)) + 1
    return int(ends[ends >= at_least][0])


@pytest.mark.parametrize("name", ["fcc", "quartz"])
def test_all_near_is_the_direct_form_at_any_order(name):
    supercell, q_points, found, factors = make_case(name, 15.0)
    direct = log_intensity(make_engine(supercell, q_points, factors), found)
    expanded = log_intensity(make_engine(supercell, q_points, factors, order=3), found)
    np.testing.assert_allclose(expanded, direct, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_near", [0, 6])
def test_high_order_converges_to_the_direct_form(name, n_near):
    """Displacements so small that seven phonons do not count: every wrong pair or monomial shows."""
    supercell, q_points, found, factors = make_case(name, 6.0)
    found *= 0.05 / (6.0**2 * found[0].max())
    near = n_near if n_near == 0 else whole_shell(supercell, n_near)
    direct = log_intensity(make_engine(supercell, q_points, factors), found)
    expanded = log_intensity(make_engine(supercell, q_points, factors, near, order=6), found)
    np.testing.assert_allclose(expanded, direct, rtol=0, atol=1e-9)


def test_error_falls_with_order():
    supercell, q_points, found, factors = make_case("hcp", 8.0)
    near = whole_shell(supercell, 8)
    direct = log_intensity(make_engine(supercell, q_points, factors), found)
    errors = [
        float(
            jnp.abs(
                log_intensity(make_engine(supercell, q_points, factors, near, order), found) - direct
            ).max()
        )
        for order in (1, 2, 3, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-2 * errors[0]


@pytest.mark.parametrize(
    ("name", "tolerance"), [(name, 1e-4) for name in NAMES] + [("fcc", 1e-2), ("fcc", 1e-6), ("quartz", 1e-2)]
)
def test_chosen_engine_keeps_the_tolerance(name, tolerance):
    supercell, q_points, found, factors = make_case(name, 15.0)
    engine = choose_engine(supercell, q_points, found, factors, tolerance)
    error = expansion_error(engine, supercell, q_points, found, factors)
    assert error.n_checked == error.n_points == len(q_points)
    assert error.largest <= tolerance
    direct = log_intensity(make_engine(supercell, q_points, factors), found)
    measured = np.abs(np.asarray(log_intensity(engine, found) - direct))
    # log(1 + x) against x: the stated error is that of the intensity.
    np.testing.assert_allclose(measured.max(), error.largest, rtol=tolerance, atol=1e-11)
    np.testing.assert_allclose(np.median(measured), error.median, rtol=tolerance, atol=1e-11)


def test_direct_engine_has_no_error():
    supercell, q_points, found, factors = make_case("hcp", 15.0)
    error = expansion_error(make_engine(supercell, q_points, factors), supercell, q_points, found, factors)
    assert error.largest == error.median == 0


def test_expansion_pays_in_a_large_supercell():
    """Otherwise the tests above could all have looked at the direct form."""
    irreducible = make_irreducible("fcc", 5)
    supercell = make_supercell(make_crystal("fcc"), np.array([5, 5, 5]))
    phi = jnp.asarray(np.zeros(16)).at[:3].set(jnp.asarray([-0.99, 0.06, -1.04]))
    found = covariance(make_forward_model(irreducible, supercell, 300.0), phi)
    q_points = commensurate_points(supercell, 200, 20.0)
    engine = choose_engine(supercell, q_points, found)
    assert engine.order > 0
    assert len(engine.near_pairs) < 30
    assert expansion_error(engine, supercell, q_points, found).largest <= 1e-4


def test_chosen_engine_is_symmetric():
    """Near pairs come in whole shells, so the truncation has the symmetry of the crystal as well."""
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    found = covariance(make_forward_model(irreducible, supercell, 100.0), phi)
    rotations = irreducible.crystal.laue_group
    q_points = commensurate_points(supercell, 10, 10.0)
    images = np.concatenate([q_points @ rotation for rotation in rotations])
    engine = choose_engine(supercell, images, found, tolerance=1e-2)
    assert 0 < engine.order
    intensity = np.asarray(log_intensity(engine, found)).reshape(len(rotations), -1)
    np.testing.assert_allclose(intensity, np.broadcast_to(intensity[0], intensity.shape), atol=1e-11)


def test_error_of_many_points_is_measured_on_a_sample(monkeypatch):
    supercell, q_points, found, factors = make_case("hcp", 15.0)
    monkeypatch.setattr(expansion, "_EVALUATIONS", 20 * len(pair_table(supercell).cells))
    engine = choose_engine(supercell, q_points, found, factors)
    error = expansion_error(engine, supercell, q_points, found, factors)
    assert (error.n_checked, error.n_points) == (20, 60)
    assert error.largest <= 1e-4
