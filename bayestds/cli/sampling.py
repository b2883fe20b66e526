"""The command that samples a posterior."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.fitted import Fitted, run_fit
from bayestds.cli.fitting import account, fit_warnings, refuse_trend
from bayestds.cli.output import Tell, check_output, print_json, progress_bar, words
from bayestds.cli.summary import print_summary
from bayestds.config import load_model
from bayestds.diagnostics.dataset import pareto_shape, posterior_tree, write_result
from bayestds.diagnostics.summary import chain_warnings, summary_record
from bayestds.errors import InstabilityError, ModelError
from bayestds.inference.nuts import Draws, Sampling
from bayestds.inference.posterior import Target, make_target, sample_posterior
from bayestds.inference.predictive import make_predictions, star_labels
from bayestds.inference.variational import approximate_posterior
from bayestds.io.checkpoint import checkpoint_path


@dataclass(frozen=True)
class Choices:
    """What is asked of `bayestds sample`.

    Attributes:
        sampling: chains, draws, warm-up and seed.
        method: nuts, laplace or normal.
        resume: whether to go on from the checkpoint.
    """

    sampling: Sampling
    method: str
    resume: bool


def sample(
    model: str,
    volume: Path | None,
    output: Path | None,
    start: str | None,
    shells: int | None,
    choices: Choices,
    as_json: bool,
) -> None:
    """Fit a model to a volume, draw from the posterior around the fit, and summarise the draws."""
    began = time.perf_counter()
    study = build_study(load_model(model), shells)
    refuse_trend(study)
    output = output or Path(f"{study.model.path.stem}_posterior.nc")
    checkpoint = checkpoint_path(output)
    check_output(output, inputs=[volume, *study.inputs])
    with progress_bar(study.model.path.stem) as tell:
        fitted = run_fit(study, volume, start, tell)
        target = _target(study, fitted)
        try:
            draws, quality = _draws(target, choices, checkpoint, tell)
        except KeyboardInterrupt:
            if checkpoint.exists():
                words.print(
                    f"The draws so far are in {checkpoint}; --resume goes on from them.", markup=False
                )
            raise
        tell("predictions")
        warnings = fit_warnings(study, fitted)
        fitted.tree.attrs |= account(fitted, warnings)
        tree = _tree(study, fitted, target, draws, choices, quality)
        write_result(tree, output)
        checkpoint.unlink(missing_ok=True)
    record = summary_record(tree)
    record |= {"seconds": time.perf_counter() - began, "output": str(output)}
    record["warnings"] = warnings + chain_warnings(record)
    if as_json:
        print_json(record)
    else:
        print_summary(str(output), record)
    for warning in record["warnings"]:
        words.print(f"Warning: {warning}", markup=False)
    words.print(f"Wrote {output} in {record['seconds']:.0f} s.", markup=False)


def _target(study: Study, fitted: Fitted) -> Target:
    """The posterior of a fit.

    Raises:
        InstabilityError: the fit ended where the crystal is unstable.
        ModelError: the model asks for something that correlated noise does not allow.
    """
    if not np.isfinite(fitted.result.covariance).all():
        raise InstabilityError(
            "There is no posterior to sample: the point fit ended at an unstable crystal.",
            fitted.result.message,
            "Start from another IFC set, or check that the model and the volume belong together.",
        )
    noise = study.noise
    if fitted.problem.data.correlation is not None and (noise.floor or noise.degrees_of_freedom):
        raise ModelError(
            f"[fit] of {study.model.path} asks for noise_floor or degrees_of_freedom.",
            "The noise of a mean over configurations is known and correlated.",
            "Leave both out for this volume.",
        )
    return make_target(fitted.problem, fitted.result, study.prior, noise)


def _draws(target: Target, choices: Choices, checkpoint: Path, tell: Tell) -> tuple[Draws, dict[str, float]]:
    """Draws, and what is known of their quality."""
    if choices.method == "nuts":
        return sample_posterior(target, choices.sampling, checkpoint, choices.resume, tell), {}
    tell(f"{choices.method} approximation")
    found = approximate_posterior(target, choices.method, choices.sampling)
    return found.draws, {"pareto_k": pareto_shape(found.log_ratios)}


def _tree(
    study: Study, fitted: Fitted, target: Target, draws: Draws, choices: Choices, quality: dict[str, float]
) -> xr.DataTree:
    stars = star_labels(study.supercell(), fitted.problem.grid.q_points)
    predictions = make_predictions(target, draws, stars, choices.sampling.seed)
    attributes = {
        "method": choices.method,
        "prior": target.prior.family,
        "seed": choices.sampling.seed,
        "warmup": choices.sampling.warmup,
        **quality,
    }
    return posterior_tree(fitted.tree, target.prior, draws, predictions, attributes)
