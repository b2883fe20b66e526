"""The command line as a real process."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout

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
