"""Volumes on other axes than h, k, l in this order: those of a file, or of another choice of cell.

Only grids that stay grids are turned: every axis along one of h, k, l, forwards or backwards, in any order
and any scale. Anything else would need interpolation, which mixes voxels and correlates their errors.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.scattering.slabs import AXES, Stored, stored
from bayestds.scattering.volume import COMPANIONS, Numbers, make_volume, settled

TOLERANCE = 1e-6
"""Largest component across an axis, relative to the one along it: as float32 rounds."""


def order_of_axes(
    directions: Numbers, shape: Sequence[int], name: str
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Which dimension of an array runs along which of h, k, l.

    Args:
        directions: (3, 3), a row for each dimension of the array: the hkl of its direction. It may be zero
            where the array has one point, and is then the one that is left.
        shape: of the array.
        name: what error messages call the volume.

    Returns:
        The dimensions that run along h, k, l, and (3,) the components of their directions along these.

    Raises:
        VolumeError: a direction is not along one of h, k, l, or two are along the same one.
    """
    rows = np.array(directions, dtype=float)
    left = [int(axis) for axis in np.flatnonzero((rows == 0).all(axis=0))]
    for dimension, size in enumerate(shape):
        if size == 1 and not rows[dimension].any() and left:
            rows[dimension, left.pop(0)] = 1.0
    sizes = np.abs(rows)
    along = sizes >= TOLERANCE * sizes.max(axis=1, keepdims=True)
    if not np.isfinite(rows).all() or (sizes.max(axis=1) == 0).any() or (along.sum(axis=1) != 1).any():
        raise VolumeError(
            f"{name}: its axes run along {', '.join(map(_triple, rows))} in hkl.",
            "Every axis must run along one of h, k, l: others would need interpolation.",
            "Reconstruct the volume on axes along h, k and l of the conventional cell.",
        )
    if not along.any(axis=0).all():
        raise VolumeError(
            f"{name}: its axes run along {', '.join(map(_triple, rows))} in hkl.",
            "Two of them run along the same direction, so that they span no volume.",
            "Correct the directions of the axes.",
        )
    first, second, third = (int(np.argmax(along[:, axis])) for axis in range(3))
    order = (first, second, third)
    return order, rows[order, range(3)]


def onto_axes(
    axes: Sequence[np.ndarray], arrays: dict[str, Stored], order: tuple[int, int, int], name: str
) -> dict[str, Any]:
    """Arguments of `make_volume`: axes that increase, arrays with their dimensions in the order h, k, l.

    Args:
        axes: of h, k, l; each may decrease.
        arrays: three-dimensional, in the order of the file.
        order: the dimensions of `arrays` that run along h, k, l.
        name: what error messages call the volume.

    Raises:
        VolumeError: an array has other than three dimensions.
    """
    for key, array in arrays.items():
        if array.ndim != 3:
            raise VolumeError(
                f"{name}: {key} has {array.ndim} dimensions.",
                "A volume has three, one for every axis.",
                "Store a single plane with an axis of length 1.",
            )
    flips = [axis.size > 1 and bool(axis[0] > axis[-1]) for axis in axes]
    turned = {
        axis: values[:: -1 if flip else 1] + 0.0  # never -0
        for axis, values, flip in zip(AXES, axes, flips, strict=True)
    }
    return turned | {key: array.turned(order, flips) for key, array in arrays.items()}


def reindex(volume: xr.Dataset, matrix: Numbers, name: str = "volume") -> xr.Dataset:
    """The same intensities with other Miller indices, (h', k', l') = M (h, k, l).

    The cell changes alike, a' = M a, since Miller indices transform as the basis vectors do (International
    Tables for Crystallography A, 1.5.1). A matrix of negative determinant changes the hand of the setting,
    which is the same intensities as far as Friedel's law holds.

    Args:
        volume: as `make_volume` describes it.
        matrix: (3, 3), one entry other than zero in each row and column.
        name: what error messages call the volume.

    Raises:
        VolumeError: any other matrix.
    """
    entries = np.asarray(matrix, dtype=float)
    used = entries != 0
    if entries.shape != (3, 3) or not np.isfinite(entries).all() or not _is_monomial(used):
        raise VolumeError(
            f"{name}: it cannot be reindexed by {_matrix(entries)}.",
            "Each row and each column must have exactly one entry other than zero: permutations, changes of "
            "sign and scales keep the grid; anything else would need interpolation.",
            "Give such a matrix, or reconstruct the volume on the axes of the other cell.",
        )
    first, second, third = map(int, np.argmax(used, axis=1))
    order = (first, second, third)
    factors = entries[used]
    axes = [factors[row] * volume[AXES[column]].values for row, column in enumerate(order)]
    keys = [key for key in ("intensity", *COMPANIONS, "mask") if key in volume]
    arrays = {key: stored(volume[key]) for key in keys}
    attributes: dict[str, Any] = {str(key): value for key, value in volume.attrs.items()}
    if "lattice" in attributes:
        attributes["lattice"] = _lattice(attributes["lattice"], order, factors)
    turned = make_volume(name=name, **onto_axes(axes, arrays, order, name) | attributes)
    before = volume.encoding.get("order", "h k l").split()
    now = " ".join(AXES[order.index(AXES.index(axis))] for axis in before)
    turned.encoding |= {key: volume.encoding[key] for key in ("slab_bytes",) if key in volume.encoding}
    turned.encoding["order"] = now
    return settled(turned)


def _is_monomial(used: np.ndarray) -> bool:
    return bool((used.sum(axis=0) == 1).all() and (used.sum(axis=1) == 1).all())


def _lattice(lattice: Sequence[float], order: Sequence[int], factors: np.ndarray) -> tuple[float, ...]:
    """Lengths and angles of the new basis vectors, without rounding, so that two turns undo each other."""
    lengths = [abs(float(factor)) * lattice[old] for factor, old in zip(factors, order, strict=True)]
    angles = []
    for new in range(3):
        angle = lattice[3 + order[new]]
        others = np.delete(factors, new)
        angles.append(angle if np.prod(np.sign(others)) > 0 else 180 - angle)
    return (*lengths, *angles)


def _triple(row: np.ndarray) -> str:
    return "(" + " ".join(f"{value:g}" for value in row) + ")"


def _matrix(entries: np.ndarray) -> str:
    return " / ".join(_triple(row).strip("()") for row in np.atleast_2d(entries))
