"""Oracle: a crystal of springs, whose energy is known at any strain, not only to second order.

Springs are central, pull along the line between two atoms, and are as strong as their orbit says. At rest
length they pull not at all in the undistorted crystal, so its force constants obey every invariance.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from bayestds.crystal.structure import Crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants

GPA = 1.602176634e-19 * 1e30 / 1e9
"""1 eV/Å³ in GPa."""


@dataclass(frozen=True)
class Springs:
    """Every spring from the atoms of one cell, each counted at both ends.

    Attributes:
        ends: (n, 2) the two atoms.
        bonds: (n, 3) Å from the second to the first.
        strengths: (n,) eV/Å².
        tensions: (n,) eV/Å², the force of the spring over its length.
    """

    ends: np.ndarray
    bonds: np.ndarray
    strengths: np.ndarray
    tensions: np.ndarray

    @property
    def blocks(self) -> np.ndarray:
        """Φ of each spring (n, 3, 3): -(k - t) n nᵀ - t."""
        along = self.bonds / np.linalg.norm(self.bonds, axis=1, keepdims=True)
        central = (self.strengths - self.tensions)[:, None, None] * np.einsum("pa,pb->pab", along, along)
        return -central - self.tensions[:, None, None] * np.eye(3)


def springs_of(
    irreducible: IrreducibleForceConstants, strengths: np.ndarray, tensions: np.ndarray | None = None
) -> Springs:
    """Springs between all neighbours, with a strength (and a tension) for each orbit."""
    crystal = irreducible.crystal
    pairs = np.concatenate([orbit.pairs for orbit in irreducible.orbits])
    sizes = [len(orbit.pairs) for orbit in irreducible.orbits]
    tensions = np.zeros(len(sizes)) if tensions is None else tensions
    positions = crystal.fractional_positions
    bonds = (pairs[:, 2:] + positions[pairs[:, 0]] - positions[pairs[:, 1]]) @ crystal.lattice_vectors
    return Springs(pairs[:, :2], bonds, np.repeat(strengths, sizes), np.repeat(tensions, sizes))


def spring_constants(irreducible: IrreducibleForceConstants, springs: Springs) -> np.ndarray:
    """The irreducible force constants of springs made by :func:`springs_of`."""
    n_selfs = irreducible.crystal.n_atoms
    matrix = irreducible.basis[n_selfs:].reshape(-1, irreducible.n_irreducible)
    values = np.linalg.lstsq(matrix, springs.blocks.ravel())[0]
    assert np.abs(matrix @ values - springs.blocks.ravel()).max() < 1e-10
    return values


def relaxed_energy(crystal: Crystal, springs: Springs, strain: np.ndarray) -> float:
    """Energy of a cell, eV, of springs at rest length, under a homogeneous strain (3, 3).

    The atoms go where the energy is least; the first one stays.
    """
    lengths = np.linalg.norm(springs.bonds, axis=1)
    stretched = springs.bonds @ (np.eye(3) + strain).T
    # Half: each spring is counted at both ends.
    weights = np.sqrt(springs.strengths / 2)

    def residuals(free: np.ndarray) -> np.ndarray:
        moved = np.concatenate([np.zeros((1, 3)), free.reshape(-1, 3)])
        now = stretched + moved[springs.ends[:, 0]] - moved[springs.ends[:, 1]]
        return weights * (np.linalg.norm(now, axis=1) - lengths)

    start = np.zeros(3 * (crystal.n_atoms - 1))
    if not len(start):
        return 0.5 * float(residuals(start) @ residuals(start))
    found = least_squares(residuals, start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return float(found.cost)


def strained_stiffness(crystal: Crystal, springs: Springs, step: float = 1e-3) -> np.ndarray:
    """Elastic constants (6, 6), GPa, from the second differences of the relaxed energy.

    The error is of the order of step², relative.
    """
    unit = np.zeros((6, 3, 3))
    for i, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        unit[i, a, b] += 0.5
        unit[i, b, a] += 0.5
    volume = abs(np.linalg.det(crystal.lattice_vectors))
    stiffness = np.zeros((6, 6))
    for i in range(6):
        for j in range(i, 6):
            total = 0.0
            for first in (1, -1):
                for second in (1, -1):
                    strain = step * (first * unit[i] + second * unit[j])
                    total += first * second * relaxed_energy(crystal, springs, strain)
            stiffness[i, j] = stiffness[j, i] = total / (4 * step**2 * volume) * GPA
    return stiffness
