"""Displacement covariance and stability against the dense Hessian of all atoms."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.covariance import STABILITY_FLOOR, classical_covariance, instability
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks, covariance, harmonic_crystal, stable
from tests.brute_force import bonds_of, dense_covariance, dense_hessian, periodic_atoms, random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible

REFERENCE = Path(__file__).parents[1] / "data" / "ni_fcc_exact.npz"
SKEWED = [
    ("fcc", 3, [[3, 1, 0], [0, 3, 1], [1, 0, 3]]),
    ("rutile", 6, [[2, 0, 1], [0, 2, 0], [0, 1, 3]]),
    ("quartz", 6, [[2, 1, 0], [0, 2, 0], [0, 1, 2]]),
]
WHOLE = ["fcc", "diamond", "hcp", "rhombohedral", "quartz", "monoclinic", "triclinic", "p1"]
CASES = [pytest.param(name, SAMPLES[name].n_shells, SAMPLES[name].supercell, id=name) for name in WHOLE] + [
    pytest.param(name, n_shells, matrix, id=f"{name}-skewed") for name, n_shells, matrix in SKEWED
]


def covariance_of(crystal: HarmonicCrystal, phi: np.ndarray) -> np.ndarray:
    return np.asarray(covariance(crystal, jnp.asarray(phi)))


@jax.jit
def penalty(crystal: HarmonicCrystal, phi: jax.Array, margin: float) -> jax.Array:
    return instability(blocks(crystal, phi), jnp.asarray(margin))


penalty_and_gradient = jax.jit(jax.value_and_grad(penalty, argnums=1))


@pytest.mark.parametrize(("name", "n_shells", "matrix"), CASES)
def test_covariance_is_the_pseudo_inverse_of_the_dense_hessian(name, n_shells, matrix):
    irreducible = make_irreducible(name, n_shells)
    supercell = make_supercell(make_crystal(name), np.array(matrix))
    phi = random_stable(irreducible, supercell, seed=7)
    found = covariance_of(harmonic_crystal(irreducible, supercell, 300.0), phi)

    atoms = periodic_atoms(supercell)
    dense = dense_covariance(dense_hessian(atoms, bonds_of(irreducible, phi)), 300.0)
    dense = dense.reshape(atoms.n_atoms, 3, atoms.n_atoms, 3).transpose(0, 2, 1, 3)
    # Every atom pair, so that translational invariance is checked as well.
    cells = supercell.cell_index(atoms.cells[:, None] - atoms.cells[None])
    expected = found[cells, atoms.kinds[:, None], atoms.kinds[None]]
    np.testing.assert_allclose(expected, dense, rtol=0, atol=1e-11 * np.abs(dense).max())


def nickel() -> tuple[IrreducibleForceConstants, Supercell, np.ndarray]:
    phi = np.load(REFERENCE)["target"]
    return make_irreducible("fcc", 5), make_supercell(make_crystal("fcc"), np.array([5, 5, 5])), phi


def test_mean_square_displacement_of_nickel():
    irreducible, supercell, phi = nickel()
    found = covariance_of(harmonic_crystal(irreducible, supercell, 300.0), phi)[0, 0, 0]
    # The reference is printed with six digits.
    np.testing.assert_allclose(found, 0.00568585 * np.eye(3), atol=5e-9)
    np.testing.assert_allclose(
        found.diagonal(), np.load(REFERENCE)["mean_square_displacement_target"], atol=5e-9
    )


@pytest.mark.parametrize("name", ["fcc", "quartz"])
def test_covariance_grows_with_temperature_and_falls_with_stiffness(name):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = random_stable(irreducible, supercell, seed=1)
    once = covariance_of(harmonic_crystal(irreducible, supercell, 100.0), phi)
    hotter = covariance_of(harmonic_crystal(irreducible, supercell, 300.0), phi)
    stiffer = covariance_of(harmonic_crystal(irreducible, supercell, 100.0), 5 * phi)
    np.testing.assert_allclose(hotter, 3 * once, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(5 * stiffer, once, rtol=1e-9, atol=1e-13)


def test_equipartition():
    """Σ Φ C = k_B T per degree of freedom, the three rigid translations excepted."""
    irreducible, supercell = make_irreducible("quartz"), default_supercell("quartz")
    crystal = harmonic_crystal(irreducible, supercell, 250.0)
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=2))

    @jax.jit
    def energy_of(crystal: HarmonicCrystal, phi: jax.Array) -> jax.Array:
        phi_blocks = blocks(crystal, phi)
        return jnp.einsum(
            "kij,kji->", phi_blocks, classical_covariance(phi_blocks, crystal.statistics.thermal_energy)
        ).real

    energy = energy_of(crystal, phi)
    degrees = 3 * 9 * supercell.n_cells - 3
    assert float(energy / crystal.statistics.thermal_energy) == pytest.approx(degrees, rel=1e-12)


@pytest.mark.parametrize("name", WHOLE)
def test_crystal_does_not_move_as_a_whole(name):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = random_stable(irreducible, supercell, seed=2)
    found = covariance_of(harmonic_crystal(irreducible, supercell, 300.0), phi)
    np.testing.assert_allclose(found.sum(axis=(0, 1)), 0, atol=1e-10 * np.abs(found).max())


def hessian_of(irreducible: IrreducibleForceConstants, supercell: Supercell, phi: np.ndarray) -> np.ndarray:
    return dense_hessian(periodic_atoms(supercell), bonds_of(irreducible, phi))


def dense_modes(hessian: np.ndarray) -> np.ndarray:
    """Eigenvalues of a dense Hessian without the three rigid translations."""
    n_atoms = len(hessian) // 3
    translations = np.kron(np.full((n_atoms, n_atoms), 1 / n_atoms), np.eye(3))
    values = np.linalg.eigvalsh(hessian + 1e6 * translations)
    return values[values < 5e5]


@pytest.mark.parametrize("name", ["fcc", "rocksalt", "hcp", "quartz", "p1"])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_instability_is_the_sum_over_soft_modes(name, margin):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = np.random.default_rng(3).normal(size=irreducible.n_irreducible)
    modes = dense_modes(hessian_of(irreducible, supercell, phi))
    assert (modes < 0).any()
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    found = penalty(crystal, jnp.asarray(phi), margin)
    assert float(found) == pytest.approx(np.maximum(0, margin - modes).sum(), rel=1e-10)


@pytest.mark.parametrize("name", ["bcc", "hcp", "p1"])
def test_stability_is_that_of_the_dense_hessian(name):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    firm = random_stable(irreducible, supercell, seed=4)
    other = np.random.default_rng(5).normal(size=irreducible.n_irreducible)
    first, second = hessian_of(irreducible, supercell, firm), hessian_of(irreducible, supercell, other)
    decided = set()
    for share in np.linspace(0, 1, 9):
        expected = dense_modes((1 - share) * first + share * second).min() > STABILITY_FLOOR
        assert bool(stable(crystal, jnp.asarray((1 - share) * firm + share * other))) == expected
        decided.add(bool(expected))
    assert decided == {True, False}


@pytest.mark.parametrize("margin", [0.0, 1e-3, 0.3])
def test_stable_crystal_has_no_instability(margin):
    irreducible, supercell, phi = nickel()
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    # Softest mode of nickel in this supercell: 3.4 eV/Å².
    value, gradient = penalty_and_gradient(crystal, jnp.asarray(phi), margin)
    assert float(value) == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", ["fcc", "diamond", "hcp"])
def test_gradient_of_instability_where_eigenvalues_coincide(name):
    """Symmetry makes modes of different branches equal at many k; the sum over them stays smooth."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    phi = -random_stable(irreducible, supercell, seed=8)
    phi_blocks = blocks(crystal, jnp.asarray(phi))
    gaps = np.diff(np.linalg.eigvalsh(phi_blocks), axis=1)
    assert (np.abs(gaps[1:]) < 1e-9).any(), "degenerate"

    gradient = np.asarray(penalty_and_gradient(crystal, jnp.asarray(phi), 0.1)[1])
    step = 1e-5
    up, down = (
        [float(penalty(crystal, jnp.asarray(phi + sign * step * unit), 0.1)) for unit in np.eye(len(phi))]
        for sign in (1, -1)
    )
    expected = (np.array(up) - down) / (2 * step)
    # Rounding of a sum of some thousand eV/Å² over the step limits the differences.
    np.testing.assert_allclose(gradient, expected, atol=1e-6 * np.abs(gradient).max())


def test_gradient_of_instability_at_zero_force_constants_is_finite():
    irreducible, supercell = make_irreducible("fcc"), default_supercell("fcc")
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    zero = jnp.zeros(irreducible.n_irreducible)
    gradient = penalty_and_gradient(crystal, zero, 0.1)[1]
    assert jnp.isfinite(gradient).all()


def test_instability_is_convex():
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    rng = np.random.default_rng(6)

    for _ in range(5):
        first, second = jnp.asarray(rng.normal(size=(2, irreducible.n_irreducible)))
        ends = penalty(crystal, first, 0.05) + penalty(crystal, second, 0.05)
        assert penalty(crystal, (first + second) / 2, 0.05) <= ends / 2 + 1e-9


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1e-12])
def test_covariance_of_unstable_crystals_is_finite_with_finite_gradients(factor):
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    phi = jnp.asarray(factor * random_stable(irreducible, supercell, seed=1))

    value, gradient = jax.jit(jax.value_and_grad(lambda p: covariance(crystal, p)[0].sum()))(phi)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
