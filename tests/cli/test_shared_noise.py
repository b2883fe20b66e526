"""Volumes that are means over configurations and do not say so: errors that find it out, and the key for
it."""

import json
from typing import Any

import numpy as np
import pytest

from bayestds.diagnostics.result_file import read_result
from bayestds.io import read_volume, write_volume
from tests.cli.tiny import MODEL, TRUTH, call

CONFIGURATIONS = 400


@pytest.fixture(scope="module")
def unstated(tmp_path_factory):
    """A mean over configurations without the attribute that says so."""
    folder = tmp_path_factory.mktemp("unstated")
    (folder / "tiny.toml").write_text(MODEL)
    words = ("--engine", "sampled", "--configurations", str(CONFIGURATIONS), "--seed", "5")
    assert call("simulate", folder / "tiny.toml", *words, "-o", folder / "stated.nc").code == 0
    volume = read_volume(folder / "stated.nc").load()
    for key in ("configurations", "noise"):
        volume.attrs.pop(key, None)
    write_volume(volume, folder / "mean.nc")
    return folder


def fitted(folder, model: str = "tiny.toml", *options: str) -> dict[str, Any]:
    outcome = call("fit", folder / model, folder / "mean.nc", "-o", folder / "r.nc", "--json", *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_errors_allow_for_noise_that_stars_share(unstated):
    record = fitted(unstated)
    assert record["noise"] == "learned"
    assert "star" in record["widened_by"]
    assert record["coherence"]["star"]["ratio"] > 3
    assert any("configurations" in warning for warning in record["warnings"])
    for one in record["ifcs"].values():
        assert one["sd"] > 0.99 * one["plain_sd"]
    sd, star, plain = (
        np.array([one[key] for one in record["ifcs"].values()]) for key in ("sd", "star_sd", "plain_sd")
    )
    assert sd == pytest.approx(star, rel=0.5)
    assert (star / plain).max() > 1.5
    pulls = (np.array([one["value"] for one in record["ifcs"].values()]) - list(TRUTH.values())) / sd
    assert np.sqrt(np.mean(pulls**2)) < 2
    # Friedel's law holds in each configuration.
    assert record["equivalents"]["copies"] == ["-h, -k, -l"]


def test_their_number_brings_the_noise_of_such_a_mean(unstated):
    text = MODEL.replace("temperature = 300\n", f"temperature = 300\nconfigurations = {CONFIGURATIONS}\n")
    (unstated / "stated.toml").write_text(text)
    record = fitted(unstated, "stated.toml")
    assert record["noise"] == "ensemble"
    assert record["widened_by"] == []
    outcome = call("fit", unstated / "tiny.toml", unstated / "stated.nc", "-o", unstated / "s.nc", "--json")
    stated = json.loads(outcome.out)
    for name in TRUTH:
        assert record["ifcs"][name] == stated["ifcs"][name]


def test_draws_of_the_posterior_are_as_wide_as_the_errors(unstated):
    record = fitted(unstated)
    words = (unstated / "tiny.toml", unstated / "mean.nc", "-o", unstated / "p.nc")
    outcome = call("sample", *words, "--method", "laplace", "--draws", "1000", "--json")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["widened_by"] == record["widened_by"]
    for name, one in record["ifcs"].items():
        assert summary["ifcs"][name]["sd"] == pytest.approx(one["sd"], rel=0.1)
        assert summary["ifcs"][name]["mean"] == pytest.approx(one["value"], abs=0.2 * one["sd"])
    assert read_result(unstated / "p.nc")["posterior"]["ifcs"].shape[-1] == len(TRUTH)
