"""A model that is fitted in seconds, and the command line as a function."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayestds.cli import main
from bayestds.scattering.volume import make_volume

NAMES = ("b0", "b1", "b2", "c0", "c1")
TRUTH = dict(zip(NAMES, (-1.0, 0.1, -1.1, -0.05, 0.02), strict=True))
POINTS = 13
LATTICE = (3.52, 3.52, 3.52, 90.0, 90.0, 90.0)

MODEL = """\
title = "tiny fcc"

[crystal]
lattice = [3.52, 3.52, 3.52, 90, 90, 90]
space_group = 225
sites = [{species = "Ni", position = [0, 0, 0]}]

[force_constants]
shells = 2

[ifcs.truth]
source = "made up"
values = {b0 = -1.0, b1 = 0.1, b2 = -1.1, c0 = -0.05, c1 = 0.02}

[ifcs.springs]
source = "made up"
values = {b0 = -0.7, b1 = 0.0, b2 = -0.7, c0 = 0.0, c1 = 0.0}

[ifcs.repulsive]
source = "made up, unstable"
values = {b0 = 1.0, b1 = 0.1, b2 = 1.1, c0 = 0.05, c1 = 0.02}

[measurement]
supercell = [3, 3, 3]
temperature = 300
statistics = "classical"
ifcs = "truth"

[measurement.grid]
h = [-2, 2, 13]
k = [-2, 2, 13]
l = [-2, 2, 13]

[fit]
start = "springs"
reference = "truth"
"""


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


def call(*words: str | Path) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


def tiny_volume(**changes: Any) -> xr.Dataset:
    """A volume of the tiny model's shape, with made-up smooth intensities."""
    axis = np.linspace(-2, 2, POINTS)
    h, k, l_ = np.meshgrid(axis, axis, axis, indexing="ij")
    parts = {"h": axis, "k": axis, "l": axis, "intensity": 1 + h**2 + k**2 + l_**2, "lattice": LATTICE}
    return make_volume(**(parts | changes))
