import h5py
import numpy as np
import pytest

from bayestds import memory
from bayestds.io import hdf5, read_volume, write_volume
from bayestds.io.registry import WRITTEN

INTENSITIES = {
    "mdhisto": "MDHistoWorkspace/data/signal",
    "discus": "entry/data/data_values",
    "nexus": "entry/transform/data",
    "yell": "data",
    "netcdf": "intensity",
}


@pytest.fixture(params=WRITTEN)
def written(request, tmp_path, volume):
    """A file in each format, and the name of its intensity."""
    path = tmp_path / "v.h5"
    write_volume(volume, path, request.param)
    return path, INTENSITIES[request.param]


def replace(path, name, make):
    with h5py.File(path, "a") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        make(file)
        for key, value in attributes.items():
            if key not in ("DIMENSION_LIST", "_Netcdf4Coordinates"):
                file[name].attrs[key] = value


def test_dimensions_beyond_the_memory_are_refused_before_it_is_taken(written, refused):
    path, name = written
    shape = (100_000, 100_000, 50_000)
    # Chunks that were never written take no space: the file has some kilobytes.
    replace(path, name, lambda file: file.create_dataset(name, shape, "f4", chunks=(10, 10, 10)))
    refused(path, "(100000, 100000, 50000)", "This takes 2,793,967.7 GiB", "this computer has")


def test_the_size_is_that_of_what_remains_of_a_volume(tmp_path, monkeypatch, volume, refused):
    write_volume(volume, tmp_path / "v.h5")
    monkeypatch.setattr(memory, "physical_memory", lambda: 6 * 24 - 1)
    refused(tmp_path / "v.h5", "(4, 3, 2)")
    monkeypatch.setattr(memory, "physical_memory", lambda: 6 * 24)
    assert read_volume(tmp_path / "v.h5")["intensity"].shape == (4, 3, 2)


def test_a_virtual_dataset_without_its_sources_is_refused(written, refused):
    path, name = written
    with h5py.File(path.with_name("part.h5"), "w") as file:
        file["part"] = np.ones((4, 3, 2))

    def virtual(file):
        layout = h5py.VirtualLayout((4, 3, 2), "f8")
        layout[...] = h5py.VirtualSource("part.h5", "part", (4, 3, 2))
        file.create_virtual_dataset(name, layout)

    replace(path, name, virtual)
    path.with_name("part.h5").unlink()
    # HDF5 itself would read zeros.
    with h5py.File(path) as file:
        assert (file[name][()] == 0).all()
    refused(path, "put together from other files", "part.h5 is not there")


def test_a_dangling_external_link_is_named(written, refused):
    path, name = written
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = h5py.ExternalLink("gone.h5", "/there")
    refused(path, "leads nowhere", "/there in file gone.h5")


@pytest.mark.parametrize("units", ["A^-1", "1/angstrom", "Å⁻¹", "Angstrom^{-1}", "nm-1", "1 / Å"])
@pytest.mark.parametrize(("format", "axis"), [("nexus", "entry/transform/Qk"), ("netcdf", "k")])
def test_axes_that_are_inverse_lengths_are_refused(tmp_path, volume, refused, format, axis, units):
    write_volume(volume, tmp_path / "v.h5", format)
    with h5py.File(tmp_path / "v.h5", "a") as file:
        file[axis].attrs["units"] = units
    refused(tmp_path / "v.h5", f"is in '{units}'", "r.l.u.")


@pytest.mark.parametrize("value", [b"ab  ", b"ab\0\0", "ab", np.array(["ab"], dtype=object), np.bytes_("ab")])
def test_text_of_every_language(value):
    assert hdf5.text(value) == "ab"


@pytest.mark.parametrize("value", [None, 3, 2.5, np.arange(3), np.array(1)])
def test_what_is_no_text(value):
    assert hdf5.text(value) is None
