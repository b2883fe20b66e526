"""A trajectory, such as molecular dynamics writes, turned into a scattering volume.

Voxels are fixed in reciprocal lattice units, so that of a snapshot only the fractional coordinates in its own
cell count: a cell that strains or breathes is followed, a rotated one is the same. On voxels that are
commensurate with the supercell an atom that crosses the boundary changes its phase by a multiple of 2π, and a
drift of all atoms multiplies F by a phase: neither is seen in |F|².
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from ase.geometry import cell_to_cellpar
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError
from bayestds.scattering.sampled import SampledEngine, folded_shape, folded_square, unfolded
from bayestds.scattering.simulation import IntensitySum, averaged_volume, no_configurations
from bayestds.scattering.snapshots import Frame, Snapshot, conventional_multiples, snapshots

FOLLOWED = 128
"""Number of voxels whose intensity is followed from snapshot to snapshot."""

BATCH = 20
"""Snapshots in memory at a time."""


@dataclass(frozen=True, eq=False)
class TrajectoryAverage:
    """Scattered intensity summed over a trajectory, and what the snapshots say about themselves.

    Attributes:
        intensity: the sum over all snapshots.
        inefficiency: number of snapshots that are worth one independent one.
        drift: largest distance of the centroid from its first place, Å.
        metric: (3, 3) Å², mean products of the cell vectors.
        labels: all species that the file names.
    """

    intensity: IntensitySum
    inefficiency: float
    drift: float
    metric: np.ndarray
    labels: frozenset[str]

    @property
    def configurations(self) -> int:
        """How many independent configurations the snapshots are worth, at least one."""
        return max(1, int(self.intensity.count / self.inefficiency))


def average_trajectory(
    engine: SampledEngine,
    supercell: Supercell,
    frames: Iterable[Frame],
    name: str,
    followed: Int[np.ndarray, " n"],
    progress: Callable[[int], None] = lambda count: None,
) -> TrajectoryAverage:
    """Sum of |F(Q)|² per primitive cell over the frames of a trajectory, a few in memory at a time.

    Args:
        engine: atoms and voxels of the supercell.
        supercell: the periodic supercell.
        frames: in the order of time.
        name: what error messages call the trajectory.
        followed: flat index of the voxels by which the correlation of snapshots is judged.
        progress: is told the number of snapshots done.

    Raises:
        VolumeError: there is no frame, or one is not a snapshot of the supercell.
    """
    places = _places(engine, followed)
    stream = snapshots(frames, supercell, np.asarray(engine.factors), name)
    running, series = no_configurations(engine), [np.empty((0, len(followed)))]
    drift, metric, labels = 0.0, np.zeros((3, 3)), frozenset[str]()
    while batch := list(islice(stream, BATCH)):
        total, values = _add_snapshots(engine, *_stacked(batch), len(batch), places, running.total)
        running = replace(running, total=total, count=running.count + len(batch))
        series.append(np.asarray(values)[: len(batch)])
        drift = max(drift, *(float(np.linalg.norm(snapshot.drift)) for snapshot in batch))
        metric += np.sum([snapshot.metric for snapshot in batch], axis=0)
        labels = labels.union(*(snapshot.labels for snapshot in batch))
        progress(int(running.count))
    if running.count == 0:
        raise VolumeError(
            f"{name} holds no frame.",
            "Intensities are averaged over the frames of a trajectory.",
            "Check that the simulation wrote it.",
        )
    return TrajectoryAverage(
        replace(running, total=running.total / supercell.n_cells),
        statistical_inefficiency(np.concatenate(series)),
        drift,
        metric / int(running.count),
        labels,
    )


def _places(engine: SampledEngine, voxels: Int[np.ndarray, " n"]) -> Int[Array, " n"]:
    """Where voxels, given by flat index, lie in the engine's own layout."""
    shape = folded_shape(engine)
    numbers = jnp.arange(np.prod(shape), dtype=float).reshape(shape)
    return unfolded(engine, numbers).ravel()[voxels].astype(int)


