"""Frequencies, velocities and shares of shells against phonopy, closed forms and finite differences."""

import numpy as np
import pytest

from bayestds.crystal.structure import build_crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants
from bayestds.lattice_dynamics import phonons
from bayestds.lattice_dynamics.paths import special_points
from bayestds.lattice_dynamics.phonons import (
    dynamical_matrices,
    frequencies,
    group_velocities,
    shell_participation,
)
from bayestds.units import THZ
from tests.crystals import make_crystal, make_irreducible
from tests.phonopy_crystals import make_phonopy, primitive_points, random_values

NAMES = ["fcc", "diamond", "rocksalt", "zincblende", "hcp", "quartz", "monoclinic", "p1"]
LENGTH, MASS, ALONG, ACROSS = 3.0, 50.0, 2.0, 0.5
"""Of a simple cubic crystal with springs to its six neighbours: Å, amu, eV/Å²."""


def simple_cubic() -> tuple[IrreducibleForceConstants, np.ndarray]:
    crystal = build_crystal([LENGTH] * 3 + [90] * 3, ["Po"], [[0, 0, 0]], [MASS])
    return irreducible_force_constants(crystal, 1), np.array([-ALONG, -ACROSS])


def general_points(n_points: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (n_points, 3))


def along(irreducible: IrreducibleForceConstants, direction: np.ndarray, length: float) -> np.ndarray:
    """A step (3,) in r.l.u. along a Cartesian direction, of a length in Å⁻¹."""
    unit = np.asarray(direction) / np.linalg.norm(direction)
    return length / (2 * np.pi) * unit @ irreducible.crystal.conventional_lattice.T


@pytest.mark.parametrize("name", NAMES)
def test_frequencies_are_phonopys(name):
    q_points = np.concatenate([general_points(20), list(special_points(make_crystal(name)).values())])
    found = frequencies(make_irreducible(name), random_values(name), q_points)
    phonon = make_phonopy(name)
    phonon.run_qpoints(primitive_points(name, q_points))
    # Constants of nature differ by less than 1e-6; near Γ a frequency is the root of a rounding error.
    np.testing.assert_allclose(found, phonon.qpoints.frequencies, rtol=1e-6, atol=1e-6 * found.max())


def test_simple_cubic_crystal_in_closed_form():
    """mω_x² = 2K(1 - cos q_x a) + 2K'(2 - cos q_y a - cos q_z a), and so on; K' = 0 is the linear chain."""
    irreducible, values = simple_cubic()
    q_points = general_points(50)
    bend = 1 - np.cos(2 * np.pi * q_points)
    squares = 2 / MASS * (ALONG * bend + ACROSS * (bend.sum(axis=1, keepdims=True) - bend))
    np.testing.assert_allclose(
        frequencies(irreducible, values, q_points), THZ * np.sqrt(np.sort(squares)), rtol=1e-12
    )
    chain = THZ * np.sqrt(4 * ALONG / MASS) * np.abs(np.sin(np.pi * q_points))
    found = frequencies(irreducible, np.array([-ALONG, 0.0]), q_points)
    np.testing.assert_allclose(found, np.sort(chain), atol=1e-6)


def test_repulsive_springs_have_imaginary_frequencies():
    irreducible, values = simple_cubic()
    q_points = general_points(5)
    np.testing.assert_allclose(
        frequencies(irreducible, -values, q_points), -frequencies(irreducible, values, q_points)[:, ::-1]
    )


@pytest.mark.parametrize("block", [1, 700, 2**21])
def test_draws_are_one_by_one(block, monkeypatch):
    """Whatever the size of the blocks that bound the memory."""
    monkeypatch.setattr(phonons, "BLOCK", block)
    irreducible, values = make_irreducible("zincblende"), random_values("zincblende")
    draws = values * (1 + 0.1 * np.random.default_rng(0).normal(size=(2, 3, len(values))))
    q_points = general_points(7)
    found = frequencies(irreducible, draws, q_points)
    assert found.shape == (2, 3, 7, 6)
    matrices = dynamical_matrices(irreducible, draws, q_points)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(found[i, j], frequencies(irreducible, draws[i, j], q_points), rtol=1e-12)
        alone = dynamical_matrices(irreducible, draws[i, j], q_points)
        np.testing.assert_allclose(matrices[i, j], alone, rtol=0, atol=1e-14)
    velocities = group_velocities(irreducible, values, q_points)
    monkeypatch.undo()
    np.testing.assert_allclose(velocities, group_velocities(irreducible, values, q_points), atol=1e-10)


