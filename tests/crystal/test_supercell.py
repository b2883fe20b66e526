"""Smith normal form, commensurate wave vectors and periodic images."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell, make_supercell, smith_normal_form
from bayestds.errors import CrystalError
from tests.crystals import make_crystal

matrices = st.lists(st.integers(-7, 7), min_size=9, max_size=9).map(lambda x: np.array(x).reshape(3, 3))
# Not made in a strategy: the shape checks draw random numbers, which Hypothesis does not allow there.
CRYSTALS = [make_crystal(n) for n in ("fcc", "bcc", "hcp", "rhombohedral", "monoclinic", "triclinic")]
crystals = st.sampled_from(CRYSTALS)


def determinant(matrix: np.ndarray) -> int:
    return round(float(np.linalg.det(matrix)))


@given(matrices)
def test_smith_normal_form(matrix):
    assume(determinant(matrix) != 0)
    left, diagonal, right = smith_normal_form(matrix)
    assert abs(determinant(left)) == abs(determinant(right)) == 1
    np.testing.assert_array_equal(left @ matrix @ right, np.diag(diagonal))
    assert (diagonal > 0).all()
    assert diagonal[1] % diagonal[0] == diagonal[2] % diagonal[1] == 0


@given(matrices)
def test_first_invariant_factor_is_the_greatest_common_divisor(matrix):
    assume(determinant(matrix) != 0)
    _, diagonal, _ = smith_normal_form(matrix)
    assert diagonal[0] == np.gcd.reduce(matrix.ravel())
    assert diagonal.prod() == abs(determinant(matrix))


@pytest.mark.parametrize("matrix", [np.zeros((3, 3), int), np.ones((3, 3), int), np.diag([2, 0, 1])])
def test_singular_matrix_is_refused(matrix):
    with pytest.raises(CrystalError, match="singular"):
        smith_normal_form(matrix)


@st.composite
def supercells(draw: st.DrawFn) -> tuple[Crystal, np.ndarray]:
    """What a supercell is made of; it is made in the tests, see CRYSTALS."""
    matrix = draw(
        st.lists(st.integers(-3, 3), min_size=9, max_size=9).map(lambda x: np.array(x).reshape(3, 3))
    )
    assume(0 < abs(determinant(matrix)) <= 30)
    return draw(crystals), matrix


@given(supercells())
@settings(max_examples=60)
def test_cells_and_wave_vectors_fill_the_supercell_once(chosen):
    supercell = make_supercell(*chosen)
    n_cells = abs(determinant(supercell.matrix))
    assert supercell.n_cells == len(supercell.cells) == len(supercell.k_points) == n_cells
    np.testing.assert_array_equal(supercell.cell_index(supercell.cells), np.arange(n_cells))
    fractional = (supercell.k_points[:, None] - supercell.k_points).reshape(-1, 3)
    assert (np.abs(fractional - np.rint(fractional)).max(axis=1) < 1e-9).sum() == n_cells


@given(supercells())
@settings(max_examples=60)
def test_wave_vectors_are_commensurate(chosen):
    """A wave of the supercell has the same phase in every periodic image of a cell."""
    supercell = make_supercell(*chosen)
    waves = supercell.k_points @ supercell.matrix.T
    np.testing.assert_allclose(waves, np.rint(waves), atol=1e-9)


@given(supercells(), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
@settings(max_examples=60)
def test_cell_index_is_periodic(chosen, steps):
    supercell = make_supercell(*chosen)
    moved = supercell.cells + np.array(steps) @ supercell.matrix
    np.testing.assert_array_equal(supercell.cell_index(moved), np.arange(supercell.n_cells))


@given(supercells(), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
@settings(max_examples=60)
def test_k_index_is_periodic_in_the_reciprocal_lattice(chosen, steps):
    """Through Cartesian vectors: Q·a_i = 2π k_i for the primitive vectors a_i."""
    supercell = make_supercell(*chosen)
    crystal = supercell.crystal
    q_cartesian = 2 * np.pi * (supercell.k_points + steps) @ np.linalg.inv(crystal.lattice_vectors).T
    q_points = q_cartesian @ crystal.conventional_lattice.T / (2 * np.pi)
    np.testing.assert_array_equal(supercell.k_index(q_points), np.arange(supercell.n_cells))


@given(supercells())
@settings(max_examples=60)
def test_fft_grid_has_the_phases_of_cells_and_wave_vectors(chosen):
    """FFT element (k, t) is exp(2πi Σ k_i t_i / D_i), which must be exp(2πi k·t)."""
    supercell = make_supercell(*chosen)
    grid = np.stack(np.unravel_index(np.arange(supercell.n_cells), supercell.grid_shape), axis=-1)
    fft = (grid / supercell.grid_shape) @ grid.T
    direct = supercell.k_points @ supercell.cells.T
    np.testing.assert_allclose(np.exp(2j * np.pi * fft), np.exp(2j * np.pi * direct), atol=1e-9)


@given(supercells())
@settings(max_examples=20)
def test_points_that_do_not_fit_get_minus_one(chosen):
    supercell = make_supercell(*chosen)
    q_points = np.array([[0.1234567, 0, 0], [0, 0, 0], [0, 0.01, 0.3]])
    found = supercell.k_index(q_points)
    assert found[0] == found[2] == -1
    assert found[1] == 0


def test_k_index_tolerates_rounded_points():
    supercell = make_supercell(make_crystal("hcp"), np.array([3, 3, 2]))
    assert supercell.k_index(np.array([[0.3333, 0.6667, 0.5]]), tolerance=1e-3)[0] >= 0
    assert supercell.k_index(np.array([[0.3333, 0.6667, 0.5]]), tolerance=1e-6)[0] == -1


SKEWED = [
    ("fcc", [[3, 0, 0], [0, 3, 0], [0, 0, 3]]),
    ("fcc", [[2, 5, 0], [0, 2, -3], [0, 0, 2]]),
    ("hcp", [[3, 3, 0], [0, 3, 7], [1, 0, 2]]),
    ("triclinic", [[2, -5, 1], [4, 1, 1], [7, 0, 2]]),
    ("rhombohedral", [[2, 6, 0], [0, 2, 0], [0, 0, 1]]),
    ("quartz", [[1, 4, 0], [0, 1, 4], [4, 0, 1]]),
]


@pytest.mark.parametrize(("name", "matrix"), SKEWED)
def test_nearest_images_against_enumeration(name, matrix):
    supercell = make_supercell(make_crystal(name), np.array(matrix))
    crystal, rng = supercell.crystal, np.random.default_rng(4)
    pairs = np.column_stack([rng.integers(0, crystal.n_atoms, (25, 2)), rng.integers(-9, 10, (25, 3))])
    pairs[:5, 2:] = 0
    assert_nearest(supercell, pairs)


@given(supercells(), st.integers(0, 10**6))
@settings(max_examples=40)
def test_nearest_images_in_any_supercell(chosen, seed):
    supercell = make_supercell(*chosen)
    rng = np.random.default_rng(seed)
    n_atoms = supercell.crystal.n_atoms
    assert_nearest(
        supercell, np.column_stack([rng.integers(0, n_atoms, (6, 2)), rng.integers(-4, 5, (6, 3))])
    )


def assert_nearest(supercell: Supercell, pairs: np.ndarray) -> None:
    """Enumerate every lattice point of the supercell that can be within reach of the bond."""
    crystal, box = supercell.crystal, supercell.lattice_vectors
    bonds = (pairs[:, 2:] + crystal.fractional_positions[pairs[:, 0]]) @ crystal.lattice_vectors
    bonds = bonds - crystal.fractional_positions[pairs[:, 1]] @ crystal.lattice_vectors
    folded = bonds @ np.linalg.inv(box)
    folded = (folded - np.rint(folded)) @ box
    # A shorter image differs by at most twice the folded length, which bounds the coefficients.
    reach = 2 * np.linalg.norm(folded, axis=1).max()
    limits = np.floor(reach * np.linalg.norm(np.linalg.inv(box), axis=0)).astype(int) + 1
    steps = np.array(list(product(*[range(-n, n + 1) for n in limits]))) @ box
    steps = steps[np.linalg.norm(steps, axis=1) <= reach + 1e-6]
    lengths = np.linalg.norm(folded[:, None] + steps, axis=-1)
    shortest, n_images = supercell.nearest_images(pairs)
    np.testing.assert_allclose(shortest, lengths.min(axis=1), atol=1e-9)
    np.testing.assert_array_equal(n_images, (lengths < lengths.min(axis=1)[:, None] + 1e-4).sum(axis=1))


def test_three_multiples_are_of_the_conventional_cell():
    supercell = make_supercell(make_crystal("fcc"), np.array([5, 5, 5]))
    assert supercell.n_cells == 500
    np.testing.assert_allclose(supercell.lattice_vectors, 17.6 * np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "matrix", [[2.5, 2, 2], [2, 2], [[1, 0], [0, 1]], [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]]
)
def test_supercell_that_is_not_of_whole_cells_is_refused(matrix):
    with pytest.raises(CrystalError, match="whole numbers"):
        make_supercell(make_crystal("fcc"), np.array(matrix))


def test_singular_supercell_is_refused():
    with pytest.raises(CrystalError, match="singular"):
        make_supercell(make_crystal("fcc"), np.array([3, 0, 3]))


@pytest.mark.parametrize(
    "matrix", [[100_000] * 3, [2**40, 2**40, 2**40], np.diag([10**9, 1, 10**9]).tolist()]
)
def test_supercell_beyond_the_memory_is_refused(matrix):
    with pytest.raises(CrystalError, match=r"primitive cells\.\n.*GiB"):
        make_supercell(make_crystal("fcc"), matrix)
