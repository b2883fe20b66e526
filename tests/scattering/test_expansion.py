"""The expansion in phonon orders against the direct form."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, covariance, harmonic_crystal
from bayestds.scattering import exact, expansion, fourier
from bayestds.scattering import q_points as where
from bayestds.scattering.engine import ExactEngine, make_engine
from bayestds.scattering.expansion import Truncation, choose_engine
from bayestds.scattering.forward import ForwardModel
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.pairs import pair_table
from bayestds.scattering.q_points import MeshPoints
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, default_supercell, make_crystal, make_irreducible

log_intensity = jax.jit(lambda engine, found: exact.log_intensity(engine, packed_covariance(found)))
NAMES = ["fcc", "hcp", "quartz", "triclinic"]


def crystal_of(name: str) -> tuple[HarmonicCrystal, jax.Array]:
    """A crystal and its force constants."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    return harmonic_crystal(irreducible, supercell, 300.0), phi


def measured(name: str, engine: ExactEngine, q_points: np.ndarray, factors: np.ndarray) -> Truncation:
    """What an engine leaves out of the intensity of such a crystal."""
    crystal, phi = crystal_of(name)
    points = MeshPoints(default_supercell(name), q_points, factors)
    return points.truncation(ForwardModel(crystal, (), OnMesh(engine), ()), phi)


def make_case(name: str, longest: float, n_points: int = 60):
    """A supercell, points, complex factors and a covariance."""
    supercell = default_supercell(name)
    found = covariance(*crystal_of(name))
    q_points = commensurate_points(supercell, n_points, longest, seed=2)
    rng = np.random.default_rng(9)
    shape = (n_points, supercell.crystal.n_atoms)
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


@pytest.mark.parametrize("name", ["fcc", "hcp", pytest.param("quartz", marks=pytest.mark.slow), "triclinic"])
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
    direct = log_intensity(make_engine(supercell, q_points, factors), found)
    difference = np.asarray(direct - log_intensity(engine, found))
    # The tolerance is kept in δI / I, which is log I to first order.
    assert np.abs(np.expm1(-difference)).max() <= tolerance
    truncation = measured(name, engine, q_points, factors)
    np.testing.assert_allclose(truncation.error, difference, rtol=0, atol=1e-12)
    np.testing.assert_allclose(truncation.offset, difference, rtol=0, atol=1e-12)


def test_direct_engine_has_no_truncation():
    supercell, q_points, _, factors = make_case("hcp", 15.0)
    engine = make_engine(supercell, q_points, factors)
    truncation = measured("hcp", engine, q_points, factors)
    assert not truncation.error.any()
    assert not truncation.offset.any()
    assert len(truncation.offset) == len(q_points)


def test_truncation_of_many_points_is_estimated_on_a_sample(monkeypatch):
    """The estimate is the left-out tail of the series; at these points it must be the true error."""
    supercell, q_points, _, factors = make_case("hcp", 15.0)
    engine = make_engine(supercell, q_points, factors, whole_shell(supercell, 8), order=4)
    exact_error = measured("hcp", engine, q_points, factors).error
    monkeypatch.setattr(where, "DIRECT_EVALUATIONS", 0.0)
    every = measured("hcp", engine, q_points, factors)
    np.testing.assert_allclose(every.error, np.abs(np.expm1(-exact_error)), rtol=1e-6, atol=1e-11)
    assert not every.offset.any()
    monkeypatch.setattr(where, "MEASURING", 20)
    some = measured("hcp", engine, q_points, factors)
    assert len(some.error) == 20
    assert set(some.error.round(13)) <= set(every.error.round(13))
    # Where pairs are many, memory bounds the sample.
    monkeypatch.setattr(expansion, "_FEWEST", 3)
    for terms, expected in ((10 * len(pair_table(supercell).cells), 10), (0, 3)):
        monkeypatch.setattr(expansion, "_TERMS", terms)
        assert len(measured("hcp", engine, q_points, factors).error) == expected


