"""`fit` with several volumes: merged, and as a series of temperatures."""

import json

import numpy as np
import pytest

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.diagnostics.result_file import read_result
from bayestds.io import read_volume, write_volume
from bayestds.scattering.simulation import simulate_volume
from tests.cli.tiny import MODEL, NAMES, TRUTH, call

CHANGE = np.array([0.03, 0.01, -0.02, 0.01, 0.01])
TEMPERATURES = (200.0, 300.0, 400.0)
WITH_TREND = MODEL + "trend = true\ntrend_scale = 1.0\n"


@pytest.fixture
def series(folder):
    """Three temperatures, noise-free, with constants linear in the temperature."""
    (folder / "trend.toml").write_text(WITH_TREND)
    study = build_study(load_model("trend.toml"))
    for temperature in TEMPERATURES:
        constants = np.array(list(TRUTH.values())) + CHANGE * (temperature - 300) / 100
        volume = simulate_volume(
            study.irreducible, constants, study.supercell(), temperature, study.axes, scale=temperature
        )
        write_volume(volume, f"t{temperature:g}.nc")
    return [f"t{temperature:g}.nc" for temperature in TEMPERATURES]


def column(record, key):
    return np.array([record["ifcs"][name][key] for name in NAMES])


def test_series_of_temperatures(folder, series):
    outcome = call("fit", "trend.toml", *series, "-o", "r.nc", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["converged"] is True
    assert record["reference_temperature_K"] == 300
    assert column(record, "value") == pytest.approx(list(TRUTH.values()), abs=2e-5)
    assert column(record, "trend") == pytest.approx(CHANGE, abs=5e-5)
    assert [one["temperature_K"] for one in record["volumes"]] == list(TEMPERATURES)
    assert all(one["p_value"] > 0.01 and one["own_converged"] for one in record["volumes"])
    assert record["warnings"] == []
    tree = read_result("r.nc")
    fit = tree["point_fit"].dataset
    assert fit["value"].values == pytest.approx(column(record, "value"))
    assert fit["trend"].values == pytest.approx(column(record, "trend"))
    assert fit["trend_standard_error"].values == pytest.approx(column(record, "trend_sd"))
    assert fit["trend"].attrs["units"] == "eV/Å² per 100 K"
    assert fit["covariance"].values.diagonal() == pytest.approx(column(record, "sd") ** 2)
    for number, (name, temperature) in enumerate(zip(series, TEMPERATURES, strict=True), start=1):
        group = tree[f"volume_{number}"]
        assert group.attrs["name"] == name
        assert group.attrs["residual_rms"] == record["volumes"][number - 1]["residual_rms"]
        assert float(group["constant_data"]["temperature"]) == temperature
        assert group["observed_data"].sizes["point"] == record["volumes"][number - 1]["n_points"]
        assert (folder / f"r_{number}.png").read_bytes().startswith(b"\x89PNG")
    summary = call("summary", "r.nc", "--json")
    assert summary.code == 0, summary.err
    means = json.loads(summary.out)["ifcs"]
    assert [means[name]["mean"] for name in NAMES] == pytest.approx(list(column(record, "value")))


@pytest.mark.slow
def test_series_without_a_trend_is_called_into_question(folder, series):
    outcome = call("fit", "tiny.toml", *series, "-o", "r.nc")
    assert outcome.code == 0, outcome.err
    assert "disagrees with the joint constants" in outcome.err
    for word in (*NAMES, *series, "chi-square", "Converged"):
        assert word in outcome.out
    assert "per 100 K" not in outcome.out


def test_volume_without_a_temperature_is_named(folder, series):
    volume = read_volume(series[0])
    del volume.attrs["temperature"]
    write_volume(volume, "unknown.nc")
    record = json.loads(call("fit", "tiny.toml", series[1], "unknown.nc", "--json").out)
    (warning,) = [text for text in record["warnings"] if "no temperature" in text]
    assert warning.startswith("unknown.nc: ")
    assert "300 K" in warning


@pytest.mark.slow
def test_backgrounds_and_noise_of_volumes_are_printed(folder, series):
    model = MODEL + "[instrument]\nbackground = 1\n[simulation]\nbackground = [0.2]\n"
    (folder / "flat.toml").write_text(model)
    assert call("simulate", "flat.toml", "-o", "a.nc").code == 0
    assert call("simulate", "flat.toml", "-o", "b.nc", "--counts", 1000, "--seed", 1).code == 0
    outcome = call("fit", "flat.toml", "a.nc", "b.nc", "-o", "r.nc", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert [one["noise"] for one in record["volumes"]] == ["assumed", "counts"]
    strengths = [one["background"]["background_0"] for one in record["volumes"]]
    for found in strengths:
        assert found["value"] == pytest.approx(0.2, abs=4 * found["sd"])
    words = call("summary", "r.nc")
    assert words.code == 0, words.err
    for number, found in enumerate(strengths, start=1):
        assert f"volume_{number} background_0 = {found['value']:.4g} ± {found['sd']:.1e} of the" in words.out
    tree = read_result("r.nc")
    assert tree["volume_2/background"]["standard_error"].values[0] == pytest.approx(strengths[1]["sd"])


def test_one_volume_has_no_trend(folder, series):
    for command in ("fit", "sample"):
        outcome = call(command, "trend.toml", series[0])
        assert outcome.code == 2
        assert "One volume has one temperature" in outcome.err


def test_equal_temperatures_have_no_trend(folder, series):
    outcome = call("fit", "trend.toml", series[0], series[0])
    assert outcome.code == 2
    assert "no temperature trend" in outcome.err


def test_inputs_are_not_overwritten(folder, series):
    outcome = call("fit", "tiny.toml", *series, "-o", series[1])
    assert outcome.code == 2
    assert "is an input" in outcome.err
