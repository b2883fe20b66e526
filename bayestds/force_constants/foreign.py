"""Force constants from elsewhere, projected on the irreducible ones of a crystal."""

from dataclasses import dataclass

import numpy as np

from bayestds.crystal.matching import Match, match_crystal
from bayestds.errors import ForceConstantsError
from bayestds.force_constants.irreducible import IrreducibleForceConstants

UNDETERMINED = 1e-8
"""Smallest singular value of the projection, over the largest, that counts as information."""


@dataclass(frozen=True, eq=False)
class Responses:
    """What force constants answer: the block of a pair times a direction.

    Attributes:
        pairs: (n_responses, 5) int as (κ, κ', R) of the crystal.
        directions: (n_responses, 3) displacements of the second atom.
        responses: (n_responses, 3), Φ(pair) @ direction, eV/Å².
        period: (3, 3) int, the supercell that they are periodic in, in primitive vectors, one a row; None
            for the infinite crystal.
    """

    pairs: np.ndarray
    directions: np.ndarray
    responses: np.ndarray
    period: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ForeignConstants:
    """Force constants as another program has them.

    Attributes:
        name: of the source, for messages.
        lattice: (3, 3) Å, one vector a row.
        positions: (n_atoms, 3) fractional.
        species: (n_atoms,) element symbols.
        pairs: (n_pairs, 5) int: atoms i and j of that cell, and the cell of i minus the cell of j.
        blocks: (n_pairs, 3, 3) ∂²E/∂u_i∂u_j in the axes of that program, eV/Å².
        period: (3, 3) int, the supercell that they are periodic in, in vectors of ``lattice``; None for pairs
            of the infinite crystal.
        has_charges: whether that program also has Born effective charges, and with them long-range Coulomb
            forces that split longitudinal from transverse optic modes: these are not in the blocks.
    """

    name: str
    lattice: np.ndarray
    positions: np.ndarray
    species: tuple[str, ...]
    pairs: np.ndarray
    blocks: np.ndarray
    period: np.ndarray | None = None
    has_charges: bool = False

    @property
    def cautions(self) -> list[str]:
        """What is left out of the blocks, in words."""
        if not self.has_charges:
            return []
        return [
            f"the Born effective charges of {self.name} were left out, and with them what they add to its "
            "force constants: the splitting of longitudinal and transverse optic modes near Γ, and Coulomb "
            "forces beyond the shells."
        ]


@dataclass(frozen=True, eq=False)
class Projection:
    """The irreducible force constants nearest to given ones, by least squares.

    Attributes:
        irreducible: (n_irreducible,) eV/Å².
        within: relative norm of what they leave of pairs within the shells: what breaks the symmetry.
        beyond: relative norm of pairs beyond the shells, over that of all pairs.
        farthest: largest element of a pair beyond the shells, eV/Å².
    """

    irreducible: np.ndarray
    within: float
    beyond: float
    farthest: float


def project(irreducible: IrreducibleForceConstants, given: Responses, name: str) -> Projection:
    """Project force constants on the irreducible ones.

    In a supercell each pair has the force constants of itself and all its periodic images together; the same
    sums are taken here, so that nothing need be shared out among the images. Self terms are left out: they
    follow from the sum rule, and in the given ones they also balance what lies beyond the shells.

    Raises:
        ForceConstantsError: a value is not finite, or the supercell is too small to tell the shells apart.
    """
    if not np.isfinite(given.responses).all():
        raise ForceConstantsError(
            f"The force constants of {name} are not finite.",
            f"{(~np.isfinite(given.responses)).any(axis=1).sum()} of {len(given.responses)} rows hold NaN or "
            "infinity.",
            "Make them again; a calculation has failed.",
        )
    if not given.responses.any():
        raise ForceConstantsError(
            f"The force constants of {name} are all zero.", "Nothing holds the atoms.", "Check the source."
        )
    n_atoms = irreducible.crystal.n_atoms
    ours, theirs = irreducible.pairs[n_atoms:], given.pairs
    labels = np.concatenate([_folded(ours, given.period), _folded(theirs, given.period)])
    unique, label = np.unique(labels, axis=0, return_inverse=True)
    mine, other = label[: len(ours)], label[len(ours) :]
    folded = np.zeros((len(unique), *irreducible.basis.shape[1:]))
    np.add.at(folded, mine, irreducible.basis[n_atoms:])
    is_self = (unique[:, 0] == unique[:, 1]) & (unique[:, 2:] == 0).all(axis=1)
    in_shells = np.zeros(len(unique), dtype=bool)
    in_shells[mine] = True
    use = ~is_self[other]
    directions, wanted = given.directions[use], given.responses[use]
    design = np.einsum("pabn,pb->pan", folded[other[use]], directions)
    if given.period is None:
        # A pair that a list of pairs does not have is zero.
        missing = folded[np.setdiff1d(mine, other)].reshape(-1, 3, design.shape[-1])
        design = np.concatenate([design, missing])
        wanted = np.concatenate([wanted, np.zeros((len(missing), 3))])
    values, _, _, singular = np.linalg.lstsq(design.reshape(-1, design.shape[-1]), wanted.ravel())
    if singular[-1] < UNDETERMINED * singular[0] or len(singular) < irreducible.n_irreducible:
        raise ForceConstantsError(
            f"{name} does not determine the force constants of {irreducible.n_shells} shells.",
            "Its supercell is too small to tell pairs of different shells apart.",
            "Use fewer shells, or force constants of a larger supercell.",
        )
    left = wanted - design @ values
    inside = np.append(in_shells[other[use]], np.ones(len(wanted) - use.sum(), dtype=bool))
    total = np.linalg.norm(wanted)
    far = wanted[~inside]
    return Projection(
        values,
        float(np.linalg.norm(left[inside]) / total),
        float(np.linalg.norm(far) / total),
        float(np.abs(far).max()) if len(far) else 0.0,
    )


def _folded(pairs: np.ndarray, period: np.ndarray | None) -> np.ndarray:
    """Pairs (n_pairs, 5) int with R taken into the supercell."""
    if period is None:
        return pairs
    cells = pairs[:, 2:] @ np.linalg.inv(period)
    inside = pairs[:, 2:] - np.floor(cells + 1e-6).astype(int) @ period
    return np.column_stack([pairs[:, :2], inside])


def project_foreign(
    irreducible: IrreducibleForceConstants, given: ForeignConstants
) -> tuple[Projection, Match]:
    """Match another program's crystal and project its force constants on the irreducible ones.

    Raises:
        CrystalError: it is another crystal.
        ForceConstantsError: as for :func:`project`.
    """
    match = match_crystal(irreducible.crystal, given.lattice, given.positions, given.species, given.name)
    first, second = given.pairs[:, 0], given.pairs[:, 1]
    cells = given.pairs[:, 2:] @ match.lattice_matrix + match.cells[first] - match.cells[second]
    pairs = np.column_stack([match.kinds[first], match.kinds[second], cells])
    blocks = match.rotation.T @ given.blocks @ match.rotation
    period = None if given.period is None else given.period @ match.lattice_matrix
    # Every column of a block is the response to a displacement along one axis.
    responses = Responses(
        np.repeat(pairs, 3, axis=0),
        np.tile(np.eye(3), (len(pairs), 1)),
        blocks.swapaxes(1, 2).reshape(-1, 3),
        period,
    )
    return project(irreducible, responses, given.name), match
