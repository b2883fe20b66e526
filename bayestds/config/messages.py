"""One line of plain words for each mistake that pydantic finds in a TOML file."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from bayestds.config.values import listed


def describe(detail: ErrorDetails, table: type[BaseModel]) -> str:
    """One line for one error of pydantic in a file that is such a table: key, what was expected and found."""
    location = [part for part in detail["loc"] if part != "[key]"]
    why = detail["msg"].removeprefix("Value error, ")
    if not location:
        return why
    section: type[BaseModel] | None = table
    expected = "a table"
    for part in location[:-1]:
        section, expected = _step(section, part, expected)
    _, expected = _step(section, location[-1], expected)
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        known = list(section.model_fields) if section else []
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {listed(known)}"
        return f"{key}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{key}: missing; expected {expected}"
    if isinstance(detail["input"], dict) and detail["type"] == "value_error":
        return f"{key}: {why}"
    reason = f" ({why})" if detail["type"] == "value_error" else ""
    return f"{key}: expected {expected}, found {detail['input']!r}{reason}"


def _step(
    section: type[BaseModel] | None, part: int | str, expected: str
) -> tuple[type[BaseModel] | None, str]:
    """Follow one part of a key: the table it leads into, and what is expected there."""
    field = section.model_fields.get(str(part)) if section else None
    if field is None:
        return section, expected
    return _section_in(field.annotation), field.description or expected


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _section_in(argument))), None)
