"""Voxels of exactly zero: measured, or written as zero because nothing was measured there?

Programs write 0 for voxels that no detector pixel reached; a photon counter gives 0 where no photon came.
Leaving out the second kind biases an intensity (a mean of 1 count becomes 1.59), keeping the first kind does
so no less. A zero is taken as unmeasured where it cannot be a measurement: where its equivalents are far
above the noise, or where it lies in a block of zeros amid intensities far above the noise. Of all others
somebody must say what they are.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import ndimage
from scipy.optimize import nnls

from bayestds.choices import ZerosAre
from bayestds.errors import VolumeError
from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.slabs import Place, slabs
from bayestds.scattering.volume import volume_axes

FAR = 5.0
"""Standard deviations from zero of intensities that zero is no measurement of."""

COUNTS = 25.0
"""The same in counts, for intensities that come in few sizes: nobody sees zero of so many in e²⁵ voxels."""

AGREED = 0.5
"""Share of the zeros of a region with equivalents that these must contradict: measured ones do so never."""

FEW_SIZES, COMMON = 10, 0.2
"""Intensities are quantised where so many of their sizes make up this share of them."""

BINS = 20
"""Classes of intensity in which the scatter of equivalents is taken."""

SAMPLED = 40_000
"""Intensities that are looked at for their sizes, about."""


@dataclass(frozen=True)
class Zeros:
    """How many voxels of exactly zero a volume has, and what they were taken for.

    Attributes:
        contradicted: unmeasured, as equivalents show.
        blocks: unmeasured, without equivalents, in blocks.
        stated: what they are by statement, "measured" or "unmeasured"; None where nothing was stated.
        n_stated: how many the statement is on.
    """

    contradicted: int = 0
    blocks: int = 0
    stated: str | None = None
    n_stated: int = 0


def unmeasured_zeros(
    volume: xr.Dataset, grid: IrreducibleGrid, zero: np.ndarray, stated: ZerosAre | None = None
) -> tuple[np.ndarray, Zeros]:
    """The zeros of a volume that nothing was measured of.

    Args:
        volume: the volume.
        grid: points of all voxels that could be used, the zeros among them.
        zero: (n_h, n_k, n_l) bool, voxels of the grid of exactly zero that nothing says more of.
        stated: what those are that may be either, where somebody says it.

    Returns:
        (n_h, n_k, n_l) bool, and how many there are.

    Raises:
        VolumeError: there are zeros that may be either, and nobody says which.
    """
    mean, variance, sizes = _equivalents(volume, grid, zero)
    law = _scatter(mean, variance)
    least = _one_count(sizes)
    far = np.zeros(len(mean), dtype=bool)
    exist = np.isfinite(mean)
    far[exist] = _far(mean[exist], law, least)
    region, n_regions = ndimage.label(zero, np.ones((3, 3, 3)))
    point = grid.point_of_voxel[zero]
    number = region[zero]
    told = np.bincount(number, exist[point], minlength=n_regions + 1)
    against = np.bincount(number, far[point], minlength=n_regions + 1)
    contradicted = (told > 0) & (against >= AGREED * told)
    blocks = np.zeros(n_regions + 1, dtype=bool)
    boxes = ndimage.find_objects(region)
    for one in (np.flatnonzero(told[1:] == 0) + 1).tolist():
        blocks[one] = _is_block(volume, grid, region, (one, boxes[one - 1]), law, least)
    unmeasured = (contradicted | blocks)[region] & zero
    doubtful = zero & ~unmeasured
    if doubtful.any() and stated is None:
        raise _ask(volume, doubtful, int(zero.sum()))
    size = np.bincount(number, minlength=n_regions + 1)
    found = Zeros(
        int(size[contradicted].sum()), int(size[blocks & ~contradicted].sum()), stated, int(doubtful.sum())
    )
    return (zero if stated == "unmeasured" else unmeasured), found


def _equivalents(
    volume: xr.Dataset, grid: IrreducibleGrid, zero: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance (n_q,) of equivalents that are not zero, NaN where unknown; some of all of them."""
    n_points = len(grid.q_points)
    n, total, square = np.zeros(n_points), np.zeros(n_points), np.zeros(n_points)
    sizes, step = [], -(-int(grid.multiplicity.sum()) // SAMPLED)
    for place, part in slabs(volume):
        used = (grid.point_of_voxel[place] >= 0) & ~zero[place]
        point, values = grid.point_of_voxel[place][used], part["intensity"].values[used].astype(float)
        n += np.bincount(point, minlength=n_points)
        total += np.bincount(point, values, minlength=n_points)
        square += np.bincount(point, values**2, minlength=n_points)
        sizes.append(values[::step])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, total / n, np.nan)
        variance = np.where(n > 1, np.maximum(square - total * mean, 0) / (n - 1), np.nan)
    return mean, variance, np.concatenate(sizes)


