"""`simulate`, `info` and `convert`: files in and out."""

import itertools
import json
from functools import partial

import numpy as np
import pytest
import xarray as xr

from bayestds.cli import volumes
from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.io import read_volume, write_volume
from bayestds.scattering.slabs import slab_bytes
from bayestds.scattering.volume import make_volume
from tests.cli.tiny import LATTICE, MODEL, POINTS, call, tiny_volume

# All even or all odd within -2..2.
BRAGG_POINTS = 27 + 8
MEASURED = POINTS**3 - BRAGG_POINTS


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_simulate_writes_a_named_file_here(folder):
    outcome = call("simulate", "tiny.toml")
    assert outcome.code == 0
    assert names(folder) == ["tiny.toml", "tiny_truth.nc"]
    assert "tiny_truth.nc" in outcome.err
    assert outcome.out == ""


def test_simulate_writes_where_it_is_told(folder):
    (folder / "data").mkdir()
    outcome = call("simulate", "tiny.toml", "-o", "data/v.h5", "--json")
    assert names(folder) == ["data", "tiny.toml"]
    assert names(folder / "data") == ["v.h5"]
    assert json.loads(outcome.out)["output"] == "data/v.h5"


def test_simulated_volume(shared):
    volume = read_volume(shared.volume)
    assert dict(volume.sizes) == {"h": POINTS, "k": POINTS, "l": POINTS}
    assert volume.attrs["noise"] == "none"
    assert volume.attrs["temperature"] == 300
    assert volume.attrs["lattice"] == pytest.approx(LATTICE)


def test_only_bragg_peaks_are_unmeasured(shared):
    volume = read_volume(shared.volume)["intensity"]
    unmeasured = {tuple(volume[dim].values[i] for dim, i in zip("hkl", index, strict=True))
                  for index in np.argwhere(np.isnan(volume.values))}  # fmt: skip
    bragg = {q for q in itertools.product(range(-2, 3), repeat=3) if len({x % 2 for x in q}) == 1}
    assert {tuple(np.round(q, 9)) for q in unmeasured} == bragg


def test_simulated_intensity_is_cubic(shared):
    intensity = read_volume(shared.volume)["intensity"].values
    for image in (intensity.transpose(1, 2, 0), intensity.transpose(1, 0, 2), intensity[::-1]):
        np.testing.assert_allclose(intensity, image, rtol=1e-9)


def test_simulate_another_set(folder):
    assert call("simulate", "tiny.toml", "--ifcs", "springs").code == 0
    assert names(folder) == ["tiny.toml", "tiny_springs.nc"]
    assert "springs" in read_volume("tiny_springs.nc").attrs["source"]


def test_scale_multiplies_the_intensity(folder, shared):
    call("simulate", "tiny.toml", "--scale", "3", "-o", "v.nc")
    once, thrice = (read_volume(path)["intensity"].values for path in (shared.volume, "v.nc"))
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-12)


def test_soft_springs_scatter_more(folder, shared):
    call("simulate", "tiny.toml", "--ifcs", "springs", "-o", "v.nc")
    stiff, soft = (read_volume(path)["intensity"].values for path in (shared.volume, "v.nc"))
    assert np.nanmean(soft) > 1.2 * np.nanmean(stiff)


def test_info_of_a_simulation(shared):
    outcome = call("info", shared.volume, "--json")
    record = json.loads(outcome.out)
    axis = {"first": -2, "last": 2, "points": POINTS, "unit": "r.l.u."}
    assert record["axis_h"] == record["axis_k"] == record["axis_l"] == axis
    assert (record["voxels"], record["measured"], record["not_positive"]) == (POINTS**3, MEASURED, 0)
    assert record["coverage"] == pytest.approx(MEASURED / POINTS**3)
    assert (record["format"], record["order_in_file"]) == ("nexus", "l k h")
    assert record["lattice"] == pytest.approx(LATTICE)
    assert (record["temperature_K"], record["noise"], record["title"]) == (300, "none", "tiny fcc")
    assert (record["file"], outcome.err) == (str(shared.volume), "")


def test_info_of_data(folder):
    intensity = np.ones((POINTS, POINTS, POINTS))
    intensity[0, 0, :3] = np.nan, -1, 0
    mask = np.zeros(intensity.shape, dtype=bool)
    mask[1, 1, 1] = True
    write_volume(
        tiny_volume(intensity=intensity, mask=mask, sigma=intensity * 0 + 0.1, lattice=None), "v.nxs"
    )
    record = json.loads(call("info", "v.nxs", "--json").out)
    assert (record["measured"], record["not_positive"]) == (POINTS**3 - 2, 2)
    assert record["intensity_range"] == [-1, 1]
    assert (record["standard_errors"], record["counts"]) == (True, False)
    assert (record["lattice"], record["temperature_K"]) == (None, None)


