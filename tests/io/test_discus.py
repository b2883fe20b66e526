import h5py
import numpy as np
import pytest
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.io import read_volume, write_volume

# values[h, k, l] with h = 0..3, k = 0..2, l = 0..1: the value spells the indices.
VALUES = np.array(
    [[[100 * h + 10 * k + l for l in range(2)] for k in range(3)] for h in range(4)],  # noqa: E741
    float,
)
CORNER = np.array([-1.0, 0.25, 2.0])
STEPS = np.array([0.5, 0.125, 0.75])


def unified(path, axes=(1, 2, 3), signs=(1, 1, 1), **changes):
    """A file as unified_write_data makes it; abscissa, ordinate, top axis along `axes` (h, k, l are 1, 2, 3).

    Fortran holds vector(component, axis) and values(abscissa, ordinate, top), and transposes both before it
    writes them. HDF5 reverses the dimensions of Fortran once more: h5py sees the subscripts as they are here.
    """
    order = [axis - 1 for axis in axes]
    values = VALUES.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    vector, corner = np.zeros((3, 3)), CORNER.copy()
    for number, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        vector[axis, number] = sign * STEPS[axis]
        if sign < 0:
            corner[axis] += STEPS[axis] * (VALUES.shape[axis] - 1)
    content = {
        "unit_cell_lengths": [4.0, 5.0, 6.0],
        "unit_cell_angles": [80.0, 90.0, 100.0],
        "symmetry_space_group_name_H-M": b"P-1" + 29 * b" ",
        "space_group_origin": np.array([1], dtype=np.int32),
        "space_group_symop_operation_mat": np.eye(3, 4)[:, :, None],
        "data_type_experiment": b"experimental",
        "data_type_style": b"single_diffraction  ",
        "data_type_content": b"intensity   ",
        "data_type_reciprocal": b"reciprocal",
        "data_type_with_bragg": b"bragg_subtracted",
        "data_radiation": b"xray",
        "data_dimension": np.array(values.shape, dtype=np.int32),
        "data_axes": np.array(axes, dtype=np.int32),
        "data_corner": corner,
        "data_increment_vector": vector,
        "data_values": values,
        "audit_conform_dict_name": b"Disorder unified data",
    } | changes
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            if value is not None:
                # Text of Fortran has a fixed length.
                file[f"entry/data/{key}"] = np.bytes_(value) if isinstance(value, bytes) else value
    return path


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_axes_in_any_order_and_either_sense(tmp_path, axes, signs):
    volume = read_volume(unified(tmp_path / "v.h5", axes, signs))
    np.testing.assert_array_equal(volume["intensity"], VALUES)
    np.testing.assert_allclose(volume["h"], [-1, -0.5, 0, 0.5])
    np.testing.assert_allclose(volume["k"], [0.25, 0.375, 0.5])
    np.testing.assert_allclose(volume["l"], [2, 2.75])
    assert volume.attrs == {"lattice": (4.0, 5.0, 6.0, 80.0, 90.0, 100.0), "intensity_units": "arbitrary"}
    assert volume.encoding["order"] == " ".join("hkl"[axis - 1] for axis in axes)
    assert volume.encoding["format"] == "discus"


def test_an_axis_of_one_point_may_have_no_increment(tmp_path):
    vector = np.zeros((3, 3))
    vector[2, 0], vector[1, 1] = 0.75, 0.125  # abscissa along l, ordinate along k
    changes = {
        "data_increment_vector": vector,
        "data_values": VALUES[:1].transpose(),
        "data_dimension": [2, 3, 1],
    }
    volume = read_volume(unified(tmp_path / "v.h5", (3, 2, 1), **changes))
    np.testing.assert_array_equal(volume["intensity"], VALUES[:1])
    np.testing.assert_array_equal(volume["h"], [-1])


