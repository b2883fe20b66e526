"""Quantum statistics against all modes of a supercell, phonopy, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from bayestds.crystal.supercell import make_supercell
from bayestds.lattice_dynamics.covariance import (
    classical_covariance,
    quantum_covariance,
    translation_projector,
)
from bayestds.lattice_dynamics.displacements import cell_differences, displacements
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks, covariance, harmonic_crystal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.simulation import displacement_root
from bayestds.units import BOLTZMANN, PHONON_ENERGY
from tests.brute_force import (
    PeriodicAtoms,
    bonds_of,
    dense_hessian,
    dense_intensity,
    dense_quantum_covariance,
    periodic_atoms,
    random_stable,
)
from tests.crystals import commensurate_points, default_supercell, make_crystal, make_irreducible


def quantum(name: str, temperature: float) -> tuple[HarmonicCrystal, np.ndarray]:
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = harmonic_crystal(irreducible, supercell, temperature, "quantum")
    return crystal, random_stable(irreducible, supercell, seed=7)


def brute(name: str, phi: np.ndarray, temperature: float) -> tuple[PeriodicAtoms, np.ndarray]:
    """The atoms of a supercell and the covariance of their displacements, centre of mass at rest."""
    atoms = periodic_atoms(default_supercell(name))
    hessian = dense_hessian(atoms, bonds_of(make_irreducible(name), phi))
    return atoms, dense_quantum_covariance(hessian, make_crystal(name).masses[atoms.kinds], temperature)


def blocks_of(crystal: HarmonicCrystal, phi: np.ndarray) -> np.ndarray:
    return np.asarray(blocks(crystal, jnp.asarray(phi)))


@pytest.mark.parametrize("temperature", [0.0, 100.0])
@pytest.mark.parametrize("name", ["fcc", "diamond", "rocksalt", "hcp", "quartz", "p1"])
def test_covariance_is_that_of_all_modes_of_the_supercell(name, temperature):
    crystal, phi = quantum(name, temperature)
    found = np.asarray(covariance(crystal, jnp.asarray(phi)))
    atoms, dense = brute(name, phi, temperature)
    centred = np.eye(len(dense)) - translation_projector(atoms.n_atoms)
    dense = (centred @ dense @ centred).reshape(atoms.n_atoms, 3, atoms.n_atoms, 3).transpose(0, 2, 1, 3)
    cells = default_supercell(name).cell_index(atoms.cells[:, None] - atoms.cells[None])
    expected = found[cells, atoms.kinds[:, None], atoms.kinds[None]]
    # The constants of CODATA 2022 and of scipy may differ by 1e-9.
    np.testing.assert_allclose(expected, dense, rtol=0, atol=3e-9 * np.abs(dense).max())


def thermal_displacements(name: str, phi: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Phonopy's thermal displacement matrices (n, 3, 3) of the conventional cell, Å², and its kinds (n,)."""
    crystal, supercell = make_crystal(name), default_supercell(name)
    atoms = periodic_atoms(supercell)
    unit = periodic_atoms(make_supercell(crystal, np.eye(3, dtype=int)))
    fractional = unit.positions @ np.linalg.inv(unit.box)
    cell = PhonopyAtoms(
        symbols=[crystal.species[kind] for kind in unit.kinds],
        cell=unit.box,
        scaled_positions=fractional,
        masses=crystal.masses[unit.kinds],
    )
    multiples = np.rint(supercell.matrix @ crystal.lattice_vectors @ np.linalg.inv(unit.box)).astype(int)
    phonon = Phonopy(cell, multiples, primitive_matrix=np.eye(3))
    # Phonopy orders the atoms of the supercell in its own way.
    apart = (phonon.supercell.positions[:, None] - atoms.positions) @ np.linalg.inv(atoms.box)
    order = np.abs(apart - np.rint(apart)).max(axis=-1).argmin(axis=1)
    n = atoms.n_atoms
    hessian = dense_hessian(atoms, bonds_of(make_irreducible(name), phi)).reshape(n, 3, n, 3)
    phonon.force_constants = hessian.transpose(0, 2, 1, 3)[np.ix_(order, order)].copy(order="C")
    mesh = np.diag(multiples)
    phonon.run_mesh(mesh, with_eigenvectors=True, is_mesh_symmetry=False, is_gamma_center=True)
    phonon.run_thermal_displacement_matrices(temperatures=[temperature], freq_min=1e-3)
    return phonon.thermal_displacement_matrices.thermal_displacement_matrices[0], unit.kinds


