"""The scattering of third-order force constants against random configurations of an anharmonic crystal.

Configurations u of the harmonic crystal are weighted with exp(-β(E - E₂)). With the weight 1 - βE₃ their mean
is the first order, without any of the theory of Gaussian averages that the engine rests on.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.force_constants.third_order import third_order_force_constants
from bayestds.lattice_dynamics.third_cumulant import third_cumulant
from bayestds.monomials import exponents
from bayestds.scattering.cubic import cubic_intensity
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, covariance, make_forward_model
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
from tests.cubic_oracle import DenseBonds, dense_bonds
from tests.lattice_dynamics.test_grueneisen import polar, springs

UNLIKELY = 4.5
"""Standard errors; a normal number is beyond with a chance of 7e-6."""

TEMPERATURE = 300.0

SEEDS = 40


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


WIDTH = 1.4199
"""Inverse width of the Morse potential of every bond, Å⁻¹: that of nickel."""

DEPTHS = {"fcc": (0.4205,), "zincblende": (0.9, 0.15, 0.1)}
"""Depths, eV, of the orbits; the first of fcc is that of nickel."""

TEMPERATURES = np.array([50.0, 100.0, 200.0])


@dataclass(frozen=True)
class MorseCrystal:
    """Atoms with bonds D (1 - exp(-w s))², s the stretch; all force constants follow from D and w."""

    supercell: Supercell
    atoms: PeriodicAtoms
    hessian: np.ndarray
    bonds: DenseBonds
    rest: np.ndarray
    depths: np.ndarray
    forward: ForwardModel
    phi: np.ndarray
    gamma: np.ndarray

    def excess(self, u: np.ndarray) -> np.ndarray:
        """Energy (m,) of displacements (m, n_atoms, 3) without its part of second order, eV."""
        lengths = np.linalg.norm(self.rest, axis=1)
        stretch = np.linalg.norm(self.rest + u[:, self.bonds.head] - u[:, self.bonds.tail], axis=2) - lengths
        flat = u.reshape(len(u), -1)
        energy = (self.depths * (1 - np.exp(-WIDTH * stretch)) ** 2).sum(axis=1)
        return energy - ((flat @ self.hessian) * flat).sum(axis=1) / 2


def morse_crystal(name: str) -> MorseCrystal:
    bare = springs(make_crystal(name), 1 if name == "fcc" else 2)
    orbits = bare.irreducible.orbits
    depths = np.concatenate([np.full(len(o.pairs), d) for o, d in zip(orbits, DEPTHS[name], strict=True)])
    crystal = replace(bare, stiffness=2 * depths * WIDTH**2, cubic=-6 * depths * WIDTH**3)
    phi, gamma = crystal.fitted()
    supercell = make_supercell(crystal.crystal, [2, 2, 2])
    atoms = periodic_atoms(supercell)
    bonds = dense_bonds(atoms, crystal.third_order, gamma)
    rest = shortest_images(atoms.box, atoms.positions[bonds.head] - atoms.positions[bonds.tail])[0]
    keys = (atoms.kinds[bonds.head], atoms.kinds[bonds.tail], np.linalg.norm(rest, axis=1).round(3))
    known = {
        (first, second, length): depth
        for first, second, length, depth in zip(
            *crystal.pairs[:, :2].T, crystal.lengths.round(3), depths, strict=True
        )
    }
    return MorseCrystal(
        supercell,
        atoms,
        dense_hessian(atoms, bonds_of(crystal.irreducible, phi)),
        bonds,
        rest,
        np.array([known[key] for key in zip(*keys, strict=True)]),
        make_forward_model(crystal.irreducible, supercell, 1.0, third_order=crystal.third_order),
        phi,
        gamma,
    )


def predicted(
    crystal: MorseCrystal, temperature: float, q_points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """By the package: ΔI (n_q,), and ⟨X³⟩ (n_q, n_cells) of X = Q·(u(R) - u(0)), u(0) of the last kind."""
    energy = jnp.asarray(BOLTZMANN * temperature)
    displacement = temperature * covariance(crystal.forward, jnp.asarray(crystal.phi))
    engine = make_engine(crystal.supercell, q_points)
    term, gamma = crystal.forward.cubic, jnp.asarray(crystal.gamma)
    intensity = cubic_intensity(engine, term, gamma, displacement, energy)
    cumulant, _ = third_cumulant(term, gamma, displacement, energy, engine.grid_shape)
    vectors = crystal.supercell.crystal.scattering_vectors(q_points)
    cubes = np.stack([np.prod(vectors ** np.array(e), axis=1) for e in exponents(3)], axis=1)
    kind = crystal.supercell.crystal.n_atoms - 1
    return np.asarray(intensity), -6 * cubes @ np.asarray(cumulant[:, kind])


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPTHS)
def test_what_is_left_over_falls_with_temperature(name):
    """Morse crystals: beyond the first order, scattering and third cumulants change by a share ~ T.

    Of the weights exp(-β(E - E₂)) the part odd in u is taken, so that nothing is left that is even in the
    third order: beside -βE₃ it has E₃³, E₃E₄ and E₅, which are smaller by k_B T over the energy of bonds.
    """
    crystal = morse_crystal(name)
    atoms, kinds = crystal.atoms, crystal.supercell.crystal.n_atoms
    q_points = np.array(
        [[4.5, 4.5, 0], [3.5, 3.5, 0], [6.5, 0, 0], [3.5, 3.5, 3.5], [5, 2.5, 2], [3, 1.5, 2]]
    )
    vectors = crystal.supercell.crystal.scattering_vectors(q_points)
    first = np.flatnonzero(atoms.kinds == 0)
    order = crystal.supercell.cell_index(atoms.cells[first])
    origin = first[order == 0] + kinds - 1
    unit = dense_covariance(crystal.hessian, 1.0)
    parts = np.empty((2, len(TEMPERATURES), SEEDS))
    for t, temperature in enumerate(TEMPERATURES):
        intensity, cubes = predicted(crystal, temperature, q_points)
        near = np.abs(cubes).max(axis=0) > 0.3 * np.abs(cubes).max()
        for seed in range(SEEDS):
            u = np.sqrt(temperature) * gaussian(unit, 2000, seed)
            weights = np.exp(-crystal.excess(u) / (BOLTZMANN * temperature))
            odd = (weights - np.roll(weights, len(u) // 2)) / (2 * weights.mean())
            more = (odd + crystal.bonds.energy(u) / (BOLTZMANN * temperature)) / len(u)
            square = np.abs(waves(atoms, u, vectors, np.ones(atoms.n_atoms)).sum(axis=2)) ** 2
            change = more @ square / crystal.supercell.n_cells
            parts[0, t, seed] = change @ intensity / (intensity @ intensity)
            across = np.einsum("qa,mja->mqj", vectors, u[:, first] - u[:, origin])
            third = np.empty(cubes.shape)
            third[:, order] = np.einsum("m,mqj->qj", more, across**3)
            parts[1, t, seed] = (third * cubes)[:, near].sum() / (cubes**2)[:, near].sum()
    share, error = parts.mean(axis=2), parts.std(axis=2) / np.sqrt(SEEDS)
    # One number for all temperatures, to the next order in T.
    slope = parts[:, :, :] / TEMPERATURES[:, None]
    print(name, share, error, slope.mean(axis=2), slope.std(axis=2) / np.sqrt(SEEDS))
