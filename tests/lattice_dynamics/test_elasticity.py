"""Elastic constants against strained springs, sound velocities, closed forms and a published potential."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bayestds.crystal.structure import build_crystal
from bayestds.force_constants.invariance import constrained
from bayestds.force_constants.irreducible import irreducible_force_constants
from bayestds.lattice_dynamics.elasticity import (
    bulk_and_shear,
    elastic_stiffness,
    independent_elements,
    long_waves,
)
from bayestds.lattice_dynamics.phonons import frequencies
from tests.crystals import make_crystal, make_irreducible
from tests.springs import GPA, spring_constants, springs_of, strained_stiffness

DATA = Path(__file__).parents[1] / "data"

AMU = 1.66053906892e-27
"""kg (CODATA 2022)."""


PERTURBATION = {"quartz": 0.002, "triclinic": 0.01}
"""Of springs, eV/Å², where 0.05 would make the crystal unstable."""


def invariant_values(name: str, seed: int) -> np.ndarray:
    """Springs and something else that is no spring network, all conditions obeyed, (n_irreducible,)."""
    irreducible = make_irreducible(name)
    found, rng = constrained(irreducible, "both"), np.random.default_rng(seed)
    strengths = np.array([rng.uniform(2, 5) / orbit.shell for orbit in irreducible.orbits])
    values = spring_constants(irreducible, springs_of(irreducible, strengths))
    return values + found.expansion @ rng.normal(scale=PERTURBATION.get(name, 0.05), size=found.n_irreducible)


def voigt_to_full(stiffness: np.ndarray) -> np.ndarray:
    """Elastic tensor (3, 3, 3, 3) of a matrix (6, 6)."""
    axes = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    return stiffness[axes[:, :, None, None], axes]


@pytest.mark.parametrize(("shells", "tolerance"), [(13, 0.001), (5, 0.006)])
def test_nickel_of_a_potential_has_its_published_elastic_constants(shells, tolerance):
    """Published: 233.3, 154.3, 127.6 GPa, to four digits. Finite differences are good to 1e-6 eV/Å², and
    beyond five shells 1e-3 of 2 eV/Å² are left, weighted by the square of a three times longer bond."""
    table = json.loads((DATA / "ni_u3.json").read_text("utf-8"))
    a = table["lattice_constant_A"]
    crystal = build_crystal((a, a, a, 90, 90, 90), ["Ni"], [[0, 0, 0]], None, 225)
    irreducible = irreducible_force_constants(crystal, shells)
    bonds = irreducible.crystal.bond_vectors(irreducible.pairs) / (a / 2)
    rows, right = [], []
    for key, block in table["shells"].items():
        here = np.abs(bonds - np.array(key.split(), dtype=float)).max(axis=1) < 1e-6
        rows.append(irreducible.basis[here].reshape(-1, irreducible.n_irreducible))
        right.append(np.ravel(block) if here.any() else [])
    values, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right))
    assert irreducible.self_coefficients @ values == pytest.approx(table["onsite"], rel=1e-3)
    found = elastic_stiffness(irreducible, values)
    np.testing.assert_allclose(found[[0, 0, 3], [0, 1, 3]], [233.3, 154.3, 127.6], rtol=tolerance)


@pytest.mark.parametrize(
    ("name", "n_shells"),
    [("diamond", 3), ("hcp", 3), ("wurtzite", 6), ("rhombohedral", 4), ("quartz", 8), ("p1", 14)],
)
def test_springs_are_as_stiff_as_when_they_are_strained(name, n_shells):
    """Energies of springs under finite strain, inner displacements relaxed, know nothing of waves.

    Second differences at 1e-3 leave (1e-3)² of anharmonic terms, times their number; 5e-6 were seen.
    """
    irreducible = make_irreducible(name, n_shells)
    rng = np.random.default_rng(1)
    springs = springs_of(
        irreducible, np.array([rng.uniform(2, 5) / orbit.shell for orbit in irreducible.orbits])
    )
    waves = long_waves(irreducible, spring_constants(irreducible, springs))
    expected = strained_stiffness(irreducible.crystal, springs)
    assert np.linalg.eigvalsh(expected)[0] > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(waves.stiffness, expected, atol=2e-5 * np.abs(expected).max())
    # Without the atoms of a cell moving against each other it would be wrong by more.
    assert np.abs(waves.round).max() > 1e-4 * np.abs(expected).max()
    assert waves.huang < 1e-9
    assert waves.rotation < 1e-10


@pytest.mark.parametrize(
    "name", ["fcc", "diamond", "hcp", "wurtzite", "rhombohedral", "quartz", "monoclinic"]
)
def test_sound_velocities_are_those_of_christoffel(name):
    """ρ v² = eigenvalues of C_αγβλ n_γ n_λ.

    At |q| of 1e-4 r.l.u., qa is 1e-3: ω² over q² differs from its limit by (qa)², and rounding of the optical
    modes enters by 1e-16 / (qa)². The optical activity of quartz splits degenerate waves by qa.
    """
    irreducible, values = make_irreducible(name), invariant_values(name, seed=3)
    crystal = irreducible.crystal
    tensor = voigt_to_full(elastic_stiffness(irreducible, values))
    density = crystal.masses.sum() * AMU / (abs(np.linalg.det(crystal.lattice_vectors)) * 1e-30)
    q_points = 1e-4 * np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0.3, -0.7, 0.5], [0.9, 0.2, -0.4]])
    wave_vectors = crystal.scattering_vectors(q_points)
    lengths = np.linalg.norm(wave_vectors, axis=1)
    directions = wave_vectors / lengths[:, None]
    christoffel = np.einsum("acbd,qc,qd->qab", tensor, directions, directions)
    # 2π THz over Å⁻¹ is 200 π m/s.
    velocities = 200 * np.pi * frequencies(irreducible, values, q_points)[:, :3] / lengths[:, None]
    expected = np.linalg.eigvalsh(christoffel)
    assert expected.min() > 0
    tolerance = 1e-3 if name == "quartz" else 2e-5
    np.testing.assert_allclose(density * velocities**2 / 1e9, expected, rtol=tolerance, atol=1e-4)


@pytest.mark.parametrize("name", ["hcp", "monoclinic", "triclinic"])
def test_waves_of_a_crystal_under_stress_are_right_all_the_same(name):
    """The brackets themselves give the velocities of any force constants, conditions obeyed or not.

    Only the elastic tensor needs them. (Without a centre of symmetry ω² would begin with a term linear in q.)
    """
    irreducible = make_irreducible(name)
    rng = np.random.default_rng(5)
    strengths = np.array([rng.uniform(2, 5) / orbit.shell for orbit in irreducible.orbits])
    values = spring_constants(irreducible, springs_of(irreducible, strengths))
    values = values + rng.normal(scale=PERTURBATION.get(name, 0.05), size=irreducible.n_irreducible)
    crystal, waves = irreducible.crystal, long_waves(irreducible, values)
    assert waves.huang > 0.05
    density = crystal.masses.sum() * AMU / (abs(np.linalg.det(crystal.lattice_vectors)) * 1e-30)
    q_points = 1e-4 * np.array([[1, 0, 0], [0.3, -0.7, 0.5], [0.9, 0.2, -0.4]])
    wave_vectors = crystal.scattering_vectors(q_points)
    lengths = np.linalg.norm(wave_vectors, axis=1)
    directions = wave_vectors / lengths[:, None]
    velocities = 200 * np.pi * frequencies(irreducible, values, q_points)[:, :3] / lengths[:, None]
    found = density * velocities**2 / 1e9
    expected = np.linalg.eigvalsh(np.einsum("abcd,qc,qd->qab", waves.waves, directions, directions))
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    tensor = voigt_to_full(waves.stiffness)
    elastic = np.linalg.eigvalsh(np.einsum("acbd,qc,qd->qab", tensor, directions, directions))
    # The mean with the exchanged A lies half their difference d away: Σ_γλ d n n is below 3 d, its norm 9 d.
    exchange = np.abs(waves.waves - waves.waves.transpose(2, 3, 0, 1)).max()
    assert 1e-3 < np.abs(elastic - found).max() < 9 * exchange / 2


def test_bcc_of_two_springs_in_closed_form():
    """C11 = 2 k1 / 3a + 2 k2 / a and C12 = C44 = 2 k1 / 3a: eight bonds a(111)/2, six a(100), V = a³/2.

    C11 - C12 = 2 C44, an isotropic crystal, at k2 = 2/3 k1.
    """
    irreducible = make_irreducible("bcc", 2)
    a = irreducible.crystal.cell_parameters[0]
    for k1, k2 in [(3.0, 1.0), (3.0, 2.0)]:
        stiffness = elastic_stiffness(
            irreducible, spring_constants(irreducible, springs_of(irreducible, np.array([k1, k2])))
        )
        c11, c12 = GPA * (2 * k1 / 3 + 2 * k2) / a, GPA * 2 * k1 / 3 / a
        np.testing.assert_allclose(
            stiffness[[0, 0, 3, 0, 0], [0, 1, 3, 3, 4]], [c11, c12, c12, 0, 0], atol=1e-10
        )
        bulk, shear = bulk_and_shear(stiffness)
        assert bulk == pytest.approx((c11 + 2 * c12) / 3)
        # Bounds of the shear modulus of a cubic polycrystal, from Hill's paper.
        voigt = (c11 - c12 + 3 * c12) / 5
        reuss = 5 * (c11 - c12) * c12 / (4 * c12 + 3 * (c11 - c12))
        assert shear == pytest.approx((voigt + reuss) / 2)
    assert c11 - c12 == pytest.approx(2 * c12)
    assert shear == pytest.approx(c12)


def test_the_tensor_turns_with_the_crystal():
    """The same triclinic crystal with its axes renamed lies otherwise in x, y and z."""
    lattice, species = np.array([4.1, 4.6, 5.2, 83, 95, 101]), ["Na", "Cl", "F"]
    positions = np.array([[0.02, 0.05, 0.03], [0.47, 0.55, 0.41], [0.13, 0.61, 0.77]])
    order = [1, 2, 0]
    crystals = [
        build_crystal(lattice, species, positions),
        build_crystal(lattice[[*order, *(3 + i for i in order)]], species, positions[:, order]),
    ]
    found = []
    for crystal in crystals:
        irreducible = irreducible_force_constants(crystal, 12)
        strengths = np.array([10 / orbit.distance**2 for orbit in irreducible.orbits])
        values = spring_constants(irreducible, springs_of(irreducible, strengths))
        found.append(elastic_stiffness(irreducible, values))
    # Rows of the second lattice are those of the first, turned: L2 = L1[order] W.
    turn = np.linalg.solve(crystals[0].conventional_lattice[order], crystals[1].conventional_lattice)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    turned = np.einsum("abcd,ai,bj,ck,dl->ijkl", voigt_to_full(found[0]), turn, turn, turn, turn)
    assert np.abs(found[0] - found[1]).max() > 1
    np.testing.assert_allclose(turned, voigt_to_full(found[1]), atol=1e-8)


@pytest.mark.parametrize("name", ["hcp", "quartz", "monoclinic"])
def test_the_tensor_has_the_symmetry_of_the_crystal_even_without_invariance(name):
    irreducible = make_irreducible(name)
    values = np.random.default_rng(6).normal(size=irreducible.n_irreducible)
    stiffness = elastic_stiffness(irreducible, values)
    np.testing.assert_allclose(stiffness, stiffness.T, atol=1e-9 * np.abs(stiffness).max())
    tensor = voigt_to_full(stiffness)
    for w in irreducible.crystal.cartesian_rotations:
        turned = np.einsum("abcd,ia,jb,kc,ld->ijkl", tensor, w, w, w, w)
        np.testing.assert_allclose(turned, tensor, atol=1e-9 * np.abs(tensor).max())


def test_many_draws_are_single_ones():
    irreducible = make_irreducible("quartz")
    draws = np.stack([[invariant_values("quartz", 2 * i + j) for i in range(3)] for j in range(2)])
    found = long_waves(irreducible, draws)
    assert found.stiffness.shape == (2, 3, 6, 6)
    assert found.torque.shape == (2, 3, 9, 3, 3)
    for i, j in np.ndindex(2, 3):
        alone = long_waves(irreducible, draws[i, j])
        np.testing.assert_allclose(found.stiffness[i, j], alone.stiffness, atol=1e-9)
        np.testing.assert_allclose(found.rotation[i, j], alone.rotation, atol=1e-9)
        np.testing.assert_allclose(found.huang[i, j], alone.huang, atol=1e-9)


CLASSES = {  # space group: lattice, sites, and the elements of Nye, Physical Properties of Crystals (1957)
    221: ((4, 4, 4, 90, 90, 90), [(0, 0, 0)], "11 12 44"),
    205: ((6, 6, 6, 90, 90, 90), [(0, 0, 0), (0.385, 0.385, 0.385)], "11 12 44"),
    194: ((3, 3, 5, 90, 90, 120), [(1 / 3, 2 / 3, 0.25)], "11 12 13 33 44"),
    176: ((8, 8, 5, 90, 90, 120), [(0.37, 0.11, 0.25)], "11 12 13 33 44"),
    166: ((4, 4, 9, 90, 90, 120), [(0, 0, 0.2339)], "11 12 13 33 44 14"),
    # Twofold axes across a: C15 for C14.
    162: ((6, 6, 5, 90, 90, 120), [(0, 0, 0), (0.3, 0, 0.2)], "11 12 13 33 44 15"),
    148: ((9, 9, 9, 90, 90, 120), [(0, 0, 0), (0.21, 0.07, 0.13)], "11 12 13 33 44 14 15"),
    139: ((3, 3, 5, 90, 90, 90), [(0, 0, 0)], "11 12 13 33 44 66"),
    87: ((7, 7, 5, 90, 90, 90), [(0, 0, 0), (0.21, 0.08, 0)], "11 12 13 33 44 66 16"),
    47: ((3, 4, 5, 90, 90, 90), [(0, 0, 0)], "11 12 13 22 23 33 44 55 66"),
    10: ((5, 4, 6, 90, 100, 90), [(0, 0, 0), (0.3, 0, 0.2)], "11 12 13 22 23 33 44 55 66 15 25 35 46"),
    2: (
        (3, 4, 5, 80, 95, 100),
        [(0, 0, 0)],
        "11 12 13 22 23 33 44 55 66 14 15 16 24 25 26 34 35 36 45 46 56",
    ),
}


@pytest.mark.parametrize("number", CLASSES)
def test_independent_elements_are_those_of_the_laue_class(number):
    lattice, sites, expected = CLASSES[number]
    crystal = build_crystal(lattice, ["Si", "O"][: len(sites)], sites, None, number)
    assert crystal.space_group.number == number
    found = independent_elements(crystal)
    assert list(found) == [f"C{digits}" for digits in expected.split()]
    assert all(name == f"C{i + 1}{j + 1}" for name, (i, j) in found.items())


@pytest.mark.parametrize("name", ["hcp", "rhombohedral", "monoclinic"])
def test_independent_elements_determine_the_others(name):
    """As many as matter: matrices of many force constants differ in no further direction."""
    irreducible = make_irreducible(name)
    draws = np.random.default_rng(7).normal(size=(40, irreducible.n_irreducible))
    matrices = elastic_stiffness(irreducible, draws).reshape(40, 36)
    chosen = [6 * i + j for i, j in independent_elements(make_crystal(name)).values()]
    assert np.linalg.matrix_rank(matrices, rtol=1e-9) == len(chosen)
    assert np.linalg.matrix_rank(matrices[:, chosen], rtol=1e-9) == len(chosen)
    assert all(first != second for first, second in pairwise(chosen))


def test_without_rotational_invariance_a_polar_crystal_has_waves_that_are_no_sound():
    """Λ summed over the atoms of a cell, antisymmetric in αβ, is the term of D(q) that is linear in q.

    Of quartz, with constants that violate rotation alone: ω² of the softest wave falls below zero at small q.
    """
    irreducible = make_irreducible("quartz")
    huang = constrained(irreducible, "huang")
    noise = huang.expansion @ np.random.default_rng(8).normal(size=huang.n_irreducible)
    q_points = 1e-4 * np.array([[1, 0, 0], [0.3, -0.7, 0.5]])
    invariant = invariant_values("quartz", seed=3)
    assert frequencies(irreducible, invariant, q_points).min() > 0
    waves = long_waves(irreducible, invariant + 0.002 * noise)
    assert waves.huang < 1e-9
    assert waves.rotation > 1e-3
    assert frequencies(irreducible, invariant + 0.002 * noise, q_points).min() < 0


def test_brackets_of_constants_that_violate_rotation_are_those_of_the_pseudo_inverse():
    """Quartz, written out pair by pair: forces that would move the whole crystal find no answer."""
    irreducible = make_irreducible("quartz")
    values = invariant_values("quartz", seed=3)
    values = values + np.random.default_rng(9).normal(scale=0.02, size=len(values))
    crystal, n = irreducible.crystal, irreducible.crystal.n_atoms
    centre, forces = np.zeros((n, 3, n, 3)), np.zeros((n, 3, 3, 3))
    blocks, bonds = irreducible.basis @ values, crystal.bond_vectors(irreducible.pairs)
    for (first, second, *_), block, bond in zip(irreducible.pairs, blocks, bonds, strict=True):
        centre[first, :, second] += block
        forces[first] += np.multiply.outer(block, bond)
    assert np.abs(forces.sum(axis=0)).max() > 0.1
    answer = np.linalg.pinv(centre.reshape(3 * n, 3 * n), rtol=1e-10) @ forces.reshape(3 * n, 9)
    expected = -GPA * forces.reshape(3 * n, 9).T @ answer / abs(np.linalg.det(crystal.lattice_vectors))
    waves = long_waves(irreducible, values)
    np.testing.assert_allclose(waves.round.reshape(9, 9), expected, atol=1e-8 * np.abs(expected).max())
    # Symmetric in αβ and in γλ, as any matrix of waves A q q is, though the brackets are not.
    np.testing.assert_allclose(waves.waves, waves.waves.transpose(0, 1, 3, 2), atol=1e-9)
    np.testing.assert_allclose(waves.waves, waves.waves.transpose(1, 0, 2, 3), atol=1e-9)
    assert np.abs(waves.round - waves.round.transpose(1, 0, 2, 3)).max() > 0.1
