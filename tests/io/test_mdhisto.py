import h5py
import numpy as np
import pytest
import xarray as xr

from bayestds.io import read_volume, write_volume
from bayestds.scattering.volume import make_volume

# signal[l, k, h] with h = 0..3, k = 0..2, l = 0..1: the value spells the indices.
SIGNAL = np.array(
    [[[1 + 100 * h + 10 * k + l for h in range(4)] for k in range(3)] for l in range(2)],  # noqa: E741
    float,
)
EDGES = {"h": np.linspace(-1, 1, 5), "k": np.linspace(0, 0.6, 4), "l": np.array([2.5, 3.5, 4.5])}
CENTRES = {"h": [-0.75, -0.25, 0.25, 0.75], "k": [0.1, 0.3, 0.5], "l": [3.0, 4.0]}
CELL = {"a": 3.0, "b": 4.0, "c": 5.0, "alpha": 80.0, "beta": 85.0, "gamma": 95.0}
NAMES = {"h": "[H,0,0]", "k": "[0,K,0]", "l": "[0,0,L]"}
DATA = "MDHistoWorkspace/data"
LATTICE = "MDHistoWorkspace/experiment0/sample/oriented_lattice"


def save_md(path, order="hkl", names=NAMES, edges=EDGES):
    """A file as SaveMD2.cpp and OrientedLattice.cpp write it, D0, D1, D2 being the axes of `order`."""
    with h5py.File(path, "w") as file:
        workspace = file.create_group("MDHistoWorkspace")
        workspace.attrs["NX_class"] = b"NXentry"
        workspace.attrs["SaveMDVersion"] = np.int32(2)
        workspace["coordinate_system"] = np.array([3], dtype=np.uint32)
        lattice = workspace.create_group("experiment0/sample/oriented_lattice")
        for key, value in CELL.items():
            lattice[f"unit_cell_{key}"] = [value]
        data = workspace.create_group("data")
        data.attrs["NX_class"] = b"NXdata"
        for number, axis in enumerate(order):
            data[f"D{number}"] = edges[axis]
            data[f"D{number}"].attrs["units"] = b"r.l.u."
            data[f"D{number}"].attrs["long_name"] = names[axis].encode()
            data[f"D{number}"].attrs["frame"] = b"HKL"
        # From [l, k, h] to the reverse of `order`.
        signal = SIGNAL.transpose(["lkh".index(axis) for axis in reversed(order)])
        storage = {"chunks": (1, *signal.shape[1:]), "compression": "gzip"}
        data.create_dataset("signal", data=signal, **storage)
        data["signal"].attrs["signal"] = np.int32(1)
        data["signal"].attrs["axes"] = b"D2:D1:D0"
        data.create_dataset("errors_squared", data=4 * signal**2, **storage)
        data.create_dataset("num_events", data=np.full(signal.shape, 7.0), **storage)
        data.create_dataset("mask", data=np.zeros(signal.shape, dtype=np.int8), **storage)
    return path


def put(path, name, value, attribute=None):
    """Replace a member, keeping its attributes, or one attribute of it; None removes it."""
    with h5py.File(path, "a") as file:
        if attribute:
            file[name].attrs[attribute] = value
            return
        attributes = dict(file[name].attrs)
        del file[name]
        if value is not None:
            file[name] = value
        if isinstance(value, list | np.ndarray):
            file[name].attrs.update(attributes)


@pytest.mark.parametrize("order", ["hkl", "lkh", "klh", "lhk"])
def test_h_k_l_come_from_long_name_whatever_the_order(tmp_path, order):
    volume = read_volume(save_md(tmp_path / "v.nxs", order))
    np.testing.assert_array_equal(volume["intensity"], SIGNAL.transpose())
    for axis, centres in CENTRES.items():
        np.testing.assert_allclose(volume[axis], centres, atol=1e-15)
    np.testing.assert_array_equal(volume["sigma"], 2 * SIGNAL.transpose())
    assert volume.attrs == {"lattice": tuple(CELL.values()), "intensity_units": "arbitrary"}
    assert list(volume.data_vars) == ["intensity", "sigma"]
    assert volume.encoding["order"] == " ".join(reversed(order))
    assert volume.encoding["format"] == "mdhisto"


@pytest.mark.parametrize("name", ["K", "[0,K,0]", "[0, K, 0]", "(0,K,0)", "['0','eta','0']", "[0,1*K,0.0]"])
def test_spellings_of_a_direction(tmp_path, name):
    volume = read_volume(save_md(tmp_path / "v.nxs", "khl", NAMES | {"k": name}))
    assert volume["intensity"].sel(h=-0.25, k=0.5, l=3.0, method="nearest") == 121


