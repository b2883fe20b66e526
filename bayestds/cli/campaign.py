"""The command that fits or samples many volumes."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from glob import glob
from pathlib import Path
from typing import Any

from bayestds.campaign import local_workers, run_all
from bayestds.cli.campaign_run import Job, do_run, error_record, finished
from bayestds.cli.output import check_output, number, plain, print_json, print_table, progress_bar, words
from bayestds.config import Campaign, Run, load_campaign, load_model
from bayestds.errors import ModelError, OutputError
from bayestds.io.atomic import atomic_path
from bayestds.report.campaign_plots import campaign_figure
from bayestds.report.plots import save_figure

SUMMARY = "campaign"
"""Name of the files that are about all runs."""

COLUMNS = ("run", "status", "command", "volume", "temperature_K", "converged", "residual_rms",
           "reduced_chi_square", "seconds")  # fmt: skip
"""Of the table, before the force constants."""


def campaign(
    path: Path,
    output: Path | None,
    scheduler: str | None,
    workers: int | None,
    only_status: bool,
    as_json: bool,
) -> int:
    """Do the runs of a campaign that are not finished, and write tables of all.

    Returns:
        the exit code: 0 if all runs are done, else 2.
    """
    given = load_campaign(path)
    folder = output or path.parent / (given.output or f"{path.stem}_results")
    jobs = _jobs(given, path, folder.absolute())
    outcomes = {name: _outcome(job, "waiting") for name, job in jobs.items()}
    for name, job in jobs.items():
        if (found := finished(job)) is not None:
            outcomes[name] |= {"status": "kept", **found}
    if not only_status:
        _make(folder)
        check_output(
            *_summaries(folder).values(), inputs=[path, *(Path(j.run.volume) for j in jobs.values())]
        )
        waiting = {name: job for name, job in jobs.items() if outcomes[name]["status"] == "waiting"}
        _work(waiting, outcomes, scheduler, local_workers(len(jobs), workers), path.stem)
    record = _record(given, path, folder, outcomes)
    if not only_status:
        _write(record, _summaries(folder))
    if as_json:
        print_json(record)
    else:
        _print(record)
    return 2 if record["counts"].get("failed") else 0


def _jobs(given: Campaign, path: Path, folder: Path) -> dict[str, Job]:
    """The runs by name, those of `volumes` first.

    Raises:
        ModelError: a pattern matches nothing, a model cannot be read, or two runs have the same name.
    """
    runs: list[Run] = []
    for pattern in given.volumes:
        # A file that is named rather than matched may be missing; its run says so.
        found = sorted(glob(str(path.parent / pattern), recursive=True)) or [str(path.parent / pattern)]
        if not Path(found[0]).exists() and any(sign in pattern for sign in "*?["):
            raise ModelError(
                f"The campaign file {path} has a pattern that matches nothing.",
                f"There is no file {path.parent / pattern}.",
                "Correct `volumes`; patterns are relative to the campaign file.",
            )
        runs += [Run(volume=name) for name in found]
    runs += [run.model_copy(update={"volume": str(path.parent / run.volume)}) for run in given.run]
    jobs: dict[str, Job] = {}
    for run in map(given.options, runs):
        name = run.name or Path(run.volume).stem
        if name.casefold() in {other.casefold() for other in [*jobs, SUMMARY]}:
            raise ModelError(
                f"The campaign file {path} has two runs called {name}.",
                f"A run is called by its volume if it has no name; {SUMMARY} is the name of the tables.",
                "Give one of them a `name` in a table [[run]] of its own.",
            )
        absolute = {"volume": str(Path(run.volume).absolute()), "model": _model(run.model or "", path)}
        command = f"bayestds campaign {path.absolute()}"
        jobs[name] = Job(name, folder, run.model_copy(update=absolute), command)
    return jobs


def _model(name: str, path: Path) -> str:
    """Path of a model that is named relative to the campaign file, in the current folder, or shipped.

    Raises:
        ModelError: it cannot be read.
    """
    beside = path.parent / name
    return str(load_model(beside if beside.is_file() else name).path.absolute())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made.",
            f"The system says: {error.strerror}.",
            "Name another `output`, in a folder that you may write to.",
        ) from error


def _work(
    jobs: Mapping[str, Job],
    outcomes: dict[str, dict[str, Any]],
    scheduler: str | None,
    workers: tuple[int, int],
    title: str,
) -> None:
    """Do the jobs, and enter what becomes of each."""
    if not jobs:
        return
    ended = len(outcomes) - len(jobs)
    with progress_bar(title) as tell:
        tell(f"{ended} of {len(outcomes)} done; starting workers", ended / len(outcomes))

        def progress(name: str, text: str, share: float | None) -> None:
            tell(f"{ended} of {len(outcomes)} done; {name}: {text}", ended / len(outcomes))

        try:
            for name, found in run_all(do_run, jobs, scheduler, workers, progress):
                ended += 1
                if isinstance(found, BaseException):
                    outcomes[name] |= {"status": "failed", "error": error_record(found)}
                    words.print(f"{name}: failed. {outcomes[name]['error']['summary']}", markup=False)
                else:
                    outcomes[name] |= {"status": "done", **found}
                    words.print(f"{name}: done in {found['seconds']:.0f} s", markup=False)
                progress(name, outcomes[name]["status"], None)
        except KeyboardInterrupt:
            words.print("Finished runs are kept; the same command goes on with the others.")
            raise


def _outcome(job: Job, status: str) -> dict[str, Any]:
    run = job.run
    return {
        "status": status,
        "command": run.command,
        "model": run.model,
        "volume": run.volume,
        "output": str(job.result),
        "temperature_K": run.temperature,
    }


def _summaries(folder: Path) -> dict[str, Path]:
    return {suffix: folder / f"{SUMMARY}.{suffix}" for suffix in ("json", "csv", "png")}


def _record(given: Campaign, path: Path, folder: Path, outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "campaign": str(path),
        "title": given.title,
        "output": str(folder),
        "counts": dict(Counter(outcome["status"] for outcome in outcomes.values())),
        "runs": outcomes,
    }


def _names(runs: Mapping[str, dict[str, Any]]) -> list[str]:
    """Names of the force constants of all runs, in the order in which they first appear."""
    return list(dict.fromkeys(name for run in runs.values() for name in run.get("ifcs", {})))


def _write(record: dict[str, Any], paths: Mapping[str, Path]) -> None:
    """The record, the table with a line for each run, and the picture, where there is one."""
    runs = record["runs"]
    constants = _names(runs)
    with atomic_path(paths["json"]) as temporary:
        temporary.write_text(json.dumps(plain(record), indent=1, allow_nan=False))
    with atomic_path(paths["csv"]) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, *(f"{name}{end}" for name in constants for end in ("", "_sd"))])
        for name, run in runs.items():
            ifcs = run.get("ifcs", {})
            values = [ifcs.get(constant, {}).get(key) for constant in constants for key in ("value", "sd")]
            table.writerow([name, *(run.get(column) for column in COLUMNS[1:]), *values])
    figure = campaign_figure(runs, record["title"])
    if figure is not None:
        save_figure(figure, paths["png"])


def _print(record: dict[str, Any]) -> None:
    runs = record["runs"]
    constants = _names(runs)
    rows = []
    for name, run in runs.items():
        numbers = [run.get(key) for key in ("temperature_K", "residual_rms", "reduced_chi_square")]
        texts = ["-" if value is None else f"{value:.4g}" for value in numbers]
        converged = {True: "yes", False: "no"}.get(run.get("converged"), "-")
        rows.append([name, run["command"], run["status"], texts[0], converged, *texts[1:]])
    columns = ("run", "command", "status", "T (K)", "converged", "residual rms", "chi-square")
    print_table(record["title"] or f"Campaign {record['campaign']}", columns, rows)
    rows = [
        [name, *(_with_error(run["ifcs"].get(constant)) for constant in constants)]
        for name, run in runs.items()
        if "ifcs" in run
    ]
    if rows:
        print_table("Irreducible force constants (eV/Å²)", ["run", *constants], rows)
    for name, run in runs.items():
        for warning in run.get("warnings", ()):
            words.print(f"Warning: {name}: {warning}", markup=False)
    for name, run in runs.items():
        if "error" in run:
            error = run["error"]
            words.print(
                f"Failed: {name}: {error['summary']}\n{error['reason']}\n{error['fix']}", markup=False
            )
    words.print(f"{_counted(record['counts'])}. Results are in {record['output']}.", markup=False)


def _with_error(constant: Mapping[str, float | None] | None) -> str:
    if constant is None or constant["value"] is None:
        return "-"
    sd = constant["sd"]
    return f"{number(constant['value'])} ± {'-' if sd is None else f'{sd:.1e}'}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())
