"""The scattering of third-order force constants against sums over all pairs of atoms and all bonds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.errors import CrystalError, ModelError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.lattice_dynamics.third_cumulant import make_cubic_term
from bayestds.scattering import fourier, lattice
from bayestds.scattering.cubic import cubic_intensity
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity, make_forward_model
from bayestds.scattering.instrument import Background, Factor
from bayestds.scattering.lattice_sum import Anywhere, OnMesh
from bayestds.scattering.pairs import pair_table
from bayestds.scattering.points import make_point_engine
from bayestds.scattering.terms import Cubic
from tests.brute_force import bonds_of, dense_covariance, dense_hessian, periodic_atoms, random_stable
from tests.crystals import commensurate_points, make_crystal, make_irreducible
from tests.cubic_oracle import dense_bonds, dense_cubic_intensity
from tests.scattering.test_exact import make_factors

TEMPERATURE = 300.0

CRYSTALS = [
    ("fcc", 1, 1, (2, 2, 2)),
    ("diamond", 3, 2, (2, 2, 2)),
    ("zincblende", 3, 2, (2, 2, 2)),
    ("wurtzite", 2, 2, (2, 2, 2)),
    ("p1", 5, 3, (2, 2, 2)),
]
"""Name, shells of second and of third order, supercell; the last three without a centre of symmetry."""

evaluate = jax.jit(cubic_intensity)

Setting = tuple[IrreducibleForceConstants, ThirdOrderForceConstants, Supercell, np.ndarray, np.ndarray]


def setting(name: str, n_second: int, n_third: int, repeats: tuple[int, int, int]) -> Setting:
    """A crystal with random stable φ and random γ."""
    irreducible = make_irreducible(name, n_second)
    third_order = third_order_force_constants(make_crystal(name), n_third)
    supercell = make_supercell(make_crystal(name), np.array(repeats))
    phi = random_stable(irreducible, supercell, seed=5)
    gamma = 10 * np.random.default_rng(8).normal(size=third_order.n_cubic)
    return irreducible, third_order, supercell, phi, gamma


@pytest.mark.parametrize(
    ("name", "n_second", "n_third", "repeats"),
    [pytest.param(*c, marks=pytest.mark.slow if c[0] in ("diamond", "wurtzite") else ()) for c in CRYSTALS],
)
def test_sum_over_all_pairs_and_bonds(name, n_second, n_third, repeats):
    irreducible, third_order, supercell, phi, gamma = setting(name, n_second, n_third, repeats)
    q_points = commensurate_points(supercell, 4, 10.0, seed=1)
    factors = make_factors(len(q_points), supercell.crystal.n_atoms)
    atoms = periodic_atoms(supercell)
    dense = dense_covariance(dense_hessian(atoms, bonds_of(irreducible, phi)), TEMPERATURE)
    bonds = dense_bonds(atoms, third_order, gamma)
    expected = [
        dense_cubic_intensity(atoms, bonds, dense, TEMPERATURE, vector, factor[atoms.kinds])
        for vector, factor in zip(supercell.crystal.scattering_vectors(q_points), factors, strict=True)
    ]
    crystal = harmonic_crystal(irreducible, supercell, TEMPERATURE)
    term, thermal_energy = make_cubic_term(third_order, supercell), crystal.statistics.thermal_energy
    displacement = covariance(crystal, jnp.asarray(phi))
    lengths = pair_table(supercell).lengths
    n_near = int((lengths < 1.01 * lengths[lengths > 0].min()).sum())
    for near, order in ((None, 0), (n_near, 6)):
        engine = make_engine(supercell, q_points, factors, near, order)
        found = cubic_intensity(engine, term, jnp.asarray(gamma), displacement, thermal_energy)
        # Rounding in the direct form; at order 6 what the expansion leaves out, at most 1e-4 in p1.
        np.testing.assert_allclose(found, expected, rtol=3e-4 if order else 1e-10)


@pytest.fixture(scope="module")
def polar() -> Setting:
    return setting("zincblende", 3, 2, (2, 2, 2))


def test_gradient_and_parameters_that_follow(polar):
    """By φ and γ against central differences; γ comes behind φ, and a background behind both."""
    irreducible, third_order, supercell, phi, gamma = polar
    q_points = commensurate_points(supercell, 6, 10.0, seed=1)
    engine = make_engine(supercell, q_points, make_factors(len(q_points), 2), 10, 3)
    forward = make_forward_model(irreducible, supercell, TEMPERATURE, OnMesh(engine), third_order=third_order)
    assert forward.sizes.n_constants == len(phi) + len(gamma)
    parameters = jnp.concatenate([jnp.asarray(phi), jnp.asarray(gamma)])
    bare = log_intensity(replace(forward, terms=()), jnp.asarray(phi))
    value = log_intensity(forward, parameters)
    more = evaluate(engine, make_cubic_term(third_order, supercell), jnp.asarray(gamma),
                    covariance(forward.crystal, jnp.asarray(phi)),
                    forward.crystal.statistics.thermal_energy)  # fmt: skip
    np.testing.assert_allclose(value, np.log(np.exp(bare) + more), rtol=1e-12)

    weights = jnp.asarray(np.random.default_rng(3).normal(size=len(q_points)))
    gradient = jax.grad(lambda p: weights @ log_intensity(forward, p))(parameters)
    steps = 1e-5 * np.eye(len(parameters))
    # Central differences of step h: off by h² times third derivatives, and by rounding over h.
    differences = [weights @ (log_intensity(forward, parameters + h) - log_intensity(forward, parameters - h))
                   for h in steps]  # fmt: skip
    np.testing.assert_allclose(gradient, np.array(differences) / 2e-5, rtol=1e-5, atol=1e-7)
    assert (np.abs(gradient[len(phi) :]) > 1e-6).all()

    rng = np.random.default_rng(2)
    factor, background = rng.uniform(0.5, 1, 6), rng.uniform(0, 1, (6, 2))
    terms = Background(jnp.asarray(background), jnp.ones(2), ("one", "two"))
    instrument = (Factor(jnp.asarray(factor)), terms)
    strengths = jnp.array([0.3, 0.2])
    measured = log_intensity(replace(forward, effects=instrument), jnp.concatenate([parameters, strengths]))
    np.testing.assert_allclose(measured, np.log(factor * np.exp(value) + background @ strengths), rtol=1e-12)


def test_groups_and_monomials_change_nothing(polar, monkeypatch):
    """Monomials of Q, of Q in groups, and of G: rounding only, in value and gradient."""
    irreducible, third_order, supercell, phi, gamma = polar
    q_points = commensurate_points(supercell, 40, 10.0, seed=1)
    factors = make_factors(len(q_points), 2)
    crystal = harmonic_crystal(irreducible, supercell, TEMPERATURE)
    terms = (Cubic(make_cubic_term(third_order, supercell)),)
    parameters = jnp.asarray(np.append(phi, gamma))
    weights = jnp.asarray(np.random.default_rng(3).normal(size=len(q_points)))
    found, layouts = [], []
    for largest_excess, memory in ((0, 2**25), (0, 2**12), (10**6, 2**25)):
        monkeypatch.setattr(lattice, "LARGEST_EXCESS", largest_excess)
        # With little memory also the cells are in chunks, the last of them padded.
        monkeypatch.setattr(fourier, "NUMBERS_AT_ONCE", 500 if memory < 2**13 else 2**17)
        engine = make_engine(supercell, q_points, factors, 10, 3, memory=memory)
        layouts.append((engine.n_groups > 1, engine.lattice is not None))
        model = ForwardModel(crystal, terms, OnMesh(engine), ())
        found.append(jax.value_and_grad(lambda p, m=model: weights @ log_intensity(m, p))(parameters))
    assert layouts == [(False, False), (True, False), (False, True)]
    (value, slope), *others = found
    for other, other_slope in others:
        np.testing.assert_allclose(other, value, rtol=1e-10)
        np.testing.assert_allclose(other_slope, slope, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("repeats", [(3, 3, 3), (4, 4, 4)])
def test_transforms_of_half_of_the_planes_change_nothing(repeats, monkeypatch):
    """Of one atom, of even and odd terms, in odd and even numbers of planes: as the sums over all cells."""
    irreducible, third_order, supercell, phi, gamma = setting("fcc", 1, 1, repeats)
    crystal = harmonic_crystal(irreducible, supercell, TEMPERATURE)
    terms = (Cubic(make_cubic_term(third_order, supercell)),)
    parameters = jnp.asarray(np.append(phi, gamma))
    q_points = commensurate_points(supercell, 40, 10.0, seed=1)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=len(q_points)))
    found = []
    for few_waves in (10**6, 0):
        monkeypatch.setattr(fourier, "FEW_WAVES", few_waves)
        engine = make_engine(supercell, q_points, None, 7, 3)
        assert engine.sums.n_transformed == (0 if few_waves else 3)
        model = ForwardModel(crystal, terms, OnMesh(engine), ())
        found.append(jax.value_and_grad(lambda p, m=model: weights @ log_intensity(m, p))(parameters))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-10)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-9, atol=1e-10)


def test_what_it_is_not_known_for_is_refused(polar):
    irreducible, third_order, supercell, _, _ = polar
    on_mesh = OnMesh(make_engine(supercell, commensurate_points(supercell, 1, 10.0)))
    with pytest.raises(ModelError, match="quantum"):
        make_forward_model(irreducible, supercell, TEMPERATURE, on_mesh, "quantum", third_order)
    between = Anywhere(make_point_engine(irreducible, supercell, np.array([[1.03, 0.2, 0.4]])))
    with pytest.raises(ModelError, match="between wave vectors of the supercell"):
        make_forward_model(irreducible, supercell, TEMPERATURE, between, third_order=third_order)
    with pytest.raises(CrystalError, match="half the supercell"):
        make_cubic_term(third_order_force_constants(irreducible.crystal, 6), supercell)
