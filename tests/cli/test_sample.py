"""`sample`: what it writes, what it says, and what survives of a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import arviz_plots
import arviz_stats
import numpy as np
import pytest
import xarray as xr

from bayestds.diagnostics.result_file import read_result, write_result
from tests.cli.tiny import MODEL, NAMES, call

GROUPS = {
    "posterior",
    "prior",
    "posterior_predictive",
    "prior_predictive",
    "log_likelihood",
    "log_prior",
    "sample_stats",
    "observed_data",
    "constant_data",
    "point_fit",
}


class Sampled(NamedTuple):
    """A posterior of the tiny model."""

    result: Path
    record: dict[str, Any]


@pytest.fixture(scope="module")
def sampled(shared) -> Sampled:
    words = ("--chains", 2, "--draws", 300, "--warmup", 100, "--seed", 1, "--json")
    with chdir(shared.folder):
        outcome = call("sample", "tiny.toml", "x.nxs", "-o", "posterior.nc", *words)
    assert outcome.code == 0, outcome.err
    return Sampled(shared.folder / "posterior.nc", json.loads(outcome.out))


@pytest.fixture(scope="module")
def tree(sampled) -> xr.DataTree:
    with xr.open_datatree(sampled.result) as found:
        return found.load()


def test_posterior_surrounds_the_fit(sampled, shared):
    """600 draws, worth at least 200: means within 4/√200 standard deviations of the fit."""
    assert tuple(sampled.record["ifcs"]) == NAMES
    for name, values in sampled.record["ifcs"].items():
        fitted = shared.record["ifcs"][name]
        assert values["mean"] == pytest.approx(fitted["value"], abs=0.3 * fitted["sd"])
        assert values["sd"] == pytest.approx(fitted["sd"], rel=0.3)
        assert values["interval_low"] < values["inner_low"] < values["mean"]
        assert values["mean"] < values["inner_high"] < values["interval_high"]
        assert values["r_hat"] < 1.05
        assert min(values["ess_bulk"], values["ess_tail"]) > 100
        assert values["contraction"] > 0.999


def test_arviz_finds_the_groups_that_it_asks_for(tree):
    """Sensitivity to the prior, of the draws that have a log-likelihood, and predictive checks."""
    same = tree["log_likelihood"]["draw"]
    groups = {name: tree[name].dataset.sel(draw=same) for name in ("posterior", "log_prior")}
    both = xr.DataTree.from_dict(groups | {"log_likelihood": tree["log_likelihood"].dataset})
    found = arviz_stats.psense_summary(both, var_names=["ifcs"])
    assert (found["prior"] < 0.05).all()
    assert (found["likelihood"] > 0.05).all()
    (observed,) = tree["posterior_predictive"].data_vars
    for group in ("posterior_predictive", "prior_predictive"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer replicates than ArviZ likes
            arviz_plots.plot_ppc_dist(tree, var_names=[observed], group=group, backend="none")


def test_record(sampled):
    record = sampled.record
    assert (record["kind"], record["method"], record["converged"]) == ("posterior", "nuts", True)
    assert record["divergences"] == 0
    assert {shell: values["verdict"] for shell, values in record["shells"].items()} == {
        "1": "determined",
        "2": "determined",
    }
    assert record["shells"]["2"]["words"] == "c0 and c1 are significantly different from zero"
    assert record["seconds"] > 0


def test_summary_says_the_same(sampled):
    again = json.loads(call("summary", sampled.result, "--json").out)
    assert {key: sampled.record[key] for key in again} == again
    words = call("summary", sampled.result).out
    different = "significantly different from zero"
    for expected in (*NAMES, "R-hat", "bulk ESS", different, "Divergent trajectories: 0"):
        assert expected in words


def test_learned_noise_is_summarised(sampled, tree, tmp_path):
    assert sampled.record["learned_noise"] is None
    level = np.random.default_rng(0).lognormal(-4, 0.1, tree["posterior"]["ifcs"].shape[:2])
    draws = tree["posterior"].dataset.assign(log_relative_noise=(("chain", "draw"), np.log(level)))
    changed = tree.copy()
    changed["posterior"] = xr.DataTree(draws)
    write_result(changed, tmp_path / "noise.nc")
    found = json.loads(call("summary", tmp_path / "noise.nc", "--json").out)["learned_noise"]
    low, high = np.quantile(level, [0.025, 0.975])
    assert found == pytest.approx({"value": level.mean(), "interval_low": low, "interval_high": high})
    assert f"was learned: {level.mean():.3g}, 95%" in call("summary", tmp_path / "noise.nc").out


def test_groups(tree):
    assert set(tree.children) == GROUPS
    assert tree["posterior"]["ifcs"].sizes == {"chain": 2, "draw": 300, "irreducible": 5}
    assert tuple(tree["posterior"]["irreducible"].values) == NAMES
    points = tree["observed_data"].sizes["point"]
    assert tree["posterior_predictive"]["log_intensity"].sizes == {"chain": 2, "draw": 25, "point": points}
    assert tree["log_likelihood"].sizes["star"] == tree["observed_data"]["star"].values.max() + 1
    assert np.isfinite(tree["log_likelihood"]["log_intensity"]).all()
    assert (tree.attrs["seed"], tree.attrs["warmup"], tree.attrs["model"]) == (1, 100, "tiny")


def test_replicates_scatter_about_the_data(tree):
    """Noise-free data with a noise that is assumed: replicates lie within five standard deviations."""
    observed = tree["observed_data"].dataset
    difference = (
        tree["posterior_predictive"]["log_intensity"].mean(("chain", "draw")) - observed["log_intensity"]
    )
    assert float((np.abs(difference) * np.sqrt(observed["weight"] * 50)).max()) < 5


def test_prior_is_the_one_of_the_model(shared, tmp_path):
    """Truncation to stable crystals narrows it."""
    (tmp_path / "fixed.toml").write_text(MODEL + "\n[priors]\nscale = 2.0\n")
    words = ("--method", "laplace", "--draws", 50, "-o", tmp_path / "r.nc")
    outcome = call("sample", tmp_path / "fixed.toml", shared.volume, *words)
    assert outcome.code == 0, outcome.err
    tree = read_result(tmp_path / "r.nc")
    draws, prior_sd = tree["prior"]["ifcs"].values[0], tree["constant_data"]["prior_sd"].values
    assert prior_sd == pytest.approx([2.0, 2.0, 2.0, 0.8, 0.8])
    assert draws.shape[0] > 100
    assert (draws.std(axis=0) < 1.1 * prior_sd).all()


def test_checkpoint_is_gone(sampled):
    assert not list(sampled.result.parent.glob("*.checkpoint"))


def test_default_name_and_laplace(shared):
    with chdir(shared.folder):
        outcome = call("sample", "tiny.toml", "x.nxs", "--method", "laplace", "--draws", 300, "--json")
    record = json.loads(outcome.out)
    assert (record["output"], record["method"]) == ("tiny_posterior.nc", "laplace")
    assert record["pareto_k"] < 0.7
    assert not record["warnings"]
    for name, values in record["ifcs"].items():
        assert values["r_hat"] is None
        assert values["sd"] == pytest.approx(shared.record["ifcs"][name]["sd"], rel=0.15)
    words = call("summary", shared.folder / "tiny_posterior.nc").out
    assert "k-hat of the laplace approximation" in words
    assert "R-hat" not in words


def test_few_draws_are_warned_of(shared, tmp_path):
    words = ("--chains", 2, "--draws", 20, "--warmup", 30)
    outcome = call("sample", shared.folder / "tiny.toml", shared.volume, "-o", tmp_path / "r.nc", *words)
    assert outcome.code == 0
    assert "Warning: the chains have not converged" in outcome.err


PRIORS = """
[priors]
family = "shrinkage"
scale = 2.0
"""


@pytest.mark.slow
def test_noise_floor_student_t_and_shrinkage(folder):
    """All that can be asked of the model at once."""
    extra = "noise = 0.01\nnoise_floor = true\ndegrees_of_freedom = 5\n"
    Path("all.toml").write_text(MODEL + extra + PRIORS)
    words = ("--chains", 2, "--draws", 50, "--warmup", 50)
    outcome = call("sample", "all.toml", "-o", "r.nc", *words, "--json")
    assert outcome.code == 0, outcome.err
    with xr.open_datatree("r.nc") as tree:
        found = tree["posterior"].dataset
        assert set(found.data_vars) == {
            "ifcs",
            "log_relative_noise",
            "log_scale",
            "scale_offset",
            "shrinkage_overall",
            "shrinkage_shell",
        }
        assert found["shrinkage_shell"].shape == (2, 50, 2)
        assert np.isfinite(found["ifcs"]).all()


@pytest.mark.parametrize(("text", "expected"), [
    ('[priors]\nfamily = "cauchy"\n', "priors.family"),
    ("noise_floor = 1\n", "fit.noise_floor"),
    ("degrees_of_freedom = -1\n", "fit.degrees_of_freedom"),
])  # fmt: skip
def test_bad_options_are_explained(folder, text, expected):
    Path("bad.toml").write_text(MODEL + text)
    outcome = call("sample", "bad.toml")
    assert outcome.code == 2
    assert expected in outcome.err


def test_damaged_checkpoint_is_refused(shared, tmp_path):
    (tmp_path / "r.nc.checkpoint").write_bytes(b"nothing")
    words = ("-o", tmp_path / "r.nc", "--resume")
    outcome = call("sample", shared.folder / "tiny.toml", shared.volume, *words)
    assert outcome.code == 2
    assert "r.nc.checkpoint cannot be read" in outcome.err


def _start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bayestds", "sample", "tiny.toml", "x.nxs", "-o", "killed.nc", *words]
    log = open(folder / "log", "ab")  # noqa: SIM115 (the process outlives this function)
    with log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ)


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bits(tmp_path):
    """Kill -9 at three random moments, then compare with an uninterrupted run."""
    (tmp_path / "tiny.toml").write_text(MODEL)
    words = ("--chains", "2", "--draws", "6000", "--warmup", "100", "--seed", "7")
    with chdir(tmp_path):
        assert call("simulate", "tiny.toml", "-o", "x.nxs").code == 0
        assert call("sample", "tiny.toml", "x.nxs", "-o", "whole.nc", *words).code == 0
    checkpoint = tmp_path / "killed.nc.checkpoint"
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(3):
        process = _start(tmp_path, *words, "--resume")
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
        sizes.append(checkpoint.stat().st_size)
    assert sizes == sorted(set(sizes))
    assert not (tmp_path / "killed.nc").exists()
    assert _start(tmp_path, *words, "--resume").wait() == 0, (tmp_path / "log").read_text()
    with xr.open_datatree(tmp_path / "whole.nc") as whole, xr.open_datatree(tmp_path / "killed.nc") as killed:
        for group in ("posterior", "sample_stats", "log_likelihood"):
            for name, values in whole[group].dataset.data_vars.items():
                np.testing.assert_array_equal(killed[group][name], values)
    assert not checkpoint.exists()
