"""Trajectories that the tests share, and the intensity of each frame by brute force."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.scattering.snapshots import Frame
from tests.brute_force import periodic_atoms
from tests.crystals import make_crystal

MULTIPLES = {
    "fcc": ((2, 0, 0), (0, 2, 0), (0, 0, 3)),
    "zincblende": ((2, 0, 0), (0, 2, 0), (0, 0, 1)),
    "hcp": ((3, 0, 0), (1, 3, 0), (0, 0, 2)),
    "p1": ((2, 0, 1), (0, 2, 0), (0, 0, 2)),
}
"""Supercell vectors in terms of the conventional ones."""

FACTORS = {"Ni": 1.0, "Mg": 1.3, "Ga": 1.0, "As": 0.6 + 0.4j, "Na": 0.8, "Cl": 1.5, "F": 1.1 - 0.3j}


def supercell_of(name: str) -> Supercell:
    return make_supercell(make_crystal(name), np.array(MULTIPLES[name]))


def factors_of(supercell: Supercell) -> np.ndarray:
    """f_κ (n_atoms,), complex only where it must be."""
    factors = np.array([FACTORS[species] for species in supercell.crystal.species])
    return factors if factors.imag.any() else factors.real


@dataclass(frozen=True)
class Motion:
    """What happens to the crystal from frame to frame.

    Attributes:
        displacement: standard deviation of the thermal displacements, Å.
        strain: largest strain of the cell.
        drift: Å from one frame to the next, (3,).
        rotated: whether each frame is turned at random.
        wrapped: whether atoms are moved by whole cells at random.
    """

    displacement: float = 0.1
    strain: float = 0.0
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotated: bool = False
    wrapped: bool = False


def trajectory(supercell: Supercell, n_frames: int, motion: Motion, seed: int = 0) -> list[Frame]:
    """Frames with atoms in a random order; what is not asked for makes no difference to the rest."""
    atoms, rng = periodic_atoms(supercell), np.random.default_rng(seed)
    species = np.array(supercell.crystal.species)[atoms.kinds]
    order = rng.permutation(atoms.n_atoms)
    frames = []
    for number in range(n_frames):
        u = rng.normal(size=atoms.positions.shape)
        u = motion.displacement * (u - u.mean(axis=0))
        strain, turn = rng.uniform(-1, 1, (3, 3)), Rotation.random(rng=rng).as_matrix()
        hops = rng.integers(-2, 3, u.shape) * motion.wrapped
        deformation = np.eye(3) + motion.strain * (strain + strain.T) / 6
        if motion.rotated:
            deformation = deformation @ turn
        positions = atoms.positions + u + number * np.array(motion.drift) + hops @ atoms.box
        frames.append(Frame(atoms.box @ deformation, (positions @ deformation)[order], species[order]))
    return frames


def brute_force_intensity(
    supercell: Supercell, multiples: Sequence, frames: list[Frame], axes: Sequence[np.ndarray]
) -> np.ndarray:
    """Mean of |Σ_j f_j exp(iQ·x_j)|² per primitive cell, Q in Å⁻¹ from the cell of each frame."""
    h, k, l_ = np.meshgrid(*axes, indexing="ij")
    total = np.zeros(h.shape)
    for frame in frames:
        reciprocal = 2 * np.pi * np.linalg.inv(np.linalg.inv(np.array(multiples)) @ frame.cell).T
        vectors = np.stack([h, k, l_], axis=-1) @ reciprocal
        factors = np.array([FACTORS[label] for label in frame.species])
        total += np.abs(np.exp(1j * vectors @ frame.positions.T) @ factors) ** 2
    return total / len(frames) / supercell.n_cells
