"""Fluctuations of a diffuse intensity that is a mean over M independent configurations.

With the scattering amplitude F(Q) of one configuration, Gaussian but for corrections of order one over
the number of cells, the mean intensities at Q and Q' have the covariance |X(Q,Q')|²/M if Q ≡ Q' and
|X(Q,-Q')|²/M if Q ≡ -Q' modulo the reciprocal lattice, and none otherwise, with

    X(Q,Q') = ⟨F(Q) F(Q')*⟩/N = Σ_κκ' f_κ f_κ'* exp(iQ·τ_κ - iQ'·τ_κ') exp(-W_κ(Q) - W_κ'(Q'))
                                Σ_R exp(iQ·R) [exp(QᵀC_κκ'(R)Q') - 1].

Its term linear in C is the one-phonon part. It belongs to the fluctuations that are linear in those of
C(k), which are correlated between all Q; only the rest is taken here.
"""

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
    shape = np.array(grid.point_of_voxel.shape)
    points = np.arange(len(grid.q_points))
    found = np.empty((len(points), len(rotations)))
    for column, rotation in enumerate(rotations):
        images = grid.q_points @ rotation
        found[:, column] = 0
        for sign in (1, -1):
            place = grid.axes.places(sign * images)
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
class StarAmplitudes:
    """What X(Q,Q') needs of the points Q of one star, prepared for any points Q' of the same k.

    The lattice sum takes the exponential of near pairs and a power series of all others, whose Q and Q' are
    apart: (QᵀCQ')ⁿ = (Q⊗...⊗Q)ᵀ (C⊗...⊗C) (Q'⊗...⊗Q').

    Attributes:
        waves: (n, n_atoms) f_κ exp(iQ·τ_κ - W_κ).
        near: for each κ, κ': QᵀC(R) (n, n_near, 3) and exp(ik·R) (n_near,).
        far: (n_atoms, n_atoms, n, 3 + 9 + ...) of the series.
        one_phonon: (n_atoms, n_atoms, n, 3) QᵀC(k).
    """

    waves: Complex[np.ndarray, "n n_atoms"]
    near: list[list[tuple[np.ndarray, np.ndarray]]]
    far: Complex[np.ndarray, "n_atoms n_atoms n n_powers"]
    one_phonon: Complex[np.ndarray, "n_atoms n_atoms n 3"]

    def covariance(
        self, vectors: Float[np.ndarray, "m g 3"], waves: Complex[np.ndarray, "m g n_atoms"]
    ) -> tuple[Complex[np.ndarray, "n g"], Complex[np.ndarray, "n g"]]:
        """X(Q,Q') per primitive cell, and its one-phonon part, for g points Q' to each Q, or to all of them.

        Args:
            vectors: the points Q', Å⁻¹; m is n or 1.
            waves: f_κ exp(iQ'·τ_κ - W_κ) there.
        """
        powers = np.concatenate(_tensor_powers(vectors), axis=-1)
        total = one_phonon = np.zeros((1, 1), complex)
        for i, j in np.ndindex(self.far.shape[:2]):
            lattice_sum = (powers @ self.far[i, j, :, :, None])[..., 0]
            left, phases = self.near[i][j]
            if len(phases):
                exponents = left @ vectors.swapaxes(1, 2)
                lattice_sum = lattice_sum + phases @ np.exp(exponents) - phases.sum()
            outer = self.waves[:, i, None] * waves[..., j].conj()
            total = total + outer * lattice_sum
            one_phonon = one_phonon + outer * (vectors @ self.one_phonon[i, j, :, :, None])[..., 0]
        return total, one_phonon


def star_amplitudes(
    supercell: Supercell,
    covariance: Float[np.ndarray, "n_cells n_atoms n_atoms 3 3"],
    k_index: int,
    vectors: Float[np.ndarray, "n 3"],
    waves: Complex[np.ndarray, "n n_atoms"],
) -> StarAmplitudes:
    """Preparation of X(Q,Q') for points of one k.

    Args:
        supercell: the periodic supercell.
        covariance: C_κκ'(R), Å².
        k_index: grid index of k.
        vectors: the points Q, Å⁻¹.
        waves: f_κ exp(iQ·τ_κ - W_κ) there, from :func:`damped_waves`.
    """
    phases = supercell.phases(np.array([k_index]), np.arange(supercell.n_cells))[0]
    sizes = np.abs(covariance).max(axis=(-1, -2))
    is_near = sizes > NEAR * sizes.max()
    atoms = range(supercell.crystal.n_atoms)
    near = [
        [
            (np.einsum("qi,rij->qrj", vectors, covariance[chosen, i, j]), phases[chosen])
            for j, chosen in enumerate(is_near[:, i].T)
        ]
        for i in atoms
    ]
    masked = covariance * ~is_near[..., None, None]
    far = [[_series(vectors, masked[:, i, j], phases) for j in atoms] for i in atoms]
    one_phonon = vectors @ np.tensordot(phases, covariance, axes=1)
    return StarAmplitudes(waves, near, np.array(far), one_phonon)


