"""Masks and Laue averaging of voxel grids, against explicit grouping."""

from itertools import permutations, product

import numpy as np
import pytest
import xarray as xr

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.errors import VolumeError
from bayestds.scattering.averaging import average
from bayestds.scattering.grid import Mask, nearest_bragg, reduce_grid, voxel_mask
from bayestds.scattering.variance import variance_law
from bayestds.scattering.volume import make_volume, volume_axes
from bayestds.scattering.voxels import Voxels
from tests.crystals import make_crystal


def supercell_of(name: str, *repeats: int) -> Supercell:
    return make_supercell(make_crystal(name), np.array(repeats))


def axis(limit: float, denominator: int) -> np.ndarray:
    n = round(limit * denominator)
    return np.arange(-n, n + 1) / denominator


def voxels(axes: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def random_volume(axes: tuple[np.ndarray, ...], seed: int = 0, **more: np.ndarray) -> xr.Dataset:
    shape = tuple(len(a) for a in axes)
    return make_volume(*axes, np.random.default_rng(seed).uniform(1, 2, shape), **more)


SIGNS = [np.diag(signs) for signs in product([1, -1], repeat=3)]
CUBIC = [np.eye(3, dtype=int)[list(order)] @ signs for order in permutations(range(3)) for signs in SIGNS]
MONOCLINIC = [np.diag(signs) for signs in [(1, 1, 1), (-1, -1, -1), (1, -1, 1), (-1, 1, -1)]]


def hexagonal_operations() -> list[np.ndarray]:
    """6/mmm on rows (h, k, l): a* and b* are 60° apart, so a sixth of a turn takes a* to b*."""
    sixfold = np.array([[0, 1, 0], [-1, 1, 0], [0, 0, 1]])
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    turns = [np.linalg.matrix_power(sixfold, n) for n in range(6)]
    return [turn @ mirror @ flip for turn in turns for mirror in (np.eye(3, dtype=int), swap)
            for flip in (np.eye(3, dtype=int), np.diag([1, 1, -1]))]  # fmt: skip


GROUPS = [
    ("fcc", (5, 5, 5), CUBIC, (axis(1.2, 5),) * 3),
    ("hcp", (3, 3, 2), hexagonal_operations(), (axis(1, 3), axis(1, 3), axis(1, 2))),
    ("monoclinic", (2, 3, 2), MONOCLINIC, (axis(1.5, 2), axis(1, 3), axis(1, 2))),
    # A volume that is not symmetric itself: equivalents of many voxels were not measured.
    ("fcc", (5, 5, 5), CUBIC, (axis(1.2, 5), axis(0.8, 5)[2:], axis(1, 5))),
]


def equivalence_classes(q_points: np.ndarray, operations: list[np.ndarray]) -> np.ndarray:
    """Label (n_q,) of each point's class, found by comparing every point with every image."""
    label = np.full(len(q_points), -1)
    for i, q in enumerate(q_points):
        if label[i] < 0:
            images = np.array([q @ operation for operation in operations])
            same = (np.abs(q_points[:, None] - images).max(axis=-1) < 1e-6).any(axis=1)
            label[same] = i
    return label


@pytest.mark.parametrize(("name", "repeats", "operations", "axes"), GROUPS)
def test_mean_over_equivalent_voxels(name, repeats, operations, axes):
    supercell = supercell_of(name, *repeats)
    volume = random_volume(axes)
    used = voxel_mask(volume, supercell, Mask())
    observed = average(volume, supercell)
    label = equivalence_classes(voxels(axes)[used], operations)
    intensity = volume["intensity"].values[used]
    expected = {i: np.log(intensity[label == i].mean()) for i in set(label.tolist())}
    assert len(observed.log_intensity) == len(expected)
    found = observed.log_intensity[observed.grid.point_of_voxel[used]]
    np.testing.assert_allclose(found, [expected[i] for i in label.tolist()], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "repeats", "operations", "axes"), GROUPS)