@pytest.mark.parametrize("few_waves", [0, 10, 10**6])
@pytest.mark.parametrize("name", ["fcc", "hcp"])
def test_pairs_count_up_to_their_order(name, few_waves, monkeypatch):
    """What far pairs lack of the series is the difference to the direct form, however it is summed."""
    monkeypatch.setattr(fourier, "FEW_WAVES", few_waves)
    supercell, q_points, found, factors = make_case(name, 12.0)
    near = whole_shell(supercell, 1)
    third = whole_shell(supercell, near + 1)
    reach = (len(pair_table(supercell).cells), whole_shell(supercell, third + 1), third)
    engine = make_engine(supercell, q_points, factors, near, 3, reach=reach)
    assert (engine.sums.n_transformed == 3) == (few_waves == 0)
    difference = measured(name, engine, q_points, factors).error
    monkeypatch.setattr(where, "DIRECT_EVALUATIONS", 0.0)
    estimate = measured(name, engine, q_points, factors).error
    np.testing.assert_allclose(estimate, np.abs(np.expm1(-difference)), rtol=1e-6, atol=1e-11)
    if few_waves == 10**6:
        assert engine.reach == reach
        every = make_engine(supercell, q_points, factors, near, 3)
        assert np.abs(log_intensity(every, found) - log_intensity(engine, found)).max() > 1e-6


def test_engine_chosen_on_a_sample_keeps_the_tolerance(monkeypatch):
    supercell, q_points, found, factors = make_case("hcp", 15.0)
    monkeypatch.setattr(expansion, "CHOOSING", 20)
    engine = choose_engine(supercell, q_points, found, factors)
    error = np.abs(measured("hcp", engine, q_points, factors).error)
    assert error.max() <= 1e-4


def test_expansion_pays_in_a_large_supercell():
    """Otherwise the tests above could all have looked at the direct form."""
    irreducible = make_irreducible("fcc", 5)
    supercell = make_supercell(make_crystal("fcc"), np.array([5, 5, 5]))
    phi = jnp.zeros(16).at[:3].set(jnp.array([-0.99, 0.06, -1.04]))
    found = covariance(harmonic_crystal(irreducible, supercell, 300.0), phi)
    q_points = commensurate_points(supercell, 200, 20.0)
    engine = choose_engine(supercell, q_points, found)
    assert engine.order > 0
    assert len(engine.near_pairs) < 30
    error = log_intensity(make_engine(supercell, q_points), found) - log_intensity(engine, found)
    assert np.abs(error).max() <= 1e-4


def test_orders_reach_the_less_far_the_higher_they_are_and_the_same_for_similar_constants():
    """Fits to similar data shall not be compiled anew: equal shapes, equal static numbers."""
    irreducible = make_irreducible("fcc", 3)
    supercell = make_supercell(make_crystal("fcc"), np.array([7, 7, 7]))
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    phi = jnp.zeros(crystal.n_irreducible).at[:3].set(jnp.array([-0.99, 0.06, -1.04]))
    q_points = commensurate_points(supercell, 150, 20.0)
    engines = [choose_engine(supercell, q_points, covariance(crystal, factor * phi)) for factor in (1, 1.03)]
    first, *_, last = engines[0].reach
    assert first == len(pair_table(supercell).cells)
    assert len(engines[0].near_pairs) < last < first / 3
    assert jax.tree.structure(engines[0]) == jax.tree.structure(engines[1])
    shapes = [[leaf.shape for leaf in jax.tree.leaves(engine)] for engine in engines]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("table", ["target", "start"])
def test_chosen_engine_equals_the_independent_reference(table):
    """One engine, chosen at the target, serves both tables."""
    data = np.load(Path(__file__).parents[1] / "data" / "ni_fcc_exact.npz")
    supercell = make_supercell(make_crystal("fcc"), np.array([5, 5, 5]))
    crystal = harmonic_crystal(make_irreducible("fcc", 5), supercell, 300.0)
    engine = choose_engine(supercell, data["q_points"], covariance(crystal, jnp.asarray(data["target"])))
    assert engine.order > 0
    found = log_intensity(engine, covariance(crystal, jnp.asarray(data[table])))
    np.testing.assert_allclose(found, data[f"log_intensity_{table}"], rtol=0, atol=1e-4)


def test_chosen_engine_is_symmetric():
    """Near pairs come in whole shells, so the truncation has the symmetry of the crystal as well."""
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    found = covariance(harmonic_crystal(irreducible, supercell, 100.0), phi)
    rotations = irreducible.crystal.laue_group
    q_points = commensurate_points(supercell, 10, 10.0)
    images = np.concatenate([q_points @ rotation for rotation in rotations])
    engine = choose_engine(supercell, images, found, tolerance=1e-2)
    assert engine.order > 0
    intensity = np.asarray(log_intensity(engine, found)).reshape(len(rotations), -1)
    np.testing.assert_allclose(intensity, np.broadcast_to(intensity[0], intensity.shape), atol=1e-11)
