"""Results as labelled groups of arrays, with the names that ArviZ knows. The one door to ArviZ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_base import dict_to_dataset
from scipy.special import logsumexp

from bayestds.diagnostics.cubic_group import cubic_group
from bayestds.inference.joint import JointFit
from bayestds.inference.nuts import Draws
from bayestds.inference.point_fit import PointFit
from bayestds.inference.predictive import Predictions
from bayestds.inference.priors import PRIOR_SCALE, Prior, log_prior, prior_standard_deviations
from bayestds.inference.problem import Problem
from bayestds.inference.uncertainty import Uncertainty
from bayestds.scattering.instrument import Instrument

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
    groups = {
        POINT_FIT: _constants(problem, fit, uncertainty.covariance, columns),
        "observed_data": _observed(problem, fit),
        "constant_data": _fixed(problem),
    }
    if problem.instrument is not None and len(fit.background):
        groups["background"] = _background(problem.instrument, fit.background, fit.background_standard_error)
    if problem.third_order is not None:
        groups[CUBIC] = cubic_group(problem, fit, uncertainty.covariance, cubic_columns or {})
    tree = xr.DataTree.from_dict(groups)
    log_scale = float(fit.quadratic.log_scale)
    tree.attrs = _origin(fit) | {"residual_rms": fit.residual_rms, "log_scale": log_scale, **attributes}
    return tree


def _origin(fit: PointFit | JointFit) -> dict[str, Any]:
    """Attributes that say how a result came about."""
    return {
        "kind": POINT_FIT,
        "bayestds_version": version("bayestds"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "converged": int(fit.converged),
        "message": fit.message,
    }


def joint_tree(
    fit: JointFit,
    uncertainty: Uncertainty,
    columns: dict[str, np.ndarray],
    volumes: Sequence[dict[str, Any]],
    attributes: dict[str, Any],
) -> xr.DataTree:
    """Data tree of a joint fit: point_fit and constant_data at the reference temperature, and each volume.

    The data and fixed values of the volumes lie in volume_1/observed_data, volume_1/constant_data and so on.

    Args:
        fit: the joint fit.
        uncertainty: its errors.
        columns: further values by irreducible constant, (n_irreducible,) each.
        volumes: attributes of each volume: its name, and so on.
        attributes: of the root.
    """
    problems = fit.problem.problems
    here = replace(fit.volumes[0], irreducible=fit.irreducible, covariance=fit.irreducible_covariance)
    constants = _constants(problems[0], here, uncertainty.covariance, columns)
    constants = constants.drop_vars(["history", "history_rms"])
    if fit.trend is not None:
        units = {"units": "eV/Å² per 100 K"}
        constants["trend"] = ("irreducible", fit.trend, units)
        n = len(fit.irreducible)
        trend_errors = np.sqrt(np.diag(uncertainty.covariance))[n : 2 * n]
        constants["trend_standard_error"] = ("irreducible", trend_errors, units)
    at_reference = replace(problems[0], temperature=fit.problem.reference_temperature)
    groups = {POINT_FIT: constants, "constant_data": _fixed(at_reference)}
    errors = fit.background_standard_errors
    for number, (problem, one) in enumerate(zip(problems, fit.volumes, strict=True), start=1):
        if problem.instrument is not None and len(one.background):
            terms = _background(problem.instrument, one.background, errors[number - 1])
            groups[f"volume_{number}/background"] = terms
        groups[f"volume_{number}/observed_data"] = _observed(problem, one)
        groups[f"volume_{number}/constant_data"] = _fixed(problem)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = _origin(fit) | attributes
    for number, given in enumerate(volumes, start=1):
        tree[f"volume_{number}"].attrs = given
    return tree


def _named_sites(draws: Draws) -> dict[str, np.ndarray]:
    """Draws by variable, which cannot have the name of its dimension; offsets only serve the sampler."""
    return {
        IFCS if name == "irreducible" else name: values
        for name, values in draws.sites.items()
        if name not in ("background_offset", "cubic_offset")
    }


def posterior_tree(
    fitted: xr.DataTree, prior: Prior, draws: Draws, predictions: Predictions, attributes: dict[str, Any]
) -> xr.DataTree:
    """Data tree of a posterior, in the groups and names of ArviZ.

    Args:
        fitted: tree of the point fit that the posterior started from.
        prior: of the force constants.
        draws: of the posterior.
        predictions: of the draws and of the prior.
        attributes: of the root that replace those of the point fit.
    """
    fit = fitted[POINT_FIT].dataset
    labels = {"irreducible": fit["irreducible"].values, "point": np.arange(len(predictions.stars))}
    prior_sd = ("irreducible", _prior_widths(prior, draws), {"units": "eV/Å²"})

    def group(
        data: dict[str, np.ndarray], dims: dict, units: str, draw: np.ndarray | None = None
    ) -> xr.Dataset:
        chains, n_draws = next(iter(data.values())).shape[:2]
        sampled = {"chain": np.arange(chains), "draw": np.arange(n_draws) if draw is None else draw}
        named = {name: ["chain", "draw", *dims.get(name, [])] for name in data}
        return _dataset(data, {**labels, **sampled}, named, units)

    variable = predictions.variable
    by_point, by_star = {variable: ["point"]}, {variable: ["star"]}
    units = UNITS if variable == "log_intensity" else variable
    by_constant = {IFCS: ["irreducible"], "shrinkage_shell": ["shell_number"], "background": ["term"]}
    by_constant |= {CUBIC: ["third_order"]}
    for name, label in (("background", "term"), (CUBIC, "third_order")):
        if name in fitted.children:
            labels[label] = fitted[name][label].values
    of_prior = {IFCS: predictions.prior, CUBIC: predictions.prior_cubic}
    prior_sites = {name: values[None] for name, values in of_prior.items() if values is not None}
    groups = {
        POSTERIOR: group(_named_sites(draws), by_constant, "eV/Å²").assign_coords(shell=fit["shell"]),
        "prior": group(prior_sites, by_constant, "eV/Å²"),
        "posterior_predictive": group(
            {variable: predictions.replicated}, by_point, units, predictions.replicated_draws
        ),
        "prior_predictive": group({variable: predictions.prior_replicated[None]}, by_point, units),
        "log_prior": group({"force_constants": log_prior(prior, draws.sites)}, {}, "nats"),
        "log_likelihood": group(
            {variable: predictions.log_likelihood}, by_star, "nats", predictions.likelihood_draws
        ),
        "observed_data": fitted["observed_data"].dataset.assign(star=("point", predictions.stars)),
        "constant_data": fitted["constant_data"].dataset.assign(prior_sd=prior_sd),
    }
    for name in (POSTERIOR, "prior"):
        groups[name][IFCS].attrs["units"] = "eV/Å²"
        if CUBIC in groups[name]:
            groups[name][CUBIC].attrs["units"] = "eV/Å³"
    if "background" in draws.sites:
        groups[POSTERIOR]["background"].attrs["units"] = BACKGROUND_UNITS
    if draws.statistics:
        depth = np.floor(np.log2(np.maximum(draws.statistics["n_steps"], 1))).astype(int) + 1
        groups["sample_stats"] = group({**draws.statistics, "tree_depth": depth}, {}, "see ArviZ")
    tree = xr.DataTree.from_dict({name: node.dataset for name, node in fitted.children.items()} | groups)
    tree.attrs = {**fitted.attrs, "kind": POSTERIOR, **attributes}
    return tree


def _prior_widths(prior: Prior, draws: Draws) -> np.ndarray:
    """Standard deviations (n_irreducible,) in the prior; a learned scale is that of the draws."""
    widths = np.asarray(prior_standard_deviations(prior))
    if PRIOR_SCALE not in draws.sites:
        return widths
    return widths * np.sqrt(np.mean(np.exp(2 * draws.sites[PRIOR_SCALE])))


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

    (density,) = tree["log_likelihood"].dataset.data_vars.values()
    weights, shape = density.azstats.psislw(dim=["chain", "draw"])
    return LeftOut(logsumexp((density + weights).values, axis=(0, 1)), shape.values)


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
        "history": fit.history[:, :-1],
        "history_rms": fit.history[:, -1],
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
    return _dataset(data, coordinates, dims, "eV/Å²")


def _background(instrument: Instrument, strengths: np.ndarray, errors: np.ndarray) -> xr.Dataset:
    data = {
        "value": strengths,
        "standard_error": errors,
        "prior_scale": np.asarray(instrument.scales),
    }
    return _dataset(
        data, {"term": list(instrument.names)}, {name: ["term"] for name in data}, BACKGROUND_UNITS
    )


def _observed(problem: Problem, fit: PointFit) -> xr.Dataset:
    likelihood = problem.likelihood
    data = {
        "log_intensity": np.asarray(likelihood.log_observed),
        likelihood.variable: np.asarray(likelihood.observed),
        "fitted": fit.log_intensity,
        "expected": np.asarray(likelihood.expectation(jnp.asarray(fit.log_intensity))),
        "residual": fit.residual,
        "weight": fit.weight,
        "multiplicity": problem.grid.multiplicity,
        "q_points": problem.grid.q_points,
        "point_of_voxel": problem.grid.point_of_voxel.astype(np.int32),
    }
    dims = {name: ["point"] for name in data}
    dims |= {"q_points": ["point", "index"], "point_of_voxel": ["h", "k", "l"]}
    axes = problem.grid.axes
    coordinates = {"index": list("hkl"), **dict(zip("hkl", axes.coordinates, strict=True))}
    observed = _dataset(data, coordinates, dims, UNITS)
    # Only where the axes do not run along h, k and l, as in a volume.
    return observed if axes.along_hkl else observed.assign_attrs(directions=axes.directions.ravel())


def _fixed(problem: Problem) -> xr.Dataset:
    crystal = problem.irreducible.crystal
    data = {
        "lattice_vectors": crystal.conventional_lattice,
        "supercell_matrix": problem.supercell.matrix,
        "temperature": np.array(problem.temperature),
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
    fixed = _dataset(data, {}, dims, "Å, amu, K")
    fixed = fixed.assign_attrs(invariance=problem.irreducible.invariance)
    return fixed.assign(species=("atom", list(crystal.species)))


def _dataset(
    data: dict[str, np.ndarray], coordinates: dict[str, Any], dims: dict[Any, list[str]], units: str
) -> xr.Dataset:
    used = {name for names in dims.values() for name in names}
    kept = {name: values for name, values in coordinates.items() if name in used}
    dataset = dict_to_dataset(data, coords=kept, dims={**dims}, sample_dims=[], attrs={"units": units})
    # ArviZ 1 notes the dimensions above as those of its plots, which look for chains and draws by themselves.
    dataset.attrs.pop("sample_dims", None)
    # Dimensions without labels get none: a running number is no information.
    return dataset.drop_vars([name for name in dataset.coords if name not in kept])
