"""The command that samples a posterior."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import xarray as xr

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.fit_record import account
from bayestds.cli.fit_warnings import fit_warnings
from bayestds.cli.fitted import run_fit
from bayestds.cli.fitting import refuse_trend
from bayestds.cli.joint import fit_volumes, joint_record, joint_result
from bayestds.cli.output import Tell, check_output, print_json, print_warnings, progress_bar, words
from bayestds.cli.summary import print_summary
from bayestds.config import load_model
from bayestds.diagnostics.dataset import pareto_shape
from bayestds.diagnostics.posterior_tree import posterior_tree
from bayestds.diagnostics.result_file import write_result
from bayestds.diagnostics.summary import chain_warnings, summary_record
from bayestds.errors import InstabilityError, ModelError, ResultError
from bayestds.inference.compression import ACCEPTED, compress, compression_error
from bayestds.inference.fit_result import PointFit
from bayestds.inference.nuts import STATISTICS, Draws, Sampling
from bayestds.inference.posterior import Target, make_target, sample_posterior, widened
from bayestds.inference.predictive import PRIOR_DRAWS, make_predictions, prior_sites, star_labels
from bayestds.inference.problem import Problem
from bayestds.inference.uncertainty import Uncertainty
from bayestds.inference.variational import approximate_posterior
from bayestds.io.checkpoint import checkpoint_path
from bayestds.memory import too_much


@dataclass(frozen=True)
class Choices:
    """What is asked of `bayestds sample`.

    Attributes:
        sampling: chains, draws, warm-up and seed.
        method: nuts, laplace or normal.
        resume: whether to go on from the checkpoint.
        insist: whether a checkpoint that is damaged or of another run is refused, rather than begun anew.
        unconverged: whether a posterior is drawn around a point fit that did not converge.
        group: path of the volume inside its file.
    """

    sampling: Sampling
    method: str
    resume: bool
    insist: bool = True
    unconverged: bool = False
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """The fit that a posterior is sampled around.

    Attributes:
        result: the point fit.
        uncertainty: its errors.
        tree: all of it as a result file holds it.
        warnings: of the fit.
    """

    result: PointFit
    uncertainty: Uncertainty
    tree: xr.DataTree
    warnings: list[str]


def sample(
    model: str,
    volumes: Sequence[Path],
    output: Path | None,
    start: str | None,
    shells: int | None,
    cubic: int | None,
    choices: Choices,
    as_json: bool,
) -> None:
    """Fit a model to volumes, draw from the posterior around the fit, and summarise the draws."""
    began = time.perf_counter()
    study = build_study(load_model(model), shells, cubic=cubic)
    output = output or Path(f"{study.model.path.stem}_posterior.nc")
    with progress_bar(study.model.path.stem) as tell:
        try:
            tree, warnings = sample_to_file(study, volumes, output, start, choices, tell)
        except KeyboardInterrupt:
            checkpoint = checkpoint_path(output)
            if checkpoint.exists():
                words.print(
                    f"The draws so far are in {checkpoint}; --resume goes on from them.", markup=False
                )
            raise
    record = summary_record(tree)
    record |= {"seconds": time.perf_counter() - began, "output": str(output)}
    record["warnings"] = warnings + chain_warnings(record)
    if as_json:
        print_json(record)
    else:
        print_summary(str(output), record)
    print_warnings(record["warnings"])
    words.print(f"Wrote {output} in {record['seconds']:.0f} s.", markup=False)


def sample_to_file(
    study: Study,
    volumes: Sequence[Path],
    output: Path,
    start: str | None,
    choices: Choices,
    tell: Tell,
    data: xr.Dataset | None = None,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[xr.DataTree, list[str]]:
    """Fit a study to volumes, draw from the posterior around the fit, and write the result.

    Args:
        study: crystal, force constants and priors.
        volumes: the data files; none for the model's own measurement.
        output: of the result.
        start: named IFC set to start from.
        choices: what is sampled, and how.
        tell: called with what is going on.
        data: what the only file holds, where it was read before; its temperature is then one of several.
        attributes: of the result, beyond its own.

    Returns:
        the result and the warnings of the fit.
    """
    _check_memory(choices.sampling, study.irreducible.n_irreducible)
    checkpoint = checkpoint_path(output)
    check_output(output, inputs=[*volumes, *study.inputs])
    if len(volumes) > 1:
        begin = _fit_to_several(study, volumes, start, choices, tell)
    else:
        begin = _fit_to_one(study, next(iter(volumes), None), start, choices, tell, data)
    begin.tree.attrs |= dict(attributes)
    target = _target(study, begin.result, choices.unconverged)
    draws, quality = _draws(target, begin.result.problem, choices, checkpoint, tell)
    if begin.uncertainty.widened_by:
        draws = widened(target, draws, begin.result, begin.uncertainty.covariance)
    tell("predictions")
    tree = _tree(begin, target, draws, choices, quality)
    write_result(tree, output)
    checkpoint.unlink(missing_ok=True)
    _of_whole(checkpoint).unlink(missing_ok=True)
    return tree, begin.warnings


def _fit_to_one(
    study: Study,
    volume: Path | None,
    start: str | None,
    choices: Choices,
    tell: Tell,
    data: xr.Dataset | None,
) -> Start:
    """The fit to a volume, by default to the model's own measurement."""
    refuse_trend(study)
    fitted = run_fit(study, volume, start, tell, data, choices.group)
    warnings = fit_warnings(study, fitted, expect_temperature=data is None)
    fitted.tree.attrs |= account(fitted, warnings)
    return Start(fitted.result, fitted.uncertainty, fitted.tree, warnings)


