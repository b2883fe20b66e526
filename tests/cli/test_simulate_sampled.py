"""bayestds simulate --engine sampled: what it writes, and that an interrupted average goes on."""

import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from bayestds.cli import simulation
from bayestds.io import read_volume
from bayestds.scattering.simulation import IntensitySum
from tests.cli.tiny import call

WORDS = ("simulate", "tiny.toml", "--engine", "sampled", "--seed", 5, "--configurations", 450)


class CutOff(Exception):
    """The computation is cut off here. (Ctrl-C would end the test run as well.)"""


def intensity(path) -> np.ndarray:
    return xr.load_dataset(path, engine="h5netcdf")["intensity"].values


def test_volume_says_what_it_is(folder):
    outcome = call(*WORDS, "-o", "x.nc")
    assert outcome.code == 0, outcome.err
    volume = read_volume("x.nc")
    assert (volume.attrs["configurations"], volume.attrs["seed"]) == (450, 5)
    assert volume.attrs["noise"] == "ensemble"
    assert call("simulate", "tiny.toml", "-o", "exact.nc").code == 0
    ratio = intensity("x.nc") / intensity("exact.nc")
    # Bragg peaks are left out of both; each voxel scatters by about 1/√450 = 0.047.
    assert np.array_equal(np.isnan(intensity("x.nc")), np.isnan(intensity("exact.nc")))
    assert 0.03 < np.nanstd(ratio) < 0.06
    assert np.nanmean(ratio) == pytest.approx(1, abs=0.01)
    assert sorted(path.name for path in folder.iterdir()) == ["exact.nc", "tiny.toml", "x.nc"]


def test_interrupted_average_goes_on(folder, monkeypatch):
    assert call(*WORDS, "-o", "whole.nc").code == 0
    monkeypatch.setattr(simulation, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    real, counts = simulation.sample_intensity, []

    def cut_off(*arguments):
        for running in real(*arguments):
            yield running
            if running.count >= 200:
                raise CutOff

    def watched(*arguments):
        counts.append(arguments[-1].count)
        yield from real(*arguments)

    monkeypatch.setattr(simulation, "sample_intensity", cut_off)
    with pytest.raises(CutOff):
        call(*WORDS, "-o", "cut.nc")
    assert not (folder / "cut.nc").exists()
    monkeypatch.setattr(simulation, "sample_intensity", watched)
    assert call(*WORDS, "-o", "cut.nc").code == 0
    assert counts == [200]
    assert np.array_equal(intensity("cut.nc"), intensity("whole.nc"), equal_nan=True)
    assert not (folder / "cut.nc.checkpoint").exists()


def test_checkpoint_of_another_simulation_is_not_used(folder, monkeypatch):
    monkeypatch.setattr(simulation, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    real = simulation.sample_intensity

    def only_one(*arguments):
        yield next(iter(real(*arguments)))
        raise CutOff

    monkeypatch.setattr(simulation, "sample_intensity", only_one)
    with pytest.raises(CutOff):
        call(*WORDS, "-o", "x.nc")
    starts: list[IntensitySum] = []

    def watched(*arguments):
        starts.append(arguments[-1])
        yield from real(*arguments)

    monkeypatch.setattr(simulation, "sample_intensity", watched)
    other = [6 if word == 5 else word for word in WORDS]
    assert call(*other, "-o", "x.nc").code == 0
    assert [start.count for start in starts] == [0]


@pytest.mark.slow
def test_killed_process_goes_on(folder):
    """What a killed process leaves behind is no volume, and the next one ends as if nothing had happened."""
    words = [str(word) for word in (*WORDS[:-1], 600_000)]
    command = [sys.executable, "-m", "bayestds", *words, "-o"]
    subprocess.run([*command, "whole.nc"], check=True, capture_output=True)
    killed = subprocess.Popen([*command, "cut.nc"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (folder / "cut.nc.checkpoint").exists():
        assert killed.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    assert not (folder / "cut.nc").exists()
    subprocess.run([*command, "cut.nc"], check=True, capture_output=True)
    assert np.array_equal(intensity("cut.nc"), intensity("whole.nc"), equal_nan=True)
