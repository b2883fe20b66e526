"""The command that fits."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.cubic import print_cubic
from bayestds.cli.fit_record import account, fit_record
from bayestds.cli.fit_warnings import fit_warnings
from bayestds.cli.fitted import run_fit
from bayestds.cli.output import (
    Tell,
    check_output,
    number,
    print_background,
    print_equivalents,
    print_json,
    print_self_terms,
    print_table,
    print_warnings,
    progress_bar,
    words,
)
from bayestds.config import load_model
from bayestds.diagnostics.result_file import write_result
from bayestds.diagnostics.summary import chi_square_words, error_words
from bayestds.errors import ModelError, ResultError
from bayestds.report.plots import save_figure, slices_figure


def fit(
    model: str,
    volume: Path | None,
    output: Path | None,
    start: str | None,
    shells: int | None,
    cubic: int | None,
    group: str | None,
    as_json: bool,
) -> None:
    """Fit a model to a volume, print the table, write the result and the picture."""
    study = build_study(load_model(model), shells, cubic=cubic)
    target = output or Path(f"{study.model.path.stem}_fit.nc")
    with progress_bar(study.model.path.stem) as tell:
        record, exact = fit_to_file(study, volume, target, start, tell, group=group)
    if as_json:
        note = error_words(record["noise"], bool(record["cubic"]))
        print_json(record | ({} if exact else {"note": note}))
    else:
        _print(record, exact)
    print_warnings(record["warnings"])
    words.print(f"Wrote {target} and {record['picture']}.", markup=False)


def fit_to_file(
    study: Study,
    volume: Path | None,
    target: Path,
    start: str | None,
    tell: Tell,
    data: xr.Dataset | None = None,
    attributes: Mapping[str, Any] = MappingProxyType({}),
    group: str | None = None,
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
        group: path of the volume inside its file.

    Returns:
        the record of the JSON output, and whether the volume is free of noise.
    """
    began = time.perf_counter()
    refuse_trend(study)
    picture = picture_path(target)
    check_output(target, picture, inputs=[volume, *study.inputs])
    fitted = run_fit(study, volume, start, tell, data, group)
    warnings = fit_warnings(study, fitted, expect_temperature=data is None)
    fitted.tree.attrs |= account(fitted, warnings) | dict(attributes)
    write_result(fitted.tree, target)
    save_figure(slices_figure(fitted.tree, study.model.title), picture)
    record = fit_record(study, fitted)
    record |= {"seconds": time.perf_counter() - began, "output": str(target), "picture": str(picture)}
    return record | {"warnings": warnings}, fitted.exact


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


def _print(record: dict[str, Any], exact: bool) -> None:
    # Without noise nothing could be correlated, and that of an ensemble is correlated otherwise.
    _print_constants(record, with_kinds=not exact and record["noise"] != "ensemble")
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
    print(
        f"Residual of ln I: rms {record['residual_rms']:.3g} on {record['n_points']} irreducible points "
        f"({record['n_voxels']} voxels). {_expansion(record['expansion_error'])}"
    )
    if record["n_rejected"]:
        print(f"Left out as outliers among their equivalents: {record['n_rejected']} voxels.")
    for note in record["notes"]:
        print(f"Note: {note}")
    if exact:
        return
    print(chi_square_words(record["reduced_chi_square"], record["noise"]))
    print_equivalents(record["equivalents"])
    if record["noise"] != "ensemble":
        _print_residuals(record["residuals"])
    print(error_words(record["noise"], bool(record["cubic"])))


def _print_constants(record: dict[str, Any], with_kinds: bool) -> None:
    """Print the table of second-order constants; standard errors of every kind if asked for."""
    kinds = {"independent": "plain_sd", "by star": "star_sd", "by zone": "clustered_sd"} if with_kinds else {}
    with_reference = any("reference" in values for values in record["ifcs"].values())
    rows = []
    for name, values in record["ifcs"].items():
        row = [name, str(values["shell"]), number(values["start"]), number(values["value"], 6)]
        row += [_error(values[key]) for key in ("sd", *kinds.values())]
        if with_reference:
            difference = values["value"] - values["reference"]
            row += [number(values["reference"], 6), f"{difference:+.1e}"]
        rows.append(row)
    columns = ["IFC", "shell", "start", "fit", "standard error", *kinds]
    columns += ["reference", "difference"] if with_reference else []
    print_table("Irreducible force constants (eV/Å²)", columns, rows)


def _print_residuals(residuals: dict[str, Any]) -> None:
    parts = ""
    if np.isfinite(residuals["odd_rms"]):
        parts = f"About Bragg points {residuals['odd_rms']:.3g} of it is odd, "
        parts += f"{residuals['even_rms']:.3g} even. "
    print(
        f"{parts}Correlation {residuals['neighbour_correlation']:.2f} between neighbouring voxels, "
        f"{residuals['zone_correlation']:.2f} within Brillouin zones ({residuals['n_zones']})."
    )


def _expansion(expansion: dict[str, Any]) -> str:
    corrected = ", and corrected for" if expansion["corrected"] else ""
    text = (
        f"Near/far expansion within {expansion['largest']:.1e} of the direct form on the "
        f"{expansion['n_checked']} points checked{corrected}."
    )
    if expansion["imaginary_time"]:
        text += f" Integrals over imaginary time are within {expansion['imaginary_time']:.1e} of finer ones."
    return text


def _error(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "-"
