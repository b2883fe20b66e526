import os
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayestds.errors import VolumeError
from bayestds.io import read_volume, registry, write_volume
from bayestds.scattering.volume import make_volume

FORMATS = ("mdhisto", "discus", "nexus", "yell", "netcdf")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("suffix", [".nxs", ".h5", ".nc", ".dat", ""])
def test_the_content_decides_the_format(tmp_path, volume, format, suffix):
    path = tmp_path / f"volume{suffix}"
    write_volume(volume, path, format)
    # Axes from a corner and a step, or from edges, and roots of squares agree to rounding only.
    xr.testing.assert_allclose(read_volume(path), volume, rtol=1e-15, atol=1e-15)
    assert read_volume(path).attrs == volume.attrs


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("a.nxs", "entry"),
        ("a.nx.h5", "entry"),
        ("a.NXS", "entry"),
        ("a.md.nxs", "MDHistoWorkspace"),
        ("a.discus.h5", "entry/data/data_values"),
        ("a.h5", "lower_limits"),
        ("a.hdf5", "lower_limits"),
        ("a.nc", "intensity"),
    ],
)
def test_the_suffix_selects_the_format_to_write(tmp_path, volume, name, root):
    write_volume(volume, tmp_path / name)
    with h5py.File(tmp_path / name) as file:
        assert root in file


@pytest.mark.parametrize(("name", "format"), [("a.txt", None), ("a", None), ("a.nc", "csv")])
def test_unknown_formats_to_write_are_refused(tmp_path, volume, name, format):
    with pytest.raises(VolumeError, match="mdhisto, discus, nexus, yell, netcdf") as caught:
        write_volume(volume, tmp_path / name, format)
    assert name in caught.value.summary
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", FORMATS[:-1])
def test_variables_that_would_be_lost_are_refused(tmp_path, volume, format):
    strange = volume.assign(transmision=volume["intensity"], background=volume["intensity"])
    with pytest.raises(VolumeError, match=r"variables background, transmision(.*\n)*.*write netCDF"):
        write_volume(strange, tmp_path / "v", format)
    assert os.listdir(tmp_path) == []


def test_variables_that_are_not_read_are_named(tmp_path, volume):
    write_volume(volume.assign(transmision=volume["intensity"]), tmp_path / "v.nc")
    assert read_volume(tmp_path / "v.nc").encoding["ignored"] == "transmision"


@st.composite
def contents(draw):
    """Arguments of make_volume for all shapes, with or without each optional part."""
    shape = tuple(draw(st.integers(1, 4)) for _ in range(3))

    def array(elements, dtype=np.float64):
        return hnp.arrays(dtype, shape, elements=elements)

    starts, steps = (draw(st.tuples(*[st.floats(low, high)] * 3)) for low, high in [(-9, 9), (0.01, 2)])
    axes = [start + step * np.arange(n) for start, step, n in zip(starts, steps, shape, strict=True)]
    intensity = draw(array(st.floats(-1e6, 1e6) | st.just(np.nan)))
    intensity.flat[0] = 1.0
    return dict(
        zip("hkl", axes, strict=True),
        intensity=intensity,
        sigma=draw(st.none() | array(st.floats(0, 1e3))),
        counts=draw(st.none() | array(st.integers(0, 10**6), np.int64)),
        transmission=draw(st.none() | array(st.floats(1e-3, 1e3))),
        mask=draw(st.none() | array(st.booleans(), np.bool_)),
        temperature=draw(st.none() | st.floats(1, 2000)),
        lattice=(4.1, 5.2, 6.3, 90.0, 101.5, 90.0),
    )


def written_and_read(volume, format):
    with tempfile.TemporaryDirectory() as folder:
        write_volume(volume, Path(folder, "v"), format)
        return read_volume(Path(folder, "v"))


@pytest.mark.parametrize("format", ["nexus", "netcdf"])
@settings(max_examples=20)
@given(content=contents())
def test_round_trips_are_exact(format, content):
    volume = make_volume(**content)
    xr.testing.assert_identical(written_and_read(volume, format), volume)


@pytest.mark.parametrize("format", ["yell", "discus"])
@settings(max_examples=20)
@given(content=contents())
def test_round_trips_are_exact_but_for_the_rounding_of_axes(format, content):
    volume = make_volume(**content)
    back = written_and_read(volume, format)
    for axis in volume.coords:
        np.testing.assert_allclose(back[axis], volume[axis], rtol=0, atol=1e-14)
    xr.testing.assert_identical(back.assign_coords(volume.coords), volume)


@pytest.mark.parametrize("format", FORMATS)
def test_a_volume_without_optional_parts_stays_without(tmp_path, volume, format):
    bare = volume[["intensity"]].assign_attrs(lattice=(3.0, 3.0, 3.0, 90.0, 90.0, 90.0))
    write_volume(bare, tmp_path / "v", format)
    assert list(read_volume(tmp_path / "v").data_vars) == ["intensity"]


def _missing(path):
    pass


def _folder(path):
    path.mkdir()


def _empty(path):
    path.touch()


def _text(path):
    path.write_text("a letter\nwithout numbers\n")


def _unknown(path):
    with h5py.File(path, "w") as file:
        file["posterior"] = 1.0
        file["sample_stats"] = 1.0


def _rootless(path):
    h5py.File(path, "w").close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "no such file"),
        (_folder, "folder"),
        (_empty, "empty"),
        (_text, "neither an HDF5 file nor a list of voxels"),
        (_unknown, "posterior, sample_stats. Known formats: mdhisto, discus, nexus, binoculars, yell"),
        (_rootless, "root holds: nothing"),
    ],
)
def test_files_that_are_no_volume_are_refused(tmp_path, refused, make, words):
    path = tmp_path / "bad.nxs"
    make(path)
    refused(path, words)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, volume, refused, format, fraction):
    path = tmp_path / "cut.h5"
    write_volume(volume, path, format)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    refused(path, "cut.h5")


@pytest.mark.parametrize("error", [OSError("No space left on device"), RuntimeError("unable to flush")])
def test_a_failing_write_leaves_no_trace_and_keeps_the_target(tmp_path, volume, monkeypatch, error):
    def write(dataset, path):
        path.write_bytes(b"half")
        raise error

    full = registry.VolumeFormat(registry.netcdf.recognises, registry.netcdf.read, write, (".nc",))
    monkeypatch.setitem(registry.FORMATS, "netcdf", full)
    with pytest.raises(VolumeError, match=str(error)) as caught:
        write_volume(volume, tmp_path / "new.nc")
    assert "new.nc" in caught.value.summary
    assert caught.value.fix
    assert os.listdir(tmp_path) == []

    (tmp_path / "old.nc").write_text("precious")
    with pytest.raises(VolumeError):
        write_volume(volume, tmp_path / "old.nc")
    assert os.listdir(tmp_path) == ["old.nc"]
    assert (tmp_path / "old.nc").read_text() == "precious"


def test_an_invalid_volume_is_not_written(tmp_path, volume):
    with pytest.raises(VolumeError, match="temperature"):
        write_volume(volume.assign_attrs(temperature=-1.0), tmp_path / "v.nc")
    assert os.listdir(tmp_path) == []
