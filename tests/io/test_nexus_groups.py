"""Which NXdata of a file is read, and layouts of other programs than NXrefine's."""

import h5py
import numpy as np
import pytest

from bayestds.errors import VolumeError
from bayestds.io import read_volume, write_volume
from bayestds.scattering.volume import make_volume, volume_axes

H, K, L = np.linspace(-1, 0.5, 4), np.linspace(0, 0.2, 3), np.array([2.0, 3.0])
DATA = np.arange(24.0).reshape(4, 3, 2) + 1
CELL = (3.0, 4.0, 5.0, 80.0, 85.0, 95.0)


def group(parent, name, nx_class, **attributes):
    made = parent.create_group(name)
    made.attrs.update({"NX_class": nx_class} | attributes)
    return made


def transform(parent, name, data=DATA, axes=("Qh", "Qk", "Ql"), values=(H, K, L)):
    made = group(parent, name, "NXdata", signal="data", axes=list(axes))
    made["data"] = data
    for label, one in zip(axes, values, strict=True):
        made[label] = one
    return made


def sample(parent, cell=CELL, **values):
    made = group(parent, "sample", "NXsample")
    made["unit_cell"] = cell
    for key, value in values.items():
        made[key] = value
    return made


@pytest.fixture
def consolidated(tmp_path):
    """Two transforms of one entry, one in an NXsubentry that the defaults lead to, as of NXrefine."""
    path = tmp_path / "scan.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = group(file, "entry", "NXentry", default="xtal2")
        sample(entry, temperature=100.0)
        transform(entry, "transform", DATA)
        inner = group(entry, "xtal2", "NXsubentry", default="transform")
        sample(inner, cell=(6.0, *CELL[1:]))
        transform(inner, "transform", 2 * DATA)
    return path


def test_defaults_are_followed_to_their_end(consolidated):
    volume = read_volume(consolidated)
    np.testing.assert_array_equal(volume["intensity"], 2 * DATA)
    assert volume.attrs["lattice"][0] == 6.0
    # The nearest sample has no temperature; that of the entry about it has.
    assert volume.attrs["temperature"] == 100.0
    assert volume.encoding["candidates"] == ["/entry/transform", "/entry/xtal2/transform"]
    assert any("holds 2 volumes" in note for note in volume.encoding["notes"])


@pytest.mark.parametrize(
    ("path", "factor"),
    [
        ("/entry/transform", 1),
        ("entry/transform/", 1),
        ("/entry/xtal2", 2),
        ("/entry/xtal2/transform", 2),
    ],
)
def test_a_path_chooses(consolidated, path, factor):
    np.testing.assert_array_equal(read_volume(consolidated, group=path)["intensity"], factor * DATA)


@pytest.mark.parametrize(
    ("path", "words"), [("/entry", "It holds 2 volumes"), ("/nothing", "no volume at this place")]
)
def test_a_path_that_does_not_choose_is_refused(consolidated, path, words):
    with pytest.raises(VolumeError, match=words) as caught:
        read_volume(consolidated, group=path)
    assert "/entry/xtal2/transform" in str(caught.value)


