"""The engine for Q points anywhere, against the grid engine on the same supercell and on a larger one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.choices import StatisticsName
from bayestds.crystal.supercell import make_supercell
from bayestds.errors import VolumeError
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import Anywhere, OnMesh
from bayestds.scattering.points import make_point_engine
from bayestds.scattering.q_points import FreePoints
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, make_irreducible

CRYSTALS = [
    ("fcc", 3, (4, 4, 4)),
    ("zincblende", 2, (3, 3, 3)),
    ("hcp", 3, (4, 4, 3)),
    ("quartz", 6, (2, 2, 2)),
]


def factors_of(n_points: int, n_atoms: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.uniform(0.5, 3, (n_points, n_atoms)) * np.exp(1j * rng.uniform(0, 6, (n_points, n_atoms)))


def at_points(
    irreducible, values, supercell, q_points, factors=None, statistics: StatisticsName = "classical"
):
    lattice_sum = Anywhere(make_point_engine(irreducible, supercell, q_points, factors))
    forward = make_forward_model(irreducible, supercell, 300.0, lattice_sum, statistics)
    return log_intensity(forward, jnp.asarray(values))


@pytest.mark.parametrize(("name", "n_shells", "multiples"), CRYSTALS)
@pytest.mark.parametrize("statistics", ["classical", "quantum"])
def test_agrees_with_the_grid_engine_where_both_apply(name, n_shells, multiples, statistics):
    irreducible = make_irreducible(name, n_shells)
    supercell = make_supercell(irreducible.crystal, multiples)
    values = random_stable(irreducible, supercell, 3)
    q_points = commensurate_points(supercell, 40, 15.0)
    q_points = q_points[supercell.k_index(q_points) != 0]
    factors = factors_of(len(q_points), irreducible.crystal.n_atoms)
    engine = make_engine(supercell, q_points, factors)
    forward = make_forward_model(irreducible, supercell, 300.0, OnMesh(engine), statistics)
    expected = log_intensity(forward, jnp.asarray(values))
    found = at_points(irreducible, values, supercell, q_points, factors, statistics)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


# Quartz in so small a cell has no far pairs.
@pytest.mark.parametrize(("name", "n_shells", "multiples"), CRYSTALS[:3])
def test_far_pairs_expanded_leave_what_is_measured(name, n_shells, multiples):
    """The sum that is chosen keeps the tolerance, and what it leaves out is known."""
    irreducible = make_irreducible(name, n_shells)
    supercell = make_supercell(irreducible.crystal, multiples)
    values = jnp.asarray(random_stable(irreducible, supercell, 3))
    q_points = np.random.default_rng(0).uniform(-3, 3, (40, 3))
    points = FreePoints(irreducible, supercell, q_points, factors_of(40, irreducible.crystal.n_atoms))
    direct = make_forward_model(irreducible, supercell, 300.0, points.direct())
    tolerance = 1e-4
    chosen = points.cheapest(covariance(direct.crystal, values), tolerance)
    assert chosen.engine.engine.order > 0
    forward = direct.with_sum(chosen)
    left_out = log_intensity(direct, values) - log_intensity(forward, values)
    assert 0 < np.abs(left_out).max() <= tolerance
    truncation = points.truncation(forward, values)
    np.testing.assert_allclose(truncation.offset, left_out, rtol=0, atol=1e-12)
    assert not points.truncation(direct, values).error.any()


def test_truncation_of_many_points_is_estimated_on_a_sample(monkeypatch):
    irreducible = make_irreducible("hcp", 3)
    supercell = make_supercell(irreducible.crystal, (4, 4, 3))
    values = jnp.asarray(random_stable(irreducible, supercell, 3))
    points = FreePoints(irreducible, supercell, np.random.default_rng(0).uniform(-3, 3, (40, 3)))
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    forward = ForwardModel(crystal, (), points.cheapest(covariance(crystal, values), 1e-3), ())
    exact_error = np.abs(points.truncation(forward, values).error)
    monkeypatch.setattr("bayestds.scattering.q_points.DIRECT_WAVES", 0.0)
    estimate = points.truncation(forward, values)
    assert not estimate.offset.any()
    # Weights are those of C(R) alone there, where scattering by one phonon has C(q).
    assert estimate.error.max() == pytest.approx(exact_error.max(), rel=0.3)


def test_points_of_equal_q_share_their_waves():
    irreducible = make_irreducible("zincblende", 2)
    supercell = make_supercell(irreducible.crystal, (3, 3, 3))
    values = random_stable(irreducible, supercell, 3)
    axis = np.arange(-9, 10) * 0.2 + 0.1
    q_points = np.stack(np.meshgrid(axis, axis, [0.3, 0.7], indexing="ij"), axis=-1).reshape(-1, 3)
    engine = make_point_engine(irreducible, supercell, q_points)
    assert len(engine.folding.q) < len(q_points) / 3
    alone = [at_points(irreducible, values, supercell, point[None])[0] for point in q_points[:200:40]]
    together = at_points(irreducible, values, supercell, q_points)[:200:40]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-11)


def test_unphysical_constants_give_finite_numbers():
    """Atoms that hardly hold together: exponents far beyond what a number can hold."""
    irreducible = make_irreducible("fcc", 1)
    supercell = make_supercell(irreducible.crystal, (3, 3, 3))
    values = 1e-6 * jnp.asarray(random_stable(irreducible, supercell, 3))
    engine = make_point_engine(irreducible, supercell, np.random.default_rng(0).uniform(2, 6, (20, 3)))
    forward = make_forward_model(irreducible, supercell, 300.0, Anywhere(engine))
    found, slope = jax.value_and_grad(lambda phi: log_intensity(forward, phi).sum())(values)
    assert np.isfinite(found)
    assert np.isfinite(slope).all()


def test_between_the_waves_of_its_supercell_it_converges_to_a_larger_one():
    """Points of an 8x8x8 supercell, seen through smaller ones; W is another there, so shapes are compared."""
    irreducible = make_irreducible("fcc", 2)
    large = make_supercell(irreducible.crystal, (8, 8, 8))
    values = random_stable(irreducible, make_supercell(irreducible.crystal, (4, 4, 4)), 5, 0.1)
    q_points = commensurate_points(large, 300, 14.0)
    q_points = q_points[large.k_index(q_points) != 0]
    forward = make_forward_model(irreducible, large, 300.0, OnMesh(make_engine(large, q_points)))
    expected = log_intensity(forward, jnp.asarray(values))
    errors = []
    for multiple in (3, 5, 6):
        supercell = make_supercell(irreducible.crystal, (multiple,) * 3)
        difference = np.asarray(at_points(irreducible, values, supercell, q_points) - expected)
        errors.append(np.std(difference))
    assert errors[0] > errors[1] > errors[2], errors
    assert errors[1] < 0.01, errors


def test_derivatives_match_finite_differences():
    finite_difference_step = 1e-5
    irreducible = make_irreducible("zincblende", 2)
    supercell = make_supercell(irreducible.crystal, (3, 3, 3))
    values = random_stable(irreducible, supercell, 1)
    q_points = np.random.default_rng(0).uniform(-4, 4, (30, 3))
    engine = make_point_engine(irreducible, supercell, q_points)
    for statistics in ("classical", "quantum"):
        forward = make_forward_model(irreducible, supercell, 300.0, Anywhere(engine), statistics)
        _, derivative = log_intensity_and_jacobian(forward, jnp.asarray(values))
        for index in range(len(values)):
            step = finite_difference_step * np.eye(len(values))[index]
            up, down = (log_intensity(forward, jnp.asarray(values + sign * step)) for sign in (1, -1))
            slope = (up - down) / (2 * finite_difference_step)
            np.testing.assert_allclose(derivative[:, index], slope, rtol=1e-5, atol=1e-6)
        backward = jax.grad(lambda phi, f=forward: log_intensity(f, phi).sum())(jnp.asarray(values))
        np.testing.assert_allclose(backward, derivative.sum(axis=0), rtol=1e-9)


def test_invariant_under_the_symmetry_of_the_crystal():
    irreducible = make_irreducible("hcp", 3)
    supercell = make_supercell(irreducible.crystal, (4, 4, 3))
    values = random_stable(irreducible, supercell, 2)
    q_point = np.array([[1.237, 2.611, 0.383]])
    images = np.einsum("qi,oij->oqj", q_point, irreducible.crystal.laue_group)[:, 0]
    found = np.asarray(at_points(irreducible, values, supercell, images))
    assert np.ptp(found) < 1e-10


@pytest.mark.parametrize("bad", [[1.0, 1.0, 1.0], [np.nan, 0.0, 0.0]])
def test_bragg_points_and_nan_are_refused(bad):
    irreducible = make_irreducible("fcc", 1)
    supercell = make_supercell(irreducible.crystal, (2, 2, 2))
    with pytest.raises(VolumeError, match="1 of 2 Q points"):
        make_point_engine(irreducible, supercell, np.array([[0.3, 0.1, 0.2], bad]))
