"""Trajectories turned into volumes: against brute force, and the correlation of snapshots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.lattice_dynamics.displacements import block_displacements
from bayestds.lattice_dynamics.harmonic import harmonic_crystal
from bayestds.scattering.sampled import make_sampled_engine, unfolded
from bayestds.scattering.simulation import displacement_root, empty_volume
from bayestds.scattering.snapshots import Frame
from bayestds.scattering.trajectory import (
    BATCH,
    TrajectoryAverage,
    average_trajectory,
    followed_voxels,
    statistical_inefficiency,
    trajectory_volume,
)
from tests.brute_force import random_stable
from tests.crystals import default_supercell, make_irreducible
from tests.trajectories import (
    MULTIPLES,
    Motion,
    brute_force_intensity,
    factors_of,
    supercell_of,
    trajectory,
)

AXES = {
    "fcc": (np.linspace(-2, 2, 9), np.linspace(-1, 1, 5), np.linspace(-1, 1, 7)),
    "zincblende": (np.linspace(-2, 2, 9), np.linspace(-1.5, 2, 8), np.linspace(0, 3, 4)),
    "hcp": (np.linspace(-1, 1, 7), np.linspace(-3, 3, 7), np.linspace(-1, 2, 7)),
    "p1": (np.linspace(-2, 2, 5), np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)),
}


def averaged(name: str, frames: list[Frame], nufft: bool = False) -> tuple[TrajectoryAverage, np.ndarray]:
    supercell = supercell_of(name)
    engine = make_sampled_engine(supercell, AXES[name], factors_of(supercell), nufft)
    average = average_trajectory(engine, supercell, frames, "md.xyz", np.arange(20))
    return average, np.asarray(unfolded(engine, average.intensity.total)) / average.intensity.count


def commensurate(supercell: Supercell, axes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Voxels (n_h, n_k, n_l) bool at wave vectors of the supercell."""
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return (supercell.k_index(q_points.reshape(-1, 3)) >= 0).reshape(q_points.shape[:-1])


@pytest.mark.parametrize("name", MULTIPLES)
@pytest.mark.parametrize("n_frames", [1, BATCH, BATCH + 3])
def test_mean_is_that_of_brute_force(name, n_frames):
    """Strained, turned, drifting: each frame has its own cell, in which voxels are fixed."""
    supercell = supercell_of(name)
    motion = Motion(strain=0.02, drift=(0.1, 0.2, -0.3), rotated=True)
    frames = trajectory(supercell, n_frames, motion)
    average, found = averaged(name, frames)
    assert average.intensity.count == n_frames
    expected = brute_force_intensity(supercell, MULTIPLES[name], frames, AXES[name])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * expected.max())


@pytest.mark.parametrize("name", MULTIPLES)
@pytest.mark.parametrize(
    "motion",
    [Motion(drift=(0.5, -0.8, 1.7)), Motion(wrapped=True), Motion(rotated=True)],
    ids=["drift", "wrapping", "rotation"],
)
def test_what_commensurate_voxels_do_not_see(name, motion):
    supercell = supercell_of(name)
    _, plain = averaged(name, trajectory(supercell, 5, Motion()))
    _, found = averaged(name, trajectory(supercell, 5, motion))
    used = commensurate(supercell, AXES[name])
    assert used.sum() > 20
    np.testing.assert_allclose(found[used], plain[used], rtol=1e-9, atol=1e-9 * plain.max())
    # An atom that hops by a cell is seen by all other voxels, so that the test is not empty.
    if motion.wrapped and not used.all():
        assert not np.allclose(found[~used], plain[~used], rtol=1e-3)


def test_nonuniform_fft_gives_the_same():
    pytest.importorskip("jax_finufft", reason="jax-finufft, an optional package, is missing")
    frames = trajectory(supercell_of("zincblende"), 3, Motion(wrapped=True, strain=0.02))
    _, expected = averaged("zincblende", frames)
    _, found = averaged("zincblende", frames, nufft=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * expected.max())


