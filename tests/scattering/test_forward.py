"""The forward model: gradients against finite differences, and finite numbers everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import make_supercell
from bayestds.errors import CrystalError, PrecisionError
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.lattice_dynamics.harmonic import covariance, stable
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, default_supercell, make_crystal, make_irreducible


def make_case(name: str, longest: float = 12.0, n_near: int | None = None, order: int = 0):
    """A forward model at eight points with complex factors, and stable force constants."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    q_points = commensurate_points(supercell, 8, longest)
    rng = np.random.default_rng(9)
    shape = (len(q_points), irreducible.crystal.n_atoms)
    factors = rng.uniform(0.5, 2, shape) + 1j * rng.uniform(-1, 1, shape)
    engine = make_engine(supercell, q_points, factors, n_near, order)
    return make_forward_model(irreducible, supercell, 300.0, OnMesh(engine)), random_stable(
        irreducible, supercell, seed=5
    )


jacobian = jax.jit(jax.jacrev(log_intensity, argnums=1))


def central_differences(forward: ForwardModel, phi: np.ndarray, step: float) -> np.ndarray:
    """Fourth-order differences (n_q, n_irreducible)."""
    columns = []
    for unit in np.eye(len(phi)):
        far, near = (
            np.asarray(log_intensity(forward, jnp.asarray(phi + m * step * unit)))
            - np.asarray(log_intensity(forward, jnp.asarray(phi - m * step * unit)))
            for m in (2, 1)
        )
        columns.append((8 * near - far) / (12 * step))
    return np.array(columns).T


@pytest.mark.parametrize(
    ("name", "n_near", "order"),
    [
        ("fcc", None, 0),
        ("zincblende", None, 0),
        ("hcp", None, 0),
        ("triclinic", None, 0),
        ("wurtzite", 20, 3),
    ],
)
def test_gradient_equals_finite_differences(name, n_near, order):
    forward, phi = make_case(name, n_near=n_near, order=order)
    assert bool(stable(forward.crystal, jnp.asarray(phi)))
    found = np.asarray(jacobian(forward, jnp.asarray(phi)))
    # Rounding, 1e-12 / step, and truncation, about step⁴, balance here.
    expected = central_differences(forward, phi, 5e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(found).max())


@pytest.mark.parametrize("name", ["fcc", "hcp"])
@pytest.mark.parametrize(
    "distort",
    [
        lambda phi: 0 * phi,
        lambda phi: -phi,
        lambda phi: 1e6 * phi,
        lambda phi: -1e6 * phi,
        lambda phi: 1e-12 * phi,
        lambda phi: 1e-6 * phi,
        lambda phi: 3 * np.random.default_rng(0).normal(size=len(phi)),
        lambda phi: np.where(np.arange(len(phi)) == 0, phi, 0),
    ],
    ids=["zero", "unstable", "huge", "huge unstable", "tiny", "soft", "random", "one parameter"],
)
@pytest.mark.parametrize("order", [0, 3])
def test_values_and_gradients_are_finite_everywhere(name, distort, order):
    forward, phi = make_case(name, 25.0, n_near=None if order == 0 else 5, order=order)
    parameters = jnp.asarray(distort(phi))
    assert jnp.isfinite(log_intensity(forward, parameters)).all()
    assert jnp.isfinite(jacobian(forward, parameters)).all()


def test_very_stiff_crystal_scatters_by_one_phonon():
    """For C -> 0 the intensity is linear in C, so log I falls by log 10 when φ grows tenfold."""
    forward, phi = make_case("hcp")
    stiff, stiffer = (np.asarray(log_intensity(forward, jnp.asarray(f * phi))) for f in (1e5, 1e6))
    np.testing.assert_allclose(stiff - stiffer, np.log(10), atol=2e-5)


def test_very_soft_crystal_scatters_as_independent_atoms():
    """For C -> ∞ all correlations and Bragg peaks are lost: I / N_cells = Σ |f|²."""
    irreducible, supercell = make_irreducible("zincblende"), default_supercell("zincblende")
    factors = np.array([1.5, 0.5 + 2j])
    engine = make_engine(supercell, commensurate_points(supercell, 8, 25.0)[4:], factors)
    phi = 1e-3 * random_stable(irreducible, supercell, seed=5)
    found = log_intensity(
        make_forward_model(irreducible, supercell, 1000.0, OnMesh(engine)), jnp.asarray(phi)
    )
    np.testing.assert_allclose(found, np.log((np.abs(factors) ** 2).sum()), atol=1e-9)


def test_factors_scale_the_intensity():
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    q_points, phi = (
        commensurate_points(supercell, 8, 12.0),
        jnp.asarray(random_stable(irreducible, supercell, seed=5)),
    )
    forward = make_forward_model(irreducible, supercell, 300.0, OnMesh(make_engine(supercell, q_points)))
    plain = log_intensity(forward, phi)
    engine = make_engine(supercell, q_points, np.full(2, 3j))
    scaled = log_intensity(forward.with_sum(OnMesh(engine)), phi)
    np.testing.assert_allclose(scaled, plain + np.log(9), rtol=1e-12)


def test_more_than_two_hundred_parameters():
    irreducible = irreducible_force_constants(make_crystal("p1"), 24)
    supercell = make_supercell(irreducible.crystal, np.array([4, 3, 3]))
    assert irreducible.n_irreducible >= 200
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=1, perturbation=0.01))
    engine = make_engine(supercell, commensurate_points(supercell, 4, 8.0))
    forward = make_forward_model(irreducible, supercell, 300.0, OnMesh(engine))
    gradient = jacobian(forward, phi)
    assert gradient.shape == (4, irreducible.n_irreducible)
    assert jnp.isfinite(gradient).all()
    assert (jnp.abs(gradient).max(axis=0) > 0).all()


def test_shells_beyond_half_the_supercell_are_refused():
    supercell = make_supercell(make_crystal("fcc"), np.array([3, 3, 3]))
    lattice_sum = OnMesh(make_engine(supercell, commensurate_points(supercell, 1, 8.0)))
    with pytest.raises(CrystalError, match="Use fewer shells or a larger supercell"):
        make_forward_model(make_irreducible("fcc", 5), supercell, 300.0, lattice_sum)


def test_32_bits_are_refused(monkeypatch):
    supercell = default_supercell("fcc")
    lattice_sum = OnMesh(make_engine(supercell, commensurate_points(supercell, 1, 8.0)))
    monkeypatch.setattr("bayestds.precision.jax.config.read", lambda name: False)
    with pytest.raises(PrecisionError, match="32-bit"):
        make_forward_model(make_irreducible("fcc"), supercell, 300.0, lattice_sum)


def test_stability_flag():
    forward, phi = make_case("fcc")
    assert bool(stable(forward.crystal, jnp.asarray(phi)))
    assert not bool(stable(forward.crystal, jnp.asarray(-phi)))
    assert not bool(stable(forward.crystal, jnp.asarray(0 * phi)))
    assert jnp.isfinite(covariance(forward.crystal, jnp.asarray(-phi))).all()
