"""The command that fits."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.cli.assemble import NOISE_FREE_SIGMA, Study, build_study
from bayestds.cli.cubic import cubic_values, print_cubic
from bayestds.cli.fitted import Fitted, run_fit
from bayestds.cli.output import (
    Tell,
    check_output,
    number,
    print_background,
    print_json,
    print_self_terms,
    print_table,
    progress_bar,
    words,
)
from bayestds.config import load_model
from bayestds.diagnostics.dataset import write_result
from bayestds.diagnostics.summary import error_words
from bayestds.errors import ModelError, ResultError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.noise import reduced_chi_square
from bayestds.inference.point_fit import PointFit
from bayestds.inference.problem import Problem
from bayestds.report.plots import save_figure, slices_figure
from bayestds.scattering.grid import nearest_bragg

ACCEPTABLE_CHI_SQUARE = 2.0
"""Chi-square per degree of freedom above which a fit is called into question."""

FROM_BRAGG = 4.0
"""Standard deviations of what a voxel collects; so far from a Bragg point its mean of 1/q² is 8 % off."""

LOOSE_STIFFNESS = 0.1
"""Relative error of the overall stiffness above which the priors are felt."""


def fit(
    model: str,
    volume: Path | None,
    output: Path | None,
    start: str | None,
    shells: int | None,
    cubic: int | None,
    as_json: bool,
) -> None:
    """Fit a model to a volume, print the table, write the result and the picture."""
    study = build_study(load_model(model), shells, cubic=cubic)
    target = output or Path(f"{study.model.path.stem}_fit.nc")
    with progress_bar(study.model.path.stem) as tell:
        record, exact = fit_to_file(study, volume, target, start, tell)
    if as_json:
        note = error_words(record["noise"], bool(record["cubic"]))
        print_json(record | ({} if exact else {"note": note}))
    else:
        _print(record, exact)
    for warning in record["warnings"]:
        words.print(f"Warning: {warning}", markup=False)
    words.print(f"Wrote {target} and {record['picture']}.", markup=False)


def fit_to_file(
    study: Study,
    volume: Path | None,
    target: Path,
    start: str | None,
    tell: Tell,
    data: xr.Dataset | None = None,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[dict[str, Any], bool]:
    """Fit a study to a volume, and write the result and the picture.

    Args:
        study: crystal, force constants and priors.
        volume: the data file; None for the model's own measurement.
        target: of the result.
        start: named IFC set to start from.
        tell: called with what is going on.
        data: what the file holds, where it was read before; its temperature is then one of several.
        attributes: of the result, beyond its own.

    Returns:
        the record of the JSON output, and whether the volume is free of noise.
    """
    began = time.perf_counter()
    refuse_trend(study)
    picture = picture_path(target)
    check_output(target, picture, inputs=[volume, *study.inputs])
    fitted = run_fit(study, volume, start, tell, data)
    warnings = fit_warnings(study, fitted, expect_temperature=data is None)
    fitted.tree.attrs |= account(fitted, warnings) | dict(attributes)
    write_result(fitted.tree, target)
    save_figure(slices_figure(fitted.tree, study.model.title), picture)
    record = _record(study, fitted)
    record |= {"seconds": time.perf_counter() - began, "output": str(target), "picture": str(picture)}
    return record | {"warnings": warnings}, fitted.exact


def account(fitted: Fitted, warnings: list[str]) -> dict[str, Any]:
    """Attributes of a result that say how far it is to be trusted."""
    return {
        "noise": kind_of_noise(fitted),
        "reduced_chi_square": _chi_square(fitted.problem, fitted.result),
        "warnings": json.dumps(warnings),
    }


def fit_warnings(study: Study, fitted: Fitted, expect_temperature: bool = True) -> list[str]:
    """What a reader of the table should know about this fit; see :func:`volume_warnings`."""
    problem, result = fitted.problem, fitted.result
    information = result.irreducible_precision - np.diag(problem.prior_scales**-2.0)
    return [
        *volume_warnings(study, fitted, expect_temperature),
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
    if not expect_temperature and "temperature" not in volume.attrs:
        found.append(f"the volume states no temperature; the model's {expected:g} K was used.")
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
    known = "counts" if problem.data.counts is not None else "sigma" if "sigma" in volume else None
    if known and chi_square > ACCEPTABLE_CHI_SQUARE:
        noise = {"sigma": "standard errors of the volume", "counts": "Poisson noise of the counts"}[known]
        found.append(
            f"chi-square per degree of freedom is {chi_square:.3g}: the residuals are larger than the "
            f"{noise}, and the errors of the constants are larger than those printed."
        )
    if known and study.model.fit.noise is not None:
        found.append(f"`noise` of [fit] was not used: the volume has {known} of its own.")
    return found + _bragg_warnings(study, problem)


def _bragg_warnings(study: Study, problem: Problem) -> list[str]:
    """Whether voxels are averaged over Bragg points."""
    if problem.points is None:
        return []
    crystal, q_points = study.crystal, problem.grid.q_points
    around = crystal.scattering_vectors(problem.points - q_points[:, None])
    distance = np.linalg.norm(crystal.scattering_vectors(q_points - nearest_bragg(q_points, crystal)), axis=1)
    # The outermost of the six points is √3 standard deviations away.
    widest = np.linalg.norm(around, axis=2).max(axis=1) / np.sqrt(3)
    close = distance < FROM_BRAGG * widest
    if not close.any():
        return []
    return [
        f"{close.sum()} of {len(close)} points are closer to a Bragg point than {FROM_BRAGG:g} standard "
        "deviations of the resolution, mosaic spread and voxel: the average over a voxel is off by several "
        "percent there; set `bragg_radius` in [mask]."
    ]


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


def _record(study: Study, fitted: Fitted) -> dict[str, Any]:
    constants, problem, result, columns = study.irreducible, fitted.problem, fitted.result, fitted.columns
    n = constants.n_irreducible
    sd = np.sqrt(np.diag(result.covariance))[:n]
    values = {"value": result.irreducible, "sd": sd, "clustered_sd": columns["clustered_standard_error"]}
    values |= {key: columns[key] for key in ("start", "reference") if key in columns}
    ifcs = {
        name: {"shell": int(constants.shells[i]), **{key: float(column[i]) for key, column in values.items()}}
        for i, name in enumerate(constants.names)
    }
    return {
        "converged": result.converged,
        "message": result.message,
        "ifcs": ifcs,
        "cubic": cubic_values(problem, result, fitted.cubic_columns),
        "anharmonicity": fitted.anharmonicity and asdict(fitted.anharmonicity),
        "background": background_record(problem, result.background, result.background_standard_error),
        **self_terms_record(constants, result.irreducible, result.covariance[:n, :n]),
        "loss": result.residual_rms**2,
        "residual_rms": result.residual_rms,
        "residuals": asdict(fitted.residuals),
        "noise": kind_of_noise(fitted),
        "relative_noise": _relative_noise(problem, result),
        "reduced_chi_square": _chi_square(problem, result),
        "n_points": len(problem.grid.q_points),
        "n_voxels": int(problem.grid.multiplicity.sum()),
        "n_rejected": problem.grid.n_rejected,
        "temperature_K": problem.temperature,
        "statistics": problem.statistics,
        "expansion_error": {
            "largest": float(np.abs(result.truncation.error).max()),
            "median": float(np.median(np.abs(result.truncation.error))),
            "n_checked": 0 if problem.points is not None else len(result.truncation.error),
            "corrected": bool(result.truncation.offset.any()),
        },
    }


def self_terms_record(
    constants: IrreducibleForceConstants, irreducible: np.ndarray, covariance: np.ndarray
) -> dict[str, dict[str, float]]:
    """Self terms by the acoustic sum rule and their standard errors, by name, eV/Å².

    Args:
        constants: what the values mean.
        irreducible: (n_irreducible,) eV/Å².
        covariance: (n_irreducible, n_irreducible) eV²/Å⁴.
    """
    rows = constants.self_coefficients
    errors = np.sqrt(np.einsum("si,ij,sj->s", rows, covariance, rows))
    return {
        "self_terms": dict(zip(constants.self_names, (rows @ irreducible).tolist(), strict=True)),
        "self_terms_sd": dict(zip(constants.self_names, errors.tolist(), strict=True)),
    }


def background_record(
    problem: Problem, strengths: np.ndarray, errors: np.ndarray
) -> dict[str, dict[str, float]]:
    """Strengths (n_terms,) of the background and their standard errors, by the names of the terms."""
    names = () if problem.instrument is None else problem.instrument.names
    return {
        name: {"value": float(value), "sd": float(sd)}
        for name, value, sd in zip(names, strengths, errors, strict=True)
    }


def kind_of_noise(fitted: Fitted) -> str:
    """Where the noise of a fit comes from, in a word."""
    if fitted.problem.data.counts is not None:
        return "counts"
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
    print_self_terms(record)
    print_background(record["background"])
    print_cubic(record)
    print(f"{record['message']} {record['seconds']:.1f} s.")
    noise = {"ensemble": "of independent configurations", "counts": "of counts (Poisson)"}.get(
        record["noise"], "from the volume"
    )
    if record["relative_noise"] is not None:
        noise = f"{record['relative_noise']:.2g} of a voxel's intensity, {record['noise']}"
    print(f"Temperature {record['temperature_K']:g} K; {record['statistics']} statistics; noise {noise}.")
    residuals = record["residuals"]
    print(
        f"Residual of ln I: rms {record['residual_rms']:.3g} on {record['n_points']} irreducible points "
        f"({record['n_voxels']} voxels). {_expansion(record['expansion_error'])}"
    )
    if record["n_rejected"]:
        print(f"Left out as outliers among their equivalents: {record['n_rejected']} voxels.")
    if ensemble:
        print(f"Chi-square per degree of freedom {record['reduced_chi_square']:.3g}.")
        print(error_words(record["noise"], cubic=False))
    elif not exact:
        parts = ""
        if np.isfinite(residuals["odd_rms"]):
            parts = f"About Bragg points {residuals['odd_rms']:.3g} of it is odd, "
            parts += f"{residuals['even_rms']:.3g} even. "
        print(
            f"{parts}Correlation {residuals['neighbour_correlation']:.2f} between neighbouring voxels, "
            f"{residuals['zone_correlation']:.2f} within Brillouin zones ({residuals['n_zones']})."
        )
        print(error_words(record["noise"], bool(record["cubic"])))


def _expansion(expansion: dict[str, Any]) -> str:
    if not expansion["n_checked"]:
        return "The intensity is summed directly, at points between wave vectors."
    corrected = ", and corrected for" if expansion["corrected"] else ""
    return (
        f"Near/far expansion within {expansion['largest']:.1e} of the direct form on the "
        f"{expansion['n_checked']} points checked{corrected}."
    )


def _error(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "-"
