"""CIF files as databases and refinement programs write them. The syntax is read by gemmi."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from bayestds.crystal.sites import Sites, distances, make_lattice, partly_occupied
from bayestds.crystal.species import ELEMENTS, charges_left_out, mass_of, read_species
from bayestds.crystal.stated import Stated, hall_group, listed_group, named_group
from bayestds.errors import CrystalError

LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
POSITIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
# Tags of the present dictionary, then those of the old one.
OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
NAMES = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m_full")
NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")

ROUNDED, LARGEST = 1e-3, 0.05
"""How far an occupancy may be from 1, and how far at most within two standard uncertainties."""

SHARED = 1.0
"""Distance of partially occupied sites that share an atom, Å."""

Tags = Mapping[str, list[str]]
"""Values of a block by their tags: lower case, _ for the dots of the present dictionary."""


def read_cif(path: str | Path) -> Sites:
    """The sites and the space group of a CIF file, as it states them.

    Raises:
        CrystalError: it is no CIF file or holds not exactly one structure; a length, angle or position is no
            number or impossible; a species is not known, a site not fully occupied, or an atom not located;
            no symmetry is stated, or it cannot be read.
    """
    tags = _structure(Path(path))
    parameters = _cell(tags)
    group, stated = _symmetry(tags, parameters[3:].tolist())
    count = len(tags[POSITIONS[0]])
    names = [name or f"{site}" for site, name in enumerate(_column(tags, "_atom_site_label", count), start=1)]
    flags = _column(tags, "_atom_site_calc_flag", count)
    used = [site for site in range(count) if flags[site].lower() != "dum"]  # the others are dummies
    if not used:
        raise CrystalError("It has no atoms.", "All of its sites are dummies.", "Give the sites of atoms.")
    labels = tuple(names[site] for site in used)
    numbers = [[_coordinate(tags, tag, site, names[site]) for tag in POSITIONS] for site in used]
    symbols = _column(tags, "_atom_site_type_symbol", count)
    species, charges = zip(*(_species(symbols[site], names[site]) for site in used), strict=True)
    positions, errors = np.moveaxis(np.array(numbers), -1, 0)
    lattice = make_lattice(parameters)
    _refuse_missing_atoms(_column(tags, "_atom_site_attached_hydrogens", count), names)
    occupancies = [_column(tags, "_atom_site_occupancy", count)[site] for site in used]
    remarks = _full(occupancies, labels, positions, lattice) + charges_left_out(charges)
    masses = np.array(list(map(mass_of, species)))
    return Sites(lattice, labels, species, masses, positions, errors, group, stated, remarks)


def _structure(path: Path) -> Tags:
    """The tags of the one block that lists atoms and their positions."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    try:
        # Other than ASCII is only in names and comments, and not allowed in CIF 1.1.
        document = gemmi.cif.read_string(text.encode("ascii", "replace").decode())
    except (ValueError, RuntimeError) as error:
        where = re.sub(r"^string:(\d+)(:\d+\(\d+\):)?", r"line \1:", str(error))
        raise CrystalError("It is not a valid CIF file.", f"{where}.", "Correct this place.") from None
    found = [tags for block in document if POSITIONS[0] in (tags := _tags(block))]
    if len(found) != 1:
        raise CrystalError(
            f"It holds {len(found) or 'no'} structure{'s' if found else ''}.",
            "Exactly one block must list atoms with their fractional coordinates (_atom_site_fract_x, ...).",
            "Give a CIF file with one structure.",
        )
    return found[0]


def _tags(block: Any) -> Tags:
    tags: dict[str, list[str]] = {}
    for item in block:
        if item.pair is not None:
            tags[_plain(item.pair[0])] = [_text(item.pair[1])]
        elif item.loop is not None:
            loop = item.loop
            for number, tag in enumerate(loop.tags):
                tags[_plain(tag)] = list(map(_text, loop.values[number :: loop.width()]))
    return tags


def _plain(tag: str) -> str:
    return tag.lower().replace(".", "_")


def _text(value: str) -> str:
    """A value without its quotes; "?" and "." mean that there is none, and stay."""
    return value if gemmi.cif.is_null(value) else gemmi.cif.as_string(value).strip()


def _given(value: str) -> str:
    return "" if value in ("?", ".") else value


def _first(tags: Tags, names: tuple[str, ...]) -> str:
    """The first value of the first tag that has one, "" if none has."""
    return next((value for name in names if (value := _given(tags.get(name, [""])[0]))), "")


def _column(tags: Tags, tag: str, count: int) -> list[str]:
    """A column of the list of sites, empty texts where it says nothing."""
    values = tags.get(tag, [])
    return list(map(_given, values)) if len(values) == count else [""] * count


def _number(text: str) -> tuple[float, float]:
    """A number and its standard uncertainty (0 if none is given): "0.25(1)" is 0.25, 0.01; NaN for others."""
    found = re.fullmatch(r"([+-]?(?:\d+\.?(\d*)|\.(\d+))(?:[eE][+-]?\d{1,2})?)(?:\((\d{1,9})\))?", text)
    if found is None:
        return math.nan, 0.0
    number, decimals, other, uncertainty = found.groups()
    return float(number), int(uncertainty or 0) * 10.0 ** -len(decimals or other or "")


