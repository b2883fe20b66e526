"""Third-order force constants through the commands."""

import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import read_result
from bayestds.diagnostics.summary import ANHARMONIC, ENSEMBLE, THIRD_ORDER, error_words
from bayestds.inference.sums import direct_model
from bayestds.io import write_volume
from bayestds.lattice_dynamics.grueneisen import grueneisen_parameters
from bayestds.scattering.forward import log_intensity
from tests.cli.tiny import MODEL, NAMES, TRUTH, call

ROOT = Path(__file__).parents[2]

CUBIC = {"b_xxx": -2.4, "b_xxy": -3.6, "b_xzz": 0.6}
"""About those of copper, eV/Å³."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the tiny model, a volume of it with third-order constants, and their fit; read only."""
    folder = tmp_path_factory.mktemp("cubic")
    (folder / "tiny.toml").write_text(MODEL)
    with chdir(folder):
        study = build_study(load_model("tiny.toml"), cubic=1)
        volume = study.own_volume()
        problem = study.problem(volume, "made")
        truth = np.array([*TRUTH.values(), *CUBIC.values()])
        forward = direct_model(problem, problem.volumes[0], jnp.asarray(truth))
        found = np.exp(np.asarray(log_intensity(forward, truth)))
        index = problem.volumes[0].grid.point_of_voxel
        values = np.where(index >= 0, found[index], volume["intensity"].values)
        write_volume(volume.assign(intensity=(("h", "k", "l"), values)), "x.nxs")
        done = call("fit", "tiny.toml", "x.nxs", "--cubic", 1, "--json")
        assert done.code == 0, done.err
        (folder / "fit.json").write_text(done.out)
    return folder


def test_fit_finds_both_orders(place):
    record = json.loads((place / "fit.json").read_text())
    assert list(record["cubic"]) == list(CUBIC)
    for name, truth in CUBIC.items():
        one = record["cubic"][name]
        # The fit stops below 1e-3 standard errors.
        assert one["value"] == pytest.approx(truth, abs=1e-2 * one["sd"])
        assert one["shell"] == 1
        assert min(one["plain_sd"], one["star_sd"], one["clustered_sd"]) > 0
    for name in NAMES:
        one = record["ifcs"][name]
        assert one["value"] == pytest.approx(TRUTH[name], abs=1e-2 * one["sd"])
    found = record["anharmonicity"]
    assert found["explained"] > 0.999
    assert found["rms"] < 1e-3 * found["harmonic_rms"]


def test_fit_without_third_order_is_as_it_was(place, shared):
    assert shared.record["cubic"] == {}
    assert shared.record["anharmonicity"] is None
    assert "cubic" not in read_result(shared.result).children


def test_result_holds_names_units_and_both_fits(place):
    tree = read_result(place / "tiny_fit.nc")
    group = tree["cubic"].dataset
    assert list(group["third_order"].values) == list(CUBIC)
    assert group["value"].attrs["units"] == "eV/Å³"
    # The scale of both orders is learned: that of the first shell is the factor on 30 eV/Å³.
    factor = float(tree["point_fit"].dataset["prior_scale"].sel(irreducible="b0"))
    np.testing.assert_allclose(group["prior_scale"], 30 * factor)
    covariance = tree["point_fit"].dataset["covariance"].values
    cross = group["cross_covariance"].values
    whole = np.block([[covariance, cross], [cross.T, group["covariance"].values]])
    assert (np.linalg.eigvalsh(whole / np.sqrt(np.outer(np.diag(whole), np.diag(whole)))) > 0).all()
    harmonic = tree["point_fit"].dataset["harmonic"].values
    assert np.abs(harmonic - np.array(list(TRUTH.values()))).max() > 1e-3


def test_draws_of_a_fit_have_the_covariance_of_both_orders(place):
    tree = read_result(place / "tiny_fit.nc")
    draws = force_constant_draws(tree, 4000, 1)
    assert draws.third_order is not None
    assert draws.third_order.names == tuple(CUBIC)
    both = np.concatenate([draws.draws, draws.cubic_draws], axis=1)
    expected = tree["cubic"].dataset["cross_covariance"].values
    size = np.sqrt(np.outer(np.diag(draws.covariance), np.diag(tree["cubic"].dataset["covariance"])))
    # Correlations of 4,000 draws scatter by at most 1/√4000.
    np.testing.assert_allclose(np.cov(both.T)[:5, 5:] / size, expected / size, atol=0.08)


