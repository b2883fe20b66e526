import numpy as np
import pytest

from bayestds.crystal.axes import GridAxes, spacing

COORDINATES = (np.linspace(-1, 1, 5), np.linspace(0, 3, 4), np.array([0.5]))
OBLIQUE = GridAxes(COORDINATES, np.array([[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.5, 2.0]]))


@pytest.mark.parametrize("axes", [GridAxes(COORDINATES), OBLIQUE])
def test_points_are_coordinates_along_directions(axes):
    points = axes.points()
    assert points.shape == (*axes.shape, 3)
    expected = sum(x * row for x, row in zip((-0.5, 2.0, 0.5), axes.directions, strict=True))
    np.testing.assert_allclose(points[1, 2, 0], expected)
    np.testing.assert_allclose(axes.at((1, 2, 0)), expected)
    np.testing.assert_allclose(points[2, 1, 0] - points[1, 1, 0], axes.steps[0])
    np.testing.assert_allclose(axes.places(points), np.moveaxis(np.indices(axes.shape), 0, -1), atol=1e-12)
    np.testing.assert_array_equal(axes.part((slice(1, 3), slice(None), slice(None))).points(), points[1:3])


@pytest.mark.parametrize("axes", [GridAxes(COORDINATES), OBLIQUE])
def test_sums_are_linear_in_hkl(axes):
    factors = np.array([0.3, -2.0, 0.7])
    sums = np.broadcast_to(axes.sums(factors), axes.shape)
    np.testing.assert_allclose(sums, axes.points() @ factors)


def test_axes_that_do_not_count_are_left_out():
    assert GridAxes(COORDINATES).sums(np.array([0.0, 1.0, 0.0])).shape == (1, 4, 1)


def test_spacing():
    assert spacing(np.array([1.0])) == 1.0
    assert spacing(np.linspace(0, 1, 5)) == 0.25