def test_scaled_and_backward_directions(tmp_path):
    volume = read_volume(save_md(tmp_path / "v.nxs", "lhk", NAMES | {"h": "[-H,0,0]", "k": "[0,2K,0]"}))
    np.testing.assert_allclose(volume["k"], [0.2, 0.6, 1.0])
    np.testing.assert_allclose(volume["h"], CENTRES["h"])
    np.testing.assert_array_equal(volume["intensity"], SIGNAL.transpose()[::-1])
    np.testing.assert_array_equal(volume["sigma"], 2 * SIGNAL.transpose()[::-1])


def test_unmeasured_and_masked_voxels(tmp_path):
    path = save_md(tmp_path / "v.nxs", "klh")
    with h5py.File(path, "a") as file:  # stored as [h, l, k]
        data = file[DATA]
        data["num_events"][3, 1, 0] = 0
        data["signal"][2, 0, 1] = np.nan
        data["mask"][0, 1, 2] = 1
    volume = read_volume(path)
    expected = SIGNAL.transpose().copy()
    expected[3, 0, 1] = expected[2, 1, 0] = np.nan
    np.testing.assert_array_equal(volume["intensity"], expected)
    assert np.argwhere(volume["mask"].values).tolist() == [[0, 2, 1]]


@pytest.mark.parametrize("errors", [None, 0.0, np.nan])
def test_no_errors_are_no_errors_of_zero(tmp_path, errors):
    path = save_md(tmp_path / "v.nxs")
    put(path, f"{DATA}/errors_squared", None if errors is None else np.full(SIGNAL.shape, errors))
    assert list(read_volume(path).data_vars) == ["intensity"]


def test_a_file_without_sample_or_axes_attribute(tmp_path):
    path = save_md(tmp_path / "v.nxs")
    with h5py.File(path, "a") as file:
        del file["MDHistoWorkspace/experiment0"], file[DATA]["signal"].attrs["axes"]
    volume = read_volume(path)
    assert volume.attrs == {"intensity_units": "arbitrary"}
    np.testing.assert_array_equal(volume["intensity"], SIGNAL.transpose())


def test_axes_may_have_any_names(tmp_path):
    path = save_md(tmp_path / "v.nxs", "klh")
    with h5py.File(path, "a") as file:
        for number, axis in enumerate("klh"):
            file[DATA].move(f"D{number}", NAMES[axis])
        file[DATA]["signal"].attrs["axes"] = ":".join(NAMES[axis] for axis in "hlk")
    np.testing.assert_array_equal(read_volume(path)["intensity"], SIGNAL.transpose())


def test_units_of_length_are_fine_for_axes_that_are_in_hkl(tmp_path):
    path = save_md(tmp_path / "v.nxs")
    put(path, f"{DATA}/D0", "A^-1", "units")
    np.testing.assert_array_equal(read_volume(path)["intensity"], SIGNAL.transpose())


def test_what_we_write_is_the_layout_of_savemd(tmp_path, volume):
    write_volume(volume, tmp_path / "v.md.nxs")
    with h5py.File(tmp_path / "v.md.nxs") as file:
        data = file[DATA]
        assert file["MDHistoWorkspace"].attrs["SaveMDVersion"] == 2
        assert data["signal"].shape == (2, 3, 4)
        np.testing.assert_allclose(data["D0"], [-1.25, -0.75, -0.25, 0.25, 0.75])
        np.testing.assert_array_equal(data["num_events"][()] == 0, np.isnan(volume["intensity"].values.T))
        np.testing.assert_array_equal(data["mask"][()], volume["mask"].values.T)
        # Mantid: the reciprocal metric is UBᵀ UB, with |b*| = 1/d.
        ub = file[f"{LATTICE}/orientation_matrix"][()]
    metric = np.linalg.inv(ub.T @ ub)
    np.testing.assert_allclose(np.sqrt(np.diag(metric)), [3, 4, 5])
    assert metric[0, 1] == pytest.approx(12 * np.cos(np.radians(95)))


def test_a_round_trip_without_errors_or_lattice(tmp_path, volume):
    bare = volume.drop_vars(["sigma", "mask", "counts"]).drop_attrs()
    bare.attrs["intensity_units"] = "arbitrary"
    write_volume(bare, tmp_path / "v", "mdhisto")
    xr.testing.assert_allclose(read_volume(tmp_path / "v"), bare, rtol=1e-15, atol=1e-15)


def test_a_single_plane(tmp_path):
    plane = make_volume([0.0, 0.5], [0.0], [1.0, 1.5, 2.0], np.arange(6.0).reshape(2, 1, 3))
    write_volume(plane, tmp_path / "v", "mdhisto")
    xr.testing.assert_allclose(read_volume(tmp_path / "v"), plane)


