"""Voxels that are copies of one another, as in files that were symmetrised before."""

import numpy as np

from bayestds.scattering.grid import Images
from bayestds.scattering.voxels import Voxels

SAME = 1e-5
"""Relative difference up to which two voxels are the same number: rounding of single precision, a few
times."""

MOST_DIFFERENT = 1e-3
"""Share of pairs that may differ in a file that was symmetrised, and edited afterwards."""

FEWEST_PAIRS = 20
"""Fewer pairs of equivalent voxels than this do not show that a file was symmetrised."""


def copying_operations(voxels: Voxels, images: list[Images]) -> list[int]:
    """Operations under which a volume repeats itself; the identity alone if it was not symmetrised.

    Args:
        voxels: a sample of whole orbits.
        images: where each operation of the group takes the voxels.
    """
    order = np.argsort(voxels.place)
    place, intensity = voxels.place[order], voxels.intensity[order]
    found = [number for number, image in enumerate(images) if _copies(place, intensity, image)]
    return found if len(found) > 1 else [_identity(images)]


def _identity(images: list[Images]) -> int:
    return next(i for i, image in enumerate(images) if np.array_equal(image.rotation, np.eye(3)))


def _copies(place: np.ndarray, intensity: np.ndarray, image: Images) -> bool:
    """Whether all voxels, at these places in ascending order, are the same as their images."""
    if np.array_equal(image.rotation, np.eye(3)):
        return True
    here, there = partners(place, image)
    one, other = intensity[here], intensity[there]
    size = np.maximum(np.abs(one), np.abs(other))
    telling = size > 0
    if telling.sum() < FEWEST_PAIRS:
        return False
    different = np.abs(one - other)[telling] > SAME * size[telling]
    return bool(different.mean() <= MOST_DIFFERENT)


def partners(place: np.ndarray, image: Images) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n_pairs,), twice, of voxels and of the others that an operation takes them to.

    Args:
        place: (n_voxels,) flat indices of voxels in the volume, ascending.
        image: where the operation takes them.
    """
    moved = image.of_voxels(np.unravel_index(place, image.shape))
    there = np.minimum(np.searchsorted(place, moved), len(place) - 1)
    here = np.flatnonzero((place[there] == moved) & (moved != place))
    return here, there[here]
