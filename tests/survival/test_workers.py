"""Dask workers that die, runs that fail, schedulers that are not there; the runs are made-up functions."""

import os
import signal
import socket
from pathlib import Path

import pytest

from bayestds import campaign
from bayestds.campaign import local_workers, run_all
from bayestds.errors import CampaignError, MissingPackageError, VolumeError

ONE = (1, 1)


def squares(folder: Path):
    """A run that returns a square, fails on 2, and whose worker is killed on 3 (once) and on 4 (always)."""

    # A function within a function travels to the workers by value: they need not find this module.
    def run(number: int) -> int:
        if number == 2:
            raise VolumeError("v.nxs: it is damaged.", "It is cut off.", "Copy it again.")
        mark = folder / str(number)
        if number == 4 or (number == 3 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    return run


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    run = squares(tmp_path_factory.mktemp("marks"))
    return dict(run_all(run, {str(n): n for n in range(1, 7)}, None, (2, 1)))


def test_a_killed_worker_costs_nothing_but_its_own_run(found):
    """Six runs: one is tried again, one is given up, one fails of itself; the other three are as ever."""
    assert {name: found[name] for name in "1356"} == {"1": 1, "3": 9, "5": 25, "6": 36}
    assert isinstance(found["4"], CampaignError)
    assert "died, each time" in found["4"].summary
    assert "memory" in found["4"].reason


def test_runs_that_are_blamed_for_the_death_of_others_are_done_alone(tmp_path, monkeypatch):
    """Given up at the first death, whoever's: run 3 must be tried again, and so must all that were held."""
    monkeypatch.setattr(campaign, "DEATHS", 0)
    found = dict(run_all(squares(tmp_path), {str(n): n for n in range(1, 7)}, None, (2, 1)))
    assert {name: found[name] for name in "1356"} == {"1": 1, "3": 9, "5": 25, "6": 36}
    assert isinstance(found["4"], CampaignError)


def test_an_error_comes_back_whole(found):
    error = found["2"]
    assert isinstance(error, VolumeError)
    assert (error.summary, error.fix) == ("v.nxs: it is damaged.", "Copy it again.")


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr(campaign, "CONNECT_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(CampaignError, match="no Dask scheduler") as caught:
            list(run_all(abs, {"a": 1}, address, ONE))
    assert address in caught.value.summary
    with pytest.raises(CampaignError, match="no Dask scheduler at nowhere"):
        list(run_all(abs, {"a": 1}, "nowhere", ONE))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'bayestds\[campaign\]'"):
        list(run_all(abs, {"a": 1}, None, ONE))


@pytest.mark.parametrize(
    ("runs", "wanted", "cores", "gib", "expected"),
    [
        (100, None, 8, 64, (8, 1)),
        (3, None, 8, 64, (3, 2)),
        (100, None, 8, 7, (3, 2)),
        (100, None, 8, 1, (1, 8)),
        (100, 16, 8, 64, (16, 1)),
        (2, None, 8, float("inf"), (2, 4)),
    ],
)
def test_workers_of_this_computer(monkeypatch, runs, wanted, cores, gib, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(campaign, "available_memory", lambda: gib * 2**30)
    assert local_workers(runs, wanted) == expected