def test_info_with_a_model_tells_how_well_equivalents_agree(folder):
    noise = np.random.default_rng(0).normal(size=(POINTS,) * 3)
    clean = tiny_volume()
    sigma = 0.05 * clean["intensity"]
    volume = clean.assign(intensity=clean["intensity"] + sigma * noise, sigma=sigma)
    write_volume(volume, "v.nc")
    found = json.loads(call("info", "v.nc", "tiny.toml", "--json").out)["equivalents"]
    assert found["chi_square"] == pytest.approx(1, abs=0.1)
    # Mean of |x| of a normal variable x.
    assert found["r_meas"] == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.1)
    assert len(found["by_operation"]) > 20
    assert not any(one["disagrees"] for one in found["by_operation"])
    words = call("info", "v.nc", "tiny.toml").out
    for word in ("R_int", "R_meas", "chi-square", "-h, -k, -l"):
        assert word in words
    # One of the three axes is another: a crystal in a wrong setting.
    h = volume["h"].values
    write_volume(volume.assign(intensity=volume["intensity"] * (1 + 0.1 * h**2)[:, None, None]), "w.nc")
    outcome = call("info", "w.nc", "tiny.toml", "--json")
    found = json.loads(outcome.out)["equivalents"]
    assert {one["operation"] for one in found["by_operation"] if one["disagrees"]} >= {"k, h, l"}
    assert "equivalent voxels differ by more than their errors" in outcome.err
    assert "operations relate voxels that disagree" in outcome.err


def test_info_in_words(folder):
    write_volume(tiny_volume(), "v.nc")
    outcome = call("info", "v.nc")
    assert "-2 to 2 r.l.u., 13 points" in outcome.out
    assert "h k l" in outcome.out
    assert "3.52 3.52 3.52 90 90 90" in outcome.out
    assert "not stated" in outcome.out


def test_text_of_a_file_is_not_read_as_markup(folder):
    write_volume(tiny_volume(title="[/bold] [red]$\\frac{ <script>"), "[red]v.nc")
    outcome = call("info", "[red]v.nc")
    assert outcome.code == 0
    assert "[/bold] [red]$\\frac{ <script>" in outcome.out
    assert "[red]v.nc" in outcome.out


def test_convert_round_trip(folder):
    rng = np.random.default_rng(3)
    given = tiny_volume(
        intensity=rng.uniform(1, 2, (POINTS,) * 3),
        sigma=rng.uniform(0.1, 0.2, (POINTS,) * 3),
        temperature=77,
        title="a title",
    )
    write_volume(given, "a.nxs")
    path = ["a.nxs", "b.md.nxs", "c.h5", "d.discus.h5", "e.nc", "f.discus.h5", "g.md.nxs", "h.nc", "i.nxs"]
    for source, target in itertools.pairwise(path):
        assert call("convert", source, target).code == 0
    found = read_volume("i.nxs")
    np.testing.assert_array_equal(found["intensity"], given["intensity"])
    # Mantid keeps variances; the axes went through corners, steps and edges.
    np.testing.assert_allclose(found["sigma"], given["sigma"], rtol=1e-15)
    np.testing.assert_allclose(found["h"], given["h"], atol=1e-12)
    assert found.attrs == given.attrs


def asymmetric():
    """Three axes of different lengths, and a cell of different edges and angles."""
    axes = np.linspace(-1, 0.5, 4), np.linspace(0, 0.2, 3), np.array([2.0, 3.0])
    values = np.arange(24.0).reshape(4, 3, 2)
    return make_volume(*axes, values, lattice=(3.0, 4.0, 5.0, 80.0, 85.0, 95.0))


@pytest.mark.parametrize(
    ("suffix", "name", "order"),
    [("nxs", "nexus", "l k h"), ("md.nxs", "mdhisto", "l k h"), ("discus.h5", "discus", "h k l")],
)
def test_info_says_in_which_order_the_axes_were(folder, suffix, name, order):
    write_volume(asymmetric(), f"v.{suffix}")
    record = json.loads(call("info", f"v.{suffix}", "--json").out)
    assert (record["format"], record["order_in_file"]) == (name, order)
    assert [record[f"axis_{axis}"]["points"] for axis in "hkl"] == [4, 3, 2]
    assert record["lattice"] == [3, 4, 5, 80, 85, 95]


