"""Species: chemical elements and isotopes, as they are called here and in files of other programs.

A species is an element ("Na"), deuterium "D", tritium "T", or another isotope with its mass number before the
element ("58Ni"). Charges ("Na1+") belong to the way an atom scatters X-rays and are no part of it.
"""

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from bayestds.errors import CrystalError

HYDROGEN = {"2H": "D", "3H": "T"}
"""Isotopes with symbols of their own."""

VALENCE = {"Cval": "C", "Siva": "Si"}
"""Atoms as they are bound in diamond and silicon, in tables of form factors."""

ELEMENTS = frozenset(chemical_symbols[1:])

_SYMBOL = re.compile(r"(\d{0,3})([A-Z][a-z]?)(0|\d*[+-]|[+-]\d+)?")
_UNCHARGED = frozenset({"", "0", "0+", "0-", "+0", "-0"})


def read_species(symbol: str) -> tuple[str, str]:
    """Species and charge of a symbol such as "Na1+", "Fe3+", "O2-", "Ag0", "D", "2H" or "58Ni".

    Returns:
        the species, and the symbol itself if it states a charge other than zero, else "".

    Raises:
        CrystalError: there is no such element or isotope.
    """
    found = _SYMBOL.fullmatch(symbol.strip())
    number, element, charge = ("", "", "") if found is None else (part or "" for part in found.groups())
    species = HYDROGEN.get(number + element, number + element)
    if found is None or element not in ELEMENTS | {"D", "T"} or (number and element in ("D", "T")):
        raise CrystalError(
            f"There is no element {symbol!r}.",
            'Species are symbols of elements or isotopes, with or without charge: "Na", "Na1+", "D", "58Ni".',
            "Correct the species.",
        )
    mass_of(species)
    return species, "" if charge in _UNCHARGED else symbol.strip()


def element_of(species: str) -> str:
    """Element of a species or ion: "Na" of "Na1+", "H" of "D", "Ni" of "58Ni", "C" of "Cval"; others stay."""
    found = _SYMBOL.fullmatch(species)
    symbol = species if found is None else found[2]
    return {"D": "H", "T": "H", **VALENCE}.get(symbol, symbol)


def isotope(species: str) -> Any:
    """The isotope of a species as periodictable has it, None for a natural element.

    Raises:
        CrystalError: there is none with this mass number.
    """
    number = {"D": "2", "T": "3"}.get(species, "".join(takewhile(str.isdigit, species)))
    if not number:
        return None
    from periodictable import elements  # builds tables, which only isotopes need

    try:
        return elements.symbol(element_of(species))[int(number)]
    except (KeyError, ValueError):
        raise CrystalError(
            f"There is no isotope {species!r}.",
            f"No isotope of {element_of(species)} with the mass number {number} is tabulated.",
            "Correct the mass number, which stands before the symbol of the element.",
        ) from None


def mass_of(species: str) -> float:
    """Mass of a species, amu: of the isotope (periodictable), or the natural one of the element (ASE).

    Raises:
        CrystalError: there is no such isotope.
    """
    found = isotope(species)
    return float(atomic_masses[atomic_numbers[species]] if found is None else found.mass)


def as_species(labels: Iterable[str], known: Iterable[str]) -> list[str]:
    """Labels of another program as species of a crystal: an element stands for its isotope there.

    Labels that are species already, or of an element that the crystal has several isotopes of, stay.
    """
    isotopes: dict[str, list[str]] = {}
    for species in dict.fromkeys(known):
        isotopes.setdefault(element_of(species), []).append(species)
    single = {element: names[0] for element, names in isotopes.items() if len(names) == 1}
    return [single.get(label, label) for label in labels]


def isotope_by_mass(species: str, mass: float) -> str:
    """D or T for hydrogen that has their mass; any other species stays."""
    if species == "H":
        return next((name for name in ("D", "T") if abs(mass - mass_of(name)) < 0.01), species)
    return species


def charges_left_out(charges: Iterable[str]) -> tuple[str, ...]:
    """The remark that charges, as :func:`read_species` gives them, were left out; none if there are none."""
    names = ", ".join(dict.fromkeys(filter(None, charges)))
    if not names:
        return ()
    return (
        f"The charges of {names} are left out: X-rays are scattered by neutral atoms, unless `ions` in "
        "[scattering] says otherwise.",
    )