def test_what_a_trajectory_says_of_itself():
    supercell, told = supercell_of("fcc"), []
    frames = trajectory(supercell, 2 * BATCH + 1, Motion(drift=(0.0, 0.03, 0.04), strain=0.01))
    engine = make_sampled_engine(supercell, AXES["fcc"])
    average = average_trajectory(engine, supercell, iter(frames), "md.xyz", np.arange(20), told.append)
    assert told == [BATCH, 2 * BATCH, 2 * BATCH + 1]
    assert average.drift == pytest.approx(2 * BATCH * 0.05, abs=1e-9)
    np.testing.assert_allclose(average.metric, np.mean([f.cell @ f.cell.T for f in frames], axis=0))
    assert average.labels == {"Ni"}


@pytest.mark.parametrize("name", MULTIPLES)
def test_inefficiency_is_that_of_the_followed_voxels(name):
    """Each snapshot twice, in more than one batch, so that there is a correlation to be seen."""
    supercell, axes = supercell_of(name), AXES[name]
    frames = [frame for frame in trajectory(supercell, BATCH, Motion()) for _ in range(2)][:-3]
    engine = make_sampled_engine(supercell, axes, factors_of(supercell))
    shape = [len(axis) for axis in axes]
    followed = np.random.default_rng(3).choice(int(np.prod(shape)), 15, replace=False)
    average = average_trajectory(engine, supercell, frames, "md.xyz", followed)
    each = [brute_force_intensity(supercell, MULTIPLES[name], [frame], axes) for frame in frames]
    series = np.array([intensity.ravel()[followed] for intensity in each])
    assert average.inefficiency > 1.2
    assert average.inefficiency == pytest.approx(slow_inefficiency(series), rel=1e-6)


def test_no_frame():
    supercell = supercell_of("fcc")
    with pytest.raises(VolumeError, match=r"md\.xyz holds no frame"):
        average_trajectory(
            make_sampled_engine(supercell, AXES["fcc"]), supercell, [], "md.xyz", np.arange(20)
        )


def test_volume_is_indexed_in_the_mean_cell():
    supercell = supercell_of("fcc")
    engine = make_sampled_engine(supercell, AXES["fcc"])
    empty = empty_volume(AXES["fcc"], supercell, temperature=300.0)
    stretch = np.diag([1.01, 1.0, 0.99])
    frames = [
        Frame(f.cell @ stretch, f.positions @ stretch, f.species)
        for f in trajectory(supercell, 4, Motion(rotated=False))
    ]
    average = average_trajectory(engine, supercell, frames, "md.xyz", followed_voxels(empty))
    volume = trajectory_volume(empty, engine, supercell, average, scale=2.0)
    expected = np.array([1.01, 1.0, 0.99]) * supercell.crystal.cell_parameters[0]
    np.testing.assert_allclose(volume.attrs["lattice"], [*expected, 90, 90, 90])
    assert volume.attrs["snapshots"] == 4
    assert volume.attrs["statistics"] == "classical"
    assert volume.attrs["configurations"] == average.configurations
    assert volume.attrs["noise"] == "ensemble"
    mean = brute_force_intensity(supercell, MULTIPLES["fcc"], frames, AXES["fcc"])
    diffuse = np.isfinite(empty["intensity"].values)
    np.testing.assert_allclose(volume["intensity"].values[diffuse], 2 * mean[diffuse], rtol=1e-9)
    # Bragg peaks hold more than diffuse scattering.
    assert np.isnan(volume["intensity"].values[~diffuse]).all()
    assert (~diffuse).any()


def test_followed_voxels_are_off_the_bragg_peaks():
    empty = empty_volume(AXES["fcc"], supercell_of("fcc"))
    followed = followed_voxels(empty)
    assert len(set(followed.tolist())) == len(followed) == 128
    assert np.isfinite(empty["intensity"].values.ravel()[followed]).all()


