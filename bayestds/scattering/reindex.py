"""Volumes on other axes than h, k, l in this order: those of a file, or of another choice of cell.

Axes along h, k and l, forwards or backwards, in any order and scale, are turned to h, k, l. Axes in any other
direction stay what they are, and the volume keeps their directions: nothing is interpolated, which would mix
voxels and correlate their errors.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import xarray as xr
from ase.geometry import cell_to_cellpar, cellpar_to_cell

from bayestds.errors import VolumeError
from bayestds.scattering.slabs import AXES, Stored, stored
from bayestds.scattering.volume import COMPANIONS, Numbers, make_volume, settled, volume_axes

LARGEST_DENOMINATOR = 24
"""Of entries of a matrix that are written as fractions."""

TOLERANCE = 1e-6
"""Largest component of a direction that counts as zero, relative to its largest: as float32 rounds."""


def from_corner(
    corner: np.ndarray, steps: Numbers, arrays: dict[str, Stored], name: str
) -> tuple[dict[str, Any], list[str]]:
    """Arguments of `make_volume` for a grid that is given by its first point and its steps.

    Args:
        corner: (3,) hkl of the first point of the arrays.
        steps: (3, 3), a row for each dimension of the arrays: the change of hkl. It may be zero where the
            array has one point.
        arrays: of three dimensions, by name.
        name: what error messages call the volume.

    Returns:
        The arguments, and which of h, k, l each dimension has become.

    Raises:
        VolumeError: an array has other than three dimensions, or the steps do not span a volume.
    """
    shape = _shape(arrays, name)
    directions, order = _ordered(steps, shape, name)
    if _along_hkl(directions):
        sizes = directions.diagonal()
        axes = [corner[i] + sizes[i] * np.arange(shape[order[i]]) for i in range(3)]
        return _arguments(axes, None, arrays, order), _names(order)
    start = corner @ np.linalg.inv(directions)
    axes = [start[i] + np.arange(shape[order[i]]) for i in range(3)]
    return _arguments(axes, directions, arrays, order), _names(order)


def from_centres(
    centres: Sequence[np.ndarray], directions: Numbers, arrays: dict[str, Stored], name: str
) -> tuple[dict[str, Any], list[str]]:
    """Arguments of `make_volume` for a grid that is given by the coordinates of its points along directions.

    Args:
        centres: of the points along each dimension of the arrays, increasing or decreasing.
        directions: (3, 3), a row for each dimension: the hkl where its coordinate is 1.
        arrays: of three dimensions, by name.
        name: what error messages call the volume.

    Returns:
        The arguments, and which of h, k, l each dimension has become.

    Raises:
        VolumeError: an array has other than three dimensions, or the directions do not span a volume.
    """
    rows, order = _ordered(directions, _shape(arrays, name), name)
    axes = [np.asarray(centres[dimension]) for dimension in order]
    if _along_hkl(rows):
        factors = rows.diagonal()
        return _arguments([factors[i] * axes[i] for i in range(3)], None, arrays, order), _names(order)
    return _arguments(axes, rows, arrays, order), _names(order)


def _shape(arrays: dict[str, Stored], name: str) -> tuple[int, ...]:
    for key, array in arrays.items():
        if array.ndim != 3:
            raise VolumeError(
                f"{name}: {key} has {array.ndim} dimensions.",
                "A volume has three, one for every axis.",
                "Store a single plane with an axis of length 1.",
            )
    return arrays["intensity"].shape


def _ordered(directions: Numbers, shape: Sequence[int], name: str) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Directions in the order in which they come nearest to h, k and l, and the dimensions they belong to."""
    rows = np.array(directions, dtype=float)
    _complete(rows, shape)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    if not np.isfinite(rows).all() or abs(np.linalg.det(rows)) < 1e-9 * max(float(largest.prod()), 1e-300):
        raise VolumeError(
            f"{name}: its axes run along {', '.join(map(_triple, rows))} in hkl.",
            "Directions that lie in one plane span no volume.",
            "Correct the directions of the axes.",
        )
    rows[np.abs(rows) < TOLERANCE * largest] = 0.0
    share = rows / largest

    def nearness(order: tuple[int, ...]) -> tuple[float, float]:
        along = share[order, range(3)]
        return float(np.abs(along).prod()), float(along.sum())

    first, second, third = max(permutations(range(3)), key=nearness)
    return rows[[first, second, third]], (first, second, third)


def _complete(rows: np.ndarray, shape: Sequence[int]) -> None:
    """Give directions to dimensions of one point that have none: those of h, k, l that the others leave."""
    for dimension, size in enumerate(shape):
        if size == 1 and not rows[dimension].any():
            others = np.delete(rows, dimension, axis=0)
            free = np.linalg.svd(others)[2][-1] if np.linalg.matrix_rank(others) == 2 else ~rows.any(axis=0)
            rows[dimension, int(np.argmax(np.abs(free)))] = 1.0


