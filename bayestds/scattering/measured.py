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


@dataclass(frozen=True, eq=False)
class MeasuredVoxels:
    """The voxels of a volume that have a point of a grid, slab by slab, as often as they are asked for.

    Attributes:
        volume: intensities, and what goes with them.
        grid: the points.
        exposure: of voxels without counts, where counts are used.
    """

    volume: xr.Dataset
    grid: IrreducibleGrid
    exposure: float | None

    def __iter__(self) -> Iterator[Voxels]:
        for values in raw_voxels(self.volume, self.grid):
            through = values.pop("transmission", 1.0)
            if self.exposure is not None:
                counts, exposure = values["counts"], np.full(values["counts"].shape, self.exposure)
                np.divide(counts, values["intensity"], out=exposure, where=counts > 0)
                values["exposure"] = exposure * through
            scaled = {key: values[key] / through for key in ("intensity", "sigma") if key in values}
            yield Voxels(**values | scaled)
