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
from bayestds.cli.cubic import refuse_cubic
from bayestds.cli.fitted import Fitted, run_fit, start_values
from bayestds.cli.fitting import (
    background_record,
    kind_of_noise,
    picture_path,
    self_terms_record,
    stiffness_warnings,
    volume_warnings,
)
from bayestds.cli.output import (
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
from bayestds.diagnostics.dataset import joint_tree, write_result
from bayestds.inference.joint import JointFit, joint_fit, make_joint_problem
from bayestds.report.plots import save_figure, slices_figure

IMPLAUSIBLE = 1e-3
"""Probability below which a volume is said to disagree with the others."""


@dataclass(frozen=True, eq=False)
class Joint:
    """A model fitted to several volumes.

    Attributes:
        paths: of the volumes.
        own: the fit of each by itself.
        result: the joint fit.
        columns: further values by irreducible constant.
    """

    paths: Sequence[Path]
    own: Sequence[Fitted]
    result: JointFit
    columns: dict[str, np.ndarray]


def fit_several(
    model: str,
    volumes: Sequence[Path],
    output: Path | None,
    start: str | None,
    shells: int | None,
    cubic: int | None,
    as_json: bool,
) -> None:
    """Fit a model to several volumes, print the tables, write the result and a picture of each volume."""
    began = time.perf_counter()
    study = build_study(load_model(model), shells, cubic=cubic)
    refuse_cubic(study.model, study.third_order is not None)
    target = output or Path(f"{study.model.path.stem}_fit.nc")
    pictures = [picture_path(target, i) for i in range(1, len(volumes) + 1)]
    check_output(target, *pictures, inputs=[*volumes, *study.inputs])
    # What is wrong with the last is said before the first is fitted.
    data = [study.read(path) for path in volumes]
    with progress_bar(study.model.path.stem) as tell:
        joint = _run(study, volumes, data, start, tell)
        record = _record(study, joint)
        record["warnings"] = _warnings(study, joint)
        attributes = {
            "warnings": json.dumps(record["warnings"]),
            "model": study.model.path.stem,
            "model_text": study.model.text,
            "command": shlex.join(["bayestds", *sys.argv[1:]]),
        }
        axes = [one.problem.grid.axes for one in joint.own]
        tree = joint_tree(joint.result, axes, joint.columns, _attributes(record["volumes"]), attributes)
        write_result(tree, target)
        for i, (path, picture) in enumerate(zip(volumes, pictures, strict=True), start=1):
            save_figure(
                slices_figure(tree.children[f"volume_{i}"], f"{study.model.title}: {path.name}"), picture
            )
    record |= {"seconds": time.perf_counter() - began, "output": str(target)}
    record["pictures"] = [str(picture) for picture in pictures]
    if as_json:
        print_json(record)
    else:
        _print(record)
    for warning in record["warnings"]:
        words.print(f"Warning: {warning}", markup=False)
    words.print(f"Wrote {target} and {', '.join(record['pictures'])}.", markup=False)


def _run(
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
    problem = make_joint_problem(
        [one.problem for one in own], settings.trend_scale if settings.trend else None
    )
    result = joint_fit(problem, [one.result for one in own], tell)
    nothing = np.full(study.irreducible.n_irreducible, np.nan)
    columns = {"start": start_values(study, start), "clustered_standard_error": nothing}
    if settings.reference is not None:
        columns["reference"] = study.ifcs(settings.reference, complete=False)
    return Joint(paths, own, result, columns)


def _prefixed(tell: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda text: tell(f"{name}: {text}")


def _record(study: Study, joint: Joint) -> dict[str, Any]:
    constants, result = study.irreducible, joint.result
    values = {"value": result.irreducible, "sd": np.sqrt(np.diag(result.irreducible_covariance))}
    values |= {key: joint.columns[key] for key in ("start", "reference") if key in joint.columns}
    if result.trend is not None and result.trend_standard_error is not None:
        values |= {"trend": result.trend, "trend_sd": result.trend_standard_error}
    return {
        "converged": result.converged,
        "message": result.message,
        "ifcs": {
            name: {"shell": int(constants.shells[i]), **{key: float(x[i]) for key, x in values.items()}}
            for i, name in enumerate(constants.names)
        },
        **self_terms_record(constants, result.irreducible, result.irreducible_covariance),
        "reference_temperature_K": result.problem.reference_temperature,
        "trend": result.trend is not None,
        "volumes": [_volume(joint, i) for i in range(len(joint.paths))],
    }


def _volume(joint: Joint, i: int) -> dict[str, Any]:
    """What is said of one volume."""
    problem, fit, agreement = joint.own[i].problem, joint.result.volumes[i], joint.result.consistency[i]
    errors = joint.result.background_standard_errors[i]
    return {
        "name": str(joint.paths[i]),
        "temperature_K": problem.temperature,
        "statistics": problem.statistics,
        "n_points": len(problem.grid.q_points),
        "n_voxels": int(problem.grid.multiplicity.sum()),
        "n_rejected": problem.grid.n_rejected,
        "residual_rms": fit.residual_rms,
        "own_residual_rms": joint.own[i].result.residual_rms,
        "own_converged": joint.own[i].result.converged,
        "noise": kind_of_noise(joint.own[i]),
        "log_scale": fit.log_scale,
        "background": background_record(problem, fit.background, errors),
        "chi_square": agreement.chi_square,
        "degrees_of_freedom": agreement.degrees_of_freedom,
        "p_value": agreement.p_value,
    }


def _attributes(volumes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as a result file can hold it; a background has a group of its own."""
    return [
        {key: int(x) if isinstance(x, bool) else x for key, x in one.items() if key != "background"}
        for one in volumes
    ]


def _warnings(study: Study, joint: Joint) -> list[str]:
    """What a reader of the tables should know about this fit."""
    found = []
    for path in sorted({path for path in joint.paths if list(joint.paths).count(path) > 1}):
        found.append(f"{path} is given more than once: it counts as so many independent measurements.")
    for path, own, agreement in zip(joint.paths, joint.own, joint.result.consistency, strict=True):
        found += [f"{path}: {text}" for text in volume_warnings(study, own, expect_temperature=False)]
        if not own.result.converged:
            found.append(f"{path}: its own fit, with which the joint one is compared, has not converged.")
        if agreement.p_value < IMPLAUSIBLE:
            found.append(
                f"{path} disagrees with the joint constants: chi-square {agreement.chi_square:.3g} on "
                f"{agreement.degrees_of_freedom} degrees of freedom. Its errors are larger than stated, it "
                "belongs to another state of the crystal, or the temperatures need a trend (or more than a "
                "linear one); the largest chi-square is the first to look at."
            )
    if np.isfinite(joint.result.covariance).all():
        scales = joint.result.problem.problems[0].prior_scales
        information = np.linalg.inv(joint.result.irreducible_covariance) - np.diag(scales**-2.0)
        found += stiffness_warnings(joint.result.irreducible, information)
    return found


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
    print_table(
        "Volumes",
        ("volume", "K", "noise", "points", "residual rms", "by itself", "chi-square", "of", "p"),
        [
            (
                one["name"],
                f"{one['temperature_K']:g}",
                one["noise"],
                str(one["n_points"]),
                f"{one['residual_rms']:.3g}",
                f"{one['own_residual_rms']:.3g}",
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
    print(f"{record['message']} {record['seconds']:.1f} s.")
    print(
        "Chi-square compares the constants that a volume gives by itself with the joint ones; p is the "
        "probability of a larger one if they agree. Standard errors are those of a harmonic crystal, without "
        "the bias of anharmonicity, and of residuals that are not correlated."
    )
