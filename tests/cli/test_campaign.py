"""`campaign`: its files, what a second call does, and a run that fails among others."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster

from bayestds.diagnostics.result_file import read_result
from bayestds.io import read_volume, write_volume
from tests.cli.tiny import MODEL, NAMES, TRUTH, Outcome, call

CAMPAIGN = """\
title = "heating"
model = "tiny.toml"
volumes = ["hot/*.nxs"]

[[run]]
volume = "hot/cool.nxs"
name = "posterior"
command = "sample"
chains = 2
draws = 30
warmup = 50
seed = 3

[[run]]
volume = "hot/cool.nxs"
name = "believed"
temperature = 600
"""


@pytest.fixture(scope="module")
def scheduler():
    """A Dask cluster of one thread of this process, in which everything is compiled already."""
    with LocalCluster(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def heating(tmp_path_factory, shared, scheduler) -> tuple[Path, Outcome, dict[str, Any]]:
    """Two volumes, the second cut off, and runs of two other kinds; after the first call."""
    folder = tmp_path_factory.mktemp("heating")
    (folder / "tiny.toml").write_text(MODEL)
    (folder / "ramp.toml").write_text(CAMPAIGN)
    (folder / "hot").mkdir()
    whole = shared.volume.read_bytes()
    (folder / "hot" / "cool.nxs").write_bytes(whole)
    (folder / "hot" / "warm.nxs").write_bytes(whole[: len(whole) // 2])
    outcome = call("campaign", folder / "ramp.toml", "--scheduler", scheduler, "--json")
    return folder, outcome, json.loads(outcome.out)


def again(folder: Path, scheduler: str, *words: str) -> tuple[Outcome, dict[str, str]]:
    """The same command once more: its outcome and the status of each run."""
    outcome = call("campaign", folder / "ramp.toml", "--scheduler", scheduler, "--json", *words)
    return outcome, {name: run["status"] for name, run in json.loads(outcome.out)["runs"].items()}


def test_a_failed_run_is_told_and_the_others_kept(heating):
    _, outcome, record = heating
    assert outcome.code == 2
    assert {name: run["status"] for name, run in record["runs"].items()} == {
        "cool": "done",
        "warm": "failed",
        "posterior": "done",
        "believed": "done",
    }
    assert record["counts"] == {"done": 3, "failed": 1}
    error = record["runs"]["warm"]["error"]
    assert "hot/warm.nxs" in error["summary"]
    assert error["reason"]
    assert error["fix"]
    assert "traceback" not in error
    assert "Traceback" not in outcome.err


def test_a_run_gives_what_the_command_gives(heating, shared):
    folder, _, record = heating
    run = record["runs"]["cool"]
    for name in NAMES:
        expected = {key: shared.record["ifcs"][name][key] for key in ("value", "sd")}
        assert run["ifcs"][name] == expected
    assert (run["temperature_K"], run["converged"]) == (300, True)
    assert run["residual_rms"] == shared.record["residual_rms"]
    found, alone = (read_result(path) for path in (folder / "ramp_results/cool.nc", shared.result))
    assert found["point_fit"].dataset.equals(alone["point_fit"].dataset)
    assert found.attrs["command"] == f"bayestds campaign {folder}/ramp.toml"


def test_a_temperature_of_the_run_replaces_that_of_the_volume(heating):
    """Intensities depend on Φ/T alone: at twice the temperature the same volume has twice the constants.

    Priors of 1 and 0.4 eV/Å² pull by (sd/prior)² of a constant, 2e-6 here.
    """
    run = heating[2]["runs"]["believed"]
    assert run["temperature_K"] == 600
    for name in NAMES:
        assert run["ifcs"][name]["value"] == pytest.approx(2 * TRUTH[name], rel=1e-4)


def test_options_of_a_run(heating):
    tree = read_result(heating[0] / "ramp_results/posterior.nc")
    assert tree["posterior"]["ifcs"].shape == (2, 30, 5)
    assert (tree.attrs["seed"], tree.attrs["warmup"], tree.attrs["method"]) == (3, 50, "nuts")
    run = heating[2]["runs"]["posterior"]
    assert run["ifcs"]["b0"]["value"] == pytest.approx(
        tree["posterior"]["ifcs"].values[..., 0].mean(), rel=1e-12
    )
    assert any("not converged" in warning for warning in run["warnings"])


def test_tables(heating):
    folder, _, record = heating
    with open(folder / "ramp_results/campaign.csv", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    for name, run in record["runs"].items():
        assert rows[name]["status"] == run["status"]
        for constant, values in run.get("ifcs", {}).items():
            assert float(rows[name][constant]) == values["value"]
            assert float(rows[name][f"{constant}_sd"]) == values["sd"]
    assert rows["warm"]["b0"] == ""
    assert json.loads((folder / "ramp_results/campaign.json").read_text()) == record
    assert (folder / "ramp_results/campaign.png").read_bytes()[1:4] == b"PNG"
    words = call("campaign", folder / "ramp.toml", "--status")
    assert words.code == 0
    for expected in ("heating", "posterior", "-1.00000 ±", "kept", "waiting", "believed"):
        assert expected in words.out


def test_a_second_call_keeps_what_is_finished_and_tries_the_rest_again(heating, scheduler, shared):
    folder = heating[0]
    results = folder / "ramp_results"
    before = {path: path.read_bytes() for path in results.glob("*.nc")}
    # Of the clocks of the files nothing depends: volumes of the year 2096, results of 1970.
    for path in (folder / "hot").iterdir():
        os.utime(path, (4e9, 4e9))
    for path in results.iterdir():
        os.utime(path, (0, 0))
    outcome, status = again(folder, scheduler)
    assert outcome.code == 2
    assert status == {"cool": "kept", "warm": "failed", "posterior": "kept", "believed": "kept"}
    (folder / "hot" / "warm.nxs").write_bytes(shared.volume.read_bytes())
    outcome, status = again(folder, scheduler)
    assert outcome.code == 0, outcome.err
    assert status == {"cool": "kept", "warm": "done", "posterior": "kept", "believed": "kept"}
    assert {path: path.read_bytes() for path in before} == before


def test_what_has_changed_is_done_again(heating, tmp_path):
    """A volume of other numbers, an option, a model, a damaged result; what has not changed is kept."""
    results = heating[0] / "ramp_results"
    for name in ("cool.nc", "cool.json", "believed.nc", "believed.json"):
        (tmp_path / name).write_bytes((results / name).read_bytes())
    folder = tmp_path / "copy"
    volume = folder / "hot/cool.nxs"
    volume.parent.mkdir(parents=True)
    volume.write_bytes((heating[0] / "hot/cool.nxs").read_bytes())

    def status(campaign: str = CAMPAIGN, model: str = MODEL) -> dict[str, str]:
        (folder / "ramp.toml").write_text(campaign)
        (folder / "tiny.toml").write_text(model)
        outcome = call("campaign", folder / "ramp.toml", "-o", tmp_path, "--status", "--json")
        return {name: run["status"] for name, run in json.loads(outcome.out)["runs"].items()}

    kept = {"cool": "kept", "posterior": "waiting", "believed": "kept"}
    assert status() == kept
    assert status(CAMPAIGN.replace("600", "601")) == kept | {"believed": "waiting"}
    assert status(model=MODEL + "tolerance = 1e-5\n") == dict.fromkeys(kept, "waiting")
    result, whole = tmp_path / "cool.nc", (tmp_path / "cool.nc").read_bytes()
    result.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert status() == kept | {"cool": "waiting"}
    result.write_bytes(whole)
    assert status() == kept
    changed = read_volume(volume)
    changed["intensity"] *= np.float64(1 + 1e-15)
    write_volume(changed, volume)
    assert status() == dict.fromkeys(kept, "waiting")


def test_a_checkpoint_of_another_run_is_begun_anew(heating, scheduler):
    folder = heating[0]
    (folder / "ramp_results/posterior.nc").unlink()
    (folder / "ramp_results/posterior.nc.checkpoint").write_bytes(b"half")
    _, status = again(folder, scheduler)
    assert (status["posterior"], status["cool"]) == ("done", "kept")
    assert not (folder / "ramp_results/posterior.nc.checkpoint").exists()


def test_an_error_that_nobody_foresaw_is_a_failed_run(heating, scheduler, monkeypatch):
    """Not a traceback for the user, but one in the record."""
    folder = heating[0]
    (folder / "ramp_results/cool.json").unlink()
    monkeypatch.setattr("bayestds.cli.campaign_run.fit_to_file", lambda *_: {}["missing"])
    outcome, status = again(folder, scheduler)
    assert (outcome.code, status["cool"], status["believed"]) == (2, "failed", "kept")
    error = json.loads(outcome.out)["runs"]["cool"]["error"]
    assert error["summary"] == "KeyError: 'missing'"
    assert "campaign_run.py" in error["traceback"]
    assert "Traceback" not in outcome.err


def test_without_a_scheduler_nothing_is_begun(folder, shared):
    Path("c.toml").write_text(f'model = "tiny.toml"\nvolumes = ["{shared.volume}"]\n')
    outcome = call("campaign", "c.toml", "--scheduler", "nowhere")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: There is no Dask scheduler at nowhere.")
    assert not list(Path("c_results").iterdir())
