"""Snapshots of atoms: is each one of the crystal, and where are its atoms in the crystal's own axes?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from ase.geometry import cell_to_cellpar
from jaxtyping import Float, Int

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError

LARGEST_STRAIN = 0.03
"""Between the cell of a snapshot and the supercell of the model."""

SITE_SHARE = 0.2
"""Least share of a strong low-order Bragg reflection that is left in a snapshot of the crystal.

Atoms that move by a tenth of their distance, Lindemann's mark of melting, leave more than half of it; any
other arrangement leaves about one over their number.
"""


@dataclass(frozen=True, eq=False)
class Frame:
    """A snapshot as a file holds it.

    Attributes:
        cell: (3, 3) Å, one vector a row.
        positions: (n, 3) Å, wrapped or not; atoms keep their order from frame to frame.
        species: (n,) element symbols; none, (0,), where the file has none.
    """

    cell: np.ndarray
    positions: np.ndarray
    species: np.ndarray


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A frame that was found to be one of the crystal.

    Attributes:
        positions: (n, 3) fractional in the conventional cell.
        weights: (n,) scattering factors.
        metric: (3, 3) Å², products of the cell vectors.
        drift: (3,) Å, how far the centroid is from its first place.
        labels: the species that the file names.
    """

    positions: np.ndarray
    weights: np.ndarray
    metric: np.ndarray
    drift: np.ndarray
    labels: frozenset[str]


def snapshots(
    frames: Iterable[Frame], supercell: Supercell, scattering_factors: np.ndarray, name: str
) -> Iterator[Snapshot]:
    """The frames of a trajectory as snapshots of a supercell, one by one.

    Args:
        frames: in the order of time.
        supercell: the periodic supercell; cells may be rotated, and strained by up to LARGEST_STRAIN.
        scattering_factors: f_κ (n_atoms,); atoms of one species have the same.
        name: what error messages call the trajectory.

    Raises:
        VolumeError: a frame is not a snapshot of the supercell.
    """
    multiples = conventional_multiples(supercell)
    species, weights, previous, moved = np.empty(0, dtype=str), np.empty(0), None, np.zeros(3)
    for number, frame in enumerate(frames, 1):
        where = f"{name}, frame {number}"
        _check_atoms(frame, supercell, where)
        _check_cell(frame.cell, supercell, where)
        if previous is None or not np.array_equal(frame.species, species):
            species, weights = frame.species, _weights(frame.species, supercell, scattering_factors, where)
        fractional = frame.positions @ np.linalg.inv(frame.cell)
        if previous is None:
            _check_sites(fractional @ multiples, weights, supercell, scattering_factors, where)
        else:
            step = fractional - previous
            # An atom that crossed the boundary did not move by a whole cell.
            moved = moved + (step - np.rint(step)).mean(axis=0)
        previous = fractional
        yield Snapshot(
            fractional @ multiples,
            weights,
            frame.cell @ frame.cell.T,
            moved @ supercell.lattice_vectors,
            frozenset(species.tolist()),
        )


def conventional_multiples(supercell: Supercell) -> Int[np.ndarray, "3 3"]:
    """The supercell vectors in terms of the conventional ones."""
    return np.rint(supercell.matrix @ np.linalg.inv(supercell.crystal.conventional_matrix)).astype(int)


def principal_strains(metric: Float[np.ndarray, "3 3"], supercell: Supercell) -> Float[np.ndarray, "3"]:
    """Relative change of length along the axes of the strain, smallest first.

    Args:
        metric: products of the vectors of a strained supercell, Å².
        supercell: the one without strain.
    """
    inverse = np.linalg.inv(supercell.lattice_vectors)
    squares = np.linalg.eigvalsh(inverse @ metric @ inverse.T)
    return np.sqrt(np.maximum(squares, 0.0)) - 1


def _check_atoms(frame: Frame, supercell: Supercell, where: str) -> None:
    n, expected = len(frame.positions), supercell.n_cells * supercell.crystal.n_atoms
    if n != expected:
        raise VolumeError(
            f"{where}: it has {n} atoms, the supercell of the model has {expected}.",
            f"The model asks for {_multiples(supercell)} conventional cells.",
            "Set `supercell` of the model's [measurement] to that of the simulation.",
        )
    if not np.isfinite(frame.positions).all():
        bad = int(np.argmin(np.isfinite(frame.positions).all(axis=1)))
        raise VolumeError(
            f"{where}: the position of atom {bad + 1} is not finite.",
            f"It is {frame.positions[bad].tolist()}.",
            "The simulation may have failed there: leave out such frames.",
        )