def test_what_we_write_has_the_datasets_that_discus_reads(tmp_path, volume):
    write_volume(volume, tmp_path / "v.discus.h5")
    with h5py.File(tmp_path / "v.discus.h5") as file:
        data = file["entry/data"]
        assert data["data_values"].shape == tuple(data["data_dimension"]) == (4, 3, 2)
        np.testing.assert_allclose(data["data_increment_vector"], np.diag([0.5, 0.1, 1.0]))
        np.testing.assert_array_equal(data["data_corner"], [-1, 0, 2])
        np.testing.assert_array_equal(data["unit_cell_angles"], [80, 85, 95])
        # What unified_read_data insists on.
        for key in ("symmetry_space_group_name_H-M", "symmetry_space_group_abc", "data_type_experiment",
                    "data_type_style", "data_type_content", "data_type_reciprocal", "data_type_with_bragg",
                    "data_type_symmetrized", "data_radiation", "data_rad_symbol"):  # fmt: skip
            assert isinstance(data[key].asstr()[()], str)
        assert [data[key].shape for key in ("space_group_origin", "space_group_symop_number")] == [(1,), (1,)]
        assert data["space_group_symop_operation_mat"].shape == (3, 4, 1)
        assert data["data_rad_length"].shape == data["data_axes"].shape == (3,)


def test_writing_needs_a_cell(tmp_path, volume):
    del volume.attrs["lattice"]
    with pytest.raises(VolumeError, match="no lattice"):
        write_volume(volume, tmp_path / "v", "discus")


def test_a_single_plane(tmp_path, volume):
    plane = volume.isel(k=[1])
    write_volume(plane, tmp_path / "v", "discus")
    xr.testing.assert_allclose(read_volume(tmp_path / "v"), plane, rtol=1e-15, atol=1e-15)


REVERSED = VALUES.transpose().copy()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_type_reciprocal": "patterson"}, "data_type_reciprocal is 'patterson'"),
        ({"data_type_content": "amplitude"}, "data_type_content is 'amplitude'"),
        ({"data_type_number": "complex"}, "data_type_number is 'complex'"),
        ({"data_type_axes": "Q"}, "data_type_axes is 'Q'"),
        ({"data_type_style": "powder_diffraction"}, "powder_diffraction"),
        ({"data_values": REVERSED}, "the shape (2, 3, 4), data_dimension says (4, 3, 2)"),
        ({"data_values": VALUES[0]}, "2 dimensions"),
        ({"data_values": np.full(VALUES.shape, np.nan)}, "every intensity is NaN"),
        ({"data_values": np.zeros((0, 3, 2)), "data_dimension": [0, 3, 2]}, "axis h is empty"),
        ({"data_values": h5py.ExternalLink("gone.h5", "/v")}, "gone.h5"),
        ({"data_values": VALUES.astype("S3")}, "Real numbers"),
        ({"data_dimension": None}, "'data_dimension' is missing"),
        ({"data_corner": [0.0, 0.0]}, "3 are expected"),
        ({"data_corner": [np.nan, 0.0, 0.0]}, "axis h is empty or not finite"),
        ({"data_increment_vector": np.zeros((3, 3))}, "(0 0 0)"),
        ({"data_increment_vector": np.ones((3, 3))}, "(1 1 1)"),
        ({"data_increment_vector": np.diag([1.0, np.nan, 1.0])}, "(0 nan 0)"),
        ({"data_increment_vector": np.eye(3)[:, [0, 0, 1]]}, "span no volume"),
        ({"data_increment_vector": np.eye(2)}, "shape (2, 2)"),
        ({"unit_cell_lengths": [4.0, np.nan, 6.0]}, "Lengths must be positive"),
        ({"unit_cell_angles": None}, "'unit_cell_angles' is missing"),
    ],
)
def test_malformed_files_are_refused(tmp_path, refused, changes, words):
    refused(unified(tmp_path / "bad.h5", **changes), words)


@pytest.mark.parametrize("unit", [b"basecell_fractional", b"unknown", None])
def test_indices_of_the_unit_cell(tmp_path, unit):
    assert read_volume(unified(tmp_path / "a.h5", coordinate_unit=unit)).attrs["lattice"][0] == 4.0


@pytest.mark.parametrize("unit", [b"supercell_fractional", b"inverse_angstroem"])
def test_indices_of_another_unit_are_refused(tmp_path, refused, unit):
    refused(unified(tmp_path / "a.h5", coordinate_unit=unit), unit.decode(), "basecell_fractional")
