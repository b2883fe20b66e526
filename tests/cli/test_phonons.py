"""`phonons`: the table, the picture, and the JSON that others rely on."""

import json
import shutil

import numpy as np
import pytest

from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import write_result
from bayestds.lattice_dynamics.phonons import frequencies
from tests.brute_force import random_stable
from tests.cli.tiny import TRUTH, call
from tests.crystals import default_supercell, make_irreducible
from tests.results import point_fit_result, posterior_result


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A point fit and a posterior, made up; not to be written to."""
    folder = tmp_path_factory.mktemp("results")
    values = random_stable(make_irreducible("rocksalt", 2), default_supercell("rocksalt"), 0)
    write_result(point_fit_result("rocksalt", values, n_shells=2), folder / "fit.nc")
    noise = np.random.default_rng(0).normal(size=(2, 30, len(values)))
    write_result(posterior_result("rocksalt", values * (1 + 0.01 * noise), 2), folder / "posterior.nc")
    return folder


def test_a_fit_of_the_command_line(shared, folder):
    """Frequencies at X are those of the constants that the data were made with."""
    shutil.copy(shared.result, folder / "tiny_fit.nc")
    outcome = call("phonons", "tiny_fit.nc", "--json", "--draws", 20)
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["figure"] == "tiny_fit_phonons.png"
    assert (folder / "tiny_fit_phonons.png").stat().st_size > 10_000
    irreducible, x = make_irreducible("fcc", 2), record["special_q_points"]["X"]
    expected = frequencies(irreducible, np.array(list(TRUTH.values())), np.array([x]))[0]
    sd = np.array(record["special_points_sd"]["X"])
    # A noise-free volume of assumed noise.
    assert (np.abs(np.array(record["special_points"]["X"]) - expected) < 0.1 * sd + 1e-5 * expected).all()


def test_record(results, folder):
    outcome = call("phonons", results / "posterior.nc", "--json", "--draws", 25)
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    n_q = len(record["q_points"])
    for key in ("frequencies_THz", "sd", "interval_low", "interval_high", "inner_low", "inner_high"):
        assert np.array(record[key]).shape == (n_q, 6)
    assert len(record["distance"]) == n_q
    assert len(record["ticks"]) == len(record["path"])
    assert record["path"][0] == "Γ"
    names = list(record["special_points"])
    assert {"Γ", "X", "L"} <= set(names)
    for suffix in ("", "_sd", "_interval_low", "_interval_high"):
        assert {len(record[f"special_points{suffix}"][name]) for name in names} == {6}
    assert np.array(record["participation"]["X"]).sum(axis=1) == pytest.approx(np.ones(6))
    assert record["participation"]["Γ"][0] == [None, None]
    dos = record["dos"]
    assert len(dos["edges_THz"]) == len(dos["density"]) + 1 == len(dos["interval_low"]) + 1
    assert np.diff(dos["edges_THz"]) @ np.array(dos["density"]) == pytest.approx(6)
    assert (record["n_draws"], record["kind"], record["temperature"]) == (25, "posterior", 300)
    assert "25 draws of the posterior" in record["words"][0]
    assert "LO-TO splitting" in record["words"][1]
    assert (folder / "posterior_phonons.png").exists()


def test_in_words(results, folder):
    outcome = call("phonons", results / "fit.nc", "-o", "p.png", "--draws", 20, "--path", "G X W GAMMA")
    assert outcome.code == 0, outcome.err
    assert "20 normal draws about the point fit" in outcome.out
    assert "LO-TO splitting" in outcome.out
    assert "-0.0000" not in outcome.out
    found = force_constant_draws(point_fit_result("rocksalt", n_shells=2), 20)
    top = frequencies(found.irreducible, found.mean, np.array([[0.5, 0.5, 0.5]]))[0, -1]
    assert f"{top:.4f}" in outcome.out
    assert "p.png" in outcome.err
    assert (folder / "p.png").exists()


@pytest.mark.slow
def test_seed_and_path(results, folder):
    words = ("phonons", results / "fit.nc", "--json", "--draws", 20, "--path", "L G")
    first, same, other = (json.loads(call(*words, "--seed", seed).out) for seed in (1, 1, 2))
    assert first == same
    assert first["sd"] != other["sd"]
    assert first["frequencies_THz"] == other["frequencies_THz"]
    assert first["path"] == ["L", "Γ"]


def test_too_few_draws_are_refused(results):
    assert call("phonons", results / "fit.nc", "--draws", 1).code == 2
