"""The values that a model file may hold, and how they are checked."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, PlainValidator

from bayestds.crystal.species import read_species
from bayestds.errors import CrystalError

Matrix = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


class Axis(NamedTuple):
    """Equally spaced points from `first` to `last`, both included, in r.l.u. of the conventional cell."""

    first: float
    last: float
    points: int


def _axis(value: Any) -> Axis:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError("three numbers are needed")
    first, last, points = value
    if not all(type(x) in (int, float) and math.isfinite(x) for x in value):
        raise ValueError("all three must be finite numbers")
    if type(points) is not int or points < 1:
        raise ValueError("the number of points must be a positive integer")
    if (points > 1 and last <= first) or (points == 1 and last != first):
        raise ValueError("the last point must lie above the first (one point alone: last = first)")
    return Axis(float(first), float(last), points)


def _matrix(value: Any) -> Matrix:
    rows = value if isinstance(value, list | tuple) else []
    if len(rows) == 3 and all(type(x) is int for x in rows):
        if min(rows) < 1:
            raise ValueError("every length must be at least 1")
        rows = [[x if i == j else 0 for j in range(3)] for i, x in enumerate(rows)]
    if len(rows) != 3 or not all(
        isinstance(row, list | tuple) and len(row) == 3 and all(type(x) is int for x in row) for row in rows
    ):
        raise ValueError("not three integers and not three rows of three integers")
    (a, b, c), (d, e, f), (g, h, i) = rows
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if determinant == 0:
        raise ValueError("the matrix is singular")
    if determinant < 0:
        raise ValueError("the determinant is negative: exchange two rows")
    return ((a, b, c), (d, e, f), (g, h, i))


def _space_group(value: Any) -> int | str:
    if (isinstance(value, str) and value.strip()) or (type(value) is int and 1 <= value <= 230):
        return value
    raise ValueError("not a space group")


def _noise(value: Any) -> float | Literal["learned"]:
    if value != "learned" and not (type(value) in (int, float) and math.isfinite(value) and value > 0):
        raise ValueError("neither of the two")
    return value


def _range(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] <= value[0]:
        raise ValueError("the second must be larger than the first")
    return value


def _symbol(value: str) -> str:
    try:
        read_species(value)
    except CrystalError as error:
        raise ValueError(error.summary) from None
    return value


def _background(value: int) -> int:
    if value not in (0, 1) and value < 4:
        raise ValueError("neither 0, 1 nor at least 4")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Integer = Annotated[int, Field(strict=True)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Wedge = Annotated[Number, Field(gt=0, le=90)]
Miller = tuple[Integer, Integer, Integer]
Species = Annotated[str, Field(pattern=r"^\d{0,3}[A-Z][a-z]?$")]
Symbol = Annotated[str, AfterValidator(_symbol)]
# A self term a0, a1_Na ... is not accepted: it follows from the acoustic sum rule.
IFCName = Annotated[str, Field(pattern=r"^([b-z]|[a-z]{2})\d+$")]
Angle = Annotated[Number, Field(gt=0, lt=180)]
Lattice = tuple[Positive, Positive, Positive, Angle, Angle, Angle]
SpaceGroup = Annotated[int | str, PlainValidator(_space_group)]
Noise = Annotated[float | Literal["learned"], PlainValidator(_noise)]
Supercell = Annotated[Matrix, PlainValidator(_matrix)]
Range = Annotated[tuple[Number, Number], AfterValidator(_range)]
Background = Annotated[Integer, AfterValidator(_background)]
GridAxis = Annotated[Axis, PlainValidator(_axis), Field(description="[first, last, points] in r.l.u.")]


def listed(names: Iterable[str]) -> str:
    """Names as they stand in a message."""
    return ", ".join(f"`{name}`" for name in sorted(names))
