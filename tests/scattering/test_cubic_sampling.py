"""The scattering of third-order force constants against random configurations of an anharmonic crystal.

Configurations u of the harmonic crystal are weighted with exp(-β(E - E₂)). With the weight 1 - βE₃ their mean
is the first order, without any of the theory of Gaussian averages that the engine rests on.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.force_constants.third_order import third_order_force_constants
from bayestds.scattering.cubic import cubic_intensity
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import covariance, make_forward_model
from tests.brute_force import (
    BOLTZMANN,
    PeriodicAtoms,
    bonds_of,
    dense_covariance,
    dense_hessian,
    periodic_atoms,
    random_stable,
    shortest_images,
)
from tests.crystals import commensurate_points, make_crystal
from tests.cubic_oracle import DenseBonds, dense_bonds, dense_cubic_intensity
from tests.lattice_dynamics.test_grueneisen import polar

UNLIKELY = 4.5
"""Standard errors; a normal number is beyond with a chance of 7e-6."""

TEMPERATURE = 300.0


def gaussian(covariance: np.ndarray, m: int, seed: int) -> np.ndarray:
    """Displacements (m, n_atoms, 3) of this covariance, the second half the opposite of the first."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    drawn = np.random.default_rng(seed).normal(size=(m // 2, len(root))) @ root.T
    return np.concatenate([drawn, -drawn]).reshape(m, -1, 3)


