"""Faults that a test can cause: a disk that takes no more, a process that is killed, a clock that jumps."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the system refuse to make any file larger than this, as a full disk does (EFBIG, not ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The folder of compiled programs is shared with other tests: nothing half written may come there.
    kept = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()  # JAX looks at that setting once only
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        jax.config.update("jax_enable_compilation_cache", kept)
        reset_cache()


def start(folder: Path, *words: str, before: str = "", log: str = "log") -> subprocess.Popen[bytes]:
    """The command line in a process of its own, in a folder, after some lines of Python."""
    script = f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n{before}\n"
    script += "from bayestds.cli import main\nif __name__ == '__main__': sys.exit(main(sys.argv[1:]))\n"
    with open(folder / log, "ab") as stream:
        command = [sys.executable, "-c", script, *words]
        return subprocess.Popen(command, cwd=folder, stdout=stream, stderr=stream)


def killed_at(module: str, function: str, number: int, after: bool = False) -> str:
    """Lines of Python by which the process kills itself (-9) at the given call of a function.

    Args:
        module: that holds it.
        function: of the module.
        number: of the call, from 1.
        after: whether it is let through first.
    """
    kill = f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    return f"""\
import importlib, itertools, os
module = importlib.import_module({module!r})
calls, real = itertools.count(1), getattr(module, {function!r})
def deadly(*args, **kwargs):
    last = next(calls) == {number}
    if last and not {after}: {kill}
    found = real(*args, **kwargs)
    if last: {kill}
    return found
setattr(module, {function!r}, deadly)
"""
