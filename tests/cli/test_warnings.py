"""What a fit tells of data that are not what they claim, and inputs that must not be lost."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestds.io import read_volume, write_volume
from bayestds.scattering.detection import counted_volume
from tests.cli.tiny import TRUTH, call


def fit_of(volume: xr.Dataset, folder: Path, *options: str) -> dict[str, Any]:
    write_volume(volume, folder / "changed.nc")
    outcome = call("fit", "tiny.toml", "changed.nc", "-o", "changed_fit.nc", "--json", *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def volume(shared, folder) -> xr.Dataset:
    return read_volume(shared.volume)


def noisy(volume: xr.Dataset, sigma: float) -> xr.Dataset:
    draws = np.random.default_rng(3).normal(size=volume["intensity"].shape)
    return volume.assign(intensity=volume["intensity"] * np.exp(sigma * draws))


def largest_pull(record: dict[str, Any]) -> float:
    return max(
        abs(record["ifcs"][name]["value"] - TRUTH[name]) / record["ifcs"][name]["sd"] for name in TRUTH
    )


def test_good_data_bring_no_warning(shared):
    assert shared.record["warnings"] == []


def test_noise_that_the_volume_denies_is_learned(volume, folder):
    assert volume.attrs["noise"] == "none"
    record = fit_of(noisy(volume, 0.1), folder)
    assert record["noise"] == "learned"
    assert record["relative_noise"] == pytest.approx(0.1, rel=0.5)
    assert any("simulated without noise" in warning for warning in record["warnings"])
    sd = np.array([entry["sd"] for entry in record["ifcs"].values()])
    found = np.array([entry["value"] for entry in record["ifcs"].values()])
    assert (np.abs(found - list(TRUTH.values())) < 5 * sd).all()


def test_standard_errors_that_are_too_small_are_noticed(volume, folder):
    del volume.attrs["noise"]
    changed = noisy(volume, 0.1).assign(sigma=0.01 * volume["intensity"])
    record = fit_of(changed, folder)
    assert record["reduced_chi_square"] > 10
    assert any("chi-square" in warning for warning in record["warnings"])


def test_noise_that_is_not_used_is_said(volume, folder):
    (folder / "tiny.toml").write_text((folder / "tiny.toml").read_text() + 'noise = "learned"\n')
    counted = counted_volume(volume, 1e4, 0)
    (warning,) = fit_of(counted, folder)["warnings"]
    assert warning == "`noise` of [fit] was not used: the volume has counts of its own."


@pytest.mark.slow
def test_hot_voxels_are_left_out_where_the_model_says_so(volume, folder):
    """A few voxels a hundred times too bright: unnoticed they move the constants off the truth."""
    counts = counted_volume(volume, 1000.0, seed=1)
    hot = np.random.default_rng(2).uniform(size=counts["intensity"].shape) < 4e-3
    factor = np.where(hot, 100.0, 1.0)
    counts = counts.assign(intensity=counts["intensity"] * factor, counts=counts["counts"] * factor)
    spoiled = fit_of(counts, folder)
    with (folder / "tiny.toml").open("a") as model:
        model.write("\n[mask]\noutliers = 6\n")
    record = fit_of(counts, folder)
    n_hot = int((hot & (counts["counts"].values > 0)).sum())
    assert (spoiled["n_rejected"], record["n_rejected"]) == (0, n_hot)
    assert spoiled["n_voxels"] - record["n_voxels"] == n_hot > 2
    assert largest_pull(spoiled) > 10
    assert largest_pull(record) < 4
    assert record["reduced_chi_square"] == pytest.approx(1, abs=0.3)
    said = call("fit", "tiny.toml", "changed.nc").out
    assert f"outliers among their equivalents: {n_hot} voxels" in said


def test_transmission_is_taken_out_of_the_data(volume, folder):
    """Absorption that depends on the direction is not what the crystal does."""
    h = volume["h"] + 0 * volume["intensity"]
    transmission = np.exp(-0.4 * (2 + h))
    attenuated = noisy(volume, 0.02).drop_attrs(deep=False).assign_attrs(lattice=volume.attrs["lattice"])
    attenuated = attenuated.assign(intensity=attenuated["intensity"] * transmission)
    spoiled = fit_of(attenuated, folder)
    record = fit_of(attenuated.assign(transmission=transmission), folder)
    assert record["relative_noise"] == pytest.approx(0.02, rel=0.2)
    assert largest_pull(record) < 4
    assert abs(record["ifcs"]["b0"]["value"] - TRUTH["b0"]) < 0.1
    assert abs(spoiled["ifcs"]["b0"]["value"] - TRUTH["b0"]) > 0.5


def test_temperature_of_the_volume_is_used_and_said(volume, folder):
    record = fit_of(volume.assign_attrs(temperature=150.0), folder)
    assert record["temperature_K"] == 150
    assert any("150 K" in warning and "300 K" in warning for warning in record["warnings"])


def test_noise_of_configurations_is_that_of_the_volume(volume, folder):
    record = fit_of(volume.assign_attrs(configurations=1000), folder)
    assert record["noise"] == "ensemble"
    assert record["warnings"] == []
    for name, value in TRUTH.items():
        assert abs(record["ifcs"][name]["value"] - value) < record["ifcs"][name]["sd"]


@pytest.mark.slow
def test_noise_beyond_that_of_the_configurations_is_noticed(volume, folder):
    record = fit_of(noisy(volume, 0.3).assign_attrs(configurations=10**5), folder)
    assert record["reduced_chi_square"] > 2
    assert any("100000 independent configurations" in warning for warning in record["warnings"])


def test_shared_noise_of_a_trajectory_is_said(volume, folder):
    record = fit_of(volume.assign_attrs(configurations=1000, snapshots=2000), folder)
    assert any("1000 configurations" in warning for warning in record["warnings"])


def test_axes_in_single_precision_fit_the_supercell(volume, folder, shared):
    single = {name: volume[name].values.astype(np.float32).astype(float) for name in "hkl"}
    assert np.abs(single["h"] - volume["h"].values).max() > 1e-8
    record = fit_of(volume.assign_coords(single), folder)
    for name, entry in record["ifcs"].items():
        assert entry["value"] == pytest.approx(shared.record["ifcs"][name]["value"], abs=1e-7)


def test_bragg_peaks_are_found_on_axes_in_single_precision(volume, folder, shared):
    """Bragg peaks in the data must not reach the fit because an axis is off by rounding."""
    single = {name: volume[name].values.astype(np.float32).astype(float) for name in "hkl"}
    bright = volume.assign(intensity=volume["intensity"].fillna(1e6)).assign_coords(single)
    record = fit_of(bright, folder)
    assert record["n_voxels"] == shared.record["n_voxels"]


def test_foreign_attributes_do_not_matter(volume, folder):
    record = fit_of(volume.assign_attrs(name="a sample", sigma="none"), folder)
    assert record["converged"]


def test_input_is_not_overwritten(volume, folder):
    write_volume(volume, folder / "data.nc")
    before = (folder / "data.nc").read_bytes()
    outcome = call("fit", "tiny.toml", "data.nc", "-o", "data.nc")
    assert outcome.code == 2
    assert "data.nc is an input" in outcome.err
    assert (folder / "data.nc").read_bytes() == before


def test_scattering_factor_of_another_species(folder):
    (folder / "POSCAR").write_text("Ni\n3.52\n0 .5 .5\n.5 0 .5\n.5 .5 0\nNi\n1\nDirect\n0 0 0\n")
    text = (folder / "tiny.toml").read_text()
    start, end = text.index("lattice"), text.index("[force_constants]")
    text = text[:start] + 'file = "POSCAR"\n[scattering.factors]\nBa = 2.0\n' + text[end:]
    (folder / "other.toml").write_text(text)
    outcome = call("fit", "other.toml")
    assert outcome.code == 2
    assert "Ba" in outcome.err
    assert "consists of Ni" in outcome.err
