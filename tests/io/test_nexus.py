from pathlib import Path

import h5py
import nexusformat.nexus as nx
import numpy as np
import pytest
import xarray as xr

from bayestds.io import read_volume, write_volume

# data[l, k, h] with h = 0..3, k = 0..2, l = 0..1: the value spells the indices.
DATA = np.array([[[100 * h + 10 * k + l for h in range(4)] for k in range(3)] for l in range(2)], float)  # noqa: E741
AXES = {"Qh": np.linspace(-1, 0.5, 4), "Qk": np.linspace(0, 1, 3), "Ql": np.array([3.0, 5.0])}
CELL = {"a": 3.0, "b": 4.0, "c": 5.0, "alpha": 80.0, "beta": 85.0, "gamma": 95.0}


def group(parent, name, nx_class):
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    return made


def transform(entry, name, data, order=("Ql", "Qk", "Qh")):
    made = group(entry, name, "NXdata")
    made.attrs["signal"] = "data"
    made.attrs["axes"] = list(order)
    for label, values in AXES.items():
        made[label] = values
    made["data"] = data
    return made


@pytest.fixture
def nxrefine(tmp_path):
    """A file as NXrefine writes it: data in other files, per-rotation sums, a combined transform."""
    weights = np.full(DATA.shape, 2.0)
    weights[1, 2, 3], weights[0, 1, 2] = 0.0, -1.0
    with h5py.File(tmp_path / "f1_transform.nxs", "w") as file:
        file["entry/data/v"], file["entry/data/n"] = 2 * DATA, weights
    with h5py.File(tmp_path / "transform.nxs", "w") as file:
        file["entry/data/v"] = DATA + 0.5
    path = tmp_path / "scan.nxs"
    with h5py.File(path, "w") as file:
        entry = group(file, "entry", "NXentry")
        sample = group(entry, "sample", "NXsample")
        for key, value in CELL.items():
            sample[f"unitcell_{key}"] = value
        sample["temperature"] = 150.0
        transform(entry, "transform", h5py.ExternalLink("transform.nxs", "/entry/data/v"))
        rotation = group(file, "f1", "NXentry")
        rotation["sample"] = h5py.SoftLink("/entry/sample")
        sums = transform(rotation, "transform", h5py.ExternalLink("f1_transform.nxs", "/entry/data/v"))
        sums["weights"] = h5py.ExternalLink("f1_transform.nxs", "/entry/data/n")
    return path


def test_the_combined_transform_is_read_as_it_is(nxrefine):
    volume = read_volume(nxrefine)
    np.testing.assert_array_equal(volume["intensity"], DATA.transpose() + 0.5)
    assert volume.attrs == {
        "intensity_units": "arbitrary",
        "lattice": tuple(CELL.values()),
        "temperature": 150.0,
    }


def test_h_k_l_come_from_the_names_of_the_axes(nxrefine):
    volume = read_volume(nxrefine)
    assert volume["intensity"].sel(h=0.5, k=0.5, l=3.0) == 310.5
    assert volume["intensity"].sel(h=-1.0, k=1.0, l=5.0) == 21.5


def test_a_rotation_is_a_sum_to_divide_by_its_weights(nxrefine):
    with h5py.File(nxrefine, "a") as file:
        file.attrs["default"] = "f1"
        file["f1"].attrs["default"] = "transform"
    volume = read_volume(nxrefine)
    expected = DATA.transpose().copy()
    expected[3, 2, 1] = expected[2, 1, 0] = np.nan
    np.testing.assert_array_equal(volume["intensity"], expected)
    assert volume.attrs["temperature"] == 150.0


def test_errors_of_a_sum_are_divided_too(nxrefine):
    with h5py.File(nxrefine, "a") as file:
        del file["entry/transform"]
        file["f1/transform/data_errors"] = np.sqrt(2 * DATA)
    volume = read_volume(nxrefine)
    assert volume["sigma"].sel(h=0.5, k=0.5, l=3.0) == np.sqrt(620.0) / 2
    assert np.isnan(volume["sigma"][3, 2, 1])


