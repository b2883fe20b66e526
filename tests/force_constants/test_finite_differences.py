"""Force constants of potentials: closed forms, harmonic crystals, phonopy's own differences."""

import numpy as np
import phonopy
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from phonopy.structure.atoms import PhonopyAtoms

from bayestds.crystal.supercell import make_supercell
from bayestds.errors import ForceConstantsError
from bayestds.force_constants.exchange import conventional_atoms, exchange_supercell, supercell_atoms
from bayestds.force_constants.finite_differences import (
    calculation_supercell,
    irreducible_displacements,
    potential_constants,
)
from bayestds.force_constants.foreign import project_foreign
from bayestds.force_constants.reading import read_foreign
from tests.brute_force import bonds_of, hessian_blocks, periodic_atoms, random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible


class Harmonic(Calculator):
    """Springs between all atoms of a supercell, from the dense oracle, atom by atom."""

    implemented_properties = ("energy", "forces")

    def __init__(self, name: str, values: np.ndarray):
        super().__init__()
        atoms = periodic_atoms(default_supercell(name))
        places = supercell_atoms(default_supercell(name)).positions
        apart = (places[:, None] - atoms.positions) @ np.linalg.inv(atoms.box)
        order = np.abs(apart - np.rint(apart)).sum(axis=-1).argmin(axis=1)
        blocks = hessian_blocks(atoms, bonds_of(make_irreducible(name, SAMPLES[name].n_shells), values))
        self.places, self.blocks = places, blocks[np.ix_(order, order)]

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = -np.einsum("ijab,jb->ia", self.blocks, atoms.positions - self.places)
        self.results = {"energy": 0.0, "forces": forces}


@pytest.mark.parametrize("name", ["bcc", "hcp", "p1"])
def test_harmonic_crystal_is_recovered(name):
    irreducible = make_irreducible(name, SAMPLES[name].n_shells)
    values = random_stable(irreducible, default_supercell(name), 0)
    found = potential_constants(Harmonic(name, values), irreducible, default_supercell(name), "it")
    # Forces are linear; rounding is 1e-16 of some eV/Å over displacements of 0.01 Å.
    assert np.allclose(found.projection.irreducible, values, atol=1e-11)
    assert max(found.projection.within, found.projection.beyond) < 1e-11
    assert found.largest_force < 1e-12
    assert np.isnan(found.pressure)


def test_lennard_jones_in_closed_form():
    """Nearest neighbours: Φ = -(φ'' - φ'/r) n nᵀ - φ'/r 1 for the bond along (110), P from the virial."""
    epsilon, sigma, distance = 0.3, 2.3, 3.52 / np.sqrt(2)
    calculator = LennardJones(epsilon=epsilon, sigma=sigma, rc=3.0)
    sixth = (sigma / distance) ** 6
    slope = 4 * epsilon * (-12 * sixth**2 + 6 * sixth) / distance
    curvature = 4 * epsilon * (156 * sixth**2 - 42 * sixth) / distance**2
    across, along = slope / distance, (curvature - slope / distance) / 2
    found = potential_constants(calculator, make_irreducible("fcc", 2), default_supercell("fcc"), "lj")
    # The error of the differences: h^4 over r^4 times the ratio of the sixth derivative, some 1e5.
    expected = [-along - across, -across, -along, 0, 0]
    assert np.allclose(found.projection.irreducible, expected, atol=1e-5 * abs(along))
    assert found.projection.beyond < 1e-9
    giga_pascal = 1e9 * 1e-30 / 1.602176634e-19  # eV/Å³
    pressure = -6 * distance * slope / (3 * 3.52**3 / 4)
    assert found.pressure == pytest.approx(pressure / giga_pascal, rel=1e-7)  # ASE has older constants


def test_phonopy_makes_the_same_differences(tmp_path):
    """Its displacements, its symmetry, its solver, from FORCE_SETS; EMT in the same supercell."""
    crystal, irreducible = make_crystal("fcc"), make_irreducible("fcc", 4)
    cell = conventional_atoms(crystal)
    phonon = phonopy.Phonopy(
        PhonopyAtoms(cell.get_chemical_symbols(), cell=cell.cell, positions=cell.positions),
        np.diag([3, 3, 3]),
        np.linalg.inv(crystal.conventional_matrix).T,
    )
    phonon.generate_displacements(distance=0.002, is_plusminus=True)
    forces = []
    for moved in phonon.supercells_with_displacements:
        atoms = supercell_atoms(make_supercell(crystal, [3, 3, 3]))[: len(moved)]
        atoms.positions, atoms.calc = moved.positions, EMT()
        forces.append(atoms.get_forces())
    phonon.forces = forces
    phonon.save(tmp_path / "phonopy.yaml")
    theirs, _ = project_foreign(irreducible, read_foreign(tmp_path))
    ours = potential_constants(EMT(), irreducible, make_supercell(crystal, [3, 3, 3]), "emt")
    # Theirs are of second order: h² / 6 times the fourth derivative, some 30 Å⁻² of Φ, with h = 0.002 Å.
    assert np.allclose(ours.projection.irreducible, theirs.irreducible, rtol=0, atol=1e-4)
    assert np.abs(theirs.irreducible).max() > 1
    # EMT reaches beyond the fourth shell, both see as much of it.
    assert ours.projection.beyond == pytest.approx(theirs.beyond, rel=0.01)


def test_displacements_are_as_few_as_symmetry_allows():
    """Cubic: one axis; uniaxial: the axis and one across; less than that: all three of every atom."""
    counts = {
        name: [len(axes) for _, axes in irreducible_displacements(make_crystal(name))]
        for name in ("fcc", "diamond", "zincblende", "hcp", "tetragonal", "monoclinic", "p1")
    }
    assert counts == {
        "fcc": [1],
        "diamond": [1],
        "zincblende": [1, 1],
        "hcp": [2],
        "tetragonal": [2],
        "monoclinic": [3, 3],
        "p1": [3, 3, 3],
    }


def test_supercell_of_the_calculation():
    irreducible = make_irreducible("fcc", 2)
    small, large = (make_supercell(make_crystal("fcc"), [n] * 3) for n in (5, 8))
    assert calculation_supercell(irreducible, small) is small
    assert np.array_equal(
        calculation_supercell(irreducible, large).matrix, exchange_supercell(irreducible).matrix
    )


class Broken(Calculator):
    """Forces that are not what they should be."""

    implemented_properties = ("energy", "forces")

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": self.answer(len(atoms))}


def fail(n):
    raise KeyError("no parameters for Ni")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fail, r"potential it fails.\nFor 108 atoms of Ni it says: KeyError: 'no parameters for Ni'"),
        (lambda n: np.full((n, 3), np.nan), "it gives no usable forces"),
        (lambda n: np.zeros((n - 1, 3)), "it gives no usable forces"),
        (lambda n: np.zeros((n, 3)), "it are all zero"),
    ],
)
def test_calculators_that_fail(answer, words):
    with pytest.raises(ForceConstantsError, match=words):
        potential_constants(Broken(answer), make_irreducible("fcc", 2), default_supercell("fcc"), "it")
