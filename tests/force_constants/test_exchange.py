"""Force constants for phonopy and ASE: their frequencies, forces and modes against ours, and the way back."""

import sys

import numpy as np
import phonopy
import pytest
from ase.calculators.harmonic import HarmonicCalculator, HarmonicForceField
from ase.io import read
from ase.vibrations import VibrationsData

from bayestds.crystal.structure import build_crystal
from bayestds.errors import CrystalError, MissingPackageError
from bayestds.force_constants.exchange import (
    AseWriter,
    PhonopyWriter,
    exchange_supercell,
    locate,
    supercell_atoms,
)
from bayestds.force_constants.foreign import project_foreign
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.force_constants.linear_map import grid_positions
from bayestds.force_constants.reading import read_foreign
from bayestds.lattice_dynamics.phonons import frequencies
from tests.brute_force import bonds_of, dense_hessian, periodic_atoms, random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible

CRYSTALS = ["fcc", "bcc", "zincblende", "hcp", "rutile", "quartz", "monoclinic", "p1"]
CODATA = 1e-6
"""Relative difference of frequencies: the constants of phonopy 4.10 are 6e-7 from those of scipy."""


def constants(name: str) -> np.ndarray:
    return random_stable(make_irreducible(name, SAMPLES[name].n_shells), default_supercell(name), 0)


def written(name: str, folder, writer=PhonopyWriter):
    irreducible = make_irreducible(name, SAMPLES[name].n_shells)
    writer(irreducible).write(constants(name), folder)
    return irreducible


@pytest.mark.parametrize("name", CRYSTALS)
def test_phonopy_finds_our_frequencies(name, tmp_path, monkeypatch):
    irreducible = written(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    phonon = phonopy.load("phonopy.yaml", symmetrize_fc=False, log_level=0)
    q_points = np.random.default_rng(1).uniform(-1, 1, (50, 3))
    # Phonopy's are in its primitive cell; its rows are our lattice vectors.
    assert np.allclose(phonon.primitive.cell, irreducible.crystal.lattice_vectors, atol=1e-12)
    phonon.run_qpoints(q_points @ np.linalg.inv(irreducible.crystal.conventional_matrix).T)
    ours = frequencies(irreducible, constants(name), q_points)
    assert np.abs(phonon.qpoints.frequencies / ours - 1).max() < CODATA


@pytest.mark.parametrize("name", CRYSTALS)
def test_our_own_files_come_back(name, tmp_path):
    irreducible = written(name, tmp_path)
    projection, match = project_foreign(irreducible, read_foreign(tmp_path))
    assert np.allclose(projection.irreducible, constants(name), rtol=0, atol=1e-12)
    assert max(projection.within, projection.beyond, projection.farthest) < 1e-12
    assert np.allclose(match.rotation, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("name", SAMPLES)
def test_exchange_supercell_is_the_smallest_that_parts_images(name):
    irreducible = make_irreducible(name, SAMPLES[name].n_shells)
    supercell = exchange_supercell(irreducible)
    assert len(grid_positions(irreducible, supercell)) == len(irreducible.pairs)


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp", "p1"])
def test_hessian_is_the_dense_one(name, tmp_path):
    irreducible = written(name, tmp_path, AseWriter)
    atoms, hessian = read(tmp_path / "supercell.extxyz"), np.load(tmp_path / "hessian.npy")
    oracle = periodic_atoms(exchange_supercell(irreducible))
    delta = (atoms.positions[:, None] - oracle.positions) @ np.linalg.inv(oracle.box)
    order = np.abs(delta - np.rint(delta)).sum(axis=-1).argmin(axis=1)
    assert sorted(order) == list(range(len(atoms)))
    expected = dense_hessian(oracle, bonds_of(irreducible, constants(name)))
    places = (3 * order[:, None] + np.arange(3)).ravel()
    assert np.allclose(hessian, expected[np.ix_(places, places)], atol=1e-7)  # positions have 8 decimals


def test_ase_calculates_with_the_hessian(tmp_path):
    irreducible = written("fcc", tmp_path, AseWriter)
    atoms, hessian = read(tmp_path / "supercell.extxyz"), np.load(tmp_path / "hessian.npy")
    moved, rng = atoms.copy(), np.random.default_rng(2)
    displacements = 0.05 * rng.normal(size=atoms.positions.shape)
    moved.positions += displacements
    moved.calc = HarmonicCalculator(HarmonicForceField(ref_atoms=atoms, ref_energy=0.0, hessian_x=hessian))
    forces = -(hessian @ displacements.ravel()).reshape(-1, 3)
    assert np.allclose(moved.get_forces(), forces, atol=1e-9 * np.abs(forces).max())
    energies = VibrationsData.from_2d(atoms, hessian).get_energies()
    supercell = exchange_supercell(irreducible)
    k_points = supercell.k_points @ irreducible.crystal.conventional_matrix.T
    ours = np.sort(frequencies(irreducible, constants("fcc"), k_points).ravel())
    planck = 4.135667696e-3  # eV/THz, exact by definition of the SI
    # The three rigid translations are zero, up to the root of a rounding error.
    assert np.allclose(np.sort(energies.real)[3:] / planck, ours[3:], rtol=1e-5)


def test_supercell_atoms_are_where_the_crystal_has_them():
    supercell = exchange_supercell(make_irreducible("quartz"))
    atoms = supercell_atoms(supercell)
    kinds, cells = locate(supercell.crystal, atoms.positions)
    assert (kinds == np.tile(np.arange(9), supercell.n_cells)).all()
    assert (cells == np.repeat(supercell.cells, 9, axis=0)).all()
    with pytest.raises(CrystalError, match="not where the crystal has one"):
        locate(make_crystal("fcc"), np.array([[0.5, 0.0, 0.0]]))


def test_without_phonopy(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(MissingPackageError, match="pip install phonopy"):
        PhonopyWriter(make_irreducible("fcc"))


@pytest.mark.parametrize("writer", [PhonopyWriter, AseWriter])
def test_isotopes_go_by_their_elements_and_masses(writer, tmp_path):
    """Neither program knows the symbol D, and both know masses; the way back finds deuterium again."""
    cell, places = np.array([3.0] * 3 + [90.0] * 3), [[0, 0, 0], [0.5, 0.5, 0.5]]
    irreducible = irreducible_force_constants(build_crystal(cell, ["D", "Cl"], places), 2)
    values = np.linspace(-1, 1, irreducible.n_irreducible)
    writer(irreducible).write(values, tmp_path)
    if writer is AseWriter:
        atoms = read(tmp_path / "supercell.extxyz")
        symbols, masses = atoms.get_chemical_symbols(), atoms.get_masses()
    else:
        projection, _ = project_foreign(irreducible, read_foreign(tmp_path))
        assert np.allclose(projection.irreducible, values, rtol=0, atol=1e-12)
        cell = phonopy.load(tmp_path / "phonopy.yaml", log_level=0).primitive
        symbols, masses = cell.symbols, cell.masses
    assert set(zip(symbols, np.round(masses, 3), strict=True)) == {("H", 2.014), ("Cl", 35.45)}
