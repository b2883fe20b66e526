"""kill -9 at chosen moments of real processes: no half file, and the same command again ends as ever."""

import json
import os
import signal
import subprocess
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from bayestds.diagnostics.result_file import read_result
from bayestds.io import read_volume
from tests.cli.tiny import MODEL, call
from tests.survival.faults import REPOSITORY, killed_at, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """What processes that are left alone leave behind."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.toml").write_text(MODEL)
    with chdir(folder):
        assert call("simulate", "tiny.toml", "-o", "x.nxs").code == 0
        assert call("fit", "tiny.toml", "x.nxs", "-o", "f.nc").code == 0
    return folder


@pytest.fixture
def desk(tmp_path, whole) -> Path:
    """A folder with the model and the volume."""
    for name in ("tiny.toml", "x.nxs"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    return tmp_path


def visible(folder: Path) -> set[str]:
    """Names of files that a person or a pattern finds; the remains of a killed process begin with a dot."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"log"}


WRITING = """
import {module} as module, threading, time, os, signal
real = module.{name}
def slowly(*args, **more):
    # The last moment at which the file is not there yet: all is written, nothing has its name.
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **more)
module.{name} = slowly
"""


@pytest.mark.parametrize(
    ("before", "left"),
    [
        (killed_at("bayestds.cli.fitted", "point_fit", 1, after=True), set()),
        (WRITING.format(module="bayestds.cli.fitting", name="write_result"), set()),
        (killed_at("bayestds.cli.fitting", "write_result", 1, after=True), {"f.nc"}),
    ],
    ids=["fitted", "writing", "before the picture"],
)
def test_fit(desk, whole, before, left):
    words = ("fit", "tiny.toml", "x.nxs", "-o", "f.nc")
    assert start(desk, *words, before=before).wait() == -signal.SIGKILL, (desk / "log").read_text()
    assert visible(desk) == {"tiny.toml", "x.nxs"} | left
    assert start(desk, *words).wait() == 0, (desk / "log").read_text()
    assert visible(desk) == {"tiny.toml", "x.nxs", "f.nc", "f.png"}
    found, expected = read_result(desk / "f.nc"), read_result(whole / "f.nc")
    assert found["point_fit"].dataset.equals(expected["point_fit"].dataset)


def test_simulate(desk, whole):
    before = WRITING.format(module="bayestds.cli.simulation", name="write_volume")
    words = ("simulate", "tiny.toml", "-o", "v.nxs")
    assert start(desk, *words, before=before).wait() == -signal.SIGKILL, (desk / "log").read_text()
    assert visible(desk) == {"tiny.toml", "x.nxs"}
    assert start(desk, *words).wait() == 0, (desk / "log").read_text()
    assert read_volume(desk / "v.nxs").equals(read_volume(whole / "x.nxs"))


CAMPAIGN = """\
model = "tiny.toml"
volumes = ["x.nxs"]

[[run]]
volume = "x.nxs"
name = "long"
command = "sample"
chains = 2
draws = 20000
warmup = 100
seed = 5
"""


def children(process: int) -> list[int]:
    """Processes begun by one, and by those."""
    # Of each of its threads.
    found = " ".join(p.read_text() for p in Path(f"/proc/{process}/task").glob("*/children")).split()
    return [one for child in found for one in (int(child), *children(int(child)))]


def spoken(process: int) -> str:
    """The command line of a process."""
    return Path(f"/proc/{process}/cmdline").read_text()


def wait_for(done, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 1500
    while not done():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_campaign(desk, whole):
    """Kill the worker that samples, then the command itself: draws go on from the checkpoint each time.

    The draws of the run that was killed twice are those of `bayestds sample`, to the last bit: of what was
    before a checkpoint nothing was lost, and nothing is done twice.
    """
    (desk / "c.toml").write_text(CAMPAIGN)
    results, words = desk / "c_results", ("campaign", "c.toml", "--workers", "1", "--json")
    checkpoint, result = results / "long.nc.checkpoint", results / "long.nc"
    process = start(desk, *words)
    wait_for(checkpoint.exists, process, desk / "log")
    assert (results / "x.nc").exists()
    (worker,) = [one for one in children(process.pid) if "spawn_main" in spoken(one)]
    os.kill(worker, signal.SIGKILL)
    before = checkpoint.read_bytes()
    wait_for(lambda: checkpoint.read_bytes() != before, process, desk / "log")
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert not result.exists()
    assert {"x.nc", "x.png", "x.json", "long.nc.checkpoint"} == visible(results)
    gone = time.monotonic() + 60
    while any(Path(f"/proc/{one}/cmdline").exists() for one in workers):
        assert time.monotonic() < gone, "workers outlive the command"
        time.sleep(0.1)
    assert start(desk, *words, log="out").wait() == 0, (desk / "out").read_text()
    runs = json.loads((results / "campaign.json").read_text())["runs"]
    assert {name: run["status"] for name, run in runs.items()} == {"x": "kept", "long": "done"}
    options = ("--chains", "2", "--draws", "20000", "--warmup", "100", "--seed", "5")
    assert start(desk, "sample", "tiny.toml", "x.nxs", "-o", "alone.nc", *options).wait() == 0
    found, expected = read_result(result)["posterior"], read_result(desk / "alone.nc")["posterior"]
    np.testing.assert_array_equal(found["ifcs"].values, expected["ifcs"].values)
    assert not checkpoint.exists()


def test_ctrl_c(desk):
    """In the middle of a campaign: a word of what is kept, exit code 130, and no process stays."""
    (desk / "c.toml").write_text(CAMPAIGN)
    with open(desk / "log", "wb") as log:
        command = [os.sys.executable, "-m", "bayestds", "campaign", "c.toml", "--workers", "1"]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        # A group of its own, all of which the terminal would interrupt.
        process = subprocess.Popen(
            command, cwd=desk, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    wait_for((desk / "c_results/x.json").exists, process, desk / "log")
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 130, (desk / "log").read_text()
    said = (desk / "log").read_text()
    assert "Finished runs are kept; the same command goes on with the others." in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{one}/cmdline").exists() for one in workers):
        assert time.monotonic() < deadline, "workers outlive the command"
        time.sleep(0.1)
