"""Writes the model files of this folder from published tables, potentials and DFT forces.

    python models/generate.py REFERENCES [OUTPUT]

REFERENCES is a folder with the five input files that README.md describes. Every set is checked: it
must reproduce its table exactly in the symmetry of the crystal, and every phonon of the model's mesh
must be stable.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from bayestds.config import load_model
from bayestds.crystal.structure import Crystal, build_crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants

NEWTON_PER_METRE = 1 / 16.02176634
"""1 N/m in eV/Å²."""

PAPER = "arXiv:2603.28683"
LANDOLT = "Landolt-Börnstein III/13a, as typed into github.com/danse-inelastic/pybvk, commit 922c8c0a"


@dataclass(frozen=True)
class ForceConstantSet:
    """Named irreducible force constants in eV/Å², with their source and an optional remark."""

    name: str
    source: str
    values: dict[str, float]
    remark: str = ""


@dataclass(frozen=True)
class Material:
    """A crystal, how it is measured, and which sets the fit uses."""

    file: str
    title: str
    lattice: list[float]
    space_group: int
    sites: list[tuple[str, list[float]]]
    shells: int
    supercell: list[int]
    axes: list[list[float]]
    fit: dict[str, str]
    temperature: float = 300
    factors: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    def irreducible(self) -> IrreducibleForceConstants:
        """The irreducible force constants of the material."""
        species, positions = [s for s, _ in self.sites], np.array([p for _, p in self.sites])
        crystal = build_crystal(np.array(self.lattice), species, positions, None, self.space_group)
        return irreducible_force_constants(crystal, self.shells)


def from_blocks(irreducible: IrreducibleForceConstants, blocks: list[tuple[list[float], np.ndarray]]):
    """Values of the irreducible force constants from 3x3 blocks (eV/Å²) of one bond (Å) per orbit."""
    bonds = irreducible.crystal.bond_vectors(irreducible.pairs)
    rows, right = [], []
    for bond, block in blocks:
        distance = np.linalg.norm(bonds - bond, axis=1)
        for pair in np.flatnonzero(distance < 0.02):
            rows.append(irreducible.basis[pair].reshape(9, -1))
            right.append(np.asarray(block).ravel())
    return solve(irreducible, np.concatenate(rows), np.concatenate(right), 1e-6)


def solve(irreducible: IrreducibleForceConstants, matrix, right, tolerance: float) -> dict[str, float]:
    """Least-squares values of the irreducible force constants, demanding a small residual."""
    values, _, rank, _ = np.linalg.lstsq(matrix, right, rcond=1e-8)
    residual = np.linalg.norm(matrix @ values - right) / np.linalg.norm(right)
    if residual > tolerance:
        raise ValueError(f"residual {residual:.2g} above {tolerance:.2g}: the table breaks the symmetry")
    print(f"    rank {rank} of {irreducible.n_irreducible}, relative residual {residual:.2g}")
    return dict(zip(irreducible.names, np.round(values, 9).tolist(), strict=True))


def springs(bond: np.ndarray, radial: float, tangential: float) -> np.ndarray:
    """Block of an axially symmetric bond: stiffness along it and across it, in eV/Å²."""
    direction = np.asarray(bond) / np.linalg.norm(bond)
    return -tangential * np.eye(3) - (radial - tangential) * np.outer(direction, direction)


def spring_guess(irreducible: IrreducibleForceConstants, by_shell: dict[int, tuple[float, float]]):
    """Values for springs (radial, tangential) on some shells, the same for all orbits of a shell."""
    crystal, blocks = irreducible.crystal, []
    for orbit in irreducible.orbits:
        bond = crystal.bond_vectors(orbit.representative[None])[0]
        blocks.append((bond, springs(bond, *by_shell.get(orbit.shell, (0.0, 0.0)))))
    return from_blocks(irreducible, blocks)


def fit_forces(irreducible, positions, species, cell, displacements, forces, tolerance: float):
    """Values that reproduce supercell forces best; images of a bond share what they cannot tell apart.

    Args:
        irreducible: the parameters to fit.
        positions: (n_atoms, 3) equilibrium, Å, with the axes of the crystal's conventional cell.
        species: (n_atoms,) symbols; the first atom lies on the first site of its species.
        cell: edge of the cubic supercell, Å.
        displacements, forces: (n_snapshots, n_atoms, 3), Å and eV/Å.
        tolerance: largest relative residual of the forces that is accepted.
    """
    crystal = irreducible.crystal
    site = crystal.species.index(species[0])
    positions = positions - positions[0] + crystal.cartesian_positions[site]
    inverse = np.linalg.inv(crystal.lattice_vectors)
    offsets = (positions[:, None] - crystal.cartesian_positions) @ inverse
    on_lattice = np.abs(offsets - np.rint(offsets)).max(axis=-1) < 1e-3
    assert (on_lattice.sum(axis=1) == 1).all()
    kind = on_lattice.argmax(axis=1)
    key = {tuple(np.rint(x / cell * 48).astype(int) % 48): i for i, x in enumerate(positions)}
    design = np.zeros((*forces.shape, irreducible.n_irreducible))
    for pair, bond, basis in zip(
        irreducible.pairs, crystal.bond_vectors(irreducible.pairs), irreducible.basis, strict=True
    ):
        source = np.flatnonzero(kind == pair[1])
        target = [key[tuple(np.rint(x / cell * 48).astype(int) % 48)] for x in positions[source] + bond]
        design[:, target] -= np.einsum("abp,sjb->sjap", basis, displacements[:, source])
    return solve(irreducible, design.reshape(-1, irreducible.n_irreducible), forces.ravel(), tolerance)


def frequencies(irreducible: IrreducibleForceConstants, values: dict[str, float], q_points) -> np.ndarray:
    """Phonon frequencies (n_q, 3n) in THz at q (r.l.u. of the conventional cell); imaginary as negative."""
    crystal, n = irreducible.crystal, irreducible.crystal.n_atoms
    constants = irreducible.basis @ np.array([values[name] for name in irreducible.names])
    cells = irreducible.pairs[:, 2:] @ crystal.lattice_vectors @ np.linalg.inv(crystal.conventional_lattice)
    phases = np.exp(2j * np.pi * np.asarray(q_points) @ cells.T)
    blocks = np.zeros((len(phases), n, n, 3, 3), complex)
    for (first, second, *_), constant, phase in zip(irreducible.pairs, constants, phases.T, strict=True):
        blocks[:, first, second] += phase[:, None, None] * constant
    blocks /= np.sqrt(np.outer(crystal.masses, crystal.masses))[:, :, None, None]
    squares = np.linalg.eigvalsh(blocks.transpose(0, 1, 3, 2, 4).reshape(-1, 3 * n, 3 * n))
    return np.sign(squares) * np.sqrt(np.abs(squares)) * 15.633302


def check_stable(material: Material, irreducible: IrreducibleForceConstants, force_set: ForceConstantSet):
    """Every mode of the supercell is stable, except the three rigid translations."""
    axes = [np.arange(2 * n) / n for n in material.supercell]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    modes = frequencies(irreducible, force_set.values, mesh)
    rigid = np.abs(modes).max(axis=1).min() * 0 + (np.abs(modes[:, :3]).max(axis=1) < 1e-3)
    softest = np.where(rigid[:, None] & (np.arange(modes.shape[1]) < 3), np.inf, modes).min()
    print(f"    {force_set.name}: {softest:.3f} to {modes.max():.3f} THz")
    if softest < 0.05:
        raise ValueError(f"{material.file}: {force_set.name} is unstable ({softest:.3f} THz)")
