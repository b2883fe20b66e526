"""Volumes that are read slab by slab, against the same volumes in memory."""

import os
import tracemalloc
from functools import partial

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bayestds.diagnostics import residuals
from bayestds.errors import VolumeError
from bayestds.io import read_volume, write_volume
from bayestds.io.registry import WRITTEN
from bayestds.scattering import averaging
from bayestds.scattering.averaging import average
from bayestds.scattering.grid import Mask
from bayestds.scattering.reindex import reindex
from bayestds.scattering.slabs import Stored, places, slabs, stored
from bayestds.scattering.volume import check_volume, make_volume
from tests.scattering.test_grid import axis, supercell_of

LATTICE = (3.52, 3.52, 3.52, 90.0, 90.0, 90.0)
AXES = (axis(1, 5), axis(0.8, 5), axis(1.2, 5))
SHAPE = (11, 9, 13)


def indices(size):
    """What may stand in brackets, for one axis: a number, a slice either way, or a list of numbers."""
    number = st.integers(-size, size - 1)
    bound = st.none() | st.integers(-size - 2, size + 2)
    part = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -3]))
    return number | part | st.lists(number, min_size=1, max_size=4)


@settings(max_examples=50)
@given(
    key=st.tuples(*map(indices, (4, 3, 2))),
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_any_part_of_an_array_turned_in_any_way(key, order, flips):
    shape = [(4, 3, 2)[order.index(dimension)] for dimension in range(3)]
    values = np.arange(24.0).reshape(shape)
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    turned = stored(values).turned(order, flips)
    whole = values.transpose(order)[steps]
    assert turned.shape == (4, 3, 2)
    # xarray's own indexing of an array in memory. Its lazy one fails for some slices that are empty.
    expected = xr.Variable(list("hkl"), whole)[key]
    assume(expected.size)
    np.testing.assert_array_equal(turned.variable()[key].values, expected.values)
    np.testing.assert_array_equal(turned.variable().values, whole)


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3), axis=st.integers(0, 2), limit=st.integers(0, 5000),
    size=st.integers(1, 64),
)  # fmt: skip
def test_slabs_cover_an_array_once_and_within_their_limit(shape, axis, limit, size):
    times = np.zeros(shape)
    for place in places(shape, axis, size, limit):
        times[place] += 1
        part = times[place].shape
        assert np.prod(part) * size <= limit or part[axis] == 1
    assert (times == 1).all()


def sample(kind):
    """Symmetric intensities with noise of some kind, and some voxels unmeasured."""
    rng = np.random.default_rng(5)
    q = np.sort(np.abs(np.stack(np.meshgrid(*AXES, indexing="ij"), axis=-1)), axis=-1)
    intensity = 2 + np.exp(q @ [0.3, 0.7, -0.2])
    more = {"lattice": LATTICE, "temperature": 300.0}
    if kind in ("counts", "few counts"):
        counts = rng.poisson((30 if kind == "counts" else 0.5) * intensity)
        intensity, more = counts / 4.0, more | {"counts": counts}
    else:
        intensity = intensity * rng.uniform(0.9, 1.1, SHAPE)
        intensity[rng.uniform(size=SHAPE) < 0.1] = np.nan
    if kind in ("sigma", "everything", "outliers"):
        more["sigma"] = 0.1 * np.sqrt(np.nan_to_num(intensity)) * rng.uniform(0.5, 2, SHAPE)
        more["sigma"][3, 4, 5] = 0.0
    if kind in ("everything", "counts"):
        more["transmission"] = rng.uniform(0.5, 1, SHAPE)
        more["mask"] = rng.uniform(size=SHAPE) < 0.2
    if kind == "outliers":
        intensity[rng.uniform(size=SHAPE) < 0.02] *= 50
    if kind == "single precision":
        intensity = intensity.astype(np.float32)
    return make_volume(*AXES, intensity, **more)


KINDS = [
    "plain",
    "single precision",
    "sigma",
    "counts",
    "few counts",
    "everything",
    "outliers",
    "off the mesh",
]


