"""How strongly atoms scatter: X-ray form factors of free atoms and ions, or neutron scattering lengths.

With waves exp(iQ·r) an X-ray form factor is f = f₀(|Q|) + f' + if''. f₀ is the sum of five Gaussians of
Waasmaier and Kirfel (Acta Cryst. A 51 (1995) 416); f' and f'' are those of Chantler (J. Phys. Chem. Ref.
Data 24 (1995) 71); both come from xraydb. Neutron lengths are the bound coherent ones of natural elements or
isotopes (Rauch and Waschkowski, Neutron Data Booklet, 2003), from periodictable; their imaginary parts, which
absorption brings, are left out, and species refused for which these matter.
"""

import math
from collections.abc import Sequence

import numpy as np

from bayestds.crystal.species import element_of, isotope
from bayestds.errors import CrystalError

ENERGIES = (0.1, 400.0)
"""Photon energies, keV, for which anomalous terms are looked up."""

ABSORBED = 0.05
"""Imaginary part of a neutron length, as a share of the real one, that may be left out."""


def xray_factors(species: Sequence[str], q_lengths: np.ndarray, energy: float | None = None) -> np.ndarray:
    """X-ray form factors (n_q, n_atoms) in electrons; complex where there are anomalous terms.

    Args:
        species: an element, isotope or ion for each atom, such as "Ni", "D", "Na1+" or "Cval".
        q_lengths: |Q| (n_q,), Å⁻¹.
        energy: of the photons, keV; None leaves f' and f'' out.

    Raises:
        CrystalError: no form factor is tabulated for a species, or the energy is out of range.
    """
    import xraydb  # opens a database, which only those who ask for form factors need

    _check_energy(energy)
    columns = {}
    for name in dict.fromkeys(species):
        element = element_of(name)
        try:
            known = xraydb.f0_ions(element)
        except ValueError:
            known = []
        # The electrons of isotopes are those of their element.
        atom = name if isotope(name) is None else element
        if atom not in known:
            raise CrystalError(
                f"There is no X-ray form factor of {name!r}.",
                f"Tabulated are {', '.join(known) or 'neither it nor any ion of ' + element}.",
                "Name one of these, or give constant factors.",
            )
        # xraydb wants sin θ / λ.
        column = xraydb.f0(atom, np.asarray(q_lengths) / (4 * math.pi))
        columns[name] = column if energy is None else column + _anomalous(element, energy)
    return np.stack([columns[name] for name in species], axis=1)


def _anomalous(element: str, energy: float) -> complex:
    """Anomalous terms f' + if'' at an energy in keV."""
    import xraydb

    try:
        return xraydb.f1_chantler(element, 1e3 * energy) + 1j * xraydb.f2_chantler(element, 1e3 * energy)
    except IndexError:  # what xraydb raises beyond uranium
        raise CrystalError(
            f"There are no anomalous terms of {element!r}.",
            "Tables run from hydrogen to uranium.",
            "Leave the energy out.",
        ) from None


def _check_energy(energy: float | None) -> None:
    low, high = ENERGIES
    if energy is not None and not low <= energy <= high:
        raise CrystalError(
            f"There are no anomalous terms for a photon energy of {energy:g} keV.",
            f"Tables run from {low:g} to {high:g} keV.",
            "Give the energy in keV, or leave it out.",
        )


def neutron_lengths(species: Sequence[str]) -> np.ndarray:
    """Bound coherent scattering lengths (n_atoms,), fm, of natural elements and of isotopes ("D", "58Ni").

    Raises:
        CrystalError: none is tabulated for a species, or it has an imaginary part that matters.
    """
    from periodictable import elements

    lengths = {}
    for name in dict.fromkeys(species):
        try:
            neutron = (isotope(name) or elements.symbol(name)).neutron
        except ValueError:
            neutron = None
        if neutron is None or neutron.b_c is None or neutron.b_c_complex is None:
            raise CrystalError(
                f"There is no neutron scattering length of {name!r}.",
                "The tables have elements and isotopes, without those that are too radioactive.",
                "Give constant factors, in fm.",
            )
        length, imaginary = neutron.b_c, neutron.b_c_complex.imag
        if abs(imaginary) > ABSORBED * abs(length):
            raise CrystalError(
                f"{name!r} absorbs neutrons too strongly for a real scattering length.",
                f"At 1.798 Å it is {length:.3g} {imaginary:+.3g}i fm, and only the real part would be used.",
                "Give constant factors of the isotope that was measured, in fm.",
            )
        lengths[name] = float(length)
    return np.array([lengths[name] for name in species])


def compton_intensity(species: Sequence[str], q_lengths: np.ndarray) -> np.ndarray:
    """Incoherent (Compton) scattering of X-rays by all atoms (n_q,), electron units.

    Σ_κ (Z_κ - f_κ²/Z_κ), with the number of electrons Z: what Raman and Compton's Z - Σ_e f_e² is when all
    electrons of an atom have the same form factor f_e = f/Z; else it is an upper bound, as Σ_e f_e² ≥ f²/Z.
    Recoil and relativistic corrections are left out.

    Args:
        species: an element or ion for each atom.
        q_lengths: |Q| (n_q,), Å⁻¹.

    Raises:
        CrystalError: no form factor is tabulated for a species.
    """
    factors = xray_factors(species, q_lengths)
    electrons = xray_factors(species, np.zeros(1))
    return (electrons - factors**2 / electrons).sum(axis=1)
