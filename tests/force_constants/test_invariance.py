"""Rotational invariance and Huang conditions: their number, springs that obey them, the constrained basis."""

import numpy as np
import pytest

from bayestds.force_constants.invariance import (
    constrained,
    huang_conditions,
    independent_conditions,
    rotation_conditions,
)
from tests.crystals import SAMPLES, make_crystal, make_irreducible
from tests.springs import spring_constants, springs_of

ENOUGH_SHELLS = {"triclinic": 10, "p1": 16}
"""Shells that do not yet imply a condition by having few bonds; the other crystals have them."""

FREE = ("hcp", "wurtzite", "rutile", "rhombohedral", "quartz", "orthorhombic", "monoclinic")
"""Crystals with conditions."""


def rotation_number(name: str) -> int:
    """Conditions of rotational invariance by characters of the site symmetries.

    The force of a turned crystal on an atom is a polar vector, linear in an axial one: a tensor of that kind
    that its site allows is a condition.
    """
    crystal = make_crystal(name)
    group, traces = crystal.space_group, np.trace(crystal.cartesian_rotations, axis1=1, axis2=2)
    determinants = np.rint(np.linalg.det(crystal.cartesian_rotations))
    total, seen = 0.0, set()
    for atom in range(crystal.n_atoms):
        if atom not in seen:
            seen |= set(group.permutations[:, atom].tolist())
            stays = group.permutations[:, atom] == atom
            total += (determinants * traces**2)[stays].mean()
    return round(total)


def huang_number(name: str) -> int:
    """Huang conditions by characters: antisymmetric tensors on the six-dimensional space of strains."""

    def strains(w: np.ndarray) -> float:
        return (np.trace(w) ** 2 + np.trace(w @ w)) / 2

    rotations = make_crystal(name).cartesian_rotations
    return round(np.mean([(strains(w) ** 2 - strains(w @ w)) / 2 for w in rotations]))


@pytest.mark.parametrize("name", SAMPLES)
def test_number_of_conditions_is_that_of_group_theory(name):
    irreducible = make_irreducible(name, ENOUGH_SHELLS.get(name))
    rotation, huang = rotation_number(name), huang_number(name)
    assert len(independent_conditions(irreducible, "rotation")) == rotation
    assert len(independent_conditions(irreducible, "huang")) == huang
    assert len(independent_conditions(irreducible, "both")) == rotation + huang


@pytest.mark.parametrize(
    ("name", "rotation", "huang"), [("fcc", 0, 0), ("diamond", 0, 0), ("hcp", 0, 1), ("wurtzite", 2, 1)]
)
def test_well_known_crystals(name, rotation, huang):
    """Written down, in case the characters above are wrong: an atom of fcc is a centre of symmetry, hcp has
    one Huang condition more than none since xx zz and zz xx differ, a site 3m has one polar direction."""
    assert (rotation_number(name), huang_number(name)) == (rotation, huang)


def test_huang_condition_of_hcp_in_closed_form():
    """Σ Φ_xx z² = Σ Φ_zz x² by hand for three shells: (a/√3, 0, c/2), (a, 0, 0) and (2a/√3, 0, c/2).

    An atom has 6, 6 and 6 of them. Turned about z by multiples of 60°, x² averages to half the square of the
    horizontal length, and Φ_xx to (Φ_xx + Φ_yy) / 2.
    """
    irreducible = make_irreducible("hcp", 3)
    a, c = irreducible.crystal.cell_parameters[[0, 2]]
    heights, horizontal = [c / 2, 0, c / 2], [a / np.sqrt(3), a, 2 * a / np.sqrt(3)]
    assert [len(orbit.pairs) for orbit in irreducible.orbits] == [12, 12, 12]
    expected = np.zeros(irreducible.n_irreducible)
    for orbit, z, r in zip(irreducible.orbits, heights, horizontal, strict=True):
        bond = irreducible.crystal.bond_vectors(orbit.pairs[:1])[0]
        assert [np.hypot(*bond[:2]), abs(bond[2])] == pytest.approx([r, z])
        block = irreducible.basis[(irreducible.pairs == orbit.representative).all(axis=1)][0]
        # Two atoms, six bonds each.
        expected += 12 * (z**2 * (block[0, 0] + block[1, 1]) / 2 - r**2 / 2 * block[2, 2])
    found = independent_conditions(irreducible, "huang")[0]
    np.testing.assert_allclose(np.abs(found), np.abs(expected) / np.linalg.norm(expected), atol=1e-12)
    assert abs(found @ expected) == pytest.approx(np.linalg.norm(expected))


@pytest.mark.parametrize("name", SAMPLES)
def test_springs_at_rest_length_obey_every_condition(name):
    irreducible = make_irreducible(name)
    strengths = np.random.default_rng(2).uniform(1, 3, len(irreducible.orbits))
    values = spring_constants(irreducible, springs_of(irreducible, strengths))
    # Rounding of sums of some hundred terms of up to 3 eV/Å² times (10 Å)².
    assert np.abs(rotation_conditions(irreducible) @ values).max() < 1e-10
    assert np.abs(huang_conditions(irreducible) @ values).max() < 1e-9


