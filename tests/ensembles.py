"""Oracle: ensembles of configurations drawn from a dense covariance, scattered atom by atom, in NumPy."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.likelihoods.log_normal import learned_log_normal
from bayestds.inference.problem import Problem, Volume
from bayestds.scattering.grid import IrreducibleGrid, Mask, reduce_grid, voxel_mask
from bayestds.scattering.q_points import MeshPoints
from bayestds.scattering.volume import make_volume
from tests.brute_force import (
    PeriodicAtoms,
    bonds_of,
    dense_covariance,
    dense_hessian,
    periodic_atoms,
    random_stable,
)
from tests.crystals import default_supercell, make_irreducible


@dataclass(frozen=True, eq=False)
class Crystal:
    """A vibrating crystal and the voxels at which it scatters.

    Attributes:
        irreducible: what the values mean.
        supercell: the periodic supercell.
        truth: (n_irreducible,) eV/Å².
        temperature: K.
        factors: f_κ (n_atoms,).
        grid: the irreducible points of the voxels.
        atoms: all atoms of the supercell.
        covariance: of their displacements (3n, 3n), Å².
    """

    irreducible: IrreducibleForceConstants
    supercell: Supercell
    truth: np.ndarray
    temperature: float
    factors: np.ndarray
    grid: IrreducibleGrid
    atoms: PeriodicAtoms
    covariance: np.ndarray

    @cached_property
    def root(self) -> np.ndarray:
        """A matrix (3n, 3n) R with R Rᵀ equal to the covariance, Å."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.maximum(values, 0))

    def draw(self, rng: np.random.Generator, configurations: int) -> np.ndarray:
        """Displacements (m, n, 3), Å, of independent configurations."""
        white = rng.normal(size=(configurations, len(self.covariance)))
        return (white @ self.root.T).reshape(configurations, -1, 3)

    def observed(self, displacements: np.ndarray) -> np.ndarray:
        """Intensity (n_q,) per primitive cell, averaged over the configurations and the voxels of a point."""
        to_fractional = np.linalg.inv(self.supercell.crystal.conventional_lattice)
        factors = self.factors[self.atoms.kinds]
        total = np.zeros(self.grid.point_of_voxel.shape)
        for u in displacements:
            places = (self.atoms.positions + u) @ to_fractional
            h, k, l_ = (
                np.exp(2j * np.pi * np.outer(axis, x))
                for axis, x in zip(self.grid.axes.coordinates, places.T, strict=True)
            )
            plane = ((h * factors)[:, None] * k[None]).reshape(-1, len(factors))
            total += (np.abs(plane @ l_.T) ** 2).reshape(total.shape)
        used = self.grid.point_of_voxel >= 0
        sums = np.bincount(self.grid.point_of_voxel[used], total[used])
        return sums / self.grid.multiplicity / len(displacements) / self.supercell.n_cells

    def problem(self, intensity: np.ndarray) -> Problem:
        """The fit to observed intensities (n_q,), with a noise that is learned."""
        points = MeshPoints(self.supercell, self.grid.q_points, self.factors)
        likelihood = learned_log_normal(np.log(intensity), self.grid.multiplicity.astype(float))
        volume = Volume(self.temperature, self.grid, points, likelihood)
        scales = np.full(self.irreducible.n_irreducible, 30.0)
        return Problem(self.irreducible, self.supercell, (volume,), scales)

    def sample_covariance(self, displacements: np.ndarray) -> np.ndarray:
        """Ĉ(k) = ⟨u(k) u(k)†⟩/N (n_k, 3n, 3n), Å², in the order of the supercell's wave vectors."""
        n_atoms = self.supercell.crystal.n_atoms
        cells = self.atoms.cells[::n_atoms]
        waves = np.exp(2j * np.pi * self.supercell.k_points @ cells.T) / np.sqrt(len(cells))
        by_cell = displacements.reshape(len(displacements), len(cells), 3 * n_atoms)
        u = np.einsum("kr,mrd->kmd", waves, by_cell)
        return np.einsum("kmd,kme->kde", u, u.conj()) / len(displacements)


def vibrating(
    name: str,
    n_shells: int,
    steps: int,
    temperature: float,
    factors: tuple[float, ...] | None = None,
    mask: Mask | None = None,
) -> Crystal:
    """A crystal of the tests with random stable force constants, voxels as fine as its supercell allows."""
    irreducible, supercell = make_irreducible(name, n_shells), default_supercell(name)
    truth = random_stable(irreducible, supercell, 0)
    to_conventional = supercell.matrix @ np.linalg.inv(irreducible.crystal.conventional_matrix)
    h, k, l_ = (np.arange(-steps, steps + 1) / round(n) for n in np.diag(to_conventional))
    volume = make_volume(h, k, l_, np.ones((len(h), len(k), len(l_))))
    grid = reduce_grid(volume, supercell, voxel_mask(volume, supercell, mask or Mask()))
    atoms = periodic_atoms(supercell)
    covariance = dense_covariance(dense_hessian(atoms, bonds_of(irreducible, truth)), temperature)
    weights = np.array(factors) if factors else np.ones(irreducible.crystal.n_atoms)
    return Crystal(irreducible, supercell, truth, temperature, weights, grid, atoms, covariance)
