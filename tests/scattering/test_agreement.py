"""Agreement of equivalent voxels, copies among them, and operations that disagree."""

import numpy as np
import pytest
import xarray as xr

from bayestds.crystal.supercell import Supercell
from bayestds.scattering.agreement import operation_name
from bayestds.scattering.averaging import Observations, average
from bayestds.scattering.volume import make_volume
from tests.scattering.test_grid import axis, supercell_of

NOISE = 0.05


@pytest.fixture(scope="module")
def cubic() -> Supercell:
    return supercell_of("fcc", 4, 4, 4)


@pytest.fixture(scope="module")
def truth(cubic) -> xr.DataArray:
    axes = (axis(3, 4),) * 3
    h, k, l_ = np.meshgrid(*axes, indexing="ij")
    return make_volume(*axes, np.exp(-(h**2 + k**2 + l_**2) / 12))["intensity"]


def noisy(
    truth: xr.DataArray, seed: int = 0, factor: np.ndarray | float = 1.0, given: bool = True
) -> xr.Dataset:
    expected = truth.values * factor
    sigma = NOISE * expected
    intensity = expected + sigma * np.random.default_rng(seed).normal(size=expected.shape)
    axes = [truth[name].values for name in "hkl"]
    return make_volume(*axes, intensity, sigma=sigma if given else None)


def symmetrised(volume: xr.Dataset, rotations: np.ndarray) -> xr.Dataset:
    """The mean over operations that permute and flip the axes, with the error of the mean."""
    total, square = np.zeros(volume["intensity"].shape), np.zeros(volume["intensity"].shape)
    distinct = np.zeros(total.shape)
    places = np.arange(total.size).reshape(total.shape)
    seen: list[np.ndarray] = []
    for rotation in rotations:
        order = np.abs(rotation).argmax(axis=0)
        flips = tuple(slice(None, None, int(rotation[i, axis])) for axis, i in enumerate(order))
        moved = [array.transpose(order)[flips] for array in (volume["intensity"].values, places)]
        new = np.ones(total.shape, dtype=bool)
        for other in seen:
            new &= moved[1] != other
        seen.append(moved[1])
        total += np.where(new, moved[0], 0)
        if "sigma" in volume:
            square += np.where(new, volume["sigma"].values.transpose(order)[flips] ** 2, 0)
        distinct += new
    arrays = {"intensity": (("h", "k", "l"), total / distinct)}
    if "sigma" in volume:
        arrays["sigma"] = (("h", "k", "l"), np.sqrt(square) / distinct)
    return volume.assign(arrays)


INVERSION = np.array([np.eye(3), -np.eye(3)]).astype(int)


def laue(cubic: Supercell) -> np.ndarray:
    return np.asarray(cubic.crystal.laue_group)


def test_r_factors_and_chi_square_are_those_of_a_loop(truth, cubic):
    volume = noisy(truth)
    observed = average(volume, cubic)
    point, values, sigma = (
        array.ravel()
        for array in (observed.grid.point_of_voxel, volume["intensity"].values, volume["sigma"].values)
    )
    deviation = size = corrected = squares = freedom = 0.0
    for number in range(len(observed.intensity)):
        members = np.flatnonzero(point == number)
        n = len(members)
        if n < 2:
            continue
        mean = np.average(values[members], weights=sigma[members] ** -2)
        away = np.abs(values[members] - mean)
        deviation, size = deviation + away.sum(), size + np.abs(values[members]).sum()
        corrected += np.sqrt(n / (n - 1)) * away.sum()
        squares, freedom = squares + ((away / sigma[members]) ** 2).sum(), freedom + n - 1
    found = observed.agreement.all_q
    assert found.r_int == pytest.approx(deviation / size, rel=1e-3)
    assert found.r_meas == pytest.approx(corrected / size, rel=1e-3)
    assert found.chi_square == pytest.approx(squares / freedom, rel=1e-2)
    assert found.chi_square == pytest.approx(1, abs=0.05)
    assert sum(one.n_orbits for _, _, one in observed.agreement.by_q) == found.n_orbits


def test_without_errors_there_is_no_chi_square(truth, cubic):
    found = average(noisy(truth, given=False), cubic).agreement
    assert found.all_q.chi_square is None
    assert found.all_q.r_meas == pytest.approx(NOISE * np.sqrt(2 / np.pi), rel=0.1)
    # One voxel's relative noise, from the scatter of its equivalents.
    assert np.sqrt(found.relative_variance.mean()) == pytest.approx(NOISE, rel=0.05)


