"""Paths through the Brillouin zone, with the names of the special points. The one door to seekpath."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import seekpath

from bayestds.crystal.structure import Crystal
from bayestds.errors import CrystalError

SPACING = 0.02
"""Largest distance between two points of a path, Å⁻¹."""


@dataclass(frozen=True, eq=False)
class BandPath:
    """Points along straight segments between special points.

    Attributes:
        q_points: (n_q, 3) conventional r.l.u.; both ends of every segment are among them.
        distance: (n_q,) along the path, Å⁻¹; it does not grow where the path jumps.
        ticks: (n_ticks,) distances of the special points.
        labels: their names, two joined by a bar where the path jumps.
    """

    q_points: np.ndarray
    distance: np.ndarray
    ticks: np.ndarray
    labels: tuple[str, ...]


def special_points(crystal: Crystal) -> dict[str, np.ndarray]:
    """Special points (3,) of the Brillouin zone by name, conventional r.l.u.

    Hinuma, Pizzi, Kumagai, Oba, Tanaka, Comput. Mater. Sci. 128 (2017) 140, through seekpath.
    """
    return _found(crystal)[0]


def band_path(crystal: Crystal, names: list[str] | None = None) -> BandPath:
    """A path from special point to special point.

    Args:
        crystal: the crystal.
        names: of the points in order, such as ["Γ", "X", "W"]; the standard path of the lattice by default.

    Raises:
        CrystalError: a name is not one of the special points, or two that differ are not given.
    """
    points, standard = _found(crystal)
    if names is not None and (unknown := [name for name in names if name not in points]):
        raise CrystalError(
            f"There is no special point {unknown[0]!r} in the Brillouin zone of this crystal.",
            f"It has {', '.join(points)}.",
            "Name some of these.",
        )
    if names is not None and (len(names) < 2 or any(start == end for start, end in pairwise(names))):
        raise CrystalError(
            f"{' '.join(names) or 'An empty list'} is no path.",
            "A path goes from one special point to another.",
            f"Name two points or more, each different from the one before: {', '.join(points)}.",
        )
    segments = list(pairwise(names)) if names is not None else standard
    q_points, distance, ticks, labels = [], [], [0.0], [segments[0][0]]
    for start, end in segments:
        if labels[-1] != start:
            labels[-1] = f"{labels[-1]}|{start}"
        a, b = points[start], points[end]
        length = float(np.linalg.norm(crystal.scattering_vectors(b - a)))
        share = np.linspace(0, 1, max(2, int(np.ceil(length / SPACING)) + 1))
        q_points.append(a + share[:, None] * (b - a))
        distance.append(ticks[-1] + share * length)
        ticks.append(ticks[-1] + length)
        labels.append(end)
    return BandPath(np.concatenate(q_points), np.concatenate(distance), np.array(ticks), tuple(labels))


def _found(crystal: Crystal) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """Special points and the segments of the standard path."""
    kinds = [sorted(set(crystal.species)).index(species) for species in crystal.species]
    structure = (crystal.lattice_vectors, crystal.fractional_positions, kinds)
    found = seekpath.get_path_orig_cell(structure)
    names = {label: "Γ" if label == "GAMMA" else label for label in found["point_coords"]}
    points = {
        # From fractions of the primitive reciprocal cell.
        names[label]: np.asarray(point) @ crystal.conventional_matrix.T
        for label, point in found["point_coords"].items()
    }
    return points, [(names[start], names[end]) for start, end in found["path"]]
