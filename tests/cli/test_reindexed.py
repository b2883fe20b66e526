"""A volume indexed in another cell than the crystal's: reindexed, it gives the constants it was made with."""

import json

import numpy as np
import pytest

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.io import write_volume
from bayestds.scattering.simulation import simulate_volume
from bayestds.scattering.volume import make_volume
from tests.brute_force import random_stable
from tests.cli.tiny import call

TETRAGONAL = """\
title = "body-centred tetragonal"

[crystal]
lattice = [3.0, 3.0, 3.6, 90, 90, 90]
space_group = 139
sites = [{species = "In", position = [0, 0, 0]}]

[force_constants]
shells = 2

[measurement]
supercell = [3, 3, 3]
temperature = 300
statistics = "classical"

[measurement.grid]
h = [-2, 2, 13]
k = [-2, 2, 13]
l = [-2, 2, 13]

[priors]
scale = 100
decay = 1
"""


@pytest.fixture
def truth(tmp_path, monkeypatch):
    """Axes in the order c, a, b, the first reversed, in a cell of twice the a: h' = -l, k' = 2h, l' = k."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tetragonal.toml").write_text(TETRAGONAL)
    study = build_study(load_model("tetragonal.toml"))
    values = random_stable(study.irreducible, study.supercell(), 1)
    volume = simulate_volume(study.irreducible, values, study.supercell(), 300.0, study.axes)
    turned = volume["intensity"].transpose("l", "h", "k").values[::-1]
    h, k, l_ = study.axes
    other = make_volume(
        -l_[::-1], 2 * h, k, turned, lattice=[3.6, 6.0, 3.0, 90, 90, 90], temperature=300.0, noise="none"
    )
    write_volume(other, "turned.nc")
    return dict(zip(study.irreducible.names, values, strict=True))


@pytest.mark.slow
def test_reindexed_volume_recovers_known_constants(truth):
    refused = call("fit", "tetragonal.toml", "turned.nc", "--start", "zero")
    assert refused.code == 2
    assert "does not match the crystal" in refused.err
    converted = call("convert", "turned.nc", "right.nc", "--reindex", "0 1/2 0 / 0 0 1 / -1 0 0")
    assert converted.code == 0, converted.err
    outcome = call("fit", "tetragonal.toml", "right.nc", "--start", "zero", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["converged"] is True
    found = [record["ifcs"][name]["value"] for name in truth]
    assert found == pytest.approx(list(truth.values()), abs=1e-4 * np.abs(list(truth.values())).max())
