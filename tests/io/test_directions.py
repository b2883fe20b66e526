import numpy as np
import pytest

from bayestds.crystal.axes import axis_names, direction_names
from bayestds.io.directions import direction_of, letter_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h", (1, 0, 0)),
        ("Qk", (0, 1, 0)),
        ("l-axis", (0, 0, 1)),
        ("[H,0,0]", (1, 0, 0)),
        ("[0, 2K, 0]", (0, 2, 0)),
        ("[H,H,0]", (1, 1, 0)),
        ("[-K,K,0]", (-1, 1, 0)),
        ("(h h -2h)", (1, 1, -2)),
        ("[0,0,0.5*L]", (0, 0, 0.5)),
        ("[H,H,0] (r.l.u.)", (1, 1, 0)),
        ("['H',0,0]", (1, 0, 0)),
        ("[H,K,0]", None),
        ("[0,K,1]", None),
        ("[0,0,0]", None),
        ("DeltaE", None),
        ("Qx", None),
        ("x-axis", None),
        ("(H)", None),
        ("", None),
    ],
)
def test_names_of_axes(name, expected):
    found = direction_of(name)
    assert found is None if expected is None else np.array_equal(found, expected)


def test_letters():
    assert [letter_of(name) for name in ("H", "Qh", "k_axis", "L axis", "x")] == ["h", "h", "k", "l", None]


def test_directions_have_names_that_are_read_back():
    matrix = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 0.5]])
    assert axis_names(matrix) == ("[h,h,0]", "[-k,k,0]", "[0,0,0.5l]")
    assert axis_names(np.eye(3)) == ("h", "k", "l")
    for name, row in zip(direction_names(matrix), matrix, strict=True):
        np.testing.assert_array_equal(direction_of(name), row)
