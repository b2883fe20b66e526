"""Disks that are full or read-only, files cut off, clocks that jump: a message, and nothing half done."""

import errno
import os
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from bayestds.diagnostics.result_file import read_result
from tests.cli.refusal import contents, says
from tests.cli.tiny import call
from tests.survival.faults import file_size_limit

SAMPLE = ("sample", "tiny.toml", "x.nxs", "-o", "r.nc", "--chains", 2, "--draws", 80, "--warmup", 20)


@pytest.fixture
def desk(folder, shared) -> Path:
    """The current folder, with a volume x.nxs and a result fit.nc in it."""
    (folder / "x.nxs").write_bytes(shared.volume.read_bytes())
    (folder / "fit.nc").write_bytes(shared.result.read_bytes())
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "tiny.toml", "-o", "v.nxs"),
        ("simulate", "tiny.toml", "-o", "v.nc", "--engine", "sampled", "--configurations", 3),
        ("fit", "tiny.toml", "x.nxs"),
        SAMPLE,
        ("convert", "x.nxs", "v.h5"),
        ("report", "fit.nc", "-o", "r.html", "--draws", 2),
        ("phonons", "fit.nc", "-o", "p.png", "--draws", 20),
        ("export", "fit.nc", "-o", "folder"),
    ],
    ids=lambda words: " ".join(map(str, words[:4])),
)
def test_full_disk(desk, words):
    """No file may grow beyond 512 bytes: one message that names it, and the folder as it was."""
    before = contents(desk)
    with file_size_limit(512):
        outcome = call(*words)
    assert outcome.code == 2, outcome.err
    says(outcome, "Cannot write", "The system says: File too large.", "Free some space")
    assert contents(desk) == before


def test_disk_that_fills_up_between_checkpoints(desk, monkeypatch):
    """The last checkpoint that was written stays, and --resume goes on from it to the same bits."""
    assert call(*SAMPLE).code == 0
    whole = read_result(desk / "r.nc")
    Path("r.nc").unlink()
    with monkeypatch.context() as fault:
        fault.setattr("bayestds.io.checkpoint.np.savez", savez_that_fails_at(2))
        outcome = call(*SAMPLE)
    says(outcome, "r.nc.checkpoint", "No space left on device")
    assert sorted(path.name for path in desk.glob("*r.nc*")) == ["r.nc.checkpoint"]
    assert call(*SAMPLE, "--resume").code == 0
    assert read_result(desk / "r.nc")["posterior"].dataset.equals(whole["posterior"].dataset)


def savez_that_fails_at(number: int):
    """A np.savez for which the disk is full at one of its calls, after half of the file."""
    calls, real = count(1), np.savez

    def savez(file, **arrays):
        real(file, **arrays)
        if next(calls) == number:
            file.truncate(file.tell() // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return savez


@pytest.mark.parametrize("words", [("fit", "tiny.toml", "x.nxs"), SAMPLE, ("simulate", "tiny.toml")], ids=str)
def test_read_only_disk(desk, monkeypatch, words):
    """What the system says of a disk that was mounted read-only, from the first file that is made."""
    before, real = contents(desk), os.open

    def read_only(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **more)

    with monkeypatch.context() as fault:
        fault.setattr(os, "open", read_only)
        outcome = call(*words)
    assert outcome.code == 2
    says(outcome, "Cannot write", str(desk.resolve()), "Read-only file system")
    assert contents(desk) == before


@pytest.mark.parametrize("suffix", [".nxs", ".md.nxs", ".discus.h5", ".h5", ".nc"])
def test_download_that_broke_off(desk, suffix):
    """Volumes of every format, cut off at eight places."""
    assert call("convert", "x.nxs", f"v{suffix}").code == 0
    whole = Path(f"v{suffix}").read_bytes()
    for length in np.linspace(0, len(whole) - 1, 8).astype(int):
        Path(f"cut{suffix}").write_bytes(whole[:length])
        before = contents(desk)
        outcome = call("fit", "tiny.toml", f"cut{suffix}", "-o", "r.nc")
        assert outcome.code == 2
        says(outcome, f"cut{suffix}")
        assert contents(desk) == before


def test_clock_that_jumps(desk, monkeypatch):
    """Hours forth and years back at every look: results, draws and averages are those of a steady clock."""
    average = ("simulate", "tiny.toml", "--engine", "sampled", "--configurations", 50, "-o", "v.nc")
    fit = ("fit", "tiny.toml", "x.nxs", "-o", "f.nc")
    assert [call(*words).code for words in (average, fit, SAMPLE)] == [0, 0, 0]
    steady = {name: Path(name).read_bytes() for name in ("v.nc", "f.nc", "r.nc")}
    for path in desk.iterdir():
        os.utime(path, (4e9, 4e9))  # the year 2096
    jumps = count()
    with monkeypatch.context() as fault:
        for clock in ("time", "monotonic", "perf_counter"):
            real = getattr(time, clock)
            fault.setattr(time, clock, lambda real=real: real() + (-1) ** next(jumps) * 1e8)
        outcomes = [call(*words) for words in (average, fit, SAMPLE)]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    for name in ("f.nc", "r.nc"):
        Path("steady.nc").write_bytes(steady[name])
        found, expected = read_result(desk / name), read_result(desk / "steady.nc")
        for group in ("point_fit", "posterior") if name == "r.nc" else ("point_fit",):
            assert found[group].dataset.equals(expected[group].dataset)
    assert Path("v.nc").read_bytes() == steady["v.nc"]
