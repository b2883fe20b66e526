"""Irreducible force constants of a potential, from the forces on atoms of which one is moved."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.units import GPa

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.errors import ForceConstantsError
from bayestds.force_constants.exchange import exchange_supercell, supercell_atoms
from bayestds.force_constants.foreign import Projection, Responses, project
from bayestds.force_constants.irreducible import IrreducibleForceConstants

STEP = 0.01
"""Displacement, Å; the derivative is exact up to its fourth power, to 1e-6 of stiff bonds."""

MOST_ATOMS = 1000
"""Of the supercell of the fit, up to which forces are computed in it."""


@dataclass(frozen=True, eq=False)
class PotentialConstants:
    """Force constants of a potential at the lattice constants of the crystal.

    Attributes:
        projection: on the irreducible ones.
        n_atoms: of the supercell in which the forces were computed.
        largest_force: on an atom at its place in the crystal, eV/Å.
        pressure: that the potential wants to expand with, GPa; NaN where it gives no stress.
    """

    projection: Projection
    n_atoms: int
    largest_force: float
    pressure: float


def potential_constants(
    calculator: BaseCalculator,
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    name: str,
    step: float = STEP,
) -> PotentialConstants:
    """Force constants of a potential, projected on the irreducible ones of a crystal.

    One atom of each kind that symmetry tells apart is moved along as few of x, y, z as symmetry allows, and
    the forces on all atoms of the supercell are taken, with differences of fourth order.

    Args:
        calculator: of ASE.
        irreducible: the crystal and its shells.
        supercell: in which the forces are computed; that of a fit to molecular dynamics has its images.
        name: of the potential, for messages.
        step: displacement, Å.

    Raises:
        ForceConstantsError: the potential fails, or gives forces that are not finite.
    """
    atoms = supercell_atoms(supercell)
    atoms.calc = calculator
    n_atoms = irreducible.crystal.n_atoms
    at_rest = _forces(atoms, name)
    pressure = _pressure(atoms)
    kinds, cells = np.tile(np.arange(n_atoms), supercell.n_cells), np.repeat(supercell.cells, n_atoms, axis=0)
    pairs, directions, responses = [], [], []
    for atom, axes in irreducible_displacements(irreducible.crystal):
        # The first cell of the supercell is the cell 0.
        place = atoms.positions[atom].copy()
        for axis in axes:
            forces = []
            for shift in (step, -step, 2 * step, -2 * step):
                atoms.positions[atom] = place + shift * axis
                forces.append(_forces(atoms, name))
            atoms.positions[atom] = place
            near, far = forces[0] - forces[1], forces[2] - forces[3]
            responses.append(-(8 * near - far) / (12 * step))
            pairs.append(np.column_stack([kinds, np.full(len(kinds), atom), cells]))
            directions.append(np.tile(axis, (len(kinds), 1)))
    given = Responses(
        np.concatenate(pairs), np.concatenate(directions), np.concatenate(responses), supercell.matrix
    )
    projection = project(irreducible, given, name)
    return PotentialConstants(projection, len(atoms), float(np.linalg.norm(at_rest, axis=1).max()), pressure)


def irreducible_displacements(crystal: Crystal) -> list[tuple[int, list[np.ndarray]]]:
    """Atoms of the primitive cell, and which of x, y, z each is moved along; symmetry gives the rest."""
    permutations, rotations = crystal.space_group.permutations, crystal.cartesian_rotations
    found, done = [], set()
    for atom in range(crystal.n_atoms):
        if atom in done:
            continue
        done |= set(permutations[:, atom].tolist())
        site, axes = rotations[permutations[:, atom] == atom], []
        spanned = np.zeros((0, 3))
        for axis in np.eye(3):
            images = np.concatenate([spanned, site @ axis])
            if np.linalg.matrix_rank(images, tol=1e-6) > np.linalg.matrix_rank(spanned, tol=1e-6):
                axes.append(axis)
                spanned = images
        found.append((atom, axes))
    return found


def calculation_supercell(irreducible: IrreducibleForceConstants, fitted: Supercell) -> Supercell:
    """The supercell of the fit, or the smallest that parts all images where that one is very large."""
    if fitted.n_cells * irreducible.crystal.n_atoms <= MOST_ATOMS:
        return fitted
    return exchange_supercell(irreducible)


def _forces(atoms: Atoms, name: str) -> np.ndarray:
    try:
        forces = np.array(atoms.get_forces(), dtype=float)
    except Exception as error:  # a calculator is anyone's code
        raise ForceConstantsError(
            f"The potential {name} fails.",
            f"For {len(atoms)} atoms of {', '.join(sorted(set(atoms.get_chemical_symbols())))} it says: "
            f"{type(error).__name__}: {error}".rstrip(": "),
            "Check that it is made for these elements and gives forces.",
        ) from error
    if forces.shape != (len(atoms), 3) or not np.isfinite(forces).all():
        raise ForceConstantsError(
            f"The potential {name} gives no usable forces.",
            f"For {len(atoms)} atoms near their places in the crystal some of them are not finite numbers.",
            "Check that it is made for these elements and distances.",
        )
    return forces


def _pressure(atoms: Atoms) -> float:
    try:
        stress = np.array(atoms.get_stress(voigt=False))
    except Exception:  # not every calculator has stresses, and none is needed
        return float("nan")
    return float(-np.trace(stress) / 3 / GPa)
