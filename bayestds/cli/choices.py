"""Values that options take: the choices of some, and the checks of others."""

import math
import re
from enum import StrEnum

import typer


def positive(value: float | None) -> float | None:
    """Refuse a number that is not positive."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not a positive number.")
    return value


def all_positive(values: list[float] | None) -> list[float] | None:
    """Refuse numbers that are not positive."""
    for value in values or []:
        positive(value)
    return values


def normals(texts: list[str] | None) -> list[str] | None:
    """Refuse texts that are not three integers."""
    for text in texts or []:
        if not re.fullmatch(r"[+-]?\d+( [+-]?\d+){2}", text) or not re.search("[1-9]", text):
            raise typer.BadParameter(f"{text!r} is no normal: give three integers, such as '1 1 0'.")
    return texts


class Engine(StrEnum):
    """How an intensity is computed."""

    exact = "exact"
    sampled = "sampled"
    one_phonon = "one-phonon"


class Sampler(StrEnum):
    """How random displacements are drawn."""

    block = "block"
    dense = "dense"


class Method(StrEnum):
    """How a posterior is drawn from."""

    nuts = "nuts"
    laplace = "laplace"
    normal = "normal"


class Program(StrEnum):
    """For which force constants are written."""

    phonopy = "phonopy"
    ase = "ase"
