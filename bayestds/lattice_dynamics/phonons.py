"""Phonons of force constants: frequencies, group velocities, and what each neighbour shell adds to a mode.

Up to the eigenvalues everything is linear in the force constants: a lattice sum is one matrix product of
phases and constants. Phases are exp(+iq·R) between cell origins; eigenvalues do not depend on that choice.
"""

from collections.abc import Iterator

import numpy as np

from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.units import THZ

BLOCK = 2**21
"""Numbers of a block of matrices in work, which bounds the memory."""

DEGENERATE = 1e-10
"""Difference below which eigenvalues are equal, as a share of the largest: 10^5 times its rounding error."""

OFF_ZONE_CENTRE = 1e-3
"""Distance from Γ at which the velocity of sound is read off, Å⁻¹: below 1e-6 off its limit."""

DIRECTION = np.array([1.0, 2.0, 3.0])
"""A Cartesian direction in which no two branches stay together for symmetry's sake."""

KM_PER_S = 0.1
"""1 Å THz in km/s."""


def frequencies(
    irreducible: IrreducibleForceConstants, values: np.ndarray, q_points: np.ndarray
) -> np.ndarray:
    """Phonon frequencies ν (..., n_q, 3 n_atoms) in THz, ascending; imaginary ones are negative.

    Args:
        irreducible: what the values mean.
        values: (..., n_irreducible) eV/Å²: one set of constants, or draws of them.
        q_points: (n_q, 3) conventional r.l.u.
    """
    values, q_points = np.asarray(values, dtype=float), np.asarray(q_points, dtype=float)
    draws, size = values.reshape(-1, values.shape[-1]), 3 * irreducible.crystal.n_atoms
    eigenvalues = np.empty((len(draws), len(q_points), size))
    most = max(size**2, len(irreducible.pairs))
    for points in _slices(len(q_points), BLOCK // most):
        for some in _slices(len(draws), BLOCK // (most * max(1, len(q_points[points])))):
            matrices = dynamical_matrices(irreducible, draws[some], q_points[points])
            eigenvalues[some, points] = np.linalg.eigvalsh(matrices)
    return _signed_root(eigenvalues).reshape(*values.shape[:-1], len(q_points), size)


def dynamical_matrices(
    irreducible: IrreducibleForceConstants, values: np.ndarray, q_points: np.ndarray
) -> np.ndarray:
    """D(q) = Σ_R M^-½ Φ(R) M^-½ exp(+iq·R), (..., n_q, 3 n_atoms, 3 n_atoms), eV/(Å² amu).

    Args:
        irreducible: what the values mean.
        values: (..., n_irreducible) eV/Å².
        q_points: (n_q, 3) conventional r.l.u.
    """
    phases, _ = _phases(irreducible, q_points)
    return _lattice_sum(phases, _by_cell(irreducible, _constants(irreducible, values)))


def group_velocities(
    irreducible: IrreducibleForceConstants,
    values: np.ndarray,
    q_points: np.ndarray,
    direction: np.ndarray = DIRECTION,
) -> np.ndarray:
    """Group velocities ∂ω/∂q (n_q, 3 n_atoms, 3), Cartesian, km/s, in the order of :func:`frequencies`.

    By first-order perturbation theory, ∂ω = e†(∂D)e / 2ω. Modes of equal frequency leave a choice of e: here
    they diagonalise the derivative along ``direction``, in order of their slope. They are the branches into
    which the modes part on the way there, and the component along it is the slope of these branches (those
    that do not part share a choice across it: only their mean has a meaning there). At Γ, where the velocity
    of sound depends on where one goes, it is the limit from there. Where a frequency is imaginary, it is the
    slope of what :func:`frequencies` returns.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
        q_points: (n_q, 3) conventional r.l.u.
        direction: (3,) or (n_q, 3), Cartesian, of any length but 0; by default one that no symmetry knows.
    """
    crystal, q_points = irreducible.crystal, np.asarray(q_points, dtype=float)
    towards = np.broadcast_to(np.asarray(direction, dtype=float), q_points.shape)
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    cycles = q_points @ np.linalg.inv(crystal.conventional_matrix).T
    at_centre = np.abs(cycles - np.rint(cycles)).max(axis=1, keepdims=True) < 1e-9
    step = OFF_ZONE_CENTRE / (2 * np.pi) * towards @ crystal.conventional_lattice.T
    q_points = q_points + at_centre * step
    by_cell = _by_cell(irreducible, _constants(irreducible, values))
    size = by_cell.shape[-1]
    velocities = np.empty((len(q_points), size, 3))
    for points in _slices(len(q_points), BLOCK // max(3 * size**2, len(irreducible.pairs))):
        phases, vectors = _phases(irreducible, q_points[points])
        eigenvalues, modes = np.linalg.eigh(_lattice_sum(phases, by_cell))
        slopes = _lattice_sum(1j * vectors.T[:, None, :] * phases, by_cell)
        along = np.einsum("qx,xqij->qij", towards[points], slopes)
        modes = modes @ parting(eigenvalues, modes.conj().swapaxes(-1, -2) @ along @ modes)
        change = np.einsum("qim,xqij,qjm->qmx", modes.conj(), slopes, modes, optimize=True).real
        velocities[points] = change / np.sqrt(np.abs(eigenvalues))[..., None]
    return KM_PER_S * np.pi * THZ * velocities


def shell_participation(
    irreducible: IrreducibleForceConstants, values: np.ndarray, q_points: np.ndarray
) -> np.ndarray:
    """Share of each neighbour shell in the stiffness of each mode, (n_q, 3 n_atoms, n_shells); sums to 1.

    e†D_s e / ω² with the part D_s of the dynamical matrix that comes from the pairs of a shell and from what
    they add to the self terms. By the Hellmann-Feynman theorem it is ∂ ln ω² / ∂ ln of the strength of the
    shell. It is negative where a shell softens a mode, and NaN where ω is 0, at Γ. Modes of equal frequency
    have their mean.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
        q_points: (n_q, 3) conventional r.l.u.
    """
    phases, _ = _phases(irreducible, q_points)
    parts = _by_cell(irreducible, _constants_by_shell(irreducible, values))
    eigenvalues, modes = np.linalg.eigh(_lattice_sum(phases, parts.sum(axis=0)))
    together = _together(eigenvalues)
    still = np.abs(eigenvalues) <= DEGENERATE * _largest(eigenvalues)
    stiffness = np.where(still, np.nan, eigenvalues)
    shares = np.empty((*eigenvalues.shape, len(parts)))
    for shell, part in enumerate(parts):
        matrices = _lattice_sum(phases, part)
        own = np.einsum("qim,qij,qjm->qm", modes.conj(), matrices, modes, optimize=True).real
        mean = (together @ own[..., None])[..., 0] / together.sum(axis=-1)
        shares[..., shell] = mean / stiffness
    return shares


def _constants(irreducible: IrreducibleForceConstants, values: np.ndarray) -> np.ndarray:
    """Force constants (..., n_pairs, 3, 3) of values (..., n_irreducible)."""
    return np.tensordot(np.asarray(values, dtype=float), irreducible.basis, axes=(-1, -1))


def _constants_by_shell(irreducible: IrreducibleForceConstants, values: np.ndarray) -> np.ndarray:
    """Force constants (n_shells, n_pairs, 3, 3) of the pairs of one shell alone, and their self terms."""
    n_atoms, first = irreducible.crystal.n_atoms, irreducible.pairs[:, 0]
    shells = np.concatenate([np.full(len(orbit.pairs), orbit.shell) for orbit in irreducible.orbits])
    parts = np.zeros((irreducible.n_shells, len(first), 3, 3))
    pairs = np.arange(n_atoms, len(first))
    parts[shells - 1, pairs] = _constants(irreducible, values)[n_atoms:]
    np.subtract.at(parts, (shells - 1, first[n_atoms:]), parts[shells - 1, pairs])
    return parts


def _by_cell(irreducible: IrreducibleForceConstants, constants: np.ndarray) -> np.ndarray:
    """M^-½ Φ(R) M^-½ (..., n_cells, 3n, 3n) of constants (..., n_pairs, 3, 3), in the order of `_phases`."""
    crystal, pairs = irreducible.crystal, irreducible.pairs
    cells, cell = np.unique(pairs[:, 2:], axis=0, return_inverse=True)
    first, second = pairs[:, 0], pairs[:, 1]
    masses = np.sqrt(crystal.masses[first] * crystal.masses[second])
    lead, n = constants.shape[:-3], crystal.n_atoms
    found = np.zeros((*lead, len(cells), n, n, 3, 3))
    found[..., cell, first, second, :, :] = constants / masses[:, None, None]
    return found.swapaxes(-3, -2).reshape(*lead, len(cells), 3 * n, 3 * n)


def _phases(irreducible: IrreducibleForceConstants, q_points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """exp(iq·R) (n_q, n_cells), and the Cartesian R (n_cells, 3) in Å, of every R of the pairs."""
    crystal, cells = irreducible.crystal, np.unique(irreducible.pairs[:, 2:], axis=0)
    primitive = np.asarray(q_points, dtype=float) @ np.linalg.inv(crystal.conventional_matrix).T
    return np.exp(2j * np.pi * primitive @ cells.T), cells @ crystal.lattice_vectors


def _lattice_sum(phases: np.ndarray, by_cell: np.ndarray) -> np.ndarray:
    """Σ_R by_cell(R) phases(R), (..., n_q, 3n, 3n); one of the two has leading axes, not both."""
    size = by_cell.shape[-1]
    flat = phases @ by_cell.reshape(*by_cell.shape[:-2], size**2)
    return flat.reshape(*flat.shape[:-1], size, size)


def parting(eigenvalues: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Unitary (n_q, 3n, 3n) that diagonalises the slope among modes of equal eigenvalue, and only there."""
    slope = np.where(_together(eigenvalues), slope, 0)
    # Sets of modes far apart from each other: eigenvectors then stay within their set, and the sets in order.
    apart = 4 * np.linalg.norm(slope, axis=(-1, -2), keepdims=True) + 1
    levels = _levels(eigenvalues)[..., None] * np.eye(eigenvalues.shape[-1])
    return np.linalg.eigh(slope + apart * levels)[1]


def _together(eigenvalues: np.ndarray) -> np.ndarray:
    """Which modes have the same eigenvalue, (n_q, 3n, 3n) bool."""
    levels = _levels(eigenvalues)
    return levels[..., :, None] == levels[..., None, :]


def _levels(eigenvalues: np.ndarray) -> np.ndarray:
    """Number (n_q, 3n) of the level of each mode, equal for equal eigenvalues; these ascend."""
    steps = np.diff(eigenvalues, axis=-1, prepend=eigenvalues[..., :1])
    return np.cumsum(steps > DEGENERATE * _largest(eigenvalues), axis=-1)


def _largest(eigenvalues: np.ndarray) -> float:
    return float(np.abs(eigenvalues).max(initial=0.0))


def _signed_root(eigenvalues: np.ndarray) -> np.ndarray:
    return THZ * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))


def _slices(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, max(1, size)):
        yield slice(start, start + max(1, size))