def averaged(volume, kind):
    off = kind == "off the mesh"
    mask = Mask(outliers=5.0 if kind == "outliers" else None, bragg_radius=0.3, q_max=3.0)
    return average(volume, supercell_of("fcc", 3 if off else 5, 5, 5), mask, commensurate=not off)


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("kind", KINDS)
def test_averages_by_slabs_are_those_of_the_whole(tmp_path, kind, format):
    """To rounding: up to 48 terms are summed in another order, each right to 1e-16."""
    volume = sample(kind)
    write_volume(volume, tmp_path / "v", format)
    inside, lazy = read_volume(tmp_path / "v"), read_volume(tmp_path / "v", slab_bytes=1)
    assert len(list(slabs(inside))) == 1
    cut = lazy.encoding["order"][0]
    assert len(list(slabs(lazy))) == lazy.sizes[cut]
    expected, found = averaged(inside, kind), averaged(lazy, kind)
    np.testing.assert_array_equal(found.grid.point_of_voxel, expected.grid.point_of_voxel)
    np.testing.assert_array_equal(found.grid.q_points, expected.grid.q_points)
    np.testing.assert_array_equal(found.grid.multiplicity, expected.grid.multiplicity)
    assert found.grid.n_rejected == expected.grid.n_rejected
    assert (found.grid.n_rejected > 0) == (kind == "outliers")
    one, other = by_point(found), by_point(expected)
    assert list(one) == list(other) == ["intensity", "independent", *WITH.get(kind, [])]
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-13, atol=1e-13)
    if kind == "single precision":
        assert lazy["intensity"].dtype == inside["intensity"].dtype == np.float32


WITH = {
    **{key: ["constant", "slope"] for key in ("sigma", "everything", "outliers")},
    **{key: ["number", "exposure"] for key in ("counts", "few counts")},
}
"""What is known of the points beside their intensity."""


def by_point(observed):
    """What is known of each point, by name."""
    known = {"intensity": observed.intensity, "independent": observed.independent}
    for part in (observed.errors, observed.counts):
        known |= {} if part is None else vars(part)
    return known


@pytest.mark.parametrize("source", WRITTEN)
@pytest.mark.parametrize("target", WRITTEN)
def test_volumes_are_converted_by_slabs(tmp_path, source, target):
    volume = sample("everything")
    write_volume(volume, tmp_path / "in", source)
    write_volume(read_volume(tmp_path / "in", slab_bytes=1), tmp_path / "out", target)
    found = read_volume(tmp_path / "out")
    xr.testing.assert_allclose(found, volume, rtol=1e-15, atol=1e-15)
    assert found.attrs == volume.attrs


def test_a_subtracted_background_is_seen_through_slabs():
    """The straight line through counts and intensities is that of all slabs, not of any one."""
    counts = np.random.default_rng(0).poisson(30.0, SHAPE) + 10.0 * np.arange(SHAPE[0])[:, None, None]
    volume = make_volume(*AXES, counts / 4 - 0.05, counts=counts)
    volume.encoding["slab_bytes"] = 1
    with pytest.raises(VolumeError, match=r"background was subtracted(.*\n)*.*\(counts - 0\.2\) / 4"):
        averaged(volume, "counts")
    assert len(averaged(volume.assign(intensity=volume["intensity"] + 0.05), "counts").intensity) > 10


def test_packed_netcdf_is_unpacked_by_slabs(tmp_path):
    volume = sample("plain")
    packing = {"dtype": "i2", "scale_factor": 1e-4, "add_offset": 2.0, "_FillValue": -1}
    volume.to_netcdf(tmp_path / "v.nc", engine="h5netcdf", encoding={"intensity": packing})
    lazy = read_volume(tmp_path / "v.nc", slab_bytes=8 * 256 * 9 * 13)
    assert len(list(slabs(lazy))) == 2
    np.testing.assert_allclose(lazy["intensity"], volume["intensity"], rtol=0, atol=0.5e-4 + 1e-12)


def test_a_volume_in_slabs_is_reindexed(tmp_path):
    write_volume(sample("everything"), tmp_path / "v", "nexus")
    matrix = [[0, -1, 0], [0, 0, 1], [1, 0, 0]]
    lazy = reindex(read_volume(tmp_path / "v", slab_bytes=1), matrix)
    assert lazy.encoding["order"] == "k h l"
    assert lazy.encoding["slab_bytes"] == 1
    xr.testing.assert_identical(lazy, reindex(sample("everything"), matrix))


def test_what_is_wrong_with_values_is_the_same_in_slabs(tmp_path):
    """NeXus files are cut across l: the first index is that of the whole volume all the same."""
    volume = sample("everything")
    volume["sigma"].values[[2, 7], [3, 0], [6, 1]] = -1.0
    volume["mask"].values[:] = False
    volume["intensity"].values[:] = 1.0
    data = [*AXES, volume["intensity"].values]
    with pytest.raises(VolumeError) as whole:
        make_volume(*data, sigma=volume["sigma"].values, name="v")
    parts = make_volume(*data, sigma=volume["sigma"].values.clip(0), name="v")
    parts["sigma"] = volume["sigma"]
    parts.encoding |= {"order": "l k h", "slab_bytes": 1}
    with pytest.raises(VolumeError) as cut:
        check_volume(parts, "v")
    assert str(cut.value) == str(whole.value)
    assert "sigma is -1 at index (2, 3, 6), and bad at 2 voxels" in str(cut.value)


