"""Form factors against known values, and what they do to intensities and fits."""

import numpy as np
import pytest

from bayestds.errors import CrystalError
from bayestds.scattering.atoms import compton_intensity, element_of, neutron_lengths, xray_factors
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
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
    """V. F. Sears, Neutron News 3 (1992) 26, and Rauch and Waschkowski (2003), who changed Ti by 2 %."""
    sears = {"Ni": 10.3, "Si": 4.1491, "Na": 3.63, "Cl": 9.577, "Cu": 7.718}
    np.testing.assert_allclose(neutron_lengths(list(sears)), list(sears.values()), rtol=4e-4)
    later = {"Si": 4.15071, "Cl": 9.5792, "Ti": -3.370, "V": -0.443, "H": -3.7409}
    np.testing.assert_allclose(neutron_lengths(list(later)), list(later.values()), rtol=1e-6)


def test_neutron_lengths_of_isotopes():
    """Sears (1992): deuterium is nothing like hydrogen, which scatters with the other sign."""
    sears = {"D": 6.671, "T": 4.792, "58Ni": 14.4, "60Ni": 2.8, "62Ni": -8.7}
    np.testing.assert_allclose(neutron_lengths(list(sears)), list(sears.values()), rtol=1e-3)


def test_isotopes_have_the_electrons_of_their_element():
    q = np.linspace(0, 5, 4)
    found, expected = xray_factors(["D", "58Ni"], q, 20.0), xray_factors(["H", "Ni"], q, 20.0)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(compton_intensity(["D"], q), compton_intensity(["H"], q))


def test_weak_absorbers_are_as_good_as_real():
    """The imaginary part of boron, the strongest that passes, is 4 % of the real one: 0.08 % of |b|²."""
    np.testing.assert_allclose(neutron_lengths(["B", "Dy"]), [5.3, 16.9], rtol=1e-6)


@pytest.mark.parametrize("name", ["Sm", "Gd", "Eu", "Cd"])
def test_strong_absorbers_are_refused(name):
    with pytest.raises(CrystalError, match=f"'{name}' absorbs neutrons") as caught:
        neutron_lengths(["O", name])
    assert "fm" in caught.value.reason
    assert caught.value.fix


def test_valence_forms_are_atoms_of_their_element():
    """A bound atom of carbon or silicon: all electrons of the free one, differently spread."""
    for name, element, electrons in [("Cval", "C", 6), ("Siva", "Si", 14)]:
        assert element_of(name) == element
        np.testing.assert_allclose(xray_factors([name], np.zeros(1)), electrons, rtol=2e-3)
        q = np.array([3.0])
        anomalous = xray_factors([name], q, 8.0) - xray_factors([name], q)
        np.testing.assert_allclose(anomalous, xray_factors([element], q, 8.0) - xray_factors([element], q))
        assert abs(xray_factors([name], q) - xray_factors([element], q)) > 1e-3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: xray_factors(["Xx"], np.ones(1)), "form factor of 'Xx'"),
        (lambda: xray_factors(["Ni9+"], np.ones(1)), "Ni2\\+"),
        (lambda: xray_factors(["Ni"], np.ones(1), 1e6), "1e\\+06 keV"),
        (lambda: xray_factors(["Cf"], np.ones(1), 8.0), "anomalous terms of 'Cf'.*\n.*uranium"),
        (lambda: neutron_lengths(["99Ni"]), "isotope '99Ni'"),
        (lambda: xray_factors(["D1+"], np.ones(1)), "form factor of 'D1\\+'"),
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
        forward = make_forward_model(
            irreducible, supercell, 300.0, OnMesh(make_engine(supercell, q_points, factors))
        )
        expected = brute_force_log_intensity(irreducible, supercell, values, q_points, factors)
        np.testing.assert_allclose(log_intensity(forward, values), expected, atol=1e-8)


def log_intensities(name: str, factors: np.ndarray, q_points: np.ndarray) -> np.ndarray:
    irreducible, supercell = make_irreducible(name, 2), default_supercell(name)
    forward = make_forward_model(
        irreducible, supercell, 300.0, OnMesh(make_engine(supercell, q_points, factors))
    )
    return np.asarray(log_intensity(forward, random_stable(irreducible, supercell, 2)))


@pytest.mark.parametrize("energy", [None, 11.5])
def test_friedels_law_holds_without_anomalous_terms_only(energy):
    """Gallium arsenide has no centre of symmetry."""
    supercell = default_supercell("zincblende")
    q_points = commensurate_points(supercell, 12, 10.0)
    lengths = np.linalg.norm(supercell.crystal.scattering_vectors(q_points), axis=1)
    factors = xray_factors(["Ga", "As"], lengths, energy)
    difference = log_intensities("zincblende", factors, q_points) - log_intensities(
        "zincblende", factors, -q_points
    )
    if energy is None:
        np.testing.assert_allclose(difference, 0, atol=1e-10)
    else:
        assert np.abs(difference).max() > 0.01
