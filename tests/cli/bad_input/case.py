"""One wrong input."""

from collections.abc import Callable
from typing import NamedTuple


class Case(NamedTuple):
    """One wrong input, and what is to be said of it.

    Attributes:
        wrong: what is wrong, in a few words; unique.
        prepare: writes the files of the case into the current folder, where tiny.toml lies already.
        command: that must be refused, without `bayestds`.
        words: that the message must have: names and values of what is wrong.
    """

    wrong: str
    prepare: Callable[[], object]
    command: str
    words: tuple[str, ...]


def nothing() -> None:
    """What a case writes whose command alone is wrong."""
