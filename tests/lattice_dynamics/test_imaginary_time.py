"""Displacements at imaginary times, and third-order terms from them, against exact diagonalisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.lattice_dynamics.covariance import quantum_covariance
from bayestds.lattice_dynamics.imaginary_time import Nodes, _at_times, covariance_at_times, make_nodes
from bayestds.lattice_dynamics.statistics import Quantum
from bayestds.units import PHONON_ENERGY

SPRINGS, MASSES = np.array([2.0, 3.0, 5.0]), np.array([20.0, 27.0, 35.0])
CUBIC = np.array([-2.0, 1.5, 0.7])
Q = 3.0
STATES, ENOUGH_STATES = 34, 70


def dynamical_matrix(springs, masses):
    """Of a ring of three atoms that move along it, eV/(Å² amu)."""
    bonds = np.roll(np.eye(3), 1, axis=1) - np.eye(3)
    return (bonds.T * springs) @ bonds / np.sqrt(np.outer(masses, masses)), bonds


def modes(springs, masses):
    """Frequencies, displacements of atoms and of bonds by the two modes that are not the translation."""
    dynamical, bonds = dynamical_matrix(springs, masses)
    values, vectors = np.linalg.eigh(dynamical)
    displacements = vectors[:, 1:] / np.sqrt(masses)[:, None]
    return np.sqrt(values[1:]), displacements, bonds @ displacements


def oscillator(energy, n):
    """Coordinate of an oscillator in ``n`` states, in units of sqrt(amu) Å."""
    amplitude = np.sqrt(PHONON_ENERGY**2 / (2 * energy))
    off = amplitude * np.sqrt(np.arange(1, n))
    return np.diag(off, 1) + np.diag(off, -1)


def exact(springs, masses, beta):
    """First-order change of ⟨exp(iX)⟩ of atoms 0 and 1 by the cubic terms, over i exp(-⟨XX⟩/2).

    By Kubo's formula in the states of the two oscillators, without Wick's theorem; less the part of the mean
    displacements.
    """
    root, atoms, bonds = modes(springs, masses)
    energy = PHONON_ENERGY * root
    big = [oscillator(e, ENOUGH_STATES) for e in energy]
    powers = [[np.linalg.matrix_power(q, n)[:STATES, :STATES] for n in range(4)] for q in big]
    cubic = 0
    for g, (a, b) in zip(CUBIC, bonds, strict=True):
        for n, binomial in enumerate([1, 3, 3, 1]):
            cubic = cubic + g / 6 * binomial * a ** (3 - n) * b**n * np.kron(powers[0][3 - n], powers[1][n])
    wave = []
    for q, a in zip(big, Q * (atoms[0] - atoms[1]), strict=True):
        values, vectors = np.linalg.eigh(q)
        wave.append(((vectors * np.exp(1j * a * values)) @ vectors.T)[:STATES, :STATES])
    levels = (energy[0] * np.arange(STATES)[:, None] + energy[1] * np.arange(STATES)).ravel()
    boltzmann = np.exp(-beta * levels)
    gap = levels[:, None] - levels
    same = np.abs(gap) < 1e-9
    kernel = np.where(same, beta * boltzmann, (boltzmann - boltzmann[:, None]) / np.where(same, 1, gap))
    change = -(cubic * kernel * np.kron(*wave).T).sum() / boltzmann.sum()
    squares = PHONON_ENERGY**2 / (2 * energy) / np.tanh(beta * energy / 2)
    damping = np.exp(-(squares * (Q * (atoms[0] - atoms[1])) ** 2).sum() / 2)
    # Mean displacements: equal-time squares of the bonds push, the static response follows.
    push = (CUBIC[:, None] * bonds * ((bonds**2) @ squares)[:, None]).sum(axis=0) / 2
    shift = -(push / root**2 * Q * (atoms[0] - atoms[1])).sum()
    return (change / (1j * damping)).real - shift


def by_nodes(springs, masses, thermal_energy, nodes):
    """(1/6) ∫dτ Σ G A³ with the rule."""
    dynamical, bonds = dynamical_matrix(springs, masses)
    lifted = dynamical + np.outer(np.sqrt(masses), np.sqrt(masses)) / masses.sum()
    squares = _at_times(jnp.asarray(lifted, complex)[None], jnp.asarray(thermal_energy), nodes.times)[:, 0]
    _, vectors = np.linalg.eigh(dynamical)
    inner = vectors[:, 1:] @ vectors[:, 1:].T
    weights = 1 / np.sqrt(masses)
    covariance = weights[:, None] * np.asarray(inner @ squares @ inner).real * weights
    alignment = Q * np.einsum("ba,tac->tbc", bonds, covariance)
    return float(nodes.weights @ ((alignment[..., 0] - alignment[..., 1]) ** 3 @ CUBIC)) / 6


SOFT = np.array([0.3, 27.0, 2700.0])


# With a soft mode and more heat, more states would be needed.
@pytest.mark.parametrize(("theta", "masses", "many"), [
    (6.0, MASSES, 8), (24.0, MASSES, 8), (120.0, MASSES, 8), (24.0, SOFT, 8), (120.0, SOFT, 12),
])  # fmt: skip
def test_exact_diagonalisation_of_a_chain(theta, masses, many):
    """1e-6 with eight nodes, or more where one mode is soft; 2e-4 with the number that is chosen."""
    energies = PHONON_ENERGY * modes(SPRINGS, masses)[0]
    beta = theta / energies[1]
    expected = exact(SPRINGS, masses, beta)
    chosen = make_nodes(1 / beta, *energies)
    assert by_nodes(SPRINGS, masses, 1 / beta, chosen) == pytest.approx(expected, rel=2e-4)
    more = make_nodes(1 / beta, *energies, n_nodes=many)
    assert by_nodes(SPRINGS, masses, 1 / beta, more) == pytest.approx(expected, rel=1e-6)
    # Formulas that one might think of instead are far off.
    at_once = by_nodes(SPRINGS, masses, 1 / beta, Nodes(jnp.zeros(1), jnp.array([beta])))
    assert abs(at_once / expected) > 3


def blocks(seed=0, n_k=3, n_atoms=2):
    """Positive blocks, the first with the acoustic modes of k = 0."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n_k, 3 * n_atoms, 3 * n_atoms)) + 1j * rng.normal(
        size=(n_k, 3 * n_atoms, 3 * n_atoms)
    )
    found = half @ half.conj().swapaxes(1, 2) + np.eye(3 * n_atoms)
    centred = np.eye(3 * n_atoms) - np.kron(np.full((n_atoms, n_atoms), 1 / n_atoms), np.eye(3))
    found[0] = centred @ found[0].real @ centred
    return jnp.asarray(found)


