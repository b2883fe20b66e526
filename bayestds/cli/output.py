"""What a person or a program reads: words on stderr, tables or one JSON object on stdout."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bayestds.errors import BayesTDSError, OutputError

words = Console(stderr=True, highlight=False, soft_wrap=True)

FORWARD = "the forward scattering of a primitive cell"
"""Unit of the strengths of a smooth background."""

SECONDS_BETWEEN_LINES, SECONDS_OF_SILENCE = 10.0, 60.0
"""Between two lines of progress where stderr is no terminal: on new steps, and on the same one."""

UNITS_OF_TIME = ((3600, "h"), (60, "min"), (1, "s"))
"""Seconds in each unit that a remaining time may be given in."""

MOST_IN_UNITS = 1.7
"""A time is given in the largest unit that it has so many of."""


def report_error(error: BayesTDSError) -> None:
    """Print an error: what is wrong, why, and what to do."""
    words.print(f"[bold red]Error:[/] {escape(error.summary)}")
    for part in (error.reason, error.fix):
        if part:
            words.print(escape(part))


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout; numbers that are not finite become null."""
    json.dump(plain(record), sys.stdout, allow_nan=False, indent=1)
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, numbers to the right; names from files are not read as markup."""
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1)
    )
    for number, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(highlight=False)
    # A table that is cut off at the edge of the window is no table: let the lines run over instead.
    unbounded = console.options.update(max_width=1000)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)


def print_self_terms(record: dict[str, Any]) -> None:
    """Print the self terms of the record of a fit, with their standard errors."""
    for name, value in record["self_terms"].items():
        print(f"{name} = {value:.6f} ± {record['self_terms_sd'][name]:.1e} eV/Å² from the acoustic sum rule")


def print_background(strengths: dict[str, dict[str, float]]) -> None:
    """Print the strengths of a background, {name: {"value", "sd"}}, with their errors and units."""
    for name, one in strengths.items():
        unit = "the tabulated Compton scattering" if name.endswith("compton") else FORWARD
        error = f"{one['sd']:.1e}" if math.isfinite(one["sd"]) else "-"
        print(f"{name} = {one['value']:.4g} ± {error} of {unit}")


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings on stderr."""
    for warning in warnings:
        words.print(f"Warning: {warning}", markup=False)


def print_notes(notes: Sequence[str]) -> None:
    """Print notes on stderr."""
    for note in notes:
        words.print(f"Note: {note}", markup=False)


def print_equivalents(record: dict[str, Any]) -> None:
    """Print how well equivalent voxels agree, where there are any."""
    if record["n_orbits"]:
        chi_square = f", chi-square {record['chi_square']:.3g}" if record["chi_square"] is not None else ""
        print(f"Equivalent voxels: R_int {record['r_int']:.2%}, R_meas {record['r_meas']:.2%}{chi_square}.")


def number(value: float, digits: int = 5) -> str:
    """A number in a table; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def check_output(*paths: Path, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse files that cannot be written, or are inputs, before the work rather than after it.

    Raises:
        OutputError: the folder is missing or not writable, or a path is a folder or an input.
    """
    # Not at the top: it brings xarray, and a shell that completes words is not to wait for that.
    from bayestds.io.atomic import atomic_path

    taken = {path.resolve() for path in inputs if path is not None}
    for path in paths:
        if path.resolve() in taken:
            raise OutputError(
                f"{path} is an input of this command.", "It would be lost.", "Name another file."
            )
        with suppress(_NotYet), atomic_path(path):
            raise _NotYet


class _NotYet(Exception):
    """Nothing is to be written yet."""


@runtime_checkable
class Tell(Protocol):
    """Tells what is being done and, where that is known, which share of it is."""

    def __call__(self, text: str, share: float | None = None) -> None:
        """Tell it."""


@contextmanager
def progress_bar(title: str) -> Iterator[Tell]:
    """A bar on stderr, that pulses while the share of the work is unknown; yields what moves it.

    Where stderr is no terminal, such as a log file, lines are written instead: see :class:`ProgressLines`.
    """
    # A console also calls itself a terminal where colours are forced upon a file.
    live = sys.stderr.isatty() and not words.is_dumb_terminal
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=words, disable=not live) as bar:
        task, lines = bar.add_task(title, total=None), ProgressLines(title, time.monotonic)

        def tell(text: str, share: float | None = None) -> None:
            bar.update(task, description=f"{title}: {text}", total=share and 1.0, completed=share or 0.0)
            if not live and (line := lines.line(text, share)):
                words.print(line, markup=False)

        yield tell
        bar.update(task, total=1, completed=1)


class ProgressLines:
    """Which lines of progress a log file gets: one for each step or tenth of the work, and signs of life.

    Args:
        title: begins every line.
        clock: tells the time, in seconds.
    """

    def __init__(self, title: str, clock: Callable[[], float]):
        self._title, self._clock = title, clock
        self._written = clock()
        self._step, self._tenth = "", -1
        self._begin: tuple[float, float] | None = None

    def line(self, text: str, share: float | None = None) -> str | None:
        """What to write now that this is being done, and this share of it is done; None for nothing."""
        now = self._clock()
        step = re.split(r"\d", text, maxsplit=1)[0]
        if step != self._step or share is None or self._begin is None:
            self._begin = None if share is None else (now, share)
        tenth = -1 if share is None else int(10 * share)
        news = step != self._step or tenth != self._tenth
        if now < self._written + (SECONDS_BETWEEN_LINES if news else SECONDS_OF_SILENCE):
            return None
        self._written, self._step, self._tenth = now, step, tenth
        return f"{self._title}: {text}{self._left(now, share)}"

    def _left(self, now: float, share: float | None) -> str:
        """How much of the work is done and how long the rest takes, as far as that is known."""
        if share is None or self._begin is None:
            return ""
        begin, done = self._begin
        if share <= done:
            return f" ({share:.0%})"
        left = (now - begin) / (share - done) * (1 - share)
        fitting = [one for one in UNITS_OF_TIME if left >= MOST_IN_UNITS * one[0]]
        size, unit = fitting[0] if fitting else UNITS_OF_TIME[-1]
        return f" ({share:.0%}, about {left / size:.0f} {unit} left)"
