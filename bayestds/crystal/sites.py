"""Sites as they were written down, with rounded coordinates, and all atoms that symmetry makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import cellpar_to_cell

from bayestds.crystal.stated import Stated
from bayestds.errors import CrystalError

OVERLAP = 0.3
"""Distance that no two atoms have, Å."""

LARGE = 1e6
"""Fractional coordinate that nobody means, and that leaves too few digits within the cell."""

SAME = 0.02
"""Distance from an image of another site within which a site is the same, written twice, Å."""

WORTH_SAYING = 5e-5
"""Distance from which it is said that atoms were moved, Å."""


@dataclass(frozen=True, eq=False)
class Sites:
    """A cell and what was said of its atoms.

    Attributes:
        lattice: (3, 3) Å, one vector a row.
        labels: (n_sites,) what messages call the sites.
        species: (n_sites,) elements or isotopes.
        masses: (n_sites,) amu.
        positions: (n_sites, 3) fractional.
        errors: (n_sites, 3) standard uncertainties of the positions, 0 where none is given.
        group: whose operations make all atoms of the sites; None where the sites are all atoms.
        stated: every space group that is stated, of which all operations must be found.
        remarks: what a user should know about how the description was read, one sentence each.
    """

    lattice: np.ndarray
    labels: tuple[str, ...]
    species: tuple[str, ...]
    masses: np.ndarray
    positions: np.ndarray
    errors: np.ndarray
    group: Stated | None = None
    stated: tuple[Stated, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def digits(self) -> int:
        """Decimals of the coordinate that was given with most of them."""
        return int(_decimals(self.positions).max())


def make_lattice(parameters: np.ndarray) -> np.ndarray:
    """Lattice vectors (3, 3), Å, of a, b, c (Å) and α, β, γ (degrees), (6,).

    Raises:
        CrystalError: no cell has such lengths and angles.
    """
    try:
        lattice = np.asarray(cellpar_to_cell(np.asarray(parameters, dtype=float)))
    except (AssertionError, ValueError, ZeroDivisionError) as error:
        raise _impossible(parameters) from error
    if not 1e-3 < np.linalg.det(lattice) < 1e12:
        raise _impossible(parameters)
    return lattice


def _impossible(parameters: np.ndarray) -> CrystalError:
    return CrystalError(
        "No cell has these lattice parameters.",
        f"a, b, c, α, β, γ = {', '.join(f'{x:g}' for x in parameters)} span no volume.",
        "Correct them: lengths in Å, angles in degrees, each angle less than the sum of the other two.",
    )


def partly_occupied(label: str, occupancy: str = "", partners: Sequence[str] = ()) -> CrystalError:
    """The error that a site is partially occupied; ``partners`` are those that it shares an atom with."""
    shared = f" It shares an atom with {', '.join(partners)}." if partners else ""
    return CrystalError(
        f"Site {label} is partially occupied{f' ({occupancy})' if occupancy else ''}.",
        f"Force constants are defined for an ordered crystal only.{shared}",
        "Give a structure whose sites are fully occupied by one species.",
    )


def all_atoms(sites: Sites) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All atoms of the cell, those on special positions exactly there.

    A site whose images coincide within the digits of its coordinates is moved to the mean of these images:
    0.333, 0.667 become 1/3, 2/3 where operations of the space group ask for it. A coordinate of up to two
    decimals may be wrong by 0.01, another by 0.001, and either by three standard uncertainties. Images that
    coincide are less than 0.3 Å apart, so that a site left where it is would be no possible one.

    Returns:
        positions (n_atoms, 3), the number of the site (n_atoms,) that each atom comes from, and remarks.

    Raises:
        CrystalError: a position is not finite, or far from the cell.
    """
    large = ~(np.abs(sites.positions) < LARGE).all(axis=1)  # NaN too
    if large.any():
        label, position = sites.labels[large.argmax()], sites.positions[large.argmax()].tolist()
        raise CrystalError(
            f"The position of {label} is not finite, or too large.",
            f"It is {position}, in fractions of the cell.",
            "Correct it.",
        )
    group = sites.group
    if group is None:
        return sites.positions, np.arange(len(sites.positions)), ()
    tolerances = np.maximum(np.where(_decimals(sites.positions) > 2, 1e-3, 1e-2), 3 * sites.errors)
    moved = np.zeros(len(sites.positions))
    atoms: list[np.ndarray] = []
    owners: list[int] = []
    repeated = []
    for number, (position, tolerance) in enumerate(zip(sites.positions, tolerances, strict=True)):
        settled = _on_special_position(position, tolerance, sites.lattice, group)
        moved[number] = np.linalg.norm((settled - position) @ sites.lattice)
        images = _images(settled, group)
        same = [owner for owner in range(number) if sites.species[owner] == sites.species[number]]
        earlier = np.array([atom for atom, owner in zip(atoms, owners, strict=True) if owner in same])
        if len(earlier) and distances(position[None], earlier, sites.lattice).min() < SAME:
            repeated.append(sites.labels[number])
            continue
        atoms.extend(images)
        owners.extend([number] * len(images))
    remarks = []
    if moved.max() > WORTH_SAYING:
        worst = int(moved.argmax())
        remarks.append(
            f"Sites were moved onto special positions of {group.name} that their digits stand for, by up to "
            f"{moved.max():.2g} Å ({sites.labels[worst]})."
        )
    if repeated:
        remarks.append(f"By symmetry, {', '.join(repeated)} repeat sites listed before, and were left out.")
    return np.array(atoms), np.array(owners), tuple(remarks)


def _decimals(values: np.ndarray) -> np.ndarray:
    """Number of decimals that each value was written with, trailing zeros aside; 9 for 9 and more."""
    places = np.arange(9)
    rounded = np.abs(np.round(values[..., None] * 10.0**places) / 10.0**places - values[..., None]) < 1e-10
    return np.where(rounded.any(axis=-1), rounded.argmax(axis=-1), 9)


def _on_special_position(
    position: np.ndarray, tolerance: np.ndarray, lattice: np.ndarray, group: Stated
) -> np.ndarray:
    """The position averaged over the operations that leave it where it is, within its tolerance."""
    reach = np.abs(group.rotations - np.eye(3, dtype=int)) @ tolerance + 1e-9
    for _ in range(5):  # an operation may come within reach only when others have moved the site
        away = group.rotations @ position + group.translations - position
        away -= np.rint(away)
        fixing = (np.abs(away) <= reach).all(axis=1) & (np.linalg.norm(away @ lattice, axis=1) < OVERLAP)
        position = position + away[fixing].mean(axis=0)
    return position


def _images(position: np.ndarray, group: Stated) -> np.ndarray:
    """The different images (n, 3) of a position, in the cell."""
    images = group.rotations @ position + group.translations
    away = images[:, None] - images
    same = (np.abs(away - np.rint(away)) < 1e-6).all(axis=-1)
    return images[same.argmax(axis=1) == np.arange(len(images))] % 1


def distances(first: np.ndarray, second: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Distances (n, m), Å, of positions (n, 3) from the images of positions (m, 3) nearest in fractions."""
    away = first[:, None] - second
    return np.linalg.norm((away - np.rint(away)) @ lattice, axis=-1)
