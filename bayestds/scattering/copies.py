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

GLANCE = 500
"""Voxels that are compared first: they show most operations to make no copies."""


def copying_operations(voxels: Voxels, images: list[Images]) -> list[int]:
    """Operations under which a volume repeats itself; the identity alone if it was not symmetrised.

    Args:
        voxels: a sample of whole orbits.
        images: where each operation of the group takes the voxels.
    """
    order = np.argsort(voxels.place)
    point, place, intensity = voxels.point[order], voxels.place[order], voxels.intensity[order]
    glance = point <= np.partition(point, min(GLANCE, len(point) - 1))[min(GLANCE, len(point) - 1)]
    likely = [
        number
        for number, image in enumerate(images)
        if _differing(place[glance], intensity[glance], image)[1] < 0.5
    ]
    found = []
    for number in likely:
        n_pairs, share = _differing(place, intensity, images[number])
        if _is_identity(images[number]) or (n_pairs >= FEWEST_PAIRS and share <= MOST_DIFFERENT):
            found.append(number)
    return found


def _is_identity(image: Images) -> bool:
    return bool(np.array_equal(image.rotation, np.eye(3)))


def _differing(place: np.ndarray, intensity: np.ndarray, image: Images) -> tuple[int, float]:
    """How many voxels, at these places in ascending order, an operation pairs, and which share differs."""
    here, there = partners(place, image)
    one, other = intensity[here], intensity[there]
    size = np.maximum(np.abs(one), np.abs(other))
    telling = size > 0
    different = np.abs(one - other)[telling] > SAME * size[telling]
    return len(different), float(different.mean()) if len(different) else 0.0


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
