"""Phonons of a result with their uncertainty: dispersion, density of states, zone-boundary modes."""

from dataclasses import dataclass

import numpy as np

from bayestds.crystal.structure import Crystal
from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.lattice_dynamics.density_of_states import default_mesh, make_tetrahedra, mean_density
from bayestds.lattice_dynamics.paths import BandPath, band_path, special_points
from bayestds.lattice_dynamics.phonons import frequencies, shell_participation

INTERVAL, INNER_INTERVAL = 0.95, 0.5
"""Probabilities of the two credible bands."""

N_BINS = 200
"""Of the density of states."""

MARGIN = 0.03
"""Of the bins beyond the lowest and the highest frequency, as a share of what lies between."""

IMAGINARY = 1e-4
"""Imaginary frequencies below this share of the highest one are rounding errors of acoustic modes at Γ."""

EQUAL = 1e-6
"""Frequencies that differ by less than this share of the highest are one level."""

POLAR = (
    "LO-TO splitting by long-range Coulomb forces is out of scope: if this crystal, which has more than one "
    "species, is an insulator, the frequencies of its optical modes near Γ lack it."
)


@dataclass(frozen=True, eq=False)
class Spread:
    """A quantity and what the draws of the force constants make of it; arrays of one shape.

    Attributes:
        value: at the mean of the force constants.
        sd: standard deviation over the draws.
        low, high: central interval of probability :data:`INTERVAL`.
        inner_low, inner_high: the same of probability :data:`INNER_INTERVAL`.
    """

    value: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inner_low: np.ndarray
    inner_high: np.ndarray


@dataclass(frozen=True, eq=False)
class PhononBands:
    """Phonons of a result.

    Attributes:
        path: through the Brillouin zone.
        bands: frequencies (n_q, 3 n_atoms) along the path, THz, ascending; imaginary ones are negative.
        special: q (3,) of every special point by name, conventional r.l.u.
        at_special: frequencies (n_special, 3 n_atoms) there, THz.
        participation: (n_special, 3 n_atoms, n_shells) there, shares of the shells in its stiffness.
        edges: (n_bins + 1,) of the density of states, THz.
        dos: (n_bins,) modes per THz and primitive cell.
        words: what is to be said of them, in sentences.
    """

    path: BandPath
    bands: Spread
    special: dict[str, np.ndarray]
    at_special: Spread
    participation: np.ndarray
    edges: np.ndarray
    dos: Spread
    words: tuple[str, ...]


def phonon_bands(draws: ForceConstantDraws, names: list[str] | None = None) -> PhononBands:
    """Phonons of a result, with credible bands from the draws of its force constants.

    Args:
        draws: what the result says of the force constants.
        names: special points to go through, in order; the standard path of the lattice by default.

    Raises:
        CrystalError: a name is not one of the special points.
    """
    irreducible, crystal = draws.irreducible, draws.irreducible.crystal
    path, special = band_path(crystal, names), special_points(crystal)
    tetrahedra = make_tetrahedra(crystal, default_mesh(crystal))
    every = np.concatenate([draws.mean[None], draws.draws])
    wanted = (path.q_points, np.array(list(special.values())), tetrahedra.q_points)
    found = frequencies(irreducible, every, np.concatenate(wanted))
    along, at_special, on_mesh = np.split(found, np.cumsum([len(q) for q in wanted])[:2], axis=1)
    edges = _edges(found)
    return PhononBands(
        path,
        _spread(along),
        special,
        _spread(at_special),
        shell_participation(irreducible, draws.mean, wanted[1]),
        edges,
        _spread(mean_density(tetrahedra, on_mesh, edges)),
        _words(crystal, np.concatenate(wanted), found),
    )


def levels(frequencies: np.ndarray, highest: float) -> list[np.ndarray]:
    """Indices of the modes of each level, of ascending frequencies (3 n_atoms,) of a crystal, THz."""
    return np.split(np.arange(len(frequencies)), np.flatnonzero(np.diff(frequencies) > EQUAL * highest) + 1)


def _edges(found: np.ndarray) -> np.ndarray:
    """Bins (N_BINS + 1,) that hold all frequencies, THz; from 0 if none is imaginary."""
    low, high = found.min(), found.max()
    start = low - MARGIN * (high - low) if low < -IMAGINARY * np.abs(found).max() else min(low, 0)
    return np.linspace(start, high + MARGIN * (high - start), N_BINS + 1)


def _words(crystal: Crystal, q_points: np.ndarray, found: np.ndarray) -> tuple[str, ...]:
    """What is to be said of frequencies (1 + n_draws, n_q, 3n), the first of them at the mean."""
    said = []
    imaginary = found.min(axis=2) < -IMAGINARY * np.abs(found).max()
    if imaginary[0].any():
        worst = int(found[0].min(axis=1).argmin())
        place = " ".join(f"{x:.3f}" for x in q_points[worst] + 0.0)
        said.append(
            "The force constants are those of an unstable crystal: frequencies are imaginary (shown as "
            f"negative), the lowest {found[0, worst, 0]:.3f} THz at ({place})."
        )
    if share := imaginary[1:].any(axis=1).mean():
        said.append(
            f"Of the draws {share:.1%} have imaginary frequencies (shown as negative): a fit keeps the "
            "crystal stable at the wave vectors of its supercell alone."
        )
    if len(set(crystal.species)) > 1:
        said.append(POLAR)
    return tuple(said)


def _spread(found: np.ndarray) -> Spread:
    """Of values (1 + n_draws, ...), the first at the mean of the force constants."""
    tails = [(1 + sign * share) / 2 for share in (INTERVAL, INNER_INTERVAL) for sign in (-1, 1)]
    return Spread(found[0], found[1:].std(axis=0, ddof=1), *np.quantile(found[1:], tails, axis=0))