def _fit_to_several(
    study: Study, volumes: Sequence[Path], start: str | None, choices: Choices, tell: Tell
) -> Start:
    """The fit to several volumes."""
    data = [study.read(path, choices.group) for path in volumes]
    joint = fit_volumes(study, volumes, data, start, tell)
    record = joint_record(study, joint)
    return Start(joint.result, joint.uncertainty, joint_result(study, joint, record), record["warnings"])


def _target(study: Study, fit: PointFit, unconverged: bool) -> Target:
    """The posterior of a fit.

    Raises:
        ResultError: the fit did not converge, and this is not asked for all the same.
        InstabilityError: the fit ended where the crystal is unstable.
    """
    if not fit.stable:
        raise InstabilityError(
            "There is no posterior to sample: the point fit ended at an unstable crystal.",
            fit.message,
            "Start from another IFC set, or check that the model and the volume belong together.",
        )
    if not (fit.converged or unconverged):
        raise ResultError(
            "The point fit, around which the posterior would be sampled, did not converge.",
            fit.message,
            "Start from another IFC set, or change data or model; --unconverged samples all the same.",
        )
    # The size of a trend is that of the model, as in the fit: one that is learned makes a funnel where the
    # volumes hardly tell it.
    return make_target(fit, fit.problem.prior(study.model.priors.family, hierarchical=False))


def _draws(
    target: Target, problem: Problem, choices: Choices, checkpoint: Path, tell: Tell
) -> tuple[Draws, dict[str, float | int]]:
    """Draws, and what is known of their quality."""
    if choices.method == "nuts":
        tell("compression of the likelihood")
        if compressed := compress(target, problem):
            draws = _chains(compressed.target, choices, checkpoint, tell)
            error = compression_error(target, compressed, draws)
            if error <= ACCEPTED:
                return draws, {"likelihood_points": compressed.n_points, "likelihood_error": error}
            tell("the compressed likelihood is not good enough; beginning anew with the whole one")
            # In a file of its own, so that --resume finds both.
            checkpoint = _of_whole(checkpoint)
        return _chains(target, choices, checkpoint, tell), {}
    tell(f"{choices.method} approximation")
    found = approximate_posterior(target, choices.method, choices.sampling)
    return found.draws, {"pareto_k": pareto_shape(found.log_ratios)}


def _of_whole(checkpoint: Path) -> Path:
    """Checkpoint of the chains that see the whole likelihood."""
    return checkpoint.with_name(f"{checkpoint.name}.whole")


def _check_memory(sampling: Sampling, n_parameters: int) -> None:
    """Refuse more draws than fit into memory.

    Raises:
        ModelError: they do not, with as much again for what is derived from them.
    """
    n_draws = sampling.chains * (sampling.draws + sampling.warmup)
    if reason := too_much(2 * 8 * n_draws * (n_parameters + len(STATISTICS))):
        raise ModelError(
            f"{sampling.chains:,} chains of {sampling.draws:,} draws are asked for.",
            reason,
            "Ask for fewer --draws or --chains; some thousand draws tell means and intervals well.",
        )


def _chains(target: Target, choices: Choices, checkpoint: Path, tell: Tell) -> Draws:
    """Draws by NUTS."""
    try:
        return sample_posterior(target, choices.sampling, checkpoint, choices.resume, tell)
    except ResultError:
        if choices.insist:
            raise
        tell("the checkpoint is of another run; beginning anew")
        return sample_posterior(target, choices.sampling, checkpoint, False, tell)


def _tree(
    begin: Start, target: Target, draws: Draws, choices: Choices, quality: dict[str, float | int]
) -> xr.DataTree:
    seed, supercell = choices.sampling.seed, begin.result.problem.supercell
    of_prior = prior_sites(target, PRIOR_DRAWS, seed)
    predictions = []
    for one, fit in zip(target.volumes, begin.result.volumes, strict=True):
        stars = star_labels(supercell, fit.volume.grid.q_points)
        predictions.append(make_predictions(target, one, draws, of_prior, stars, seed))
    attributes = {
        "method": choices.method,
        "prior": target.prior.family,
        "seed": seed,
        "warmup": choices.sampling.warmup,
        **quality,
    }
    return posterior_tree(begin.tree, target.prior, draws, of_prior, predictions, attributes)