@pytest.mark.parametrize(
    ("name", "value", "attribute", "words"),
    [
        (f"{DATA}/D1", [0.1, 0.3, 0.5], None, "3 values for 3 bins. Are these their centres?"),
        (f"{DATA}/D1", [0.1, 0.3], None, "2 values for 3 bins"),
        (f"{DATA}/D1", None, None, "'D1' is missing"),
        (f"{DATA}/D1", "[H,K,0]", "long_name", "is called '[H,K,0]'"),
        (f"{DATA}/D1", "[H,0,0]", "long_name", "span no volume"),
        (f"{DATA}/D1", "[0,0,0]", "long_name", "is called '[0,0,0]'"),
        (f"{DATA}/D1", "[0,K,1]", "long_name", "is called '[0,K,1]'"),
        (f"{DATA}/D1", "DeltaE", "long_name", "is called 'DeltaE'"),
        (f"{DATA}/D1", b"QSample", "frame", "in the frame 'QSample'"),
        (f"{DATA}/signal", SIGNAL[0], None, "2 dimensions"),
        (f"{DATA}/signal", np.full(SIGNAL.shape, np.nan), None, "every intensity is NaN"),
        (f"{DATA}/signal", SIGNAL.transpose().copy(), None, "3 values for 4 bins"),
        (f"{DATA}/signal", np.zeros((0, 3, 4)), None, "3 values for 0 bins"),
        (f"{DATA}/signal", h5py.ExternalLink("gone.nxs", "/signal"), None, "gone.nxs"),
        (f"{DATA}/signal", "D3:D2:D1:D0", "axes", "3 dimensions and the axes D3, D2, D1, D0"),
        (f"{DATA}/num_events", np.zeros(SIGNAL.shape), None, "every intensity is NaN"),
        (f"{DATA}/mask", np.zeros((4, 3, 2)), None, "mask has the shape (4, 3, 2), the signal (2, 3, 4)"),
        (f"{DATA}/errors_squared", -SIGNAL, None, "errors_squared is negative at 24 voxels"),
        (f"{LATTICE}/unit_cell_b", None, None, "'unit_cell_b' is missing"),
        (f"{LATTICE}/unit_cell_b", [np.nan], None, "Lengths must be positive"),
        (f"{LATTICE}/unit_cell_b", [np.inf], None, "Lengths must be positive"),
        (LATTICE, 1.0, None, "'experiment0/sample/oriented_lattice' in /MDHistoWorkspace is a dataset"),
        ("MDHistoWorkspace", 1.0, None, "'MDHistoWorkspace' in / is a dataset"),
    ],
)
def test_malformed_files_are_refused(tmp_path, refused, name, value, attribute, words):
    path = save_md(tmp_path / "bad.nxs")
    put(path, name, value, attribute)
    refused(path, words)


def test_inverse_lengths_without_a_frame_are_refused(tmp_path, refused):
    path = save_md(tmp_path / "bad.nxs")
    put(path, f"{DATA}/D2", "General Frame", "frame")
    put(path, f"{DATA}/D2", "Angstrom^-1", "units")
    refused(path, "D2 is in 'Angstrom^-1'", "Miller indices")


def test_events_are_no_histogram(tmp_path, refused):
    with h5py.File(tmp_path / "events.nxs", "w") as file:
        file.create_group("MDEventWorkspace").attrs["NX_class"] = "NXentry"
    refused(tmp_path / "events.nxs", "MDEventWorkspace", "MDNorm")


def test_oblique_axes_are_kept(tmp_path, volume):
    """As MDNorm names them for a projection along [1,1,0], [-1,1,0], [0,0,1]."""
    path = tmp_path / "a.nxs"
    write_volume(volume, path, "mdhisto")
    with h5py.File(path, "a") as file:
        for key, name in (("D0", "[H,H,0]"), ("D1", "[-K,K,0]")):
            file[f"{DATA}/{key}"].attrs["long_name"] = name
    found = read_volume(path)
    assert found.attrs["directions"] == (1, 1, 0, -1, 1, 0, 0, 0, 1)
    np.testing.assert_allclose(found["intensity"], volume["intensity"])
    np.testing.assert_allclose(found["h"], volume["h"], atol=1e-15)


def test_errors_of_bins_of_one_event_that_are_roots(tmp_path):
    axes = (np.arange(3.0), np.arange(4.0), np.arange(2.0))
    counts = np.arange(24.0).reshape(3, 4, 2) + 1
    path = tmp_path / "a.nxs"
    write_volume(make_volume(*axes, counts, sigma=np.sqrt(counts)), path, "mdhisto")
    assert any("made up" in note for note in read_volume(path).encoding["notes"])
    with h5py.File(path, "a") as file:
        file[f"{DATA}/num_events"][...] = counts.transpose()
    assert not any("made up" in note for note in read_volume(path).encoding["notes"])
