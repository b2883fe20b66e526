import itertools

import numpy as np
import pytest
import xarray as xr
from ase.geometry import cell_to_cellpar, cellpar_to_cell

from bayestds.errors import VolumeError
from bayestds.scattering.reindex import onto_axes, order_of_axes, reindex
from bayestds.scattering.slabs import Stored
from bayestds.scattering.volume import make_volume

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


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, np.nan, 0], [0, 0, 1]],
        [[1, 0], [0, 1]],
    ],
)
def test_matrices_that_do_not_keep_the_grid_are_refused(matrix):
    with pytest.raises(VolumeError, match=r"here: it cannot be reindexed by 1 .* /") as caught:
        reindex(volume_of(AXES, cellpar_to_cell(LATTICE)), matrix, "here")
    assert "interpolation" in caught.value.reason


def test_the_order_of_axes_tolerates_rounding_only():
    order, factors = order_of_axes([[0, 0, 2.0], [-1, 1e-8, 0], [0, 0.5, 1e-8]], (2, 3, 4), "v")
    assert order == (1, 2, 0)
    np.testing.assert_array_equal(factors, [-1, 0.5, 2])
    with pytest.raises(VolumeError, match="run along"):
        order_of_axes([[0, 0, 2.0], [-1, 1e-4, 0], [0, 0.5, 0]], (2, 3, 4), "v")


def test_an_axis_of_one_point_runs_along_what_is_left():
    order, factors = order_of_axes([[0, 0, 2.0], [0, 0, 0], [0, 0.5, 0]], (2, 1, 4), "v")
    assert order == (1, 2, 0)
    np.testing.assert_array_equal(factors, [1, 0.5, 2])
    with pytest.raises(VolumeError, match=r"\(0 0 0\)"):
        order_of_axes([[0, 0, 2.0], [0, 0, 0], [0, 0.5, 0]], (2, 3, 4), "v")


def test_axes_that_decrease_are_turned_with_their_arrays():
    values = np.arange(24.0).reshape(2, 4, 3)  # l, h, k
    axes = [np.array([3.0, 2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0]), np.array([1.0, -1.0])]
    stored = Stored(values.__getitem__, values.shape, values.dtype)
    turned = onto_axes(axes, {"intensity": stored}, (1, 2, 0), "v")
    assert turned["h"].tolist() == [0, 1, 2, 3]
    assert turned["l"].tolist() == [-1, 1]
    assert turned["intensity"].read((slice(None),) * 3)[3, 2, 1] == values[0, 0, 2]
    assert not np.signbit(turned["h"]).any()
    plane = Stored(values[0].__getitem__, values[0].shape, values.dtype)
    with pytest.raises(VolumeError, match="v: sigma has 2 dimensions"):
        onto_axes(axes, {"intensity": stored, "sigma": plane}, (1, 2, 0), "v")
