"""Residual statistics against loops over voxels that follow the definitions."""

import itertools

import numpy as np
import pytest

from bayestds.crystal.axes import GridAxes
from bayestds.diagnostics.residuals import ResidualReport, residual_report, zone_labels
from tests.crystals import make_crystal

STEP = 1 / 3
AXIS = np.arange(-6, 7) * STEP
AXES = (AXIS, AXIS, AXIS)
POINTS = np.array(list(itertools.product(AXIS, repeat=3)))
SHAPE = (len(AXIS),) * 3
FCC = make_crystal("fcc")


def fcc_bragg_points() -> np.ndarray:
    """All even or all odd, some way beyond the grid."""
    candidates = np.array(list(itertools.product(range(-4, 5), repeat=3)))
    return candidates[np.ptp(candidates % 2, axis=1) == 0]


def nearest(q: np.ndarray) -> tuple[np.ndarray, bool]:
    """Nearest Bragg point, and whether it is the only one."""
    distance = np.linalg.norm(fcc_bragg_points() - q, axis=1)
    order = np.argsort(distance)
    return fcc_bragg_points()[order[0]], bool(distance[order[1]] - distance[order[0]] > 1e-6)


@pytest.fixture(scope="module")
def unique_zone() -> np.ndarray:
    """Points that lie inside one Brillouin zone, off its faces and off the Bragg point."""
    found = [nearest(q) for q in POINTS]
    return np.array(
        [only and np.linalg.norm(q - g) > 1e-6 for q, (g, only) in zip(POINTS, found, strict=True)]
    )


@pytest.fixture(scope="module")
def offset() -> np.ndarray:
    """Distance vector of each point from its nearest Bragg point."""
    return np.array([q - nearest(q)[0] for q in POINTS])


def report(residual: np.ndarray, used: np.ndarray | None = None) -> ResidualReport:
    """Statistics of residuals (n_points,), on the voxels that are used."""
    kept = np.ones(len(POINTS), dtype=bool) if used is None else used
    voxels = np.where(kept, np.cumsum(kept) - 1, -1).reshape(SHAPE)
    return residual_report(residual[kept], voxels, GridAxes(AXES), zone_labels(POINTS[kept], FCC), FCC)


def test_odd_residuals(unique_zone, offset):
    field = offset[:, 0] + 0.3 * offset[:, 1] ** 3
    found = report(field, unique_zone)
    assert found.even_rms == pytest.approx(0, abs=1e-12)
    assert found.odd_rms == pytest.approx(found.rms, rel=0.2)


def test_even_residuals(unique_zone, offset):
    found = report(offset[:, 0] ** 2 + 0.1, unique_zone)
    assert found.odd_rms == pytest.approx(0, abs=1e-12)
    assert found.even_rms > 0


def test_odd_and_even_by_a_loop(unique_zone):
    residual = np.random.default_rng(0).normal(size=len(POINTS))
    index = {tuple(np.rint(q / STEP).astype(int)): i for i, q in enumerate(POINTS)}
    odd, even = [], []
    for i in np.flatnonzero(unique_zone):
        centre, _ = nearest(POINTS[i])
        partner = index.get(tuple(np.rint((2 * centre - POINTS[i]) / STEP).astype(int)))
        if partner is not None:
            odd.append((residual[i] - residual[partner]) / 2)
            even.append((residual[i] + residual[partner]) / 2)
    found = report(residual, unique_zone)
    assert found.odd_rms == pytest.approx(np.sqrt(np.mean(np.square(odd))))
    assert found.even_rms == pytest.approx(np.sqrt(np.mean(np.square(even))))


def test_rms_is_over_voxels():
    residual = np.array([1.0, 3.0])
    voxels = np.full(SHAPE, -1)
    voxels[0, 0, :4] = 0, 0, 0, 1
    found = residual_report(residual, voxels, GridAxes(AXES), np.array([0, 1]), FCC)
    assert found.rms == pytest.approx(np.sqrt((3 * 1 + 9) / 4))


def test_neighbour_correlation_by_a_loop():
    rng = np.random.default_rng(1)
    residual, used = rng.normal(size=len(POINTS)), rng.uniform(size=len(POINTS)) < 0.8
    values, kept = residual.reshape(SHAPE), used.reshape(SHAPE)
    product = square = 0.0
    for place in np.ndindex(SHAPE):
        for axis in range(3):
            other = tuple(x + (i == axis) for i, x in enumerate(place))
            if other[axis] < len(AXIS) and kept[place] and kept[other]:
                product += values[place] * values[other]
                square += (values[place] ** 2 + values[other] ** 2) / 2
    assert report(residual, used).neighbour_correlation == pytest.approx(product / square)