def _series(
    vectors: Float[np.ndarray, "n 3"], covariance: Float[np.ndarray, "n_cells 3 3"], phases: np.ndarray
) -> Complex[np.ndarray, "n n_powers"]:
    """(Q⊗...⊗Q)ᵀ Σ_R exp(ik·R) C(R)⊗...⊗C(R)/n! for n = 1 ... ORDER, side by side."""
    flat = covariance.reshape(-1, 9)
    sums, power = [np.tensordot(phases, covariance, axes=1)], covariance
    for n in range(2, ORDER + 1):
        size = power.shape[-1]
        product = (phases[:, None] * power.reshape(-1, size**2)).T @ flat / n
        sums.append(product.reshape(size, size, 3, 3).swapaxes(1, 2).reshape(3 * size, 3 * size))
        power = np.einsum("rij,rab->riajb", power, covariance).reshape(-1, 3 * size, 3 * size) / n
    terms = [left @ term for left, term in zip(_tensor_powers(vectors), sums, strict=True)]
    return np.concatenate(terms, axis=1)


def _tensor_powers(vectors: Float[np.ndarray, "... 3"]) -> list[np.ndarray]:
    """Q⊗...⊗Q for n = 1 ... ORDER, (..., 3ⁿ) each."""
    powers = [vectors]
    while len(powers) < ORDER:
        last = powers[-1]
        powers.append((last[..., :, None] * vectors[..., None, :]).reshape(*last.shape[:-1], -1))
    return powers


def damped_waves(
    crystal: Crystal,
    covariance: Float[np.ndarray, "n_cells n_atoms n_atoms 3 3"],
    vectors: Float[np.ndarray, "... 3"],
    factors: np.ndarray,
) -> Complex[np.ndarray, "... n_atoms"]:
    """f_κ exp(iQ·τ_κ - W_κ), with f_κ (..., n_atoms) and Q in Å⁻¹."""
    half = np.einsum("...i,kkij,...j->...k", vectors, covariance[0], vectors) / 2
    return factors * np.exp(1j * vectors @ crystal.cartesian_positions.T - half)


@dataclass(frozen=True, eq=False)
class StarNoise:
    """Covariance of the log intensities of one star, times M, less its one-phonon part.

    It is the mean over the orbits of Q and Q' of |X|² - |X₁|²: a sum over the images of Q' that have the k
    of Q, each weighted by how often it occurs among the voxels of both orbits.

    Attributes:
        amplitudes: X for the points of the star.
        vectors: (n, g, 3) their images with the same k, Å⁻¹.
        waves: (n, g, n_atoms) f_κ exp(iQ·τ_κ - W_κ) there.
        shares: (n, n_ops) of the voxels of each orbit.
        image_shares: (n, g, n_ops) the same, in the order of the voxels seen from each image.
        intensity: (n,) per primitive cell.
    """

    amplitudes: StarAmplitudes
    vectors: np.ndarray
    waves: np.ndarray
    shares: np.ndarray
    image_shares: np.ndarray
    intensity: np.ndarray

    def diagonal(self) -> Float[np.ndarray, " n"]:
        """Variances."""
        weight = np.einsum("nv,ngv->ng", self.shares, self.image_shares)
        return self._summed(self.vectors, self.waves, weight) / self.intensity**2

    def column(self, point: int) -> Float[np.ndarray, " n"]:
        """Covariances with one point of the star."""
        one = slice(point, point + 1)
        weight = self.shares @ self.image_shares[point].T
        total = self._summed(self.vectors[one], self.waves[one], weight)
        return total / (self.intensity * self.intensity[point])

    def _summed(self, vectors: np.ndarray, waves: np.ndarray, weight: np.ndarray) -> np.ndarray:
        x, one_phonon = self.amplitudes.covariance(vectors, waves)
        return 2 * (weight * (np.abs(x) ** 2 - np.abs(one_phonon) ** 2)).sum(axis=1)

    def factor(self, negligible: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n rank"]:
        """L with L Lᵀ equal to the covariance but for variances that are at most negligible.

        Pivoted Cholesky: the noise is so smooth over the points that a few columns are all of it.
        """
        rest = self.diagonal()
        columns: list[np.ndarray] = []
        while (rest > negligible).any() and len(columns) < len(rest):
            pivot = int((rest / negligible).argmax())
            column = self.column(pivot) - sum(c * c[pivot] for c in columns)
            columns.append(column / np.sqrt(rest[pivot]))
            rest = rest - columns[-1] ** 2
        return np.stack(columns, axis=1) if columns else np.zeros((len(rest), 0))


def star_noise(
    supercell: Supercell,
    covariance: Float[np.ndarray, "n_cells n_atoms n_atoms 3 3"],
    star: Star,
    factors: Float[np.ndarray, "n_q n_atoms"],
    intensity: Float[np.ndarray, " n_q"],
) -> StarNoise:
    """Noise of one star.

    Args:
        supercell: the periodic supercell.
        covariance: C_κκ'(R), Å².
        star: from :func:`find_stars`.
        factors: f_κ at every irreducible point.
        intensity: per primitive cell, at every irreducible point.
    """
    crystal, rotations = supercell.crystal, supercell.crystal.laue_group
    images = np.einsum("qi,oij->qoj", star.moved, rotations)
    little_group = np.flatnonzero(supercell.k_index(images[0]) == star.k_index)
    vectors = crystal.scattering_vectors(images[:, little_group])
    f = factors[star.points]
    waves = damped_waves(crystal, covariance, vectors, f[:, None])
    first = crystal.scattering_vectors(star.moved)
    amplitudes = star_amplitudes(
        supercell, covariance, star.k_index, first, damped_waves(crystal, covariance, first, f)
    )
    seen = star.shares[:, products(rotations)[little_group]]
    return StarNoise(amplitudes, vectors, waves, star.shares, seen, intensity[star.points])
