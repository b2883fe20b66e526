import h5py
import numpy as np
import pytest
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import read_volume, write_volume

CELL = [4.0, 5.0, 6.0, 80.0, 90.0, 100.0]
DATA = np.arange(24.0).reshape(2, 3, 4)
METRIC = np.array(
    [
        [16.0, 20 * np.cos(np.radians(100)), 0.0],
        [20 * np.cos(np.radians(100)), 25.0, 30 * np.cos(np.radians(80))],
        [0.0, 30 * np.cos(np.radians(80)), 36.0],
    ]
)

YELL_1_0 = {
    "format": "Yell 1.0",
    "data": DATA,
    "lower_limits": [-1.0, 0.0, 2.0],
    "step_sizes": [0.5, 0.25, 0.1],
    "unit_cell": CELL,
    "is_direct": False,
}


def store(path, content):
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            if value is not None:
                file[key] = value


def test_yell_1_0(tmp_path):
    data = DATA.copy()
    data[0, 1, 2] = np.nan
    store(tmp_path / "v.h5", YELL_1_0 | {"data": data.astype(np.float32), "metric_tensor": METRIC})
    volume = read_volume(tmp_path / "v.h5")
    np.testing.assert_array_equal(volume["intensity"], data)
    np.testing.assert_allclose(volume["h"], [-1, -0.5])
    np.testing.assert_allclose(volume["k"], [0, 0.25, 0.5])
    np.testing.assert_allclose(volume["l"], [2, 2.1, 2.2, 2.3])
    assert volume.attrs == {"lattice": tuple(CELL), "intensity_units": "arbitrary"}
    assert list(volume.data_vars) == ["intensity"]


def test_yell_0_9_divides_sums_by_numbers_of_pixels(tmp_path):
    pixels = np.ones((2, 3, 4), int)
    pixels[1, 2, 3], pixels[0, 0, 0] = 4, 0
    content = {key: value for key, value in YELL_1_0.items() if key != "data"} | {"format": b"Yell 0.9"}
    store(tmp_path / "v.h5", content | {"rebinned_data": DATA, "number_of_pixels_rebinned": pixels})
    volume = read_volume(tmp_path / "v.h5")
    expected = DATA.copy()
    expected[1, 2, 3], expected[0, 0, 0] = DATA[1, 2, 3] / 4, np.nan
    np.testing.assert_array_equal(volume["intensity"], expected)
    # A number of pixels is not a number of photons.
    assert "counts" not in volume


def test_old_meerkat_files_are_symmetric_about_zero(tmp_path):
    content = {
        "rebinned_data": np.arange(45.0).reshape(3, 3, 5),
        "number_of_pixels_rebinned": np.full((3, 3, 5), 2),
        "maxind": [2.0, 1.0, 4.0],
        "step_size": [2.0, 1.0, 2.0],
        "number_of_pixels": [3, 3, 5],
        "unit_cell": CELL,
    }
    store(tmp_path / "v.h5", content)
    volume = read_volume(tmp_path / "v.h5")
    np.testing.assert_array_equal(volume["l"], [-4, -2, 0, 2, 4])
    np.testing.assert_array_equal(volume["h"], [-2, 0, 2])
    assert volume["intensity"].sel(h=2, k=0, l=-4) == content["rebinned_data"][2, 1, 0] / 2


def test_the_step_vectors_of_discus_say_which_axis_is_which(tmp_path):
    # data[abscissa along -l, ordinate along h, top axis along k]; lower limits are its first hkl.
    vectors = {"step_sizes_abs": [0, 0, -0.1], "step_sizes_ord": [0.5, 0, 0], "step_sizes_top": [0, 0.25, 0]}
    content = YELL_1_0 | vectors | {"step_sizes": [0.1, 0.5, 0.25], "lower_limits": [-1.0, 0.0, 2.3]}
    store(tmp_path / "v.h5", content | {"data": DATA.transpose(2, 0, 1)[::-1].copy(), "is_direct": 0})
    volume = read_volume(tmp_path / "v.h5")
    np.testing.assert_array_equal(volume["intensity"], DATA)
    np.testing.assert_allclose(volume["h"], [-1, -0.5])
    np.testing.assert_allclose(volume["k"], [0, 0.25, 0.5])
    np.testing.assert_allclose(volume["l"], [2, 2.1, 2.2, 2.3])
    assert volume.encoding["order"] == "l h k"


