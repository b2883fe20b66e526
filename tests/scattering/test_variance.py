"""The law that standard errors follow: found from equivalents, and means that it leaves unbiased."""

import numpy as np
import pytest

from bayestds.scattering.variance import VarianceLaw, variance_law
from bayestds.scattering.voxels import Voxels

N_ORBITS, MULTIPLICITY = 800, 24


def voxels_of(
    counts: np.ndarray, exposure: np.ndarray, background: float, sigma: np.ndarray | None = None
) -> Voxels:
    """Counts over their exposure less a background, with the errors that counts have."""
    point = np.repeat(np.arange(N_ORBITS), MULTIPLICITY)
    intensity = (counts / exposure - background).ravel()
    errors = np.sqrt(np.maximum(counts, 1)) / exposure if sigma is None else sigma
    return Voxels(point, np.arange(point.size), intensity, errors.ravel())


def counted(signal: float, background: float, uneven: bool, seed: int = 0) -> tuple[Voxels, np.ndarray]:
    """Voxels of a signal that varies tenfold between orbits, and its true value in each orbit."""
    rng = np.random.default_rng(seed)
    true = signal * np.exp(rng.uniform(-1.15, 1.15, N_ORBITS))
    exposure = (
        rng.uniform(0.4, 2.5, (N_ORBITS, MULTIPLICITY)) if uneven else np.ones((N_ORBITS, MULTIPLICITY))
    )
    counts = rng.poisson((true[:, None] + background) * exposure)
    return voxels_of(counts.astype(float), exposure, background), true


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize(("signal", "background"), [(50.0, 0.0), (5.0, 20.0), (50.0, 20.0), (5.0, 200.0)])
def test_share_of_counts_is_that_of_the_signal(signal, background, uneven):
    """σ² = (I + g)/e is [(1 - s) t + s I]/e with s = t/(t + g), however long each voxel was measured."""
    voxels, _ = counted(signal, background, uneven)
    law = variance_law(voxels)
    assert law.share == pytest.approx(law.typical / (law.typical + background), abs=0.06)


@pytest.mark.parametrize("uneven", [False, True])
def test_errors_of_another_origin_do_not_follow_the_intensity(uneven):
    rng = np.random.default_rng(1)
    true = 50 * np.exp(rng.uniform(-1.15, 1.15, (N_ORBITS, 1)))
    sigma = 0.1 * true * (rng.uniform(0.5, 2, (N_ORBITS, MULTIPLICITY)) if uneven else np.ones(MULTIPLICITY))
    values = true + sigma * rng.normal(size=sigma.shape)
    assert variance_law(voxels_of(values, np.ones(sigma.shape), 0.0, sigma)).share < 0.05


def test_outliers_do_not_change_the_law():
    voxels, _ = counted(5.0, 20.0, uneven=False)
    clean = variance_law(voxels)
    voxels.intensity[::997] += 1e4
    assert variance_law(voxels).share == pytest.approx(
        clean.share * variance_law(voxels).typical / clean.typical, rel=0.3
    )


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize(("signal", "background"), [(20.0, 0.0), (3.0, 0.0), (5.0, 20.0)])
def test_means_are_not_biased(signal, background, uneven):
    """Naive weights 1/σ² lose 5 to 20 percent of these."""
    found, naive, true = [], [], []
    for seed in range(5):
        voxels, expected = counted(signal, background, uneven, seed)
        law = variance_law(voxels)
        for weight, means in (
            (law.exposure(voxels.intensity, voxels.sigma), found),
            (voxels.sigma**-2, naive),
        ):
            sums = np.bincount(voxels.point, weight * voxels.intensity)
            means.append(sums / np.bincount(voxels.point, weight))
        true.append(expected)
    bias, lost = ((np.mean(means) - np.mean(true)) / np.mean(true) for means in (found, naive))
    error = np.sqrt((signal + background) * 1.3 / (5 * N_ORBITS * MULTIPLICITY)) / signal
    assert abs(bias) < 4 * error + 0.002
    assert lost < -0.025


def test_variance_of_a_mean_is_the_line_of_the_law():
    rng = np.random.default_rng(2)
    law, exposure = VarianceLaw(0.2, 5.0), rng.uniform(1, 3, 30)
    constant, slope = law.line(exposure)
    for intensity in (-3.0, 0.0, 40.0):
        np.testing.assert_allclose(constant + slope * intensity, (0.8 * 5 + 0.2 * intensity) / exposure)
    sigma = np.sqrt(law.numerator(np.full(30, 7.0)) / exposure)
    np.testing.assert_allclose(law.exposure(np.full(30, 7.0), sigma), exposure)


def test_without_equivalents_an_exact_line_is_the_law():
    rng = np.random.default_rng(3)
    counts = rng.poisson(30, 500).astype(float)
    alone = np.arange(500)
    intensity = counts / 4 - 5
    exact = variance_law(Voxels(alone, alone, intensity, np.sqrt(counts) / 4))
    np.testing.assert_allclose(exact.exposure(intensity, np.sqrt(counts) / 4) * (exact.share**-1), 4.0)
    rough = variance_law(Voxels(alone, alone, intensity, np.sqrt(counts) / 4 * rng.uniform(0.9, 1.1, 500)))
    assert rough.share == 0


@pytest.mark.parametrize("mean", [0.7, 0.9, 1.0, 1.2, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_counts_of_equal_exposure_are_counts(mean, seed):
    """All weights are then equal, and nothing but rounding speaks against it."""
    rng = np.random.default_rng(seed)
    true = mean * np.exp(rng.uniform(-1.15, 1.15, N_ORBITS))
    counts = rng.poisson(np.repeat(true[:, None], MULTIPLICITY, axis=1)).astype(float)
    exposure = np.full(counts.shape, 7.3**2)
    law = variance_law(voxels_of(counts, exposure, 0.0))
    assert law.share == 1.0