def test_no_points_and_no_draws():
    irreducible, values = simple_cubic()
    assert frequencies(irreducible, values, np.zeros((0, 3))).shape == (0, 3)
    assert frequencies(irreducible, np.zeros((0, 2)), np.zeros((4, 3))).shape == (0, 4, 3)
    assert group_velocities(irreducible, values, np.zeros((0, 3))).shape == (0, 3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_matrices_are_hermitian(name):
    found = dynamical_matrices(make_irreducible(name), random_values(name), general_points(5))
    np.testing.assert_allclose(found, found.conj().swapaxes(-1, -2), atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_velocities_are_phonopys(name):
    q_points = general_points(10)
    phonon = make_phonopy(name)
    phonon.run_qpoints(primitive_points(name, q_points), with_group_velocities=True)
    expected = 0.1 * phonon.qpoints.group_velocities  # Å THz
    found = group_velocities(make_irreducible(name), random_values(name), q_points)
    # Phonopy differentiates by differences of 1e-5 Å⁻¹.
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(found).max())


@pytest.mark.parametrize("name", ["fcc", "diamond", "rocksalt", "zincblende", "hcp", "quartz"])
def test_mean_velocities_of_degenerate_modes_are_phonopys(name):
    """Phonopy chooses other modes of a level; their sum is that of the level."""
    points = special_points(make_crystal(name))
    q_points = np.array([q for label, q in points.items() if label != "Γ"] + [0.3 * points["Γ"]])[:-1]
    # Half way to Γ the level stays where the line is one of symmetry.
    q_points = np.concatenate([q_points, q_points / 2])
    irreducible, values = make_irreducible(name), random_values(name)
    phonon = make_phonopy(name)
    phonon.run_qpoints(primitive_points(name, q_points), with_group_velocities=True)
    theirs = 0.1 * phonon.qpoints.group_velocities
    ours = group_velocities(irreducible, values, q_points)
    levels = frequencies(irreducible, values, q_points)
    same = np.abs(levels[:, :, None] - levels[:, None, :]) < 1e-6 * levels.max()
    assert same.sum() > levels.size, "there are degenerate modes"
    # Phonopy also averages over the symmetry of q, which is what the sum over a level has by itself.
    np.testing.assert_allclose(same @ ours, same @ theirs, atol=2e-4 * np.abs(ours).max())


@pytest.mark.parametrize("name", ["fcc", "diamond", "rocksalt", "zincblende", "hcp", "quartz", "p1"])
@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (1, 1, 0), (0.3, -0.5, 0.8)])
def test_velocities_are_slopes_of_branches(name, direction):
    """One-sided differences at special points, where modes are degenerate, in the order of the slopes."""
    irreducible, values = make_irreducible(name), random_values(name)
    points = [q for label, q in special_points(make_crystal(name)).items() if label != "Γ"]
    q_points = np.concatenate([points, general_points(3)])
    step = 1e-4
    ahead = [
        frequencies(irreducible, values, q_points + along(irreducible, direction, k * step))
        for k in (0, 1, 2)
    ]
    slope = 0.1 * 2 * np.pi * (4 * ahead[1] - ahead[2] - 3 * ahead[0]) / (2 * step)
    unit = np.array(direction) / np.linalg.norm(direction)
    found = group_velocities(irreducible, values, q_points, unit) @ unit
    # Second-order differences: what is left is of the order of step² over the gaps between branches.
    np.testing.assert_allclose(found, slope, atol=2e-4 * np.abs(slope).max())


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (0.2, -0.4, 0.7)])
def test_velocity_of_sound(direction):
    """From D to second order in q: m v² = a² (K n_x² + K'(n_y² + n_z²)) and so on."""
    irreducible, values = simple_cubic()
    unit = np.array(direction) / np.linalg.norm(direction)
    squares = LENGTH**2 / MASS * (ALONG * unit**2 + ACROSS * (1 - unit**2))
    speed = 0.2 * np.pi * THZ * np.sqrt(np.sort(squares))  # Å THz to km/s
    for q in (np.zeros((1, 3)), np.array([[1.0, -2.0, 0.0]])):
        found = group_velocities(irreducible, values, q, unit)[0]
        np.testing.assert_allclose(found @ unit, speed, rtol=2e-6)
    near = along(irreducible, direction, 1e-2)[None]
    np.testing.assert_allclose(group_velocities(irreducible, values, near, unit)[0] @ unit, speed, rtol=2e-4)


