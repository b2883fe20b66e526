"""Names, element patterns, multiplicities and sum rules of irreducible force constants."""

import numpy as np
import pytest

from bayestds.errors import CrystalError
from bayestds.force_constants.irreducible import irreducible_force_constants, shell_letter
from tests.brute_force import bonds_of, dense_hessian, periodic_atoms, random_stable
from tests.crystals import SAMPLES, default_supercell, make_crystal, make_irreducible

NAMES = "b0 b1 b2 c0 c1 d0 d1 d2 d3 e0 e1 e2 f0 f1 f2 f3"
SUM_RULE = "a0 + 8*b0 + 4*b1 + 2*c0 + 4*c1 + 8*d0 + 16*d1 + 8*e0 + 4*e1 + 8*f0 + 8*f1 + 8*f2 = 0"
FCC_SHELLS = [
    # representative bond in a/2, multiplicity, block row by row
    ((1, 1, 0), 12, "b0 b2 0 b2 b0 0 0 0 b1"),
    ((2, 0, 0), 6, "c0 0 0 0 c1 0 0 0 c1"),
    ((2, 1, 1), 24, "d0 d3 d3 d3 d1 d2 d3 d2 d1"),
    ((2, 2, 0), 12, "e0 e2 0 e2 e0 0 0 0 e1"),
    ((3, 1, 0), 24, "f0 f3 0 f3 f1 0 0 0 f2"),
]


def test_fcc_names_in_order():
    irreducible = make_irreducible("fcc", 5)
    assert irreducible.names == tuple(NAMES.split())
    assert irreducible.n_irreducible == 16
    assert irreducible.self_names == ("a0",)
    assert irreducible.shells.tolist() == [1] * 3 + [2] * 2 + [3] * 4 + [4] * 3 + [5] * 4


def test_fcc_sum_rule():
    assert make_irreducible("fcc", 5).sum_rules == (SUM_RULE,)


@pytest.mark.parametrize(("shell", "expected"), list(enumerate(FCC_SHELLS, start=1)))
def test_fcc_shell_has_the_known_representative_and_pattern(shell, expected):
    bond, multiplicity, pattern = expected
    irreducible = make_irreducible("fcc", 5)
    orbit = irreducible.orbits[shell - 1]
    assert orbit.shell == shell
    found = irreducible.crystal.bond_vectors(orbit.representative[None])[0]
    np.testing.assert_allclose(found, np.array(bond) * 3.52 / 2, atol=1e-12)
    assert len(orbit.pairs) == multiplicity
    assert irreducible.orbit_matrices[shell - 1] == tuple(pattern.split())


def test_fcc_self_term_follows_from_the_sum_rule():
    irreducible = make_irreducible("fcc", 5)
    phi = np.random.default_rng(0).normal(size=16)
    value = dict(zip(irreducible.names, phi, strict=True))
    a0 = irreducible.self_coefficients @ phi
    assert eval(SUM_RULE.removesuffix(" = 0"), {"a0": float(a0[0])}, value) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(irreducible.basis[0] @ phi, a0 * np.eye(3), atol=1e-12)


@pytest.mark.parametrize("name", SAMPLES)
def test_expressions_agree_with_the_numerical_basis(name):
    irreducible = make_irreducible(name)
    phi = np.random.default_rng(1).normal(size=irreducible.n_irreducible)
    values = dict(zip(irreducible.names, phi, strict=True)) | {"sqrt": np.sqrt}
    index = {tuple(pair): i for i, pair in enumerate(irreducible.pairs)}
    for orbit, texts in zip(irreducible.orbits, irreducible.orbit_matrices, strict=True):
        block = irreducible.basis[index[tuple(orbit.representative)]] @ phi
        np.testing.assert_allclose([eval(text, {}, values) for text in texts], block.ravel(), atol=1e-12)


@pytest.mark.parametrize("name", SAMPLES)
def test_parameters_are_elements_of_representatives(name):
    """Each parameter alone appears, with factor one, as an element of its orbit's representative."""
    irreducible = make_irreducible(name)
    for names, texts in zip(irreducible.orbit_names, irreducible.orbit_matrices, strict=True):
        assert set(names) <= set(texts)


@pytest.mark.parametrize("name", SAMPLES)
def test_parameters_are_numbered_through_each_shell(name):
    irreducible = make_irreducible(name)
    numbers: dict[int, int] = {}
    for parameter, shell in zip(irreducible.names, irreducible.shells.tolist(), strict=True):
        number = numbers.setdefault(shell, 0)
        assert parameter == f"{'abcdefghijklmnop'[shell]}{number}"
        numbers[shell] += 1
    assert irreducible.names == tuple(n for names in irreducible.orbit_names for n in names)


@pytest.mark.parametrize("name", SAMPLES)
def test_representative_is_the_largest_bond_of_its_orbit(name):
    irreducible = make_irreducible(name)
    for orbit in irreducible.orbits:
        bonds = irreducible.crystal.bond_vectors(orbit.pairs)
        for difference in bonds[0] - bonds:
            different = difference[np.abs(difference) > 1e-6]
            assert not len(different) or different[0] > 0