def test_points_are_equivalent_to_their_voxels(name, repeats, operations, axes):
    supercell = supercell_of(name, *repeats)
    grid = average(random_volume(axes), supercell).grid
    used = grid.point_of_voxel >= 0
    images = np.einsum("qi,oij->oqj", grid.q_points, np.array(operations))
    apart = images[:, grid.point_of_voxel[used]] - voxels(axes)[used]
    assert (np.abs(apart).max(axis=-1) < 1e-6).any(axis=0).all()
    assert grid.multiplicity.sum() == used.sum()
    np.testing.assert_array_equal(np.bincount(grid.point_of_voxel[used]), grid.multiplicity)


def test_symmetric_volume_is_reproduced():
    axes = (axis(1.6, 5),) * 3
    q = np.sort(np.abs(voxels(axes)), axis=-1)
    intensity = np.exp(q @ [0.3, 0.7, -0.2]) + 5
    observed = average(make_volume(*axes, intensity), supercell_of("fcc", 5, 5, 5))
    used = observed.grid.point_of_voxel >= 0
    restored = observed.log_intensity[observed.grid.point_of_voxel[used]]
    np.testing.assert_allclose(restored, np.log(intensity[used]), atol=1e-12)


def test_paper_grid_has_12286_points():
    """arXiv:2603.28683: 81³ voxels of fcc Ni up to 8 r.l.u."""
    axes = (axis(8, 5),) * 3
    supercell = supercell_of("fcc", 5, 5, 5)
    volume = make_volume(*axes, np.ones((81, 81, 81)))
    used = voxel_mask(volume, supercell, Mask())
    grid = reduce_grid(volume, supercell, used)
    assert len(grid.q_points) == 12286
    assert grid.multiplicity.sum() == used.sum()
    # All voxels but the fcc reciprocal lattice: h, k, l all even (9³) or all odd (8³).
    assert used.sum() == 81**3 - 9**3 - 8**3


SMALL = (axis(2, 5),) * 3
TINY = (axis(1, 5),) * 3


@pytest.fixture
def cubic() -> Supercell:
    return supercell_of("fcc", 5, 5, 5)


def scattering_lengths(axes: tuple[np.ndarray, ...]) -> np.ndarray:
    """|Q| of the voxels for a = 3.52 Å."""
    return 2 * np.pi / 3.52 * np.linalg.norm(voxels(axes), axis=-1)


def is_fcc_bragg(q: np.ndarray) -> np.ndarray:
    rounded = np.rint(q)
    whole = np.abs(q - rounded).max(axis=-1) < 1e-6
    return whole & ((rounded % 2 == rounded[..., :1] % 2).all(axis=-1))


def test_bragg_peaks_are_left_out(cubic):
    used = voxel_mask(random_volume(SMALL), cubic, Mask())
    np.testing.assert_array_equal(used, ~is_fcc_bragg(voxels(SMALL)))


@pytest.mark.parametrize("radius", [0.25, 0.5])
def test_bragg_radius(cubic, radius):
    """Distances to the enumerated fcc reciprocal lattice, in 1/a, which is 1 r.l.u. here."""
    used = voxel_mask(random_volume(SMALL), cubic, Mask(bragg_radius=radius))
    peaks = voxels((np.arange(-4.0, 5.0),) * 3).reshape(-1, 3)
    peaks = peaks[is_fcc_bragg(peaks)]
    distance = np.linalg.norm(voxels(SMALL)[..., None, :] - peaks, axis=-1).min(axis=-1)
    np.testing.assert_array_equal(used, distance > radius)


@pytest.mark.parametrize("name", ["hcp", "rhombohedral", "monoclinic", "triclinic"])
def test_nearest_bragg_point_is_nearest(name):
    crystal = make_crystal(name)
    q_points = np.random.default_rng(0).uniform(-3, 3, (40, 3))
    found = crystal.scattering_vectors(q_points - nearest_bragg(q_points, crystal))
    reciprocal = 2 * np.pi * np.linalg.inv(crystal.lattice_vectors).T
    n = np.arange(-12, 13)
    peaks = np.stack(np.meshgrid(n, n, n), axis=-1).reshape(-1, 3) @ reciprocal
    expected = [np.linalg.norm(q - peaks, axis=1).min() for q in crystal.scattering_vectors(q_points)]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, atol=1e-9)