def _stacked(batch: list[Snapshot]) -> tuple[np.ndarray, np.ndarray]:
    """Positions and weights of a full batch; the last snapshot fills it up."""
    padded = batch + batch[-1:] * (BATCH - len(batch))
    return np.stack([one.positions for one in padded]), np.stack([one.weights for one in padded])


@jax.jit
def _add_snapshots(
    engine: SampledEngine,
    positions: Float[Array, "batch n 3"],
    weights: Array,
    count: int | Array,
    places: Int[Array, " m"],
    total: Array,
) -> tuple[Array, Float[Array, "batch m"]]:
    """The total with the first ``count`` snapshots of a batch added, and their intensities at some places."""

    def add(number: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        total, values = state
        intensity = folded_square(engine, positions[number], weights[number])
        return total + intensity, values.at[number].set(intensity.ravel()[places])

    return jax.lax.fori_loop(0, count, add, (total, jnp.zeros((len(positions), len(places)))))


def followed_voxels(volume: xr.Dataset) -> Int[np.ndarray, " n"]:
    """Flat index of some voxels of an empty volume off the Bragg peaks, the same ones every time."""
    used = np.flatnonzero(np.isfinite(volume["intensity"].values))
    return np.random.default_rng(0).choice(used, min(FOLLOWED, len(used)), replace=False)


def trajectory_volume(
    volume: xr.Dataset,
    engine: SampledEngine,
    supercell: Supercell,
    average: TrajectoryAverage,
    scale: float,
) -> xr.Dataset:
    """An empty volume filled with the mean over a trajectory, indexed in its mean cell.

    Args:
        volume: from :func:`bayestds.scattering.simulation.empty_volume`.
        engine: that made the sum.
        supercell: the periodic supercell.
        average: over the trajectory.
        scale: overall factor of the intensity.
    """
    to_conventional = np.linalg.inv(conventional_multiples(supercell))
    lattice = np.linalg.cholesky(to_conventional @ average.metric @ to_conventional.T)
    return averaged_volume(volume, engine, average.intensity, scale).assign_attrs(
        snapshots=int(average.intensity.count),
        configurations=average.configurations,
        # Molecular dynamics moves atoms by Newton's equations.
        statistics="classical",
        lattice=tuple(cell_to_cellpar(lattice).tolist()),
    )


def statistical_inefficiency(series: Float[np.ndarray, "n m"]) -> float:
    """How many values in the order of time are worth one independent one, g = 1 + 2 Σ_t (1 - t/n) ρ(t).

    The autocorrelation ρ(t) is the mean over m series, each normalised. Its sum ends before the first pair
    ρ(2t) + ρ(2t+1) that is not positive (Geyer's initial positive sequence, Statist. Sci. 7 (1992) 473), and
    anticorrelation is not credited: g ≥ 1.

    Args:
        series: n values of m quantities, in the order of time.
    """
    n = len(series)
    # Padded with zeros, so that the end does not meet the beginning.
    spectrum = np.abs(np.fft.rfft(series - series.mean(axis=0), 2 * n, axis=0)) ** 2
    # The estimator with 1/n for every lag: the factor 1 - t/n is in it.
    covariance = np.fft.irfft(spectrum, 2 * n, axis=0)[:n] / n
    # A quantity that never changes is one value, however often it was written.
    moving = covariance[0] > (1e-9 * series.mean(axis=0)) ** 2
    still = (1 - np.arange(n) / n)[:, None]
    correlation = np.where(moving, covariance / np.where(moving, covariance[0], 1.0), still).mean(axis=1)
    pairs = np.add.reduceat(correlation, np.arange(0, n, 2))
    end = 2 * int(np.argmin(np.append(pairs > 0, False)))
    return max(1.0, 2 * float(correlation[:end].sum()) - 1)
