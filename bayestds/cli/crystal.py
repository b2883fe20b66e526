"""The crystal of a model file, and whether a volume was indexed in its lattice."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import xarray as xr
from ase.geometry import cellpar_to_cell

from bayestds.config import Model
from bayestds.crystal.matching import miller_matrices
from bayestds.crystal.structure import Crystal, build_crystal, read_crystal
from bayestds.errors import CrystalError, VolumeError
from bayestds.scattering.reindex import matrix_text, reindex

MOST_MATRICES = 6
"""Matrices that a message shows."""


def model_crystal(model: Model) -> Crystal:
    """The crystal of a model file, from its structure file or written out.

    Raises:
        CrystalError: it cannot be.
    """
    given = model.crystal
    if given.file is not None:
        return read_crystal(model.resolve(given.file))
    assert given.lattice is not None
    try:
        return build_crystal(
            np.array(given.lattice),
            [site.species for site in given.sites],
            np.array([site.position for site in given.sites]),
            [site.mass for site in given.sites],
            given.space_group,
        )
    except CrystalError as error:
        raise CrystalError(f"Model file {model.path}: {error.summary}", error.reason, error.fix) from error


def crystal_notes(crystal: Crystal) -> list[str]:
    """Sentences on how the crystal's description was read, and on axes that are not those given."""
    notes = [remark[:1].lower() + remark[1:] for remark in crystal.remarks]
    matrix = crystal.given_matrix
    if np.isfinite(matrix).all() and (matrix != np.eye(3)).any():
        exact = [[str(Fraction(entry).limit_denominator(10**4)) for entry in row] for row in matrix]
        a, b, c = (f"({' '.join(row)})" for row in exact)
        notes.append(
            f"the crystal has other conventional axes than it was given in: a, b, c are {a}, {b}, {c} in the "
            f"given axes, and {_cell(crystal.cell_parameters)}. Miller indices and `supercell` refer to them."
        )
    return notes


def check_lattice(volume: xr.Dataset, crystal: Crystal, name: str | Path) -> None:
    """Refuse a volume that was indexed in another lattice than the crystal's (1 %, 1 degree).

    Raises:
        VolumeError: the lattices differ.
    """
    if not _matches(volume, crystal):
        raise _another_crystal(volume, crystal, name)


def in_crystal_axes(volume: xr.Dataset, crystal: Crystal, name: str | Path) -> xr.Dataset:
    """A volume in the conventional axes of its crystal, turned to them if it was indexed in another cell.

    That may be the cell of a structure file, a primitive cell or a larger one: any whose edges are lattice
    vectors of the crystal. No voxel is moved, see :func:`bayestds.scattering.reindex.reindex`.

    Raises:
        VolumeError: the cell is none of the crystal, or several choices of its axes fit that differ.
    """
    if "lattice" not in volume.attrs:
        return volume
    lattice = np.array(volume.attrs["lattice"])
    # Of a nearly cubic cell another order of its edges may fit better than the one that is nearly right, too.
    if _same(lattice, crystal.cell_parameters) and _best_as_it_is(crystal, lattice):
        return volume
    matrices = miller_matrices(crystal, cellpar_to_cell(lattice))
    if len(matrices) > 1:  # the axes that the structure itself was given in are meant, if they are among them
        matrices = _equivalent(matrices, crystal.given_matrix, crystal) or matrices
    if not matrices:
        raise _another_crystal(volume, crystal, name)
    if len(matrices) > 1:
        shown = "; ".join(f'"{matrix_text(matrix)}"' for matrix in matrices[:MOST_MATRICES])
        raise VolumeError(
            f"{name} was indexed in another cell than the conventional one, and {len(matrices)} choices fit.",
            f"Several lattice vectors have its a, b, c, α, β, γ = {_cell(lattice)}, and the symmetry of the "
            "crystal does not relate them.",
            f"Turn it with `bayestds convert --reindex` and the matrix that is right: {shown}.",
        )
    turned = reindex(volume, matrices[0], str(name))
    turned.encoding["notes"] = [
        *volume.encoding.get("notes", []),
        f"the volume was indexed with a, b, c, α, β, γ = {_cell(lattice)}; its h, k, l become those of the "
        f'conventional cell of the crystal by the matrix "{matrix_text(matrices[0])}".',
    ]
    return turned


def _best_as_it_is(crystal: Crystal, lattice: np.ndarray) -> bool:
    """Whether no other choice of axes has a lattice (6,) that fits better than the conventional axes."""
    matrices = miller_matrices(crystal, cellpar_to_cell(lattice))
    return not matrices or bool(_equivalent(matrices, np.eye(3), crystal))


def _equivalent(matrices: list[np.ndarray], matrix: np.ndarray, crystal: Crystal) -> list[np.ndarray]:
    """Those of some matrices (3, 3) of Miller indices that the Laue group relates to another one."""
    images = crystal.laue_group.transpose(0, 2, 1) @ matrix
    return [one for one in matrices if any(np.allclose(one, image) for image in images)]


def _matches(volume: xr.Dataset, crystal: Crystal) -> bool:
    """Whether a volume states the conventional lattice of the crystal, or none."""
    return "lattice" not in volume.attrs or _same(volume.attrs["lattice"], crystal.cell_parameters)


def _same(found: Sequence[float] | np.ndarray, expected: np.ndarray) -> bool:
    """Whether two lattices (6,) are the same within 1 % and 1 degree."""
    allowed = np.append(0.01 * expected[:3], [1.0] * 3)
    return bool((np.abs(np.asarray(found) - expected) <= allowed).all())


def _another_crystal(volume: xr.Dataset, crystal: Crystal, name: str | Path) -> VolumeError:
    found, expected = np.array(volume.attrs["lattice"]), crystal.cell_parameters
    return VolumeError(
        f"{name} does not match the crystal.",
        f"It was indexed with a, b, c, α, β, γ = {_cell(found)}, the crystal has {_cell(expected)}.",
        "Use the model of this crystal, or index the data in one of its cells.",
    )


def _cell(parameters: np.ndarray) -> str:
    lengths, angles = (" ".join(f"{x:.4g}" for x in part) for part in (parameters[:3], parameters[3:]))
    return f"{lengths} Å, {angles}°"