def autoregressive(n: int, m: int, memory: float, seed: int = 0) -> np.ndarray:
    """m independent series (n, m) of unit variance with the autocorrelation memory^t."""
    rng = np.random.default_rng(seed)
    series = np.empty((n, m))
    series[0] = rng.normal(size=m)
    for t in range(1, n):
        series[t] = memory * series[t - 1] + np.sqrt(1 - memory**2) * rng.normal(size=m)
    return series


def slow_inefficiency(series: np.ndarray) -> float:
    """The definition, lag by lag."""
    n = len(series)
    d = series - series.mean(axis=0)
    correlation = [((d[: n - t] * d[t:]).sum(axis=0) / (d * d).sum(axis=0)).mean() for t in range(n)]
    g = -1.0
    for t in range(0, n, 2):
        pair = sum(correlation[t : t + 2])
        if pair <= 0:
            break
        g += 2 * pair
    return max(g, 1.0)


@pytest.mark.parametrize("n", [2, 3, 8, 9, 50])
@pytest.mark.parametrize("memory", [0.0, 0.6, 0.95])
def test_inefficiency_is_as_defined(n, memory):
    series = autoregressive(n, 3, memory) + 2.0
    assert statistical_inefficiency(series) == pytest.approx(slow_inefficiency(series), rel=1e-10)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_inefficiency_of_autoregressive_series(memory):
    """G = (1 + a)/(1 - a). With 100 series of 5,000 its standard error is about 1 %; 4 % are allowed."""
    found = statistical_inefficiency(autoregressive(5000, 100, memory))
    assert found == pytest.approx((1 + memory) / (1 - memory), rel=0.04)


def test_inefficiency_at_the_limits():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(2000, 100))
    assert statistical_inefficiency(np.ones((1, 5))) == 1.0
    # One value, written again and again.
    assert statistical_inefficiency(np.full((50, 5), 3.7)) == pytest.approx(50)
    assert statistical_inefficiency(np.repeat(white, 4, axis=0)) == pytest.approx(4, rel=0.03)
    # What swings to and fro has a mean better than independent values: that is not credited.
    assert statistical_inefficiency(white[1:] - white[:-1]) == 1.0


@pytest.mark.parametrize("memory", [0.5, 0.9])
def test_correlation_of_a_crystal_whose_modes_forget_at_one_rate(memory):
    """Amplitudes with the autocorrelation a^t make intensities with a^2t while they are one-phonon ones.

    G = (1 + a²)/(1 - a²). Six seeds scattered by 3 % at 2,000 snapshots; with a for a² it would be doubled.
    """
    irreducible, supercell = make_irreducible("fcc"), default_supercell("fcc")
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    # So cold that |Q·u|² is far below one.
    harmonic = harmonic_crystal(irreducible, supercell, 0.5)
    n, n_cells = 3000, supercell.n_cells
    white = autoregressive(n, 3 * n_cells, memory).reshape(n, n_cells, 3)
    root = displacement_root(harmonic, phi)
    u = np.asarray(jax.jit(block_displacements, static_argnums=2)(root, white, supercell.grid_shape))
    crystal = supercell.crystal
    sites = (supercell.cells[:, None] + crystal.fractional_positions) @ crystal.lattice_vectors
    cell, species = supercell.lattice_vectors, np.array(["Ni"] * n_cells)
    frames = [Frame(cell, (sites + one).reshape(-1, 3), species) for one in u]
    axes = (np.linspace(-2, 2, 13),) * 3
    engine, empty = make_sampled_engine(supercell, axes), empty_volume(axes, supercell)
    average = average_trajectory(engine, supercell, frames, "md.xyz", followed_voxels(empty))
    expected = (1 + memory**2) / (1 - memory**2)
    assert average.inefficiency == pytest.approx(expected, rel=0.1)
    assert average.configurations == int(n / average.inefficiency)
