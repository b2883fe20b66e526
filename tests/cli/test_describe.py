"""`irreducible` and `summary`: the JSON that others rely on, and the tables."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from bayestds.inference.priors import WIDTH
from tests.cli.tiny import NAMES, call

NICKEL = ("b0", "b1", "b2", "c0", "c1", "d0", "d1", "d2", "d3", "e0", "e1", "e2", "f0", "f1", "f2", "f3")
SUM_RULE = "a0 + 8*b0 + 4*b1 + 2*c0 + 4*c1 + 8*d0 + 16*d1 + 8*e0 + 4*e1 + 8*f0 + 8*f1 + 8*f2 = 0"


@pytest.fixture(scope="module")
def nickel(tmp_path_factory):
    """The shipped model by its bare name, from a folder that has nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        outcome = call("irreducible", "ni_fcc_paper", "--json")
    assert outcome.code == 0
    return json.loads(outcome.out)


def test_names_of_the_shipped_nickel(nickel):
    assert tuple(nickel["irreducible"]) == NICKEL
    assert nickel["n_irreducible"] == 16


def test_sum_rule_of_the_shipped_nickel(nickel):
    assert nickel["sum_rule"] == SUM_RULE


def test_orbits_of_the_shipped_nickel(nickel):
    orbits = nickel["orbits"]
    assert [orbit["shell"] for orbit in orbits] == [1, 2, 3, 4, 5]
    assert [orbit["multiplicity"] for orbit in orbits] == [12, 6, 24, 12, 24]
    assert [name for orbit in orbits for name in orbit["parameters"]] == nickel["irreducible"]
    assert orbits[0]["representative"] == pytest.approx([1.76, 1.76, 0])
    for orbit in orbits:
        assert np.linalg.norm(orbit["representative"]) == pytest.approx(orbit["distance"], abs=1e-5)


def test_model_by_path_and_by_name_in_the_current_folder(folder):
    by_path, by_name = (call("irreducible", word, "--json") for word in (folder / "tiny.toml", "tiny"))
    assert by_path == by_name
    assert tuple(json.loads(by_path.out)["irreducible"]) == NAMES


@pytest.mark.parametrize(("shells", "n_irreducible"), [(1, 3), (3, 9)])
def test_shells(folder, shells, n_irreducible):
    record = json.loads(call("irreducible", "tiny.toml", "--shells", str(shells), "--json").out)
    assert record["n_irreducible"] == n_irreducible == len(record["irreducible"])
    assert max(orbit["shell"] for orbit in record["orbits"]) == shells


def test_irreducible_in_words(folder):
    outcome = call("irreducible", "tiny.toml")
    assert (outcome.code, outcome.err) == (0, "")
    assert "5 irreducible force constants, Fm-3m (225)" in outcome.out
    assert "xx=b0, xy=b2, yx=b2, yy=b0, zz=b1" in outcome.out
    assert "a0 + 8*b0 + 4*b1 + 2*c0 + 4*c1 = 0" in outcome.out


def test_nothing_is_written(folder):
    call("irreducible", "tiny.toml", "--json")
    assert [path.name for path in folder.iterdir()] == ["tiny.toml"]


@pytest.fixture(scope="module")
def summary(shared):
    outcome = call("summary", shared.result, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_summary_says_what_the_fit_said(summary, shared):
    assert tuple(summary["ifcs"]) == NAMES
    for name, values in summary["ifcs"].items():
        fitted = shared.record["ifcs"][name]
        assert (values["mean"], values["sd"]) == (fitted["value"], fitted["sd"])
        assert (values["shell"], values["clustered_sd"]) == (fitted["shell"], fitted["clustered_sd"])


def test_summary_intervals_are_those_of_a_normal_distribution(summary):
    for values in summary["ifcs"].values():
        expected = norm.interval(summary["interval"], values["mean"], values["sd"])
        assert (values["interval_low"], values["interval_high"]) == pytest.approx(expected)


def test_summary_contraction_is_that_of_the_priors(summary):
    """Their common scale is learned: a multiple of the rms size of the constants."""
    relative = np.array([1, 1, 1, 0.4, 0.4])
    sizes = np.array([values["mean"] for values in summary["ifcs"].values()]) / relative
    scales = WIDTH * np.sqrt(np.mean(sizes**2)) * relative
    for values, prior in zip(summary["ifcs"].values(), scales, strict=True):
        assert values["contraction"] == pytest.approx(1 - (values["sd"] / prior) ** 2, abs=1e-8)


def test_summary_of_a_point_fit_has_no_chains(summary):
    assert (summary["kind"], summary["divergences"], summary["converged"]) == ("point_fit", 0, True)
    for values in summary["ifcs"].values():
        assert (values["r_hat"], values["ess_bulk"], values["ess_tail"]) == (None, None, None)


def test_summary_verdicts(summary):
    assert {shell: values["verdict"] for shell, values in summary["shells"].items()} == {
        "1": "determined",
        "2": "determined",
    }
    assert summary["shells"]["2"]["told_from_zero"] == ["c0", "c1"]


def test_summary_in_words(shared):
    outcome = call("summary", shared.result)
    assert outcome.code == 0
    for words in (*NAMES, "95% interval", "significantly different from zero", "determined", "Converged"):
        assert words in outcome.out


def test_result_moves_with_its_folder(shared, tmp_path):
    copy = tmp_path / "copied [1].nc"
    copy.write_bytes(shared.result.read_bytes())
    outcome = call("summary", copy)
    assert outcome.code == 0
    assert "copied [1].nc" in outcome.out


def test_result_opens_with_plain_xarray(shared):
    with xr.open_datatree(shared.result, engine="h5netcdf") as tree:
        assert set(tree.children) == {"point_fit", "observed_data", "constant_data"}
        assert tree.attrs["model_text"] == (shared.folder / "tiny.toml").read_text()
        assert tuple(tree["point_fit"]["irreducible"].values) == NAMES
