"""Compiled programs, kept on disk for the next process."""

import os
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import jax
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from bayestds.cli.output import words

LARGEST_CACHE = 2**30
"""Bytes; the programs that were used least recently go first."""

PROGRAM, LAST_USE = "-cache", "-atime"
"""JAX keeps each program in a file with the first ending, and then its last use in one with the second."""

LOCK, CHECKED = ".lockfile", ".checked"
"""JAX's lock of the folder, and a file of ours that is as old as the last check of what is in it."""

PATIENCE = 10
"""Seconds to wait for another process that writes to the folder."""

ZSTANDARD = b"\x28\xb5\x2f\xfd"
"""How programs begin that were compressed with zstandard, which JAX prefers to zlib where it is installed."""


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the cache folder of the user, unless its own settings name another.

    Compilation is a large part of a command's time, and the next one of the same kind is spared it.
    """
    # A full disk, or an entry that another process has just damaged, only costs the time that is not saved.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = user_cache_path("bayestds") / "compiled"
    if not _writable(folder):
        return
    if n_damaged := repair(folder):
        words.print(
            f"Note: {n_damaged} compiled programs were damaged, as by a process that was killed while it "
            "wrote them. They are mended, or compiled anew.",
            markup=False,
        )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LARGEST_CACHE)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def repair(folder: Path) -> int:
    """Remove programs that were not written to their end, date those without a last use, and say how many.

    JAX would never replace a damaged program, and where the last use of any is missing it writes no other one
    (jax/_src/lru_cache.py). Programs that are older than the last check are not read again.
    """
    try:
        with FileLock(folder / LOCK, timeout=PATIENCE):
            return _repaired(folder)
    except (OSError, Timeout):
        return 0


def _repaired(folder: Path) -> int:
    stamp = folder / CHECKED
    checked = stamp.stat().st_mtime_ns if stamp.exists() else 0
    now, n_damaged = time.time_ns(), 0
    for program in folder.glob(f"*{PROGRAM}"):
        last_use = program.with_name(program.name.removesuffix(PROGRAM) + LAST_USE)
        # One more second, as some file systems round.
        recent = program.stat().st_mtime_ns > checked - 1_000_000_000
        dated = last_use.exists()
        if (recent or not dated) and not _is_whole(program.read_bytes()):
            program.unlink()
            with suppress(FileNotFoundError):
                last_use.unlink()
        elif not dated:
            last_use.write_bytes(now.to_bytes(8, "little"))
        else:
            continue
        n_damaged += 1
    stamp.touch()
    os.utime(stamp, ns=(now, now))
    return n_damaged


def _is_whole(content: bytes) -> bool:
    """Whether a compressed program can be read to its end; True where nothing can tell."""
    if content.startswith(ZSTANDARD):
        try:
            import zstandard  # type: ignore[import-not-found]
        except ImportError:
            return True
        reader, errors = zstandard.ZstdDecompressor().decompressobj(), (zstandard.ZstdError,)
    else:
        reader, errors = zlib.decompressobj(), (zlib.error,)
    try:
        reader.decompress(content)
    except errors:
        return False
    return bool(reader.eof)


def _writable(folder: Path) -> bool:
    """Whether the folder is there, or could be made, and can be written to."""
    try:
        # What is read from it is run: nobody else may write there.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