def _along_hkl(directions: np.ndarray) -> bool:
    return np.array_equal(directions, np.diag(directions.diagonal()))


def _names(order: tuple[int, int, int]) -> list[str]:
    return [AXES[order.index(dimension)] for dimension in range(3)]


def _arguments(
    axes: Sequence[np.ndarray],
    directions: np.ndarray | None,
    arrays: dict[str, Stored],
    order: tuple[int, int, int],
) -> dict[str, Any]:
    """Arguments of `make_volume`: axes that increase, arrays with their dimensions in the same order."""
    flips = [axis.size > 1 and bool(axis[0] > axis[-1]) for axis in axes]
    turned = {
        axis: values[:: -1 if flip else 1] + 0.0  # never -0
        for axis, values, flip in zip(AXES, axes, flips, strict=True)
    }
    placed = {} if directions is None else {"directions": directions}
    return turned | placed | {key: array.turned(order, flips) for key, array in arrays.items()}


def reindex(volume: xr.Dataset, matrix: Numbers, name: str = "volume") -> xr.Dataset:
    """The same intensities with other Miller indices, (h', k', l') = M (h, k, l).

    The cell changes alike, a' = M a, since Miller indices transform as the basis vectors do (International
    Tables for Crystallography A, 1.5.1). Voxels stay where they are: where the axes do not run along the new
    h, k and l, the volume keeps their directions. A matrix of negative determinant changes the hand of the
    setting, which is the same intensities as far as Friedel's law holds.

    Args:
        volume: as `make_volume` describes it.
        matrix: (3, 3), of determinant other than zero.
        name: what error messages call the volume.

    Raises:
        VolumeError: any other matrix.
    """
    entries = np.asarray(matrix, dtype=float)
    if entries.shape != (3, 3) or not np.isfinite(entries).all() or abs(np.linalg.det(entries)) < 1e-9:
        raise VolumeError(
            f"{name}: it cannot be reindexed by {matrix_text(entries)}.",
            "The three new indices must be independent combinations of h, k and l.",
            "Give three rows of three numbers, with a determinant other than zero.",
        )
    axes = volume_axes(volume)
    keys = [key for key in ("intensity", *COMPANIONS, "mask") if key in volume]
    arrays = {key: stored(volume[key]) for key in keys}
    placed, names = from_centres(axes.coordinates, axes.directions @ entries.T, arrays, name)
    attributes = {str(key): value for key, value in volume.attrs.items() if key != "directions"}
    if "lattice" in attributes:
        attributes["lattice"] = _lattice(attributes["lattice"], entries)
    turned = make_volume(name=name, **placed | attributes)
    before = volume.encoding.get("order", "h k l").split()
    turned.encoding |= {
        key: volume.encoding[key] for key in ("slab_bytes", "notes", "format") if key in volume.encoding
    }
    turned.encoding["order"] = " ".join(names[AXES.index(axis)] for axis in before)
    return settled(turned)


def _lattice(lattice: Sequence[float], matrix: np.ndarray) -> tuple[float, ...]:
    """Lengths and angles of the new basis vectors.

    Where axes are only turned and scaled there is no rounding, so that two turns undo each other.
    """
    if np.count_nonzero(matrix) > 3:
        cell = cell_to_cellpar(matrix @ cellpar_to_cell(lattice))
        return tuple(float(value) for value in np.round(cell, 10))
    old = np.abs(matrix).argmax(axis=1)
    factors = matrix[range(3), old]
    lengths = [abs(float(factor)) * lattice[i] for factor, i in zip(factors, old, strict=True)]
    turned = [np.prod(np.sign(np.delete(factors, new))) < 0 for new in range(3)]
    angles = [180 - lattice[3 + i] if back else lattice[3 + i] for i, back in zip(old, turned, strict=True)]
    return (*lengths, *angles)


def _triple(row: np.ndarray) -> str:
    return "(" + " ".join(f"{value:g}" for value in row) + ")"


def matrix_text(entries: np.ndarray) -> str:
    """A matrix (3, 3) as it is written on the command line."""
    return " / ".join(" ".join(_exact(value) for value in row) for row in np.atleast_2d(entries))


def _exact(value: float) -> str:
    """A number as a fraction, if it is a simple one."""
    if not np.isfinite(value):
        return str(value)
    fraction = Fraction(float(value)).limit_denominator(LARGEST_DENOMINATOR)
    return str(fraction) if abs(float(fraction) - value) < 1e-6 else f"{value:g}"
