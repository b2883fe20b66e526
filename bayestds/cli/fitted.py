"""A model fitted to a volume, as the commands `fit` and `sample` begin."""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.cli.assemble import NOISE_FREE_SIGMA, Study
from bayestds.cli.output import plain
from bayestds.diagnostics.cubic import Anharmonicity, compare_fits
from bayestds.diagnostics.dataset import point_fit_tree
from bayestds.diagnostics.residuals import ResidualReport, residual_report, zone_labels
from bayestds.inference.ensemble import ensemble_fit
from bayestds.inference.information import clustered_covariance
from bayestds.inference.noise import learn_noise
from bayestds.inference.point_fit import PointFit, point_fit, with_cubic
from bayestds.inference.problem import Problem
from bayestds.io.checkpoint import fingerprint


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model fitted to a volume.

    Attributes:
        volume: the data.
        problem: what was fitted.
        result: the point fit.
        columns: further values by irreducible constant.
        residuals: statistics of the residuals.
        tree: all of it as a result file holds it.
        exact: whether the volume is free of noise, as it claims.
        noise_after_all: whether the volume claims to be free of noise and is not.
        cubic_columns: further values by third-order constant.
        anharmonicity: what third-order constants explain, None without any.
    """

    volume: xr.Dataset
    problem: Problem
    result: PointFit
    columns: dict[str, np.ndarray]
    residuals: ResidualReport
    tree: xr.DataTree
    exact: bool
    noise_after_all: bool
    cubic_columns: dict[str, np.ndarray]
    anharmonicity: Anharmonicity | None


def run_fit(
    study: Study,
    volume: Path | None,
    start: str | None,
    tell: Callable[[str], None],
    data: xr.Dataset | None = None,
) -> Fitted:
    """Point fit of a study to a volume, by default to the model's own measurement.

    Args:
        study: crystal, force constants and priors.
        volume: the data file.
        start: named IFC set to start from; the model's own by default.
        tell: called with what is going on.
        data: what the file holds, where it was read before.
    """
    begin = start_values(study, start)
    if data is None:
        tell("reading data" if volume else "simulating the model's own measurement")
        data = study.read(volume) if volume else study.own_volume()
    tell("averaging equivalent voxels")
    problem = study.problem(data, str(volume) if volume else "The model's own measurement")
    digest = fingerprint(problem.grid.q_points, problem.data.log_intensity)
    configurations = study.configurations(data)
    harmonic = None
    if configurations:
        problem, result = ensemble_fit(problem, begin, configurations, tell)
    else:
        harmonic, result = _both_fits(problem, begin, tell)
    claims_no_noise = (
        data.attrs.get("noise") == "none" and study.model.fit.noise is None and not configurations
    )
    exact = claims_no_noise and result.residual_rms < NOISE_FREE_SIGMA
    if claims_no_noise and not exact:
        problem = replace(problem, data=learn_noise(problem.data, problem.grid))
        harmonic, result = _both_fits(problem, result.irreducible, tell)
    tell("standard errors and residuals")
    axes = (data["h"].values, data["k"].values, data["l"].values)
    zones = zone_labels(problem.grid.q_points, study.crystal)
    clustered = np.split(_clustered_errors(problem, result, zones), [len(begin)])
    columns = {"start": begin, "clustered_standard_error": clustered[0]} | _reference(study)
    cubic_columns = {"clustered_standard_error": clustered[1]}
    residuals = residual_report(result.residual, problem.grid.point_of_voxel, axes, zones, study.crystal)
    anharmonicity = None
    if harmonic is not None:
        errors = np.sqrt(np.diag(harmonic.covariance))
        columns |= {"harmonic": harmonic.irreducible, "harmonic_standard_error": errors}
        before = residual_report(harmonic.residual, problem.grid.point_of_voxel, axes, zones, study.crystal)
        anharmonicity = compare_fits(study.irreducible.names, harmonic, result, before, residuals)
    attributes = _origin(study, volume, problem) | {
        "data_digest": digest,
        "residuals": json.dumps(plain(asdict(residuals))),
    }
    if anharmonicity is not None:
        attributes["anharmonicity"] = json.dumps(plain(asdict(anharmonicity)))
    tree = point_fit_tree(problem, result, axes, columns, attributes, cubic_columns)
    after_all = claims_no_noise and not exact
    return Fitted(
        data, problem, result, columns, residuals, tree, exact, after_all, cubic_columns, anharmonicity
    )


def _origin(study: Study, volume: Path | None, problem: Problem) -> dict[str, str]:
    """Attributes that say what was fitted to what."""
    return {
        "model": study.model.path.stem,
        "model_text": study.model.text,
        "data": str(volume or ""),
        "statistics": problem.statistics,
        "command": shlex.join(["bayestds", *sys.argv[1:]]),
    }


def _both_fits(
    problem: Problem, start: np.ndarray, tell: Callable[[str], None]
) -> tuple[PointFit | None, PointFit]:
    """The harmonic fit of a problem with third-order constants, None of any other, and the fit."""
    if problem.third_order is None:
        return None, point_fit(problem, start, tell)
    harmonic = point_fit(problem.harmonic, start, tell)
    tell("third-order constants")
    return harmonic, with_cubic(problem, harmonic, tell)


def start_values(study: Study, name: str | None) -> np.ndarray:
    """Starting values; constants of shells that a set does not know start at 0."""
    name = name or study.model.fit.start or "zero"
    if name == "zero" and "zero" not in study.model.ifcs:
        return np.zeros(study.irreducible.n_irreducible)
    return study.stable_ifcs(name, complete=study.irreducible.n_shells == study.model.force_constants.shells)


def _reference(study: Study) -> dict[str, np.ndarray]:
    """The set that the model compares its constants with, as a column."""
    reference = study.model.fit.reference
    return {} if reference is None else {"reference": study.ifcs(reference, complete=False)}


def _clustered_errors(problem: Problem, result: PointFit, zones: np.ndarray) -> np.ndarray:
    """Standard errors (n_constants,) of residuals correlated within zones; NaN where noise crosses zones."""
    if problem.data.correlation is not None:
        return np.full(len(result.precision), np.nan)
    weight = jnp.asarray(result.weight / result.noise_variance)
    weighted = replace(problem.data, weight=weight, learned=False)
    clustered = clustered_covariance(
        weighted,
        result.derivative,
        result.residual,
        result.precision,
        problem.constant_scales**-2.0,
        zones,
    )
    return np.sqrt(np.diag(np.asarray(clustered)))