def _cell(tags: Tags) -> np.ndarray:
    parameters = []
    for tag in LENGTHS + ANGLES:
        text = tags.get(tag, ["90" if tag in ANGLES else "?"])[0]  # 90 by the dictionary
        value, limit = _number(text)[0], 180.0 if tag in ANGLES else math.inf
        if not 0 < value < limit:
            wanted = "between 0 and 180 degrees" if tag in ANGLES else "a positive number, in Å"
            raise CrystalError(f"{tag} is {text}.", f"It must be {wanted}.", "Correct the file.")
        parameters.append(value)
    return np.array(parameters)


def _coordinate(tags: Tags, tag: str, site: int, label: str) -> tuple[float, float]:
    values = tags.get(tag, [])
    text = values[site] if site < len(values) else "?"
    number = _number(text)
    if not math.isfinite(number[0]):
        raise CrystalError(
            f"{tag} of site {label} is {text}.",
            "Every site needs three numbers, in fractions of the cell.",
            "Correct the file, or leave out sites that nobody located.",
        )
    return number


def _symmetry(tags: Tags, angles: Sequence[float]) -> tuple[Stated, tuple[Stated, ...]]:
    """The space group whose operations make all atoms, and every one that is stated."""
    operations = next((tags[tag] for tag in OPERATIONS if _first(tags, (tag,))), [])
    listed = listed_group(operations) if operations else None
    named = []
    for symbol in (_first(tags, NAMES), _first(tags, NUMBERS)):
        try:
            named += [named_group(int(symbol) if symbol.isdecimal() else symbol, angles)] if symbol else []
        except CrystalError:
            if listed is None:
                raise
    if listed is not None:
        return listed, (listed, *named)
    if hall := _first(tags, HALL):
        return hall_group(hall), (hall_group(hall), *named)
    if not named:
        raise CrystalError(
            "It says nothing of its symmetry.",
            "It has neither a space group nor symmetry operations, so that nobody knows whether it lists "
            "all atoms of the cell or only the inequivalent ones.",
            "Add its space group (_space_group_IT_number); 1 if all atoms are listed.",
        )
    if len({one.number for one in named}) > 1:
        raise CrystalError(
            f"It states two space groups, {' and '.join(f'{one.name} ({one.number})' for one in named)}.",
            "Its symbol and its number disagree, and it lists no symmetry operations.",
            "Correct one of the two, or list the operations.",
        )
    if named[0].ambiguous:
        raise CrystalError(
            f"It does not state the origin of {_first(tags, NAMES) or named[0].number}.",
            "International Tables have two for this space group, and it lists no symmetry operations.",
            "Add ':1' or ':2' to the symbol of the space group, or list the operations.",
        )
    return named[0], tuple(named)


def _species(symbol: str, label: str) -> tuple[str, str]:
    """Species and charge of a site from its type symbol or, if there is none, from its label."""
    if not symbol:
        return _species_of_label(label), ""
    letters = "".join(filter(str.isalpha, symbol))
    element = letters.capitalize()
    try:
        return read_species(symbol.replace(letters, element))
    except CrystalError:
        # Some write labels there, "Fe1" or "O_2".
        if element in ELEMENTS and symbol.startswith(letters):
            return element, ""
        raise _unknown(f"Site {label} is of no known element, {symbol!r}.") from None


def _species_of_label(label: str) -> str:
    """Species of a label such as "Fe1", "O_2", "Ow3" or "D1"; "CA1" could be calcium or carbon: refused."""
    letters = "".join(takewhile(str.isalpha, label))[:2]
    one, two = letters[:1].upper(), letters.capitalize()
    if len(letters) == 2 and two in ELEMENTS and (letters[1].islower() or one not in ELEMENTS):
        return two
    if one not in ELEMENTS | {"D"}:
        raise _unknown(f"Site {label} is of no known element.")
    if len(letters) == 2 and two in ELEMENTS:
        raise _unknown(f"Site {label} may be {one} or {two}.")
    return one


def _unknown(summary: str) -> CrystalError:
    return CrystalError(
        summary,
        "_atom_site_type_symbol has the symbol of the element; without it, _atom_site_label begins with it.",
        "Correct or add _atom_site_type_symbol.",
    )


def _refuse_missing_atoms(hydrogens: list[str], labels: list[str]) -> None:
    for label, text in zip(labels, hydrogens, strict=True):
        if text and _number(text)[0] != 0:
            raise CrystalError(
                f"Site {label} has {text} hydrogen atoms that were not located.",
                "They are in _atom_site_attached_hydrogens, without positions, and scatter and vibrate too.",
                "Give a structure with the positions of all atoms.",
            )


def _full(
    occupancies: list[str], labels: tuple[str, ...], positions: np.ndarray, lattice: np.ndarray
) -> tuple[str, ...]:
    """Refuse sites that are not fully occupied; remarks on those that are so within their uncertainty."""
    remarks = []
    numbers = [_number(text or "1") for text in occupancies]
    missing = np.array([abs(1 - value) for value, _ in numbers])
    for site, (value, error) in enumerate(numbers):
        if missing[site] <= max(ROUNDED, min(2.001 * error, LARGEST)):
            if value != 1:
                remarks.append(f"Site {labels[site]} is taken as fully occupied ({occupancies[site]}).")
            continue
        near = distances(positions[site : site + 1], positions, lattice)[0] < SHARED
        partners = [labels[other] for other in np.flatnonzero(near & (missing > ROUNDED)) if other != site]
        raise partly_occupied(labels[site], occupancies[site], partners)
    return tuple(remarks)
