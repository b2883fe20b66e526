"""Grüneisen parameters against frequencies of a strained crystal of anharmonic springs."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import root

from bayestds.crystal.structure import Crystal, build_crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.lattice_dynamics.grueneisen import grueneisen_parameters, mean_grueneisen
from bayestds.lattice_dynamics.phonons import frequencies
from tests.crystals import make_crystal

STEP = 1e-4
"""Strain of the differences, whose error is of the order of its square."""


@dataclass(frozen=True)
class Springs:
    """Energy k (|r| - r₀)²/2 + g (|r| - r₀)³/6 of every pair in the shells, at rest in the crystal."""

    irreducible: IrreducibleForceConstants
    third_order: ThirdOrderForceConstants
    pairs: np.ndarray
    lengths: np.ndarray
    stiffness: np.ndarray
    cubic: np.ndarray

    @property
    def crystal(self) -> Crystal:
        return self.irreducible.crystal

    def bonds(self, strain: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        turned = self.crystal.bond_vectors(self.pairs) @ (np.eye(3) + strain)
        return turned + shifts[self.pairs[:, 0]] - shifts[self.pairs[:, 1]]

    def derivatives(self, order: int, bonds: np.ndarray) -> np.ndarray:
        """Derivatives of the energy of each pair by its vector, for V' = k x + g x²/2, x = |r| - r₀."""
        r = np.linalg.norm(bonds, axis=1)
        n, stretch = bonds / r[:, None], r - self.lengths
        first = self.stiffness * stretch + self.cubic * stretch**2 / 2
        second = self.stiffness + self.cubic * stretch
        along, one = np.einsum("pa,pb->pab", n, n), np.eye(3)
        if order == 1:
            return first[:, None] * n
        if order == 2:
            return second[:, None, None] * along + (first / r)[:, None, None] * (one - along)
        cube = np.einsum("pa,pb,pc->pabc", n, n, n)
        mixed = sum(np.einsum(f"ab,pc->p{order}", one, n) for order in ("abc", "cab", "acb"))
        bent = (second / r - first / r**2)[:, None, None, None]
        return self.cubic[:, None, None, None] * cube + bent * (mixed - 3 * cube)

    def relaxed(self, strain: np.ndarray) -> np.ndarray:
        """Shifts of the atoms that leave no forces."""
        n = self.crystal.n_atoms

        def forces(free: np.ndarray) -> np.ndarray:
            shifts = np.concatenate([np.zeros((1, 3)), free.reshape(-1, 3)])
            total = np.zeros((n, 3))
            np.add.at(total, self.pairs[:, 0], self.derivatives(1, self.bonds(strain, shifts)))
            return total[1:].ravel()

        if n == 1:
            return np.zeros((1, 3))
        found = root(forces, np.zeros(3 * n - 3), tol=1e-13)
        assert np.abs(forces(found.x)).max() < 1e-10
        return np.concatenate([np.zeros((1, 3)), found.x.reshape(-1, 3)])

    def squares(self, strain: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Eigenvalues of the dynamical matrix at one q (3,), conventional r.l.u."""
        n, masses = self.crystal.n_atoms, self.crystal.masses
        blocks = self.derivatives(2, self.bonds(strain, self.relaxed(strain)))
        primitive = np.linalg.inv(self.crystal.conventional_matrix) @ q
        matrix = np.zeros((n, n, 3, 3), dtype=complex)
        for (first, second, *cell), block in zip(self.pairs.tolist(), blocks, strict=True):
            wave = np.exp(2j * np.pi * np.dot(primitive, cell))
            matrix[first, second] -= block * wave / np.sqrt(masses[first] * masses[second])
            matrix[first, first] += block / masses[first]
        return np.linalg.eigvalsh(matrix.swapaxes(1, 2).reshape(3 * n, 3 * n))

    def fitted(self) -> tuple[np.ndarray, np.ndarray]:
        """The irreducible force constants of both orders."""
        bonds = self.bonds(np.zeros((3, 3)), np.zeros((self.crystal.n_atoms, 3)))
        found = []
        for basis, wanted in (
            (self.irreducible.basis[self.crystal.n_atoms :], -self.derivatives(2, bonds)),
            (self.third_order.basis, self.derivatives(3, bonds)[self.one_way]),
        ):
            matrix = basis.reshape(-1, basis.shape[-1])
            solution, *_ = np.linalg.lstsq(matrix, wanted.ravel())
            assert np.abs(matrix @ solution - wanted.ravel()).max() < 1e-9
            found.append(solution)
        return found[0], found[1]

    @property
    def one_way(self) -> list[int]:
        """Where the bonds of the third order are among the pairs."""
        place = {tuple(pair): i for i, pair in enumerate(self.pairs.tolist())}
        return [place[tuple(bond)] for bond in self.third_order.bonds.tolist()]


def springs(crystal: Crystal, n_shells: int) -> Springs:
    irreducible = irreducible_force_constants(crystal, n_shells)
    rng = np.random.default_rng(4)
    number = np.concatenate([np.full(len(orbit.pairs), i) for i, orbit in enumerate(irreducible.orbits)])
    shells = np.array([orbit.shell for orbit in irreducible.orbits])
    pairs = irreducible.pairs[crystal.n_atoms :]
    return Springs(
        irreducible,
        third_order_force_constants(crystal, n_shells),
        pairs,
        np.linalg.norm(crystal.bond_vectors(pairs), axis=1),
        (rng.uniform(2, 4, len(shells)) / shells)[number],
        (rng.uniform(-20, -5, len(shells)) / shells)[number],
    )


def polar() -> Crystal:
    """Two atoms without a centre of symmetry, whose distance along c symmetry leaves free."""
    lattice = np.array([3.6, 3.6, 4.1, 90, 90, 90])
    return build_crystal(lattice, ["Ti", "O"], np.array([[0, 0, 0], [0.5, 0.5, 0.43]]), None, 99)


CRYSTALS = {
    "fcc": lambda: springs(make_crystal("fcc"), 2),
    "zincblende": lambda: springs(make_crystal("zincblende"), 3),
    "polar": lambda: springs(polar(), 6),
    "wurtzite": lambda: springs(make_crystal("wurtzite"), 9),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_frequencies_of_a_strained_crystal(name):
    crystal = CRYSTALS[name]()
    phi, gamma = crystal.fitted()
    q_points = np.array([[0.31, 0.12, 0.23], [0.5, 0.5, 0.5], [0.0, 0.0, 0.4]])
    shear = np.array([[0.2, 0.3, 0.0], [0.3, -0.4, 0.1], [0.0, 0.1, 0.5]])
    for strain in (np.eye(3) / 3, shear):
        found = grueneisen_parameters(crystal.irreducible, crystal.third_order, phi, gamma, q_points, strain)
        for q, parameters in zip(q_points, found, strict=True):
            plus, minus = (crystal.squares(sign * STEP * strain, q) for sign in (1, -1))
            expected = -(np.log(plus) - np.log(minus)) / (4 * STEP)
            levels = np.round(np.log(crystal.squares(np.zeros((3, 3)), q)), 6)
            for level in np.unique(levels):
                same = levels == level
                # Modes of one frequency part under a strain, in an order that may change with its sign.
                np.testing.assert_allclose(
                    parameters[same].mean(), expected[same].mean(), rtol=1e-3, atol=1e-4
                )


def test_translations_have_none_and_the_mean_is_weighted():
    crystal = CRYSTALS["zincblende"]()
    phi, gamma = crystal.fitted()
    q_points = np.array([[0.0, 0.0, 0.0], [0.31, 0.12, 0.23]])
    found = grueneisen_parameters(crystal.irreducible, crystal.third_order, phi, gamma, q_points)
    assert np.isnan(found[0, :3]).all()
    assert np.isfinite(found[0, 3:]).all()
    assert np.isfinite(found[1]).all()
    nu = frequencies(crystal.irreducible, phi, q_points)
    used = found[np.isfinite(found)]
    assert mean_grueneisen(found, nu) == pytest.approx(used.mean())
    # Hot modes are classical; of cold ones only the softest counts.
    assert mean_grueneisen(found, nu, 1e5) == pytest.approx(used.mean(), rel=1e-4)
    softest = nu[np.isfinite(found)].argmin()
    assert mean_grueneisen(found, nu, 1.0) == pytest.approx(used[softest], rel=1e-2)


def test_springs_of_a_linear_law_soften_as_a_power():
    """All springs alike with G = g n⊗n⊗n and no second shell: ω² of fcc scales by 1 + g r ε/k."""
    third_order = third_order_force_constants(make_crystal("fcc"), 1)
    irreducible = irreducible_force_constants(make_crystal("fcc"), 1)
    k, g = 2.0, -9.0
    central = np.array([1.0, 1.0, 0.0]) / 2
    phi = -k * np.array([central[0], 0.0, central[0]])
    gamma = g / np.sqrt(8) * np.array([1.0, 1.0, 0.0])
    assert irreducible.names == ("b0", "b1", "b2")
    found = grueneisen_parameters(irreducible, third_order, phi, gamma, np.array([[0.31, 0.12, 0.23]]))
    expected = -g * irreducible.orbits[0].distance / (6 * k)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