@pytest.mark.parametrize("temperature", [10.0, 100.0, 300.0, 1000.0])
@pytest.mark.parametrize("name", ["fcc", "diamond", "rocksalt"])
def test_mean_squares_are_phonopys_thermal_displacement_matrices(name, temperature):
    crystal, phi = quantum(name, temperature)
    waves = np.array(crystal.statistics.covariance(jnp.asarray(blocks_of(crystal, phi))))
    # Phonopy has the centre of mass at rest, not the centroid.
    masses = make_crystal(name).masses
    to_mass = np.eye(3 * len(masses)) - np.kron(
        np.outer(np.ones(len(masses)), masses) / masses.sum(), np.eye(3)
    )
    waves[0] = to_mass @ waves[0] @ to_mass.T
    found = waves.mean(axis=0).real.reshape(len(masses), 3, len(masses), 3)
    expected, kinds = thermal_displacements(name, phi, temperature)
    own = np.array([found[kind, :, kind] for kind in kinds])
    np.testing.assert_allclose(own, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_ground_state():
    """At rest C M C = ħ²/4 Φ⁻¹, as C = M^-½ (ħ/2) D^-½ M^-½."""
    crystal, phi = quantum("rocksalt", 0.0)
    phi_blocks = blocks_of(crystal, phi)[1:]
    found = np.asarray(crystal.statistics.covariance(jnp.asarray(blocks_of(crystal, phi))))[1:]
    masses = np.repeat(make_crystal("rocksalt").masses, 3)
    product = found * masses @ found @ phi_blocks
    np.testing.assert_allclose(product, PHONON_ENERGY**2 / 4 * np.eye(6)[None] + 0 * product, atol=1e-13)


def test_hot_crystal():
    """C = k_BT Φ⁻¹ + ħ²/(12 k_BT) M⁻¹ - ħ⁴/(720 k_BT³) M⁻¹ Φ M⁻¹ + ..., by the series of x coth x."""
    crystal, phi = quantum("rocksalt", 5000.0)
    phi_blocks = blocks_of(crystal, phi)
    found = np.asarray(crystal.statistics.covariance(jnp.asarray(phi_blocks)))[1:]
    heat, inverse_masses = BOLTZMANN * 5000, np.repeat(make_crystal("rocksalt").masses, 3) ** -1.0
    second = PHONON_ENERGY**2 / (12 * heat) * np.diag(inverse_masses)
    fourth = PHONON_ENERGY**4 / (720 * heat**3) * inverse_masses[:, None] * phi_blocks[1:] * inverse_masses
    excess = found - heat * np.linalg.inv(phi_blocks[1:])
    # The next term is x²·2/21 of the fourth order, with x² = 0.015 for the stiffest mode.
    np.testing.assert_allclose(excess, second[None] - fourth, atol=2e-3 * np.abs(fourth).max())


def test_classical_limit_has_the_same_origin():
    crystal, phi = quantum("p1", 1e7)
    phi_blocks = jnp.asarray(blocks_of(crystal, phi))
    found = crystal.statistics.covariance(phi_blocks)
    expected = classical_covariance(phi_blocks, crystal.statistics.thermal_energy)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_no_intensity_depends_on_the_origin_of_displacements():
    """Atoms by brute force, centre of mass at rest, scatter as those of the model, centroid at rest."""
    name, temperature, factors = "rocksalt", 60.0, np.array([1.0, 2.0 + 0.5j])
    crystal, phi = quantum(name, temperature)
    supercell = default_supercell(name)
    q_points = commensurate_points(supercell, 6, 10.0)
    lattice_sum = OnMesh(make_engine(supercell, q_points, factors))
    found = log_intensity(ForwardModel(crystal, (), lattice_sum, ()), jnp.asarray(phi))
    atoms, dense = brute(name, phi, temperature)
    expected = [
        dense_intensity(atoms, dense, vector, factors[atoms.kinds])
        for vector in supercell.crystal.scattering_vectors(q_points)
    ]
    np.testing.assert_allclose(found, np.log(expected), atol=1e-7)


@pytest.mark.parametrize("sampler", ["block", "dense"])
def test_displacements_have_the_quantum_covariance(sampler):
    crystal, phi = quantum("zincblende", 40.0)
    supercell = default_supercell("zincblende")
    cells = cell_differences(supercell)
    root = displacement_root(crystal, jnp.asarray(phi), cells if sampler == "dense" else None)
    n = supercell.n_cells * 6
    unit = jnp.eye(n).reshape(n, supercell.n_cells, 6)
    moved = np.asarray(displacements(root, unit, supercell.grid_shape)).reshape(n, n)
    found = (moved.T @ moved).reshape(-1, 2, 3, supercell.n_cells, 2, 3).transpose(0, 3, 1, 4, 2, 5)
    expected = np.asarray(covariance(crystal, jnp.asarray(phi)))[cells]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def differences(function, phi: np.ndarray, step: float) -> np.ndarray:
    """Fourth-order central differences (..., n_irreducible)."""
    columns = []
    for unit in np.eye(len(phi)):
        far, near = (
            np.asarray(function(jnp.asarray(phi + m * step * unit)))
            - np.asarray(function(jnp.asarray(phi - m * step * unit)))
            for m in (2, 1)
        )
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("temperature", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("name", ["diamond", "hcp"])
def test_gradient_of_the_covariance_where_modes_are_degenerate(name, temperature):
    crystal, phi = quantum(name, temperature)
    gaps = np.diff(np.linalg.eigvalsh(blocks_of(crystal, phi)), axis=1)
    assert (np.abs(gaps[1:]) < 1e-9).any(), "degenerate"
    moved = jax.jit(lambda p: covariance(crystal, p))
    expected = differences(moved, phi, 1e-3)
    # Rounding, 1e-13 / step of the largest, and truncation, about step⁴.
    found = np.asarray(jax.jit(jax.jacfwd(moved))(jnp.asarray(phi)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    weights = np.random.default_rng(0).normal(size=expected.shape[:-1])
    transposed = jax.jit(lambda p: jax.vjp(moved, p)[1](jnp.asarray(weights))[0])(jnp.asarray(phi))
    along = np.tensordot(weights, found, weights.ndim)
    np.testing.assert_allclose(transposed, along, rtol=0, atol=1e-12 * np.abs(found).max() * weights.size)


@pytest.mark.parametrize("temperature", [0.0, 300.0])
@pytest.mark.parametrize("name", ["fcc", "zincblende"])
def test_gradient_of_log_intensity(name, temperature):
    crystal, phi = quantum(name, temperature)
    supercell = default_supercell(name)
    engine = make_engine(supercell, commensurate_points(supercell, 6, 10.0))
    forward = ForwardModel(crystal, (), OnMesh(engine), ())
    jacobian = jax.jit(jax.jacrev(log_intensity, argnums=1))(forward, jnp.asarray(phi))
    expected = differences(lambda p: log_intensity(forward, p), phi, 1e-3)
    np.testing.assert_allclose(jacobian, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("gap", [0.0, 1e-13, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("temperature", [0.0, 10.0, 300.0])
def test_derivative_between_nearly_equal_modes(gap, temperature):
    """Along a turning direction the derivative of g is its slope, however small the gap."""
    rng = np.random.default_rng(1)
    vectors = np.linalg.qr(rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)))[0]
    direction = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    direction = np.stack([np.zeros((3, 3)), direction + direction.conj().T])
    start = (vectors * np.array([9.0, 9.0 * (1 + gap), 0.4])) @ vectors.conj().T
    start = np.stack([np.zeros((3, 3)), start])
    masses, heat = jnp.array([58.7]), BOLTZMANN * temperature

    def moved(step: float) -> jax.Array:
        return quantum_covariance(jnp.asarray(start) + step * direction, masses, heat)[1]

    found = jax.jvp(moved, (0.0,), (1.0,))[1]
    h = 2e-4
    expected = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_derivative_with_respect_to_temperature():
    crystal, phi = quantum("diamond", 80.0)
    phi_blocks = jnp.asarray(blocks_of(crystal, phi))

    def moved(heat: float) -> jax.Array:
        return quantum_covariance(phi_blocks, crystal.statistics.masses, heat)

    heat, h = float(crystal.statistics.thermal_energy), 1e-5
    found = jax.jvp(moved, (heat,), (1.0,))[1]
    expected = (8 * (moved(heat + h) - moved(heat - h)) - (moved(heat + 2 * h) - moved(heat - 2 * h))) / (
        12 * h
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    assert not jax.jvp(moved, (0.0,), (1.0,))[1].any(), "the third law"


@pytest.mark.parametrize("temperature", [0.0, 300.0])
@pytest.mark.parametrize("factor", [-1.0, 0.0, 1e6])
def test_values_and_gradients_are_finite_everywhere(factor, temperature):
    crystal, phi = quantum("hcp", temperature)
    phi = jnp.asarray(factor * phi)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: covariance(crystal, p)[0].sum()))(phi)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    root_gradient = jax.jit(jax.grad(lambda p: jnp.abs(displacement_root(crystal, p)).sum()))(phi)
    assert jnp.isfinite(root_gradient).all()
