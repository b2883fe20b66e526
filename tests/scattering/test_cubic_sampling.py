"""The scattering of third-order force constants against random configurations of an anharmonic crystal.

Configurations u of the harmonic crystal are weighted with exp(-β(E - E₂)). With the weight 1 - βE₃ their mean
is the first order, without any of the theory of Gaussian averages that the engine rests on.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.structure import Crystal, pair_kinds
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.force_constants.third_order import third_order_force_constants
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, covariance, harmonic_crystal
from bayestds.lattice_dynamics.imaginary_time import Nodes
from bayestds.lattice_dynamics.statistics import Classical
from bayestds.lattice_dynamics.third_cumulant import (
    CubicTerm,
    cubic_energy,
    half_forces,
    make_cubic_term,
    third_cumulant,
)
from bayestds.monomials import exponents
from bayestds.scattering.engine import make_engine
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.sampled import make_sampled_engine, mean_intensity
from bayestds.scattering.terms import Cubic, make_cubic
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
from tests.cubic_oracle import DenseBonds, change_of_intensity, dense_bonds
from tests.lattice_dynamics.test_grueneisen import polar, springs

UNLIKELY = 4.5
"""Standard errors; a normal number is beyond with a chance of 7e-6."""

TEMPERATURE = 300.0

SEEDS = 20


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
    term: CubicTerm
    gamma: np.ndarray

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
    harmonic = harmonic_crystal(irreducible, supercell, TEMPERATURE)
    term = make_cubic(third_order, supercell, harmonic, jnp.asarray(phi))
    lattice_sum = OnMesh(make_engine(supercell, q_points, factors))
    expected = change_of_intensity(lattice_sum, harmonic, term, phi, gamma)
    return Case(
        supercell,
        atoms,
        dense_covariance(dense_hessian(atoms, bonds_of(irreducible, phi)), TEMPERATURE),
        dense_bonds(atoms, third_order, gamma),
        q_points,
        factors,
        expected,
        term.lattice,
        gamma,
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


@pytest.mark.parametrize("name", CASES)
def test_weighted_configurations_of_the_sampled_engine(name):
    """E₃ is the sum over all bonds, and its weights go to the configurations that they belong to."""
    case = CASES[name]()
    crystal = case.supercell.crystal
    u = gaussian(case.covariance, 6, 0)
    by_cell = np.empty((len(u), case.supercell.n_cells, crystal.n_atoms, 3))
    by_cell[:, case.supercell.cell_index(case.atoms.cells), case.atoms.kinds] = u
    energy = cubic_energy(case.term, jnp.asarray(case.gamma), jnp.asarray(by_cell))
    np.testing.assert_allclose(energy, case.bonds.energy(u), rtol=1e-9, atol=1e-12)
    weights = np.asarray(1 - energy / (BOLTZMANN * TEMPERATURE))
    axes = (np.array([0.0, 1.0]), np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0]))
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    of_atoms = waves(
        case.atoms, u, crystal.scattering_vectors(q_points), np.ones(crystal.n_atoms)[case.atoms.kinds]
    )
    expected = weights @ np.abs(of_atoms.sum(axis=2)) ** 2 / (len(u) * case.supercell.n_cells)
    engine = make_sampled_engine(case.supercell, axes)
    found = mean_intensity(engine, jnp.asarray(by_cell), jnp.asarray(weights))
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-9, atol=1e-9)


WIDTH = 1.4199
"""w of the bonds k s²/2 - w k s³/2 + (7/8) w² k s⁴, Å⁻¹; s is the stretch. A Morse potential of this inverse
width has a third of the quartic term, which nearly cancels what the cubic one does in second order."""

STIFFNESS = {"fcc": (1.7,), "zincblende": (3.6, 0.6, 0.4)}
"""k of the orbits, eV/Å²; the bonds of zincblende are of two shells and three kinds."""

TEMPERATURES = (20.0, 40.0, 80.0)


@dataclass(frozen=True)
class BoundedCrystal:
    """Atoms with such bonds in a supercell; force constants of both orders are those of the bonds."""

    supercell: Supercell
    atoms: PeriodicAtoms
    hessian: np.ndarray
    bonds: DenseBonds
    rest: np.ndarray
    stiffness: np.ndarray
    harmonic: HarmonicCrystal
    term: CubicTerm
    phi: np.ndarray
    gamma: np.ndarray

    @property
    def shortest(self) -> np.ndarray:
        """Bonds of the first shell, from the first to the last kind."""
        lengths = np.linalg.norm(self.rest, axis=1)
        return np.flatnonzero(lengths < 1.01 * lengths.min())

    def excess(self, u: np.ndarray) -> np.ndarray:
        """Energy (m,) of displacements (m, n_atoms, 3) without its part of second order, eV."""
        lengths = np.linalg.norm(self.rest, axis=1)
        s = np.linalg.norm(self.rest + u[:, self.bonds.head] - u[:, self.bonds.tail], axis=2) - lengths
        energy = (s**2 / 2 - WIDTH * s**3 / 2 + 7 / 8 * WIDTH**2 * s**4) @ self.stiffness
        flat = u.reshape(len(u), -1)
        return energy - ((flat @ self.hessian) * flat).sum(axis=1) / 2


def bounded_crystal(name: str) -> BoundedCrystal:
    bare = springs(make_crystal(name), 1 if name == "fcc" else 2)
    sizes = [len(orbit.pairs) for orbit in bare.irreducible.orbits]
    stiffness = np.repeat(STIFFNESS[name], sizes)
    crystal = replace(bare, stiffness=stiffness, cubic=-3 * WIDTH * stiffness)
    phi, gamma = crystal.fitted()
    supercell = make_supercell(crystal.crystal, [2, 2, 2])
    atoms = periodic_atoms(supercell)
    bonds = dense_bonds(atoms, crystal.third_order, gamma)
    rest = shortest_images(atoms.box, atoms.positions[bonds.head] - atoms.positions[bonds.tail])[0]
    # Two kinds of atoms and a length tell the orbit.
    known = dict(zip(_keys(*crystal.pairs[:, :2].T, crystal.lengths), stiffness, strict=True))
    keys = _keys(atoms.kinds[bonds.head], atoms.kinds[bonds.tail], np.linalg.norm(rest, axis=1))
    return BoundedCrystal(
        supercell,
        atoms,
        dense_hessian(atoms, bonds_of(crystal.irreducible, phi)),
        bonds,
        rest,
        np.array([known[key] for key in keys]),
        harmonic_crystal(crystal.irreducible, supercell, 1.0),
        make_cubic_term(crystal.third_order, supercell),
        phi,
        gamma,
    )


def _keys(first: np.ndarray, second: np.ndarray, lengths: np.ndarray) -> list[tuple[int, int, float]]:
    return list(zip(first.tolist(), second.tolist(), lengths.round(3).tolist(), strict=True))


def predicted(crystal: BoundedCrystal, temperature: float, q_points: np.ndarray) -> tuple[np.ndarray, float]:
    """By the package, to first order: ΔI (n_q,), and ⟨s³⟩, Å³, of the stretch of bonds of the first shell."""
    energy = jnp.asarray(BOLTZMANN * temperature)
    harmonic = replace(crystal.harmonic, statistics=Classical(energy))
    term = Cubic(crystal.term, Nodes(jnp.zeros(1), 1 / energy[None]))
    lattice_sum = OnMesh(make_engine(crystal.supercell, q_points))
    intensity = change_of_intensity(lattice_sum, harmonic, term, crystal.phi, crystal.gamma)
    displacement = covariance(harmonic, jnp.asarray(crystal.phi))[None]
    squares = half_forces(crystal.term, jnp.asarray(crystal.gamma), displacement, term.nodes.weights)
    cumulant, _ = third_cumulant(squares, displacement, crystal.supercell.grid_shape)
    atoms, bond = crystal.atoms, crystal.shortest[0]
    ends = [crystal.bonds.head[bond], crystal.bonds.tail[bond]]
    if atoms.kinds[ends[0]] != 0:
        ends.reverse()
    cell = crystal.supercell.cell_index((atoms.cells[ends[0]] - atoms.cells[ends[1]])[None])[0]
    along = shortest_images(atoms.box, (atoms.positions[ends[0]] - atoms.positions[ends[1]])[None])[0][0]
    cubes = np.prod((along / np.linalg.norm(along)) ** np.array(exponents(3)), axis=1)
    # Of the first atom and the last.
    kind = len(pair_kinds(crystal.supercell.crystal.n_atoms)) - 1
    return intensity, float(-6 * cubes @ np.asarray(cumulant[:, kind, cell]))


@pytest.mark.slow
@pytest.mark.parametrize("name", STIFFNESS)
def test_what_first_order_leaves_falls_with_temperature(name):
    """Scattering and third cumulants are those of first order but for a share that is proportional to T.

    Of the weights exp(-β(E - E₂)) the part odd in u is taken, which leaves out all that is even in the third
    order: it is -βE₃, whose mean is what the package predicts, and then E₃³, E₃E₄ and E₅, smaller by k_B T
    over an energy of bonds. The same random numbers serve for all temperatures.
    """
    crystal = bounded_crystal(name)
    places = [[4.5, 4.5, 0], [6.5, 0, 0], [4, 2.5, 2], [2.5, 2.5, 0], [3, 1.5, 1]]
    turned = np.einsum("qi,rij->qrj", places, crystal.supercell.crystal.laue_group)
    stars = [np.unique(star.round(6), axis=0) for star in turned]
    q_points = np.concatenate(stars)
    mean = np.repeat(np.eye(len(stars)) / [len(star) for star in stars], [len(s) for s in stars], axis=0)
    vectors = crystal.supercell.crystal.scattering_vectors(q_points)
    bonds, ones = crystal.shortest, np.ones(crystal.atoms.n_atoms)
    along = crystal.rest[bonds] / np.linalg.norm(crystal.rest[bonds], axis=1, keepdims=True)
    unit = dense_covariance(crystal.hessian, 1.0)
    # Of scattering and cumulant: all that is odd, and what is beyond -βE₃.
    shares = np.empty((2, 2, len(TEMPERATURES), SEEDS))
    for t, temperature in enumerate(TEMPERATURES):
        intensity, cube = predicted(crystal, temperature, q_points)
        expected = intensity @ mean
        for seed in range(SEEDS):
            u = np.sqrt(temperature) * gaussian(unit, 2000, seed)
            weights = np.exp(-crystal.excess(u) / (BOLTZMANN * temperature))
            odd = (weights - np.roll(weights, len(u) // 2)) / (2 * weights.mean())
            beyond = odd + crystal.bonds.energy(u) / (BOLTZMANN * temperature)
            both = np.stack([odd, beyond]) / len(u)
            square = np.abs(waves(crystal.atoms, u, vectors, ones).sum(axis=2)) ** 2
            change = both @ square @ mean / crystal.supercell.n_cells
            shares[0, :, t, seed] = change @ expected / (expected @ expected)
            stretched = u[:, crystal.bonds.head[bonds]] - u[:, crystal.bonds.tail[bonds]]
            stretch = np.einsum("mba,ba->mb", stretched, along)
            shares[1, :, t, seed] = (both @ stretch**3).mean(axis=1) / cube
    first, error_of_first = mean_and_error(shares[:, 0] - shares[:, 1] - 1)
    assert (np.abs(first) < UNLIKELY * error_of_first).all()
    assert (error_of_first < 0.05).all()
    beyond, error = mean_and_error(shares[:, 1])
    assert (np.abs(beyond[:, 0]) < 0.1).all()
    assert (np.abs(beyond) > 5 * error).all()
    # At rest nothing is left: of a + b T + c T² through the three temperatures, a; T³ is small.
    at_rest, error = mean_and_error(np.einsum("t,otn->on", np.array([8, -6, 1]) / 3, shares[:, 1]))
    assert (np.abs(at_rest) + 3 * error < 0.1 * np.abs(beyond[:, 0])).all()


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the last axis."""
    return values.mean(axis=-1), values.std(axis=-1) / np.sqrt(values.shape[-1])