@pytest.mark.parametrize("given", [True, False])
def test_operations_agree_where_the_crystal_has_them(truth, cubic, given):
    for seed in range(3):
        assert average(noisy(truth, seed, given=given), cubic).agreement.disagreeing == ()


@pytest.mark.parametrize("seed", [37, 52, 73, 148])
def test_a_few_pairs_that_agree_by_chance_call_no_operation_into_question(truth, cubic, seed):
    """In the plane l = 0 some operations have 10 pairs, which agree by chance as well as no others can."""
    volume = noisy(truth, seed, given=False)
    assert average(volume.where(volume["l"] == 0), cubic).agreement.disagreeing == ()


@pytest.mark.parametrize("given", [True, False])
def test_operations_that_a_twin_lacks_are_named(truth, cubic, given):
    """A tetragonal crystal: only the operations that keep l apart from h and k agree."""
    h = truth["h"].values
    stretched = np.exp(-0.05 * h[None, None, :] ** 2) * np.ones(truth.shape)
    found = average(noisy(truth, 0, stretched, given), cubic).agreement
    assert found.disagreeing
    for operation in found.operations:
        keeps = operation.operation.split(", ")[2] in ("l", "-l")
        assert operation.disagrees != keeps, operation


def test_names_of_operations():
    assert operation_name(np.eye(3)) == "h, k, l"
    assert operation_name(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])) == "k, -h, l"
    assert operation_name(np.array([[1, 0, 0], [1, -1, 0], [0, 0, 1]])) == "h+k, -k, l"


def errors_of(observed: Observations) -> np.ndarray:
    return np.sqrt(observed.errors.constant + observed.errors.slope * observed.intensity)


@pytest.mark.parametrize("group", ["full", "inversion", "mirror"])
def test_errors_of_a_symmetrised_file_are_those_of_the_raw_one(truth, cubic, group):
    operations = {
        "full": laue(cubic),
        "inversion": INVERSION,
        "mirror": np.array([np.eye(3), np.diag([1, 1, -1])]).astype(int),
    }[group]
    raw = noisy(truth)
    observed, before = average(symmetrised(raw, operations), cubic), average(raw, cubic)
    assert len(observed.agreement.copies) == len(operations) - 1
    np.testing.assert_allclose(observed.intensity, before.intensity, rtol=2e-2)
    ratio = errors_of(observed) / errors_of(before)
    assert np.abs(ratio - 1).max() < 0.1
    if group == "full":
        assert observed.independent == pytest.approx(1)
        assert observed.agreement.all_q is None
    else:
        assert observed.agreement.all_q.chi_square == pytest.approx(1, abs=0.1)


def test_copies_of_counts_are_counted_once(truth, cubic):
    counts = np.random.default_rng(0).poisson(1000 * truth.values).astype(float)
    axes = [truth[name].values for name in "hkl"]
    both = counts + counts[::-1, ::-1, ::-1]
    observed = average(make_volume(*axes, both / 2000, counts=both), cubic)
    once = average(make_volume(*axes, counts / 1000, counts=counts), cubic)
    assert observed.agreement.inverted
    # At Q = -Q, which is Γ, and there no voxel is used, a voxel would be added to itself.
    np.testing.assert_allclose(observed.counts.number, once.counts.number, rtol=1e-12)


def test_noise_is_not_taken_for_copies_nor_a_simulation_for_a_symmetrised_file(truth, cubic):
    assert not average(noisy(truth), cubic).agreement.symmetrised
    axes = [truth[name].values for name in "hkl"]
    clean = make_volume(*axes, truth.values, sigma=0.01 * truth.values, noise="none")
    observed = average(clean, cubic)
    assert not observed.agreement.symmetrised
    np.testing.assert_array_equal(observed.independent, observed.grid.multiplicity)


def test_files_in_single_precision_that_were_edited_are_still_symmetrised(truth, cubic):
    volume = symmetrised(noisy(truth), laue(cubic))
    values = volume["intensity"].values.astype(np.float32)
    values[3, 4, 5] *= 1.5
    values[:2] = np.nan
    edited = volume.assign(intensity=(("h", "k", "l"), values.astype(float)))
    assert len(average(edited, cubic).agreement.copies) == len(laue(cubic)) - 1
