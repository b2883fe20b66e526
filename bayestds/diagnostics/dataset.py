"""Result files: labelled groups in one netCDF file, written whole. The one door to ArviZ."""

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset

from bayestds.errors import ResultError
from bayestds.inference.point_fit import PointFit, Problem
from bayestds.io.atomic import atomic_path

POINT_FIT = "point_fit"

REQUIRED = ("value", "standard_error", "clustered_standard_error", "prior_scale", "shell")
"""Variables of a point fit that its summary needs."""


def point_fit_tree(
    problem: Problem,
    fit: PointFit,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: dict[str, np.ndarray],
    attributes: dict[str, Any],
) -> xr.DataTree:
    """Data tree of a point fit: the groups point_fit, observed_data and constant_data.

    Args:
        problem: what was fitted.
        fit: its result.
        axes: h, k, l of the voxels.
        columns: further values by irreducible constant, (n_irreducible,) each, such as the start.
        attributes: of the root: the model file, the command, and so on.
    """
    groups = {
        POINT_FIT: _constants(problem, fit, columns),
        "observed_data": _observed(problem, fit, axes),
        "constant_data": _fixed(problem),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "kind": POINT_FIT,
        "bayestds_version": version("bayestds"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "converged": int(fit.converged),
        "message": fit.message,
        "residual_rms": fit.residual_rms,
        "log_scale": fit.log_scale,
        **attributes,
    }
    return tree


def _constants(problem: Problem, fit: PointFit, columns: dict[str, np.ndarray]) -> xr.Dataset:
    data = {
        "value": fit.irreducible,
        "standard_error": np.sqrt(np.diag(fit.covariance)),
        "covariance": fit.covariance,
        "prior_scale": problem.prior_scales,
        "shell": problem.irreducible.shells,
        "history": fit.history[:, :-1],
        "history_rms": fit.history[:, -1],
        **columns,
    }
    dims = {name: ["irreducible"] for name in data}
    dims |= {"covariance": ["irreducible", "irreducible_2"], "history": ["round", "irreducible"]}
    dims |= {"history_rms": ["round"]}
    names = list(problem.irreducible.names)
    return _dataset(data, {"irreducible": names, "irreducible_2": names}, dims, "eV/Å²")


def _observed(problem: Problem, fit: PointFit, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> xr.Dataset:
    data = {
        "log_intensity": np.asarray(problem.data.log_intensity),
        "fitted": fit.log_intensity,
        "residual": fit.residual,
        "weight": np.asarray(problem.data.weight) / fit.noise_variance,
        "multiplicity": problem.grid.multiplicity,
        "q_points": problem.grid.q_points,
        "point_of_voxel": problem.grid.point_of_voxel.astype(np.int32),
    }
    dims = {name: ["point"] for name in data}
    dims |= {"q_points": ["point", "index"], "point_of_voxel": ["h", "k", "l"]}
    coordinates = {"index": list("hkl"), **dict(zip("hkl", axes, strict=True))}
    return _dataset(data, coordinates, dims, "log of arbitrary units")


def _fixed(problem: Problem) -> xr.Dataset:
    data = {
        "lattice_vectors": problem.irreducible.crystal.conventional_lattice,
        "supercell_matrix": problem.supercell.matrix,
        "temperature": np.array(problem.temperature),
    }
    dims = {"lattice_vectors": ["vector", "axis"], "supercell_matrix": ["supercell_vector", "vector"]}
    return _dataset(data, {}, dims, "Å, K")


def _dataset(
    data: dict[str, np.ndarray], coordinates: dict[str, Any], dims: dict[Any, list[str]], units: str
) -> xr.Dataset:
    used = {name for names in dims.values() for name in names}
    kept = {name: values for name, values in coordinates.items() if name in used}
    dataset = dict_to_dataset(data, coords=kept, dims={**dims}, sample_dims=[], attrs={"units": units})
    # Dimensions without labels get none: a running number is no information.
    return dataset.drop_vars([name for name in dataset.coords if name not in kept])


def write_result(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a result file; it appears whole or not at all."""
    with atomic_path(path) as temporary:
        tree.to_netcdf(
            temporary,
            engine="h5netcdf",
            encoding={"/observed_data": {"point_of_voxel": {"zlib": True, "complevel": 1}}},
        )


def read_result(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a result file into memory.

    Raises:
        ResultError: the file is missing, cannot be read, or is not a result of bayestds.
    """
    if not Path(path).is_file():
        raise ResultError(f"The result file {path} does not exist.", "", "Check the path.")
    try:
        tree = xr.open_datatree(path, engine="h5netcdf").load()
        tree.close()
    except Exception as error:  # a damaged HDF5 file can raise almost anything
        raise ResultError(
            f"The result file {path} cannot be read.",
            f"{type(error).__name__}: {error}",
            "Give a file that `bayestds fit` wrote; this one may be damaged or something else.",
        ) from error
    fit: Any = tree.children.get(POINT_FIT, {})
    missing = [name for name in REQUIRED if name not in fit]
    if tree.attrs.get("kind") != POINT_FIT or missing:
        raise ResultError(
            f"{path} is not a result of bayestds.",
            f"A group '{POINT_FIT}' with {', '.join(missing) or 'its kind stated'} is missing.",
            "Give a file that `bayestds fit` wrote.",
        )
    return tree