def test_wedge_is_the_elevation_above_the_plane(cubic):
    used = voxel_mask(random_volume(SMALL), cubic, Mask(wedge=10.0))
    q = voxels(SMALL)
    elevation = np.degrees(np.arctan2(np.abs(q[..., 2]), np.hypot(q[..., 0], q[..., 1])))
    np.testing.assert_array_equal(used, (elevation <= 10) & ~is_fcc_bragg(q))


def test_wedge_above_another_plane(cubic):
    used = voxel_mask(random_volume(SMALL), cubic, Mask(wedge=20.0, plane=(1, 1, 0)))
    q = voxels(SMALL)
    sine = np.abs(q[..., 0] + q[..., 1]) / np.sqrt(2) / np.maximum(np.linalg.norm(q, axis=-1), 1e-12)
    np.testing.assert_array_equal(used, (sine <= np.sin(np.radians(20))) & ~is_fcc_bragg(q))


@pytest.mark.parametrize("plane", [(0, 0, 1), (1, 1, 0), (1, -1, 2)])
def test_plane(cubic, plane):
    used = voxel_mask(random_volume(SMALL), cubic, Mask(plane=plane))
    q = voxels(SMALL)
    np.testing.assert_array_equal(used, (np.abs(q @ np.array(plane)) < 1e-6) & ~is_fcc_bragg(q))


def test_plane_of_a_hexagonal_crystal_is_normal_to_the_reciprocal_vector():
    """The plane with normal (1, 0, 0) holds (h, -2h, l), not the voxels with h = 0."""
    axes = (axis(2, 3), axis(2, 3), axis(1, 2))
    supercell = supercell_of("hcp", 3, 3, 2)
    used = voxel_mask(random_volume(axes), supercell, Mask(plane=(1, 0, 0)))
    h, k, _ = np.moveaxis(voxels(axes), -1, 0)
    whole = (np.abs(voxels(axes) - np.rint(voxels(axes))) < 1e-6).all(axis=-1)
    np.testing.assert_array_equal(used, (np.abs(2 * h + k) < 1e-6) & ~whole)


def test_range_of_q(cubic):
    used = voxel_mask(random_volume(SMALL), cubic, Mask(q_min=1.0, q_max=3.0))
    length = scattering_lengths(SMALL)
    np.testing.assert_array_equal(used, (length >= 1) & (length <= 3) & ~is_fcc_bragg(voxels(SMALL)))


def test_rings_are_left_out(cubic):
    """The first ring starts and ends on voxels: |Q| of (1, 0, 0) and of (1, 1, 0); the others overlap."""
    length = scattering_lengths(SMALL)
    h100, h110 = (2 * np.pi / 3.52 * np.sqrt([1, 2])).tolist()
    rings = ((h100 - 1e-9, h110 + 1e-9), (4.0, 5.0), (4.5, 5.2))
    used = voxel_mask(random_volume(SMALL), cubic, Mask(rings=rings))
    ring = ((length > h100 - 1e-6) & (length < h110 + 1e-6)) | ((length > 4) & (length < 5.2))
    assert 0.2 < ring.mean() < 0.8
    np.testing.assert_array_equal(used, ~ring & ~is_fcc_bragg(voxels(SMALL)))


def test_unmeasured_and_masked_voxels_are_left_out(cubic):
    rng = np.random.default_rng(3)
    shape = tuple(len(a) for a in TINY)
    unmeasured, masked = rng.uniform(size=(2, *shape)) < 0.3
    volume = random_volume(TINY, mask=masked)
    volume["intensity"].values[unmeasured] = np.nan
    observed = average(volume, cubic)
    used = ~unmeasured & ~masked & ~is_fcc_bragg(voxels(TINY))
    np.testing.assert_array_equal(observed.grid.point_of_voxel >= 0, used)
    assert observed.grid.multiplicity.sum() == used.sum()
    label = equivalence_classes(voxels(TINY)[used], CUBIC)
    intensity = volume["intensity"].values[used]
    for i in np.unique(label)[::5]:
        point = observed.grid.point_of_voxel[used][label == i]
        assert len(set(point.tolist())) == 1
        assert observed.log_intensity[point[0]] == pytest.approx(
            np.log(intensity[label == i].mean()), abs=1e-12
        )


