"""The report page: its structure, that it needs nothing else, and that names cannot break it."""

import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from hashlib import sha256

import numpy as np
import pytest
import xarray as xr

from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.elastic import elastic_summary
from bayestds.report.html import report_page, volume_nodes
from tests.pages import HOSTILE, Page, full_posterior, joint_result
from tests.results import point_fit_result

N_DRAWS = 20


def hostile(tree: xr.DataTree) -> xr.DataTree:
    """The same result with hostile text in every attribute that a user can choose."""
    tree = tree.copy()
    tree.attrs |= {
        "model": HOSTILE,
        "model_text": f"title = '''{HOSTILE}'''\n",
        "data": HOSTILE,
        "command": HOSTILE,
        "message": HOSTILE,
        "warnings": '["</script><script>alert(3)</script>"]',
    }
    for name, node in tree.children.items():
        if name.startswith("volume_"):
            node.attrs |= {"name": HOSTILE}
    return tree


@pytest.fixture(scope="module")
def results() -> dict[str, xr.DataTree]:
    """A result of each kind."""
    return {
        "point fit": point_fit_result("fcc", n_shells=2),
        "posterior": full_posterior(),
        "joint": joint_result(),
        "hostile": hostile(joint_result()),
    }


@pytest.fixture(scope="module")
def pages(results) -> dict[str, Page]:
    """The page of each."""
    return {name: Page(report_page(tree, n_draws=N_DRAWS)) for name, tree in results.items()}


KINDS = ("point fit", "posterior", "joint", "hostile")


@pytest.mark.parametrize("kind", KINDS)
def test_structure(pages, kind):
    page = pages[kind]
    assert (page.open, page.stray) == ([], [])
    assert len(page.all("h1")) == 1
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs and not attrs["id"].startswith("clip-")]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"].removeprefix("#") for attrs in page.all("a")}
    assert targets == {attrs["id"] for attrs in page.all("section")}
    assert page.all("html")[0]["lang"] == "en"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_a_name_for_those_who_cannot_see_it(pages, kind):
    page = pages[kind]
    for tag in ("svg", "canvas"):
        assert page.all(tag)
        assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.all(tag))
    # Inputs lie inside their labels.
    assert page.html.count("<input") == len(re.findall(r"<label[^>]*>[^<]*<input", page.html))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded(pages, kind):
    page = pages[kind]
    loading = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"}
    loaded = [value for _, attrs in page.tags for key, value in attrs.items() if key in loading]
    assert all(value.startswith("#") or value == "data:," for value in loaded)
    style = page.html[page.html.index("<style>") : page.html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    script = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    assert len(script) == 1
    assert f"script-src 'sha256-{b64encode(sha256(script[0].encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_well_formed(pages, kind):
    pictures = re.findall(r"<svg.*?</svg>", pages[kind].html, re.DOTALL)
    assert len(pictures) >= 5
    for picture in pictures:
        root = ET.fromstring(picture)
        numbers = " ".join(value for part in root.iter() for value in part.attrib.values())
        assert "nan" not in numbers.lower().replace("dominant", "")
        assert "inf" not in numbers.lower()


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_nan(pages, kind):
    for cell in pages[kind].texts("td"):
        assert not re.search(r"\b(nan|inf|None)\b", cell, re.IGNORECASE)


def test_hostile_names_are_text(pages):
    page = pages["hostile"]
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert page.texts("h1") == [HOSTILE]
    assert HOSTILE in page.text[[tag for tag, _ in page.text].index("pre")][1]
    assert all(not key.startswith("on") for _, attrs in page.tags for key in attrs)
    # Inside the data nothing can end the script or the line.
    assert "<" not in re.search(r'id="data">(.*?)</script>', page.html, re.DOTALL)[1]
    assert not set("\u2028\u2029") & set(re.search(r'id="data">(.*?)</script>', page.html, re.DOTALL)[1])


def test_verdict_comes_first(pages):
    page = pages["point fit"]
    assert page.all("section")[0]["id"] == "verdict"
    statements = [text for tag, text in page.text if tag == "li"]
    assert statements[0] == "The data determine all 2 neighbour shells."


def test_a_point_fit_says_what_it_has_no_data_for(pages):
    page = pages["point fit"]
    assert "posterior" not in {attrs["id"] for attrs in page.all("section")}
    assert any(text.startswith("Traces, ranks") for text in page.texts("li"))


def test_a_posterior_shows_its_chains(pages):
    page = pages["posterior"]
    labels = [attrs["aria-label"] for attrs in page.all("svg")]
    for name in ("b0", "c1"):
        for kind in ("Trace of", "Ranks of", "Prior and posterior of"):
            assert sum(label.startswith(f"{kind} {name}:") for label in labels) == 1
    assert any(label.startswith("Energy") for label in labels)
    assert any(label.startswith("Ranks of the observed") for label in labels)
    assert "left-out" not in {attrs["id"] for attrs in page.all("section")}
    assert "nuts, 4 chains of 60 draws, warm-up 30, seed 5, prior normal" in page.words


def test_approximate_posteriors_have_no_chains():
    tree = full_posterior()
    groups = {path: node for path, node in tree.children.items() if path != "sample_stats"}
    bare = xr.DataTree.from_dict({name: node.dataset for name, node in groups.items()})
    bare.attrs = tree.attrs | {"method": "laplace", "pareto_k": 0.2}
    page = Page(report_page(bare, n_draws=N_DRAWS))
    assert not any(attrs["aria-label"].startswith("Trace") for attrs in page.all("svg"))
    assert any("laplace" in text for text in page.texts("li"))


def test_a_joint_fit_has_a_viewer_for_each_volume(pages):
    page = pages["joint"]
    viewers = [attrs for attrs in page.all("div") if attrs.get("class") == "viewer"]
    assert [attrs["data-volume"] for attrs in viewers] == ["0", "1"]
    assert len(page.data["volumes"]) == 2
    assert len(page.all("canvas")) == 6
    assert any("volume 2.nxs disagrees" in text for text in page.texts("li"))
    # Radio buttons of different volumes do not switch each other off.
    names = [attrs["name"] for attrs in page.all("input") if attrs["type"] == "radio"]
    assert sorted(set(names)) == ["axis-0", "axis-1"]


def test_volumes_of_the_same_name_are_kept_apart():
    tree = joint_result()
    for i in (1, 2):
        tree[f"volume_{i}"].attrs["name"] = "same.nxs"
    assert list(volume_nodes(tree)) == ["same.nxs", "same.nxs (2)"]


def test_table_has_the_numbers(pages, results):
    page, fit = pages["point fit"], results["point fit"]["point_fit"].dataset
    values, errors = fit["value"].values, fit["standard_error"].values
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">(\w+)</th><td>(\d)</td><td>([−\d.]+)</td>", page.html)
    assert [row[0] for row in rows] == list(fit["irreducible"].values)
    for (_, shell, written), value, error, its_shell in zip(
        rows, values, errors, fit["shell"].values, strict=True
    ):
        # Two digits of the error are shown, so rounding is at most half of its tenth.
        assert abs(float(written.replace("−", "-")) - value) <= 0.05 * error + 1e-12
        assert int(shell) == its_shell


