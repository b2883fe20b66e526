"""Markdown of the pages that are made from results."""

from textwrap import fill


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of moderate length; tables, pictures and the like as they are."""
    if paragraph.startswith(("|", "#", "`", "!")):
        return paragraph
    return fill(paragraph, 115, break_on_hyphens=False)
