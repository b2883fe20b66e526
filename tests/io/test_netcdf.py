import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr

from bayestds.io import read_volume, write_volume


def test_everything_survives(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nc")
    xr.testing.assert_identical(read_volume(tmp_path / "v.nc"), volume)


def test_xarray_reads_it(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nc")
    dataset = xr.load_dataset(tmp_path / "v.nc", engine="h5netcdf")
    np.testing.assert_array_equal(dataset["intensity"], volume["intensity"])
    assert dataset["h"].attrs["units"] == "r.l.u."


def test_dimensions_are_found_by_name(tmp_path, volume):
    volume.transpose("l", "h", "k").to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
    xr.testing.assert_identical(read_volume(tmp_path / "v.nc"), volume)


@pytest.mark.parametrize("axis", ["h", "k", "l"])
def test_a_plane_that_xarray_took_out_of_a_volume(tmp_path, volume, axis):
    volume.isel({axis: 1}).to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
    xr.testing.assert_identical(read_volume(tmp_path / "v.nc"), volume.isel({axis: [1]}))


def test_other_dimensions_are_refused(tmp_path, volume, refused):
    strange = volume[["intensity"]].rename_dims(l="x")
    strange.to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
    refused(tmp_path / "v.nc", "intensity has the dimensions ('h', 'k', 'x')")


@pytest.mark.parametrize("name", ["weight", "num_events"])
def test_nothing_is_measured_where_a_weight_is_zero(tmp_path, volume, name):
    weight = xr.ones_like(volume["intensity"]).fillna(1.0)
    weight[2] = 0
    volume.assign({name: weight}).transpose("k", "l", "h").to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
    found = read_volume(tmp_path / "v.nc")
    expected = volume.assign(intensity=volume["intensity"].where(weight > 0))
    xr.testing.assert_identical(found["intensity"], expected["intensity"])
    assert not found.encoding["ignored"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.create_group("sigma"), "'sigma' in / is not a dataset"),
        (lambda file: file.create_dataset("sigma", data="text"), "Real numbers"),
        (
            lambda file: file.create_dataset("sigma", data=np.ones((4, 3, 2))),
            "the dimensions of 'sigma' have no names",
        ),
    ],
)
def test_variables_that_are_none_are_refused(tmp_path, volume, refused, change, words):
    write_volume(volume.drop_vars("sigma"), tmp_path / "v.nc")
    with h5py.File(tmp_path / "v.nc", "a") as file:
        change(file)
    refused(tmp_path / "v.nc", words)


def test_other_variables_are_not_even_loaded(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nc")
    with h5netcdf.File(tmp_path / "v.nc", "a") as file:
        file.dimensions["x"] = file.dimensions["y"] = 10**6
        file.create_variable("huge", ("x", "y"), "f8", chunks=(10, 10))
        file.dimensions["z"] = 10**15
        file.create_variable("z", ("z",), "f8", chunks=(10,))
    xr.testing.assert_identical(read_volume(tmp_path / "v.nc"), volume)


def test_values_that_make_no_volume_are_refused(tmp_path, volume, refused):
    path = tmp_path / "v.nc"
    (volume[["intensity"]] * np.nan).to_netcdf(path, engine="h5netcdf")
    refused(path, "every intensity is NaN")
    volume.assign_coords(k=[0.0, 0.1, 0.4]).to_netcdf(path, engine="h5netcdf")
    refused(path, "axis k is not uniform")
    volume.assign_attrs(lattice=(1.0, 1.0, 1.0, 10.0, 10.0, 90.0)).to_netcdf(path, engine="h5netcdf")
    refused(path, "volume is not positive")


def test_broken_inner_structure_is_refused(tmp_path, volume, refused):
    write_volume(volume, tmp_path / "v.nc")
    with h5py.File(tmp_path / "v.nc", "a") as file:
        file["k"].attrs["_Netcdf4Coordinates"] = [0, 0, 0]
    refused(tmp_path / "v.nc", "cannot be understood")


def test_a_weight_has_dimensions_of_its_own(tmp_path, volume):
    weight = xr.ones_like(volume["intensity"]).fillna(1.0)
    weight[:, 1] = 0
    made = volume.assign(weight=weight.transpose("l", "k", "h"))
    made.to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
    found = read_volume(tmp_path / "v.nc")["intensity"]
    xr.testing.assert_identical(found, volume["intensity"].where(weight > 0))


def test_numbers_of_voxels_are_no_axes(tmp_path, volume, refused):
    volume[["intensity"]].drop_vars(["h", "k", "l"]).to_netcdf(tmp_path / "v.nc", engine="h5netcdf")
    refused(tmp_path / "v.nc", "has no values")