def test_the_window_of_a_symmetrised_transform_is_not_applied(nxrefine):
    with h5py.File(nxrefine, "a") as file:
        transform(file["entry"], "symm_transform", DATA)["data_weights"] = np.full(DATA.shape, 3.0)
        file.attrs["default"] = "entry"
        file["entry"].attrs["default"] = "symm_transform"
    np.testing.assert_array_equal(read_volume(nxrefine)["intensity"], DATA.transpose())


def test_broken_links_that_are_not_needed_do_no_harm(nxrefine):
    with h5py.File(nxrefine, "a") as file:
        file["f2"] = h5py.ExternalLink("gone.nxs", "/f2")
        file["entry/pdf"] = h5py.SoftLink("/nowhere")
        file["f1/transform/broken"] = h5py.SoftLink("/nowhere")
    assert read_volume(nxrefine)["intensity"].sizes == {"h": 4, "k": 3, "l": 2}


@pytest.mark.parametrize(
    "axes", [["k", "l", "h"], np.array([b"Qk", b"Ql", b"Qh"]), "Qk:Ql:Qh", "[Qk,Ql,Qh]", b"Qk, Ql, Qh"]
)
def test_any_order_and_spelling_of_axes(tmp_path, axes):
    with h5py.File(tmp_path / "v.nxs", "w") as file:
        made = transform(group(file, "anything", "NXentry"), "volume", DATA.transpose(1, 0, 2))
        made.attrs["axes"] = axes
        for label in AXES:
            made[label[1]] = made[label]
    np.testing.assert_array_equal(read_volume(tmp_path / "v.nxs")["intensity"], DATA.transpose())


@pytest.mark.parametrize(
    "cell",
    [
        {"unit_cell": list(CELL.values())},
        {"unit_cell": [list(CELL.values())]},
        {"unit_cell_abc": [3.0, 4.0, 5.0], "unit_cell_alphabetagamma": [80.0, 85.0, 95.0]},
    ],
)
def test_the_cell_may_be_written_as_the_nexus_definition_says(nxrefine, cell):
    with h5py.File(nxrefine, "a") as file:
        sample = file["entry/sample"]
        for key in CELL:
            del sample[f"unitcell_{key}"]
        for key, value in cell.items():
            sample[key] = value
    assert read_volume(nxrefine).attrs["lattice"] == tuple(CELL.values())


def test_a_file_without_sample_has_no_lattice(nxrefine):
    with h5py.File(nxrefine, "a") as file:
        del file["entry/sample"]
    assert read_volume(nxrefine).attrs == {"intensity_units": "arbitrary"}


