"""Invariance in a model file: from the truth through a fit and its result to the elastic constants."""

import json
from pathlib import Path

import numpy as np
import pytest

from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import read_result, write_result
from tests.cli.tiny import call
from tests.crystals import make_irreducible
from tests.results import point_fit_result
from tests.springs import spring_constants, springs_of

MODEL = """\
title = "hcp springs"

[crystal]
lattice = [3.209, 3.209, 5.211, 90, 90, 120]
space_group = 194
sites = [{{species = "Mg", position = [0.3333333333333333, 0.6666666666666667, 0.25]}}]

[force_constants]
shells = 2
invariance = "{invariance}"

[ifcs.truth]
source = "springs at rest length"
values = {{{truth}}}

[ifcs.soft]
source = "softer"
values = {{{soft}}}

[measurement]
supercell = [3, 3, 2]
temperature = 300
statistics = "classical"
ifcs = "truth"

[measurement.grid]
h = [-3, 3, 19]
k = [-3, 3, 19]
l = [-4, 4, 17]

[fit]
start = "soft"
reference = "truth"
"""


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    """Springs by name, eV/Å²."""
    irreducible = make_irreducible("hcp", 2)
    found = spring_constants(irreducible, springs_of(irreducible, np.array([2.0, 1.5])))
    return dict(zip(irreducible.names, found.tolist(), strict=True))


@pytest.fixture(scope="module")
def folder(truth, tmp_path_factory) -> Path:
    """A folder with the models huang.toml and none.toml."""
    path = tmp_path_factory.mktemp("invariance")
    sets = {"truth": truth, "soft": {name: 0.9 * value for name, value in truth.items()}}
    texts = {key: ", ".join(f"{n} = {v!r}" for n, v in values.items()) for key, values in sets.items()}
    for invariance in ("huang", "none"):
        (path / f"{invariance}.toml").write_text(MODEL.format(invariance=invariance, **texts))
    return path


def test_irreducible_tells_what_is_left(folder):
    found = {
        name: json.loads(call("irreducible", folder / f"{name}.toml", "--json").out)
        for name in ("huang", "none")
    }
    assert found["none"]["invariance"] == "none"
    assert found["huang"]["invariance"] == "huang"
    assert found["huang"]["n_irreducible"] == found["none"]["n_irreducible"] - 1
    (lost,) = set(found["none"]["irreducible"]) - set(found["huang"]["irreducible"])
    # By hand, as in tests/force_constants: 3 c²/4 (b_xx + b_yy) = a² (b_zz + 3 c_zz).
    assert lost == "c2"
    a, c = 3.209, 5.211
    constants = dict(zip(("b0", "b1", "b2"), (0.3, -0.2, 0.7), strict=True))
    expected = (0.75 * c**2 * (constants["b0"] + constants["b1"]) / a**2 - constants["b2"]) / 3
    # Written to six digits.
    text = found["huang"]["orbits"][1]["matrix"][2][2]
    assert eval(text, {}, constants) == pytest.approx(expected, abs=1e-5)
    assert "invariance: huang" in call("irreducible", folder / "huang.toml").out


@pytest.mark.slow
def test_a_fit_recovers_what_obeys_the_conditions(folder, truth):
    """Noise-free data of the true constants: all of them, the one given up included."""
    outcome = call("fit", folder / "huang.toml", "-o", folder / "fit.nc", "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["converged"]
    assert set(record["ifcs"]) == set(truth) - {"c2"}
    for name, one in record["ifcs"].items():
        assert one["value"] == pytest.approx(truth[name], abs=1e-6)
        assert one["reference"] == truth[name]
        assert one["start"] == pytest.approx(0.9 * truth[name])
    draws = force_constant_draws(read_result(folder / "fit.nc"), 10)
    assert draws.irreducible.invariance == "huang"
    every = draws.irreducible.expansion @ draws.mean
    np.testing.assert_allclose(every, list(truth.values()), atol=1e-6)


def test_phonons_tell_the_elastic_constants(truth, tmp_path):
    """C13 and C44 of springs obey Cauchy's relation: inner displacements enter C11 and C12 of hcp alone."""
    values, result = np.array(list(truth.values())), tmp_path / "hcp.nc"
    write_result(point_fit_result("hcp", values, 1e-12 * np.eye(len(values)), n_shells=2), result)
    words = ("phonons", result, "-o", tmp_path / "phonons.png", "--draws", "20")
    found = json.loads(call(*words, "--json").out)
    assert list(found["elastic_GPa"]) == ["C11", "C12", "C13", "C33", "C44", "K", "G"]
    assert set(found["elastic_GPa"]["C11"]) == {"mean", "sd", "interval_low", "interval_high"}
    assert found["elastic_GPa"]["C13"]["mean"] == pytest.approx(found["elastic_GPa"]["C44"]["mean"], rel=1e-4)
    assert found["invariance"]["imposed"] == "none"
    assert found["invariance"]["huang_relative"] < 1e-9
    assert found["elastically_stable"] == 1
    printed = call(*words).out
    assert "C33" in printed
    assert "Born's criterion" in printed
