"""Blocks of ensemble noise, against double sums over atoms and voxels."""

from functools import cache

import numpy as np
import pytest

from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.fluctuations import (
    Star,
    StarNoise,
    damped_waves,
    find_stars,
    orbit_shares,
    products,
    star_amplitudes,
    star_noise,
)
from bayestds.scattering.grid import Mask
from tests.crystals import commensurate_points, make_crystal
from tests.ensembles import Crystal, vibrating

CASES = {
    "fcc": ("fcc", 2, 7, 2000.0, None, None),
    "wedge": ("fcc", 2, 7, 2000.0, None, Mask(wedge=25.0)),
    "zincblende": ("zincblende", 1, 5, 1500.0, (1.0, 2.0), None),
    "hcp": ("hcp", 2, 5, 1000.0, None, Mask(plane=(1, 0, 0))),
}


@cache
def case(name: str) -> Crystal:
    return vibrating(*CASES[name])


def real_space(crystal: Crystal) -> np.ndarray:
    harmonic = harmonic_crystal(crystal.irreducible, crystal.supercell, crystal.temperature)
    return np.asarray(covariance(harmonic, crystal.truth))


def dense_amplitudes(
    crystal: Crystal, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """X (n, m) and its one-phonon part for scattering vectors (n, 3) and (m, 3), as sums over all atoms."""
    n = crystal.atoms.n_atoms
    blocks = crystal.covariance.reshape(n, 3, n, 3)
    factors = crystal.factors[crystal.atoms.kinds]
    half = [np.einsum("qa,iaib,qb->qi", q, blocks, q) / 2 for q in (first, second)]
    left, right = (
        factors * np.exp(1j * q @ crystal.atoms.positions.T - w)
        for q, w in zip((first, second), half, strict=True)
    )
    exponent = np.einsum("qa,iajb,pb->qpij", first, blocks, second, optimize=True)
    total = np.einsum("qi,qpij,pj->qp", left, np.expm1(exponent), right.conj(), optimize=True)
    one = np.einsum("qi,qpij,pj->qp", left, exponent, right.conj(), optimize=True)
    return total / crystal.supercell.n_cells, one / crystal.supercell.n_cells


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp"])
def test_amplitude_covariance_is_the_double_sum_over_atoms(name):
    crystal = case(name)
    supercell, lattice = crystal.supercell, crystal.supercell.crystal
    q_points = commensurate_points(supercell, 1, 8.0)
    bragg = np.random.default_rng(0).integers(-2, 3, (6, 3)) @ lattice.conventional_matrix.T
    points = q_points + np.concatenate([np.zeros((1, 3)), bragg])
    vectors, c = lattice.scattering_vectors(points), real_space(crystal)
    waves = damped_waves(lattice, c, vectors, crystal.factors)
    k_index = int(supercell.k_index(points)[0])
    amplitudes = star_amplitudes(supercell, c, k_index, vectors, waves)
    found = amplitudes.covariance(vectors[None], waves[None])
    for part, expected in zip(found, dense_amplitudes(crystal, vectors, vectors), strict=True):
        # The series leaves out less than 6e-5 of an incoherent atom's intensity for each of the far pairs.
        assert part == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


def test_point_of_a_star_has_the_wave_vector_of_the_star():
    crystal = case("wedge")
    lattice = crystal.supercell.crystal
    for star in stars(crystal):
        assert (crystal.supercell.k_index(star.moved) == star.k_index).all()
        length = np.linalg.norm(lattice.scattering_vectors(star.moved), axis=1)
        original = lattice.scattering_vectors(crystal.grid.q_points[star.points])
        assert length == pytest.approx(np.linalg.norm(original, axis=1), rel=1e-9)


def test_products_are_those_of_the_group():
    rotations = make_crystal("hcp").laue_group
    table = products(rotations)
    for i, j in np.random.default_rng(0).integers(0, len(rotations), (20, 2)):
        assert (rotations[table[i, j]] == rotations[i] @ rotations[j]).all()


def test_complete_orbits_have_equal_shares():
    crystal = case("fcc")
    shares = orbit_shares(crystal.grid, crystal.supercell.crystal.laue_group)
    assert shares == pytest.approx(1 / shares.shape[1], rel=1e-12)


def stars(crystal: Crystal) -> list[Star]:
    shares = orbit_shares(crystal.grid, crystal.supercell.crystal.laue_group)
    return find_stars(crystal.supercell, crystal.grid.q_points, shares)


def noise_of(crystal: Crystal, star: Star) -> StarNoise:
    n_q = len(crystal.grid.q_points)
    factors = np.broadcast_to(crystal.factors, (n_q, len(crystal.factors)))
    return star_noise(crystal.supercell, real_space(crystal), star, factors, np.ones(n_q))


def voxels_of(crystal: Crystal, point: int) -> np.ndarray:
    """All voxels of a point (n, 3), r.l.u."""
    index = np.argwhere(crystal.grid.point_of_voxel == point)
    return crystal.grid.axes.at(tuple(index.T))


def dense_noise(crystal: Crystal, points: list[int]) -> np.ndarray:
    """Mean over all pairs of voxels of |X|² - |X₁|² where Q' ≡ Q, and the same where Q' ≡ -Q."""
    lattice, supercell = crystal.supercell.crystal, crystal.supercell
    voxels = [voxels_of(crystal, point) for point in points]
    expected = np.zeros((len(points), len(points)))
    for i, first in enumerate(voxels):
        for j, second in enumerate(voxels):
            for sign in (1, -1):
                total, one = dense_amplitudes(
                    crystal, lattice.scattering_vectors(first), lattice.scattering_vectors(sign * second)
                )
                same = supercell.k_index(first)[:, None] == supercell.k_index(sign * second)
                expected[i, j] += (same * (np.abs(total) ** 2 - np.abs(one) ** 2)).mean()
    return expected


@pytest.mark.parametrize("name", ["wedge", "zincblende", "hcp"])
def test_noise_of_averaged_voxels_is_the_mean_over_their_pairs(name):
    crystal = case(name)
    star = max(stars(crystal), key=lambda s: len(s.points))
    noise = noise_of(crystal, star)
    length = np.linalg.norm(crystal.supercell.crystal.scattering_vectors(star.moved), axis=1)
    # Points with few voxels, or the double sum takes minutes.
    cost = crystal.grid.multiplicity[star.points] + 1e-3 * length
    chosen = np.argsort(cost, kind="stable")[:3]
    columns = np.stack([noise.column(int(i)) for i in chosen], axis=1)[chosen]
    expected = dense_noise(crystal, star.points[chosen].tolist())
    assert columns == pytest.approx(expected, rel=2e-3, abs=1e-4 * expected.max())
    assert noise.diagonal()[chosen] == pytest.approx(columns.diagonal(), rel=1e-9)


def test_factor_leaves_out_what_is_negligible():
    noise = noise_of(case("fcc"), max(stars(case("fcc")), key=lambda s: len(s.points)))
    n = len(noise.intensity)
    full = np.stack([noise.column(i) for i in range(n)], axis=1)
    assert np.abs(full - full.T).max() < 1e-12 * full.max()
    negligible = 0.02 * full.diagonal()
    rest = full - (factor := noise.factor(negligible)) @ factor.T
    assert factor.shape[1] < n
    assert (rest.diagonal() < negligible + 1e-12).all()
    assert np.linalg.eigvalsh(rest).min() > -1e-9 * full.max()
