"""What options of several commands are, and the checks of their values."""

import math
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bayestds import __version__


def models(beginning: str) -> list[str]:
    """What the shell offers for a MODEL: the model files of this folder, and the shipped models."""
    from bayestds.config import available_models

    files = sorted(str(path) for path in Path().glob("*.toml"))
    return [name for name in (*files, *available_models()) if name.startswith(beginning)]


def print_version(asked: bool) -> bool:
    """Print the version and end, if asked to."""
    if asked:
        print(f"bayestds {__version__}")
        raise typer.Exit
    return asked


Version = Annotated[
    bool,
    typer.Option("--version", help="Show the version and exit.", callback=print_version, is_eager=True),
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="TOML file, or the name of a shipped model.", autocompletion=models),
]
VolumeFile = Annotated[Path, typer.Argument(metavar="VOLUME", help="A scattering volume, of any format.")]
ResultFile = Annotated[
    Path, typer.Argument(metavar="RESULT", help="A file that `bayestds fit` or `sample` wrote.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, words on stderr.")]
Unconverged = Annotated[
    bool, typer.Option("--unconverged", help="Use the result of a fit that did not converge.")
]
Shells = Annotated[int | None, typer.Option(min=1, help="Neighbour shells, instead of the model's.")]
Cubic = Annotated[
    int | None,
    typer.Option(min=0, help="Neighbour shells with third-order constants, instead of the model's; 0: none."),
]


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
