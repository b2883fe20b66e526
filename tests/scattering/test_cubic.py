"""The scattering of third-order force constants against sums over all pairs of atoms and all bonds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.choices import StatisticsName
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.errors import CrystalError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.inference.sums import imaginary_time_error
from bayestds.lattice_dynamics.harmonic import harmonic_crystal, star_blocks
from bayestds.lattice_dynamics.statistics import Quantum
from bayestds.lattice_dynamics.third_cumulant import make_cubic_term
from bayestds.scattering import fourier, lattice
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.instrument import Background, Factor
from bayestds.scattering.lattice_sum import Anywhere, LatticeSum, OnMesh
from bayestds.scattering.pairs import pair_table
from bayestds.scattering.points import make_point_engine
from bayestds.scattering.terms import make_cubic
from tests.brute_force import (
    bonds_of,
    dense_covariance,
    dense_hessian,
    dense_quantum_covariance,
    periodic_atoms,
    random_stable,
)
from tests.crystals import commensurate_points, make_crystal, make_irreducible
from tests.cubic_oracle import (
    change_of_intensity,
    classical_node,
    cubic_intensity_anywhere,
    dense_bonds,
    dense_cubic_intensity,
    quantum_nodes,
)
from tests.scattering.test_exact import make_factors

TEMPERATURE, COLD = 300.0, 40.0

CRYSTALS = [
    ("fcc", 1, 1, (2, 2, 2)),
    ("diamond", 3, 2, (2, 2, 2)),
    ("zincblende", 3, 2, (2, 2, 2)),
    ("wurtzite", 2, 2, (2, 2, 2)),
    ("p1", 5, 3, (2, 2, 2)),
]
"""Name, shells of second and of third order, supercell; the last three without a centre of symmetry."""

MESHES = {"fcc": (1, 1, (4, 4, 4)), "zincblende": (2, 1, (3, 3, 3)), "p1": (5, 3, (2, 2, 2))}

Setting = tuple[IrreducibleForceConstants, ThirdOrderForceConstants, Supercell, np.ndarray, np.ndarray]


def setting(name: str, n_second: int, n_third: int, repeats: tuple[int, int, int]) -> Setting:
    """A crystal with random stable φ and random γ."""
    irreducible = make_irreducible(name, n_second)
    third_order = third_order_force_constants(make_crystal(name), n_third)
    supercell = make_supercell(make_crystal(name), np.array(repeats))
    phi = random_stable(irreducible, supercell, seed=5)
    gamma = 10 * np.random.default_rng(8).normal(size=third_order.n_cubic)
    return irreducible, third_order, supercell, phi, gamma


@pytest.mark.parametrize("statistics", ["classical", "quantum"])
@pytest.mark.parametrize(
    ("name", "n_second", "n_third", "repeats"),
    [pytest.param(*c, marks=pytest.mark.slow if c[0] in ("diamond", "wurtzite") else ()) for c in CRYSTALS],
)
def test_sum_over_all_pairs_and_bonds(name, n_second, n_third, repeats, statistics):
    """In the direct form, with far pairs expanded, and as points anywhere; the quantum crystal is cold."""
    irreducible, third_order, supercell, phi, gamma = setting(name, n_second, n_third, repeats)
    q_points = commensurate_points(supercell, 4, 10.0, seed=1)
    q_points = q_points[supercell.k_index(q_points) != 0]
    factors = make_factors(len(q_points), supercell.crystal.n_atoms)
    temperature = TEMPERATURE if statistics == "classical" else COLD
    crystal = harmonic_crystal(irreducible, supercell, temperature, statistics)
    atoms, masses = periodic_atoms(supercell), supercell.crystal.masses
    hessian = dense_hessian(atoms, bonds_of(irreducible, phi))
    if statistics == "classical":
        dense = dense_covariance(hessian, temperature)
        nodes = classical_node(dense, temperature)
    else:
        dense = dense_quantum_covariance(hessian, masses[atoms.kinds], temperature)
        nodes = quantum_nodes(hessian, masses[atoms.kinds], temperature)
    bonds = dense_bonds(atoms, third_order, gamma)
    expected = np.array([
        dense_cubic_intensity(atoms, bonds, dense, nodes, vector, factor[atoms.kinds])
        for vector, factor in zip(supercell.crystal.scattering_vectors(q_points), factors, strict=True)
    ])  # fmt: skip
    term = make_cubic(third_order, supercell, crystal, jnp.asarray(phi))
    # Rounding in the direct form, and the rule of imaginary time; at order 6 what the expansion leaves out,
    # at most 1e-4 in p1.
    exact, expanded = (1e-10, 3e-4) if statistics == "classical" else (2e-4, 5e-4)
    scale = np.abs(expected).max()
    near = n_nearest(supercell)
    given = supercell, q_points, factors
    for lattice_sum, tolerance in (
        (OnMesh(make_engine(*given)), exact),
        (OnMesh(make_engine(*given, near, 6)), expanded),
        (Anywhere(make_point_engine(irreducible, *given)), exact),
        (Anywhere(make_point_engine(irreducible, *given, near, (10**9,) * 6)), expanded),
    ):
        found = change_of_intensity(lattice_sum, crystal, term, phi, gamma)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale / 10)


def n_nearest(supercell: Supercell) -> int:
    """Pairs up to the nearest neighbours."""
    lengths = pair_table(supercell).lengths
    return int((lengths < 1.01 * lengths[lengths > 0].min()).sum())


@pytest.mark.parametrize("name", ["fcc", "zincblende", "p1"])
@pytest.mark.parametrize("statistics", ["classical", "quantum"])
def test_points_anywhere_are_those_of_the_mesh_where_both_apply(name, statistics):
    """To rounding, in value and gradient, near and far pairs alike."""
    irreducible, third_order, supercell, phi, gamma = setting(name, *MESHES[name])
    q_points = commensurate_points(supercell, 20, 10.0, seed=1)
    q_points = q_points[supercell.k_index(q_points) != 0]
    given = supercell, q_points, make_factors(len(q_points), supercell.crystal.n_atoms)
    near, reach = n_nearest(supercell), (10**9,) * 3
    crystal = harmonic_crystal(irreducible, supercell, COLD, statistics)
    terms = (make_cubic(third_order, supercell, crystal, jnp.asarray(phi)),)
    mesh = ForwardModel(crystal, terms, OnMesh(make_engine(*given, near, 3)), ())
    free = mesh.with_sum(Anywhere(make_point_engine(irreducible, *given, near, reach)))
    # Weak enough for a positive intensity everywhere.
    parameters = jnp.asarray(np.append(phi, 0.02 * gamma))
    weights = jnp.asarray(np.random.default_rng(3).normal(size=len(q_points)))
    (a, slope_a), (b, slope_b) = (
        jax.value_and_grad(lambda p, m=m: weights @ log_intensity(m, p))(parameters) for m in (mesh, free)
    )
    assert float(a) == pytest.approx(float(b), rel=1e-11)
    np.testing.assert_allclose(slope_b, slope_a, rtol=1e-8, atol=1e-10 * float(jnp.abs(slope_a).max()))
    one, two = (change_of_intensity(m.lattice_sum, crystal, terms[0], phi, gamma) for m in (mesh, free))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-12 * np.abs(one).max())


@pytest.mark.parametrize(("name", "shells"), [
    ("fcc", (1, 1)), pytest.param("zincblende", (2, 1), marks=pytest.mark.slow),
])  # fmt: skip
def test_between_its_waves_a_supercell_converges_to_a_larger_one(name, shells):
    """Of a crystal with a centre at its sites and of one without."""
    finest = 5
    irreducible, third_order, large, phi, gamma = setting(name, *shells, (finest,) * 3)
    phi = random_stable(irreducible, make_supercell(irreducible.crystal, (4, 4, 4)), 5, 0.1)
    q_points = commensurate_points(large, 60, 10.0, seed=1)
    q_points = q_points[large.k_index(q_points) != 0]

    def change(supercell: Supercell, lattice_sum: OnMesh | Anywhere) -> np.ndarray:
        crystal = harmonic_crystal(irreducible, supercell, 100.0, "quantum")
        term = make_cubic(third_order, supercell, crystal, jnp.asarray(phi))
        return change_of_intensity(lattice_sum, crystal, term, phi, gamma)

    expected = change(large, OnMesh(make_engine(large, q_points)))
    errors = []
    for multiple in range(finest - 3, finest):
        supercell = make_supercell(irreducible.crystal, (multiple,) * 3)
        found = change(supercell, Anywhere(make_point_engine(irreducible, supercell, q_points)))
        errors.append(np.std(found - expected) / np.std(expected))
    assert errors[0] > errors[1] > errors[2], errors
    assert errors[2] < 0.03, errors


@pytest.mark.parametrize("name", ["zincblende", "p1"])
def test_points_anywhere_are_the_sum_written_out(name):
    """ΔI as one sum over all images of all pairs, from C(q), C(R), s and t, at sites without a centre."""
    irreducible, third_order, supercell, phi, gamma = setting(name, *MESHES[name])
    lattice, n = supercell.crystal, supercell.crystal.n_atoms
    q_points = np.random.default_rng(2).uniform(-2, 2, (4, 3))
    factors = make_factors(len(q_points), n)
    crystal = harmonic_crystal(irreducible, supercell, COLD, "quantum")
    term = make_cubic(third_order, supercell, crystal, jnp.asarray(phi))
    expected = [
        cubic_intensity_anywhere(irreducible, supercell, crystal, term, phi, gamma, vector, factor)
        for vector, factor in zip(lattice.scattering_vectors(q_points), factors, strict=True)
    ]
    for near, reach, tolerance in ((None, (), 1e-10), (n_nearest(supercell), (10**9,) * 6, 3e-4)):
        engine = make_point_engine(irreducible, supercell, q_points, factors, near, reach)
        found = change_of_intensity(Anywhere(engine), crystal, term, phi, gamma)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_error_of_imaginary_time_is_measured(polar):
    """It is that against many nodes, and none where motion is classical."""
    irreducible, third_order, supercell, phi, gamma = polar
    lattice_sum = OnMesh(make_engine(supercell, commensurate_points(supercell, 6, 10.0, seed=1)))
    parameters = jnp.asarray(np.append(phi, 0.02 * gamma))

    def measured(statistics: StatisticsName, n_nodes: int | None) -> tuple[float, float]:
        crystal = harmonic_crystal(irreducible, supercell, COLD, statistics)
        term = make_cubic(third_order, supercell, crystal, jnp.asarray(phi))
        forward = ForwardModel(crystal, (term,), lattice_sum, ())
        if statistics == "classical":
            return imaginary_time_error(forward, parameters), 0.0
        assert isinstance(crystal.statistics, Quantum)
        blocks = star_blocks(crystal, jnp.asarray(phi))
        few, many = (replace(term, nodes=crystal.statistics.nodes(blocks, n)) for n in (n_nodes, 14))
        few_forward, many_forward = (replace(forward, terms=(one,)) for one in (few, many))
        difference = log_intensity(few_forward, parameters) - log_intensity(many_forward, parameters)
        return imaginary_time_error(few_forward, parameters), float(jnp.abs(difference).max())

    assert measured("classical", None) == (0.0, 0.0)
    found, true = measured("quantum", 1)
    assert found == pytest.approx(true, rel=0.2)
    found, true = measured("quantum", None)
    assert true < 1e-4
    assert found < 2e-4


def test_quantum_statistics_that_are_hot_are_classical_and_cold_ones_have_a_limit(polar):
    irreducible, third_order, supercell, phi, gamma = polar
    lattice_sum = OnMesh(make_engine(supercell, commensurate_points(supercell, 6, 10.0, seed=1)))

    def change(temperature: float, statistics: StatisticsName) -> np.ndarray:
        crystal = harmonic_crystal(irreducible, supercell, temperature, statistics)
        term = make_cubic(third_order, supercell, crystal, jnp.asarray(phi))
        return change_of_intensity(lattice_sum, crystal, term, phi, gamma)

    hot, classical = change(3e4, "quantum"), change(3e4, "classical")
    np.testing.assert_allclose(hot, classical, rtol=0, atol=1e-3 * np.abs(classical).max())
    warm, classical = change(COLD, "quantum"), change(COLD, "classical")
    assert np.abs(warm - classical).max() > 0.3 * np.abs(warm).max()
    still, cold = change(0.0, "quantum"), change(1.0, "quantum")
    np.testing.assert_allclose(cold, still, rtol=0, atol=1e-4 * np.abs(still).max())


@pytest.fixture(scope="module")
def polar() -> Setting:
    return setting("zincblende", 3, 2, (2, 2, 2))


@pytest.mark.parametrize("statistics", ["classical", "quantum"])
@pytest.mark.parametrize("on_mesh", [True, False])
def test_gradient_and_parameters_that_follow(polar, statistics, on_mesh):
    """By φ and γ against central differences; γ comes behind φ, and a background behind both."""
    irreducible, third_order, supercell, phi, gamma = polar
    q_points = commensurate_points(supercell, 6, 10.0, seed=1) + (0.0 if on_mesh else 0.04)
    factors = make_factors(len(q_points), 2)
    lattice_sum: LatticeSum = OnMesh(make_engine(supercell, q_points, factors, 10, 3)) if on_mesh else (
        Anywhere(make_point_engine(irreducible, supercell, q_points, factors, 10, (10**9,) * 3)))  # fmt: skip
    crystal = harmonic_crystal(irreducible, supercell, TEMPERATURE, statistics)
    terms = (make_cubic(third_order, supercell, crystal, jnp.asarray(phi)),)
    forward = ForwardModel(crystal, terms, lattice_sum, ())
    assert forward.sizes.n_constants == len(phi) + len(gamma)
    parameters = jnp.concatenate([jnp.asarray(phi), jnp.asarray(gamma)])
    bare = log_intensity(replace(forward, terms=()), jnp.asarray(phi))
    value = log_intensity(forward, parameters)
    more = change_of_intensity(lattice_sum, crystal, terms[0], phi, gamma)
    np.testing.assert_allclose(value, np.log(np.exp(bare) + more), rtol=1e-12)

    weights = jnp.asarray(np.random.default_rng(3).normal(size=len(q_points)))
    gradient = jax.grad(lambda p: weights @ log_intensity(forward, p))(parameters)
    steps = 1e-5 * np.eye(len(parameters))
    # Central differences of step h: off by h² times third derivatives, and by rounding over h.
    differences = [weights @ (log_intensity(forward, parameters + h) - log_intensity(forward, parameters - h))
                   for h in steps]  # fmt: skip
    np.testing.assert_allclose(gradient, np.array(differences) / 2e-5, rtol=1e-5, atol=1e-7)
    assert (np.abs(gradient[len(phi) :]) > 1e-8).all()

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
    terms = (make_cubic(third_order, supercell, crystal, jnp.asarray(phi)),)
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
    terms = (make_cubic(third_order, supercell, crystal, jnp.asarray(phi)),)
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


def test_shells_beyond_half_the_supercell_are_refused(polar):
    irreducible, _, supercell, _, _ = polar
    with pytest.raises(CrystalError, match="half the supercell"):
        make_cubic_term(third_order_force_constants(irreducible.crystal, 6), supercell)
