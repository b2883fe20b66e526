"""The command line as a real process."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
import typer

from bayestds import __version__
from bayestds.cli import main
from bayestds.cli.app import app
from tests.survival.faults import REPOSITORY

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
    assert "..." not in finished.stdout.split("Commands:")[1]  # whole sentences


def test_every_option_is_explained():
    for name, command in typer.main.get_command(app).commands.items():
        for parameter in command.params:
            assert (parameter.help or "").endswith("."), (name, parameter.name)


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
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"bayestds {__version__}\n", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(tmp_path):
    """As installed by the command itself, and asked by bash: commands, options, models and files."""
    program = tmp_path / "bayestds"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m bayestds "$@"\n')
    program.chmod(0o755)
    (tmp_path / "cubic.toml").touch()
    (tmp_path / "cubic.nxs").touch()
    script = """
bayestds --install-completion || exit 1
source .bash_completions/bayestds.sh
offered() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bayestds_completion bayestds; echo ${COMPREPLY[@]}; }
offered bayestds sa
offered bayestds fit --st
offered bayestds simulate cu_fcc --engine ""
offered bayestds fit cu
offered bayestds fit cu_fcc cu
complete -p bayestds
"""
    finished = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    expected = ["sample", "--start", "exact sampled one-phonon", "cubic.toml cu_fcc", ""]
    # Where nothing is offered, bash completes names of files.
    expected.append("complete -o default -F _bayestds_completion bayestds")
    assert finished.stdout.splitlines()[-6:] == expected


def test_completion_is_quick(tmp_path):
    """JAX and xarray take longer to import than anybody waits for a word."""
    script = "import sys; from bayestds.cli import main; main([])\n"
    script += "print(*[name for name in ('jax', 'xarray') if name in sys.modules], 'end')"
    asked = {"_BAYESTDS_COMPLETE": "complete_bash", "COMP_WORDS": "bayestds fit cu_", "COMP_CWORD": "2"}
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | asked | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "cu_fcc\nend\n"
