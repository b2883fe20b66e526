"""Fits that are not to be believed: every command that uses one says so, and none calls a shell
determined."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestds.inference import rounds
from bayestds.io import read_volume, write_volume
from tests.cli.tiny import MODEL, call


def with_errors(volume: xr.Dataset, sigma: float = 0.02) -> xr.Dataset:
    """The volume with noise, and standard errors that say so."""
    errors = sigma * volume["intensity"]
    noise = np.random.default_rng(1).normal(size=errors.shape)
    del volume.attrs["noise"]
    return volume.assign(intensity=volume["intensity"] + errors * noise, sigma=errors)


def air_left_out(folder: Path, volume: xr.Dataset) -> list[str]:
    """A constant background that the model does not have."""
    noisy = with_errors(volume)
    air = 0.2 * float(volume["intensity"].median())
    write_volume(noisy.assign(intensity=noisy["intensity"] + air), folder / "air.nc")
    return ["tiny.toml", "air.nc"]


def one_shell_of_two(folder: Path, volume: xr.Dataset) -> list[str]:
    """A shell too few."""
    (folder / "stiff.toml").write_text(MODEL.replace("c0 = -0.05, c1 = 0.02", "c0 = 0.25, c1 = -0.06"))
    assert call("simulate", "stiff.toml", "-o", "clean.nc").code == 0
    write_volume(with_errors(read_volume("clean.nc"), 0.01), folder / "far.nc")
    return ["stiff.toml", "far.nc", "--shells", "1"]


def narrow_prior(folder: Path, volume: xr.Dataset) -> list[str]:
    """A prior that expects constants of a tenth of their size."""
    (folder / "narrow.toml").write_text(f"{MODEL}\n[priors]\nscale = 0.1\n")
    low = volume.isel(h=slice(3, 10), k=slice(3, 10), l=slice(3, 10))
    write_volume(with_errors(low, 0.1), folder / "low.nc")
    return ["narrow.toml", "low.nc"]


BAD = {
    "background": (air_left_out, "chi-square"),
    "shells": (one_shell_of_two, "chi-square"),
    "prior": (narrow_prior, "prior contradicts the data"),
}


@pytest.fixture(params=sorted(BAD))
def bad(request, shared, folder) -> tuple[dict[str, Any], str]:
    """The record of a bad fit, whose result is bad.nc, and what is said of it."""
    make, said = BAD[request.param]
    outcome = call("fit", *make(folder, read_volume(shared.volume)), "-o", "bad.nc", "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out), said


def test_every_command_says_what_is_wrong_and_no_shell_is_determined(bad):
    record, said = bad
    assert any(said in warning for warning in record["warnings"])
    outcome = call("summary", "bad.nc", "--json")
    found = json.loads(outcome.out)
    assert said in outcome.err
    assert "determined" not in {shell["verdict"] for shell in found["shells"].values()}
    assert found["reduced_chi_square"] == pytest.approx(record["reduced_chi_square"])
    for words in (
        ("phonons", "bad.nc", "-o", "phonons.png", "--draws", "20"),
        ("export", "bad.nc", "-o", "exported", "--draws", "1"),
        ("validate", "bad.nc", "tiny.toml:truth"),
    ):
        outcome = call(*words, "--json")
        # Draws may leave the region of stable crystals where hardly anything is known.
        assert outcome.code == 0, outcome.err
        assert said in outcome.err
        assert any(said in caution for caution in json.loads(outcome.out)["cautions"])
    assert any(
        said in caution for caution in json.loads(Path("exported/bayestds.json").read_text())["cautions"]
    )
    assert call("report", "bad.nc", "-o", "bad.html", "--draws", "2").code == 0
    page = Path("bad.html").read_text()
    assert said in page
    assert "The data determine 0 of" in page


def test_chi_square_of_a_misfit_widens_the_errors(shared, folder):
    words = one_shell_of_two(folder, read_volume(shared.volume))
    record = json.loads(call("fit", *words, "-o", "bad.nc", "--json").out)
    assert record["reduced_chi_square"] > 10
    assert "misfit" in record["widened_by"]
    for one in record["ifcs"].values():
        assert one["sd"] > 0.99 * np.sqrt(record["reduced_chi_square"]) * one["plain_sd"]


@pytest.fixture
def unconverged(shared, folder, monkeypatch) -> None:
    """The result bad.nc of a fit that was stopped early."""
    monkeypatch.setattr(rounds, "MAX_ROUNDS", 1)
    outcome = call("fit", "tiny.toml", shared.volume, "-o", "bad.nc", "--json")
    assert json.loads(outcome.out)["converged"] is False


def test_results_that_have_not_converged_are_refused(unconverged, folder, shared):
    before = sorted(path.name for path in folder.iterdir())
    for words in (
        ("phonons", "bad.nc"),
        ("export", "bad.nc", "-o", "exported"),
        ("validate", "bad.nc", "tiny.toml:truth"),
        ("sample", "tiny.toml", shared.volume, "-o", "s.nc"),
    ):
        outcome = call(*words)
        assert outcome.code == 2, words
        assert "did not converge" in outcome.err
        assert "--unconverged" in outcome.err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_they_are_used_where_that_is_insisted_on(unconverged, folder):
    outcome = call("export", "bad.nc", "-o", "exported", "--unconverged")
    assert outcome.code == 0, outcome.err
    assert "did not converge" in outcome.err
    summary = json.loads(call("summary", "bad.nc", "--json").out)
    assert "determined" not in {shell["verdict"] for shell in summary["shells"].values()}
