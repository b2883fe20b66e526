"""What a detector makes of an ideal volume: unmeasured voxels, counts, hot pixels."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayestds.crystal.structure import Crystal
from bayestds.errors import VolumeError

HOT = 100.0
"""Factor on the counts of a hot pixel."""


def unmeasured_volume(
    volume: xr.Dataset, crystal: Crystal, share: float = 0.0, gaps: Sequence[tuple[float, float]] = ()
) -> xr.Dataset:
    """A volume of which a sector of a rotation about c*, and slabs across it, were not measured.

    Args:
        volume: to be left without them.
        crystal: whose reciprocal lattice the axes are in.
        share: of the full turn that was left out.
        gaps: first and last l of each slab, r.l.u., as the gaps between detector modules leave them.

    Raises:
        VolumeError: nothing is left.
    """
    axes = [volume[name].values for name in "hkl"]
    vectors = crystal.scattering_vectors(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    reciprocal = crystal.scattering_vectors(np.eye(3))
    along = reciprocal[2] / np.linalg.norm(reciprocal[2])
    first = reciprocal[0] - (reciprocal[0] @ along) * along
    first /= np.linalg.norm(first)
    angle = np.arctan2(vectors @ np.cross(along, first), vectors @ first) % (2 * np.pi)
    left_out = angle < 2 * np.pi * share
    for low, high in gaps:
        left_out |= (axes[2] >= low) & (axes[2] <= high)
    kept = np.where(left_out, np.nan, volume["intensity"].values)
    if not np.isfinite(kept).any():
        raise VolumeError(
            "Nothing of the volume was measured.",
            f"{share:.0%} of the turn and {len(gaps)} gaps leave no voxel.",
            "Leave less of it out.",
        )
    return volume.assign(intensity=volume["intensity"].copy(data=kept))


def counted_volume(volume: xr.Dataset, mean_counts: float, seed: int) -> xr.Dataset:
    """A volume of Poisson counts in place of its intensities, which become counts over a normalisation.

    Args:
        volume: intensities without noise.
        mean_counts: counts of a measured voxel in the mean.
        seed: of the random numbers.
    """
    intensity = volume["intensity"].values
    measured = np.isfinite(intensity)
    normalisation = mean_counts / intensity[measured].mean()
    counts = np.zeros(intensity.shape)
    counts[measured] = np.random.default_rng(seed).poisson(normalisation * intensity[measured])
    found = np.where(measured, counts / normalisation, np.nan)
    return volume.assign(
        intensity=volume["intensity"].copy(data=found), counts=volume["intensity"].copy(data=counts)
    ).assign_attrs(noise="counts", mean_counts=mean_counts, seed=seed)


def with_hot_pixels(volume: xr.Dataset, share: float, seed: int) -> xr.Dataset:
    """A volume of counts in which some voxels, chosen at random, count :data:`HOT` times as much.

    Args:
        volume: from :func:`counted_volume`.
        share: of the measured voxels.
        seed: of the random numbers.
    """
    intensity = volume["intensity"].values
    rng = np.random.default_rng([seed, 1])
    hot = np.isfinite(intensity) & (rng.uniform(size=intensity.shape) < share)
    factor = np.where(hot, HOT, 1.0)
    return volume.assign(intensity=volume["intensity"] * factor, counts=volume["counts"] * factor)
