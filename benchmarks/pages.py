"""Markdown of the pages that are made from results."""

import argparse
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

from bayestds.io.atomic import atomic_path

HERE = Path(__file__).parent


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of moderate length; tables, pictures and the like as they are."""
    if paragraph.startswith(("|", "#", "```", "!")):
        return paragraph
    return fill(paragraph, 115, break_on_hyphens=False)


def write_page(page: Callable[[Path], str], name: str, description: str | None) -> None:
    """Command line that writes a page of the docs from a folder of results."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "docs" / name)
    given = parser.parse_args()
    with atomic_path(given.output) as temporary:
        temporary.write_text(page(given.results), "utf-8")
