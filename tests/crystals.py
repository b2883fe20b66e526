"""Crystals that the tests share: every lattice system, 1 to 9 atoms in the primitive cell."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from ase import Atoms

from bayestds.crystal.structure import Crystal, build_crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants


@dataclass(frozen=True)
class Sample:
    """A conventional cell (asymmetric unit), and shells that fit well into a small supercell."""

    lattice: tuple[float, ...]
    space_group: int
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    n_atoms: int
    supercell: tuple[int, int, int]
    n_shells: int


def _cubic(a: float) -> tuple[float, ...]:
    return (a, a, a, 90, 90, 90)


ORIGIN = (0.0, 0.0, 0.0)

SAMPLES = {
    "fcc": Sample(_cubic(3.52), 225, (("Ni", ORIGIN),), 1, (3, 3, 3), 4),
    "bcc": Sample(_cubic(2.866), 229, (("Fe", ORIGIN),), 1, (3, 3, 3), 3),
    "diamond": Sample(_cubic(5.431), 227, (("Si", ORIGIN),), 2, (2, 2, 2), 3),
    "rocksalt": Sample(_cubic(5.64), 225, (("Na", ORIGIN), ("Cl", (0.5, 0.5, 0.5))), 2, (2, 2, 2), 3),
    "zincblende": Sample(_cubic(5.6533), 216, (("Ga", ORIGIN), ("As", (0.25, 0.25, 0.25))), 2, (2, 2, 2), 3),
    "cscl": Sample(_cubic(4.12), 221, (("Cs", ORIGIN), ("Cl", (0.5, 0.5, 0.5))), 2, (3, 3, 3), 3),
    "perovskite": Sample(
        _cubic(3.905),
        221,
        (("Sr", ORIGIN), ("Ti", (0.5, 0.5, 0.5)), ("O", (0.5, 0.5, 0.0))),
        5,
        (2, 2, 2),
        3,
    ),
    "hcp": Sample((3.209, 3.209, 5.211, 90, 90, 120), 194, (("Mg", (1 / 3, 2 / 3, 0.25)),), 2, (3, 3, 2), 3),
    "wurtzite": Sample(
        (3.25, 3.25, 5.207, 90, 90, 120),
        186,
        (("Zn", (1 / 3, 2 / 3, 0.0)), ("O", (1 / 3, 2 / 3, 0.3819))),
        4,
        (3, 3, 2),
        6,
    ),
    "tetragonal": Sample((3.253, 3.253, 4.947, 90, 90, 90), 139, (("In", ORIGIN),), 1, (3, 3, 2), 3),
    "rutile": Sample(
        (4.594, 4.594, 2.959, 90, 90, 90),
        136,
        (("Ti", ORIGIN), ("O", (0.3053, 0.3053, 0.0))),
        6,
        (2, 2, 3),
        9,
    ),
    "rhombohedral": Sample(
        (4.546, 4.546, 11.862, 90, 90, 120), 166, (("Bi", (0, 0, 0.2339)),), 2, (3, 3, 1), 4
    ),
    "quartz": Sample(
        (4.9134, 4.9134, 5.4052, 90, 90, 120),
        154,
        (("Si", (0.4697, 0.0, 2 / 3)), ("O", (0.4133, 0.2672, 0.7855))),
        9,
        (2, 2, 2),
        8,
    ),
    "orthorhombic": Sample(
        (2.854, 5.870, 4.955, 90, 90, 90), 63, (("U", (0, 0.1025, 0.25)),), 2, (4, 2, 2), 5
    ),
    "monoclinic": Sample(
        (4.684, 3.423, 5.129, 90, 99.54, 90),
        15,
        (("Cu", (0.25, 0.25, 0.0)), ("O", (0.0, 0.4184, 0.25))),
        4,
        (2, 2, 2),
        5,
    ),
    "triclinic": Sample((3.1, 3.5, 4.2, 81, 97, 105), 2, (("Po", ORIGIN),), 1, (3, 3, 3), 4),
    "p1": Sample(
        (4.1, 4.6, 5.2, 83, 95, 101),
        1,
        (("Na", (0.02, 0.05, 0.03)), ("Cl", (0.47, 0.55, 0.41)), ("F", (0.13, 0.61, 0.77))),
        3,
        (2, 2, 2),
        5,
    ),
}


@cache
def make_crystal(name: str) -> Crystal:
    sample = SAMPLES[name]
    species, positions = zip(*sample.sites, strict=True)
    return build_crystal(
        np.array(sample.lattice), list(species), np.array(positions), None, sample.space_group
    )


def conventional_atoms(name: str) -> Atoms:
    """All atoms of the conventional cell, as somebody else would write them down."""
    crystal, cell = make_crystal(name), make_crystal(name).conventional_lattice
    n = np.arange(-6, 7)
    cells = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 1, 3)
    positions = (cells + crystal.fractional_positions) @ crystal.lattice_vectors @ np.linalg.inv(cell)
    inside = ((positions > -1e-6) & (positions < 1 - 1e-6)).all(axis=-1)
    species = np.broadcast_to(crystal.species, inside.shape)[inside]
    return Atoms(list(species), scaled_positions=positions[inside], cell=cell, pbc=True)


@cache
def make_irreducible(name: str, n_shells: int | None = None) -> IrreducibleForceConstants:
    return irreducible_force_constants(make_crystal(name), n_shells or SAMPLES[name].n_shells)


@cache
def default_supercell(name: str) -> Supercell:
    return make_supercell(make_crystal(name), np.array(SAMPLES[name].supercell))


def commensurate_points(supercell: Supercell, n_points: int, longest: float, seed: int = 0) -> np.ndarray:
    """Random commensurate points (n_points, 3), conventional r.l.u., up to |Q| = longest, off Bragg peaks.

    The second half of them lies beyond half of it.
    """
    crystal, rng = supercell.crystal, np.random.default_rng(seed)
    # S k integer for the supercell matrix S of the conventional cell.
    to_waves = supercell.matrix @ np.linalg.inv(crystal.conventional_matrix)
    to_primitive = np.linalg.inv(crystal.conventional_matrix)
    found: list[np.ndarray] = []
    reach = np.ceil(longest / (2 * np.pi) * np.linalg.norm(supercell.lattice_vectors, axis=1)).astype(int)
    while len(found) < n_points:
        q = np.linalg.solve(to_waves, rng.integers(-reach, reach + 1))
        length = float(np.linalg.norm(crystal.scattering_vectors(q)))
        bragg = np.abs(to_primitive @ q - np.rint(to_primitive @ q)).max() < 1e-6
        wanted = longest / 2 if len(found) >= n_points // 2 else 0.0
        if not bragg and wanted <= length <= longest:
            found.append(q)
    return np.array(found)
