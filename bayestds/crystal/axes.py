"""Grids of reciprocal space: where their points are in h, k, l."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np


def spacing(axis: np.ndarray) -> float:
    """Mean step of an axis (n_points,); 1 for a single point, which has none of its own."""
    return float(axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else 1.0


@dataclass(frozen=True, eq=False)
class GridAxes:
    """Axes of a grid of points, which run along h, k and l or along three other directions.

    Attributes:
        coordinates: (n_1,), (n_2,) and (n_3,), uniform and increasing.
        directions: (3, 3), a row for each axis: the change of (h, k, l) for a step of 1 of its coordinate. A
            point is at hkl = coordinates @ directions.
    """

    coordinates: tuple[np.ndarray, np.ndarray, np.ndarray]
    directions: np.ndarray = field(default_factory=lambda: np.eye(3))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points along each axis."""
        first, second, third = map(len, self.coordinates)
        return first, second, third

    @property
    def steps(self) -> np.ndarray:
        """Change of (h, k, l) from one point to the next along each axis, (3, 3), one a row."""
        return self.directions * np.array([spacing(axis) for axis in self.coordinates])[:, None]

    @property
    def along_hkl(self) -> bool:
        """Whether the axes run along h, k and l."""
        return np.array_equal(self.directions, np.eye(3))

    def part(self, place: Sequence[slice]) -> "GridAxes":
        """The axes of a part of the grid."""
        first, second, third = (axis[part] for axis, part in zip(self.coordinates, place, strict=True))
        return replace(self, coordinates=(first, second, third))

    def at(self, index: Sequence[np.ndarray | int | np.integer]) -> np.ndarray:
        """Points (..., 3), hkl, with these indices along the three axes."""
        here = [axis[np.asarray(i)] for axis, i in zip(self.coordinates, index, strict=True)]
        return np.stack(here, axis=-1) @ self.directions

    def points(self) -> np.ndarray:
        """All points (n_1, n_2, n_3, 3), hkl."""
        return np.stack(np.meshgrid(*self.coordinates, indexing="ij"), axis=-1) @ self.directions

    def places(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 3), hkl, are on the axes: indices (..., 3), whole numbers on the grid itself."""
        origin = np.array([axis[0] for axis in self.coordinates])
        size = np.array([spacing(axis) for axis in self.coordinates])
        return (points @ np.linalg.inv(self.directions) - origin) / size

    def sums(self, factors: np.ndarray) -> np.ndarray:
        """Sums of h, k, l times a factor each (3,) for all points; of size 1 along axes that do not count."""
        return on_grid(self.coordinates, self.directions @ factors)


def on_grid(axes: Sequence[np.ndarray], factors: np.ndarray) -> np.ndarray:
    """Sums of coordinates times factors for all points of a grid; of size 1 along axes that do not count.

    Args:
        axes: (n_1,), (n_2,) and (n_3,).
        factors: (3,).
    """
    a, b, c = (np.asarray(factor * axis if abs(factor) > 1e-12 else np.zeros(1))
               for factor, axis in zip(factors, axes, strict=True))  # fmt: skip
    return a[:, None, None] + b[:, None] + c


def axis_names(directions: np.ndarray) -> tuple[str, str, str]:
    """Names of axes with these directions (3, 3): h, k, l or, for example, [h,h,0], [-k,k,0], [0,0,l]."""
    return ("h", "k", "l") if np.array_equal(directions, np.eye(3)) else direction_names(directions)


def direction_names(directions: np.ndarray) -> tuple[str, str, str]:
    """Directions (3, 3) in words, such as [h,0,0], [-k,k,0], [0,0,l]."""
    first, second, third = (
        "[" + ",".join(_component(value, letter) for value in row) + "]"
        for row, letter in zip(np.asarray(directions), "hkl", strict=True)
    )
    return first, second, third


def _component(value: float, letter: str) -> str:
    number = f"{value:.12f}".rstrip("0").rstrip(".")
    if number in ("0", "-0"):
        return "0"
    return letter if number == "1" else f"-{letter}" if number == "-1" else number + letter
