"""Names of species as files write them, and masses against the atomic mass evaluation."""

import pytest

from bayestds.crystal.species import as_species, element_of, isotope_by_mass, mass_of, read_species
from bayestds.errors import CrystalError


@pytest.mark.parametrize(
    ("symbol", "species", "charge"),
    [
        ("Na", "Na", ""),
        ("Na1+", "Na", "Na1+"),
        ("Na+", "Na", "Na+"),
        ("Fe+3", "Fe", "Fe+3"),
        ("O2-", "O", "O2-"),
        ("Ag0+", "Ag", ""),
        ("Ag0", "Ag", ""),
        ("D", "D", ""),
        ("D1+", "D", "D1+"),
        ("2H", "D", ""),
        ("3H", "T", ""),
        ("1H", "1H", ""),
        ("58Ni2+", "58Ni", "58Ni2+"),
        (" Cl ", "Cl", ""),
    ],
)
def test_symbols(symbol, species, charge):
    assert read_species(symbol) == (species, charge)


@pytest.mark.parametrize("symbol", ["", "Xx", "X", "na", "Fe1", "2D", "99Ni", "Na1+2", "Cval", "Ni Cu", "1"])
def test_what_is_no_species_is_refused(symbol):
    with pytest.raises(CrystalError) as caught:
        read_species(symbol)
    assert caught.value.reason
    assert caught.value.fix


@pytest.mark.parametrize(
    ("species", "mass"),
    [("H", 1.008), ("D", 2.014102), ("T", 3.016049), ("58Ni", 57.935342), ("Ni", 58.693), ("6Li", 6.015123)],
)
def test_masses(species, mass):
    """M. Wang et al., Chin. Phys. C 45 (2021) 030003, and IUPAC's standard atomic weights."""
    assert mass_of(species) == pytest.approx(mass, abs=2e-3 if species in ("H", "Ni") else 2e-6)


@pytest.mark.parametrize(
    ("species", "element"),
    [
        ("D", "H"),
        ("T", "H"),
        ("58Ni", "Ni"),
        ("Na1+", "Na"),
        ("D1+", "H"),
        ("Siva", "Si"),
        ("whatever", "whatever"),
    ],
)
def test_elements(species, element):
    assert element_of(species) == element


def test_hydrogen_with_the_mass_of_deuterium_is_deuterium():
    assert [isotope_by_mass("H", mass) for mass in (1.008, 2.014, 3.016, 1.0)] == ["H", "D", "T", "H"]
    assert isotope_by_mass("Ni", 57.9) == "Ni"


def test_labels_of_elements_stand_for_the_only_isotope():
    assert as_species(["H", "O", "D"], ("D", "O")) == ["D", "O", "D"]
    assert as_species(["H", "D"], ("H", "D")) == ["H", "D"]
    assert as_species(["Ni", "Cu"], ("58Ni",)) == ["58Ni", "Cu"]
