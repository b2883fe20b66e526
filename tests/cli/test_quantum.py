"""Quantum statistics from the model file to the fit, by way of what a volume says of itself."""

import json

import numpy as np
import pytest

from bayestds.io import read_volume, write_volume
from tests.cli.tiny import MODEL, TRUTH, call

COLD = MODEL.replace("temperature = 300", "temperature = 30")
QUANTUM = COLD.replace('"classical"', '"quantum"')


@pytest.fixture
def cold(folder):
    (folder / "classical.toml").write_text(COLD)
    (folder / "quantum.toml").write_text(QUANTUM)
    return folder


def intensity(name: str, *words: str) -> np.ndarray:
    outcome = call("simulate", f"{name}.toml", "-o", f"{name}.nc", *words)
    assert outcome.code == 0, outcome.err
    volume = read_volume(f"{name}.nc")
    assert volume.attrs["statistics"] == name
    return volume["intensity"].values


def fit(*words: str) -> dict:
    outcome = call("fit", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.mark.slow
def test_fit_recovers_a_quantum_crystal_whatever_the_model_says(cold):
    # Zero-point motion of nickel is more than twice the classical motion at 30 K.
    assert (np.nanmean(intensity("quantum")) / np.nanmean(intensity("classical"))) > 2
    record, other = fit("quantum.toml", "quantum.nc"), fit("classical.toml", "quantum.nc")
    assert (record["statistics"], record["warnings"]) == ("quantum", [])
    assert other["statistics"] == "quantum"
    assert any("quantum" in text and "classical" in text for text in other["warnings"])
    for name, value in TRUTH.items():
        # As close as in the classical fit: the prior draws it by (sd / prior sd)².
        assert record["ifcs"][name]["value"] == pytest.approx(value, abs=1e-4)
        assert other["ifcs"][name] == record["ifcs"][name]


def test_measured_volume_is_fitted_as_the_model_says(cold):
    intensity("quantum")
    volume = read_volume("quantum.nc")
    del volume.attrs["statistics"]
    write_volume(volume, "measured.nc")
    assert fit("quantum.toml", "measured.nc")["ifcs"]["b0"]["value"] == pytest.approx(TRUTH["b0"], abs=1e-4)
    assert abs(fit("classical.toml", "measured.nc")["ifcs"]["b0"]["value"] - TRUTH["b0"]) > 0.1


@pytest.mark.slow
def test_configurations_of_a_quantum_crystal(cold):
    words = ("--engine", "sampled", "--configurations", "300", "--seed", "1")
    sampled, dense = intensity("quantum", *words), intensity("quantum", *words, "--sampler", "dense")
    exact = intensity("quantum")
    for found in (sampled, dense):
        # Each voxel scatters by about 1/√300 = 0.058.
        assert 0.03 < np.nanstd(found / exact) < 0.08
        assert np.nanmean(found / exact) == pytest.approx(1, abs=0.015)


@pytest.mark.slow
def test_noise_of_configurations_of_a_quantum_crystal(cold):
    intensity("quantum")
    write_volume(read_volume("quantum.nc").assign_attrs(configurations=1000), "mean.nc")
    record = fit("quantum.toml", "mean.nc")
    assert record["noise"] == "ensemble"
    for name, value in TRUTH.items():
        assert abs(record["ifcs"][name]["value"] - value) < record["ifcs"][name]["sd"]
