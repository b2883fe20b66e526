"""The command line as a real process."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.metadata import version

import pytest

from bayestds.cli import main

COMMANDS = ("irreducible", "simulate", "info", "convert", "fit", "sample", "summary", "compare")


def run(folder, *words: str) -> subprocess.CompletedProcess[str]:
    # The variables of a test run must not decide what a user would see.
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "bayestds", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def test_help_is_the_map(tmp_path):
    finished = run(tmp_path, "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert all(f"\n  {command} " in finished.stdout for command in COMMANDS)


def test_json_is_all_of_stdout(folder):
    finished = run(folder, "simulate", "tiny.toml", "--json")
    assert finished.returncode == 0
    assert json.loads(finished.stdout)["output"] == "tiny_truth.nc"
    assert finished.stderr == "Wrote tiny_truth.nc: 2162 measured voxels.\n"


def test_error_of_a_process(folder):
    finished = run(folder, "fit", "tiny.toml", "none.nxs")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.splitlines() == [
        "Error: none.nxs: there is no such file.",
        "A volume is expected.",
        "Check the name and the folder.",
    ]


def test_terminal_without_unicode(folder):
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as stream, redirect_stdout(stream):
        assert main(["irreducible", "tiny.toml"]) == 0
        stream.flush()
        assert b"distance (?)" in raw.getvalue()


def test_version(tmp_path):
    finished = run(tmp_path, "--version")
    assert (finished.returncode, finished.stdout) == (0, f"bayestds {version('bayestds')}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_a_shell(tmp_path, shell):
    finished = run(tmp_path, "--show-completion", shell)
    assert finished.returncode == 0
    assert "_BAYESTDS_COMPLETE" in finished.stdout


def test_completing_a_command_is_quick(tmp_path):
    """It happens at every press of a key: nothing heavy may be imported for it."""
    script = (
        "import sys, bayestds.cli.app; print([name for name in ('jax', 'numpyro') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"
    environment = os.environ | {
        "_BAYESTDS_COMPLETE": "complete_bash",
        "COMP_WORDS": "bayestds sim",
        "COMP_CWORD": "1",
    }
    command = [sys.executable, "-m", "bayestds"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.stdout.split() == ["simulate"]
