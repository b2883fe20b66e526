"""The crystal of a model file, and whether a volume was indexed in its lattice."""

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
    if _matches(volume, crystal):
        return volume
    lattice = np.array(volume.attrs["lattice"])
    matrices = miller_matrices(crystal, cellpar_to_cell(lattice))
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


def _matches(volume: xr.Dataset, crystal: Crystal) -> bool:
    """Whether a volume states the conventional lattice of the crystal, or none (1 %, 1 degree)."""
    if "lattice" not in volume.attrs:
        return True
    found, expected = np.array(volume.attrs["lattice"]), crystal.cell_parameters
    return bool((np.abs(found - expected) <= np.append(0.01 * expected[:3], [1.0] * 3)).all())


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
