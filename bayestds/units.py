"""Physical constants and unit conversions (CODATA values, from scipy).

The package works in eV, Å, K, amu and THz throughout.
"""

import math

from scipy import constants

BOLTZMANN = constants.k / constants.e
"""Boltzmann constant, eV/K."""

NEWTON_PER_METRE = 1e-20 / constants.e
"""1 N/m in eV/Å²."""

GIGAPASCAL = constants.e * 1e21
"""1 eV/Å³ in GPa."""

THZ = math.sqrt(constants.e * 1e20 / constants.atomic_mass) / (2e12 * math.pi)
"""Frequency ν in THz of a dynamical-matrix eigenvalue of 1 eV/(Å² amu)."""

PHONON_ENERGY = constants.hbar * math.sqrt(1e20 / (constants.e * constants.atomic_mass))
"""Energy ħω in eV of a dynamical-matrix eigenvalue of 1 eV/(Å² amu)."""

KILOVOLT_ANGSTROMS = constants.h * constants.c / constants.e * 1e7
"""Photon energy in keV times wavelength in Å."""
