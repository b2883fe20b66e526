"""What displacements themselves tell of force constants."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.errors import InstabilityError, ModelError
from bayestds.inference.displacement_fit import displacement_fit
from bayestds.inference.information import displacement_information
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, harmonic_crystal
from tests.brute_force import (
    BOLTZMANN,
    bonds_of,
    dense_hessian,
    dense_quantum_covariance,
    hessian_blocks,
    periodic_atoms,
    random_stable,
)
from tests.crystals import default_supercell, make_irreducible
from tests.ensembles import Crystal, vibrating


def harmonic(crystal: Crystal) -> HarmonicCrystal:
    return harmonic_crystal(crystal.irreducible, crystal.supercell, crystal.temperature)


@cache
def hessian_derivatives(crystal: Crystal) -> np.ndarray:
    """The dense Hessian (3n, 3n, n_irreducible), which is linear in the force constants."""
    n = len(crystal.truth)
    blocks = hessian_blocks(crystal.atoms, bonds_of(crystal.irreducible, np.eye(n)))
    return blocks.transpose(0, 2, 1, 3, 4).reshape(3 * crystal.atoms.n_atoms, -1, n)


def log_likelihood(crystal: Crystal, phi: np.ndarray, displacements: np.ndarray) -> float:
    """Log-likelihood of displacements from the dense Hessian, up to a constant."""
    hessian = hessian_derivatives(crystal) @ phi
    modes = np.linalg.eigvalsh(hessian)[3:]
    u = displacements.reshape(len(displacements), -1)
    energy = (u * (u @ hessian)).sum() / 2
    return len(u) / 2 * np.log(modes).sum() - energy / (BOLTZMANN * crystal.temperature)


@pytest.mark.parametrize("name", ["cscl", "zincblende"])
def test_fit_is_the_maximum_of_the_dense_likelihood(name):
    crystal = vibrating(name, 1, 4, 300.0)
    u = crystal.draw(np.random.default_rng(0), 20)
    vibrations = harmonic(crystal)
    fitted = displacement_fit(vibrations, crystal.sample_covariance(u), crystal.truth)
    information = displacement_information(vibrations, jnp.asarray(fitted), len(u))
    sd = np.sqrt(np.diag(np.linalg.inv(np.asarray(information))))
    best = log_likelihood(crystal, fitted, u)
    # Half a standard error aside the likelihood falls by 1/8 if the others stand still at most.
    for axis, step in enumerate(np.diag(sd) / 2):
        curvature = float(information[axis, axis]) * (sd[axis] / 2) ** 2
        sides = [best - log_likelihood(crystal, fitted + sign * step, u) for sign in (1, -1)]
        assert np.mean(sides) == pytest.approx(curvature / 2, rel=0.15)
        assert abs(sides[0] - sides[1]) < 0.4 * curvature


def test_information_is_the_curvature_of_the_dense_likelihood():
    crystal = vibrating("cscl", 2, 4, 300.0)
    u = crystal.draw(np.random.default_rng(0), 5)
    information = np.asarray(displacement_information(harmonic(crystal), jnp.asarray(crystal.truth), len(u)))
    step = 1e-3

    def second(first: np.ndarray, other: np.ndarray) -> float:
        corners = [
            sign_1
            * sign_2
            * log_likelihood(crystal, crystal.truth + step * (sign_1 * first + sign_2 * other), u)
            for sign_1 in (1, -1)
            for sign_2 in (1, -1)
        ]
        return -sum(corners) / (4 * step**2)

    n = len(crystal.truth)
    found = np.array([[second(a, b) for a in np.eye(n)] for b in np.eye(n)])
    # The energy is linear in the force constants: only log det has a curvature. Rounding of 1e-12 of the
    # likelihood, about 1e3, over step²; the next order of the difference quotient is step² times larger.
    assert found == pytest.approx(information, rel=2e-3, abs=2e-3 * np.abs(information).max())


@pytest.mark.slow
def test_information_of_quantum_displacements():
    """Curvature of the expected log-likelihood of all atoms, -[log det C + Tr C⁻¹ C₀]/2, at C = C₀."""
    name, temperature, step = "fcc", 100.0, 1e-3
    irreducible, supercell = make_irreducible(name, 2), default_supercell(name)
    truth, atoms = random_stable(irreducible, supercell, 0), periodic_atoms(supercell)

    def held(phi: np.ndarray) -> np.ndarray:
        hessian = dense_hessian(atoms, bonds_of(irreducible, phi))
        masses = np.full(atoms.n_atoms, irreducible.crystal.masses[0])
        rigid = np.kron(np.full((atoms.n_atoms, atoms.n_atoms), 1 / atoms.n_atoms), np.eye(3))
        return dense_quantum_covariance(hessian, masses, temperature) + rigid

    centre = held(truth)

    def cost(shift: np.ndarray) -> float:
        here = held(truth + step * shift)
        return (np.linalg.slogdet(here)[1] + np.trace(np.linalg.solve(here, centre))) / 2

    units = np.eye(len(truth))
    expected = [
        [sum(s * t * cost(s * a + t * b) for s in (1, -1) for t in (1, -1)) / (4 * step**2) for a in units]
        for b in units
    ]
    quantum = harmonic_crystal(irreducible, supercell, temperature, "quantum")
    found = displacement_information(quantum, jnp.asarray(truth), 1)
    # Truncation, about step², and rounding of 1e-13 / step².
    assert np.asarray(found) == pytest.approx(np.array(expected), abs=1e-4 * np.abs(expected).max())


def test_quantum_displacements_are_refused():
    crystal = vibrating("cscl", 1, 4, 300.0)
    vibrations = harmonic_crystal(crystal.irreducible, crystal.supercell, 300.0, "quantum")
    with pytest.raises(ModelError, match="classical statistics only"):
        displacement_fit(vibrations, crystal.sample_covariance(np.zeros((1, 54, 3))), crystal.truth)


def test_bound_of_the_paper():
    """Standard errors for 100,000 configurations of the paper's crystal, as a prototype had them."""
    study = build_study(load_model("ni_fcc_paper"))
    vibrations = harmonic_crystal(study.irreducible, study.supercell(), 300.0)
    information = displacement_information(vibrations, jnp.asarray(study.ifcs("u3_paper")), 100_000)
    expected = [3.7, 4.6, 4.2, 6.5, 4.7, 2.9, 2.2, 2.3, 1.3, 2.8, 3.6, 2.7, 2.1, 2.6, 2.5, 1.9]
    found = 1e4 * np.sqrt(np.diag(np.linalg.inv(np.asarray(information))))
    # The expected values are rounded to one decimal.
    assert found == pytest.approx(expected, abs=0.051)


def test_fits_scatter_as_the_bound_says():
    """30 ensembles of 500: sum of the chi-squares over all constants, outside one time in a thousand."""
    crystal, rng = vibrating("cscl", 2, 4, 300.0), np.random.default_rng(1)
    vibrations = harmonic(crystal)
    information = np.asarray(displacement_information(vibrations, jnp.asarray(crystal.truth), 500))
    total = 0.0
    for _ in range(30):
        u = crystal.draw(rng, 500)
        error = (
            displacement_fit(vibrations, crystal.sample_covariance(u), 0.5 * crystal.truth) - crystal.truth
        )
        total += error @ information @ error
    low, high = chi2.ppf([0.0005, 0.9995], 30 * len(crystal.truth))
    assert low < total < high


def test_unstable_start_is_refused():
    crystal = vibrating("cscl", 1, 4, 300.0)
    with pytest.raises(InstabilityError, match="starting values"):
        displacement_fit(harmonic(crystal), crystal.sample_covariance(np.zeros((1, 54, 3))), -crystal.truth)
