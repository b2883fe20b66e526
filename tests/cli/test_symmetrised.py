"""A volume that was symmetrised by the Laue group, of a crystal whose intensity the inversion changes."""

import json

import numpy as np
import pytest

from bayestds.io import read_volume, write_volume
from tests.cli.tiny import call

MODEL = """\
title = "zincblende beside an absorption edge"

[crystal]
lattice = [5.65, 5.65, 5.65, 90, 90, 90]
space_group = 216
sites = [{species = "Ga", position = [0, 0, 0]}, {species = "As", position = [0.25, 0.25, 0.25]}]

[scattering]
radiation = "xray"
energy = 10.4

[force_constants]
shells = 2

[ifcs.springs]
source = "made up"
values.b0 = -3.0
values.b1 = -2.0
values.c0 = -0.15
values.c1 = 0.03
values.c2 = 0.02
values.c3 = -0.15
values.c4 = -0.2
values.c5 = 0.02
values.c6 = 0.03
values.c7 = -0.2

[measurement]
supercell = [2, 2, 2]
temperature = 300
statistics = "classical"
ifcs = "springs"

[measurement.grid]
h = [-3, 3, 13]
k = [-3, 3, 13]
l = [-3, 3, 13]

[fit]
noise = 0.001
reference = "springs"
"""


@pytest.fixture(scope="module")
def polar(tmp_path_factory):
    """Folder with the model and two volumes: raw, and averaged over Q and -Q."""
    folder = tmp_path_factory.mktemp("polar")
    path = folder / "polar.toml"
    path.write_text(MODEL.replace("{SPRINGS}", "{}"))
    outcome = call("simulate", folder / "polar.toml", "-o", folder / "raw.nc")
    assert outcome.code == 0, outcome.err
    raw = read_volume(folder / "raw.nc").load()
    del raw.attrs["noise"]
    write_volume(raw, folder / "raw.nc")
    both = (raw["intensity"] + raw["intensity"].values[::-1, ::-1, ::-1]) / 2
    write_volume(raw.assign(intensity=both), folder / "symmetrised.nc")
    return folder, raw, both


def test_inversion_changes_the_intensity(polar):
    _, raw, both = polar
    assert float(np.abs(np.log(raw["intensity"] / both)).max()) > 0.02


@pytest.mark.parametrize("name", ["raw.nc", "symmetrised.nc"])
def test_constants_are_found_from_either_volume(polar, name):
    folder, _, _ = polar
    outcome = call("fit", folder / "polar.toml", folder / name, "-o", folder / "r.nc", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    # What is left is the shift by the prior.
    assert record["residual_rms"] < 1e-4
    assert ("-h, -k, -l" in record["equivalents"]["copies"]) == (name == "symmetrised.nc")
    for one in record["ifcs"].values():
        assert one["value"] == pytest.approx(one["reference"], abs=0.3 * one["sd"])