def test_noise_has_no_correlation():
    found = report(np.random.default_rng(2).normal(size=len(POINTS)))
    assert abs(found.neighbour_correlation) < 0.05
    assert abs(found.zone_correlation) < 0.05


def test_smooth_residuals_correlate():
    # Half a wavelength across the grid: the expected correlation is that of one step, cos(π/24).
    field = np.sin(np.pi * POINTS / 8 + 0.3).prod(axis=1)
    assert report(field).neighbour_correlation > 0.95


def test_alternating_residuals_anticorrelate():
    field = np.prod((-1.0) ** np.rint(POINTS / STEP), axis=1)
    assert report(field).neighbour_correlation == pytest.approx(-1)


def test_residuals_of_whole_zones():
    zones = zone_labels(POINTS, FCC)
    found = report(np.random.default_rng(3).normal(size=zones.max() + 1)[zones])
    assert found.zone_correlation == pytest.approx(1)
    assert found.n_zones == zones.max() + 1


def test_zones_that_share_half_the_variance():
    zones, rng = zone_labels(POINTS, FCC), np.random.default_rng(4)
    draws = []
    for _ in range(40):
        common = rng.normal(size=zones.max() + 1)
        draws.append(report(common[zones] + rng.normal(size=len(zones))).zone_correlation)
    assert np.mean(draws) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_scale_of_the_residuals(scale):
    residual = np.random.default_rng(5).normal(size=len(POINTS))
    one, other = report(residual), report(scale * residual)
    assert other.rms == pytest.approx(scale * one.rms)
    assert other.zone_correlation == pytest.approx(one.zone_correlation)
    assert other.neighbour_correlation == pytest.approx(one.neighbour_correlation)


def test_zero_residuals():
    found = report(np.zeros(len(POINTS)))
    assert (found.rms, found.odd_rms, found.even_rms, found.neighbour_correlation) == (0, 0, 0, 0)


def test_a_single_plane():
    axes = (AXIS, AXIS, np.zeros(1))
    points = np.array(list(itertools.product(*axes)))
    voxels = np.arange(len(points)).reshape(len(AXIS), len(AXIS), 1)
    found = residual_report(np.sign(points[:, 0]), voxels, GridAxes(axes), zone_labels(points, FCC), FCC)
    assert np.isfinite([found.rms, found.odd_rms, found.even_rms, found.neighbour_correlation]).all()


@pytest.mark.parametrize(("first", "second", "same"), [
    ((0.2, 0.1, 0), (0, -0.1, 0.2), True),
    ((2.2, 0, 0), (0, 0, -1.9), True),
    ((1.1, 1.1, 0.9), (-1, 1, -0.8), True),
    ((3.1, 1, 1), (1, 1.2, -2.9), True),
    ((2.1, 0, 0), (1.1, 1, 1), False),
    ((0.1, 0, 0), (2.1, 0, 0), False),
    ((4, 2, 0.1), (4, 0.1, 0), False),
])  # fmt: skip
def test_zones_that_the_laue_group_relates(first, second, same):
    labels = zone_labels(np.array([first, second], dtype=float), FCC)
    assert bool(labels[0] == labels[1]) is same


def test_zone_labels_are_invariant_under_the_laue_group(unique_zone):
    inside = POINTS[unique_zone]
    images = np.concatenate([inside @ rotation for rotation in FCC.laue_group])
    labels = zone_labels(images, FCC).reshape(len(FCC.laue_group), -1)
    assert (labels == labels[0]).all()


def test_zones_of_a_cubic_crystal_are_counted():
    # 000, 111, 200, 220, 222 and 311 ... : one label for each kind of reflection.
    bragg = fcc_bragg_points()
    kinds = {tuple(sorted(np.abs(g))) for g in bragg.tolist()}
    assert zone_labels(bragg.astype(float), FCC).max() + 1 == len(kinds)


def test_axes_in_any_direction_give_the_same_statistics():
    """The images under inversion about Bragg points are those of the points, whatever the axes."""
    residual = np.random.default_rng(5).normal(size=len(POINTS))
    voxels = np.arange(len(POINTS)).reshape(SHAPE)
    # The same grid, with its first two axes described by directions, and so looked at without folding.
    half = np.diag([0.5, 0.5, 1.0])
    oblique = GridAxes((2 * AXES[0], 2 * AXES[1], AXES[2]), half)
    zones = zone_labels(POINTS, FCC)
    found = residual_report(residual, voxels, oblique, zones, FCC)
    expected = residual_report(residual, voxels, GridAxes(AXES), zones, FCC)
    assert found == expected
