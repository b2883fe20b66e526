"""Form factors against known values, and what they do to intensities and fits."""

import numpy as np
import pytest

from bayestds.errors import CrystalError
from bayestds.scattering.atoms import neutron_lengths, xray_factors
from bayestds.scattering.exact import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, default_supercell, make_irreducible
from tests.scattering.test_exact import brute_force_log_intensity


@pytest.mark.parametrize(
    ("name", "electrons"), [("Ni", 28), ("Si", 14), ("Na1+", 10), ("Cl1-", 18), ("Cu", 29)]
)
def test_forward_scattering_counts_the_electrons(name, electrons):
    np.testing.assert_allclose(xray_factors([name], np.zeros(1)), electrons, rtol=1e-3)


def test_silicon_at_220():
    """f₀ = 8.71 at sin θ/λ = 0.2604 Å⁻¹ (International Tables C, 6.1.1, interpolated)."""
    np.testing.assert_allclose(xray_factors(["Si"], 4 * np.pi * np.array([0.2604])), 8.71, rtol=3e-3)


def test_anomalous_terms_of_copper_and_their_sign():
    """f' = -1.965, f'' = 0.589 at Cu Kα (Cromer and Liberman, International Tables C, 4.2.6.8)."""
    plain, anomalous = xray_factors(["Cu"], np.ones(1)), xray_factors(["Cu"], np.ones(1), 8.0478)
    np.testing.assert_allclose(anomalous - plain, -1.965 + 0.589j, atol=0.04)


def test_neutron_lengths():
    """V. F. Sears, Neutron News 3 (1992) 26."""
    known = {"Ni": 10.3, "Si": 4.1491, "Na": 3.63, "Cl": 9.577, "Cu": 7.718, "Ti": -3.438}
    np.testing.assert_allclose(neutron_lengths(list(known)), list(known.values()), rtol=3e-2, atol=0.01)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: xray_factors(["Xx"], np.ones(1)), "form factor of 'Xx'"),
        (lambda: xray_factors(["Ni9+"], np.ones(1)), "Ni2\\+"),
        (lambda: xray_factors(["Ni"], np.ones(1), 1e6), "1e\\+06 keV"),
        (lambda: neutron_lengths(["Po"]), "neutron scattering length of 'Po'"),
        (lambda: neutron_lengths(["Xx"]), "neutron scattering length of 'Xx'"),
    ],
)
def test_unknown_atoms_and_energies_are_refused(call, words):
    with pytest.raises(CrystalError, match=words):
        call()


def test_intensity_of_ions_with_their_phases():
    """Rock salt and zincblende with anomalous terms, against the sum over all pairs of atoms."""
    for name, species, energy in [("rocksalt", ["Na1+", "Cl1-"], None), ("zincblende", ["Ga", "As"], 11.5)]:
        irreducible, supercell = make_irreducible(name, 2), default_supercell(name)
        values = random_stable(irreducible, supercell, 2)
        q_points = commensurate_points(supercell, 12, 10.0)
        q_points = q_points[supercell.k_index(q_points) != 0]
        lengths = np.linalg.norm(irreducible.crystal.scattering_vectors(q_points), axis=1)
        factors = xray_factors(species, lengths, energy)
        forward = make_forward_model(irreducible, supercell, 300.0, make_engine(supercell, q_points, factors))
        expected = brute_force_log_intensity(irreducible, supercell, values, q_points, factors)
        np.testing.assert_allclose(log_intensity(forward, values), expected, atol=1e-8)