def test_everything_survives(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nxs")
    xr.testing.assert_identical(read_volume(tmp_path / "v.nxs"), volume)


def test_nexusformat_reads_what_we_write(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nxs")
    root = nx.nxload(tmp_path / "v.nxs")
    data = root.get_default()
    assert isinstance(data, nx.NXdata)
    assert data.nxpath == "/entry/transform"
    assert [axis.nxname for axis in data.nxaxes] == ["Ql", "Qk", "Qh"]
    np.testing.assert_array_equal(data.nxsignal.nxvalue, volume["intensity"].transpose("l", "k", "h"))
    np.testing.assert_array_equal(data.nxerrors.nxvalue, volume["sigma"].transpose("l", "k", "h"))
    np.testing.assert_array_equal(data.nxaxes[2].nxvalue, volume["h"])
    assert root["entry/sample/unitcell_beta"] == 85.0
    assert root["entry/sample/temperature"].attrs["units"] == "K"


def test_we_read_what_nexusformat_writes(tmp_path):
    axes = [nx.NXfield(AXES[label], name=label) for label in ("Ql", "Qk", "Qh")]
    data = nx.NXdata(nx.NXfield(DATA, name="data"), axes, errors=nx.NXfield(np.sqrt(DATA)))
    nx.NXroot(nx.NXentry(data=data)).save(tmp_path / "v.nxs")
    volume = read_volume(tmp_path / "v.nxs")
    np.testing.assert_array_equal(volume["intensity"], DATA.transpose())
    np.testing.assert_array_equal(volume["sigma"], np.sqrt(DATA.transpose()))


def test_the_layout_of_nxs_analysis_tools_and_chess():
    volume = read_volume(Path(__file__).parents[1] / "data" / "nxs_analysis_tools.nxs")
    np.testing.assert_array_equal(volume["intensity"], DATA.transpose())
    for axis in "hkl":
        np.testing.assert_array_equal(volume[axis], AXES[f"Q{axis}"])
    # What that layout calls counts is a scaled intensity.
    assert list(volume.data_vars) == ["intensity"]
    assert volume.attrs["lattice"] == tuple(CELL.values())
    assert volume.encoding["order"] == "h k l"


def test_negative_intensities_called_counts(tmp_path):
    with h5py.File(tmp_path / "v.nxs", "w") as file:
        made = transform(group(file, "entry", "NXentry"), "data", DATA - 50)
        made.move("data", "counts")
        made.attrs["signal"] = "counts"
    volume = read_volume(tmp_path / "v.nxs")
    np.testing.assert_array_equal(volume["intensity"], DATA.transpose() - 50)
    assert volume.encoding["order"] == "l k h"


def test_old_files_name_signal_and_axes_on_the_dataset(tmp_path):
    with h5py.File(tmp_path / "v.nxs", "w") as file:
        made = transform(group(file, "entry", "NXentry"), "data", DATA)
        made.move("data", "something")
        del made.attrs["signal"], made.attrs["axes"]
        made["something"].attrs.update({"signal": 1, "axes": "Ql:Qk:Qh"})
        made["broken"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(read_volume(tmp_path / "v.nxs")["intensity"], DATA.transpose())


@pytest.mark.parametrize("units", ["A^-1", b"1/angstrom"])
def test_an_axis_in_another_unit_than_the_others_is_refused(nxrefine, refused, units):
    with h5py.File(nxrefine, "a") as file:
        file["entry/transform/Qk"].attrs["units"] = units
    refused(nxrefine, "Qk is in", "Miller indices")


@pytest.mark.parametrize("units", ["nm", "radian"])
def test_a_cell_in_other_units_is_refused(nxrefine, refused, units):
    parameter = {"nm": "unitcell_b", "radian": "unitcell_beta"}[units]
    with h5py.File(nxrefine, "a") as file:
        file[f"entry/sample/{parameter}"].attrs["units"] = units
    refused(nxrefine, f"{parameter} is in '{units}'")


def test_a_cell_in_the_expected_units(nxrefine):
    with h5py.File(nxrefine, "a") as file:
        file["entry/sample/unitcell_a"].attrs["units"] = "Angstrom"
        file["entry/sample/unitcell_alpha"].attrs["units"] = "degrees"
    assert read_volume(nxrefine).attrs["lattice"] == tuple(CELL.values())


def put(path, value):
    def change(file):
        if path in file or file.get(path, getlink=True) is not None:
            del file[path]
        if value is not None:
            file[path] = value

    return change


def attribute(path, key, value):
    def change(file):
        if value is None:
            del file[path].attrs[key]
        else:
            file[path].attrs[key] = value

    return change


def second_volume(file):
    del file["entry/transform"]
    transform(file["f1"], "masked_transform", DATA)


def plain_group_as_axis(file):
    del file["entry/transform/Qh"]
    file.create_group("entry/transform/Qh")


DATASET = "entry/transform/data"
SAMPLE = "entry/sample"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(DATASET, None), "'data' is missing"),
        (put(DATASET, h5py.SoftLink("/nowhere")), "/nowhere"),
        (put(DATASET, h5py.ExternalLink("gone.nxs", "/entry/data/v")), "/entry/data/v in file gone.nxs"),
        (put(DATASET, h5py.ExternalLink("transform.nxs", "/wrong")), "/wrong in file transform.nxs"),
        (put(DATASET, DATA[0]), "2 dimensions"),
        (put(DATASET, DATA[..., :-1]), "the axis Qh in /entry/transform has the shape (4,)"),
        (put(DATASET, DATA.astype(complex)), "complex"),
        (put(DATASET, DATA.transpose().copy()), "the axis Ql in /entry/transform has the shape (2,)"),
        (put(DATASET, DATA[:0]), "Along it there are 0 voxels"),
        (put("entry/transform/Ql", np.zeros(0)), "has the shape (0,)"),
        (put(f"{SAMPLE}/unitcell_c", np.nan), "Lengths must be positive"),
        (put(f"{SAMPLE}/unitcell_gamma", np.inf), "Lengths must be positive"),
        (put(DATASET, DATA.astype("S8")), "Real numbers"),
        (put(DATASET, np.full(DATA.shape, np.nan)), "every intensity is NaN"),
        (put(DATASET, np.where(DATA == 110, np.inf, DATA)), "first at index (1, 1, 0)"),
        (put("entry/transform/mask", h5py.SoftLink("/nowhere")), "'mask'"),
        (put("entry/transform/data_errors", -DATA), "sigma is -1"),
        (put("entry/transform/Qk", None), "'Qk' is missing"),
        (put("entry/transform/Qk", [0.0, 1.0, 3.0]), "axis k is not uniform"),
        (put("entry/transform/Qk", [0.0, 1.0, 1.0]), "axis k does not increase"),
        (
            put("entry/transform/Qk", [[0.0, 1.0, 2.0]]),
            "the axis Qk in /entry/transform has the shape (1, 3)",
        ),
        (put("entry/transform/weights", np.ones((2, 2, 2))), "(2, 2, 2)"),
        (plain_group_as_axis, "'Qh' in /entry/transform is not a dataset"),
        (attribute("entry/transform", "signal", None), "no attribute 'signal'"),
        (attribute("entry/transform", "signal", "counts"), "'counts' is missing"),
        (put(f"{SAMPLE}/unitcell_b", None), "'unitcell_b' is missing"),
        (put(f"{SAMPLE}/unitcell_b", -1.0), "Lengths must be positive"),
        (put(f"{SAMPLE}/unitcell_alpha", 1.0), "volume is not positive"),
        (put(f"{SAMPLE}/temperature", "cold"), "'temperature'"),
        (put(f"{SAMPLE}/temperature", 0.0), "temperature is 0.0"),
        (put(f"{SAMPLE}/temperature", [1.0, 2.0]), "1 are expected"),
        (attribute(f"{SAMPLE}/temperature", "units", "degC"), "degC"),
        (second_volume, "several volumes: /f1/masked_transform, /f1/transform"),
        (attribute("/", "default", "entry"), None),
    ],
)
def test_malformed_files_are_refused(nxrefine, refused, change, words):
    with h5py.File(nxrefine, "a") as file:
        change(file)
    if words is None:
        assert read_volume(nxrefine)["intensity"].sizes == {"h": 4, "k": 3, "l": 2}
    else:
        refused(nxrefine, words)


@pytest.mark.parametrize("axes", [["x", "y", "z"], ["Qk", "Qh"], ["Qh", "Qh", "Ql"]])
def test_files_without_a_volume_tell_what_they_have(nxrefine, refused, axes):
    with h5py.File(nxrefine, "a") as file:
        del file["f1"]
        file["entry/transform"].attrs["axes"] = axes
    refused(nxrefine, "no NXdata has the three axes", f"/entry/transform with axes {axes}")


def test_a_broken_link_in_place_of_the_volume_is_named(nxrefine, refused):
    with h5py.File(nxrefine, "a") as file:
        del file["f1"], file["entry/transform"]
        file["entry/transform"] = h5py.ExternalLink("gone.nxs", "/entry/transform")
    refused(nxrefine, "gone.nxs")