def waves(
    atoms: PeriodicAtoms, displacements: np.ndarray, vectors: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """f_j exp(iQ·x_j), (m, n_q, n_atoms)."""
    positions = atoms.positions + displacements
    return factors * np.exp(1j * np.einsum("mja,qa->mqj", positions, vectors, optimize=True))


def mean_shift(bonds: DenseBonds, covariance: np.ndarray, temperature: float) -> np.ndarray:
    """⟨u⟩ (n_atoms, 3), Å, to first order: -β⟨E₃ u⟩ with ⟨d d d u⟩ = 3⟨d d⟩⟨d u⟩."""
    n = len(covariance) // 3
    blocks = covariance.reshape(n, 3, n, 3)
    follows = blocks[bonds.head] - blocks[bonds.tail]
    head, tail = bonds.head, bonds.tail
    rows = np.arange(len(head))
    spread = follows[rows, :, head] - follows[rows, :, tail]
    shift = np.einsum("nabc,nab,ncjd->jd", bonds.tensors, spread, follows, optimize=True)
    return -shift / (2 * BOLTZMANN * temperature)


@dataclass(frozen=True)
class Case:
    """A crystal in a supercell with random φ, its bonds of third order, and what of it scatters."""

    supercell: Supercell
    atoms: PeriodicAtoms
    covariance: np.ndarray
    bonds: DenseBonds
    q_points: np.ndarray
    factors: np.ndarray
    expected: np.ndarray

    @property
    def vectors(self) -> np.ndarray:
        return self.supercell.crystal.scattering_vectors(self.q_points)


def make_case(crystal: Crystal, n_second: int, n_third: int, repeats: list[int], longest: float) -> Case:
    irreducible = irreducible_force_constants(crystal, n_second)
    third_order = third_order_force_constants(crystal, n_third)
    supercell = make_supercell(crystal, repeats)
    phi = random_stable(irreducible, supercell, seed=5)
    gamma = np.random.default_rng(8).normal(size=third_order.n_cubic)
    atoms = periodic_atoms(supercell)
    q_points = commensurate_points(supercell, 6, longest, seed=2)
    factors = np.random.default_rng(1).uniform(0.5, 2, (crystal.n_atoms, 2)) @ [1, 0.5j]
    forward = make_forward_model(irreducible, supercell, TEMPERATURE, third_order=third_order)
    expected = jax.jit(cubic_intensity)(
        make_engine(supercell, q_points, factors), forward.cubic, jnp.asarray(gamma),
        covariance(forward, jnp.asarray(phi)), forward.thermal_energy,
    )  # fmt: skip
    return Case(
        supercell,
        atoms,
        dense_covariance(dense_hessian(atoms, bonds_of(irreducible, phi)), TEMPERATURE),
        dense_bonds(atoms, third_order, gamma),
        q_points,
        factors,
        np.asarray(expected),
    )


CASES = {
    "fcc": lambda: make_case(make_crystal("fcc"), 1, 1, [2, 2, 2], 12.0),
    "zincblende": lambda: make_case(make_crystal("zincblende"), 3, 1, [2, 2, 2], 12.0),
    "polar": lambda: make_case(polar(), 3, 2, [3, 3, 2], 10.0),
}


@pytest.mark.parametrize("name", CASES)
def test_first_order_is_the_mean_with_weights(name):
    """Positions are the mean ones: the shift that E₃ brings about is taken off, in crystals that have one."""
    case = CASES[name]()
    shift = mean_shift(case.bonds, case.covariance, TEMPERATURE)
    assert (np.abs(shift).max() > 1e-6) == (name == "polar")
    parts = []
    for seed in range(10):
        u = gaussian(case.covariance, 4000, seed)
        of_atoms = waves(case.atoms, u, case.vectors, case.factors[case.atoms.kinds])
        total = of_atoms.sum(axis=2)
        moved = np.einsum("mqj,qj->mq", of_atoms, 1j * case.vectors @ shift.T)
        change = 2 * (total.conj() * moved).real
        weights = -case.bonds.energy(u)[:, None] / (BOLTZMANN * TEMPERATURE)
        parts.append(weights * np.abs(total) ** 2 - change)
    means = np.concatenate([part.reshape(2, -1, part.shape[1]).mean(axis=0) for part in parts])
    means /= case.supercell.n_cells
    error = means.std(axis=0) / np.sqrt(len(means))
    z = (means.mean(axis=0) - case.expected) / error
    assert np.abs(z).max() < UNLIKELY
    # The test can see the term.
    assert np.abs(case.expected / error).max() > 7


MORSE = (0.4205, 1.4199)
"""Depth, eV, and inverse width, Å⁻¹, of a potential between neighbours, about those of nickel."""


@pytest.mark.slow
def test_first_order_is_what_full_weights_give():
    """Morse crystal, 25 to 100 K: the odd part of the scattering is that of first order within 2 %.

    I(G+q) - I(G-q) has no harmonic part. What the weights exp(-β(E-E₂)) add to 1 - βE₃ is measured with the
    same configurations, against the term of the engine.
    """
    depth, width = MORSE
    irreducible = irreducible_force_constants(make_crystal("fcc"), 1)
    third_order = third_order_force_constants(make_crystal("fcc"), 1)
    supercell = make_supercell(make_crystal("fcc"), [2, 2, 2])
    phi = -depth * width**2 * np.array([1.0, 0.0, 1.0])
    length = irreducible.orbits[0].distance
    # xxx, xxy and xzz of nnn and of (n_a δ_bc + n_b δ_ca + n_c δ_ab - 3 n_a n_b n_c), third derivatives.
    along, bent = np.array([1.0, 1.0, 0.0]), np.array([3.0, -1.0, 2.0])
    gamma = (-6 * depth * width**3 * along + 2 * depth * width**2 / length * bent) / np.sqrt(8)
    atoms = periodic_atoms(supercell)
    bonds = dense_bonds(atoms, third_order, gamma)
    rest = shortest_images(atoms.box, atoms.positions[bonds.head] - atoms.positions[bonds.tail])[0]
    hessian = dense_hessian(atoms, bonds_of(irreducible, phi))
    away = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 0.5, 0.0]])
    bragg = np.array([[4.0, 4.0, 0.0], [6.0, 0.0, 0.0], [3.0, 3.0, 3.0], [4.0, 2.0, 2.0]])
    q_points = np.concatenate([bragg + away, bragg - away])
    vectors = supercell.crystal.scattering_vectors(q_points)
    left, errors = [], []
    for temperature in (25.0, 50.0, 100.0):
        dense = dense_covariance(hessian, temperature)
        ones = np.ones(atoms.n_atoms)
        first = [dense_cubic_intensity(atoms, bonds, dense, temperature, v, ones) for v in vectors]
        odd = np.subtract(*np.split(np.array(first), 2))
        shares = []
        for seed in range(40):
            u = gaussian(dense, 2000, seed)
            stretch = np.linalg.norm(rest + u[:, bonds.head] - u[:, bonds.tail], axis=2) - length
            energy = depth * ((1 - np.exp(-width * stretch)) ** 2).sum(axis=1)
            flat = u.reshape(len(u), -1)
            excess = (energy - ((flat @ hessian) * flat).sum(axis=1) / 2) / (BOLTZMANN * temperature)
            weights = np.exp(-excess)
            more = weights / weights.mean() - 1 + bonds.energy(u) / (BOLTZMANN * temperature)
            square = np.abs(waves(atoms, u, vectors, ones).sum(axis=2)) ** 2 / supercell.n_cells
            rest_of_it = np.subtract(*np.split(more @ square / len(u), 2))
            shares.append(rest_of_it @ odd / (odd @ odd))
        left.append(np.mean(shares))
        errors.append(np.std(shares) / np.sqrt(len(shares)))
    assert np.max(errors) < 0.02
    assert np.abs(np.divide(left, errors)).max() < UNLIKELY
