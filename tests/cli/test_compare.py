"""`compare`: how many shells the data support."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayestds.cli import comparison
from bayestds.cli.comparison import print_comparison
from bayestds.diagnostics.dataset import LeftOut
from bayestds.errors import ResultError
from tests.cli.tiny import MODEL, call

WORDS = ("--method", "laplace", "--chains", 1, "--draws", 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Posteriors of noisy data made with two shells, fitted with one, two and three."""
    folder = tmp_path_factory.mktemp("compare")
    model = folder / "tiny.toml"
    model.write_text(MODEL.replace('reference = "truth"\n', ""))
    data = folder / "ensemble.nc"
    many = ("--engine", "sampled", "--configurations", 2000, "--seed", 3)
    assert call("simulate", model, "-o", data, *many).code == 0
    for shells in (1, 2, 3):
        outcome = call("sample", model, data, "-o", folder / f"{shells}.nc", "--shells", shells, *WORDS)
        assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.slow
def test_data_support_the_shells_they_were_made_with(folder):
    paths = [str(folder / f"{shells}.nc") for shells in (3, 1, 2)]
    record = json.loads(call("compare", *paths, "--json").out)
    results = record["results"]
    assert [results[path]["shells"] for path in paths] == [3, 1, 2]
    assert results[paths[1]]["behind"] > 2 * results[paths[1]]["behind_se"]
    assert record["supported"] == paths[2]
    assert min(result["behind"] for result in results.values()) == 0
    assert record["reliable"] == all(result["largest_k"] <= 0.7 for result in results.values())


def test_no_verdict_from_rough_predictions(capsys):
    result = {"shells": 1, "n_irreducible": 3, "log_density": 5.0, "behind": 0.0, "behind_se": 0.0}
    results = {
        "a.nc": result | {"largest_k": 0.9, "unreliable_stars": 2},
        "b.nc": result | {"largest_k": 0.2, "unreliable_stars": 0},
    }
    print_comparison({"results": results, "supported": "a.nc", "reliable": False, "n_stars": 7})
    printed = capsys.readouterr().out
    assert "seem to support a.nc" in printed
    assert "no verdict: for some stars of a.nc (2) k-hat exceeds 0.7" in printed


@pytest.mark.slow
def test_in_words(folder):
    outcome = call("compare", folder / "1.nc", folder / "2.nc")
    assert outcome.code == 0
    # One shell misses so much that leaving a star out is rough: then the words are careful.
    assert "The data support" in outcome.out or "This is no verdict" in outcome.out
    assert "2.nc: the fewest constants" in outcome.out


@pytest.mark.slow
def test_a_point_fit_is_refused(folder, shared):
    outcome = call("compare", folder / "1.nc", shared.result)
    assert outcome.code == 2
    assert "is a point fit" in outcome.err


@pytest.mark.slow
def test_other_data_are_refused(folder, shared):
    other = folder / "other.nc"
    assert call("sample", folder / "tiny.toml", shared.volume, "-o", other, *WORDS).code == 0
    outcome = call("compare", folder / "2.nc", other)
    assert outcome.code == 2
    assert "posteriors of different data" in outcome.err


def test_one_alone_is_refused():
    outcome = call("compare", "1.nc")
    assert outcome.code == 2
    assert "at least two results" in outcome.err


def test_one_star_cannot_be_left_out(monkeypatch):
    monkeypatch.setattr(comparison, "leave_one_out", lambda tree: LeftOut(np.zeros(1), np.zeros(1)))
    with pytest.raises(ResultError, match="cannot be compared"):
        comparison.comparison_record([Path("a.nc"), Path("b.nc")], [xr.DataTree(), xr.DataTree()])