def test_masked_voxels_may_hold_anything(cubic):
    volume = random_volume(SMALL, mask=np.zeros((21, 21, 21), dtype=bool))
    volume["intensity"].values[3, 4, 5] = -7
    volume["mask"].values[3, 4, 5] = True
    assert np.isfinite(average(volume, cubic).log_intensity).all()


def test_standard_errors_weight_the_mean(cubic):
    sigma = np.random.default_rng(4).uniform(0.1, 1, (11, 11, 11))
    volume = random_volume(TINY, sigma=sigma)
    observed = average(volume, cubic)
    used = observed.grid.point_of_voxel >= 0
    label = equivalence_classes(voxels(TINY)[used], CUBIC)
    for i in np.unique(label)[::5]:
        mine = label == i
        weights = sigma[used][mine] ** -2
        mean = np.average(volume["intensity"].values[used][mine], weights=weights)
        point = observed.grid.point_of_voxel[used][mine][0]
        assert observed.log_intensity[point] == pytest.approx(np.log(mean), abs=1e-12)
        variance = observed.errors.constant[point] + observed.errors.slope[point] * mean
        assert variance == pytest.approx(1 / weights.sum(), rel=1e-12)


def test_no_standard_errors_without_them(cubic):
    assert average(random_volume(SMALL), cubic).errors is None


def test_voxels_without_a_standard_error_are_left_out(cubic):
    sigma = np.ones((21, 21, 21))
    sigma[0, 1, 2] = 0
    observed = average(random_volume(SMALL, sigma=sigma), cubic)
    assert observed.grid.point_of_voxel[0, 1, 2] == -1


def test_negative_counts_are_refused(cubic):
    volume = random_volume(SMALL, counts=np.ones((21, 21, 21)))
    volume["intensity"].values[11, 12, 13] = -1
    with pytest.raises(
        VolumeError, match=r"1 of \d+ voxels have an intensity that is negative.*\n.*0\.2, 0\.4, 0\.6"
    ):
        average(volume, cubic)


def test_negative_means_without_errors_are_refused(cubic):
    """One that its equivalents outweigh is a voxel like others; one that outweighs them is not."""
    volume = random_volume(SMALL)
    volume["intensity"].values[11, 12, 13] = -1
    assert (average(volume, cubic).intensity > 0).all()
    volume["intensity"].values[11, 12, 13] = -1000
    with pytest.raises(VolumeError, match=r"1 of \d+ means of equivalent voxels are zero or negative"):
        average(volume, cubic)


def test_errors_say_what_zero_and_negative_voxels_mean(cubic):
    volume = random_volume(SMALL, sigma=np.ones((21, 21, 21)))
    volume["intensity"].values[11, 12, [13, 14]] = 0, -1000
    observed = average(volume, cubic)
    assert (observed.grid.point_of_voxel[11, 12, [13, 14]] >= 0).all()
    assert (observed.intensity < 0).sum() == np.isnan(observed.log_intensity).sum() == 1


def test_negative_voxels_on_bragg_peaks_do_not_matter(cubic):
    volume = random_volume(SMALL)
    volume["intensity"].values[10, 10, 10] = -1
    average(volume, cubic)


def test_voxels_that_do_not_fit_are_refused_with_a_supercell_that_does():
    volume = random_volume((axis(1, 4), axis(1, 4), axis(1, 6)))
    with pytest.raises(VolumeError, match=r"do not fit the supercell(.*\n)*.*\[4, 4, 6\]"):
        average(volume, supercell_of("fcc", 5, 5, 5))
    average(volume, supercell_of("fcc", 12, 12, 12))


def test_proposed_supercell_works_in_a_tetragonal_crystal():
    volume = random_volume((axis(1, 4), axis(1, 4), axis(1, 6)))
    average(volume, supercell_of("tetragonal", 4, 4, 6))


