"""What fits into the memory of this computer: asked before anything is allocated."""

import os


def physical_memory() -> float:
    """Bytes of memory of this computer; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def too_much(needed: float | int) -> str | None:
    """The sentence that so many bytes are more than the memory of this computer; None where they are not."""
    memory = physical_memory()
    if needed <= memory:
        return None
    return f"This takes {needed / 2**30:,.1f} GiB, and this computer has {memory / 2**30:,.1f} GiB."
