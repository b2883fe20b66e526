"""Space groups as files and models state them: by number, by symbol or by their operations.

Tables and notation are those of gemmi: all settings of International Tables, and many others that are in use.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import gemmi
import numpy as np

from bayestds.crystal.symmetry import SpaceGroup, group_type
from bayestds.errors import CrystalError

FIX = (
    "Write one of International Tables, such as 225, 'F m -3 m', 'P 1 21/n 1', 'F d -3 m :2' or 'R -3 m :R'."
)


class Stated(NamedTuple):
    """A space group in the setting of a description, x' = W x + w with all of its centring translations.

    Attributes:
        name: what messages call it.
        number: of its type, 1 to 230.
        rotations: (n_ops, 3, 3) int, the matrices W.
        translations: (n_ops, 3), the vectors w, from 0 to 1.
        ambiguous: whether what was stated leaves the choice of the origin open.
    """

    name: str
    number: int
    rotations: np.ndarray
    translations: np.ndarray
    ambiguous: bool = False


def named_group(name: int | str, angles: Sequence[float]) -> Stated:
    """The space group of a number, or of a Hermann-Mauguin symbol in any common setting and spelling.

    A number means the standard setting. An origin that is left open is the first choice of International
    Tables; axes of a rhombohedral lattice are hexagonal, unless the angles of the cell are equal.

    Args:
        name: number, or symbol, to which ":1" or ":2" (ICSD: S or Z), ":H" or ":R" may be added.
        angles: (3,) of the cell, degrees.

    Raises:
        CrystalError: there is no such group.
    """
    if isinstance(name, int):
        symbols = [gemmi.find_spacegroup_by_number(name).hm] if 1 <= name <= 230 else []
    else:
        plain = re.sub(r"\s+", " ", name.replace("_", "")).strip()
        symbols = [plain, re.sub(r" ?S$", ":1", re.sub(r" ?Z$", ":2", plain))]
    found = (gemmi.find_spacegroup_by_name(symbol, angles[0], angles[2]) for symbol in symbols)
    group = next((one for one in found if one is not None), None)
    if group is None:
        raise CrystalError(f"There is no space group {name!r}.", "No such number or symbol is known.", FIX)
    rotations, translations = _arrays(list(group.operations()))
    chosen = isinstance(name, str) and re.search(r":|[SZ]$", name.strip())
    return Stated(group.xhm(), group.number, rotations, translations, group.ext in ("1", "2") and not chosen)


def hall_group(symbol: str) -> Stated:
    """The space group of a Hall symbol.

    Raises:
        CrystalError: there is no such group.
    """
    try:
        rotations, translations = _arrays(list(gemmi.symops_from_hall(symbol)))
    except (RuntimeError, ValueError) as error:
        raise CrystalError(f"The Hall symbol {symbol!r} cannot be read.", f"{error}.", FIX) from None
    return Stated(symbol, group_type(rotations, translations)[0], rotations, translations)


def listed_group(operations: Sequence[str]) -> Stated:
    """The space group of a complete list of operations such as "-x, 1/2+y, z".

    Raises:
        CrystalError: one cannot be read, or they are no group.
    """
    parsed = []
    for text in operations:
        try:
            parsed.append(gemmi.Op(text))
        except RuntimeError as error:
            raise _unreadable(text, f"{error}") from None
        if abs(parsed[-1].det_rot()) != gemmi.Op.DEN**3:
            raise _unreadable(text, "Its matrix maps a cell on none of the same volume")
    rotations, translations = _arrays(parsed)
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 3, 3)
    moved = (np.einsum("aij,bj->abi", rotations, translations) + translations[:, None]).reshape(-1, 3)
    if len(_keys(products, moved) | _keys(rotations, translations)) > len(rotations):
        raise CrystalError(
            f"The {len(rotations)} symmetry operations are no group.",
            "Two of them, one after the other, make an operation that is not listed.",
            "List all operations of the space group, or leave the list out and give its symbol.",
        )
    number, symbol = group_type(rotations, translations)
    return Stated(symbol, number, rotations, translations)


def compare(
    stated: Sequence[Stated], found: SpaceGroup, lattice: np.ndarray, primitive: np.ndarray
) -> tuple[str, ...]:
    """What is to be said of the symmetry found, given that which was stated.

    Args:
        stated: every group that was stated.
        found: that of the atoms.
        lattice: (3, 3) Å, vectors that the stated operations refer to.
        primitive: (3, 3) Å, those of the primitive cell that was found.

    Raises:
        CrystalError: the atoms lack symmetry that was stated.
    """
    name = f"{found.symbol} ({found.number})"
    n_found = len(found.rotations) * round(abs(np.linalg.det(lattice) / np.linalg.det(primitive)))
    for one in stated:
        if n_found < len(one.rotations):
            raise _lacks_symmetry(name, one, min(len(other.rotations) for other in stated), lattice)
    if not stated or found.number in {one.number for one in stated}:
        return ()
    largest = max(stated, key=lambda one: len(one.rotations))
    return (
        f"The atoms have the symmetry {name}, more than {largest.name} ({largest.number}), which is stated; "
        "force constants obey it.",
    )


def _lacks_symmetry(found: str, stated: Stated, n_listed: int, lattice: np.ndarray) -> CrystalError:
    metric = lattice @ lattice.T
    strain = np.abs(stated.rotations.transpose(0, 2, 1) @ metric @ stated.rotations - metric).max()
    if strain > 1e-4 * np.abs(metric).max():
        reason = "The lattice parameters do not have that symmetry."
        fix = "Correct the lattice parameters, or the space group."
    elif n_listed < len(stated.rotations):
        reason = f"It has {len(stated.rotations)} symmetry operations; the file lists {n_listed}."
        fix = "List all of them (or none, only the symbol), or all atoms of the cell."
    else:
        reason, fix = "The sites do not have that symmetry.", "Correct the sites, or the space group."
    return CrystalError(
        f"The atoms have the symmetry {found}, less than {stated.name} ({stated.number}), which is stated.",
        reason,
        fix,
    )


def _unreadable(text: str, reason: str) -> CrystalError:
    return CrystalError(
        f"The symmetry operation {text!r} cannot be read.",
        f"{reason}.",
        "Write it like 'x,y,z' or '-y,x-y,z+1/3'.",
    )


def _keys(rotations: np.ndarray, translations: np.ndarray) -> set[bytes]:
    parts = np.rint(24 * translations).astype(int) % 24
    return {row.tobytes() for row in np.column_stack([rotations.reshape(-1, 9), parts])}


def _arrays(operations: Sequence[gemmi.Op]) -> tuple[np.ndarray, np.ndarray]:
    unique = {one.wrap().triplet(): one for one in operations}.values()
    rotations = np.array([one.rot for one in unique]) // gemmi.Op.DEN
    return rotations, np.array([one.tran for one in unique]) / gemmi.Op.DEN % 1