def cut_off(path):
    os.truncate(path, path.stat().st_size - 100)


def written_again(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut_off, written_again, os.unlink])
@pytest.mark.parametrize("format", WRITTEN)
def test_a_file_that_changes_while_it_is_in_use_is_refused(tmp_path, format, harm):
    path = tmp_path / "v.h5"
    write_volume(sample("plain"), path, format)
    volume = read_volume(path, slab_bytes=1)
    averaged(volume, "plain")
    harm(path)
    with pytest.raises(VolumeError, match=r"v\.h5.*was changed while it was in use"):
        averaged(volume, "plain")


def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path):
    """The first slabs are whole."""
    path = tmp_path / "v.h5"
    write_volume(sample("plain"), path, "yell")
    with h5py.File(path, "a") as file:
        values = file["data"][()]
        del file["data"]
        made = file.create_dataset(
            "data", data=values, chunks=(1, 9, 13), compression="gzip", fletcher32=True
        )
        place = made.id.get_chunk_info(10)
    with open(path, "r+b") as file:
        file.seek(place.byte_offset + place.size // 2)
        file.write(b"\xff" * 8)
    with pytest.raises(VolumeError, match=r"v\.h5: 'data' in / cannot be read"):
        read_volume(path, slab_bytes=1)


def test_outliers_need_all_voxels_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(averaging, "too_much", lambda needed: f"This takes {needed} bytes.")
    n_voxels = averaged(sample("sigma"), "sigma").grid.multiplicity.sum()
    with pytest.raises(VolumeError, match=rf"among {n_voxels} voxels.*\n.*takes {200 * n_voxels} bytes"):
        averaged(sample("sigma"), "outliers")


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_memory_is_that_of_the_points(tmp_path, kind):
    """531,441 voxels: four bytes for the point of each and two flags, and 8 MiB that do not grow with them.

    These are a slab of 1 MiB and copies of it as it is read, the tables of images (48 times a plane of int32,
    1.2 MiB), the 12,286 points (100 bytes each, 1.2 MiB), and the sample of 40,000 voxels that are compared
    with their equivalents (50 bytes each, 2 MiB).
    """
    axes = (axis(8, 5),) * 3
    intensity = np.random.default_rng(0).uniform(1, 2, (81, 81, 81)).astype(kind)
    write_volume(make_volume(*axes, intensity), tmp_path / "v.nxs")
    supercell = supercell_of("fcc", 5, 5, 5)
    average(
        read_volume(tmp_path / "v.nxs", slab_bytes=2**20), supercell
    )  # what is imported when it is needed
    tracemalloc.start()
    try:
        volume = read_volume(tmp_path / "v.nxs", slab_bytes=2**20)
        average(volume, supercell)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert volume.nbytes > 2 * 2**20
    assert peak < 6 * 81**3 + 8 * 2**20


def test_residuals_by_slabs_are_those_of_the_whole(monkeypatch):
    supercell = supercell_of("fcc", 5, 5, 5)
    grid = averaged(sample("plain"), "plain").grid
    residual = np.random.default_rng(0).normal(size=len(grid.q_points))
    zones = residuals.zone_labels(grid.q_points, supercell.crystal)
    whole = residuals.residual_report(residual, grid.point_of_voxel, grid.axes, zones, supercell.crystal)
    monkeypatch.setattr(residuals, "places", partial(places, slab_bytes=2 * 256 * 9 * 13))
    parts = residuals.residual_report(residual, grid.point_of_voxel, grid.axes, zones, supercell.crystal)
    np.testing.assert_allclose(
        [getattr(parts, name) for name in vars(whole)], [*vars(whole).values()], rtol=1e-12
    )


def test_a_stored_array_of_other_arrays():
    one, other = stored(np.arange(8.0).reshape(2, 2, 2)), stored(np.full((2, 2, 2), 2.0))
    total = one.combined(np.multiply, other)
    assert isinstance(total, Stored)
    assert total.variable()[1, 0, 1].item() == 10
    assert total.count(lambda part: part > 4) == 5
