"""Results as labelled groups of arrays, with the names that ArviZ knows. The one door to ArviZ."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset
from scipy.special import logsumexp

from bayestds.diagnostics.cubic_group import cubic_group
from bayestds.inference.fit_result import PointFit, VolumeFit
from bayestds.inference.problem import Problem
from bayestds.inference.uncertainty import Uncertainty
from bayestds.scattering.instrument import Background

POINT_FIT, POSTERIOR = "point_fit", "posterior"
"""Kinds of results, and the groups that hold them; a posterior comes with the point fit it started from."""

UNITS = "log of arbitrary units"
"""Of log intensities."""

BACKGROUND_UNITS = "forward scattering of a primitive cell; Compton scattering 1"
"""Of the strengths of a background."""

IFCS = "ifcs"
"""Variable of the irreducible force constants in the groups of a posterior."""

CUBIC = "cubic"
"""Group of the third-order force constants, and their variable in the groups of a posterior."""

ERRORS = {
    "plain_sd": "plain_standard_error",
    "star_sd": "star_standard_error",
    "clustered_sd": "clustered_standard_error",
}
"""Kinds of standard errors: keys of JSON records, and variables of results."""


def point_fit_tree(
    problem: Problem,
    fit: PointFit,
    uncertainty: Uncertainty,
    columns: dict[str, np.ndarray],
    attributes: dict[str, Any],
    cubic_columns: dict[str, np.ndarray] | None = None,
) -> xr.DataTree:
    """Data tree of a point fit: point_fit, observed_data, constant_data, and background and cubic if any.

    Args:
        problem: what was fitted.
        fit: its result.
        uncertainty: its errors.
        columns: further values by irreducible constant, (n_irreducible,) each, such as the start.
        attributes: of the root: the model file, the command, and so on.
        cubic_columns: further values by third-order constant, (n_cubic,) each.
    """
    (volume,) = fit.volumes
    groups = {POINT_FIT: _constants(problem, fit, uncertainty.covariance, columns)}
    groups |= _volume_groups(problem, volume, fit.background_standard_errors[0], "")
    if problem.third_order is not None:
        groups[CUBIC] = cubic_group(problem, fit, uncertainty.covariance, cubic_columns or {})
    tree = xr.DataTree.from_dict(groups)
    log_scale = float(volume.quadratic.log_scale)
    tree.attrs = _origin(fit) | {"residual_rms": fit.residual_rms, "log_scale": log_scale, **attributes}
    return tree


def _volume_groups(
    problem: Problem, fit: VolumeFit, errors: np.ndarray, folder: str
) -> dict[str, xr.Dataset]:
    """Groups of a volume in a folder: its data, its fixed values, and its background if any."""
    groups = {
        f"{folder}observed_data": _observed(fit),
        f"{folder}constant_data": _fixed(problem, fit.volume.temperature),
    }
    if len(fit.background):
        groups[f"{folder}background"] = _background(fit.volume.background, fit.background, errors)
    return groups


def _origin(fit: PointFit) -> dict[str, Any]:
    """Attributes that say how a result came about."""
    return {
        "kind": POINT_FIT,
        "bayestds_version": version("bayestds"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "converged": int(fit.converged),
        "message": fit.message,
    }


def joint_tree(
    fit: PointFit,
    uncertainty: Uncertainty,
    columns: dict[str, np.ndarray],
    cubic_columns: dict[str, np.ndarray],
    volumes: Sequence[dict[str, Any]],
    attributes: dict[str, Any],
) -> xr.DataTree:
    """Data tree of a fit to several volumes: constants at the reference temperature, and each volume.

    The data and fixed values of the volumes lie in volume_1/observed_data, volume_1/constant_data and so on.

    Args:
        fit: to several volumes.
        uncertainty: its errors.
        columns: further values by irreducible constant, (n_irreducible,) each.
        cubic_columns: further values by third-order constant, (n_cubic,) each.
        volumes: attributes of each volume: its name, and so on.
        attributes: of the root.
    """
    problem = fit.problem
    constants = _constants(problem, fit, uncertainty.covariance, columns)
    constants = constants.drop_vars(["history", "history_rms"])
    if len(fit.trend):
        units = {"units": "eV/Å² per 100 K"}
        constants["trend"] = ("irreducible", fit.trend, units)
        n = len(fit.irreducible)
        trend_errors = np.sqrt(np.diag(uncertainty.covariance))[n : 2 * n]
        constants["trend_standard_error"] = ("irreducible", trend_errors, units)
    groups = {POINT_FIT: constants, "constant_data": _fixed(problem, problem.reference_temperature)}
    if problem.third_order is not None:
        groups[CUBIC] = cubic_group(problem, fit, uncertainty.covariance, cubic_columns)
    errors = fit.background_standard_errors
    for number, one in enumerate(fit.volumes, start=1):
        groups |= _volume_groups(problem, one, errors[number - 1], f"volume_{number}/")
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = _origin(fit) | attributes
    for number, given in enumerate(volumes, start=1):
        tree[f"volume_{number}"].attrs = given
    return tree


def shells_of(tree: xr.DataTree) -> int:
    """Number of neighbour shells of a result; with invariance the last may have no parameter left."""
    fixed = tree["constant_data"].dataset
    # Results without this number were written before there was any.
    return int(fixed["n_shells"] if "n_shells" in fixed else tree[POINT_FIT].dataset["shell"].max())


def chain_diagnostics(tree: xr.DataTree, variable: str = IFCS) -> dict[str, np.ndarray]:
    """R-hat, bulk and tail effective sample size of each constant; empty without chains."""
    if "sample_stats" not in tree.children:
        return {}
    from arviz_stats import ess, rhat  # half a second that only a posterior needs

    draws = tree[POSTERIOR].dataset[[variable]]
    found = {"r_hat": rhat(draws), "ess_bulk": ess(draws), "ess_tail": ess(draws, method="tail")}
    return {name: values[variable].values for name, values in found.items()}


@dataclass(frozen=True, eq=False)
class LeftOut:
    """How well a posterior predicts each star of k from all others.

    Attributes:
        log_density: (n_stars,) of the observed log intensities, nats.
        pareto_k: (n_stars,) k-hat of the importance sampling that leaves a star out; reliable below 0.7.
    """

    log_density: np.ndarray
    pareto_k: np.ndarray


def leave_one_out(tree: xr.DataTree) -> LeftOut:
    """Pareto-smoothed leave-one-out prediction over whole stars of k (Vehtari et al. 2017).

    Voxels of a star share their noise and much of what they say, so single ones would be predicted too well.
    """
    import arviz_stats  # noqa: F401  (adds the accessor; half a second that only a posterior needs)

    found = []
    for density in tree["log_likelihood"].dataset.data_vars.values():
        weights, shape = density.azstats.psislw(dim=["chain", "draw"])
        found.append((logsumexp((density + weights).values, axis=(0, 1)), shape.values))
    return LeftOut(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def pareto_shape(log_ratios: np.ndarray) -> float:
    """k-hat of importance ratios: below 0.7 the proposal can stand for its target (Vehtari et al. 2024)."""
    import arviz_stats  # noqa: F401  (adds the accessor)

    ratios = xr.DataArray(-log_ratios, dims=["draw"])
    return float(ratios.azstats.psislw(dim=["draw"])[1])


def _constants(
    problem: Problem, fit: PointFit, covariance: np.ndarray, columns: dict[str, np.ndarray]
) -> xr.Dataset:
    n = len(fit.irreducible)
    data = {
        "value": fit.irreducible,
        "standard_error": np.sqrt(np.diag(covariance))[:n],
        "covariance": covariance[:n, :n],
        "plain_covariance": fit.covariance[:n, :n],
        "prior_scale": problem.prior_scales,
        "self_coefficients": problem.irreducible.self_coefficients,
        "shell": problem.irreducible.shells,
        "history": fit.history[:, :n],
        "history_rms": fit.history[:, len(fit.parameters)],
        **columns,
    }
    dims = {name: ["irreducible"] for name in data}
    dims |= {key: ["irreducible", "irreducible_2"] for key in ("covariance", "plain_covariance")}
    dims |= {"history": ["round", "irreducible"]}
    dims |= {"self_coefficients": ["self_term", "irreducible"]}
    dims |= {"history_rms": ["round"]}
    names = list(problem.irreducible.names)
    coordinates = {"irreducible": names, "irreducible_2": names}
    coordinates |= {"self_term": list(problem.irreducible.self_names)}
    return labelled(data, coordinates, dims, "eV/Å²")


def _background(background: Background, strengths: np.ndarray, errors: np.ndarray) -> xr.Dataset:
    data = {
        "value": strengths,
        "standard_error": errors,
        "prior_scale": np.asarray(background.scales),
    }
    return labelled(
        data, {"term": list(background.names)}, {name: ["term"] for name in data}, BACKGROUND_UNITS
    )


def _observed(fit: VolumeFit) -> xr.Dataset:
    likelihood, grid = fit.volume.likelihood, fit.volume.grid
    data = {
        "log_intensity": np.asarray(likelihood.log_observed),
        likelihood.variable: np.asarray(likelihood.observed),
        "fitted": fit.log_intensity,
        "expected": np.asarray(likelihood.expectation(jnp.asarray(fit.log_intensity))),
        "residual": fit.residual,
        "weight": fit.weight,
        "multiplicity": grid.multiplicity,
        "q_points": grid.q_points,
        "point_of_voxel": grid.point_of_voxel.astype(np.int32),
    }
    dims = {name: ["point"] for name in data}
    dims |= {"q_points": ["point", "index"], "point_of_voxel": ["h", "k", "l"]}
    axes = grid.axes
    coordinates = {"index": list("hkl"), **dict(zip("hkl", axes.coordinates, strict=True))}
    observed = labelled(data, coordinates, dims, UNITS)
    # Only where the axes do not run along h, k and l, as in a volume.
    return observed if axes.along_hkl else observed.assign_attrs(directions=axes.directions.ravel())


def _fixed(problem: Problem, temperature: float) -> xr.Dataset:
    crystal = problem.irreducible.crystal
    data = {
        "lattice_vectors": crystal.conventional_lattice,
        "supercell_matrix": problem.supercell.matrix,
        "temperature": np.array(temperature),
        "primitive_vectors": crystal.lattice_vectors,
        "conventional_matrix": crystal.conventional_matrix,
        "given_matrix": crystal.given_matrix,
        "fractional_positions": crystal.fractional_positions,
        "masses": crystal.masses,
        "shell_tolerance": np.array(problem.irreducible.tolerance),
        "n_shells": np.array(problem.irreducible.n_shells),
    }
    dims = {"lattice_vectors": ["vector", "axis"], "supercell_matrix": ["supercell_vector", "vector"]}
    dims |= {"primitive_vectors": ["primitive_vector", "axis"], "masses": ["atom"]}
    dims |= {
        "conventional_matrix": ["vector", "primitive_vector"],
        "given_matrix": ["vector", "given_vector"],
    }
    dims |= {"fractional_positions": ["atom", "primitive_vector"]}
    fixed = labelled(data, {}, dims, "Å, amu, K")
    fixed = fixed.assign_attrs(invariance=problem.irreducible.invariance)
    return fixed.assign(species=("atom", list(crystal.species)))


def labelled(
    data: dict[str, np.ndarray], coordinates: dict[str, Any], dims: dict[Any, list[str]], units: str
) -> xr.Dataset:
    """A group of a result: arrays by name, with dimensions, the coordinates of these, and units."""
    used = {name for names in dims.values() for name in names}
    kept = {name: values for name, values in coordinates.items() if name in used}
    dataset = dict_to_dataset(data, coords=kept, dims={**dims}, sample_dims=[], attrs={"units": units})
    # ArviZ 1 notes the dimensions above as those of its plots, which look for chains and draws by themselves.
    dataset.attrs.pop("sample_dims", None)
    # Dimensions without labels get none: a running number is no information.
    return dataset.drop_vars([name for name in dataset.coords if name not in kept])
