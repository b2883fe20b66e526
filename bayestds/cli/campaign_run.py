"""One run of a campaign, as a worker process does it, and the record by which a finished one is known."""

import hashlib
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import xarray as xr

from bayestds import __version__
from bayestds.campaign import tell_progress
from bayestds.cli.assemble import Study, build_study
from bayestds.cli.compiled import keep_compiled_programs
from bayestds.cli.fitting import fit_to_file
from bayestds.cli.output import plain
from bayestds.cli.sampling import Choices, sample_to_file
from bayestds.config import Run, load_model
from bayestds.diagnostics.summary import chain_warnings, summary_record
from bayestds.errors import BayesTDSError, CampaignError
from bayestds.inference.nuts import Sampling
from bayestds.io.atomic import atomic_path
from bayestds.io.checkpoint import fingerprint

Tell = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of a run.

    Attributes:
        name: of the run, and of its files.
        folder: of the results, absolute.
        run: volume and model (absolute paths, or the name of a shipped model) and options.
        command: the command that repeats it.
        version: of bayestds where it was asked for.
    """

    name: str
    folder: Path
    run: Run
    command: str
    version: str = field(default=__version__)

    @property
    def result(self) -> Path:
        """The file that the run writes."""
        return self.folder / f"{self.name}.nc"

    @property
    def record(self) -> Path:
        """The file that says that it did; written last."""
        return self.folder / f"{self.name}.json"


def error_record(error: BaseException) -> dict[str, str]:
    """An exception in three parts; one that nobody foresaw with where it came from."""
    if isinstance(error, BayesTDSError):
        return {"summary": error.summary, "reason": error.reason, "fix": error.fix}
    return {
        "summary": f"{type(error).__name__}: {error}",
        "reason": "This was not foreseen.",
        "fix": "The JSON record of the campaign says where it happened: please report it.",
        "traceback": "".join(traceback.format_exception(error)),
    }


def inputs_of(job: Job) -> str:
    """Digest of everything that a run depends on: files by their content, options, and the version.

    Raises:
        BayesTDSError, OSError: a file cannot be read.
    """
    model = load_model(job.run.model or "")
    crystal = model.crystal.file
    files = [Path(job.run.volume), *([model.resolve(crystal)] if crystal else [])]
    options = job.run.model_dump(exclude={"model", "volume", "name"})
    return fingerprint(__version__, model.text, [_digest(file) for file in files], json.dumps(options))


def finished(job: Job) -> dict[str, Any] | None:
    """What a run with these very inputs found earlier, if its result is still what it wrote; else None."""
    try:
        stored = json.loads(job.record.read_bytes())
        same = stored["inputs"] == inputs_of(job) and stored["digest"] == _digest(job.result)
        return stored["found"] if same else None
    except (OSError, ValueError, KeyError, TypeError, BayesTDSError):
        return None


def do_run(job: Job) -> dict[str, Any]:
    """Fit or sample a volume and write the result, its picture and its record.

    Returns:
        the outcome: temperature, force constants and what is said of them.

    Raises:
        BayesTDSError: it cannot be done.
    """
    if job.version != __version__:
        raise CampaignError(
            f"The worker has bayestds {__version__}, and the campaign was begun with {job.version}.",
            "Results of two versions are not compared.",
            "Install one version wherever Dask's workers run.",
        )
    # A result that was lost with the worker that held it is asked for again.
    if (known := finished(job)) is not None:
        return known
    jax.config.update("jax_enable_x64", True)
    keep_compiled_programs()

    def tell(text: str, share: float | None = None) -> None:
        tell_progress(job.name, text, share)

    began = time.perf_counter()
    tell("reading data")
    inputs = inputs_of(job)
    record = _sampled(job, tell) if job.run.command == "sample" else _fitted(job, tell)
    record["seconds"] = time.perf_counter() - began
    found = plain({key: record.get(key) for key in KEPT} | {"ifcs": _constants(record)})
    content = {"inputs": inputs, "digest": _digest(job.result), "found": found}
    with atomic_path(job.record) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False))
    return found


KEPT = (
    "temperature_K",
    "converged",
    "message",
    "residual_rms",
    "reduced_chi_square",
    "seconds",
    "warnings",
    "divergences",
)
"""Of the record of a fit or a posterior."""


def _fitted(job: Job, tell: Tell) -> dict[str, Any]:
    run = job.run
    study = build_study(load_model(run.model or ""), run.shells)
    data = _volume(study, run)
    volume = Path(run.volume)
    record, _ = fit_to_file(study, volume, job.result, run.start, tell, data, {"command": job.command})
    return record


def _sampled(job: Job, tell: Tell) -> dict[str, Any]:
    """A posterior; goes on from a checkpoint of the very same run, and begins anew from any other."""
    run = job.run
    study = build_study(load_model(run.model or ""), run.shells)
    data = _volume(study, run)
    sampling = Sampling(run.chains, run.draws, run.warmup, run.seed)
    choices = Choices(sampling, run.method, resume=True, insist=False)
    attributes = {"command": job.command}
    volume = Path(run.volume)
    tree, warnings = sample_to_file(study, [volume], job.result, run.start, choices, tell, data, attributes)
    record = summary_record(tree)
    return record | {
        "warnings": warnings + chain_warnings(record),
        "temperature_K": float(tree["constant_data"]["temperature"]),
        "residual_rms": tree.attrs["residual_rms"],
        "reduced_chi_square": tree.attrs["reduced_chi_square"],
    }


def _volume(study: Study, run: Run) -> xr.Dataset:
    """The data, at the temperature of the run where it says one."""
    data = study.read(Path(run.volume))
    return data if run.temperature is None else data.assign_attrs(temperature=run.temperature)


def _constants(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Value and standard deviation of each constant, eV/Å²."""
    return {
        name: {"value": values["value"] if "value" in values else values["mean"], "sd": values["sd"]}
        for name, values in record["ifcs"].items()
    }


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
