import itertools

import numpy as np
import pytest
import xarray as xr
from ase.geometry import cell_to_cellpar, cellpar_to_cell

from bayestds.errors import VolumeError
from bayestds.scattering.reindex import from_centres, from_corner, reindex
from bayestds.scattering.slabs import Stored
from bayestds.scattering.volume import make_volume, volume_axes

LATTICE = (3.0, 4.0, 5.0, 80.0, 85.0, 95.0)
AXES = (np.linspace(-1, 0.5, 4), np.linspace(0, 0.2, 3), np.array([2.0, 3.0]))


def at(hkl, vectors):
    """An intensity without symmetry, as a function of the Cartesian scattering vector."""
    scattering_vectors = 2 * np.pi * hkl @ np.linalg.inv(vectors).T
    return 3 + np.sin(scattering_vectors @ [0.31, 0.17, -0.23]) + 0.1 * scattering_vectors[..., 2]


def volume_of(axes, vectors):
    intensity = at(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1), vectors)
    return make_volume(
        *axes,
        intensity,
        sigma=intensity / 9,
        transmission=intensity / 8,
        mask=intensity > 3.5,
        lattice=LATTICE,
        title="t",
    )


MATRICES = [
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    [[0, 1, 0], [1, 0, 0], [0, 0, -1]],
    [[-1, 0, 0], [0, 0, 2], [0, 0.5, 0]],
    [[0, 0, -3], [0, 1, 0], [1 / 3, 0, 0]],
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_intensities_stay_where_they_are_in_space(matrix):
    vectors = cellpar_to_cell(LATTICE)
    found = reindex(volume_of(AXES, vectors), matrix)
    # Basis vectors transform as Miller indices do.
    turned = np.array(matrix) @ vectors
    grid = np.stack(np.meshgrid(*(found[axis].values for axis in "hkl"), indexing="ij"), axis=-1)
    np.testing.assert_allclose(found["intensity"], at(grid, turned), rtol=1e-12)
    np.testing.assert_allclose(found["sigma"], at(grid, turned) / 9, rtol=1e-12)
    np.testing.assert_array_equal(found["transmission"], found["intensity"] / 8)
    np.testing.assert_array_equal(found["mask"], found["intensity"] > 3.5)
    np.testing.assert_allclose(found.attrs["lattice"], cell_to_cellpar(turned), rtol=1e-12)
    assert found.attrs["title"] == "t"


def test_every_permutation_and_sign_is_undone_by_its_inverse():
    volume = volume_of(AXES, cellpar_to_cell(LATTICE))
    for columns, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        matrix = np.eye(3)[list(columns)] * np.array(signs)[:, None]
        xr.testing.assert_identical(reindex(reindex(volume, matrix), matrix.T), volume)


def test_a_volume_without_lattice():
    volume = volume_of(AXES, cellpar_to_cell(LATTICE)).drop_attrs()
    found = reindex(volume, MATRICES[0])
    assert "lattice" not in found.attrs
    assert found["intensity"].shape == (3, 2, 4)


OBLIQUE = [
    [[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]],
    [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
    [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
]


@pytest.mark.parametrize("matrix", OBLIQUE)
def test_voxels_that_leave_the_axes_keep_their_directions(matrix):
    vectors = cellpar_to_cell(LATTICE)
    volume = volume_of(AXES, vectors)
    found = reindex(volume, matrix)
    turned = np.array(matrix) @ vectors
    np.testing.assert_allclose(found.attrs["lattice"], cell_to_cellpar(turned), rtol=1e-9)
    points = volume_axes(found).points()
    np.testing.assert_allclose(found["intensity"], at(points, turned), rtol=1e-9)
    np.testing.assert_allclose(found["sigma"], found["intensity"] / 9, rtol=1e-12)
    back = reindex(found, np.linalg.inv(matrix))
    assert "directions" not in back.attrs
    xr.testing.assert_allclose(back, volume, atol=1e-9)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, np.nan, 0], [0, 0, 1]],
        [[1, 0], [0, 1]],
    ],
)
def test_matrices_that_are_singular_are_refused(matrix):
    with pytest.raises(VolumeError, match=r"here: it cannot be reindexed by 1 .* /") as caught:
        reindex(volume_of(AXES, cellpar_to_cell(LATTICE)), matrix, "here")
    assert "independent" in caught.value.reason