def test_convert_reindexes(folder):
    given = asymmetric()
    write_volume(given, "a.nxs")
    outcome = call("convert", "a.nxs", "b.nc", "--reindex", "0 1 0 / 0 0 -1 / 1/2 0 0", "--json")
    # b, -c, a/2: their angles are 180 - beta, gamma and 180 - alpha.
    assert json.loads(outcome.out)["lattice"] == [4, 5, 1.5, 95, 95, 100]
    found = read_volume("b.nc")
    for h, k, l in itertools.product(given["h"].values, given["k"].values, given["l"].values):  # noqa: E741
        there = found["intensity"].sel(h=k, k=-l, l=h / 2, method="nearest", tolerance=1e-9)
        assert there == given["intensity"].sel(h=h, k=k, l=l)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ("1 1 0 / 2 2 0 / 0 0 1", "independent"),
        ("1 0 0 / 0 1 0", "Three rows"),
        ("1 0 0/0 1 0/0 0 1", "Three rows"),
        ("1 0 0 / 0 x 0 / 0 0 1", "Three rows"),
        ("1 0 0 / 0 1/0 0 / 0 0 1", "Three rows"),
        ("", "Three rows"),
    ],
)
def test_matrices_that_cannot_be_used(folder, matrix, words):
    write_volume(asymmetric(), "a.nxs")
    outcome = call("convert", "a.nxs", "b.nc", "--reindex", matrix)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (folder / "b.nc").exists()


def test_transmission_survives_every_format_and_what_is_not_read_is_named(folder):
    shape = (POINTS,) * 3
    transmission = np.random.default_rng(0).uniform(0.3, 1, shape)
    given = tiny_volume(transmission=transmission)
    write_volume(given.assign(transmision=given["intensity"]), "a.nc")
    assert "transmision" in json.loads(call("info", "a.nc", "--json").out)["not_read"]
    outcome = call("convert", "a.nc", "b.nxs")
    assert (outcome.code, "does not know: transmision" in outcome.err) == (0, True)
    for source, target in itertools.pairwise(["b.nxs", "c.md.nxs", "d.h5", "e.discus.h5", "f.nc"]):
        outcome = call("convert", source, target)
        assert (outcome.code, "Warning" in outcome.err) == (0, False)
    np.testing.assert_array_equal(read_volume("f.nc")["transmission"], transmission)
    record = json.loads(call("info", "f.nc", "--json").out)
    assert (record["transmission"], "not_read" in record) == (True, False)


def test_format_overrides_the_suffix(folder):
    write_volume(tiny_volume(), "a.nxs")
    outcome = call("convert", "a.nxs", "b.dat", "--format", "yell", "--json")
    assert json.loads(outcome.out)["output"] == "b.dat"
    assert json.loads(call("info", "b.dat", "--json").out)["voxels"] == POINTS**3


def test_convert_replaces_its_own_input(folder):
    write_volume(tiny_volume(), "a.nc")
    before = read_volume("a.nc")
    assert call("convert", "a.nc", "a.nc").code == 0
    assert read_volume("a.nc").identical(before)


@pytest.fixture
def in_slabs(monkeypatch):
    """Every volume that a command reads stays in its file, in slabs of one plane."""
    monkeypatch.setattr(volumes, "read_volume", partial(read_volume, slab_bytes=1))


def test_info_and_convert_go_by_slabs(folder, in_slabs):
    volume = asymmetric()
    volume["intensity"].values[0, 1, 0], volume["intensity"].values[3, 2, 1] = np.nan, -1.0
    write_volume(volume, "v.nxs")
    whole = json.loads(call("info", "v.nxs", "--json").out)
    values = volume["intensity"].values[np.isfinite(volume["intensity"].values)]
    assert whole["intensity_range"] == [values.min(), values.max()]
    assert (whole["measured"], whole["not_positive"]) == (values.size, (values <= 0).sum())
    # Onto itself, in another format: what is told of it is of the volume, not of whatever is there by then.
    converted = call("convert", "v.nxs", "v.nxs", "--format", "yell", "--json")
    assert converted.code == 0, converted.err
    assert json.loads(converted.out)["measured"] == values.size
    xr.testing.assert_allclose(read_volume("v.nxs"), volume)


def test_the_model_says_how_large_a_slab_may_be(folder):
    write_volume(tiny_volume(), "v.nxs")
    model = MODEL.replace("temperature = 300", "temperature = 300\nslab_memory = 0.25")
    (folder / "slabs.toml").write_text(model)
    assert slab_bytes(build_study(load_model("slabs.toml")).read(folder / "v.nxs")) == 2**18
    (folder / "plain.toml").write_text(MODEL)
    assert slab_bytes(build_study(load_model("plain.toml")).read(folder / "v.nxs")) == 2**28
    (folder / "wrong.toml").write_text(model.replace("0.25", "0"))
    assert "slab_memory" in call("fit", "wrong.toml", "v.nxs").err
