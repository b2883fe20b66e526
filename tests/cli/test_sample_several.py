"""`sample` with several volumes: counts with backgrounds, an ensemble beside counts, a temperature trend."""

import json

import numpy as np
import pytest

from bayestds.diagnostics.result_file import read_result
from tests.cli.tiny import MODEL, NAMES, TRUTH, call

SAMPLING = ("--chains", 2, "--draws", 60, "--warmup", 40, "--seed", 3)
FLAT = "[instrument]\nbackground = 1\n[simulation]\nbackground = [0.2]\n"
ROOT_GROUPS = {
    "point_fit",
    "constant_data",
    "posterior",
    "prior",
    "log_prior",
    "log_likelihood",
    "sample_stats",
}
OF_VOLUME = {"observed_data", "constant_data", "posterior_predictive", "prior_predictive"}


def sampled(model: str, volumes: tuple[str, str], *more: object):
    """Result of two volumes, whose groups and draws are as they should be."""
    outcome = call("sample", model, *volumes, *SAMPLING, "-o", "r.nc", "--json", *more)
    assert outcome.code == 0, outcome.err
    tree = read_result("r.nc")
    assert set(tree.children) >= ROOT_GROUPS | {"sample_stats"}
    assert len(tree["log_likelihood"].dataset.data_vars) == 2
    for number in (1, 2):
        volume = tree[f"volume_{number}"]
        assert set(volume.children) >= OF_VOLUME
        assert volume.attrs["name"] == volumes[number - 1]
        (replicated,) = volume["posterior_predictive"].dataset.data_vars.values()
        assert replicated.sizes["point"] == volume["observed_data"].sizes["point"]
    record = json.loads(outcome.out)
    assert list(record["ifcs"]) == list(NAMES)
    return tree, record


def pulls(record: dict) -> np.ndarray:
    """Distances of posterior means from the truth, in standard deviations."""
    return np.array(
        [(record["ifcs"][name]["mean"] - TRUTH[name]) / record["ifcs"][name]["sd"] for name in NAMES]
    )


def test_counts_with_backgrounds_of_their_own(folder):
    (folder / "flat.toml").write_text(MODEL + FLAT)
    for name, counts, seed in (("a.nc", 3000, 1), ("b.nc", 1000, 2)):
        done = call("simulate", "flat.toml", "-o", name, "--counts", counts, "--seed", seed)
        assert done.code == 0, done.err
    tree, record = sampled("flat.toml", ("a.nc", "b.nc"))
    assert np.abs(pulls(record)).max() < 4.5
    for number in (1, 2):
        draws = tree["posterior"].dataset[f"volume_{number}_background"]
        fitted = tree[f"volume_{number}/background"].dataset
        assert draws.dims == ("chain", "draw", f"volume_{number}_term")
        assert draws[f"volume_{number}_term"].values.tolist() == ["background_0"]
        assert abs(float(draws.mean() - fitted["value"][0])) < 0.6 * float(fitted["standard_error"][0])
        assert float(draws.std()) == pytest.approx(float(fitted["standard_error"][0]), rel=0.4)
    again = call("sample", "flat.toml", "a.nc", "b.nc", *SAMPLING, "-o", "again.nc", "--json")
    assert json.loads(again.out)["ifcs"] == record["ifcs"]
    compared = call("compare", "r.nc", "again.nc", "--json")
    assert compared.code == 0, compared.err
    for command in (
        ("summary", "r.nc"),
        ("phonons", "r.nc", "-o", "p.png", "--draws", 20),
        ("report", "r.nc", "-o", "r.html", "--draws", 20),
    ):
        done = call(*command)
        assert done.code == 0, done.err


def test_an_ensemble_beside_counts(folder):
    made = call("simulate", "tiny.toml", "--engine", "sampled", "--configurations", 300, "-o", "e.nc")
    assert made.code == 0, made.err
    assert call("simulate", "tiny.toml", "-o", "c.nc", "--counts", 500, "--seed", 1).code == 0
    tree, record = sampled("tiny.toml", ("e.nc", "c.nc"))
    assert np.abs(pulls(record)).max() < 4.5
    assert [tree[f"volume_{i}"].attrs["noise"] for i in (1, 2)] == ["ensemble", "counts"]


def test_temperature_trend(folder):
    (folder / "trend.toml").write_text(MODEL + "trend = true\ntrend_scale = 1.0\n")
    (folder / "hot.toml").write_text(MODEL.replace("temperature = 300", "temperature = 400"))
    assert "temperature = 400" in (folder / "hot.toml").read_text()
    assert call("simulate", "tiny.toml", "-o", "cold.nc", "--counts", 2000, "--seed", 1).code == 0
    assert call("simulate", "hot.toml", "-o", "hot.nc", "--counts", 2000, "--seed", 2).code == 0
    tree, record = sampled("trend.toml", ("cold.nc", "hot.nc"))
    assert np.abs(pulls(record)).max() < 4.5
    posterior = tree["posterior"].dataset
    assert posterior["trend"].attrs["units"] == "eV/Å² per 100 K"
    assert posterior["trend"].dims == ("chain", "draw", "irreducible")
    away = posterior["trend"].mean(("chain", "draw")) / posterior["trend"].std(("chain", "draw"))
    assert float(np.abs(away).max()) < 4.5