def test_paths_are_for_nexus_files(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nc")
    with pytest.raises(VolumeError, match="of the format netcdf"):
        read_volume(tmp_path / "a.nc", group="entry")


def test_without_a_default_the_combined_transform_is_read(consolidated):
    with h5py.File(consolidated, "a") as file:
        del file.attrs["default"], file["entry"].attrs["default"]
    np.testing.assert_array_equal(read_volume(consolidated)["intensity"], DATA)


def test_several_without_a_default_are_refused(consolidated, refused):
    with h5py.File(consolidated, "a") as file:
        del file.attrs["default"], file["entry"].attrs["default"]
        file["entry"].move("transform", "other")
    refused(consolidated, "/entry/other, /entry/xtal2/transform", "--path")


def test_a_default_that_leads_to_a_curve_is_passed_over(tmp_path):
    path = tmp_path / "scan.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = group(file, "entry", "NXentry", default="sum")
        curve = group(entry, "sum", "NXdata", signal="y", axes=["x"])
        curve["y"] = curve["x"] = np.arange(3.0)
        transform(entry, "transform")
    np.testing.assert_array_equal(read_volume(path)["intensity"], DATA)


def test_links_in_a_circle_end(consolidated):
    with h5py.File(consolidated, "a") as file:
        file["entry/back"] = file["entry"]
    np.testing.assert_array_equal(read_volume(consolidated)["intensity"], 2 * DATA)


def test_msmapper_leaves_weight_zero_unmeasured(tmp_path):
    """Diamond: the cell and the temperature are in the entry of the scan, which is linked."""
    weight = np.ones(DATA.shape)
    weight[0] = 0
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        sample(group(file, "entry", "NXentry"), temperature=80.0)
    path = tmp_path / "mapped.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "processed"
        file["entry0"] = h5py.ExternalLink("scan.nxs", "/entry")
        entry = group(file, "processed", "NXentry", default="reciprocal_space")
        data = group(entry, "reciprocal_space", "NXdata", signal="volume", auxiliary_signals="weight")
        data.attrs["axes"] = ["h-axis", "k-axis", "l-axis"]
        data["volume"], data["weight"] = np.where(weight > 0, DATA, 0), weight
        for letter, values in zip("hkl", (H, K, L), strict=True):
            data[f"{letter}-axis"] = values
    volume = read_volume(path)
    np.testing.assert_array_equal(volume["intensity"], np.where(weight > 0, DATA, np.nan))
    assert volume.attrs["lattice"] == CELL
    assert volume.attrs["temperature"] == 80.0


def test_parproco_adds_a_group_of_binoculars_that_is_normalised_already(tmp_path):
    path = tmp_path / "sum.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "processed"
        entry = group(file, "processed", "NXentry")
        data = group(entry, "reciprocal_space", "NXdata", signals="volume")
        data.attrs["axes"] = ["h-axis", "k-axis", "l-axis"]
        data["volume"], data["weight"] = DATA, np.full(DATA.shape, 7.0)
        for letter, values in zip("hkl", (H, K, L), strict=True):
            data[f"{letter}-axis"] = values
        file["binoculars/counts"], file["binoculars/contributions"] = data["volume"], data["weight"]
        file["binoculars/axes/H"] = [0, -1, 0.5, 0.5, -2, 1]
    np.testing.assert_array_equal(read_volume(path)["intensity"], DATA)


@pytest.mark.parametrize(("space", "read"), [("reciprocal", True), ("direct", False)])
def test_the_layout_that_yell_and_discus_propose(tmp_path, refused, space, read):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "Disorder scattering 1.0", "default": "scattering"})
        entry = group(file, "scattering", "NXentry", default="data")
        data = transform(entry, "data", axes=("h", "k", "l"))
        data.attrs.update({"space": space, "radiation": "x-ray"})
        data["unit_cell"] = CELL
    if read:
        assert read_volume(path).attrs["lattice"] == CELL
    else:
        refused(path, "direct space")


@pytest.mark.parametrize("name", ["weight", "num_events", "contributions"])
def test_nothing_is_measured_where_a_weight_is_zero(tmp_path, name):
    weight = (DATA % 5).astype(int)
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        data = transform(group(file, "entry", "NXentry"), "data")
        data[name] = weight
    np.testing.assert_array_equal(read_volume(path)["intensity"], np.where(weight > 0, DATA, np.nan))