def test_summary_and_report_show_them(place, tmp_path):
    plain = call("summary", place / "tiny_fit.nc")
    assert plain.code == 0
    for text in ("Third-order force constants (eV/Å³)", "b_xxy", "Third order by shell", "explain"):
        assert text in plain.out
    record = json.loads(call("summary", place / "tiny_fit.nc", "--json").out)
    one = record["cubic"]["b_xxx"]
    assert one["interval_low"] < one["mean"] < one["interval_high"]
    assert one["contraction"] > 0.9
    assert record["cubic_shells"]["1"]["told_from_zero"]
    page = tmp_path / "page.html"
    assert call("report", place / "tiny_fit.nc", "-o", page, "--draws", 20).code == 0
    text = page.read_text()
    assert "Third-order force constants, eV/Å³" in text
    assert "of the mean square residual of the harmonic fit" in text


def test_phonons_have_grueneisen_parameters(place, tmp_path):
    done = call("phonons", place / "tiny_fit.nc", "-o", tmp_path / "p.png", "--draws", 20, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["grueneisen"]
    tree = read_result(place / "tiny_fit.nc")
    draws = force_constant_draws(tree, 20)
    x = np.array([[0.0, 1.0, 0.0]])
    truth = np.array(list(TRUTH.values())), np.array(list(CUBIC.values()))
    expected = grueneisen_parameters(draws.irreducible, draws.third_order, *truth, x)[0]
    modes = found["special_points"]["X"]
    np.testing.assert_allclose(modes["value"], expected, atol=0.01)
    assert (np.array(modes["sd"]) > 0).all()
    # Attractive third-order constants stiffen a crystal that is compressed.
    assert found["mean"]["interval_low"] < found["mean"]["value"] < found["mean"]["interval_high"]
    assert 0 < found["mean"]["value"] < 10


def test_page_is_that_of_the_results(tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "anharmonic_page.py"), "-o", str(page)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert page.read_text("utf-8") == (ROOT / "docs" / "anharmonic.md").read_text("utf-8")


def test_words_on_errors_fit_the_model(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(MODEL.replace("[fit]", '[fit]\nnoise = "learned"'))
    done = call("fit", "tiny.toml", place / "x.nxs", "--cubic", 1)
    assert done.code == 0, done.err
    assert THIRD_ORDER in done.out
    assert ANHARMONIC not in done.out
    assert "Third-order constants explain" in done.out
    assert error_words("learned", cubic=False) == ANHARMONIC
    assert error_words("ensemble", cubic=False) == ENSEMBLE


@pytest.mark.slow
def test_sample_has_draws_of_them(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = MODEL.replace("shells = 2\n", "shells = 2\ncubic_shells = 1\n")
    (tmp_path / "tiny.toml").write_text(text.replace("[fit]", "[fit]\nnoise = 0.01"))
    small = ("--chains", 2, "--draws", 200, "--warmup", 100)
    done = call("sample", "tiny.toml", place / "x.nxs", *small, "-o", "c.nc", "--json")
    assert done.code == 0, done.err
    tree, record = read_result("c.nc"), json.loads(done.out)
    draws = tree["posterior"].dataset["cubic"]
    assert draws.dims == ("chain", "draw", "third_order")
    assert draws.attrs["units"] == "eV/Å³"
    fit = tree["cubic"].dataset
    # 400 draws, at least 200 independent ones: within 5/√200 standard errors.
    off = (draws.mean(["chain", "draw"]) - fit["value"]) / fit["standard_error"]
    assert np.abs(off).max() < 0.35
    for name in CUBIC:
        assert record["cubic"][name]["r_hat"] < 1.05
        assert record["cubic"][name]["ess_bulk"] > 100
    assert force_constant_draws(tree, 50).cubic_draws.shape == (50, 3)


@pytest.mark.slow
def test_posteriors_with_and_without_are_compared(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(MODEL.replace("[fit]", "[fit]\nnoise = 0.01"))
    for n, name in ((0, "h.nc"), (1, "c.nc")):
        done = call("sample", "tiny.toml", place / "x.nxs", "--draws", 200, "--cubic", n, "-o", name)
        assert done.code == 0, done.err
    compared = json.loads(call("compare", "h.nc", "c.nc", "--json").out)
    assert compared["results"]["h.nc"]["behind"] > 0 == compared["results"]["c.nc"]["behind"]
