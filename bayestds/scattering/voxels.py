"""Measured voxels, each one of an orbit of equivalents."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class Voxels:
    """Measured voxels, each one of an orbit of equivalents.

    Attributes:
        point: (n_voxels,) int, the orbit of each.
        place: (n_voxels,) int, the flat index of each in the volume.
        intensity: (n_voxels,).
        sigma: (n_voxels,) standard errors, positive; None if unknown.
        counts: (n_voxels,), None if unknown.
        exposure: (n_voxels,) counts for an intensity of 1, where there are counts.
    """

    point: np.ndarray
    place: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray | None = None
    counts: np.ndarray | None = None
    exposure: np.ndarray | None = None

    @staticmethod
    def together(parts: Sequence["Voxels"]) -> "Voxels":
        """Those of all parts."""
        named = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Voxels)}
        return Voxels(**{name: np.concatenate(some) for name, some in named.items() if some[0] is not None})

    def select(self, rows: np.ndarray) -> "Voxels":
        """Some of them."""
        given = {field.name: getattr(self, field.name) for field in fields(Voxels)}
        return Voxels(**{name: array[rows] for name, array in given.items() if array is not None})


def summed(
    voxels: Iterable[Voxels], n_points: int, *terms: Callable[[Voxels], np.ndarray | None]
) -> list[np.ndarray]:
    """Sums (n_points,) over the voxels of each orbit, of several terms."""
    totals = [np.zeros(n_points) for _ in terms]
    for part in voxels:
        for total, term in zip(totals, terms, strict=True):
            total += np.bincount(part.point, term(part), minlength=n_points)
    return totals


def orbit_median(point: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Median (n_points,) of the values (n_voxels,) of each orbit; every point has some."""
    n = np.bincount(point)
    first = np.cumsum(n) - n
    ordered = values[np.lexsort((values, point))]
    return (ordered[first + (n - 1) // 2] + ordered[first + n // 2]) / 2