def test_a_mask_may_hold_any_numbers(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        transform(group(file, "entry", "NXentry"), "data")["mask"] = (DATA % 3).astype(np.int32)
    np.testing.assert_array_equal(read_volume(path)["mask"], DATA % 3 != 0)


def test_axes_may_be_the_edges_of_bins(tmp_path):
    path = tmp_path / "a.nxs"
    edges = [np.append(axis - step / 2, axis[-1] + step / 2) for axis, step in ((H, 0.5), (K, 0.1), (L, 1.0))]
    with h5py.File(path, "w") as file:
        transform(group(file, "entry", "NXentry"), "data", values=edges)
    volume = read_volume(path)
    for axis, values in zip("hkl", (H, K, L), strict=True):
        np.testing.assert_allclose(volume[axis], values, atol=1e-15)
    assert any("edges of bins" in note for note in volume.encoding["notes"])


def test_one_axis_that_is_too_long_is_no_edge(tmp_path, refused):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        transform(group(file, "entry", "NXentry"), "data", data=DATA[:3])
    refused(path, "the axis Qh", "has the shape (4,)")


@pytest.mark.parametrize(("letter", "index"), [("l", 2), ("h", 0)])
def test_a_plane_has_the_third_index_as_a_number(tmp_path, letter, index):
    path = tmp_path / "plane.nxs"
    names = [name for name in ("Qh", "Qk", "Ql") if name != f"Q{letter}"]
    with h5py.File(path, "w") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", signal="data", axes=names)
        data["data"] = DATA.take(1, axis=index)
        for name, values in zip(("Qh", "Qk", "Ql"), (H, K, L), strict=True):
            data[name] = values[1] if name == f"Q{letter}" else values
    volume = read_volume(path)
    np.testing.assert_array_equal(volume["intensity"], DATA.take([1], axis=index))
    assert volume[letter].values.tolist() == [(H, K, L)[index][1]]


def test_a_plane_without_its_third_index_is_refused(tmp_path, refused):
    path = tmp_path / "plane.nxs"
    with h5py.File(path, "w") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", signal="data", axes=["Qh", "Qk"])
        data["data"], data["Qh"], data["Qk"] = DATA[:, :, 0], H, K
    refused(path, "the value of the third index")


def test_oblique_axes_are_kept(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        names = ("[H,H,0]", "[-K,K,0]", "[0,0,L]")
        transform(group(file, "entry", "NXentry"), "data", axes=names)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume["intensity"], DATA)
    assert volume.attrs["directions"] == (1, 1, 0, -1, 1, 0, 0, 0, 1)


def test_directions_may_be_long_names(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        data = transform(group(file, "entry", "NXentry"), "data", axes=("D0", "D1", "D2"))
        for name, long_name in zip(("D0", "D1", "D2"), ("[0,0,L]", "[H,0,0]", "[0,-K,0]"), strict=True):
            data[name].attrs["long_name"] = long_name
    volume = read_volume(path)
    np.testing.assert_array_equal(volume["h"], K)
    np.testing.assert_array_equal(volume["intensity"], DATA.transpose(1, 2, 0)[:, ::-1])


def test_a_temperature_may_be_a_log(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        entry = group(file, "entry", "NXentry")
        log = group(sample(entry), "temperature", "NXlog")
        log["value"] = [99.0, 101.0]
        log["value"].attrs["units"] = "K"
        transform(entry, "data")
    assert read_volume(path).attrs["temperature"] == 100.0


def test_the_temperature_of_another_entry_gives_way_to_the_title(tmp_path):
    path = tmp_path / "two.nxs"
    with h5py.File(path, "w") as file:
        cold = group(file, "a_100K", "NXentry")
        sample(cold, temperature=100.0)
        transform(cold, "data")
        warm = group(file, "b_300K", "NXentry")
        warm["title"] = "Ni 300K"
        transform(warm, "data")
    assert read_volume(path, group="b_300K").attrs["temperature"] == 300.0
    with h5py.File(path, "a") as file:
        del file["b_300K/title"]
    volume = read_volume(path, group="b_300K")
    assert volume.attrs["temperature"] == 100.0
    assert any("is that of /a_100K/sample" in note for note in volume.encoding["notes"])


def test_a_default_may_be_another_name_of_the_group(tmp_path):
    path = tmp_path / "linked.nxs"
    with h5py.File(path, "w") as file:
        entry = group(file, "entry", "NXentry", default="transform")
        entry["alias"] = transform(entry, "transform")
        transform(entry, "other", 2 * DATA)
    np.testing.assert_array_equal(read_volume(path)["intensity"], DATA)
    np.testing.assert_array_equal(read_volume(path, group="/entry/transform")["intensity"], DATA)


def test_errors_and_masks_that_attributes_name(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        data = transform(group(file, "entry", "NXentry"), "data")
        data["esd"], data["data_mask"] = DATA / 10, DATA > 20
        data["data"].attrs.update({"uncertainties": "esd", "mask": "data_mask"})
    volume = read_volume(path)
    np.testing.assert_array_equal(volume["sigma"], DATA / 10)
    np.testing.assert_array_equal(volume["mask"], DATA > 20)


def test_a_sum_over_bins_is_no_plane(tmp_path, refused):
    path = tmp_path / "plane.nxs"
    with h5py.File(path, "w") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", signal="data", axes=["Qh", "Qk"])
        data["data"], data["Qh"], data["Qk"], data["Ql"] = DATA.sum(axis=2), H, K, 2.5
        data["Ql"].attrs.update({"minimum": 2.0, "maximum": 3.0, "summed_bins": 2})
    refused(path, "no NXdata has the three axes")


def test_a_plane_with_edges(tmp_path):
    path = tmp_path / "plane.nxs"
    with h5py.File(path, "w") as file:
        data = group(group(file, "entry", "NXentry"), "data", "NXdata", signal="data", axes=["Qh", "Qk"])
        data["data"], data["Ql"] = DATA[:, :, 0], 2.0
        data["Qh"], data["Qk"] = np.linspace(-1.25, 0.75, 5), np.linspace(-0.05, 0.25, 4)
    np.testing.assert_allclose(read_volume(path)["h"], H)


def test_the_long_name_of_an_axis_goes_before_its_name(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        data = transform(group(file, "entry", "NXentry"), "data", axes=("H", "K", "L"))
        for name, long_name in zip("HKL", ("[H,H,0] (r.l.u.)", "[-K,K,0]", "[0,0,L]"), strict=True):
            data[name].attrs["long_name"] = long_name
    assert read_volume(path).attrs["directions"] == (1, 1, 0, -1, 1, 0, 0, 0, 1)


@pytest.mark.parametrize("units", ["inverse angstrom", "reciprocal_angstrom", "Ang^-1", "2pi/angstrom"])
def test_inverse_lengths_are_no_indices(tmp_path, refused, units):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        data = transform(group(file, "entry", "NXentry"), "data")
        data["Qh"].attrs["units"] = units
    refused(path, "reciprocal lattice units")


def test_a_cell_in_nm_is_refused(tmp_path, refused):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        entry = group(file, "entry", "NXentry")
        sample(entry)["unit_cell"].attrs["units"] = "nm"
        transform(entry, "data")
    refused(path, "'nm'")


def test_a_virtual_dataset_without_its_source(tmp_path, refused):
    path = tmp_path / "a.nxs"
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["other"] = DATA
    with h5py.File(path, "w") as file:
        data = transform(group(file, "entry", "NXentry"), "data")
        del data["data"]
        layout = h5py.VirtualLayout(DATA.shape, "f8")
        layout[...] = h5py.VirtualSource("raw.h5", "gone", DATA.shape)
        data.create_virtual_dataset("data", layout)
    refused(path, "raw.h5 is not there")


def test_companions_follow_the_intensity_on_oblique_axes(tmp_path):
    rng = np.random.default_rng(3)
    made = make_volume(
        H,
        K,
        L,
        DATA,
        transmission=rng.uniform(0.5, 1, DATA.shape),
        directions=[[1, 1, 1], [1, -1, 0], [1, 1, -2]],
        lattice=CELL,
    )
    write_volume(made, tmp_path / "a.nxs")
    found = read_volume(tmp_path / "a.nxs")
    points, expected = volume_axes(found).points(), volume_axes(made)
    places = np.rint(expected.places(points)).astype(int)
    for key in ("intensity", "transmission"):
        np.testing.assert_allclose(found[key], made[key].values[tuple(np.moveaxis(places, -1, 0))])