def test_too_few_points_are_refused(cubic):
    with pytest.raises(VolumeError, match=r"Only 1 irreducible"):
        average(
            random_volume((np.array([0.2, 0.4]), np.array([0.0]), np.array([0.0]))), cubic, Mask(q_max=0.5)
        )


def test_float32_axes_fit(cubic):
    axes = tuple(a.astype(np.float32).astype(float) for a in SMALL)
    exact = average(random_volume(SMALL), cubic)
    rounded = average(random_volume(axes), cubic)
    np.testing.assert_allclose(rounded.log_intensity, exact.log_intensity, atol=1e-12)


def test_plane_of_one_layer():
    """A single measured layer of a cubic crystal: equivalents outside it do not exist."""
    axes = (axis(2, 5), axis(2, 5), np.array([0.0]))
    observed = average(random_volume(axes), supercell_of("fcc", 5, 5, 5))
    square = [operation for operation in CUBIC if abs(operation[2, 2]) == 1]
    used = observed.grid.point_of_voxel >= 0
    assert len(observed.log_intensity) == len(set(equivalence_classes(voxels(axes)[used], square).tolist()))


def test_supercell_of_lower_symmetry_than_the_crystal():
    """Voxels in use fit the supercell; the points that stand for them must fit it as well."""
    supercell = supercell_of("fcc", 5, 5, 1)
    volume = random_volume((axis(2, 5), axis(2, 5), axis(2, 5)))
    grid = average(volume, supercell, Mask(plane=(0, 0, 1))).grid
    assert (supercell.k_index(grid.q_points) >= 0).all()