@pytest.mark.parametrize("name", ["hcp", "quartz", "triclinic"])
def test_springs_under_tension_violate_the_huang_conditions_by_their_stress(name):
    """Φ = -t adds -t (δ_αβ d_γ d_λ - δ_γλ d_α d_β) to each term: δ_αβ S_γλ - δ_γλ S_αβ."""
    irreducible = make_irreducible(name)
    rng, n = np.random.default_rng(3), len(irreducible.orbits)
    springs = springs_of(irreducible, rng.uniform(1, 3, n), rng.uniform(0, 0.3, n))
    stress = -np.einsum("p,pa,pb->ab", springs.tensions, springs.bonds, springs.bonds)
    axes = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    expected = [
        (a == b) * stress[c, d] - (c == d) * stress[a, b]
        for i, (a, b) in enumerate(axes)
        for c, d in axes[i + 1 :]
    ]
    found = huang_conditions(irreducible) @ spring_constants(irreducible, springs)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", ["wurtzite", "quartz", "p1"])
def test_springs_under_tension_violate_rotation_by_the_force_on_an_atom(name):
    """A turned crystal turns its forces with it: with F = Σ (-t) d they are δ_αβ F_γ - δ_αγ F_β."""
    irreducible = make_irreducible(name)
    rng, n = np.random.default_rng(4), len(irreducible.orbits)
    springs = springs_of(irreducible, rng.uniform(1, 3, n), rng.uniform(0, 0.3, n))
    force = np.zeros((irreducible.crystal.n_atoms, 3))
    np.add.at(force, springs.ends[:, 0], -springs.tensions[:, None] * springs.bonds)
    expected = [
        (a == b) * atom[c] - (a == c) * atom[b]
        for atom in force
        for a in range(3)
        for b, c in [(1, 2), (0, 2), (0, 1)]
    ]
    found = rotation_conditions(irreducible) @ spring_constants(irreducible, springs)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("invariance", ["rotation", "huang", "both"])
def test_constrained_constants_obey_the_conditions_whatever_their_values(name, invariance):
    irreducible = make_irreducible(name)
    found = constrained(irreducible, invariance)
    conditions = independent_conditions(irreducible, invariance)
    assert found.n_irreducible == irreducible.n_irreducible - len(conditions)
    assert found.n_irreducible >= len(found.orbits)
    np.testing.assert_allclose(conditions @ found.expansion, 0, atol=1e-13)
    # The sums themselves, over the new basis.
    if invariance != "rotation":
        assert np.abs(huang_conditions(found)).max() < 1e-11
    if invariance != "huang":
        assert np.abs(rotation_conditions(found)).max() < 1e-12
    # Pivots of at least a tenth keep the coefficients within two digits.
    assert np.abs(found.expansion).max() < 100


@pytest.mark.parametrize("name", FREE)
def test_parameters_keep_names_and_meaning(name):
    irreducible = make_irreducible(name)
    found = constrained(irreducible, "both")
    places = [irreducible.names.index(each) for each in found.names]
    assert found.all_names == irreducible.names
    assert found.shells.tolist() == irreducible.shells[places].tolist()
    assert found.n_shells == irreducible.n_shells
    strengths = np.random.default_rng(5).uniform(1, 3, len(irreducible.orbits))
    every = spring_constants(irreducible, springs_of(irreducible, strengths))
    # Constants that obey the conditions are known from those that are left.
    np.testing.assert_allclose(found.expansion @ every[places], every, atol=1e-11)
    np.testing.assert_allclose(found.basis @ every[places], irreducible.basis @ every, atol=1e-11)
    selfs = irreducible.self_coefficients @ every
    np.testing.assert_allclose(found.self_coefficients @ every[places], selfs, atol=1e-10)


@pytest.mark.parametrize("name", ["hcp", "wurtzite", "rhombohedral", "triclinic"])
def test_texts_are_those_of_the_basis(name):
    irreducible = make_irreducible(name)
    found = constrained(irreducible, "both")
    values = np.random.default_rng(6).normal(size=found.n_irreducible)
    known = dict(zip(found.names, values, strict=True)) | {"sqrt": np.sqrt}
    for orbit, names, texts in zip(found.orbits, found.orbit_names, found.orbit_matrices, strict=True):
        block = found.basis[(found.pairs == orbit.representative).all(axis=1)][0] @ values
        # Six digits of some ten terms of order one.
        np.testing.assert_allclose([eval(text, {}, known) for text in texts], block.ravel(), atol=1e-4)
        assert set(names) <= set(texts)
    selfs = dict(zip(found.self_names, found.self_coefficients @ values, strict=True))
    for rule in found.sum_rules:
        assert eval(rule.removesuffix(" = 0"), {}, known | selfs) == pytest.approx(0, abs=1e-3)


def test_nothing_changes_where_symmetry_implies_all_conditions():
    irreducible = make_irreducible("fcc")
    found = constrained(irreducible, "both")
    assert (found.names, found.sum_rules) == (irreducible.names, irreducible.sum_rules)
    assert found.invariance == "both"
    np.testing.assert_array_equal(found.basis, irreducible.basis)


def test_constants_of_the_outermost_shells_are_given_up():
    """One of the last shell where that enters the condition: hcp, tetragonal."""
    for name in ("hcp", "tetragonal"):
        irreducible = make_irreducible(name)
        (lost,) = set(irreducible.names) - set(constrained(irreducible, "huang").names)
        assert irreducible.shells[irreducible.names.index(lost)] == irreducible.n_shells
