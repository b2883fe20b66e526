"""What fits into the memory of this computer: asked before anything is allocated."""

import ctypes
import os
import sys
from pathlib import Path

CGROUPS = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Control groups, version 2 and 1: files of the limit and the use, and what of that the kernel can drop."""


KEPT = 2**28
"""Bytes up to which an array, and in all twice as much, stays with the process once it is freed."""


def keep_freed_memory() -> None:
    """Let this process keep what it frees, within bounds, for what it allocates next.

    An evaluation allocates and frees tens of megabytes. The C library of most Linux systems gives these back
    to the system, which clears all pages anew for the next: a fifth of the time in large supercells. Other
    systems are left as they are.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        # mallopt(3): M_ARENA_MAX, since each arena has its own bounds, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD.
        for option, value in ((-8, 1), (-3, KEPT), (-1, 2 * KEPT)):
            library.mallopt(option, value)


def physical_memory() -> float:
    """Bytes of memory of this computer; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def available_memory() -> float:
    """Bytes that a program can still have: what is free, within the limits of containers and batch jobs.

    Infinite where the system does not tell.
    """
    return float(min(physical_memory(), _free(), _left_in_groups()))


def too_much(needed: float | int) -> str | None:
    """The sentence that so many bytes are more than can be had; None where they are not."""
    memory = available_memory()
    if needed <= memory:
        return None
    return f"This takes {needed / 2**30:,.1f} GiB, and this computer has {memory / 2**30:,.1f} GiB free."


def _free(path: Path = Path("/proc/meminfo")) -> float:
    """Bytes that Linux can give without swapping."""
    for line in _lines(path):
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    return float("inf")


def _left_in_groups(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that are left in the control groups of this process, that of a container or of a batch job.

    A line of ``own`` is ID:CONTROLLERS:PATH (cgroups(7)); a container sees its own group as the root.
    """
    left = [float("inf")]
    for line in _lines(own):
        _, controllers, path = line.split(":", 2)
        version = "memory" if "memory" in controllers.split(",") else controllers
        if version in CGROUPS:
            group = root / version / path.lstrip("/")
            folders = [group, *group.parents]
            left += [_left_in(folder, *CGROUPS[version]) for folder in folders if folder.is_relative_to(root)]
    return min(left)


def _left_in(folder: Path, limit: str, use: str, droppable: str) -> float:
    most, used = ((_lines(folder / name) or ["max"])[0] for name in (limit, use))
    if not (most.isdigit() and used.isdigit()):
        return float("inf")
    statistics = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat"))
    return max(0.0, float(most) - float(used) + float(statistics.get(droppable, 0)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
