"""`plan`: alternatives to a model's own measurement."""

import json
from pathlib import Path

import numpy as np
import pytest

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from tests.cli.tiny import MODEL, NAMES, call


def planned(*words: str | Path) -> dict:
    outcome = call("plan", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def by_name(record: dict) -> dict[str, dict]:
    return {alternative["name"]: alternative for alternative in record["alternatives"]}


def errors(alternative: dict) -> np.ndarray:
    return np.array([alternative["ifcs"][name]["sd"] for name in alternative["ifcs"]])


def model(folder: Path, *changes: tuple[str, str]) -> Path:
    text = MODEL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "changed.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("plan") / "tiny.toml"
    path.write_text(MODEL)
    return planned(path)


def test_default_alternatives(record):
    names = [alternative["name"] for alternative in record["alternatives"]]
    # The model has no mask, so that the whole grid is its own measurement.
    assert names[0] == "as in the model"
    assert "the whole grid" not in names
    assert {"wedge of ±10°", "plane normal to 1 1 0", "at 150 K", "at 600 K", "4 times the exposure"} <= {
        *names
    }
    assert record["alternatives"][0]["n_voxels"] == 13**3 - record_bragg()
    assert tuple(record["alternatives"][0]["ifcs"]) == NAMES
    assert set(record["shells"]) == {"1", "2"}


def record_bragg() -> int:
    """Integer h, k, l from -2 to 2, all even or all odd."""
    return 3**3 + 2**3


def test_time(record):
    found = by_name(record)
    own, four = found["as in the model"], found["4 times the exposure"]
    assert (own["beam_time"], four["beam_time"]) == (1, 4)
    # The prior's share in the information, here below 2 %, does not grow with time.
    np.testing.assert_allclose(errors(four), errors(own) / 2, rtol=1e-2)
    for shell, said in record["shells"].items():
        needed = {a["shells"][shell]["exposure_needed"] for a in (own, four)}
        assert needed == {said["time_factor"]}


@pytest.mark.slow
def test_verdict_changes_at_the_time_factor(folder, record):
    for shell, said in record["shells"].items():
        for side, verdict in ((0.999, False), (1.001, True)):
            again = planned("tiny.toml", "--counts", str(100 * side * said["time_factor"]))
            assert (again["alternatives"][0]["shells"][shell]["verdict"] == "determined") == verdict


@pytest.mark.slow
def test_a_masked_model_plans_what_the_alternative_says(folder, record):
    masked = planned(model(folder, ("[fit]", "[mask]\nwedge = 10\n\n[fit]")))
    names = by_name(masked)
    wedge, own = by_name(record)["wedge of ±10°"], names["as in the model"]
    assert {**own, "name": ""} == {**wedge, "name": ""}
    assert errors(names["the whole grid"]) == pytest.approx(errors(record["alternatives"][0]))
    assert own["beam_time"] == pytest.approx(own["n_voxels"] / names["the whole grid"]["n_voxels"])


def test_beam_time_is_that_of_directions(record):
    found = by_name(record)
    ranges = [alternative for name, alternative in found.items() if name.startswith("|Q|")]
    assert len(ranges) == 2  # a quarter of |Q| has too few points
    assert {alternative["beam_time"] for alternative in ranges} == {1.0}
    assert max(alternative["n_voxels"] for alternative in ranges) < found["as in the model"]["n_voxels"]


@pytest.mark.slow
def test_temperatures_share_the_exposure(folder, record):
    hot = model(folder, ("temperature = 300", "temperature = 600"))
    intensities = [build_study(load_model(p)).simulated("truth")["intensity"] for p in ("tiny.toml", hot)]
    counts = 100 * float(intensities[1].mean() / intensities[0].mean())
    expected = planned(hot, "--counts", str(counts))["alternatives"][0]
    np.testing.assert_allclose(errors(by_name(record)["at 600 K"]), errors(expected), rtol=1e-3)


def test_options_replace_the_alternatives_of_their_kind(folder):
    words = ("--wedge", 20, "--wedge", 40, "--plane", "1 -1 2", "--q-max", 5, "--q-min", 3, "--time", 9)
    names = list(by_name(planned("tiny.toml", *words, "--temperature", 100)))
    assert names == [
        "as in the model",
        "wedge of ±20°",
        "wedge of ±40°",
        "plane normal to 1 -1 2",
        "|Q| up to 5 Å⁻¹",
        "|Q| from 3 Å⁻¹",
        "at 100 K",
        "9 times the exposure",
    ]


def test_another_number_of_shells(folder):
    record = planned("tiny.toml", "--shells", 1, "--ifcs", "springs")
    assert list(record["alternatives"][0]["ifcs"]) == ["b0", "b1", "b2"]
    assert record["ifc_set"] == "springs"


def test_in_words(folder):
    outcome = call("plan", "tiny.toml", "--q-max", 0.5)
    assert outcome.code == 0
    assert "1 as in the model" in outcome.out
    assert "Shell 2 is " in outcome.out
    assert "Photon counts are the only noise" in outcome.out
    assert "Left out, with fewer than 10 points: |Q| up to 0.5 Å⁻¹." in outcome.err


@pytest.mark.parametrize(("words", "message"), [
    (("--ifcs", "nobody"), "There is no IFC set 'nobody'"),
    (("--ifcs", "repulsive"), "The crystal is unstable with the IFC set 'repulsive'"),
    (("--counts", 0), "0 is not a positive number"),
    (("--time", "nan"), "nan is not a positive number"),
    (("--temperature", -5), "-5 is not a positive number"),
    (("--wedge", 91), "less than or equal to 90"),
    (("--plane", "0 0 0"), "'0 0 0' is no normal"),
    (("--plane", "1 1"), "'1 1' is no normal"),
])  # fmt: skip
def test_bad_options(folder, words, message):
    outcome = call("plan", "tiny.toml", *words)
    assert outcome.code == 2
    assert message in outcome.err


GRID = MODEL[MODEL.index("[measurement.grid]") : MODEL.index("[fit]")]


@pytest.mark.parametrize(("changes", "message"), [
    ([(GRID, ""), ('ifcs = "truth"', 'file = "x.nxs"')], "has no [measurement.grid]"),
    ([('ifcs = "truth"\n', ""), ('start = "springs"\n', "")], "Name one with --ifcs"),
    ([("[fit]", "[mask]\nq_max = 0.1\n\n[fit]")], "has no voxels"),
])  # fmt: skip
def test_models_that_say_too_little(folder, changes, message):
    Path("x.nxs").touch()
    outcome = call("plan", model(folder, *changes))
    assert outcome.code == 2
    assert message in outcome.err


@pytest.mark.slow
def test_one_plane_of_nickel_loses_four_constants():
    found = by_name(planned("ni_fcc_paper", "--plane", "0 0 1"))
    own, plane = found["as in the model"]["ifcs"], found["plane normal to 0 0 1"]["ifcs"]
    worse = {name: plane[name]["sd"] / own[name]["sd"] for name in own}
    order = sorted(worse, key=worse.__getitem__, reverse=True)
    # Section 3.2 of arXiv:2603.28683: the plane l = 0 does not determine these four.
    assert set(order[:4]) == {"b2", "c1", "d2", "e1"}
    assert worse[order[3]] > 2 * worse[order[4]]
