"""`bayestds report`: one page, written whole or not at all."""

import json

import pytest

from bayestds.diagnostics.result_file import read_result
from bayestds.report import html
from tests.cli.tiny import call
from tests.pages import Page


def test_page_beside_the_result(shared, tmp_path):
    target = tmp_path / "page.html"
    outcome = call("report", shared.result, "-o", target, "--draws", 20, "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["output"] == str(target)
    assert record["bytes"] == target.stat().st_size
    page = Page(target.read_text("utf-8"))
    assert page.texts("h1") == ["tiny fcc"]
    assert (page.open, page.stray) == ([], [])
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "Wrote" in outcome.err


def test_name_by_default(shared, tmp_path):
    result = tmp_path / "mine.nc"
    result.write_bytes(shared.result.read_bytes())
    outcome = call("report", result, "--draws", 20)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "mine.html").exists()
    assert outcome.out == ""


def test_failure_leaves_the_old_page(shared, tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def fail(*_):
        raise RuntimeError("no page")

    monkeypatch.setattr("bayestds.cli.report.report_page", fail)
    with pytest.raises(RuntimeError, match="no page"):
        call("report", shared.result, "-o", target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_result_keeps_what_the_page_says(shared):
    """Warnings that were only printed are lost."""
    tree = read_result(shared.result)
    assert json.loads(tree.attrs["warnings"]) == shared.record["warnings"]
    assert tree.attrs["noise"] == shared.record["noise"] == "assumed"
    assert tree.attrs["reduced_chi_square"] == shared.record["reduced_chi_square"]


def test_assets_lie_beside_the_code():
    """What hatchling packs is the folder of the package, whole."""
    for name in ("page.html", "page.css", "page.js"):
        assert html._asset(name)
