"""Compiled programs on disk survive a process that is killed while it writes them."""

import json
import os
import subprocess
import sys

import pytest

from bayestds.cli.compiled import LAST_USE, PROGRAM, repair

PROGRAMS = 6
SCRIPT = f"""
import json, sys
import jax, jax.numpy as jnp
from bayestds.cli.compiled import keep_compiled_programs
keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
counts = {{}}
def count(event, **_):
    counts[event] = counts.get(event, 0) + 1
jax.monitoring.register_event_listener(count)
for n in range(1, {PROGRAMS} + 1):
    jax.jit(lambda x, n=n: jnp.tanh(x * n).sum())(jnp.ones(2 + n)).block_until_ready()
hits = counts.get("/jax/compilation_cache/cache_hits", 0)
requests = counts.get("/jax/compilation_cache/compile_requests_use_cache", 0)
print(json.dumps({{"compiled": requests - hits, "hits": hits}}))
"""


def run(home):
    environment = os.environ | {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(finished.stdout), finished.stderr


def programs(home):
    return sorted((home / "bayestds" / "compiled").glob(f"*{PROGRAM}"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled, and what that process compiled."""
    home = tmp_path_factory.mktemp("cache")
    first, words = run(home)
    assert "damaged" not in words
    assert first["compiled"] >= PROGRAMS
    assert len(programs(home)) == first["compiled"]
    return home, first["compiled"]


def killed_before_the_last_use_was_written(program):
    program.with_name(program.name.removesuffix(PROGRAM) + LAST_USE).unlink()


def killed_while_the_program_was_written(program):
    os.truncate(program, program.stat().st_size // 2)
    killed_before_the_last_use_was_written(program)


def truncated(program):
    os.truncate(program, program.stat().st_size - 3)


@pytest.mark.parametrize(
    "damage",
    [killed_before_the_last_use_was_written, killed_while_the_program_was_written, truncated],
)
def test_the_next_run_repairs_and_the_one_after_compiles_nothing(filled, damage):
    home, n = filled
    damage(programs(home)[n // 2])
    second, words = run(home)
    assert words.count("1 compiled programs were damaged") == 1
    lost = 0 if damage is killed_before_the_last_use_was_written else 1
    assert (second["compiled"], second["hits"]) == (lost, n - lost)
    third, words = run(home)
    assert "damaged" not in words
    assert (third["compiled"], third["hits"]) == (0, n)


def test_whole_programs_are_read_once_only(filled, monkeypatch):
    home, _ = filled
    folder = home / "bayestds" / "compiled"
    for program in programs(home):
        os.utime(program, ns=(0, 0))
    monkeypatch.setattr("bayestds.cli.compiled._is_whole", lambda content: pytest.fail("read again"))
    assert repair(folder) == 0


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path):
    assert repair(tmp_path / "missing") == 0