def test_each_point_has_a_direction_of_its_own():
    irreducible, values = make_irreducible("diamond"), random_values("diamond")
    q_points = np.array([[0, 0, 1.0], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]])
    directions = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]])
    found = group_velocities(irreducible, values, q_points, directions)
    for q, direction, one in zip(q_points, directions, found, strict=True):
        alone = group_velocities(irreducible, values, q[None], direction)[0]
        np.testing.assert_allclose(one @ direction, alone @ direction, atol=1e-9)


def test_slopes_of_imaginary_branches():
    irreducible, values = simple_cubic()
    q_points = general_points(4)
    stable, unstable = (group_velocities(irreducible, sign * values, q_points) for sign in (1, -1))
    np.testing.assert_allclose(unstable, -stable[:, ::-1], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_shells_sum_to_one(name):
    irreducible, values = make_irreducible(name), random_values(name)
    q_points = np.concatenate([general_points(5), [[0, 0, 0]]])
    found = shell_participation(irreducible, values, q_points)
    assert found.shape == (6, 3 * irreducible.crystal.n_atoms, irreducible.n_shells)
    np.testing.assert_allclose(found[:-1].sum(axis=-1), 1, rtol=1e-9)
    # The three acoustic modes of Γ have no stiffness to share.
    np.testing.assert_array_equal(np.isnan(found[-1]).all(axis=-1), np.arange(found.shape[1]) < 3)
    np.testing.assert_allclose(found[-1, 3:].sum(axis=-1), 1, rtol=1e-9)


@pytest.mark.parametrize("name", ["fcc", "diamond", "rocksalt", "zincblende", "hcp"])
def test_shares_are_derivatives(name):
    """∂ ln ω² / ∂ ln φ_s by central differences; of degenerate modes, which stay degenerate, too."""
    irreducible, values = make_irreducible(name), random_values(name)
    points = [q for label, q in special_points(make_crystal(name)).items() if label != "Γ"]
    q_points = np.concatenate([general_points(3), points])
    found = shell_participation(irreducible, values, q_points)
    step = 1e-4
    for shell in range(1, irreducible.n_shells + 1):
        change = step * values * (irreducible.shells == shell)
        up, down = (frequencies(irreducible, values + sign * change, q_points) for sign in (1, -1))
        np.testing.assert_allclose(
            found[..., shell - 1], (np.log(up**2) - np.log(down**2)) / (2 * step), atol=1e-5
        )


def chains(second: float) -> tuple[IrreducibleForceConstants, np.ndarray]:
    """Chains along the three axes: springs K to first neighbours, others to second ones."""
    crystal = build_crystal([LENGTH] * 3 + [90] * 3, ["Po"], [[0, 0, 0]], [MASS])
    # Shell 4 is (200), twice as long as shell 1.
    irreducible = irreducible_force_constants(crystal, 4)
    values = np.zeros(irreducible.n_irreducible)
    values[irreducible.names.index("b0")], values[irreducible.names.index("e0")] = -ALONG, -second
    return irreducible, values


def test_shares_of_simple_springs():
    """mω² = 2K (1 - cos qa) + 2K₂ (1 - cos 2qa), in which 1 - cos 2x = 4 cos²(x/2) (1 - cos x)."""
    irreducible, values = chains(0.3)
    second = 0.3 * 4 * np.cos(0.2 * np.pi) ** 2
    found = shell_participation(irreducible, values, np.array([[0.2, 0.0, 0.0]]))[0, -1]
    np.testing.assert_allclose(found, np.array([ALONG, 0, 0, second]) / (ALONG + second), atol=1e-12)


def test_modes_that_coincide_by_chance_have_their_mean():
    """With K₂ = K the modes at qa = π, of K alone, and at qa = π/3, of K by one quarter, have equal ω."""
    irreducible, values = chains(ALONG)
    found = shell_participation(irreducible, values, np.array([[1 / 2, 1 / 6, 0.0]]))[0, 1:]
    np.testing.assert_allclose(found, [[0.625, 0, 0, 0.375]] * 2, atol=1e-9)
