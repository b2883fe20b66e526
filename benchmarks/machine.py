"""The machine and the versions that a benchmark ran with."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from bayestds.memory import physical_memory


def machine() -> dict[str, str | int | float]:
    """What a figure of speed depends on: processor, memory, device of JAX, versions."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_GiB": round(physical_memory() / 2**30, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy", "bayestds")},
        "device": jax.devices()[0].device_kind,
    }


def in_words(found: dict[str, str | int | float]) -> str:
    """One line of what :func:`machine` found."""
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_GiB']} GiB; device {found['device']}; "
        f"Python {found['python']}, jax {found['jax']}, numpy {found['numpy']}, bayestds {found['bayestds']}"
    )


def _processor() -> str:
    """Name of the processor; Linux tells it here only."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
