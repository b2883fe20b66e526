"""Zeros that are no measurements, zeros that are, and zeros of which nobody can say."""

import numpy as np
import pytest
import xarray as xr

from bayestds.errors import VolumeError
from bayestds.scattering.averaging import average
from bayestds.scattering.volume import make_volume
from tests.scattering.test_grid import supercell_of

N = 13
AXIS = np.linspace(-1.5, 1.5, N)


@pytest.fixture(scope="module")
def supercell():
    return supercell_of("cscl", 4, 4, 4)


def smooth(scale=100.0):
    """An intensity that is never zero and the same at all equivalents, of a range of 30."""
    q = np.stack(np.meshgrid(AXIS, AXIS, AXIS, indexing="ij"), axis=-1)
    return scale * (1 + 0.9 * np.cos(2 * np.pi * q).mean(axis=-1)) * np.exp(-0.5 * (q**2).sum(axis=-1))


def volume_of(intensity, **companions) -> xr.Dataset:
    return make_volume(AXIS, AXIS, AXIS, intensity, **companions)


def noisy(seed=1):
    rng = np.random.default_rng(seed)
    return smooth() * (1 + 0.05 * rng.normal(size=(N, N, N)))


def used(volume, supercell, **options):
    found = average(volume, supercell, **options)
    return int(found.grid.multiplicity.sum()), found.zeros


def n_used_without(volume, supercell, zero):
    return used(volume.assign(intensity=volume["intensity"].where(~zero)), supercell)[0]


def octant():
    zero = np.zeros((N, N, N), dtype=bool)
    zero[:6, :6, :6] = True
    return zero


def shell():
    """Beyond the edge of a detector: no equivalent was measured."""
    q = np.stack(np.meshgrid(AXIS, AXIS, AXIS, indexing="ij"), axis=-1)
    return np.linalg.norm(q, axis=-1) > 1.6


def dead_pixels():
    zero = np.zeros((N, N, N), dtype=bool)
    zero.flat[np.random.default_rng(4).choice(N**3, 20, replace=False)] = True
    return zero


REGIONS = [(octant(), "contradicted"), (shell(), "blocks"), (dead_pixels(), "contradicted")]


@pytest.mark.parametrize(("zero", "kind"), REGIONS)
@pytest.mark.parametrize("with_sigma", [False, True])
def test_zeros_that_cannot_be_measured_are_left_out(supercell, zero, kind, with_sigma):
    intensity = np.where(zero, 0.0, noisy())
    companions = {"sigma": np.where(zero, 0.0, 0.05 * smooth())} if with_sigma else {}
    volume = volume_of(intensity, **companions)
    n_used, zeros = used(volume, supercell)
    assert n_used == n_used_without(volume, supercell, zero)
    # Some lie on Bragg peaks, which are not used in any case.
    assert 0.9 * zero.sum() < getattr(zeros, kind) <= zero.sum()


@pytest.mark.parametrize("counts", [0.05, 0.3, 1.0, 3.0, 10.0])
def test_zeros_among_few_counts_need_a_word(supercell, counts):
    """Normalised photon counts: a program that left their zeros out would find far too high means."""
    rng = np.random.default_rng(7)
    expected = smooth()
    quantum = expected.mean() / counts
    volume = volume_of(rng.poisson(expected / quantum) * quantum)
    with pytest.raises(VolumeError, match="exactly zero may be measured or not") as caught:
        average(volume, supercell)
    assert 'zeros = "measured"' in caught.value.fix


@pytest.mark.parametrize("counts", [0.3, 1.0])
def test_normalisations_that_differ_do_not_hide_counts(supercell, counts):
    rng = np.random.default_rng(8)
    quantum = smooth().mean() / counts * rng.uniform(0.7, 1.3, (N, N, N))
    volume = volume_of(rng.poisson(smooth() / quantum) * quantum)
    with pytest.raises(VolumeError, match="may be measured or not"):
        average(volume, supercell)


def test_stated_zeros_are_used_or_not(supercell):
    rng = np.random.default_rng(9)
    expected = smooth()
    quantum = expected.mean() / 8
    volume = volume_of(rng.poisson(expected / quantum) * quantum)
    n_zero = int((volume["intensity"] == 0).sum())
    everything, zeros = used(volume, supercell, zeros="measured")
    assert zeros.stated == "measured"
    left, _ = used(volume, supercell, zeros="unmeasured")
    assert everything - left == zeros.n_stated
    assert 0.95 * n_zero < zeros.n_stated <= n_zero
    measured = average(volume, supercell, zeros="measured")
    truth = average(volume_of(expected), supercell)
    weight = measured.grid.multiplicity
    mean = (weight * measured.intensity).sum() / weight.sum()
    assert mean == pytest.approx((weight * truth.intensity).sum() / weight.sum(), rel=0.03)


def test_zero_counts_without_an_error_have_that_of_one(supercell):
    """Programs take the root of the counts: an error of 0 where there was none. None may be left out."""
    rng = np.random.default_rng(10)
    expected = smooth()
    quantum = expected.mean() / 2
    counts = rng.poisson(expected / quantum)
    volume = volume_of(counts * quantum, sigma=np.sqrt(counts) * quantum)
    with pytest.raises(VolumeError, match="may be measured or not"):
        average(volume, supercell)
    found = average(volume, supercell, zeros="measured")
    truth = average(volume_of(expected), supercell)
    pull = (found.intensity - truth.intensity) / np.sqrt(
        found.errors.constant + found.errors.slope * truth.intensity
    )
    assert abs(pull.mean()) < 3 / np.sqrt(len(pull))
    assert 0.7 < pull.std() < 1.3


def test_zeros_with_an_error_or_counts_are_data(supercell):
    intensity = noisy()
    intensity[3, 4, 5] = 0.0
    everything = int(np.isfinite(intensity).sum())
    n_bragg = everything - used(volume_of(noisy()), supercell)[0]
    assert used(volume_of(intensity, sigma=0.05 * smooth()), supercell)[0] == everything - n_bragg
    counts = np.rint(smooth())
    counts[3, 4, 5] = 0
    assert used(volume_of(counts, counts=counts), supercell)[0] == everything - n_bragg


@pytest.mark.parametrize("stated", ["measured", "unmeasured"])
def test_a_statement_is_on_doubtful_zeros_only(supercell, stated):
    """Counts of a detector with a gap: a word on the counts does not make the gap measured."""
    rng = np.random.default_rng(11)
    expected = smooth()
    quantum = expected.mean() / 100
    counts = rng.poisson(expected / quantum)
    counts[-1, -1, -1] = 0  # three counts are expected
    gap = octant()
    volume = volume_of(np.where(gap, 0, counts * quantum))
    _, zeros = used(volume, supercell, zeros=stated)
    assert zeros.contradicted + zeros.blocks > 0.9 * gap.sum()
    assert 0 < zeros.n_stated < 0.1 * gap.sum()