def test_what_it_takes_to_repeat_it(pages, results):
    cells = pages["posterior"].texts("td")
    for key in ("command", "created", "bayestds_version", "method", "seed"):
        assert str(results["posterior"].attrs[key]) in cells


def test_elastic_constants_are_those_of_the_draws(pages, results):
    """Of `bayestds phonons`, which has its own tests."""
    known = elastic_summary(force_constant_draws(results["point fit"], N_DRAWS))["elastic_GPa"]
    rows = dict(re.findall(r'<th scope="row">(C\d\d|K|G)</th><td>([−\d.]+)</td>', pages["point fit"].html))
    assert set(rows) == {"C11", "C12", "C44", "K", "G"} == set(known)
    for name, written in rows.items():
        one = known[name]
        assert abs(float(written.replace("−", "-")) - one["mean"]) <= 0.06 * one["sd"]


def test_failed_fit_has_a_page():
    tree = point_fit_result("fcc", n_shells=2)
    fit = tree["point_fit"].dataset
    nothing = {
        name: fit[name] * np.nan for name in ("standard_error", "covariance", "clustered_standard_error")
    }
    tree["point_fit"] = xr.DataTree(fit.assign(nothing))
    observed = tree["observed_data"].dataset
    tree["observed_data"] = xr.DataTree(
        observed.assign(residual=observed["residual"] * np.nan, fitted=observed["fitted"] * np.nan)
    )
    tree.attrs |= {"converged": 0, "message": "It ended at an unstable crystal.", "residual_rms": np.nan}
    page = Page(report_page(tree, n_draws=N_DRAWS))
    assert any("did not converge" in text for text in page.texts("li"))
    assert any(text.startswith("Phonons: The result has no standard errors") for text in page.texts("li"))
    assert "phonons" not in {attrs["id"] for attrs in page.all("section")}
    for cell in page.texts("td"):
        assert "nan" not in cell.lower()


def test_early_result_without_its_crystal_has_a_page():
    tree = point_fit_result("fcc", n_shells=2)
    fixed = tree["constant_data"].dataset[["lattice_vectors", "supercell_matrix", "temperature"]]
    tree["constant_data"] = xr.DataTree(fixed)
    page = Page(report_page(tree, n_draws=N_DRAWS))
    assert any(text.startswith("Phonons: The result does not hold its crystal") for text in page.texts("li"))


def test_the_page_of_a_result_is_always_the_same(pages):
    tree = point_fit_result("fcc", n_shells=2)
    tree.attrs["created"] = "2026-01-01T00:00:00+00:00"
    assert report_page(tree, n_draws=N_DRAWS) == report_page(tree, n_draws=N_DRAWS)
