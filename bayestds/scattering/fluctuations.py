"""Fluctuations of a diffuse intensity that is a mean over M independent configurations.

With the scattering amplitude F(Q) of one configuration, Gaussian but for corrections of order one over
the number of cells, the mean intensities at Q and Q' have the covariance |X(Q,Q')|²/M if Q ≡ Q' and
|X(Q,-Q')|²/M if Q ≡ -Q' modulo the reciprocal lattice, and none otherwise, with

    X(Q,Q') = ⟨F(Q) F(Q')*⟩/N = Σ_κκ' f_κ f_κ'* exp(iQ·τ_κ - iQ'·τ_κ') exp(-W_κ(Q) - W_κ'(Q'))
                                Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q') - 1].

Its term linear in C is the one-phonon part. It belongs to the fluctuations that are linear in those of
C(k), which are correlated between all Q; only the rest is taken here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float, Int

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.scattering.grid import IrreducibleGrid

NEAR = 0.2
"""Pairs whose covariance is above this share of the largest get the exponential, others a power series."""

ORDER = 4
"""Highest power of the series: each pair left out is at most 0.2 x NEAR⁵ = 6e-5 of an incoherent atom."""

ELEMENTS_AT_ONCE = 400_000
"""Exponentials evaluated together: they fit the cache."""


@dataclass(frozen=True, eq=False)
class Star:
    """The irreducible points of one star of k, all moved to the same k.

    Attributes:
        k_index: grid index of that k.
        points: (n_points,) int, which of the irreducible points they are.
        moved: (n_points, 3) equivalent points at k, conventional r.l.u.
        shares: (n_points, n_ops) share of the voxels behind ``moved @ W`` in the average over each orbit.
    """

    k_index: int
    points: np.ndarray
    moved: np.ndarray
    shares: np.ndarray


def orbit_shares(grid: IrreducibleGrid, rotations: Int[np.ndarray, "n_ops 3 3"]) -> np.ndarray:
    """Share (n_q, n_ops) that each image ``q @ W`` of a point has in the average over its voxels.

    Friedel pairs are one: what is counted at one of them is shared between both. Complete orbits have
    equal shares.
    """
    origin = np.array([axis[0] for axis in grid.axes])
    steps = np.array([axis[1] - axis[0] if len(axis) > 1 else 1.0 for axis in grid.axes])
    shape = np.array(grid.point_of_voxel.shape)
    points = np.arange(len(grid.q_points))
    found = np.empty((len(points), len(rotations)))
    for column, rotation in enumerate(rotations):
        images = grid.q_points @ rotation
        found[:, column] = 0
        for sign in (1, -1):
            place = (sign * images - origin) / steps
            index = np.rint(place).astype(int)
            inside = ((np.abs(place - index) < 1e-2) & (index >= 0) & (index < shape)).all(axis=1)
            voxel = grid.point_of_voxel[tuple(np.where(inside[:, None], index, 0).T)]
            found[:, column] += inside & (voxel == points)
    return found / found.sum(axis=1, keepdims=True)


def products(rotations: Int[np.ndarray, "n_ops 3 3"]) -> Int[np.ndarray, "n_ops n_ops"]:
    """Index of ``rotations[i] @ rotations[j]`` in a group of rotations."""
    both = np.einsum("iab,jbc->ijac", rotations, rotations)
    return (both[:, :, None] == rotations).all(axis=(-1, -2)).argmax(axis=-1)


def find_stars(supercell: Supercell, q_points: np.ndarray, shares: np.ndarray) -> list[Star]:
    """The points, sorted by stars of k under the Laue group."""
    rotations = supercell.crystal.laue_group
    images = np.einsum("qi,oij->qoj", q_points, rotations)
    k_index = supercell.k_index(images.reshape(-1, 3)).reshape(len(q_points), -1)
    k_index = np.where(k_index < 0, supercell.n_cells, k_index)
    chosen = k_index.argmin(axis=1)
    smallest = k_index.min(axis=1)
    table = products(rotations)
    stars = []
    for k in np.unique(smallest):
        points = np.flatnonzero(smallest == k)
        moved = np.einsum("qi,qij->qj", q_points[points], rotations[chosen[points]])
        turned = np.take_along_axis(shares[points], table[chosen[points]], axis=1)
        stars.append(Star(int(k), points, moved, turned))
    return stars


@dataclass(frozen=True, eq=False)
class LatticeSeries:
    """Σ_R exp(ik·R) [exp(QᵀC_κκ'(R)Q') - 1] at one k, near pairs apart from the others.

    Attributes:
        near: (n_atoms, n_atoms) of the near pairs: C (n_near, 3, 3) and exp(ik·R) (n_near,).
        far: (ORDER, n_atoms, n_atoms) of Σ exp(ik·R) C⊗...⊗C/n! over the others, (3ⁿ, 3ⁿ) each.
        one_phonon: (n_atoms, n_atoms, 3, 3) C(k).
    """

    near: list[list[tuple[np.ndarray, np.ndarray]]]
    far: list[list[list[np.ndarray]]]
    one_phonon: np.ndarray


def lattice_series(supercell: Supercell, covariance: np.ndarray, k_index: int) -> LatticeSeries:
    phases = supercell.phases(np.array([k_index]), np.arange(supercell.n_cells))[0]
    sizes = np.abs(covariance).max(axis=(-1, -2))
    is_near = sizes > NEAR * sizes.max()
    atoms = range(supercell.crystal.n_atoms)
    near = [[(covariance[is_near[:, i, j], i, j], phases[is_near[:, i, j]]) for j in atoms] for i in atoms]
    masked = covariance * ~is_near[..., None, None]
    far = [[_power_sums(masked[:, i, j], phases) for j in atoms] for i in atoms]
    return LatticeSeries(near, far, np.tensordot(phases, covariance, axes=1))


def _power_sums(covariance: Float[np.ndarray, "n_cells 3 3"], phases: np.ndarray) -> list[np.ndarray]:
    """Σ_R exp(ik·R) C(R)⊗...⊗C(R)/n! for n = 1 ... ORDER."""
    flat = covariance.reshape(-1, 9)
    sums, power = [np.tensordot(phases, covariance, axes=1)], covariance
    for n in range(2, ORDER + 1):
        size = power.shape[-1]
        product = (phases[:, None] * power.reshape(-1, size**2)).T @ flat / n
        sums.append(product.reshape(size, size, 3, 3).swapaxes(1, 2).reshape(3 * size, 3 * size))
        power = np.einsum("rij,rab->riajb", power, covariance).reshape(-1, 3 * size, 3 * size) / n
    return sums


def _tensor_powers(vectors: Float[np.ndarray, "n 3"]) -> list[np.ndarray]:
    """Q⊗...⊗Q for n = 1 ... ORDER, (n, 3ⁿ) each."""
    powers = [vectors]
    while len(powers) < ORDER:
        powers.append((powers[-1][:, :, None] * vectors[:, None]).reshape(len(vectors), -1))
    return powers


def amplitude_covariance(
    series: LatticeSeries,
    vectors: tuple[np.ndarray, np.ndarray],
    waves: tuple[np.ndarray, np.ndarray],
) -> tuple[Complex[np.ndarray, "n m"], Complex[np.ndarray, "n m"]]:
    """X(Q,Q') per primitive cell, and its one-phonon part, for all pairs of two lists of points.

    Args:
        series: at the k that all points have.
        vectors: the two lists, (n, 3) and (m, 3), Å⁻¹.
        waves: :func:`damped_waves` at their points.
    """
    shape = len(vectors[0]), len(vectors[1])
    total, one_phonon = np.zeros(shape, complex), np.zeros(shape, complex)
    for i, j in np.ndindex(series.one_phonon.shape[:2]):
        outer = waves[0][:, i, None] * waves[1][:, j].conj()
        total += outer * _lattice_sum(series, i, j, *vectors)
        one_phonon += outer * (vectors[0] @ series.one_phonon[i, j] @ vectors[1].T)
    return total, one_phonon


def damped_waves(
    crystal: Crystal, covariance: np.ndarray, vectors: np.ndarray, factors: np.ndarray
) -> Complex[np.ndarray, "n n_atoms"]:
    """f_κ exp(iQ·τ_κ - W_κ), (n, n_atoms)."""
    half = np.einsum("qi,kkij,qj->qk", vectors, covariance[0], vectors) / 2
    return factors * np.exp(1j * vectors @ crystal.cartesian_positions.T - half)


def _lattice_sum(series: LatticeSeries, i: int, j: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    powers = zip(_tensor_powers(first), series.far[i][j], _tensor_powers(second), strict=True)
    total = sum(left @ far @ right.T for left, far, right in powers)
    matrices, phases = series.near[i][j]
    if len(phases):
        rows = max(1, ELEMENTS_AT_ONCE // (len(phases) * len(second)))
        parts = np.stack([phases.real, phases.imag])
        total -= phases.sum()
        right = matrices @ second.T
        for start in range(0, len(first), rows):
            chunk = slice(start, start + rows)
            real, imaginary = np.tensordot(parts, np.exp(first[chunk] @ right), axes=1)
            total[chunk] += real + 1j * imaginary
    return total


def residual_covariance(
    supercell: Supercell,
    covariance: Float[np.ndarray, "n_cells n_atoms n_atoms 3 3"],
    stars: list[Star],
    factors: Float[np.ndarray, "n_q n_atoms"],
    intensity: Float[np.ndarray, " n_q"],
) -> Iterator[Float[np.ndarray, "n n"]]:
    """Covariance of the log intensities of each star, times M, less their one-phonon part.

    The mean over the orbits of Q and Q' of |X|² - |X₁|²: a sum over the images of Q' that have the k of Q,
    each weighted by how often it occurs among the voxels of both orbits.

    Args:
        supercell: the periodic supercell.
        covariance: C_κκ'(R), Å².
        stars: from :func:`find_stars`.
        factors: f_κ at every irreducible point.
        intensity: per primitive cell, at every irreducible point.
    """
    crystal, rotations = supercell.crystal, supercell.crystal.laue_group
    table = products(rotations)
    for star in stars:
        images = np.einsum("qi,oij->qoj", star.moved, rotations)
        same = (supercell.k_index(images.reshape(-1, 3)) == star.k_index).reshape(images.shape[:2])
        series = lattice_series(supercell, covariance, star.k_index)
        f = factors[star.points]
        vectors = crystal.scattering_vectors(star.moved)
        waves = damped_waves(crystal, covariance, vectors, f)
        total = np.zeros((len(f), len(f)))
        for operation in np.flatnonzero(same[0]):
            others = crystal.scattering_vectors(images[:, operation])
            other_waves = damped_waves(crystal, covariance, others, f)
            x, one = amplitude_covariance(series, (vectors, others), (waves, other_waves))
            weight = star.shares @ star.shares[:, table[operation]].T
            total += 2 * weight * (np.abs(x) ** 2 - np.abs(one) ** 2)
        yield total / np.outer(intensity[star.points], intensity[star.points])