MASS = jnp.array([27.0, 70.0])


@pytest.mark.parametrize("thermal_energy", [0.03, 0.002, 0.0])
def test_time_zero_is_the_covariance_and_beta_its_mirror(thermal_energy):
    given = blocks(), MASS, jnp.asarray(thermal_energy)
    beta = 1 / max(thermal_energy, 1e-3)
    at = covariance_at_times(*given, jnp.array([0.0, 0.3 * beta, 0.7 * beta]))
    np.testing.assert_allclose(at[0], quantum_covariance(*given), rtol=0, atol=1e-15)
    if thermal_energy:
        np.testing.assert_allclose(at[1], at[2], rtol=1e-9, atol=1e-13)


def test_integral_over_imaginary_time_is_the_static_response():
    """∫₀^β C(k, τ) dτ = Φ(k)⁻¹ exactly, whatever the statistics."""
    thermal_energy = 0.02
    statistics = Quantum(jnp.asarray(thermal_energy), MASS)
    nodes = statistics.nodes(blocks(), n_nodes=20)
    found = jnp.einsum("t,tkab->kab", nodes.weights, statistics.covariance_at(blocks(), nodes.times))
    np.testing.assert_allclose(found[1:], jnp.linalg.inv(blocks()[1:]), rtol=1e-8, atol=1e-10)
    assert nodes.weights.sum() == pytest.approx(1 / thermal_energy)


def test_hot_crystals_are_classical():
    thermal_energy = 100.0
    at = covariance_at_times(
        blocks(), MASS, jnp.asarray(thermal_energy), jnp.array([0.0, 0.3 / thermal_energy])
    )
    classical = thermal_energy * jnp.linalg.inv(blocks()[1:])
    for one in at:
        np.testing.assert_allclose(one[1:], classical, rtol=1e-5, atol=1e-5 * float(jnp.abs(classical).max()))


@pytest.mark.parametrize("thermal_energy", [0.03, 0.001, 0.0])
def test_derivatives_match_finite_differences(thermal_energy):
    """Also where modes coincide, as those of the identity do."""
    times = make_nodes(thermal_energy, 0.01, 0.06).times
    step = 1e-6
    for given in (blocks()[1:], jnp.broadcast_to(30 * jnp.eye(6, dtype=complex), (2, 6, 6))):
        rng = np.random.default_rng(1)
        change = rng.normal(size=(2, 6, 6)) + 1j * rng.normal(size=(2, 6, 6))
        change = jnp.asarray(change + change.conj().swapaxes(1, 2))
        value = partial(_at_times, thermal_energy=jnp.asarray(thermal_energy), times=times)
        _, slope = jax.jvp(value, (given,), (change,))
        difference = (value(given + step * change) - value(given - step * change)) / (2 * step)
        scale = float(jnp.abs(difference).max())
        np.testing.assert_allclose(slope, difference, rtol=0, atol=1e-7 * scale)


def test_nothing_but_the_coldest_interval_is_cut():
    assert make_nodes(0.01, 0.01, 0.04).weights.sum() == pytest.approx(100)
    assert make_nodes(0.0, 0.01, 0.04).weights.sum() == pytest.approx(1000, rel=1e-3)
    assert make_nodes(0.0, 0.02, 0.04).weights.sum() == pytest.approx(750, rel=1e-3)
    assert (np.diff(make_nodes(0.0, 0.01, 0.04, 6).times) < 0).all()