def weighted_means(values: np.ndarray, sigma: np.ndarray, multiplicity: int) -> np.ndarray:
    point = np.repeat(np.arange(len(values) // multiplicity), multiplicity)
    law = variance_law(Voxels(point, np.arange(len(point)), values, sigma))
    weight = law.exposure(values, sigma)
    return np.bincount(point, weight * values) / np.bincount(point, weight)


def test_errors_from_counts_do_not_bias_the_mean():
    """Weights 1/counts would give the harmonic mean, up to one count in 100 too low."""
    rng = np.random.default_rng(0)
    exposure = rng.uniform(0.3, 3, 96_000)
    counts = np.maximum(rng.poisson(100 * exposure), 1)
    values, sigma = counts / exposure, np.sqrt(counts) / exposure
    means = weighted_means(values, sigma, 24)
    biased = np.average(values, weights=sigma**-2.0)
    assert biased < 99.5
    standard_error = means.std() / np.sqrt(len(means))
    assert abs(means.mean() - 100) < 4 * standard_error < 0.2
    # As good as the pooled counts, the best there is.
    pooled = counts.reshape(-1, 24).sum(axis=1) / exposure.reshape(-1, 24).sum(axis=1)
    assert means.std() < 1.02 * pooled.std()


def test_errors_of_another_origin_are_weights_as_they_are():
    rng = np.random.default_rng(1)
    sigma = rng.uniform(1, 20, 48_000)
    values = 100 + sigma * rng.normal(size=len(sigma))
    usual = (values / sigma**2).reshape(-1, 24).sum(axis=1) / (sigma**-2.0).reshape(-1, 24).sum(axis=1)
    means = weighted_means(values, sigma, 24)
    assert means.std() < 1.02 * usual.std()
    assert abs(means.mean() - 100) < 4 * means.std() / np.sqrt(len(means))


def counted(counts: np.ndarray, exposure: float | np.ndarray) -> xr.Dataset:
    thirds = axis(1, 3)
    return make_volume(thirds, thirds, thirds, counts / exposure, counts=counts)


def test_counts_are_added_up_with_voxels_that_have_none():
    counts = np.random.default_rng(0).poisson(3.0, (7, 7, 7)).astype(float)
    found = average(counted(counts, 5.0), supercell_of("fcc", 3, 3, 3))
    point = found.grid.point_of_voxel
    assert (counts[point >= 0] == 0).any()
    for number in range(len(found.log_intensity)):
        total = counts[point == number].sum()
        expected = np.log(total / (5.0 * (point == number).sum()))
        np.testing.assert_allclose(found.log_intensity[number], expected)
        assert found.counts.number[number] == total
        np.testing.assert_allclose(found.counts.exposure[number], 5.0 * (point == number).sum())
    assert found.errors is None


def test_counts_without_a_known_exposure_are_refused():
    supercell = supercell_of("fcc", 3, 3, 3)
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (7, 7, 7)).astype(float)
    with pytest.raises(VolumeError, match="different times"):
        average(counted(counts, rng.uniform(1, 2, counts.shape)), supercell)
    found = average(counted(counts + 1, rng.uniform(1, 2, counts.shape)), supercell)
    assert np.isfinite(found.log_intensity).all()
    wrong = counted(counts, 5.0)
    wrong["intensity"].values[counts == 0] = 0.1
    with pytest.raises(VolumeError, match="contradict"):
        average(wrong, supercell)
    subtracted = counted(counts + 1, 5.0)
    subtracted["intensity"].values[:] += 0.05
    with pytest.raises(VolumeError, match="background was subtracted"):
        average(subtracted, supercell)
    rare = average(counted((rng.uniform(size=counts.shape) < 0.02) * 1.0, 5.0), supercell)
    empty = rare.counts.number == 0
    assert 0 < empty.sum() < len(empty)
    assert (rare.intensity[empty] == 0).all()
    np.testing.assert_array_equal(np.isnan(rare.log_intensity), empty)


def test_without_friedels_law_equivalent_voxels_are_those_of_the_point_group():
    """Zincblende has 24 rotations, its Laue group 48."""
    supercell = supercell_of("zincblende", 3, 3, 3)
    crystal = supercell.crystal
    assert (len(crystal.point_group), len(crystal.laue_group)) == (24, 48)
    assert not crystal.is_centrosymmetric
    thirds = axis(1, 3)
    intensity = np.random.default_rng(0).uniform(1, 2, (7, 7, 7))
    volume = make_volume(thirds, thirds, thirds, intensity)
    found = average(volume, supercell, friedel=False)
    point = found.grid.point_of_voxel
    h, k, l_ = np.meshgrid(thirds, thirds, thirds, indexing="ij")
    # A tetrahedron keeps the sign of hkl, and the sizes of its three indices.
    sizes = np.sort(np.abs(np.stack([h, k, l_])), axis=0).round(6)
    labels = np.concatenate([sizes, np.sign((h * k * l_).round(9))[None]]).reshape(4, -1).T
    used = point.ravel() >= 0
    _, expected = np.unique(labels[used], axis=0, return_inverse=True)
    pairs = np.unique(np.column_stack([expected.reshape(-1), point.ravel()[used]]), axis=0)
    assert len(pairs) == len(found.log_intensity) == expected.max() + 1


@pytest.mark.parametrize("name", ["fcc", "hcp", "monoclinic"])
@pytest.mark.parametrize(
    "directions", [[[1, 1, 0], [-1, 1, 0], [0, 0, 1]], [[1, 1, 1], [1, -1, 0], [1, 1, -2]]]
)
def test_orbits_on_axes_in_any_direction(name, directions):
    """Against explicit grouping of the points by their images under the Laue group."""
    supercell = supercell_of(name, 2, 2, 2)
    volume = random_volume((axis(1.5, 2), axis(1.5, 2), axis(1, 2)), directions=directions)
    used = voxel_mask(volume, supercell, Mask())
    grid = reduce_grid(volume, supercell, used)
    points = volume_axes(volume).points()
    images = np.rint(2 * np.einsum("qi,oij->qoj", points[used], supercell.crystal.laue_group)).astype(int)
    keys = np.array([max(map(tuple, some)) for some in images])
    _, expected = np.unique(keys, axis=0, return_inverse=True)
    found = grid.point_of_voxel[used]
    assert len(np.unique(found)) == expected.max() + 1
    # One and the same grouping: each group of one is a group of the other.
    assert len(np.unique(np.stack([found, expected.ravel()]), axis=1).T) == expected.max() + 1
    representative = np.rint(2 * grid.q_points[found]).astype(int)
    assert [tuple(q) in set(map(tuple, some)) for q, some in zip(representative, images, strict=True)] == [
        True
    ] * len(found)
