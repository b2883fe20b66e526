"""The command that fits several volumes at once."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.cubic import cubic_values, print_cubic_constants
from bayestds.cli.fit_record import background_record, self_terms_record
from bayestds.cli.fit_warnings import (
    moved_by_prior,
    noise_words,
    prior_warnings,
    stiffness_warnings,
    volume_warnings,
)
from bayestds.cli.fitted import Fitted, run_fit, standard_errors, start_values
from bayestds.cli.fitting import picture_path
from bayestds.cli.output import (
    check_output,
    number,
    plain,
    print_background,
    print_json,
    print_notes,
    print_self_terms,
    print_table,
    print_warnings,
    progress_bar,
    words,
)
from bayestds.config import load_model
from bayestds.diagnostics.cautions import IMPLAUSIBLE, misfit_warnings, uncertainty_record
from bayestds.diagnostics.dataset import ERRORS, joint_tree
from bayestds.diagnostics.equivalents import agreement_record
from bayestds.diagnostics.residuals import zone_labels
from bayestds.diagnostics.result_file import write_result
from bayestds.inference.fit_result import PointFit, VolumeFit, marginal_precision
from bayestds.inference.point_fit import joint_fit
from bayestds.inference.predictive import star_labels
from bayestds.inference.problem import Problem, joined, with_trend
from bayestds.inference.uncertainty import ACCEPTABLE_CHI_SQUARE, Uncertainty, clustered
from bayestds.report.plots import save_figure, slices_figure


@dataclass(frozen=True, eq=False)
class Joint:
    """A model fitted to several volumes.

    Attributes:
        paths: of the volumes.
        own: the fit of each by itself.
        result: the joint fit.
        uncertainty: its errors, of what the volumes share.
        columns: further values by irreducible constant.
        cubic_columns: further values by third-order constant.
    """

    paths: Sequence[Path]
    own: Sequence[Fitted]
    result: PointFit
    uncertainty: Uncertainty
    columns: dict[str, np.ndarray]
    cubic_columns: dict[str, np.ndarray]


def fit_several(
    model: str,
    volumes: Sequence[Path],
    output: Path | None,
    start: str | None,
    shells: int | None,
    cubic: int | None,
    group: str | None,
    as_json: bool,
) -> None:
    """Fit a model to several volumes, print the tables, write the result and a picture of each volume."""
    began = time.perf_counter()
    study = build_study(load_model(model), shells, cubic=cubic)
    target = output or Path(f"{study.model.path.stem}_fit.nc")
    pictures = [picture_path(target, i) for i in range(1, len(volumes) + 1)]
    check_output(target, *pictures, inputs=[*volumes, *study.inputs])
    # What is wrong with the last is said before the first is fitted.
    data = [study.read(path, group) for path in volumes]
    with progress_bar(study.model.path.stem) as tell:
        joint = fit_volumes(study, volumes, data, start, tell)
        record = joint_record(study, joint)
        tree = joint_result(study, joint, record)
        write_result(tree, target)
        for i, (path, picture) in enumerate(zip(volumes, pictures, strict=True), start=1):
            title = f"{study.model.title}: {path.name}"
            save_figure(slices_figure(tree.children[f"volume_{i}"], title), picture)
    record |= {"seconds": time.perf_counter() - began, "output": str(target)}
    record["pictures"] = [str(picture) for picture in pictures]
    if as_json:
        print_json(record)
    else:
        _print(record)
    print_warnings(record["warnings"])
    print_notes(record["notes"])
    words.print(f"Wrote {target} and {', '.join(record['pictures'])}.", markup=False)


def fit_volumes(
    study: Study,
    paths: Sequence[Path],
    data: Sequence[xr.Dataset],
    start: str | None,
    tell: Callable[[str], None],
) -> Joint:
    """The fit of each volume by itself, and then of all."""
    own = [
        run_fit(study, path, start, _prefixed(tell, path.name), one)
        for path, one in zip(paths, data, strict=True)
    ]
    settings = study.model.fit
    problem = joined([one.problem for one in own])
    if settings.trend:
        problem = with_trend(problem, settings.trend_scale)
    result = joint_fit(problem, [one.result for one in own], tell)
    uncertainty = _uncertainty(study, own, result)
    columns, others = standard_errors(uncertainty, study.irreducible.n_irreducible)
    n_cubic = len(result.cubic)
    cubic_columns = {name: values[len(values) - n_cubic :] for name, values in others.items()}
    columns["start"] = start_values(study, start)
    if settings.reference is not None:
        columns["reference"] = study.ifcs(settings.reference, complete=False)
    return Joint(paths, own, result, uncertainty, columns, cubic_columns)


def joint_result(study: Study, joint: Joint, record: dict[str, Any]) -> xr.DataTree:
    """The data tree of a fit to several volumes, with what its record says."""
    attributes = {
        "warnings": json.dumps(record["warnings"]),
        "notes": json.dumps(record["notes"]),
        "uncertainty": json.dumps(plain(uncertainty_record(joint.uncertainty))),
        "prior_conflict": json.dumps(_conflict(joint)),
        "model": study.model.path.stem,
        "model_text": study.model.text,
        "command": shlex.join(["bayestds", *sys.argv[1:]]),
    }
    columns = joint.columns, joint.cubic_columns
    return joint_tree(joint.result, joint.uncertainty, *columns, _attributes(record["volumes"]), attributes)


def _uncertainty(study: Study, own: Sequence[Fitted], result: PointFit) -> Uncertainty:
    """Errors of what the volumes share; clusters are stars and zones of each volume."""
    n, star, zone = result.problem.n_constants, None, None
    if result.stable:
        trusted = np.diag(result.problem.constant_scales**-2.0)
        by_star, by_zone = [], []
        for fit in result.volumes:
            if fit.correlated:
                # The noise model of this volume has the correlations that are looked for.
                trusted = trusted + _information(result.problem, fit)
                continue
            scores, q_points = fit.scores(n), fit.volume.grid.q_points
            by_star.append((scores, star_labels(result.problem.supercell, q_points)))
            by_zone.append((scores, zone_labels(q_points, study.crystal)))
        star, zone = (
            clustered(result.precision, trusted, labelled) if labelled else None
            for labelled in (by_star, by_zone)
        )
    exact = all(one.exact for one in own)
    return Uncertainty(result.covariance, star, zone, result.reduced_chi_square, True, exact)


def _information(problem: Problem, fit: VolumeFit) -> np.ndarray:
    """What a volume says (n_constants, n_constants) of what all volumes share, whatever its background is."""
    n = fit.forward.sizes.n_constants
    design = fit.design[:n, : problem.n_constants]
    prior = np.diag(problem.alone(fit.volume).constant_scales ** -2.0)
    return design.T @ (marginal_precision(fit.own_precision, n) - prior) @ design


def _prefixed(tell: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda text: tell(f"{name}: {text}")


def joint_record(study: Study, joint: Joint) -> dict[str, Any]:
    """Everything that the JSON output says of a fit to several volumes, but for what the command adds."""
    constants, result = study.irreducible, joint.result
    n, covariance = constants.n_irreducible, joint.uncertainty.covariance
    errors = np.sqrt(np.diag(covariance))
    values = {"value": result.irreducible, "sd": errors[:n]}
    values |= {key: joint.columns[name] for key, name in ERRORS.items()}
    values |= {key: joint.columns[key] for key in ("start", "reference") if key in joint.columns}
    if len(result.trend):
        values |= {"trend": result.trend, "trend_sd": errors[n : 2 * n]}
    return {
        "converged": result.converged,
        "message": result.message,
        "ifcs": {
            name: {"shell": int(constants.shells[i]), **{key: float(x[i]) for key, x in values.items()}}
            for i, name in enumerate(constants.names)
        },
        "cubic": cubic_values(result.problem, result, covariance, joint.cubic_columns),
        **self_terms_record(constants, result.irreducible, covariance[:n, :n]),
        "reference_temperature_K": result.problem.reference_temperature,
        "trend": len(result.trend) > 0,
        "reduced_chi_square": result.reduced_chi_square,
        **uncertainty_record(joint.uncertainty),
        "volumes": [_volume(joint, i) for i in range(len(joint.paths))],
        "warnings": _warnings(study, joint),
        "notes": crystal_notes(study.crystal),
    }


def _volume(joint: Joint, i: int) -> dict[str, Any]:
    """What is said of one volume."""
    fit, agreement = joint.result.volumes[i], joint.result.consistency[i]
    errors, volume = joint.result.background_standard_errors[i], fit.volume
    return {
        "name": str(joint.paths[i]),
        "temperature_K": volume.temperature,
        "statistics": volume.statistics,
        "n_points": volume.n_points,
        "n_voxels": int(volume.grid.multiplicity.sum()),
        "n_rejected": volume.grid.n_rejected,
        "residual_rms": fit.residual_rms,
        "own_residual_rms": joint.own[i].result.residual_rms,
        "own_converged": joint.own[i].result.converged,
        "noise": joint.own[i].noise,
        "reduced_chi_square": _chi_square(joint.own[i], fit),
        "log_scale": float(fit.quadratic.log_scale),
        "background": background_record(volume, fit.background, errors),
        "equivalents": agreement_record(joint.own[i].agreement),
        "notes": joint.own[i].notes,
        "chi_square": agreement.chi_square,
        "degrees_of_freedom": agreement.degrees_of_freedom,
        "p_value": agreement.p_value,
    }


def _chi_square(own: Fitted, fit: VolumeFit) -> float:
    """χ² per degree of freedom of a volume at the joint constants; of learned noise, that by its own fit."""
    return own.uncertainty.chi_square if own.noise == "learned" else fit.reduced_chi_square


def _attributes(volumes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as a result file can hold it; a background has a group of its own."""
    apart = ("background", "equivalents", "notes")
    return [
        {key: int(x) if isinstance(x, bool) else x for key, x in one.items() if key not in apart}
        | {"agreement": json.dumps(plain(one["equivalents"])), "notes": json.dumps(one["notes"])}
        for one in volumes
    ]


