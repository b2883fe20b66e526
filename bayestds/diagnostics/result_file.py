"""Result files: netCDF, written whole."""

import os
from pathlib import Path
from typing import Any

import xarray as xr

from bayestds.diagnostics.dataset import ERRORS, POINT_FIT, POSTERIOR
from bayestds.errors import ResultError
from bayestds.io.atomic import atomic_path
from bayestds.io.hdf5 import declared_bytes
from bayestds.memory import too_much

REQUIRED = (
    "value",
    "standard_error",
    *ERRORS.values(),
    "covariance",
    "plain_covariance",
    "prior_scale",
    "self_coefficients",
    "shell",
)
"""Variables of a point fit that its summary needs."""


def write_result(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a result file; it appears whole or not at all."""
    packed = {"point_of_voxel": {"zlib": True, "complevel": 1}}
    observed = [node.path for node in tree.subtree if "point_of_voxel" in node.dataset]
    with atomic_path(path, tree.nbytes) as temporary:
        tree.to_netcdf(temporary, engine="h5netcdf", encoding=dict.fromkeys(observed, packed))


def read_result(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a result file into memory.

    Raises:
        ResultError: the file is missing, cannot be read, does not fit into memory, or is not a result of
            bayestds.
    """
    if not Path(path).is_file():
        raise ResultError(
            f"The result file {path} does not exist.", "There is no file of this name.", "Check the path."
        )
    try:
        if reason := too_much(declared_bytes(path)):
            raise ResultError(
                f"The result file {path} is too large.",
                reason,
                "It may be damaged: make it again, or use a computer with more memory.",
            )
        tree = xr.open_datatree(path, engine="h5netcdf").load()
        tree.close()
    except ResultError:
        raise
    except Exception as error:  # a damaged HDF5 file can raise almost anything
        raise ResultError(
            f"The result file {path} cannot be read.",
            f"{type(error).__name__}: {error}",
            "Give a file that `bayestds fit` or `sample` wrote; this one may be damaged or something else.",
        ) from error
    fit: Any = tree.children.get(POINT_FIT, {})
    missing = [name for name in REQUIRED if name not in fit]
    kind = tree.attrs.get("kind")
    if kind not in (POINT_FIT, POSTERIOR) or missing or kind not in tree.children:
        raise ResultError(
            f"{path} is not a result of bayestds.",
            f"A group '{POINT_FIT}' with {', '.join(missing) or 'its kind stated'} is missing.",
            "Give a file that `bayestds fit` or `bayestds sample` wrote.",
        )
    return tree