def test_a_shell_may_hold_several_orbits():
    irreducible = make_irreducible("rocksalt")
    # Na-Na and Cl-Cl are equally long; both count towards the letter c.
    second = [orbit for orbit in irreducible.orbits if orbit.shell == 2]
    assert len(second) == 2
    ends = [{irreducible.crystal.species[i] for i in orbit.pairs[:, :2].ravel()} for orbit in second]
    assert {"Na"} in ends
    assert {"Cl"} in ends
    assert [name for name in irreducible.names if name[0] == "c"] == ["c0", "c1", "c2", "c3", "c4", "c5"]


def test_equally_long_bonds_of_different_directions():
    """In bcc (333)/2 and (511)/2 are one shell, the tenth."""
    irreducible = make_irreducible("bcc", 10)
    last = [orbit for orbit in irreducible.orbits if orbit.shell == 10]
    assert sorted(len(orbit.pairs) for orbit in last) == [8, 24]
    assert [name for name in irreducible.names if name[0] == "k"] == [f"k{i}" for i in range(6)]


@pytest.mark.parametrize(
    ("name", "self_names"),
    [
        ("diamond", ("a0",)),
        ("rocksalt", ("a0_Cl", "a0_Na")),
        ("hcp", ("a0", "a1")),
        ("triclinic", ("a0", "a1", "a2", "a3", "a4", "a5")),
    ],
)
def test_self_terms_are_named_by_species_where_there_are_several(name, self_names):
    assert tuple(sorted(make_irreducible(name).self_names)) == self_names


@pytest.mark.parametrize("name", SAMPLES)
def test_hessian_is_symmetric_and_sums_to_zero(name):
    """The self terms of the package are those of the acoustic sum rule, and make a Hessian."""
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = random_stable(irreducible, supercell, seed=3)
    atoms = periodic_atoms(supercell)
    bonds = bonds_of(irreducible, phi)
    hessian = dense_hessian(atoms, bonds)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-10)
    blocks = hessian.reshape(atoms.n_atoms, 3, atoms.n_atoms, 3)
    for atom in range(irreducible.crystal.n_atoms):
        kind = int(atoms.kinds[atom])
        np.testing.assert_allclose(blocks[atom, :, atom], bonds(kind, kind, np.zeros(3)), atol=1e-10)


@pytest.mark.parametrize("name", SAMPLES)
def test_hessian_is_invariant_under_the_space_group(name):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = irreducible.crystal
    phi = np.random.default_rng(5).normal(size=irreducible.n_irreducible)
    atoms = periodic_atoms(supercell)
    hessian = dense_hessian(atoms, bonds_of(irreducible, phi)).reshape(atoms.n_atoms, 3, atoms.n_atoms, 3)
    to_box = np.linalg.inv(atoms.box)
    lattice = crystal.lattice_vectors.T
    operations = list(zip(crystal.space_group.rotations, crystal.space_group.translations, strict=True))
    for rotation, translation in operations[:: max(1, len(operations) // 12)]:
        cartesian = lattice @ rotation @ np.linalg.inv(lattice)
        images = atoms.positions @ cartesian.T + lattice @ translation
        apart = (images[:, None] - atoms.positions) @ to_box
        distance = np.linalg.norm((apart - np.rint(apart)) @ atoms.box, axis=-1)
        image = distance.argmin(axis=1)
        assert distance.min(axis=1).max() < 1e-6
        rotated = np.einsum("ab,ibjc,dc->iajd", cartesian, hessian, cartesian)
        np.testing.assert_allclose(hessian[image][:, :, image], rotated, atol=1e-9)


def test_more_than_two_hundred_parameters():
    irreducible = irreducible_force_constants(make_crystal("p1"), 24)
    assert irreducible.n_irreducible >= 200
    assert len(set(irreducible.names)) == irreducible.n_irreducible
    assert np.linalg.matrix_rank(irreducible.basis.reshape(-1, irreducible.n_irreducible)) == len(
        irreducible.names
    )


@pytest.mark.parametrize(
    ("shell", "letter"), [(0, "a"), (1, "b"), (25, "z"), (26, "aa"), (27, "ab"), (702, "aaa")]
)
def test_letters_go_on_after_z(shell, letter):
    assert shell_letter(shell) == letter


def test_parameters_beyond_z_keep_their_shell():
    irreducible = make_irreducible("fcc", 27)
    assert {name.rstrip("0123456789") for name in irreducible.names} >= {"z", "aa", "ab"}
    first = irreducible.names.index("aa0")
    assert irreducible.shells[first] == 26


@pytest.mark.parametrize("n_shells", [0, -1])
def test_no_shells_are_refused(n_shells):
    with pytest.raises(CrystalError, match="at least one"):
        irreducible_force_constants(make_crystal("fcc"), n_shells)
