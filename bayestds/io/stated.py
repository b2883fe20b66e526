"""What a file states that cannot be meant, and what it states only in its title."""

import re
from typing import Any

import numpy as np
import xarray as xr

NO_LATTICE = (1.0, 1.0, 1.0, 90.0, 90.0, 90.0)
"""The cell that programs write where they were told none."""

SHORTEST = 2.0
"""A shorter edge of a conventional cell, Å, is a sign of another unit or of another cell."""

SAME = 1e-6
"""Relative difference up to which two numbers are the same one but for rounding."""

KELVIN = re.compile(
    r"(?<![\w.(=+-])(\d+(?:\.\d+)?)\s?K(?![\w/=]|\s=|\s[hklHKL]\b)"
    r"|\bT\s*=\s*(\d+(?:\.\d+)?)(?:\s?K)?(?=[\s,;)]|$)"
)
"""A temperature in a title: 300.000K, 300 K, T=300, T = 300 K."""

OTHERWISE = re.compile(
    r"\b(pilatus|eiger|lambda|merlin)\w*\s+\d+(\.\d+)?\s?K|\bT\s*=\s*\S+\s*°?\s*C\b", re.IGNORECASE
)
"""What looks like a temperature in kelvin and is none: the pixels of a detector, degrees Celsius."""


def usable_lattice(values: Any) -> np.ndarray | None:
    """A lattice (6,) as a file states it; None where the numbers stand for one that nobody gave."""
    if values is None:
        return None
    lattice = np.asarray(values, dtype=float)
    unknown = not np.isfinite(lattice).any() or not lattice.any() or np.allclose(lattice, NO_LATTICE)
    return None if unknown else lattice


def temperature_in_title(title: str) -> float | None:
    """The temperature that a title such as "300.000K Transform" or "Si T=300.0" tells, K; None for others."""
    found = {float(first or second) for first, second in KELVIN.findall(OTHERWISE.sub(" ", title))}
    return found.pop() if len(found) == 1 and max(found) > 0 else None


def with_notes(volume: xr.Dataset) -> xr.Dataset:
    """A volume as it was read, with notes on what its file leaves out or cannot mean, in `encoding["notes"]`.

    Where only the title tells the temperature, the volume has it from there.
    """
    notes = list(volume.encoding.get("notes", []))
    title = volume.attrs.get("title")
    if "temperature" not in volume.attrs and isinstance(title, str):
        temperature = temperature_in_title(title)
        if temperature is not None:
            volume = volume.assign_attrs(temperature=temperature)
            notes.append(
                f"the temperature of {temperature:g} K was taken from the title of the file: '{title}'."
            )
    lattice = volume.attrs.get("lattice")
    if lattice is None:
        notes.append(
            "the file states no lattice: its h, k and l are taken to be those of the conventional cell."
        )
    elif min(lattice[:3]) < SHORTEST:
        notes.append(
            f"the lattice has an edge of {min(lattice[:3]):g} Å, shorter than those of crystals: is it in "
            "nm, or of another cell?"
        )
    if reason := _made_up(volume):
        notes.append(reason)
    volume.encoding["notes"] = notes
    return volume


def _made_up(volume: xr.Dataset) -> str | None:
    """Why the standard errors of a volume look like numbers that nobody measured."""
    if "sigma" not in volume:
        return None
    intensity, sigma = _glance(volume)
    used = np.isfinite(intensity) & (intensity > 0) & np.isfinite(sigma) & (sigma > 0)
    intensity, sigma = intensity[used], sigma[used]
    if len(intensity) < 2 or np.ptp(intensity) == 0:
        return None
    fix = 'If they are, give noise = "learned" in [fit]: the errors are then found from the data.'
    if np.abs(sigma / intensity - 1).max() < SAME:
        return f"the standard errors equal the intensities: they look made up. {fix}"
    # A histogram of counts has as many events in a bin as it has counts.
    counted = not volume.encoding.get("one_event_a_bin", False)
    whole = counted and np.abs(intensity - np.rint(intensity)).max() < SAME * intensity.max()
    if not whole and np.abs(sigma**2 / intensity - 1).max() < SAME:
        return (
            "the standard errors are the square roots of intensities that are no counts: they look made up. "
            f"{fix}"
        )
    return None


def _glance(volume: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and standard errors on the plane in the middle, across the axis that is read fastest."""
    axis = volume.encoding.get("order", "h")[0]
    plane = volume.isel({axis: volume.sizes[axis] // 2})
    return plane["intensity"].values.astype(float).ravel(), plane["sigma"].values.astype(float).ravel()
