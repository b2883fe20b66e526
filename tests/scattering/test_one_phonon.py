"""One-phonon intensity against a sum over eigenmodes, and as the limit of the exact intensity."""

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
from tests.brute_force import (
    BOLTZMANN,
    PeriodicAtoms,
    bonds_of,
    hessian_blocks,
    periodic_atoms,
    random_stable,
    shortest_images,
)
from tests.crystals import commensurate_points, default_supercell, make_irreducible

TEMPERATURE = 300.0
FIRST_ORDER = {"n_near": 0, "order": 1}
"""The one-phonon part: the expansion up to first order, without near pairs, which have all orders."""

CRYSTALS = ["fcc", "zincblende", "hcp", "p1"]


class Modes:
    """Phonons of a crystal from its Hessian, atom by atom, with the phases of the atoms' own positions.

    Args:
        atoms: of the supercell.
        hessian: all blocks Φ_ij (n, n, 3, 3).
        masses: of the kinds of atoms.
    """

    def __init__(self, atoms: PeriodicAtoms, hessian: np.ndarray, masses: np.ndarray):
        self.first = np.array([np.flatnonzero(atoms.kinds == kind)[0] for kind in range(len(masses))])
        self.columns = hessian[:, self.first]
        self.vectors = np.stack(
            [shortest_images(atoms.box, atoms.positions - atoms.positions[i])[0] for i in self.first], axis=1
        )
        self.kinds, self.masses = atoms.kinds, masses

    def at(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ω² of the modes (m,) and e_κ/√m_κ (n_atoms, 3, m) at a commensurate wave vector, Å⁻¹."""
        n = len(self.masses)
        waves = np.exp(1j * self.vectors @ vector)[:, :, None, None] * self.columns
        phi = np.array([waves[self.kinds == kind].sum(axis=0) for kind in range(n)])
        root = np.sqrt(self.masses)
        dynamical = phi / (root[:, None] * root)[:, :, None, None]
        squares, modes = np.linalg.eigh(dynamical.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n))
        # All but rigid translations.
        moving = squares > 1e-9 * np.abs(self.columns).max() / self.masses.max()
        return squares[moving], modes[:, moving].reshape(n, 3, -1) / root[:, None, None]


def mode_sum(
    supercell: Supercell, modes: Modes, vectors: np.ndarray, factors: np.ndarray, temperature: float
) -> np.ndarray:
    """Xu and Chiang (2005): kT Σ_j |Σ_κ f_κ exp(-W_κ) (Q·e_κj)/√m_κ|² / ω_j², W from the supercell's mesh."""
    mesh = 2 * np.pi * supercell.k_points @ np.linalg.inv(supercell.crystal.lattice_vectors).T
    mean_square = np.zeros((len(modes.masses), 3, 3))
    for wave_vector in mesh:
        squares, shapes = modes.at(wave_vector)
        if not wave_vector.any():
            # Optical modes leave the centre of mass at rest; what rests here is the centroid.
            shapes = shapes - shapes.mean(axis=0)
        mean_square += np.einsum("kaj,kbj,j->kab", shapes, shapes.conj(), 1 / squares).real / len(mesh)
    intensity = []
    for vector in vectors:
        squares, shapes = modes.at(vector)
        debye_waller = np.exp(-BOLTZMANN * temperature * (mean_square @ vector @ vector) / 2)
        amplitude = np.einsum("k,a,kaj->j", factors * debye_waller, vector, shapes)
        intensity.append(BOLTZMANN * temperature * (np.abs(amplitude) ** 2 / squares).sum())
    return np.array(intensity)


def complex_factors(n_atoms: int) -> np.ndarray:
    return np.array([1.0, 0.6 + 0.7j, -0.4 + 1.2j])[:n_atoms]


def one_phonon(
    name: str,
    phi: np.ndarray,
    q_points: np.ndarray,
    temperature: float = TEMPERATURE,
    factors: np.ndarray | None = None,
) -> np.ndarray:
    """One-phonon intensity (n_q,) per primitive cell, by default with complex factors."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    factors = complex_factors(irreducible.crystal.n_atoms) if factors is None else factors
    lattice_sum = OnMesh(make_engine(supercell, q_points, factors, **FIRST_ORDER))
    forward = make_forward_model(irreducible, supercell, temperature, lattice_sum)
    return np.exp(np.asarray(log_intensity(forward, jnp.asarray(phi))))


@pytest.mark.parametrize("name", CRYSTALS)
def test_intensity_is_the_sum_over_eigenmodes(name):
    """Whatever the masses: they drop out of the classical intensity, so unequal ones are put in."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = irreducible.crystal
    phi = random_stable(irreducible, supercell, seed=11)
    atoms = periodic_atoms(supercell)
    masses = np.linspace(20.0, 70.0, crystal.n_atoms)
    modes = Modes(atoms, hessian_blocks(atoms, bonds_of(irreducible, phi)), masses)
    q_points = commensurate_points(supercell, 24, 15.0)
    vectors = crystal.scattering_vectors(q_points)
    expected = mode_sum(supercell, modes, vectors, complex_factors(crystal.n_atoms), TEMPERATURE)
    found = one_phonon(name, phi, q_points)
    # Rounding, amplified by the softest mode.
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("name", CRYSTALS)
def test_exact_intensity_tends_to_it_at_low_temperature(name):
    """Further phonons each bring a factor of the temperature: what they add is linear in it."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = random_stable(irreducible, supercell, seed=11)
    q_points = commensurate_points(supercell, 24, 8.0)
    engine = make_engine(supercell, q_points, complex_factors(irreducible.crystal.n_atoms))

    def further(temperature: float) -> np.ndarray:
        forward = make_forward_model(irreducible, supercell, temperature, OnMesh(engine))
        exact = np.exp(np.asarray(log_intensity(forward, jnp.asarray(phi))))
        return exact / one_phonon(name, phi, q_points, temperature) - 1

    cold, twice = further(5.0), further(10.0)
    # The next order is about the square of this one, and rounding far below both.
    tolerance = 4 * np.abs(cold).max() ** 2
    assert tolerance < np.abs(cold).max() / 10
    np.testing.assert_allclose(twice, 2 * cold, rtol=0, atol=tolerance)


def test_factors_may_depend_on_q():
    irreducible, supercell = make_irreducible("zincblende"), default_supercell("zincblende")
    phi = random_stable(irreducible, supercell, seed=11)
    q_points = commensurate_points(supercell, 6, 10.0)
    factors = np.random.default_rng(1).normal(size=(2, 6, 2)).view(complex).reshape(6, 2)
    found = one_phonon("zincblende", phi, q_points, factors=factors)
    alone = [one_phonon("zincblende", phi, q_points[i : i + 1], factors=factors[i])[0] for i in range(6)]
    np.testing.assert_allclose(found, alone, rtol=1e-12)
