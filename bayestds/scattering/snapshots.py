"""Snapshots of atoms: is each one of the crystal, and where are its atoms in the crystal's own axes?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from ase.geometry import cell_to_cellpar
from jaxtyping import Bool, Float, Int

from bayestds.crystal.shells import find_orbits
from bayestds.crystal.species import as_species
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError

LARGEST_STRAIN = 0.03
"""Between the cell of a snapshot and the supercell of the model."""

OCCUPIED = 0.9
"""Least share of sites that hold an atom in a snapshot of the crystal.

Where atoms move by a tenth of their distance, Lindemann's mark of melting, all of them do; of atoms thrown in
at random, about half of them at most.
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
        labels = np.array(as_species(frame.species.tolist(), supercell.crystal.species), dtype=str)
        if previous is None or not np.array_equal(labels, species):
            species, weights = labels, _weights(labels, supercell, scattering_factors, where)
        fractional = frame.positions @ np.linalg.inv(frame.cell)
        if previous is None:
            _check_sites(fractional @ multiples, species, supercell, where)
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


def _check_sites(positions: np.ndarray, labels: np.ndarray, supercell: Supercell, where: str) -> None:
    """Refuse atoms that are not near the sites of the crystal, all shifted alike."""
    species = np.array(supercell.crystal.species)
    belongs = np.ones((len(positions), len(species)), dtype=bool)
    if len(set(species)) > 1:
        belongs = labels[:, None] == species
    share = occupied_share(positions, belongs, supercell)
    if share < OCCUPIED:
        raise VolumeError(
            f"{where}: the atoms are not on the sites of the crystal.",
            f"However they are shifted, only {share:.0%} of the sites hold an atom of their species, less "
            f"than {OCCUPIED:.0%}.",
            "Check that the file holds this crystal, solid, with positions in Å and the axes of the model.",
        )


def occupied_share(
    positions: Float[np.ndarray, "n 3"], belongs: Bool[np.ndarray, "n n_atoms"], supercell: Supercell
) -> float:
    """Largest share of sites of a supercell that hold an atom, over shifts of all atoms.

    A site holds what is nearer to it than half the shortest distance of the crystal.

    Args:
        positions: fractional in the conventional cell.
        belongs: which of the sites of the primitive cell may be that of each atom.
        supercell: the periodic supercell.
    """
    crystal = supercell.crystal
    positions = positions @ crystal.conventional_matrix
    radius = find_orbits(crystal, n_shells=1)[-1].distance / 2
    shares = []
    for site in np.flatnonzero(belongs[0]):
        shift = positions[0] - crystal.fractional_positions[site]
        # At first the displacement of one atom is in the shift, then that of all of them, which is small.
        for _ in range(3):
            offsets = positions[:, None] - shift - crystal.fractional_positions
            cells = np.rint(offsets).astype(int)
            distances = np.linalg.norm((offsets - cells) @ crystal.lattice_vectors, axis=-1)
            distances = np.where(belongs, distances, np.inf)
            nearest = np.arange(len(positions)), np.argmin(distances, axis=1)
            shift = shift + (offsets - cells)[nearest].mean(axis=0)
        places = supercell.cell_index(cells[nearest]) * crystal.n_atoms + nearest[1]
        shares.append(len(np.unique(places[distances[nearest] < radius])) / len(positions))
    return max(shares)


def _counts(labels: np.ndarray) -> str:
    names, counts = np.unique(labels, return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True)) or "no labels"


def _multiples(supercell: Supercell) -> str:
    return str(conventional_multiples(supercell).tolist())


def _parameters(cell: np.ndarray) -> str:
    lengths, angles = (" ".join(f"{x:.4g}" for x in part) for part in np.split(cell_to_cellpar(cell), 2))
    return f"{lengths} Å, {angles}°"