def _warnings(study: Study, joint: Joint) -> list[str]:
    """What a reader of the tables should know about this fit."""
    found = []
    for path in sorted({path for path in joint.paths if list(joint.paths).count(path) > 1}):
        found.append(f"{path} is given more than once: it counts as so many independent measurements.")
    for path, own, agreement in zip(joint.paths, joint.own, joint.result.consistency, strict=True):
        found += [f"{path}: {text}" for text in volume_warnings(study, own, expect_temperature=False)]
        if not own.exact and own.uncertainty.chi_square > ACCEPTABLE_CHI_SQUARE:
            found.append(
                f"{path}: chi-square per degree of freedom of its own fit is "
                f"{own.uncertainty.chi_square:.3g}: the residuals are larger than {noise_words(own)}, and no "
                "shell is called determined."
            )
        if not own.result.converged:
            found.append(f"{path}: its own fit, with which the joint one is compared, has not converged.")
        if agreement.p_value < IMPLAUSIBLE:
            found.append(
                f"{path} disagrees with the joint constants: chi-square {agreement.chi_square:.3g} on "
                f"{agreement.degrees_of_freedom} degrees of freedom. Its errors are larger than stated, it "
                "belongs to another state of the crystal, or the temperatures need a trend (or more than a "
                "linear one); the largest chi-square is the first to look at."
            )
    found += misfit_warnings(joint.uncertainty, "the noise of the volumes")
    found += prior_warnings(_conflict(joint), *_priors(joint))
    if joint.result.stable:
        information = joint.result.irreducible_precision - np.diag(joint.result.problem.prior_scales**-2.0)
        found += stiffness_warnings(joint.result.irreducible, information)
    return found


