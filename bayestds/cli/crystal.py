"""The crystal of a model file, and whether a volume was indexed in its lattice."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import xarray as xr

from bayestds.config import Model
from bayestds.crystal.structure import Crystal, build_crystal, read_crystal
from bayestds.errors import CrystalError, VolumeError


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
    if "lattice" not in volume.attrs:
        return
    found, expected = np.array(volume.attrs["lattice"]), crystal.cell_parameters
    off = np.abs(found - expected) > np.append(0.01 * expected[:3], [1.0] * 3)
    if off.any():
        raise VolumeError(
            f"{name} does not match the crystal.",
            f"It was indexed with a, b, c, α, β, γ = {_cell(found)}, the crystal has {_cell(expected)}.",
            "Use the model of this crystal, or index the data in its conventional cell.",
        )


def _cell(parameters: np.ndarray) -> str:
    lengths, angles = (" ".join(f"{x:.4g}" for x in part) for part in (parameters[:3], parameters[3:]))
    return f"{lengths} Å, {angles}°"
