"""Axes as files name them: h, Qk, l-axis, [H,H,0], (0 0 L)."""

import re

import numpy as np

LETTERS = {prefix + letter: letter for letter in "hkl" for prefix in ("", "q")}
BRACKETED = re.compile(r"[\[(]([^\])]*)[\])]\s*(?:\(?r\.?l\.?u\.?\)?)?")
COMPONENT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)?)\*?([a-z]*)")


def letter_of(name: str) -> str | None:
    """Which of h, k, l an axis is called after: H, Qh or h-axis; None for any other name."""
    return LETTERS.get(re.sub(r"[-_ ]?axis$", "", name.strip().lower()))


def direction_of(name: str) -> np.ndarray | None:
    """Direction (3,) in h, k, l of an axis by its name: [0,2K,0] is 0 2 0, K is 0 1 0; None for other names.

    In [H,-K,0] a letter alone counts once; a number alone is an offset along the axis, and only 0 has a
    meaning.
    """
    if letter := letter_of(name):
        return np.array([float(letter == axis) for axis in "hkl"])
    bracketed = BRACKETED.fullmatch(name.strip().lower())
    if bracketed is None:
        return None
    inner = re.sub("['\"]", "", bracketed[1]).strip()
    parts = [part.replace(" ", "") for part in (inner.split(",") if "," in inner else inner.split())]
    matches = [COMPONENT.fullmatch(part) for part in parts]
    if len(parts) != 3 or not all(parts) or not all(matches):
        return None
    components = [match.groups() for match in matches if match]
    direction = np.array([_coefficient(*one) for one in components])
    one_letter = len({letter for _, letter in components if letter}) == 1
    return direction if one_letter and np.isfinite(direction).all() else None


def _coefficient(number: str, letter: str) -> float:
    if not letter:
        return float("nan") if number in ("", "+", "-") or float(number) else 0.0
    return float(number + "1" if number in ("", "+", "-") else number)
