"""`fit`: from a simulated volume back to its force constants, through files."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from bayestds.diagnostics.result_file import read_result
from bayestds.io import read_volume, write_volume
from tests.cli.tiny import MODEL, NAMES, TRUTH, call

# The prior draws the fit by (sd / prior sd)², here 2e-6 of the value.
RECOVERED = 1e-5


def values(record):
    return np.array([record["ifcs"][name]["value"] for name in record["ifcs"]])


def fit(*words):
    outcome = call("fit", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_truth_is_recovered(shared):
    assert shared.record["converged"] is True
    assert tuple(shared.record["ifcs"]) == NAMES
    np.testing.assert_allclose(values(shared.record), list(TRUTH.values()), rtol=0, atol=RECOVERED)


def test_types_of_the_record(shared):
    record = shared.record
    for name, entry in record["ifcs"].items():
        assert entry["shell"] == (1 if name.startswith("b") else 2)
        assert all(isinstance(entry[key], float) for key in ("value", "sd", "clustered_sd", "start"))
        assert entry["sd"] > 0
        assert entry["reference"] == TRUTH[name]
    assert isinstance(record["message"], str)
    assert record["seconds"] > 0
    assert record["noise"] == "assumed"
    assert record["temperature_K"] == 300


def test_sum_rule_holds(shared):
    v = dict(zip(NAMES, values(shared.record), strict=True))
    expected = -(8 * v["b0"] + 4 * v["b1"] + 2 * v["c0"] + 4 * v["c1"])
    assert shared.record["self_terms"]["a0"] == pytest.approx(expected, rel=1e-12)


def test_loss_is_the_weighted_variance(shared):
    observed = read_result(shared.result)["observed_data"]
    weight, misfit = observed["weight"].values, observed["residual"].values
    assert shared.record["loss"] == pytest.approx(np.average(misfit**2, weights=weight), rel=1e-6)
    assert shared.record["residual_rms"] == pytest.approx(math.sqrt(shared.record["loss"]))


def test_counts_of_points(shared):
    observed = read_result(shared.result)["observed_data"]
    assert shared.record["n_points"] == observed.sizes["point"]
    assert shared.record["n_voxels"] == int(observed["multiplicity"].sum())
    assert shared.record["n_voxels"] == np.isfinite(read_volume(shared.volume)["intensity"]).sum()


def test_record_equals_the_result_file(shared):
    stored = read_result(shared.result)["point_fit"]
    for name, entry in shared.record["ifcs"].items():
        row = stored.dataset.sel(irreducible=name)
        assert entry["value"] == float(row["value"])
        assert entry["sd"] == float(row["standard_error"])
        assert entry["clustered_sd"] == float(row["clustered_standard_error"])
        assert (entry["start"], entry["reference"]) == (float(row["start"]), float(row["reference"]))


def test_standard_error_of_the_self_term_follows_from_the_covariance(shared):
    covariance = read_result(shared.result)["point_fit"]["covariance"].values
    row = np.array([8, 4, 0, 2, 4])
    assert shared.record["self_terms_sd"]["a0"] == pytest.approx(math.sqrt(row @ covariance @ row))


def test_default_names(shared):
    assert shared.record["output"] == "tiny_fit.nc"
    assert shared.record["picture"] == "tiny_fit.png"
    assert {path.name for path in shared.folder.iterdir()} == {
        "tiny.toml",
        "x.nxs",
        "tiny_fit.nc",
        "tiny_fit.png",
    }
    assert "tiny_fit.nc" in shared.fitted.err


def test_picture(shared):
    assert shared.picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    image = imread(shared.picture)
    assert 400 < image.shape[0] < 4000
    assert 1000 < image.shape[1] < 4000
    assert image[..., :3].std() > 0.05
    assert 20_000 < shared.picture.stat().st_size < 2_000_000


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_other_formats_give_the_same(folder, shared, suffix):
    volume = f"v{suffix}"
    assert call("convert", shared.volume, volume).code == 0
    found = fit("tiny.toml", volume, "-o", "sub.nc")
    np.testing.assert_allclose(values(found), values(shared.record), rtol=0, atol=1e-9)


def test_own_measurement_gives_the_same(folder, shared):
    found = fit("tiny.toml", "-o", "r.nc")
    np.testing.assert_allclose(values(found), values(shared.record), rtol=0, atol=1e-9)
    assert sorted(path.name for path in folder.iterdir()) == ["r.nc", "r.png", "tiny.toml"]


def test_data_file_of_the_model_lies_beside_the_model(folder, shared, monkeypatch):
    (folder / "x.nxs").write_bytes(shared.volume.read_bytes())
    grid = MODEL[MODEL.index("[measurement.grid]") : MODEL.index("[fit]")]
    text = MODEL.replace('ifcs = "truth"\n', 'file = "x.nxs"\n').replace(grid, "")
    (folder / "filed.toml").write_text(text)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = fit("../filed.toml")
    np.testing.assert_allclose(values(found), values(shared.record), rtol=0, atol=1e-9)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["filed_fit.nc", "filed_fit.png"]


def test_start_from_zero(folder, shared):
    found = fit("tiny.toml", shared.volume, "--start", "zero")
    assert {entry["start"] for entry in found["ifcs"].values()} == {0.0}
    assert found["converged"] is True
    np.testing.assert_allclose(values(found), values(shared.record), rtol=0, atol=1e-6)


def test_temperature_of_the_volume_is_used(folder, shared):
    # Classical statistics: half the temperature with half the stiffness scatters alike.
    volume = read_volume(shared.volume).assign_attrs(temperature=150.0)
    write_volume(volume, "cold.nc")
    found = fit("tiny.toml", "cold.nc")
    assert found["temperature_K"] == 150
    np.testing.assert_allclose(values(found), values(shared.record) / 2, rtol=0, atol=RECOVERED)


def test_scale_of_the_volume_does_not_matter(folder, shared):
    volume = read_volume(shared.volume)
    write_volume(volume.assign(intensity=volume["intensity"] * 1e9), "bright.nc")
    found = fit("tiny.toml", "bright.nc")
    np.testing.assert_allclose(values(found), values(shared.record), rtol=0, atol=1e-7)


@pytest.fixture(scope="module")
def noisy(shared, tmp_path_factory):
    """A fit of the volume with 2 % of independent noise, and standard errors that say so."""
    volume = read_volume(shared.volume)
    draws = np.random.default_rng(1).normal(size=volume["intensity"].shape)
    sigma = 0.02 * volume["intensity"]
    del volume.attrs["noise"]
    path = tmp_path_factory.mktemp("noisy") / "noisy.nc"
    write_volume(volume.assign(intensity=volume["intensity"] + sigma * draws, sigma=sigma), path)
    return fit(shared.folder / "tiny.toml", path, "-o", path.with_name("r.nc"))


def test_errors_of_noisy_data_are_honest(noisy):
    sd = np.array([entry["sd"] for entry in noisy["ifcs"].values()])
    pulls = (values(noisy) - list(TRUTH.values())) / sd
    assert np.abs(pulls).max() < 4
    assert noisy["noise"] == "given"


def test_measured_data_come_with_a_warning(noisy):
    assert "anharmonicity" in noisy["note"]


def test_simulated_data_come_without_it(shared):
    assert "note" not in shared.record


def test_fit_in_words(folder, shared):
    outcome = call("fit", "tiny.toml", shared.volume, "-o", "r.nc")
    assert outcome.code == 0
    assert "Wrote r.nc and r.png." in outcome.err
    for words in (*NAMES, "a0 = 7.6", "standard error", "reference", "Converged"):
        assert words in outcome.out
    assert re.search(r"b0 +1 +-0\.70000 +-(1\.00000|0\.99999)", outcome.out)


def test_an_old_result_is_replaced(folder, shared):
    (folder / "r.nc").write_text("old")
    fit("tiny.toml", shared.volume, "-o", "r.nc")
    assert read_result(folder / "r.nc").attrs["kind"] == "point_fit"


def test_hostile_names_and_titles(folder, shared):
    text = MODEL.replace('"tiny fcc"', r"'$\frac{ <script> [bold] [/bold] %s {x}'")
    (folder / "[bold]{x}$_.toml").write_text(text)
    assert call("fit", "[bold]{x}$_.toml", shared.volume).code == 0
    assert (folder / "[bold]{x}$__fit.png").is_file()


@pytest.mark.slow
def test_more_shells_than_the_truth_are_found_to_be_zero(folder):
    found = fit("tiny.toml", "--shells", "3", "--start", "truth")
    assert tuple(found["ifcs"]) == (*NAMES, "d0", "d1", "d2", "d3")
    expected = [*TRUTH.values(), 0, 0, 0, 0]
    np.testing.assert_allclose(values(found), expected, rtol=0, atol=RECOVERED)


@pytest.mark.slow
def test_fewer_shells_than_the_truth_leave_a_residual(folder):
    found = fit("tiny.toml", "--shells", "1")
    assert tuple(found["ifcs"]) == ("b0", "b1", "b2")
    assert found["residual_rms"] > 1e-3


@pytest.mark.slow
def test_photons_are_counted_and_fitted(tmp_path, monkeypatch):
    """Twelve counts a voxel in the mean, in many none: standard errors say how large the errors are."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(MODEL + "[mask]\nq_min = 1.5\n")
    squares = []
    for seed in range(5):
        simulated = call("simulate", "tiny.toml", "--counts", 12, "--seed", seed, "-o", "counts.nc")
        assert simulated.code == 0, simulated.err
        volume = read_volume("counts.nc")
        counts = volume["counts"].values[np.isfinite(volume["intensity"].values)]
        assert (counts == 0).sum() > 10
        assert counts.mean() == pytest.approx(12, rel=0.1)
        record = fit("tiny.toml", "counts.nc", "-o", "fit.nc")
        assert record["noise"] == "counts"
        pulls = [(value["value"] - value["reference"]) / value["sd"] for value in record["ifcs"].values()]
        squares.append(np.mean(np.square(pulls)))
    assert 0.3 < np.mean(squares) < 2.5, squares


def test_counts_of_configurations_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(MODEL)
    outcome = call("simulate", "tiny.toml", "--engine", "sampled", "--counts", 3, "-o", "v.nc")
    assert outcome.code == 2
    assert "without noise" in outcome.err
