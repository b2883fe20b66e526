"""Effects of an instrument, from the model file to the tables."""

import json
import re

import numpy as np
import pytest

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.diagnostics.result_file import read_result
from bayestds.io import read_volume
from bayestds.scattering.instrument import spread_covariance
from tests.cli.tiny import MODEL, NAMES, TRUTH, call

BEAM = """
[scattering]
radiation = "xray"

[instrument]
polarisation = true
wavelength = 0.6
background = 1
compton = true
"""

SIMULATION = """
[simulation]
background = [1.0, 0.02]
"""

ANYWHERE = MODEL.replace("temperature = 300\n", "temperature = 900\ncommensurate = false\n").replace(
    "[-2, 2, 13]", "[-3.85, 3.85, 12]"
)
"""The tiny crystal, hot, with voxels between the waves of its supercell."""

SPREAD = "resolution = 0.05\nmosaic = 0.3\nvoxel_size = true\n"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit of noise-free data with all effects, from another start."""
    folder = tmp_path_factory.mktemp("instrument")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = ANYWHERE + BEAM + SPREAD + SIMULATION + "[mask]\nbragg_radius = 0.3\n"
        (folder / "beam.toml").write_text(text)
        simulated = call("simulate", "beam.toml", "-o", "v.nc")
        assert simulated.code == 0, simulated.err
        outcome = call("fit", "beam.toml", "v.nc", "-o", "r.nc", "--json")
        assert outcome.code == 0, outcome.err
        words = call("summary", "r.nc")
        assert words.code == 0, words.err
    return folder, json.loads(outcome.out)


def test_all_effects_together_give_the_constants_back(fitted):
    folder, record = fitted
    assert record["converged"] is True
    for name in NAMES:
        assert record["ifcs"][name]["value"] == pytest.approx(TRUTH[name], abs=1e-3)
    strengths = {name: one["value"] for name, one in record["background"].items()}
    assert strengths == pytest.approx({"compton": 1.0, "background_0": 0.02}, abs=5e-3)
    background = read_result(folder / "r.nc")["background"]
    assert list(background["term"].values) == ["compton", "background_0"]
    assert background["value"].values == pytest.approx(list(strengths.values()))
    assert (background["standard_error"].values > 0).all()


@pytest.mark.slow
def test_summary_and_samples_print_the_background(fitted):
    folder, record = fitted
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcome = call("summary", "r.nc", "--json")
        assert json.loads(outcome.out)["background"] == record["background"]
        words = ("--method", "laplace", "--chains", 1, "--draws", 400)
        outcome = call("sample", "beam.toml", "v.nc", "-o", "s.nc", *words)
        assert outcome.code == 0, outcome.err
        found = json.loads(call("summary", "s.nc", "--json").out)["background"]
    for name, unit in (
        ("compton", "tabulated Compton"),
        ("background_0", "forward scattering of a primitive"),
    ):
        assert re.search(rf"^{name} = \S+ ± \S+ of the {unit}", outcome.out, re.MULTILINE)
        expected = record["background"][name]
        assert found[name]["value"] == pytest.approx(expected["value"], abs=0.3 * expected["sd"])
        assert found[name]["sd"] == pytest.approx(expected["sd"], rel=0.15)
    draws = read_result(folder / "s.nc")["posterior"]["background"]
    assert draws.attrs["units"].startswith("forward scattering")


def test_voxels_near_bragg_points_are_called_into_question(fitted):
    folder, record = fitted
    crystal = build_study(load_model(folder / "beam.toml")).crystal
    q_points = read_result(folder / "r.nc")["observed_data"]["q_points"].values
    edges = 0.7 * np.eye(3)
    covariance = spread_covariance(crystal, q_points, 0.05, np.radians(0.3), edges)
    widest = np.sqrt(np.linalg.eigvalsh(covariance)[:, -1])
    # Bragg points of an fcc crystal have indices that are all even or all odd.
    bragg = np.array([g for g in np.ndindex(13, 13, 13) if len({x % 2 for x in g}) == 1]) - 6
    apart = crystal.scattering_vectors(q_points[:, None] - bragg)
    close = (np.linalg.norm(apart, axis=2).min(axis=1) < 4 * widest).sum()
    (warning,) = [text for text in record["warnings"] if "Bragg" in text]
    assert warning.startswith(f"{close} of {record['n_points']} points")


@pytest.mark.slow
def test_fit_without_the_effects_is_wrong(fitted):
    folder, _ = fitted
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "bare.toml").write_text(ANYWHERE + '[scattering]\nradiation = "xray"\n')
        record = json.loads(call("fit", "bare.toml", "v.nc", "-o", "w.nc", "--json").out)
    errors = [abs(record["ifcs"][name]["value"] - TRUTH[name]) for name in NAMES]
    assert max(errors) > 0.1


def test_virtual_detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detector = "unmeasured = 0.4\ngaps = [[0.9, 1.2]]\ncounts = 200\nhot_pixels = 0.01\n"
    (tmp_path / "beam.toml").write_text(MODEL + BEAM + SIMULATION + detector)
    (tmp_path / "ideal.toml").write_text(MODEL + BEAM + SIMULATION)
    for name in ("beam", "ideal"):
        outcome = call("simulate", f"{name}.toml", "-o", f"{name}.nc")
        assert outcome.code == 0, outcome.err
    volume, ideal = read_volume("beam.nc"), read_volume("ideal.nc")
    measured = np.isfinite(volume["intensity"].values)
    there = np.isfinite(ideal["intensity"].values)
    assert not measured[~there].any()
    assert measured.sum() / there.sum() == pytest.approx(0.6 * 12 / 13, abs=0.05)
    level = volume["l"].values
    assert not measured[:, :, (level > 0.9) & (level < 1.2)].any()
    counts = volume["counts"].values[measured]
    ratio = counts / (
        ideal["intensity"].values[measured] * counts.sum() / ideal["intensity"].values[measured].sum()
    )
    hot = ratio > 10
    assert 0 < hot.sum() < 0.03 * len(hot)
    assert counts[~hot].mean() == pytest.approx(200, rel=0.05)


def test_configurations_have_no_instrument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(MODEL)
    (tmp_path / "flat.toml").write_text(MODEL + "[instrument]\nbackground = 1\n")
    simulated = call("simulate", "tiny.toml", "--engine", "sampled", "--configurations", 100, "-o", "v.nc")
    assert simulated.code == 0, simulated.err
    outcome = call("fit", "flat.toml", "v.nc")
    assert outcome.code == 2
    assert "mean over 100 independent configurations" in outcome.err


@pytest.mark.parametrize(
    "command",
    [
        ("simulate", "flat.toml", "--engine", "one-phonon", "-o", "v.nc"),
        ("simulate", "flat.toml", "--engine", "sampled", "-o", "v.nc"),
        ("plan", "flat.toml"),
    ],
    ids=" ".join,
)
def test_commands_that_know_the_crystal_alone(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat.toml").write_text(MODEL + "[instrument]\nbackground = 1\n")
    outcome = call(*command)
    assert outcome.code == 2
    assert "effects of an instrument" in outcome.err
    assert not (tmp_path / "v.nc").exists()


def test_counts_have_no_student_t(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(MODEL + "degrees_of_freedom = 4\n")
    assert call("simulate", "tiny.toml", "--counts", 100, "-o", "v.nc").code == 0
    outcome = call("sample", "tiny.toml", "v.nc")
    assert outcome.code == 2
    assert "Poisson" in outcome.err


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[instrument]\npolarisation = true\n", 'radiation = "xray"'),
        ('[scattering]\nradiation = "xray"\n[instrument]\npolarisation = true\n', "needs a `wavelength`"),
        ("[instrument]\nbackground = 3\n", "0, 1"),
        ("[instrument]\nmosaic = 90\n", "below 90"),
        ("[instrument]\nresolution = -0.1\n", "standard deviation"),
        ("[instrument]\nbackground = 1\n[simulation]\nbackground = [1, 2]\n", "expected 1 numbers"),
        ("[simulation]\nhot_pixels = 0.1\n", "need `counts`"),
        ("[simulation]\ngaps = [[1, 0]]\n", "ranges of l"),
        ("[simulation]\nunmeasured = 1\n", "below 1"),
    ],
)
def test_impossible_tables(tmp_path, monkeypatch, table, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text(MODEL + table)
    outcome = call("fit", "bad.toml")
    assert outcome.code == 2
    assert words in outcome.err


def test_everything_unmeasured_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gap.toml").write_text(MODEL + "[simulation]\ngaps = [[-9, 9]]\n")
    outcome = call("simulate", "gap.toml", "-o", "v.nc")
    assert outcome.code == 2
    assert "Nothing of the volume was measured" in outcome.err


def test_single_plane_has_no_voxel_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plane = ANYWHERE.replace("l = [-3.85, 3.85, 12]", "l = [0.35, 0.35, 1]")
    (tmp_path / "thin.toml").write_text(plane)
    (tmp_path / "thick.toml").write_text(plane + "[instrument]\nvoxel_size = true\n")
    assert call("simulate", "thin.toml", "-o", "v.nc").code == 0
    for command, name in (
        (("fit", "thick.toml", "v.nc"), "v.nc"),
        (("simulate", "thick.toml"), "thick.toml"),
    ):
        outcome = call(*command)
        assert outcome.code == 2
        assert f"{name}: The voxels have no size along l" in outcome.err


@pytest.mark.parametrize(
    "command", [("plan", "any.toml"), ("simulate", "any.toml", "--engine", "sampled", "-o", "v.nc")]
)
def test_commands_that_know_waves_of_the_supercell_alone(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "any.toml").write_text(ANYWHERE)
    outcome = call(*command)
    assert outcome.code == 2
    assert "commensurate = false" in outcome.err
    assert "instrument" not in outcome.err


def test_background_that_leaves_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, strength in (("deep", -0.5), ("flat", -1e-3)):
        table = f"[instrument]\nbackground = 1\n[simulation]\nbackground = [{strength}]\n"
        (tmp_path / f"{name}.toml").write_text(MODEL + table)
    outcome = call("simulate", "deep.toml", "-o", "v.nc")
    assert outcome.code == 2
    assert "leaves no intensity at 79 of 79 points" in outcome.err
    assert call("simulate", "flat.toml", "-o", "v.nc").code == 0


def test_wavelength_and_energy_must_agree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beam = '[scattering]\nradiation = "xray"\nenergy = 20\n[instrument]\nwavelength = {}\n'
    (tmp_path / "bad.toml").write_text(MODEL + beam.format(1.2))
    outcome = call("irreducible", "bad.toml")
    assert outcome.code == 2
    assert "0.6199 Å" in outcome.err
    (tmp_path / "good.toml").write_text(MODEL + beam.format(0.62))
    assert call("irreducible", "good.toml").code == 0
