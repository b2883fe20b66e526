import h5py
import numpy as np
import pytest

from bayestds.io import read_volume

DATA = np.arange(24.0, dtype=np.float32).reshape(4, 3, 2) + 1
CELL = {"a": 3.0, "b": 4.0, "c": 5.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}


def written(path, matrix=((0.01, 0.0), (0.0, 0.02)), cell=CELL):
    with h5py.File(path, "w") as file:
        file["data"] = DATA
        file["H"], file["K"], file["L"] = np.linspace(-1, 0.5, 4), np.linspace(0, 0.2, 3), [3.0, 3.5]
        file.attrs.update({f"cell_{key}": value for key, value in cell.items()} | {"plane_type": "HK"})
        if matrix is not None:
            file["M_inv"] = matrix
    return path


@pytest.mark.parametrize("matrix", [None, ((0.01, 1e-7), (-1e-7, 0.02))])
def test_a_volume(tmp_path, matrix):
    volume = read_volume(written(tmp_path / "a.h5", matrix))
    assert volume.encoding["format"] == "rspace3d"
    np.testing.assert_array_equal(volume["intensity"], DATA)
    np.testing.assert_allclose(volume["h"], np.linspace(-1, 0.5, 4))
    assert volume.attrs["lattice"] == tuple(CELL.values())


def test_without_a_cell(tmp_path):
    volume = read_volume(written(tmp_path / "a.h5", cell={}))
    assert "lattice" not in volume.attrs
    assert any("states no lattice" in note for note in volume.encoding["notes"])


@pytest.mark.parametrize("matrix", [((0.01, 0.005), (0.0, 0.02)), np.eye(3), np.zeros((2, 2))])
def test_sheared_planes_are_refused(tmp_path, refused, matrix):
    refused(written(tmp_path / "a.h5", matrix), "sheared")


@pytest.mark.parametrize(("plane", "order"), [("HK", (0, 1, 2)), ("HL", (0, 2, 1)), ("KL", (2, 0, 1))])
def test_axes_are_those_of_the_layers(tmp_path, plane, order):
    path = written(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.attrs["plane_type"] = plane
    volume = read_volume(path)
    # Dimensions along h, k, l; H, K and L are only names of the three.
    np.testing.assert_array_equal(volume["intensity"], DATA.transpose(order))
