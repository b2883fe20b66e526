"""The command that judges potentials."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.output import (
    check_output,
    number,
    print_json,
    print_table,
    print_warnings,
    progress_bar,
    words,
)
from bayestds.cli.potentials import Candidate, read_candidate
from bayestds.cli.prediction import Predict, Prediction, make_predictor
from bayestds.diagnostics.cautions import check_converged, standing
from bayestds.diagnostics.dataset import POINT_FIT
from bayestds.diagnostics.draws import ForceConstantDraws, force_constant_draws
from bayestds.diagnostics.result_file import read_result
from bayestds.diagnostics.validate import NOT_INCLUDED, RULE, Score, score, verdict, widened
from bayestds.errors import BayesTDSError, ResultError
from bayestds.report.plots import save_figure
from bayestds.report.residual_planes import residual_planes


def validate(
    result: Path, potentials: list[str], picture: Path | None, unconverged: bool, as_json: bool
) -> None:
    """Judge potentials by the force constants of a result and by its volume."""
    if picture is not None:
        check_output(picture, inputs=[result])
    tree = read_result(result)
    check_converged(tree, result, unconverged)
    found = force_constant_draws(tree, 1)
    with progress_bar("validate") as tell:
        candidates = []
        for name in dict.fromkeys(potentials):
            tell(f"force constants of {name}")
            candidates.append(read_candidate(name, found))
        tell("predicting the volume")
        predictions, reasons = _predictions(tree, result, found, candidates, picture is not None)
    records = {
        c.name: _record(tree, found, c, predictions.get(c.name), reasons.get(c.name)) for c in candidates
    }
    ranking = sorted(records, key=lambda name: records[name]["mahalanobis"])
    common = {
        "n_irreducible": found.irreducible.n_irreducible,
        "fit_residual_rms": tree.attrs.get("residual_rms"),
        "rule": RULE,
        "note": NOT_INCLUDED,
        **standing(tree),
    }
    if picture is not None:
        observed = tree["observed_data"].dataset
        residuals = {f"fit, rms {tree.attrs['residual_rms']:.3g}": observed["residual"].values}
        residuals |= {
            f"{name}, rms {predictions[name].rms:.3g}": predictions[name].residual
            for name in ranking
            if name in predictions
        }
        save_figure(residual_planes(observed, residuals, result.name), picture)
    if as_json:
        only = records[ranking[0]] if len(records) == 1 else {"potentials": records, "ranking": ranking}
        print_json({**only, **common, "picture": picture and str(picture)})
    else:
        _print(result, records, ranking, common)
    print_warnings(common["cautions"])
    if picture is not None:
        words.print(f"Wrote {picture}.", markup=False)


def _predictions(
    tree: xr.DataTree,
    result: Path,
    found: ForceConstantDraws,
    candidates: list[Candidate],
    needed: bool,
) -> tuple[dict[str, Prediction], dict[str, str]]:
    """Predicted volumes by name, and reasons why there are none."""
    try:
        predict = make_predictor(tree, result, found)
    except ResultError as error:
        if needed:
            raise
        return {}, {candidate.name: _in_a_line(error) for candidate in candidates}
    return _predicted(predict, candidates)


def _predicted(predict: Predict, candidates: list[Candidate]) -> tuple[dict[str, Prediction], dict[str, str]]:
    predictions, reasons = {}, {}
    for candidate in candidates:
        try:
            predictions[candidate.name] = predict(candidate.irreducible)
        except BayesTDSError as error:
            reasons[candidate.name] = _in_a_line(error)
    return predictions, reasons


def _in_a_line(error: BayesTDSError) -> str:
    return " ".join(part for part in (error.summary, error.reason) if part)


def _record(
    tree: xr.DataTree,
    found: ForceConstantDraws,
    candidate: Candidate,
    prediction: Prediction | None,
    reason: str | None,
) -> dict[str, Any]:
    """What is said of one potential, with the keys of the JSON output."""
    constants = found.irreducible
    args = (constants.names, constants.shells, found.mean)
    scored = score(*args, found.covariance, candidate.irreducible)
    clustered = tree[POINT_FIT].dataset["clustered_standard_error"].values
    wide = widened(found.covariance, clustered)
    distance = None if wide is None else score(*args, wide, candidate.irreducible).mahalanobis
    return {
        "potential": candidate.name,
        "mahalanobis": scored.mahalanobis,
        "mahalanobis_clustered": distance,
        "chi_square": scored.chi_square,
        "p_value": scored.p_value,
        "deviation": scored.deviation,
        "shells": {str(number): _shell(scored, number) for number in scored.shells},
        "wrong_shells": scored.wrong_shells,
        "verdict": verdict(scored, constants.n_irreducible),
        "ifcs": dict(zip(constants.names, candidate.irreducible.tolist(), strict=True)),
        "residual_rms": None if prediction is None else prediction.rms,
        "no_residual": reason,
        **candidate.facts,
        "words": candidate.words,
    }


def _shell(scored: Score, number: int) -> dict[str, Any]:
    shell = scored.shells[number]
    return {
        "z_max": shell.z_max,
        "mahalanobis": shell.mahalanobis,
        "p_value": shell.p_value,
        "deviation": shell.deviation,
        "wrong": shell.wrong,
        "z": shell.z,
    }


def _print(
    result: Path, records: dict[str, dict[str, Any]], ranking: list[str], common: dict[str, Any]
) -> None:
    shells = list(records[ranking[0]]["shells"])
    columns = ("potential", "distance", "clustered", "off", "residual rms")
    rows = [
        (
            name,
            number(records[name]["mahalanobis"], 1),
            number(_or_nan(records[name]["mahalanobis_clustered"]), 1),
            f"{records[name]['deviation']:.1%}",
            number(_or_nan(records[name]["residual_rms"]), 4),
        )
        for name in ranking
    ]
    print_table(f"{result}: potentials, the nearest first", columns, rows)
    if common["fit_residual_rms"] is not None:
        print(f"The fit itself leaves a residual rms of {common['fit_residual_rms']:.4f}.")
    marked = [
        (name, *(f"{s['z_max']:.1f}{'*' if s['wrong'] else ''}" for s in records[name]["shells"].values()))
        for name in ranking
    ]
    print_table(
        "Largest deviation in each shell, standard errors (* wrong)",
        ("potential", *(f"shell {shell}" for shell in shells)),
        marked,
    )
    for name in ranking:
        about = "; ".join(records[name]["words"])
        print(f"{name}: {records[name]['verdict']}{f' ({about}.)' if about else ''}")
        if records[name]["no_residual"]:
            print(f"{name}: no volume was predicted. {records[name]['no_residual']}")
    print(RULE)
    print(NOT_INCLUDED)


def _or_nan(value: float | None) -> float:
    return float(np.nan) if value is None else value