def _priors(joint: Joint) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scales (n_irreducible,) of the prior, eV/Å², and names of the constants."""
    return joint.result.problem.prior_scales, joint.result.problem.irreducible.names


def _conflict(joint: Joint) -> tuple[str, ...]:
    """Names of the constants that their prior moves by more than a standard error."""
    (scales, names), result = _priors(joint), joint.result
    if not result.stable:
        return ()
    return moved_by_prior(names, result.irreducible, result.irreducible_precision, scales)


def _print(record: dict[str, Any]) -> None:
    first = next(iter(record["ifcs"].values()))
    columns = ["IFC", "shell", "start", "fit", "standard error"]
    columns += ["per 100 K", "standard error"] if "trend" in first else []
    columns += ["reference"] if "reference" in first else []
    rows = []
    for name, one in record["ifcs"].items():
        row = [name, str(one["shell"]), number(one["start"]), number(one["value"], 6), f"{one['sd']:.1e}"]
        row += [number(one["trend"], 6), f"{one['trend_sd']:.1e}"] if "trend" in one else []
        rows.append(row + ([number(one["reference"], 6)] if "reference" in one else []))
    at = f" at {record['reference_temperature_K']:g} K" if record["trend"] else ""
    print_table(f"Irreducible force constants{at} (eV/Å²)", columns, rows)
    print_self_terms(record)
    print_cubic_constants(record)
    print_table(
        "Volumes",
        (
            "volume",
            "K",
            "noise",
            "points",
            "residual rms",
            "by itself",
            "fit χ²/dof",
            "agreement χ²",
            "of",
            "p",
        ),
        [
            (
                one["name"],
                f"{one['temperature_K']:g}",
                one["noise"],
                str(one["n_points"]),
                f"{one['residual_rms']:.3g}",
                f"{one['own_residual_rms']:.3g}",
                number(one["reduced_chi_square"], 2),
                f"{one['chi_square']:.3g}",
                str(one["degrees_of_freedom"]),
                f"{one['p_value']:.2g}",
            )
            for one in record["volumes"]
        ],
    )
    for i, one in enumerate(record["volumes"], start=1):
        print_background({f"volume_{i} {name}": x for name, x in one["background"].items()})
        if one["n_rejected"]:
            print(
                f"Left out of {one['name']} as outliers among their equivalents: {one['n_rejected']} voxels."
            )
        for note in one["notes"]:
            words.print(f"Note: {one['name']}: {note}", markup=False)
    print(f"{record['message']} {record['seconds']:.1f} s.")
    print(
        "The agreement compares the constants that a volume gives by itself with the joint ones; p is the "
        "probability of a larger chi-square if they agree. Standard errors are those of a harmonic crystal, "
        "without the bias of anharmonicity."
    )
