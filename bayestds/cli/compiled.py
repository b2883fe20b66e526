"""Compiled programs, kept on disk for the next process."""

import json
import os
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import jax
from filelock import FileLock
from platformdirs import user_cache_path

from bayestds.cli.output import words
from bayestds.errors import OutputError
from bayestds.io.atomic import atomic_path

LARGEST_CACHE = 2**30
"""Bytes; the programs that were used least recently go first."""

PROGRAM, LAST_USE = "-cache", "-atime"
"""Ends of the names of the two files that JAX keeps of a program: itself, and the time of its last use."""

LOCK = ".lockfile"
"""File that JAX locks while it reads or writes one of them."""

CHECKED = "checked.json"
"""Our own file in JAX's folder: the size of every program that was found whole."""

SECONDS_FOR_LOCK = 10.0
"""How long another process may hold the lock; JAX waits as long."""


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the cache folder of the user, unless its own settings name another.

    Compilation is a large part of a command's time, and the next one of the same kind is spared it.
    """
    # A disk that is full only costs the time that is not saved. What it leaves damaged is repaired next time.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = user_cache_path("bayestds") / "compiled"
    if not _writable(folder):
        return
    if said := repair(folder):
        words.print(said, markup=False)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LARGEST_CACHE)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _writable(folder: Path) -> bool:
    """Whether the folder is there, or could be made, and can be written to."""
    try:
        # What is read from it is run: nobody else may write there.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def repair(folder: Path) -> str | None:
    """Mend what a killed process or a full disk has left of JAX's folder of compiled programs.

    JAX writes a program and then, in a second file, the time of its last use (`LRUCache` in
    `jax/_src/lru_cache.py`). It never replaces a program that exists, even one that cannot be read, and it
    writes no program at all as long as one lacks its time. Here such a program gets one, and programs that
    were cut off are removed. Each is read once, and known by its size from then on.

    Other processes may use the folder at the same time: as JAX does, this holds the lock of the folder.
    Where that cannot be had in time, all is left as it is for the next process.

    Returns:
        a sentence where there was anything to mend.
    """
    # Another process holds the lock, the file system knows none, or somebody empties the folder.
    with suppress(OSError, NotImplementedError), FileLock(folder / LOCK, timeout=SECONDS_FOR_LOCK):
        return _repair(folder)
    return None


def _repair(folder: Path) -> str | None:
    files = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
    programs = {name.removesuffix(PROGRAM): size for name, size in files.items() if name.endswith(PROGRAM)}
    times = {name.removesuffix(LAST_USE) for name in files if name.endswith(LAST_USE)}
    checked = _checked(folder)
    whole = {
        name: size
        for name, size in programs.items()
        if checked.get(name) == size or _is_whole((folder / f"{name}{PROGRAM}").read_bytes())
    }
    lost, undated = programs.keys() - whole, whole.keys() - times
    for name in lost:
        (folder / f"{name}{PROGRAM}").unlink()
    for name in times - whole.keys():
        (folder / f"{name}{LAST_USE}").unlink()
    for name in undated:
        (folder / f"{name}{LAST_USE}").write_bytes(time.time_ns().to_bytes(8, "little"))
    if whole != checked:
        with suppress(OutputError), atomic_path(folder / CHECKED) as temporary:
            temporary.write_text(json.dumps(whole))
    if not (lost or undated):
        return None
    return (
        f"The compiled programs in {folder} were damaged, by a process that was killed or a disk that was "
        f"full. They are repaired: {len(lost)} of {len(programs)} will be compiled anew."
    )


def _checked(folder: Path) -> dict[str, int]:
    """Sizes of the programs that were found whole before."""
    try:
        return dict(json.loads((folder / CHECKED).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _is_whole(compressed: bytes) -> bool:
    """Whether a program can be read: JAX compresses it, with zlib unless `zstandard` is installed."""
    if compressed.startswith(b"\x28\xb5\x2f\xfd"):
        return _is_whole_zstd(compressed)
    try:
        zlib.decompress(compressed)
    except zlib.error:
        return False
    return True


def _is_whole_zstd(compressed: bytes) -> bool:
    """The same with `zstandard`; where that is missing, JAX looks for programs under other names."""
    try:
        import zstandard
    except ImportError:
        return True
    try:
        zstandard.ZstdDecompressor().decompress(compressed)
    except zstandard.ZstdError:
        return False
    return True
