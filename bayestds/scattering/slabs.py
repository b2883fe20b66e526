"""Volumes in slabs: parts of bounded size, read from a file when they are needed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

Place = tuple[slice, slice, slice]
"""Where a part lies in an array."""

AXES = ("h", "k", "l")

SLAB_BYTES = 2**28
"""Memory that the voxels of one slab may take while they are worked on, unless a volume says otherwise."""

WORKING = 256
"""Bytes a voxel of the arrays that masks and averages need at a time."""

COPYING = 32
"""Bytes a voxel of the arrays that checking and copying need at a time."""


class Stored(BackendArray):
    """A three-dimensional array that is read part by part: what xarray calls a backend array.

    Attributes:
        read: gives the part at a place, of slices with positive steps.
        shape: of the whole.
        dtype: of what is read.
    """

    def __init__(self, read: Callable[[Place], np.ndarray], shape: Sequence[int], dtype: Any):
        self.read, self.shape, self.dtype = read, tuple(shape), np.dtype(dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._part)

    def _part(self, key: tuple[int | slice, ...]) -> np.ndarray:
        single = tuple(axis for axis, index in enumerate(key) if not isinstance(index, slice))
        a, b, c = (index if isinstance(index, slice) else slice(index, index + 1) for index in key)
        return self.read((a, b, c)).squeeze(single)

    def combined(self, function: Callable[..., np.ndarray], *others: "Stored", dtype: Any = None) -> "Stored":
        """A function of its values and those of others of the same shape, element by element."""
        arrays = (self, *others)
        return Stored(
            lambda place: function(*(array.read(place) for array in arrays)), self.shape, dtype or self.dtype
        )

    def turned(self, order: Sequence[int], flips: Sequence[bool] = (False,) * 3) -> "Stored":
        """Its dimensions in another order, and then some of them backwards."""
        shape = [self.shape[dimension] for dimension in order]
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)

        def read(place: Place) -> np.ndarray:
            there = [slice(None)] * 3
            for dimension, part, size, flip in zip(order, place, shape, flips, strict=True):
                there[dimension] = _mirrored(part, size) if flip else part
            a, b, c = there
            return np.ascontiguousarray(self.read((a, b, c)).transpose(order)[steps])

        return Stored(read, shape, self.dtype)

    def count(self, condition: Callable[[np.ndarray], np.ndarray]) -> int:
        """Number of values for which a condition holds; all are read, slab by slab."""
        return sum(int(condition(self.read(place)).sum()) for place in places(self.shape, 0, COPYING))

    def variable(self) -> xr.Variable:
        """The array over h, k, l for a Dataset; reading all of it keeps it, as `xarray.open_dataset` does."""
        return xr.Variable(AXES, indexing.MemoryCachedArray(indexing.LazilyIndexedArray(self)))


def stored(array: xr.DataArray | np.ndarray) -> Stored:
    """An array that is there already, or a variable of a volume, as one that is read part by part."""
    return Stored(lambda place: np.asarray(array[place]), array.shape, array.dtype)


def places(shape: Sequence[int], axis: int, bytes_a_voxel: int, slab_bytes: int = SLAB_BYTES) -> list[Place]:
    """Slabs of an array of this shape, cut across an axis, of at least one plane each.

    Args:
        shape: of the array, three numbers.
        axis: the one that is cut.
        bytes_a_voxel: that working on a slab takes.
        slab_bytes: that it may take for all its voxels.
    """
    plane = int(np.prod(shape)) // max(shape[axis], 1)
    thickness = max(1, slab_bytes // max(bytes_a_voxel * plane, 1))
    cuts = [slice(first, first + thickness) for first in range(0, shape[axis], thickness)]
    whole = slice(None)
    return [(cut, whole, whole) if axis == 0 else (whole, cut, whole) if axis == 1 else (whole, whole, cut)
            for cut in cuts]  # fmt: skip


def slab_bytes(volume: xr.Dataset) -> int:
    """Memory that a slab of a volume may take."""
    return int(volume.encoding.get("slab_bytes", SLAB_BYTES))


def slabs(volume: xr.Dataset, bytes_a_voxel: int = WORKING) -> Iterator[tuple[Place, xr.Dataset]]:
    """The slabs of a volume in turn, and where each lies in the whole.

    They are cut across the axis that comes first in the volume's file, so that each is read in one piece, and
    are as thick as its `encoding` allows: `order` of the axes and `slab_bytes`.
    """
    axis = AXES.index(volume.encoding.get("order", "h")[0])
    shape = [volume.sizes[name] for name in AXES]
    for place in places(shape, axis, bytes_a_voxel, slab_bytes(volume)):
        yield place, volume.isel(dict(zip(AXES, place, strict=True)))


def shifted(index: Sequence[int | np.integer], place: Place) -> tuple[int, ...]:
    """An index into a slab as one into the whole."""
    return tuple(int(i) + (part.start or 0) for i, part in zip(index, place, strict=True))


def _mirrored(part: slice, size: int) -> slice:
    """The same elements of an axis, counted from its other end."""
    taken = range(size)[part]
    return slice(size - 1 - taken[-1], size - taken[0], taken.step) if taken else slice(0, 0)