def _check_cell(cell: np.ndarray, supercell: Supercell, where: str) -> None:
    finite = bool(np.isfinite(cell).all())
    if not finite or abs(np.linalg.det(cell)) < 1e-3:
        raise VolumeError(
            f"{where}: it has no periodic cell.",
            f"Its cell vectors are {cell.tolist()} Å.",
            'Write the cell with every frame (in extended XYZ: Lattice="...").',
        )
    strain = np.abs(principal_strains(cell @ cell.T, supercell)).max()
    if strain > LARGEST_STRAIN:
        raise VolumeError(
            f"{where}: its cell is not the supercell of the model.",
            f"It has a, b, c, α, β, γ = {_parameters(cell)}; {_multiples(supercell)} conventional cells of "
            f"the model have {_parameters(supercell.lattice_vectors)}: a strain of {strain:.1%}, more than "
            f"{LARGEST_STRAIN:.0%}.",
            "Correct `supercell` or the lattice of the model, or write the cell in the model's setting.",
        )


def _weights(
    labels: np.ndarray, supercell: Supercell, scattering_factors: np.ndarray, where: str
) -> np.ndarray:
    """Scattering factor (n,) of each atom; labels matter only where the crystal has several species."""
    species = supercell.crystal.species
    if len(set(species)) == 1:
        return np.full(supercell.n_cells * len(species), scattering_factors[0])
    expected = _counts(np.array(species * supercell.n_cells))
    found = _counts(labels)
    if found != expected:
        raise VolumeError(
            f"{where}: its species are not those of the model's supercell.",
            f"It has {found}; {expected} are expected.",
            "Label every atom with its element. LAMMPS writes types only, unless the dump has the column "
            "`element` and `dump_modify ... element` names them; in .npz give the array `species`.",
        )
    factor = dict(zip(species, scattering_factors, strict=True))
    return np.array([factor[label] for label in labels.tolist()])


def _check_sites(
    positions: np.ndarray,
    weights: np.ndarray,
    supercell: Supercell,
    scattering_factors: np.ndarray,
    where: str,
) -> None:
    """Refuse atoms that are not near the sites of the crystal, all shifted alike, by some reflections."""
    reflections, amplitudes = strong_reflections(supercell.crystal, scattering_factors)
    found = weights @ np.exp(2j * np.pi * positions @ reflections.T) / supercell.n_cells
    shares = np.abs(found / amplitudes) ** 2
    worst = int(np.argmin(shares))
    if shares[worst] < SITE_SHARE:
        raise VolumeError(
            f"{where}: the atoms are not on the sites of the crystal.",
            f"The Bragg reflection {reflections[worst].tolist()} has {shares[worst]:.1%} of the intensity "
            f"that atoms on their sites give; at least {SITE_SHARE:.0%} is expected.",
            "Check that the file holds this crystal, with cell vectors in the model's order and setting.",
        )


def strong_reflections(
    crystal: Crystal, scattering_factors: np.ndarray
) -> tuple[Int[np.ndarray, "n 3"], np.ndarray]:
    """The shortest strong Bragg reflections that span all directions.

    Args:
        crystal: the crystal.
        scattering_factors: f_κ (n_atoms,).

    Returns:
        h, k, l and the structure factor (n,) of a primitive cell, each at least half the strongest in
        intensity.
    """
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    reflections = steps[steps.any(axis=1)] @ crystal.conventional_matrix.T
    vectors = crystal.scattering_vectors(reflections)
    amplitudes = np.exp(1j * vectors @ crystal.cartesian_positions.T) @ scattering_factors
    length, intensity = np.linalg.norm(vectors, axis=1), np.abs(amplitudes) ** 2
    strong = intensity >= intensity.max() / 2
    # Shells of equal length, the shortest first, until three directions are independent.
    reach = next(q for q in np.sort(length[strong]) if _rank(vectors[strong & (length <= q + 1e-6)]) == 3)
    chosen = strong & (length <= reach + 1e-6)
    return reflections[chosen], amplitudes[chosen]


def _rank(vectors: np.ndarray) -> int:
    return int(np.linalg.matrix_rank(vectors, tol=1e-6))


def _counts(labels: np.ndarray) -> str:
    names, counts = np.unique(labels, return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True)) or "no labels"


def _multiples(supercell: Supercell) -> str:
    return str(conventional_multiples(supercell).tolist())


def _parameters(cell: np.ndarray) -> str:
    lengths, angles = (" ".join(f"{x:.4g}" for x in part) for part in np.split(cell_to_cellpar(cell), 2))
    return f"{lengths} Å, {angles}°"
