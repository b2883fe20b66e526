"""The command that fits."""

import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.cli.assemble import NOISE_FREE_SIGMA, Study, build_study
from bayestds.cli.output import check_output, number, plain, print_json, print_table, progress_bar, words
from bayestds.config import load_model
from bayestds.diagnostics.dataset import point_fit_tree, write_result
from bayestds.diagnostics.residuals import ResidualReport, residual_report, zone_labels
from bayestds.errors import ModelError, ResultError
from bayestds.inference.ensemble import ensemble_fit
from bayestds.inference.information import clustered_covariance
from bayestds.inference.noise import learn_noise, reduced_chi_square
from bayestds.inference.point_fit import PointFit, point_fit
from bayestds.inference.problem import Problem
from bayestds.io import read_volume
from bayestds.io.checkpoint import fingerprint
from bayestds.report.plots import save_figure, slices_figure

ACCEPTABLE_CHI_SQUARE = 2.0
"""Chi-square per degree of freedom above which a fit is called into question."""

ENSEMBLE = (
    "Standard errors are those of a harmonic crystal's independent configurations: they allow for noise that "
    "voxels of equal k share."
)

LOOSE_STIFFNESS = 0.1
"""Relative error of the overall stiffness above which the priors are felt."""

ANHARMONIC = (
    "Standard errors are those of a harmonic crystal: they exclude the bias that anharmonicity brings into a "
    "real or molecular-dynamics volume. The clustered ones allow for residuals that are correlated within a "
    "Brillouin zone, not for a shift common to all zones."
)


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
    """

    volume: xr.Dataset
    problem: Problem
    result: PointFit
    columns: dict[str, np.ndarray]
    residuals: ResidualReport
    tree: xr.DataTree
    exact: bool
    noise_after_all: bool


def fit(
    model: str, volume: Path | None, output: Path | None, start: str | None, shells: int | None, as_json: bool
) -> None:
    """Fit a model to a volume, print the table, write the result and the picture."""
    began = time.perf_counter()
    study = build_study(load_model(model), shells)
    refuse_trend(study)
    target = output or Path(f"{study.model.path.stem}_fit.nc")
    picture = picture_path(target)
    check_output(target, picture, inputs=[volume, *study.inputs])
    with progress_bar(study.model.path.stem) as tell:
        fitted = run_fit(study, volume, start, tell)
        write_result(fitted.tree, target)
        save_figure(slices_figure(fitted.tree, study.model.title), picture)
    record = _record(study, fitted)
    record |= {"seconds": time.perf_counter() - began, "output": str(target), "picture": str(picture)}
    record["warnings"] = fit_warnings(study, fitted)
    if as_json:
        note = ENSEMBLE if record["noise"] == "ensemble" else ANHARMONIC
        print_json(record | ({} if fitted.exact else {"note": note}))
    else:
        _print(record, fitted.exact)
    for warning in record["warnings"]:
        words.print(f"Warning: {warning}", markup=False)
    words.print(f"Wrote {target} and {picture}.", markup=False)


def run_fit(study: Study, volume: Path | None, start: str | None, tell: Callable[[str], None]) -> Fitted:
    """Point fit of a study to a volume, by default to the model's own measurement.

    Args:
        study: crystal, force constants and priors.
        volume: the data file.
        start: named IFC set to start from; the model's own by default.
        tell: called with what is going on.
    """
    begin = start_values(study, start)
    tell("reading data" if volume else "simulating the model's own measurement")
    data = read_volume(volume) if volume else study.own_volume()
    tell("averaging equivalent voxels")
    problem = study.problem(data, str(volume) if volume else "The model's own measurement")
    digest = fingerprint(problem.grid.q_points, problem.data.log_intensity)
    configurations = study.configurations(data)
    if configurations:
        problem, result = ensemble_fit(problem, begin, configurations, tell)
    else:
        result = point_fit(problem, begin, tell)
    claims_no_noise = (
        data.attrs.get("noise") == "none" and study.model.fit.noise is None and not configurations
    )
    exact = claims_no_noise and result.residual_rms < NOISE_FREE_SIGMA
    if claims_no_noise and not exact:
        problem = replace(problem, data=learn_noise(problem.data, problem.grid))
        result = point_fit(problem, result.irreducible, tell)
    tell("standard errors and residuals")
    axes = (data["h"].values, data["k"].values, data["l"].values)
    zones = zone_labels(problem.grid.q_points, study.crystal)
    columns = _columns(study, problem, result, begin, zones)
    residuals = residual_report(result.residual, problem.grid.point_of_voxel, axes, zones, study.crystal)
    attributes = {
        "model": study.model.path.stem,
        "model_text": study.model.text,
        "data": str(volume or ""),
        "data_digest": digest,
        "statistics": problem.statistics,
        "command": shlex.join(["bayestds", *sys.argv[1:]]),
        "residuals": json.dumps(plain(asdict(residuals))),
    }
    tree = point_fit_tree(problem, result, axes, columns, attributes)
    return Fitted(data, problem, result, columns, residuals, tree, exact, claims_no_noise and not exact)


def fit_warnings(study: Study, fitted: Fitted) -> list[str]:
    """What a reader of the table should know about this fit."""
    problem, result = fitted.problem, fitted.result
    information = result.precision - np.diag(problem.prior_scales**-2.0)
    return [
        *volume_warnings(study, fitted, expect_temperature=True),
        *stiffness_warnings(result.irreducible, information),
    ]


def volume_warnings(study: Study, fitted: Fitted, expect_temperature: bool) -> list[str]:
    """What a reader should know about a volume and its noise.

    Args:
        study: the model.
        fitted: the fit to this volume.
        expect_temperature: whether the temperature is to be the model's.
    """
    found = []
    volume, problem, result = fitted.volume, fitted.problem, fitted.result
    if fitted.noise_after_all:
        found.append(
            "the volume says that it was simulated without noise, but the fit leaves more than "
            f"{NOISE_FREE_SIGMA:g} of it unexplained; its noise was learned instead."
        )
    expected = study.model.measurement.temperature if study.model.measurement else problem.temperature
    if expect_temperature and abs(problem.temperature - expected) > 1e-3 * expected:
        found.append(
            f"the volume was measured at {problem.temperature:g} K, which was used; the model says "
            f"{expected:g} K."
        )
    if problem.statistics != study.model_statistics:
        found.append(
            f"the volume was simulated with {problem.statistics} statistics, which were used; the model says "
            f"{study.model_statistics}."
        )
    if "configurations" in volume.attrs and problem.data.correlation is None:
        found.append(
            f"the volume is an average over {volume.attrs['configurations']} configurations, whose noise is "
            "shared by voxels of equal k; the standard errors take voxels as independent and are too small."
        )
    chi_square = _chi_square(problem, result)
    if problem.data.correlation is not None and chi_square > ACCEPTABLE_CHI_SQUARE:
        found.append(
            f"chi-square per degree of freedom is {chi_square:.3g}: the residuals are larger than the noise "
            f"of {volume.attrs['configurations']} independent configurations of a harmonic crystal, and the "
            "errors of the constants are larger than those printed."
        )
    if {"sigma", "counts"} & set(volume) and chi_square > ACCEPTABLE_CHI_SQUARE:
        found.append(
            f"chi-square per degree of freedom is {chi_square:.3g}: the residuals are larger than the "
            "standard errors of the volume, and the errors of the constants are larger than those printed."
        )
    return found


def _chi_square(problem: Problem, result: PointFit) -> float:
    """Per degree of freedom, with the weights at the fit."""
    data = replace(problem.data, weight=jnp.asarray(result.weight))
    return float(reduced_chi_square(data, result.residual, len(result.parameter_precision)))


def stiffness_warnings(irreducible: np.ndarray, information: np.ndarray) -> list[str]:
    """Whether the data leave the overall stiffness to the priors.

    Args:
        irreducible: (n_irreducible,) eV/Å².
        information: Fisher information of the data.
    """
    found = []
    stiffness = 1 / np.sqrt(max(irreducible @ information @ irreducible, 1e-300))
    if stiffness > LOOSE_STIFFNESS:
        found.append(
            f"the data determine the overall stiffness to {min(stiffness, 9.99):.0%} at best, so the priors "
            "pull it towards zero: voxels at higher |Q| are needed, where several phonons scatter."
        )
    return found


def refuse_trend(study: Study) -> None:
    """Refuse a model with a temperature trend where there is one volume.

    Raises:
        ModelError: it has one.
    """
    if study.model.fit.trend:
        raise ModelError(
            f"[fit] of {study.model.path} asks for a temperature trend.",
            "One volume has one temperature.",
            "Give several volumes to `bayestds fit`, or leave `trend` out.",
        )


def picture_path(target: Path, number: int | None = None) -> Path:
    """Where the picture of a fit goes, or that of one volume of several.

    Raises:
        ResultError: the result itself goes there.
    """
    picture = (
        target.with_suffix(".png") if number is None else target.with_name(f"{target.stem}_{number}.png")
    )
    if picture == target:
        raise ResultError(
            f"Cannot write the result to {target}.",
            "The picture of the fit goes there.",
            "Give the result, a netCDF file, another suffix: .nc.",
        )
    return picture


def start_values(study: Study, name: str | None) -> np.ndarray:
    """Starting values; constants of shells that a set does not know start at 0."""
    name = name or study.model.fit.start or "zero"
    if name == "zero" and "zero" not in study.model.ifcs:
        return np.zeros(study.irreducible.n_irreducible)
    return study.stable_ifcs(name, complete=study.irreducible.n_shells == study.model.force_constants.shells)


def _columns(
    study: Study, problem: Problem, result: PointFit, start: np.ndarray, zones: np.ndarray
) -> dict[str, np.ndarray]:
    """Values by irreducible constant that go beyond the fit itself."""
    columns = {"start": start, "clustered_standard_error": _clustered_errors(problem, result, zones)}
    reference = study.model.fit.reference
    if reference is not None:
        columns["reference"] = study.ifcs(reference, complete=False)
    return columns


def _clustered_errors(problem: Problem, result: PointFit, zones: np.ndarray) -> np.ndarray:
    """Standard errors if residuals are correlated within zones; NaN where the noise crosses zones."""
    if problem.data.correlation is not None:
        return np.full(len(result.irreducible), np.nan)
    weight = jnp.asarray(result.weight / result.noise_variance)
    weighted = replace(problem.data, weight=weight, learned=False)
    clustered = clustered_covariance(
        weighted,
        result.derivative,
        result.residual,
        result.precision,
        problem.prior_scales**-2.0,
        zones,
    )
    return np.sqrt(np.diag(np.asarray(clustered)))


def _record(study: Study, fitted: Fitted) -> dict[str, Any]:
    constants, problem, result, columns = study.irreducible, fitted.problem, fitted.result, fitted.columns
    sd = np.sqrt(np.diag(result.covariance))
    values = {"value": result.irreducible, "sd": sd, "clustered_sd": columns["clustered_standard_error"]}
    values |= {key: columns[key] for key in ("start", "reference") if key in columns}
    ifcs = {
        name: {"shell": int(constants.shells[i]), **{key: float(column[i]) for key, column in values.items()}}
        for i, name in enumerate(constants.names)
    }
    self_sd = np.sqrt(
        np.einsum("si,ij,sj->s", constants.self_coefficients, result.covariance, constants.self_coefficients)
    )
    self_values = constants.self_coefficients @ result.irreducible
    return {
        "converged": result.converged,
        "message": result.message,
        "ifcs": ifcs,
        "self_terms": dict(zip(constants.self_names, self_values.tolist(), strict=True)),
        "self_terms_sd": dict(zip(constants.self_names, self_sd.tolist(), strict=True)),
        "loss": result.residual_rms**2,
        "residual_rms": result.residual_rms,
        "residuals": asdict(fitted.residuals),
        "noise": _kind_of_noise(fitted),
        "relative_noise": _relative_noise(problem, result),
        "reduced_chi_square": _chi_square(problem, result),
        "n_points": len(problem.grid.q_points),
        "n_voxels": int(problem.grid.multiplicity.sum()),
        "temperature_K": problem.temperature,
        "statistics": problem.statistics,
        "expansion_error": {
            "largest": float(np.abs(result.truncation.error).max()),
            "median": float(np.median(np.abs(result.truncation.error))),
            "n_checked": len(result.truncation.error),
            "corrected": bool(result.truncation.offset.any()),
        },
    }


def _kind_of_noise(fitted: Fitted) -> str:
    if fitted.problem.data.correlation is not None:
        return "ensemble"
    return "learned" if fitted.problem.data.learned else "assumed" if fitted.exact else "given"


def _relative_noise(problem: Problem, result: PointFit) -> float | None:
    """Relative standard deviation of one voxel; None if it differs from voxel to voxel."""
    per_voxel = result.noise_variance * problem.grid.multiplicity / result.weight
    return float(np.sqrt(per_voxel[0])) if np.ptp(per_voxel) < 1e-9 * per_voxel[0] else None


def _print(record: dict[str, Any], exact: bool) -> None:
    with_reference = any("reference" in values for values in record["ifcs"].values())
    ensemble = record["noise"] == "ensemble"
    # Without noise nothing could be correlated, and that of an ensemble is correlated otherwise.
    clustered = not (exact or ensemble)
    rows = []
    for name, values in record["ifcs"].items():
        row = [name, str(values["shell"]), number(values["start"]), number(values["value"], 6)]
        row += [_error(values["sd"])] + ([_error(values["clustered_sd"])] if clustered else [])
        if with_reference:
            difference = values["value"] - values["reference"]
            row += [number(values["reference"], 6), f"{difference:+.1e}"]
        rows.append(row)
    columns = ["IFC", "shell", "start", "fit", "standard error"] + (["clustered"] if clustered else [])
    columns += ["reference", "difference"] if with_reference else []
    print_table("Irreducible force constants (eV/Å²)", columns, rows)
    for name, value in record["self_terms"].items():
        print(f"{name} = {value:.6f} ± {record['self_terms_sd'][name]:.1e} eV/Å² from the acoustic sum rule")
    print(f"{record['message']} {record['seconds']:.1f} s.")
    noise = "of independent configurations" if ensemble else "from the volume"
    if record["relative_noise"] is not None:
        noise = f"{record['relative_noise']:.2g} of a voxel's intensity, {record['noise']}"
    print(f"Temperature {record['temperature_K']:g} K; {record['statistics']} statistics; noise {noise}.")
    residuals, expansion = record["residuals"], record["expansion_error"]
    print(
        f"Residual of ln I: rms {record['residual_rms']:.3g} on {record['n_points']} irreducible points "
        f"({record['n_voxels']} voxels). Near/far expansion within {expansion['largest']:.1e} of the direct "
        f"form on the {expansion['n_checked']} points checked"
        f"{', and corrected for' if expansion['corrected'] else ''}."
    )
    if ensemble:
        print(f"Chi-square per degree of freedom {record['reduced_chi_square']:.3g}. {ENSEMBLE}")
    elif not exact:
        print(
            f"About Bragg points {residuals['odd_rms']:.3g} of it is odd, {residuals['even_rms']:.3g} even; "
            f"correlation {residuals['neighbour_correlation']:.2f} between neighbouring voxels, "
            f"{residuals['zone_correlation']:.2f} within Brillouin zones ({residuals['n_zones']})."
        )
        print(ANHARMONIC)


def _error(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "-"
