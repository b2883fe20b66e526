"""Volumes as beamlines and programs write them, from the file to the constants."""

import json

import h5py
import hdf5plugin
import numpy as np
import pytest

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.io import read_volume, write_volume
from bayestds.scattering.reindex import reindex
from bayestds.scattering.volume import make_volume, volume_axes
from tests.cli.tiny import call

MODEL = """\
title = "small"

[crystal]
lattice = [3.52, 3.52, 3.52, 90, 90, 90]
space_group = 225
sites = [{species = "Ni", position = [0, 0, 0]}]

[force_constants]
shells = 2

[ifcs.t]
source = "test"
values = {b0 = -1.49, b1 = 0.087, b2 = -1.566, c0 = 0.2044, c1 = -0.0167}

[measurement]
supercell = [3, 3, 3]
temperature = 300
statistics = "classical"
ifcs = "t"

[measurement.grid]
h = [-4, 4, 25]
k = [-4, 4, 25]
l = [-4, 4, 25]
"""
CELL = {"a": 3.52, "b": 3.52, "c": 3.52, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cases")
    (made / "small.toml").write_text(MODEL)
    return made


@pytest.fixture(scope="module")
def ideal(folder):
    """The intensities of the small nickel crystal, without noise."""
    return build_study(load_model(str(folder / "small.toml"))).simulated("t")


@pytest.fixture(scope="module")
def noise(ideal):
    """The same with 5 % of noise, and its standard errors."""
    truth = ideal["intensity"].values
    sigma = 0.05 * truth
    return truth + np.random.default_rng(7).normal(size=truth.shape) * sigma, sigma


def written(folder, name, ideal, intensity, sigma=None):
    axes = [ideal[axis].values for axis in "hkl"]
    attributes = {"lattice": ideal.attrs["lattice"], "temperature": 300.0, "statistics": "classical"}
    write_volume(make_volume(*axes, intensity, sigma=sigma, **attributes), folder / name)
    return folder / name


def nexus(path, ideal, intensity, **storage):
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        sample = entry.create_group("sample")
        sample.attrs["NX_class"] = "NXsample"
        for key, value in CELL.items():
            sample[f"unitcell_{key}"] = value
        sample["temperature"] = 300.0
        data = entry.create_group("transform")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["Ql", "Qk", "Qh"]})
        data.create_dataset("data", data=intensity.transpose(), **storage)
        for axis in "hkl":
            data[f"Q{axis}"] = ideal[axis].values
    return path


def fitted(folder, path, *options):
    output = folder / f"{path.stem}_fit.nc"
    result = call("fit", folder / "small.toml", path, "-o", output, "--json", *options)
    assert result.code == 0, result.out + result.err
    return json.loads(result.out)


def constants(record):
    values = list(record["ifcs"].values())
    return np.array([one["value"] for one in values]), np.array([one["sd"] for one in values])


@pytest.fixture(scope="module")
def plain(folder, ideal, noise):
    return fitted(folder, written(folder, "plain.nc", ideal, *noise))


def test_a_voxel_below_zero_is_data(folder, ideal, noise, plain):
    """It is 20 standard errors low, and one of 48 equivalents."""
    intensity, sigma = noise[0].copy(), noise[1]
    truth = ideal["intensity"].values
    place = tuple(np.argwhere(np.isfinite(truth) & (truth < np.nanpercentile(truth, 30)))[1000])
    intensity[place] = -0.1 * sigma[place]
    found, _ = constants(fitted(folder, written(folder, "negative.nc", ideal, intensity, sigma)))
    expected, errors = constants(plain)
    assert (np.abs(found - expected) < 0.3 * errors).all()


def test_an_octant_of_zeros_was_not_measured(folder, ideal, noise):
    intensity = noise[0].copy()
    intensity[:12, :12, :12] = 0.0
    record = fitted(folder, nexus(folder / "zeros.nxs", ideal, intensity))
    assert any("voxels of exactly zero are taken as unmeasured" in note for note in record["notes"])
    intensity[:12, :12, :12] = np.nan
    without = fitted(folder, nexus(folder / "without.nxs", ideal, intensity))
    np.testing.assert_allclose(constants(record)[0], constants(without)[0], rtol=1e-9)
    shown = call("info", folder / "zeros.nxs", folder / "small.toml")
    assert "taken as unmeasured" in shown.out + shown.err


def test_few_normalised_counts_need_a_word(folder, ideal):
    truth = ideal["intensity"].values
    quantum = np.nanmean(truth)
    counts = np.random.default_rng(3).poisson(np.nan_to_num(truth) / quantum)
    path = nexus(folder / "counts.nxs", ideal, np.where(np.isfinite(truth), counts * quantum, np.nan))
    result = call("fit", folder / "small.toml", path, "-o", folder / "counts_fit.nc")
    assert result.code == 2
    assert 'zeros = "measured"' in result.out + result.err
    assert not (folder / "counts_fit.nc").exists()