def _scatter(mean: np.ndarray, variance: np.ndarray) -> np.ndarray | None:
    """Coefficients (3,) of the variance of a voxel by powers of its intensity; None where they show nothing.

    Where hardly any voxel has a count, those that have one all look alike: they scatter little about a mean
    that does not follow the intensity. So orbits must differ by more than their voxels do.
    """
    rows = np.isfinite(variance) & (mean > 0)
    if not rows.any() or np.log(mean[rows]).var() <= (variance[rows] / mean[rows] ** 2).mean():
        return None
    order = np.argsort(mean[rows])
    classes = np.array_split(order, min(BINS, len(order)))
    centre = np.array([mean[rows][one].mean() for one in classes])
    spread = np.array([variance[rows][one].mean() for one in classes])
    weight = 1 / np.maximum(spread, 1e-6 * centre**2)
    return nnls(weight[:, None] * centre[:, None] ** [0, 1, 2], weight * spread)[0]


def _one_count(sizes: np.ndarray) -> float:
    """The smallest positive intensity where these come in few sizes, as counts do; else 0."""
    positive = sizes[sizes > 0]
    if not len(positive):
        return 0.0
    _, n = np.unique(np.round(np.log(positive), 6), return_counts=True)
    common = np.sort(n)[-FEW_SIZES:].sum()
    return float(positive.min()) if common > COMMON * len(positive) else 0.0


def _far(intensity: np.ndarray, law: np.ndarray | None, least: float) -> np.ndarray:
    """Whether zero is no measurement of these intensities (n,)."""
    if law is None:
        return np.zeros(intensity.shape, dtype=bool)
    variance = intensity[:, None] ** [0, 1, 2] @ law
    return (intensity > FAR * np.sqrt(variance)) & (intensity > COUNTS * least)


def _is_block(
    volume: xr.Dataset,
    grid: IrreducibleGrid,
    region: np.ndarray,
    numbered: tuple[int, Place],
    law: np.ndarray | None,
    least: float,
) -> bool:
    """Whether a region of zeros is a block amid intensities that are far from zero."""
    number, box = numbered
    around = tuple(
        slice(max(part.start - 1, 0), min(part.stop + 1, size))
        for part, size in zip(box, region.shape, strict=True)
    )
    inside, unused = region[around] == number, grid.point_of_voxel[around] < 0
    core = ndimage.binary_erosion(inside | unused, np.ones((3, 3, 3)), border_value=1) & inside
    beside = ndimage.binary_dilation(inside, np.ones((3, 3, 3))) & ~inside & ~unused & (region[around] == 0)
    if not core.any() or not beside.any():
        return False
    values = volume["intensity"][around].values[beside].astype(float)
    return bool(_far(values, law, least).mean() > 0.5)


def _ask(volume: xr.Dataset, doubtful: np.ndarray, n_zeros: int) -> VolumeError:
    where = volume_axes(volume).at(tuple(np.argwhere(doubtful)[0]))
    return VolumeError(
        f"{doubtful.sum()} of {n_zeros} voxels of exactly zero may be measured or not.",
        f"The first is at {np.round(where, 4).tolist()} r.l.u.; they lie among small or quantised "
        "intensities, or have no equivalents that tell.",
        'Say which in [measurement] of the model: zeros = "measured", for example of photon counts that were '
        'normalised, or zeros = "unmeasured".',
    )


def zero_notes(found: Zeros) -> list[str]:
    """Sentences on what the zeros of a volume were taken for."""
    notes = []
    if n := found.contradicted + found.blocks:
        ways = [f"{found.contradicted} that their equivalents contradict"] if found.contradicted else []
        ways += [f"{found.blocks} in blocks"] if found.blocks else []
        notes.append(f"{n} voxels of exactly zero are taken as unmeasured: {' and '.join(ways)}.")
    if found.stated is not None and found.n_stated:
        notes.append(f"{found.n_stated} voxels of exactly zero are {found.stated}, as the model states.")
    return notes