def stored(shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return Stored(values.__getitem__, values.shape, values.dtype), values


def all_of(arguments, key="intensity"):
    return arguments[key].read((slice(None),) * 3)


def test_rounding_does_not_make_axes_oblique():
    array, values = stored((2, 3, 4))
    steps = [[0, 0, 2.0], [-1, 1e-8, 0], [0, 0.5, 1e-8]]
    found, order = from_corner(np.array([1.0, 2.0, 3.0]), steps, {"intensity": array}, "v")
    assert order == ["l", "h", "k"]
    assert "directions" not in found
    np.testing.assert_allclose(found["h"], [-1, 0, 1])
    np.testing.assert_allclose(found["k"], [2, 2.5, 3, 3.5])
    np.testing.assert_allclose(found["l"], [3, 5])
    np.testing.assert_array_equal(all_of(found), values.transpose(1, 2, 0)[::-1])


def test_an_axis_of_one_point_runs_along_what_is_left():
    array, _ = stored((2, 1, 4))
    steps = [[0, 0, 2.0], [0, 0, 0], [0, 0.5, 0]]
    found, order = from_corner(np.array([1.0, 2.0, 3.0]), steps, {"intensity": array}, "v")
    assert order == ["l", "h", "k"]
    assert found["h"].tolist() == [1.0]
    array, _ = stored((2, 3, 4))
    with pytest.raises(VolumeError, match=r"\(0 0 0\)"):
        from_corner(np.zeros(3), steps, {"intensity": array}, "v")


def test_a_single_layer_on_oblique_axes():
    array, values = stored((3, 1, 4))
    steps = np.array([[0.5, 0.5, 0], [0, 0, 0], [-0.5, 0.5, 0]])
    corner = np.array([1.0, 2.0, 3.0])
    found, _ = from_corner(corner, steps, {"intensity": array}, "v")
    volume = make_volume(**found)
    axes = volume_axes(volume)
    for place in np.ndindex(values.shape):
        expected = corner + np.array(place) @ steps
        i, j, k = np.rint(axes.places(expected)).astype(int)
        np.testing.assert_allclose(axes.at((i, j, k)), expected, atol=1e-12)
        assert volume["intensity"].values[i, j, k] == values[place]


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_corner_and_steps_in_any_directions(signs):
    array, values = stored((2, 3, 4))
    steps = np.array([[1, 1, 0], [0, 0, 0.5], [-0.25, 0.25, 0]]) * np.array(signs)[:, None]
    corner = np.array([1.0, -2.0, 0.5])
    found, _ = from_corner(corner, steps, {"intensity": array}, "v")
    volume = make_volume(**found)
    axes = volume_axes(volume)
    for place in np.ndindex(values.shape):
        index = np.rint(axes.places(corner + np.array(place) @ steps)).astype(int)
        assert volume["intensity"].values[tuple(index)] == values[place]


def test_axes_that_decrease_are_turned_with_their_arrays():
    array, values = stored((2, 4, 3))  # l, h, k
    centres = [np.array([1.0, -1.0]), np.array([3.0, 2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0])]
    directions = np.eye(3)[[2, 0, 1]]
    found, order = from_centres(centres, directions, {"intensity": array}, "v")
    assert order == ["l", "h", "k"]
    assert found["h"].tolist() == [0, 1, 2, 3]
    assert found["l"].tolist() == [-1, 1]
    assert all_of(found)[3, 2, 1] == values[0, 0, 2]
    assert not np.signbit(found["h"]).any()
    plane, _ = stored((4, 3))
    with pytest.raises(VolumeError, match="v: sigma has 2 dimensions"):
        from_centres(centres, directions, {"intensity": array, "sigma": plane}, "v")