def test_bitshuffle_is_read(folder, ideal, noise):
    chunks = (25, 25, 25)
    path = nexus(folder / "bitshuffle.nxs", ideal, noise[0], chunks=chunks, **hdf5plugin.Bitshuffle())
    np.testing.assert_array_equal(read_volume(path)["intensity"], noise[0])


def body_centred(ideal, noise):
    """The fcc volume in body-centred tetragonal axes: a' = (a - b)/2, b' = (a + b)/2, c' = c."""
    matrix = np.array([[0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    volume = make_volume(
        *(ideal[axis].values for axis in "hkl"),
        noise[0],
        sigma=noise[1],
        lattice=ideal.attrs["lattice"],
        temperature=300.0,
        statistics="classical",
    )
    return reindex(volume, matrix), matrix


@pytest.mark.parametrize("suffix", ["nc", "nxs", "md.nxs", "h5", "discus.h5"])
def test_oblique_axes_survive_every_format(folder, ideal, noise, suffix):
    volume, _ = body_centred(ideal, noise)
    write_volume(volume, folder / f"oblique.{suffix}")
    found = read_volume(folder / f"oblique.{suffix}")
    np.testing.assert_allclose(volume_axes(found).points(), volume_axes(volume).points(), atol=1e-10)
    np.testing.assert_allclose(found["intensity"], volume["intensity"], rtol=1e-12)


def test_a_volume_in_another_cell_is_that_of_the_crystal(folder, ideal, noise, plain):
    volume, matrix = body_centred(ideal, noise)
    assert volume.attrs["lattice"][0] == pytest.approx(3.52 / np.sqrt(2))
    write_volume(volume, folder / "bct.nc")
    record = fitted(folder, folder / "bct.nc")
    np.testing.assert_allclose(constants(record)[0], constants(plain)[0], rtol=1e-6)
    assert any("was indexed with" in note for note in record["notes"])
    # By hand, the other way round.
    there = folder / "turned.nc"
    text = " / ".join(" ".join(f"{value:g}" for value in row) for row in np.linalg.inv(matrix))
    result = call("convert", folder / "bct.nc", there, "--reindex", text)
    assert result.code == 0, result.out + result.err
    np.testing.assert_allclose(read_volume(there)["h"], ideal["h"], atol=1e-12)
    np.testing.assert_allclose(read_volume(there)["intensity"], noise[0])


def test_a_crystal_and_its_volume_in_the_same_other_cell(folder, ideal, noise, plain):
    """A body-centred tetragonal listing without symmetry, as structure databases have fcc crystals."""
    volume, _ = body_centred(ideal, noise)
    write_volume(volume, folder / "listed.nc")
    cell = """\
lattice = [2.4890158698766, 2.4890158698766, 3.52, 90, 90, 90]
sites = [{species = "Ni", position = [0, 0, 0]}, {species = "Ni", position = [0.5, 0.5, 0.5]}]
"""
    begin, end = MODEL.index("lattice ="), MODEL.index("[force_constants]")
    (folder / "listed.toml").write_text(MODEL[:begin] + cell + "\n" + MODEL[end:])
    output = folder / "listed_fit.nc"
    result = call("fit", folder / "listed.toml", folder / "listed.nc", "-o", output, "--json")
    assert result.code == 0, result.out + result.err
    record = json.loads(result.out)
    np.testing.assert_allclose(constants(record)[0], constants(plain)[0], rtol=1e-6)
    assert any("other conventional axes than it was given in" in note for note in record["notes"])
    assert any("was indexed with" in note for note in record["notes"])


def test_path_chooses_a_volume(folder, ideal, noise):
    path = nexus(folder / "two.nxs", ideal, noise[0])
    with h5py.File(path, "a") as file:
        file.copy("entry/transform", file["entry"], "second")
        file["entry/second/data"][...] *= 2
    shown = json.loads(call("info", path, "--json").out)
    assert shown["candidates"] == ["/entry/second", "/entry/transform"]
    assert shown["path"] == "/entry/transform"
    chosen = json.loads(call("info", path, "--path", "/entry/second", "--json").out)
    assert chosen["intensity_range"][1] == pytest.approx(2 * shown["intensity_range"][1])
    out = folder / "second.nc"
    assert call("convert", path, out, "--path", "entry/second").code == 0
    np.testing.assert_allclose(read_volume(out)["intensity"], 2 * noise[0])
    text = MODEL.replace("temperature = 300", 'temperature = 300\npath = "/entry/second"')
    (folder / "chosen.toml").write_text(text)
    study = build_study(load_model(str(folder / "chosen.toml")))
    np.testing.assert_allclose(study.read(path)["intensity"], 2 * noise[0])
