"""Q points spread over devices and processes give what one device gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(devices: int, *arguments: str) -> subprocess.Popen:
    """A process that has so many virtual devices."""
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-m", "tests.scattering.sharded_process", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen) -> list[dict]:
    """What a process found."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def check(found: list[dict], devices: int) -> None:
    for one in found:
        assert one["devices"] == devices
        assert one["value"] < -1  # a place off the maximum, where the gradient is not zero
        assert one["error"] < 1e-10
    assert found[0]["groups"] == [1, 1]
    assert found[1]["groups"][0] > found[1]["groups"][1]


def test_eight_devices():
    check(finished(start(8)), 8)


@pytest.mark.slow
def test_two_processes():
    """Two processes on loopback, as two computers would be, with two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [start(2, address, "2", str(number)) for number in range(2)]
    first, second = map(finished, processes)
    check(first, 4)
    assert first == second
