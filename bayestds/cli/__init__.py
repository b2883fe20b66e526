"""The command line: thin commands over the package. ``bayestds --help`` is the map."""

import os
from collections.abc import Sequence

from bayestds.cli.app import app
from bayestds.cli.output import report_error, words
from bayestds.errors import BayesTDSError
from bayestds.memory import keep_freed_memory

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after ``bayestds``; those of the process by default.

    Returns:
        the exit code: 0, or 2 after one clear message for bad input.
    """
    # JAX's compiler remarks on every program that it finds on disk (see `compiled.py`), on some processors as
    # an error that is none (https://github.com/jax-ml/jax/issues/38445); what fails also raises an exception.
    # The level 1 is what JAX sets, in a notebook say from which a command is started.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    keep_freed_memory()
    try:
        app(None if arguments is None else list(arguments), prog_name="bayestds")
    except SystemExit as finished:
        if finished.code == INTERRUPTED:
            words.print("Interrupted; no file was left half written.")
            # JAX's threads may still be computing, and do not survive an orderly end of the interpreter.
            os._exit(INTERRUPTED)
        return finished.code if isinstance(finished.code, int) else 0
    except BayesTDSError as error:
        report_error(error)
        return 2
    return 0
