"""Compiled programs, kept on disk for the next process."""

import os
import warnings
from pathlib import Path

import jax
from platformdirs import user_cache_path

LARGEST_CACHE = 2**30
"""Bytes; the programs that were used least recently go first."""


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the cache folder of the user, unless its own settings name another.

    Compilation is a large part of a command's time, and the next one of the same kind is spared it.
    """
    # A full disk, or an entry that a killed process left half written, only costs the time that is not saved.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = user_cache_path("bayestds") / "compiled"
    if not _writable(folder):
        return
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
