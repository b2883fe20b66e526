"""Many independent runs on Dask, each in a worker process: one that fails or dies leaves the others alone."""

import importlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, TypeVar

from bayestds.errors import CampaignError, MissingPackageError
from bayestds.memory import available_memory

Job = TypeVar("Job")
Progress = Callable[[str, str, float | None], None]

MEMORY_OF_A_WORKER = 2 * 2**30
"""Bytes set aside for each local worker when they are counted; the fit of the paper takes 0.9 GiB."""

DEATHS = 2
"""Times that a local worker may die over one run before the run is given up, or tried alone."""

CONNECT_SECONDS = 20
"""How long a scheduler may take to answer."""

TOPIC = "bayestds-progress"


def run_all(
    task: Callable[[Job], Any],
    jobs: Mapping[str, Job],
    scheduler: str | None,
    workers: tuple[int, int],
    progress: Progress = lambda name, text, share: None,
) -> Iterator[tuple[str, Any]]:
    """Do a task for every job, and yield (name, what it returned or the exception it raised) as they end.

    A job whose worker is lost is done again on another one, and in the end alone: Dask blames every job that
    a dying worker still held. Where the iteration is left early, jobs that have not begun are called off.

    Args:
        task: a function of a module that the workers can import.
        jobs: its argument, by name.
        scheduler: address of a Dask scheduler; None for processes of this computer.
        workers: number of local processes, and of threads in each.
        progress: called with the name of a run and what it tells of itself by :func:`tell_progress`.

    Raises:
        MissingPackageError: Dask's `distributed` is not installed.
        CampaignError: the scheduler does not answer.
    """
    distributed = _distributed()
    with _client(distributed, scheduler, workers) as client:
        client.subscribe_topic(TOPIC, lambda event: progress(*event[1]))
        token = uuid.uuid4().hex
        futures = {
            client.submit(task, job, key=f"{name}-{token}", pure=False): name for name, job in jobs.items()
        }
        blamed = []
        try:
            for future in distributed.as_completed(list(futures), loop=client.loop):
                # A result may be lost until it is here, with the worker that holds it.
                found = _result(future)
                if _died(future):
                    blamed.append(futures[future])
                else:
                    yield futures[future], found
            for name in blamed:
                future = client.submit(task, jobs[name], key=f"{name}-alone-{token}", pure=False)
                futures[future] = name
                yield name, _result(future)
        finally:
            # Ended by Ctrl-C or by the caller; one that has ended is not moved by this.
            with suppress(Exception):
                client.cancel(list(futures), force=True)


def tell_progress(name: str, text: str, share: float | None = None) -> None:
    """Tell the process that waits for the runs how one of them goes; called within a task."""
    _distributed().get_worker().log_event(TOPIC, (name, text, share))


def local_workers(n_runs: int, wanted: int | None) -> tuple[int, int]:
    """How many processes of this computer do so many runs, and the threads of each.

    As many as there are cores, and as fit into memory, unless a number is wanted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = available_memory()
    fitting = cores if memory == float("inf") else int(memory // MEMORY_OF_A_WORKER)
    workers = wanted or max(1, min(n_runs, cores, fitting))
    return workers, max(1, cores // workers)


def _distributed() -> ModuleType:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise MissingPackageError(
            "The package distributed is not installed.",
            f"Dask runs a campaign ({error}).",
            "Install it: pip install 'bayestds[campaign]'.",
        ) from error


@contextmanager
def _client(distributed: ModuleType, scheduler: str | None, workers: tuple[int, int]) -> Iterator[Any]:
    """A client of a scheduler, or of worker processes that end with this block."""
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise CampaignError(
                f"There is no Dask scheduler at {scheduler}.",
                f"{type(error).__name__}: {error}",
                "Start one with `dask scheduler`, or leave --scheduler out to use this computer.",
            ) from error
        with client:
            yield client
        return
    import dask

    processes, threads = workers
    # Memory is asked for by the runs themselves; Dask would end a worker that has every right to it.
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.worker.memory.terminate": False,
        "distributed.admin.tick.limit": "1h",
    }
    options = {
        "n_workers": processes,
        "threads_per_worker": 1,
        "memory_limit": 0,
        # Any free port: without one it would be always the same, which another campaign may have.
        "dashboard_address": "127.0.0.1:0",
        "host": "127.0.0.1",
        "silence_logs": logging.CRITICAL,
        # NPROC is what XLA reads; the workers of one graphics card share its memory.
        "env": {"NPROC": str(threads), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _died(future: Any) -> bool:
    """Whether Dask gave a run up because workers died that held it."""
    return future.status == "error" and type(future.exception()).__name__ == "KilledWorker"


def _result(future: Any) -> Any:
    """What a run returned, or why it did not; waits once more where it was lost and is done again."""
    try:
        return future.result()
    except CancelledError:
        return CampaignError(
            "The run was called off.", "The scheduler was lost, or somebody cancelled it.", "Start again."
        )
    except Exception as error:
        if not _died(future):
            return error
        return CampaignError(
            "The process that worked on it died, each time that it was tried, in the end alone.",
            "Something ended it from outside: most often the system, because memory was short.",
            "Use fewer --workers, or look into the log of the system; the same command tries again.",
        )
