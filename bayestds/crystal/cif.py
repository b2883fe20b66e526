"""What ASE passes over in a CIF file: impossible cells, lost numbers, symmetry that is not stated."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from ase.io.cif import CIFBlock, parse_cif

from bayestds.errors import CrystalError

SYMMETRY = {
    "_space_group_it_number",
    "_space_group.it_number",
    "_symmetry_int_tables_number",
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
}
"""Tags, any of which tells the symmetry."""

POSITIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")


def check_cif(path: str | Path) -> None:
    """Refuse a CIF file that ASE would read as another crystal than it describes.

    A file of the asymmetric unit alone would pass for a crystal without symmetry; lengths that are negative
    and angles beyond 180 degrees make a cell, too.

    Raises:
        CrystalError: there is no structure, lengths, angles or positions are no numbers or impossible, an
            element is not known, or no symmetry is stated.
    """
    try:
        with open(path, "rb") as file:
            blocks = [block for block in parse_cif(file) if block.has_structure()]
    except AssertionError:  # of ASE, where a line belongs to no block
        blocks = []
    if not blocks:
        raise CrystalError(
            f"Crystal file {path} holds no structure.",
            "It is no CIF file, or none of its blocks lists atoms with their positions.",
            "Give a valid CIF file.",
        )
    block = blocks[-1]  # the one that ASE takes
    _check_numbers(block, path)
    for site, symbol in enumerate(block.get_symbols(), start=1):
        if symbol not in chemical_symbols[1:]:
            raise CrystalError(
                f"Crystal file {path}: site {site} is of no known element, {symbol!r}.",
                "Sites are labelled by the symbols of their elements.",
                "Correct _atom_site_type_symbol or _atom_site_label.",
            )
    if not SYMMETRY & set(block):
        raise CrystalError(
            f"Crystal file {path} says nothing of its symmetry.",
            "It has neither a space group nor symmetry operations, so that nobody knows whether it lists "
            "all atoms of the cell or only the inequivalent ones.",
            "Add its space group (_space_group_IT_number); 1 if all atoms are listed.",
        )


def _check_numbers(block: CIFBlock, path: str | Path) -> None:
    for tag in block.cell_tags:
        value = block.get(tag, 1.0)
        length = "_length_" in tag
        if not (_finite(value) and 0 < value < (math.inf if length else 180)):
            wanted = "a positive number, in Å" if length else "between 0 and 180 degrees"
            raise CrystalError(
                f"Crystal file {path}: {tag} is {value}.", f"It must be {wanted}.", "Correct the file."
            )
    for tag in POSITIONS:
        values: Iterable[Any] = block.get(tag) or []
        for site, value in enumerate(values if isinstance(values, list) else [values], start=1):
            if not _finite(value):
                raise CrystalError(
                    f"Crystal file {path}: {tag} of site {site} is {value}.",
                    "Every site needs three numbers, in fractions of the cell.",
                    "Correct the file, or leave out sites that nobody located.",
                )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
