"""The measured voxels of a volume, slab by slab."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.slabs import Place, slabs
from bayestds.scattering.voxels import Voxels


def is_counted(volume: xr.Dataset) -> bool:
    """Whether counts are used: standard errors go before them."""
    return "counts" in volume and "sigma" not in volume


def _flat(place: Place, shape: tuple[int, ...]) -> np.ndarray:
    """Flat indices of the voxels of a slab in an array of this shape."""
    h, k, l_ = (np.arange(size)[part] for part, size in zip(place, shape, strict=True))
    return (h[:, None, None] * shape[1] + k[:, None]) * shape[2] + l_


def raw_voxels(volume: xr.Dataset, grid: IrreducibleGrid) -> Iterator[dict[str, np.ndarray]]:
    """Places, points and values (n_voxels,) of the voxels with a point, slab by slab, as they are stored."""
    keys = ["intensity", "counts" if is_counted(volume) else "sigma", "transmission"]
    for place, part in slabs(volume):
        point = grid.point_of_voxel[place]
        used = point >= 0
        values = {key: part[key].values[used].astype(float) for key in keys if key in part}
        yield {"place": _flat(place, grid.point_of_voxel.shape)[used], "point": point[used]} | values


def error_of_one_count(volume: xr.Dataset, grid: IrreducibleGrid) -> float | None:
    """Standard error of one count, as errors that were made from counts show it: the median of σ²/I.

    Programs that take the root of the counts write an error of 0 where there was none. None without any such
    voxel.
    """
    found, n_empty = [], 0
    for values in raw_voxels(volume, grid):
        intensity, sigma = values["intensity"], values["sigma"]
        counted = (intensity > 0) & (sigma > 0)
        found.append(sigma[counted] ** 2 / intensity[counted])
        n_empty += int(((intensity == 0) & ~(sigma > 0)).sum())
    ratios = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(ratios)) if n_empty and len(ratios) else None


@dataclass(frozen=True, eq=False)
class MeasuredVoxels:
    """The voxels of a volume that have a point of a grid, slab by slab, as often as they are asked for.

    Attributes:
        volume: intensities, and what goes with them.
        grid: the points.
        exposure: of voxels without counts, where counts are used.
        one_count: standard error of one count, for voxels of zero that have none.
    """

    volume: xr.Dataset
    grid: IrreducibleGrid
    exposure: float | None
    one_count: float | None = None

    def __iter__(self) -> Iterator[Voxels]:
        for values in raw_voxels(self.volume, self.grid):
            through = values.pop("transmission", 1.0)
            if self.exposure is not None:
                counts, exposure = values["counts"], np.full(values["counts"].shape, self.exposure)
                np.divide(counts, values["intensity"], out=exposure, where=counts > 0)
                values["exposure"] = exposure * through
            if self.one_count is not None:
                empty = (values["intensity"] == 0) & ~(values["sigma"] > 0)
                values["sigma"] = np.where(empty, self.one_count, values["sigma"])
            scaled = {key: values[key] / through for key in ("intensity", "sigma") if key in values}
            yield Voxels(**values | scaled)
