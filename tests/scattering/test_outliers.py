"""Outliers among equivalent voxels: found where they are, and no bias where there are none."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm, poisson

from bayestds.crystal.supercell import Supercell
from bayestds.scattering import outliers
from bayestds.scattering.averaging import average
from bayestds.scattering.grid import Mask, reduce_grid, voxel_mask
from bayestds.scattering.outliers import outlying
from bayestds.scattering.volume import make_volume
from bayestds.scattering.voxels import Voxels
from tests.scattering.test_grid import axis, supercell_of

LIMIT = 6.0
EXPOSURE = 2.0


@pytest.fixture(scope="module")
def cubic() -> Supercell:
    return supercell_of("fcc", 5, 5, 5)


@pytest.fixture(scope="module")
def truth(cubic) -> xr.DataArray:
    """A symmetric intensity of mean 1 that varies by a factor of ten, on 68,921 voxels."""
    axes = (axis(4, 5),) * 3
    h, k, l_ = np.meshgrid(*axes, indexing="ij")
    intensity = np.exp(-(h**2 + k**2 + l_**2) / 20)
    return make_volume(*axes, intensity / intensity.mean())["intensity"]


def volume_of(truth: xr.DataArray, kind: str, mean: float, seed: int = 0) -> xr.Dataset:
    """Poisson counts of a mean: as counts, as standard errors √counts, or as intensities alone."""
    counts = np.random.default_rng(seed).poisson(mean * truth.values).astype(float)
    axes = [truth[name].values for name in "hkl"]
    if kind == "counts":
        return make_volume(*axes, counts / EXPOSURE, counts=counts)
    counts = np.maximum(counts, 1)
    sigma = np.sqrt(counts) / EXPOSURE if kind == "sigma" else None
    return make_volume(*axes, counts / EXPOSURE, sigma=sigma)


def voxels_of(point: np.ndarray, intensity: np.ndarray, **more: np.ndarray) -> Voxels:
    """Voxels, one after the other."""
    return Voxels(point, np.arange(len(point)), intensity, **more)


def heated(volume: xr.Dataset, share: float, factor: float) -> tuple[xr.Dataset, np.ndarray]:
    """The volume with some voxels times a factor, counts and their errors included; and which they are."""
    hot = np.random.default_rng(9).uniform(size=volume["intensity"].shape) < share
    powers = {"intensity": 1.0, "counts": 1.0, "sigma": 0.5}
    changed = {
        key: volume[key] * np.where(hot, factor**power, 1) for key, power in powers.items() if key in volume
    }
    return volume.assign(changed), hot


KINDS = ["counts", "sigma", "neither"]


# Means of 3 are down to 0.6 at the edge; where nothing says that these are counts, 4 is too tight.
CLEAN = [
    (kind, mean, limit)
    for kind in KINDS
    for mean in (3, 30, 3000)
    for limit in (4.0, LIMIT)
    if (kind, mean, limit) != ("neither", 3, 4.0)
]


@pytest.mark.parametrize(("kind", "mean", "limit"), CLEAN)
def test_rejection_does_not_bias_clean_counts(truth, cubic, kind, mean, limit):
    """Over all points, less than a tenth of the standard error of their sum."""
    volume = volume_of(truth, kind, mean)
    used = voxel_mask(volume, cubic, Mask())
    grid = average(volume, cubic, Mask(outliers=limit)).grid
    kept = grid.point_of_voxel >= 0
    assert grid.n_rejected == used.sum() - kept.sum()
    intensity, expected = volume["intensity"].values, truth.values * mean / EXPOSURE
    shift = (intensity[kept] / expected[kept]).mean() - (intensity[used] / expected[used]).mean()
    error = np.sqrt((1 / (expected[used] * EXPOSURE)).sum()) / used.sum()
    assert abs(shift) < 0.1 * error


@pytest.mark.parametrize("mean", [3, 30, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_all_hot_voxels_are_found_and_no_others(truth, cubic, kind, mean):
    clean = volume_of(truth, kind, mean)
    volume, hot = heated(clean, 1e-3, 100)
    used = voxel_mask(volume, cubic, Mask())
    orbit = reduce_grid(volume, cubic, used)
    changed = used & hot & (clean["intensity"].values > 0)
    assert changed.sum() > 50
    assert (orbit.multiplicity >= 3).all()
    observed = average(volume, cubic, Mask(outliers=LIMIT))
    rejected = used & (observed.grid.point_of_voxel < 0)
    np.testing.assert_array_equal(rejected, changed)
    assert observed.grid.n_rejected == changed.sum()
    # The grid is that of a volume in which they were never measured.
    without = average(volume.assign(intensity=volume["intensity"].where(~changed)), cubic)
    np.testing.assert_array_equal(observed.grid.q_points, without.grid.q_points)
    np.testing.assert_array_equal(observed.grid.point_of_voxel, without.grid.point_of_voxel)
    np.testing.assert_array_equal(observed.grid.multiplicity, without.grid.multiplicity)
    np.testing.assert_allclose(observed.log_intensity, without.log_intensity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_voxels_are_found(truth, cubic, kind):
    volume, dead = heated(volume_of(truth, kind, 3000), 1e-3, 1e-3)
    used = voxel_mask(volume, cubic, Mask())
    found = average(volume, cubic, Mask(outliers=LIMIT)).grid.point_of_voxel < 0
    np.testing.assert_array_equal(found & used, dead & used)


def test_nothing_is_rejected_unless_asked_for(truth, cubic):
    volume, _ = heated(volume_of(truth, "counts", 30), 1e-3, 100)
    observed = average(volume, cubic)
    assert observed.grid.n_rejected == 0
    assert observed.grid.multiplicity.sum() == voxel_mask(volume, cubic, Mask()).sum()


@pytest.mark.parametrize("kind", ["sigma", "neither"])
def test_volumes_without_noise_lose_nothing(truth, cubic, kind):
    """Equivalents that agree to the rounding of single precision are not outliers of one another."""
    sigma = 1e-3 * truth.values if kind == "sigma" else None
    single = truth.values.astype(np.float32) * (1 + 1e-7 * (np.indices(truth.shape).sum(axis=0) % 2))
    volume = make_volume(*[truth[name].values for name in "hkl"], single, sigma=sigma)
    assert average(volume, cubic, Mask(outliers=LIMIT)).grid.n_rejected == 0


@pytest.mark.parametrize("kind", KINDS)
def test_equivalents_that_disagree_everywhere_are_not_outliers(truth, cubic, kind):
    """Absorption and the like: 5 % from voxel to voxel where counts promise 0.6 %."""
    volume = volume_of(truth, kind, 30_000)
    uneven = np.exp(0.05 * np.random.default_rng(4).normal(size=truth.shape))
    keys = [key for key in ("intensity", "sigma", "counts") if key in volume]
    volume = volume.assign({key: volume[key] * uneven for key in keys})
    assert average(volume, cubic, Mask(outliers=LIMIT)).grid.n_rejected == 0
    volume, hot = heated(volume, 1e-3, 3)
    used = voxel_mask(volume, cubic, Mask())
    assert average(volume, cubic, Mask(outliers=LIMIT)).grid.n_rejected == (hot & used).sum()


def test_bounds_of_a_mean_by_its_median():
    means = np.linspace(1e-3, 50, 20_000)
    above = means - poisson.median(means)
    assert -1 / 3 == -outliers.MEAN_BELOW_MEDIAN < above.min() < -0.3
    assert 0.69 < above.max() <= outliers.MEAN_ABOVE_MEDIAN


@pytest.mark.parametrize("expected", [1, 3, 30, 3000])
@pytest.mark.parametrize("above", [True, False])
def test_deviations_of_counts_are_those_of_the_poisson_tail(expected, above):
    """In an orbit so large that its median is known: the first count that goes is that of the normal tail."""
    counts = np.arange(expected, 3 * expected + 60) if above else np.arange(expected + 1)
    mean = expected + np.log(2) if above else expected - 1 / 3
    tail = poisson.logsf(counts - 1, mean) if above else poisson.logcdf(counts, mean)
    for limit in (3.0, 4.0, 6.0):
        others = np.full(200_000, float(expected))
        n = len(counts)
        point = np.zeros(len(others) + n, dtype=int)
        values = np.concatenate([counts, others])
        voxels = voxels_of(point, values, counts=values, exposure=np.ones(len(values)))
        rejected = outlying(voxels, limit)[:n]
        # Within 4 % of the number of standard deviations.
        assert rejected[tail < norm.logcdf(-1.04 * limit)].all()
        assert not rejected[tail > norm.logcdf(-0.99 * limit)].any()


def test_two_equivalents_cannot_be_judged():
    point = np.repeat(np.arange(20), 2)
    intensity = np.ones(40)
    intensity[7] = 1000.0
    assert not outlying(voxels_of(point, intensity, sigma=np.full(40, 0.1)), LIMIT).any()
    more = np.append(intensity, np.ones(20))
    three = voxels_of(np.repeat(np.arange(20), 3), more, sigma=np.full(60, 0.1))
    np.testing.assert_array_equal(np.flatnonzero(outlying(three, LIMIT)), [7])


def test_an_orbit_torn_in_two_is_left_alone():
    """Two bright and two faint voxels: nobody knows which are wrong, and the median is none of them."""
    point = np.repeat(np.arange(20), 4)
    intensity = np.ones(80)
    intensity[4:6] = 1000.0
    assert not outlying(voxels_of(point, intensity, sigma=np.full(80, 0.1)), LIMIT).any()


def test_different_exposures_are_allowed_for():
    """A voxel counted a hundred times longer has a hundred times the counts."""
    rng = np.random.default_rng(5)
    point = np.repeat(np.arange(5000), 8)
    exposure = rng.choice([0.03, 0.3, 3.0, 30.0], len(point))
    counts = rng.poisson(exposure).astype(float)
    voxels = voxels_of(point, counts / exposure, counts=counts, exposure=exposure)
    assert not outlying(voxels, LIMIT).any()
    hot = rng.uniform(size=len(point)) < 1e-3
    counts = counts + hot * (40 + 20 * exposure)
    voxels = voxels_of(point, counts / exposure, counts=counts, exposure=exposure)
    np.testing.assert_array_equal(outlying(voxels, LIMIT), hot)


def test_scatter_is_that_of_the_noise_in_orbits_of_any_size():
    """Deviations from the median of three would be half the noise."""
    rng = np.random.default_rng(6)
    for size in (2, 3, 4, 5, 48):
        point = np.repeat(np.arange(48_000 // size), size)
        noise = rng.normal(1.0, 0.1, len(point))
        found = outliers._scatter(voxels_of(point, noise), np.full(len(point), 1.0))
        assert found == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_transmission_is_divided_out(truth, cubic, kind):
    """Attenuated voxels with their transmission give the means of a volume that was counted so long."""
    transmission = np.random.default_rng(7).uniform(0.2, 1, truth.shape)
    attenuated = volume_of(truth * transmission, kind, 300)
    found = average(attenuated.assign(transmission=truth.copy(data=transmission)), cubic)
    intensity = attenuated["intensity"].values / transmission
    point = found.grid.point_of_voxel
    for number in range(0, len(found.log_intensity), 50):
        mine = point == number
        if kind == "counts":
            counts = attenuated["counts"].values[mine]
            expected = counts.sum() / (EXPOSURE * transmission[mine].sum())
            assert found.counts.number[number] == counts.sum()
            np.testing.assert_allclose(found.counts.exposure[number], EXPOSURE * transmission[mine].sum())
        elif kind == "neither":
            expected = intensity[mine].mean()
        else:
            continue
        np.testing.assert_allclose(found.log_intensity[number], np.log(expected), rtol=0, atol=1e-12)
    used = point >= 0
    pull = found.log_intensity[point[used]] - np.log(300 / EXPOSURE * truth.values[used])
    assert np.sqrt((pull**2).mean()) < 0.05
    if kind == "sigma":
        scaled = attenuated.assign(
            intensity=attenuated["intensity"] / transmission, sigma=attenuated["sigma"] / transmission
        )
        same = average(scaled, cubic)
        np.testing.assert_array_equal(found.log_intensity, same.log_intensity)
        np.testing.assert_array_equal(found.errors.constant, same.errors.constant)
        np.testing.assert_array_equal(found.errors.slope, same.errors.slope)


def test_empty_voxels_keep_their_exposure_under_a_transmission(truth, cubic):
    """Zero counts behind an absorber say less than in the open; the normalisation is that of all voxels."""
    transmission = np.random.default_rng(8).uniform(0.2, 1, truth.shape)
    attenuated = volume_of(truth * transmission, "counts", 2)
    assert (attenuated["counts"] == 0).sum() > 1000
    observed = average(attenuated.assign(transmission=truth.copy(data=transmission)), cubic)
    used = observed.grid.point_of_voxel >= 0
    rate = observed.intensity * EXPOSURE / 2
    expected = np.bincount(observed.grid.point_of_voxel[used], (truth.values * transmission)[used])
    weight = np.bincount(observed.grid.point_of_voxel[used], transmission[used])
    pull = (rate * weight / expected - 1) * np.sqrt(np.maximum(observed.counts.number, 1))
    assert abs(pull.mean()) < 0.15
    assert np.sqrt((pull**2).mean()) == pytest.approx(1, abs=0.1)
