"""The folder of compiled programs after a kill -9 or a full disk: mended once, and never by mistake."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
from filelock import FileLock

from bayestds.cli import compiled
from bayestds.cli.compiled import LOCK, repair
from tests.survival.faults import REPOSITORY

PROGRAM = zlib.compress(os.urandom(5000))
NOW = time.time_ns().to_bytes(8, "little")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three programs as JAX keeps them."""
    for name in "abc":
        (tmp_path / f"{name}-cache").write_bytes(PROGRAM)
        (tmp_path / f"{name}-atime").write_bytes(NOW)
    return tmp_path


def files(folder: Path) -> dict[str, int]:
    """Sizes of JAX's files."""
    return {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if path.name.endswith(("-cache", "-atime"))
    }


def test_nothing_to_mend(folder):
    before = files(folder)
    assert repair(folder) is None
    assert files(folder) == before


def test_program_without_its_time(folder):
    before = files(folder)
    (folder / "b-atime").unlink()
    assert "0 of 3 will be compiled anew" in repair(folder)
    assert files(folder) == before
    assert time.time_ns() - int.from_bytes((folder / "b-atime").read_bytes(), "little") < 60e9
    assert repair(folder) is None


@pytest.mark.parametrize("left", [0, 1, 100, len(PROGRAM) - 1])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
@pytest.mark.parametrize("dated", [False, True], ids=["without time", "with time"])
def test_program_cut_off(folder, left, known, dated):
    if known:
        assert repair(folder) is None
    (folder / "b-cache").write_bytes(PROGRAM[:left])
    if not dated:
        (folder / "b-atime").unlink()
    assert "1 of 3 will be compiled anew" in repair(folder)
    assert {name[0] for name in files(folder)} == {"a", "c"}
    assert repair(folder) is None


def test_zstandard(folder):
    zstandard = pytest.importorskip("zstandard", reason="zstandard, an optional package of JAX, is missing")
    program = zstandard.ZstdCompressor().compress(os.urandom(5000))
    (folder / "b-cache").write_bytes(program)
    assert repair(folder) is None
    (folder / "b-cache").write_bytes(program[:-1])
    assert "1 of 3" in repair(folder)


def test_rest_of_an_eviction(folder):
    """JAX removes the program first: the time alone does no harm, and goes without a word."""
    (folder / "b-cache").unlink()
    assert repair(folder) is None
    assert {name[0] for name in files(folder)} == {"a", "c"}


def test_programs_are_read_once(folder, monkeypatch):
    repair(folder)
    (folder / "d-cache").write_bytes(PROGRAM)
    (folder / "d-atime").write_bytes(NOW)
    read = []
    monkeypatch.setattr(compiled, "_is_whole", lambda data: read.append(len(data)) or True)
    assert repair(folder) is None
    assert repair(folder) is None
    assert read == [len(PROGRAM)]


@pytest.mark.parametrize("text", ["", "[1]", "3", '{"a":'])
def test_damaged_list_of_sizes(folder, text):
    (folder / compiled.CHECKED).write_text(text)
    assert repair(folder) is None
    assert json.loads((folder / compiled.CHECKED).read_text()) == dict.fromkeys("abc", len(PROGRAM))


def test_program_that_another_process_writes(folder):
    """The other process holds the lock as JAX does: what it has half written is waited for."""
    half_written = threading.Event()

    def write() -> None:
        with FileLock(folder / LOCK), open(folder / "d-cache", "wb") as file:
            file.write(PROGRAM[:100])
            file.flush()
            half_written.set()
            time.sleep(0.3)
            file.write(PROGRAM[100:])
            file.flush()
            (folder / "d-atime").write_bytes(NOW)

    writer = threading.Thread(target=write)
    writer.start()
    half_written.wait()
    said = repair(folder)
    writer.join()
    assert said is None
    assert {name[0] for name in files(folder)} == set("abcd")


def test_lock_that_is_not_given_back(folder, monkeypatch):
    monkeypatch.setattr(compiled, "SECONDS_FOR_LOCK", 0.1)
    (folder / "b-atime").unlink()
    before = files(folder)
    with FileLock(folder / LOCK):
        assert repair(folder) is None
    assert files(folder) == before


COMPILES = """
import sys
sys.path.insert(0, {repository!r})
import jax, jax.monitoring, jax.numpy as jnp, os, pathlib
from bayestds.cli.compiled import keep_compiled_programs
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name.rsplit("/", 1)[-1]))
keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
real = pathlib.Path.write_bytes
def write_bytes(path, data):
    if path.name.startswith("jit_second") and path.name.endswith({killed!r}):
        if path.name.endswith("-cache"): real(path, data[: len(data) // 2])
        os.kill(os.getpid(), 9)
    return real(path, data)
pathlib.Path.write_bytes = write_bytes
x = jax.device_put(1.0)
for name, function in (("first", jnp.sin), ("second", jnp.cos), ("third", jnp.tan)):
    def one(x): return function(x) + x
    one.__name__ = name
    jax.jit(one)(x).block_until_ready()
print(found.count("cache_misses"), "compiled,", found.count("cache_hits"), "found")
"""


def environment(cache: Path) -> dict[str, str]:
    """That of a process that keeps its compiled programs in a folder of its own."""
    left_out = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    # Where Linux, macOS and Windows look for the user's cache folder.
    return kept | {"XDG_CACHE_HOME": str(cache), "HOME": str(cache), "LOCALAPPDATA": str(cache)}


def compile_programs(cache: Path, killed: str = "never") -> tuple[int, str, str]:
    """Exit code, numbers of programs compiled and found, stderr: a process that needs three programs."""
    script = COMPILES.format(repository=str(REPOSITORY), killed=killed)
    finished = subprocess.run(
        [sys.executable, "-c", script], env=environment(cache), capture_output=True, text=True, check=False
    )
    return finished.returncode, finished.stdout.strip(), finished.stderr


def test_killed_while_writing(tmp_path):
    """Within a program, and between it and its time: each time the next run mends the folder and says so.

    Unless it does, JAX compiles the second program anew in every run, or keeps no program any more.
    """
    assert compile_programs(tmp_path, killed="-cache")[0] == -signal.SIGKILL
    code, _, said = compile_programs(tmp_path, killed="-atime")
    assert code == -signal.SIGKILL
    assert "They are repaired: 1 of 2 will be compiled anew." in said
    code, counts, said = compile_programs(tmp_path)
    assert (code, counts) == (0, "1 compiled, 2 found")
    assert "They are repaired: 0 of 2 will be compiled anew." in said
    assert compile_programs(tmp_path) == (0, "0 compiled, 3 found", "")


def test_command_line(tmp_path):
    """A command mends the folder before it compiles anything."""
    folder = tmp_path / "bayestds/compiled"
    folder.mkdir(parents=True)
    (folder / "a-cache").write_bytes(PROGRAM[:100])
    command = [sys.executable, "-m", "bayestds", "irreducible", "cu_fcc", "--json"]
    finished = subprocess.run(
        command, cwd=REPOSITORY, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["n_irreducible"]
    assert "1 of 1 will be compiled anew" in finished.stderr
    assert not (folder / "a-cache").exists()
