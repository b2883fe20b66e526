"""POSCAR files, whose species ASE understands only in part."""

import io
import re
from pathlib import Path

from ase import Atoms
from ase.io.vasp import read_vasp

from bayestds.crystal.species import element_of, read_species
from bayestds.errors import CrystalError

SPECIES, COUNTS = 5, 6
"""Lines of the species and of their numbers of atoms, counted from 0."""


def read_poscar(path: str | Path) -> tuple[Atoms, list[str], list[str]]:
    """The structure of a POSCAR file.

    Species may have charges, mass numbers and labels of pseudopotentials or sites ("Na1+", "2H", "Fe_pv").
    Files of VASP 4 have no line of species; there the first line must consist of them.

    Returns:
        the atoms, the species of each (ASE knows no isotopes), and the charges that were given to species.

    Raises:
        CrystalError: species or numbers of atoms are missing or unknown.
    """
    lines = Path(path).read_text("utf-8", errors="replace").splitlines()
    if len(lines) <= COUNTS:
        raise CrystalError(
            f"It has {len(lines)} lines.", "A POSCAR file has at least eight.", "Give the whole file."
        )
    if all(map(str.isdecimal, _words(lines[SPECIES]))):
        lines.insert(SPECIES, _species_of_title(lines))
    words, counts = _words(lines[SPECIES]), _words(lines[COUNTS])
    if len(words) != len(counts) or not all(map(str.isdecimal, counts)):
        raise CrystalError(
            f"It has {len(words)} species, but not as many numbers of atoms.",
            f"The lines are {lines[SPECIES].strip()!r} and {lines[COUNTS].strip()!r}.",
            "Give one number of atoms for each species.",
        )
    if not any(map(int, counts)):
        raise CrystalError("It has no atoms.", f"Their numbers are {' '.join(counts)}.", "Give at least one.")
    left = len(lines) - COUNTS - 2
    if sum(map(int, counts)) > left:
        raise CrystalError(
            "It has fewer positions than atoms.",
            f"The numbers of atoms are {' + '.join(counts)}; {max(left, 0)} lines at most have positions.",
            "Give the whole file, or correct the numbers of atoms.",
        )
    species, charges = zip(*map(_species, words), strict=True)
    lines[SPECIES], lines[COUNTS] = " ".join(map(element_of, species)), " ".join(counts)
    atoms = read_vasp(io.StringIO("\n".join(lines) + "\n"))
    each = [name for name, count in zip(species, counts, strict=True) for _ in range(int(count))]
    return atoms, each, list(charges)


def _words(line: str) -> list[str]:
    return re.split("[!#]", line)[0].split()


def _species(word: str) -> tuple[str, str]:
    """Species and charge of a word such as "Fe_pv", "Na_pv/6a2f546d", "O_2" or "O2"."""
    symbol = re.split("[_/.]", word)[0]
    return read_species(re.sub(r"(?<=[A-Za-z])\d+$", "", symbol))


def _species_of_title(lines: list[str]) -> str:
    """The first line of a file of VASP 4, if it consists of the species."""
    words = _words(lines[0])
    try:
        known = [_species(word) for word in words]
    except CrystalError:
        known = []
    if not known or len(known) != len(_words(lines[SPECIES])):
        raise CrystalError(
            "It does not name its species.",
            f"Line 6 is {lines[SPECIES].strip()!r}, and the first line {lines[0].strip()!r} does not consist "
            "of the symbols of elements, as it would in files of VASP 4.",
            "Insert a line with a symbol for each number, such as 'Na Cl', above the numbers.",
        )
    return " ".join(words)
