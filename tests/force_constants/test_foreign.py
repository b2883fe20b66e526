"""Force constants of other programs: their crystal found in ours, their constants projected on ours."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import write_FORCE_CONSTANTS
from phonopy.structure.atoms import PhonopyAtoms

from bayestds.crystal.matching import match_crystal
from bayestds.crystal.structure import build_crystal
from bayestds.errors import CrystalError, ForceConstantsError
from bayestds.force_constants.foreign import Responses, project, project_foreign
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.force_constants.reading import read_foreign
from bayestds.lattice_dynamics.phonons import frequencies
from bayestds.units import THZ
from tests.brute_force import bonds_of, random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible
from tests.tdep import other_cell, random_rotation, write_tdep

DATA = Path(__file__).parents[1] / "data"

SKEW = np.array([[1, 1, 0], [0, 1, -1], [1, 0, 0]])
"""Another basis of the same lattice, determinant -1."""


def constants(name: str) -> np.ndarray:
    return random_stable(make_irreducible(name, SAMPLES[name].n_shells), default_supercell(name), 0)


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp", "wurtzite", "quartz", "monoclinic", "p1"])
@pytest.mark.parametrize("cell", ["skewed", "conventional", "mirrored"])
def test_tdep_comes_back_from_any_cell(name, cell, tmp_path):
    irreducible, crystal = make_irreducible(name, SAMPLES[name].n_shells), make_crystal(name)
    matrix = {"skewed": SKEW, "conventional": crystal.conventional_matrix, "mirrored": np.eye(3, dtype=int)}[
        cell
    ]
    other = other_cell(crystal, matrix, random_rotation(3, improper=cell == "mirrored"), 4)
    write_tdep(tmp_path, irreducible, constants(name), other)
    projection, match = project_foreign(irreducible, read_foreign(tmp_path))
    # The files have 15 decimals, of positions too.
    assert np.allclose(projection.irreducible, constants(name), rtol=0, atol=1e-11)
    assert max(projection.within, projection.beyond) < 1e-11
    assert match.strain < 1e-12
    assert match.displaced < 1e-12


@pytest.mark.parametrize("name", ["zincblende", "hcp", "p1"])
def test_frequencies_of_a_tdep_file_read_by_hand(name, tmp_path):
    """The dynamical matrix from the numbers of the file alone, against ours after the projection."""
    irreducible, crystal = make_irreducible(name, SAMPLES[name].n_shells), make_crystal(name)
    other = other_cell(crystal, SKEW, random_rotation(5), 6)
    write_tdep(tmp_path, irreducible, constants(name), other)
    tokens = iter(
        float(token)
        for line in (tmp_path / "outfile.forceconstant").read_text().splitlines()
        for token in re.match(r"[-+.\deE\s]*", line).group().split()
    )
    n = int(next(tokens))
    next(tokens)
    poscar = (tmp_path / "infile.ucposcar").read_text().splitlines()
    names = [
        name
        for name, count in zip(poscar[5].split(), poscar[6].split(), strict=True)
        for _ in range(int(count))
    ]
    mass = dict(zip(crystal.species, crystal.masses, strict=True))
    weight = [mass[name] ** -0.5 for name in names]
    q_cartesian = np.random.default_rng(7).normal(size=(20, 3)) @ other.rotation
    dynamical = np.zeros((20, n, 3, n, 3), dtype=complex)
    for i in range(n):
        for _ in range(int(next(tokens))):
            j = int(next(tokens)) - 1
            cell = np.array([next(tokens) for _ in range(3)]) @ other.lattice
            block = np.array([next(tokens) for _ in range(9)]).reshape(3, 3)
            # E = 1/2 Σ u_i(0) Φ u_j(R): the force on i in cell 0 of the wave u_j(R) = e_j exp(iq·R).
            dynamical[:, i, :, j] += (
                np.exp(1j * q_cartesian @ cell)[:, None, None] * block * weight[i] * weight[j]
            )
    values = np.linalg.eigvalsh(dynamical.reshape(20, 3 * n, 3 * n))
    theirs = THZ * np.sign(values) * np.sqrt(np.abs(values))
    projection, _ = project_foreign(irreducible, read_foreign(tmp_path))
    q_points = q_cartesian @ other.rotation.T @ crystal.conventional_lattice.T / (2 * np.pi)
    assert np.allclose(frequencies(irreducible, projection.irreducible, q_points), theirs, atol=1e-8)


def write_phonopy(
    folder, name: str, n_shells: int, repeats: tuple[int, int, int], values, compact: bool
) -> None:
    """A phonopy folder in which every pair of atoms has the sum over its images, from the dense oracle."""
    irreducible, crystal = make_irreducible(name, n_shells), make_crystal(name)
    rotation = random_rotation(8)
    unit = other_cell(crystal, crystal.conventional_matrix, rotation, 9)
    phonon = phonopy.Phonopy(
        PhonopyAtoms(
            [crystal.species[k] for k in unit.kinds], cell=unit.lattice, scaled_positions=unit.positions
        ),
        np.diag(repeats),
        np.linalg.inv(crystal.conventional_matrix).T,
    )
    block, atoms = bonds_of(irreducible, values), phonon.supercell
    places = np.array(atoms.positions) @ rotation.T
    box = np.array(atoms.cell) @ rotation.T
    kinds = np.repeat(unit.kinds, np.prod(repeats))
    assert [crystal.species[k] for k in kinds] == list(atoms.symbols)
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3) @ box
    reach = np.linalg.norm(crystal.bond_vectors(irreducible.pairs), axis=1).max() + 0.01
    full = np.zeros((len(kinds), len(kinds), 3, 3))
    for i, j in np.ndindex(len(kinds), len(kinds)):
        images = places[i] - places[j] + steps
        close = images[np.linalg.norm(images, axis=1) < reach]
        for image in close:
            full[i, j] += rotation.T @ block(int(kinds[i]), int(kinds[j]), image) @ rotation
    rows = np.array(phonon.primitive.p2s_map)
    if compact:
        write_FORCE_CONSTANTS(full[rows], folder / "FORCE_CONSTANTS", p2s_map=rows)
    else:
        write_FORCE_CONSTANTS(full, folder / "FORCE_CONSTANTS")
    phonon.save(folder / "phonopy.yaml")


@pytest.mark.parametrize("compact", [True, False])
def test_images_are_summed_where_a_supercell_is_small(compact, tmp_path):
    """(200) ties with its image in two cells: phonopy has the sum, twice what a single pair has."""
    values = constants("fcc")[:5]
    write_phonopy(tmp_path, "fcc", 2, (2, 2, 2), values, compact)
    projection, _ = project_foreign(make_irreducible("fcc", 2), read_foreign(tmp_path / "phonopy.yaml"))
    assert np.allclose(projection.irreducible, values, atol=1e-13)
    assert projection.within < 1e-13


def test_supercell_too_small_for_the_shells(tmp_path):
    write_phonopy(tmp_path, "fcc", 2, (2, 2, 2), constants("fcc")[:5], True)
    with pytest.raises(ForceConstantsError, match="does not determine the force constants of 4 shells"):
        project_foreign(make_irreducible("fcc"), read_foreign(tmp_path))


def test_what_lies_beyond_the_shells_is_reported(tmp_path):
    """Four shells seen with three: the three are exact, the norm of the fourth is known."""
    irreducible = make_irreducible("fcc", 4)
    write_tdep(tmp_path, irreducible, constants("fcc"), other_cell(make_crystal("fcc"), SKEW, np.eye(3), 0))
    fewer = make_irreducible("fcc", 3)
    projection, _ = project_foreign(fewer, read_foreign(tmp_path))
    assert np.allclose(projection.irreducible, constants("fcc")[: fewer.n_irreducible], atol=1e-12)
    blocks = irreducible.basis[1:] @ constants("fcc")
    beyond = np.linalg.norm(irreducible.crystal.bond_vectors(irreducible.pairs[1:]), axis=1) > 1.3 * 3.52
    assert projection.beyond == pytest.approx(
        np.linalg.norm(blocks[beyond]) / np.linalg.norm(blocks), rel=1e-10
    )
    assert projection.farthest == pytest.approx(np.abs(blocks[beyond]).max(), rel=1e-10)
    assert projection.within < 1e-12


def test_shells_beyond_a_cutoff_are_zero(tmp_path):
    write_tdep(
        tmp_path,
        make_irreducible("fcc", 2),
        constants("fcc")[:5],
        other_cell(make_crystal("fcc"), SKEW, np.eye(3), 0),
    )
    projection, _ = project_foreign(make_irreducible("fcc", 4), read_foreign(tmp_path))
    assert np.allclose(projection.irreducible[:5], constants("fcc")[:5], atol=1e-12)
    assert np.abs(projection.irreducible[5:]).max() < 1e-12


def test_broken_symmetry_is_reported():
    """A block that symmetry forbids is left over whole: the projection is orthogonal."""
    irreducible = make_irreducible("fcc", 2)
    blocks = irreducible.basis @ constants("fcc")[:5]
    extra = np.zeros_like(blocks)
    extra[1, 0, 1], extra[1, 1, 0] = 0.05, -0.05  # no force constants of fcc are antisymmetric
    pairs = np.repeat(irreducible.pairs, 3, axis=0)
    rows = (blocks + extra).swapaxes(1, 2).reshape(-1, 3)
    given = Responses(pairs, np.tile(np.eye(3), (len(blocks), 1)), rows)
    projection = project(irreducible, given, "here")
    assert np.allclose(projection.irreducible, constants("fcc")[:5], atol=1e-12)
    total = np.linalg.norm((blocks + extra)[1:])
    assert projection.within == pytest.approx(np.linalg.norm(extra) / total, rel=1e-9)
    rows[0, 0] = np.nan
    with pytest.raises(ForceConstantsError, match=r"of here are not finite[^$]*1 of 57 rows"):
        project(irreducible, given, "here")


@pytest.mark.parametrize("name", SAMPLES)
def test_match_is_a_symmetry_away_from_the_truth(name):
    """Every atom of the other cell lies where the match says, in the lattice that it says."""
    crystal = make_crystal(name)
    other = other_cell(crystal, SKEW, random_rotation(10), 11)
    species = tuple(crystal.species[kind] for kind in other.kinds)
    match = match_crystal(crystal, other.lattice, other.positions, species, "it")
    here = other.positions @ other.lattice @ match.rotation
    there = (match.cells + crystal.fractional_positions[match.kinds]) @ crystal.lattice_vectors
    assert np.ptp(here - there, axis=0).max() < 1e-9  # one shift for all
    assert sorted(match.kinds) == list(range(crystal.n_atoms))


def test_strain_is_allowed_up_to_one_percent():
    crystal = make_crystal("hcp")
    other = other_cell(crystal, np.eye(3, dtype=int), random_rotation(12), 13)
    stretched = replace(other, lattice=other.lattice * 1.005)
    match = match_crystal(crystal, stretched.lattice, other.positions, crystal.species, "it")
    assert match.strain == pytest.approx(0.005, rel=1e-6)
    with pytest.raises(CrystalError, match="it is not the crystal"):
        match_crystal(crystal, other.lattice * 1.02, other.positions, crystal.species, "it")


@pytest.mark.parametrize(
    ("lattice", "positions", "species", "words"),
    [
        (2.49 * np.eye(3), [[0, 0, 0]], ("Cu",), "consists of Cu, the model of Ni"),
        (2.49 * np.eye(3), [[0, 0, 0]], ("Ni",), "volume"),
        (3.52 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], ("Ni", "Ni"), "2 atoms are not within"),
        (3.52 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.6]], ("Ni",) * 4, "4 atoms"),
    ],
)
def test_other_crystals_are_refused(lattice, positions, species, words):
    with pytest.raises(CrystalError, match=words):
        match_crystal(make_crystal("fcc"), lattice, np.array(positions, dtype=float), species, "it")


def test_frequencies_of_alamode():
    """BaTe: another program's frequencies of real force constants, all of whose pairs are in 12 shells."""
    folder = DATA / "tdep_bate"
    crystal = build_crystal(
        (6.96964987, 6.96964987, 6.96964987, 90, 90, 90),
        ["Ba", "Te"],
        [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)],
        None,
        225,
    )
    irreducible = irreducible_force_constants(crystal, 12)
    projection, match = project_foreign(irreducible, read_foreign(folder))
    assert projection.beyond == 0
    assert projection.within < 1e-12
    expected = json.loads((folder / "expected.json").read_text())
    lattice = np.loadtxt(folder / "infile.ucposcar", skiprows=2, max_rows=3)
    q_cartesian = np.array(expected["q_points_frac"]) @ np.linalg.inv(lattice).T @ match.rotation
    found = frequencies(irreducible, projection.irreducible, q_cartesian @ crystal.conventional_lattice.T)
    theirs = np.sort(expected["expected_freqs_cminv"], axis=1)
    # Other constants of nature, and masses with fewer digits: some 1e-6 of 115 cm⁻¹.
    assert np.allclose(found * 1e12 / 2.99792458e10, theirs, rtol=0, atol=5e-4)