def test_what_we_write_is_yell_1_0(tmp_path, volume):
    write_volume(volume, tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5") as file:
        assert file["format"].asstr()[()] == "Yell 1.0"
        assert file["data"].shape == (4, 3, 2)
        np.testing.assert_array_equal(file["data"], volume["intensity"])
        np.testing.assert_allclose(file["lower_limits"], [-1, 0, 2])
        np.testing.assert_allclose(file["step_sizes"], [0.5, 0.1, 1])
        np.testing.assert_array_equal(file["unit_cell"], volume.attrs["lattice"])
        assert not file["is_direct"][()]


def test_writing_needs_a_cell(tmp_path, volume):
    del volume.attrs["lattice"]
    with pytest.raises(VolumeError, match="no lattice"):
        write_volume(volume, tmp_path / "v.h5")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_direct": True}, "direct space"),
        ({"is_direct": None}, "'is_direct' is missing"),
        ({"format": "Yell 2.0"}, "Known are Yell 1.0 and Yell 0.9"),
        ({"data": None}, "'data' is missing"),
        ({"lower_limits": None}, "'lower_limits' is missing"),
        ({"step_sizes": None}, "'step_sizes' is missing"),
        ({"unit_cell": None}, "'unit_cell' is missing"),
        ({"format": "Yell 0.9"}, "'rebinned_data' is missing"),
        ({"data": DATA[0]}, "2 dimensions"),
        ({"data": DATA + 1j}, "complex"),
        ({"data": np.zeros((2, 0, 4))}, "axis k is empty"),
        ({"unit_cell": [4.0, np.nan, 6.0, 90.0, 90.0, 90.0]}, "Lengths must be positive"),
        ({"data": np.full((2, 3, 4), b"x")}, "Real numbers"),
        ({"data": np.full((2, 3, 4), np.nan)}, "every intensity is NaN"),
        ({"data": np.full((2, 3, 4), np.inf)}, "infinite"),
        ({"data": h5py.Empty("f8")}, "Real numbers"),
        ({"data": h5py.SoftLink("/nowhere")}, "leads nowhere"),
        ({"data": h5py.ExternalLink("gone.h5", "/data")}, "gone.h5"),
        ({"step_sizes": [0.1, 0.0, 0.1]}, "must be positive"),
        ({"step_sizes": [0.1, 0.1]}, "3 are expected"),
        ({"step_sizes_abs": [0.1, 0.1, 0.0]}, "'step_sizes_ord' is missing"),
        ({f"step_sizes_{axis}": [0.1, 0.1, 0.0] for axis in ("abs", "ord", "top")}, "(0.1 0.1 0)"),
        ({"lower_limits": [0.0, np.nan, 0.0]}, "axis k is empty or not finite"),
        ({"unit_cell": [4.0, 5.0, 6.0]}, "6 are expected"),
        ({"unit_cell": [4.0, 5.0, -6.0, 90.0, 90.0, 90.0]}, "Lengths must be positive"),
        ({"metric_tensor": np.eye(3)}, "orthonormal"),
        ({"metric_tensor": METRIC[::-1, ::-1]}, "does not belong to unit_cell"),
    ],
)
def test_malformed_files_are_refused(tmp_path, refused, changes, words):
    store(tmp_path / "bad.h5", YELL_1_0 | changes)
    refused(tmp_path / "bad.h5", words)


def test_sums_and_numbers_of_pixels_must_agree_in_shape(tmp_path, refused):
    content = YELL_1_0 | {"format": "Yell 0.9", "rebinned_data": DATA}
    store(tmp_path / "bad.h5", content | {"number_of_pixels_rebinned": np.ones((2, 3, 5))})
    refused(tmp_path / "bad.h5", "(2, 3, 5)")


@pytest.mark.parametrize(
    ("flag", "direct"), [(256, False), (257, True), (0, False), (1, True), (-256, False)]
)
def test_only_the_low_byte_of_the_flag_counts(tmp_path, volume, refused, flag, direct):
    """C++ writers give HDF5 the address of a boolean of one byte as that of an integer of four."""
    path = tmp_path / "a.h5"
    write_volume(volume, path)
    with h5py.File(path, "a") as file:
        del file["is_direct"]
        file["is_direct"] = np.int32(flag)
    if direct:
        refused(path, "direct space")
    else:
        xr.testing.assert_allclose(read_volume(path), volume)
