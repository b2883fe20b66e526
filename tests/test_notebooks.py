"""The notebooks run, and say what they are meant to say."""

import json
from pathlib import Path

import numpy as np
import pytest

from bayestds.diagnostics.dataset import pareto_shape

FOLDER = Path(__file__).parents[1] / "notebooks"


def run(name: str) -> dict:
    """Names left behind by the code cells of a notebook, run in order."""
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))
    namespace: dict = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "notebooks are kept without outputs"
            exec("".join(cell["source"]), namespace)
    return namespace


def test_every_notebook_is_tested():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == tested - {"every_notebook_is_tested"}


def test_point_fit():
    found = run("point_fit")
    result, truth = found["result"], found["values"]
    assert result.converged
    pulls = (result.irreducible - truth) / np.sqrt(np.diag(result.covariance))
    assert np.abs(pulls).max() < 4
    assert np.sqrt(float(result.volumes[0].quadratic.noise_variance)) == pytest.approx(0.02, rel=0.3)


@pytest.mark.slow
def test_paper_studies():
    """Pulls have rms 1, with a standard deviation below 0.2 for 16 constants."""
    found = run("paper_studies")
    for study, fits in (("study", "fits"), ("true_study", "true_fits")):
        truth = found[study].ifcs(found[study].model.fit.reference)
        for fit in found[fits].values():
            assert fit.converged
            pulls = (fit.irreducible - truth) / np.sqrt(np.diag(fit.covariance))
            assert 0.3 < np.sqrt(np.mean(pulls**2)) < 1.8
    # Section 3.2 of the paper: a plane through the origin loses constants.
    lost = dict(zip(found["study"].irreducible.names, found["loss"], strict=True))
    assert min(lost[name] for name in ("b2", "c1", "d2", "e1")) > 5
    assert not found["stable"](found["forward"], found["stepped"].irreducible[0])
    start = np.sqrt(np.mean((found["start"] - found["truth"]) ** 2))
    assert np.sqrt(np.mean((found["trained"] - found["truth"]) ** 2)) < 0.7 * start


@pytest.mark.slow
def test_posterior():
    """The quick posterior is good where its k-hat is, and the command line draws the same."""
    found = run("posterior")
    assert pareto_shape(found["quick"].log_ratios) < 0.7 < pareto_shape(found["noisy_quick"].log_ratios)
    assert found["shift"].max() < 0.5
    assert found["same"]
    pulls = (found["mean"] - found["truth"]) / found["sd"]
    assert np.abs(pulls).max() < 4
    assert {shell.verdict for shell in found["shells"].values()} == {"determined"}
    assert not found["tree"]["sample_stats"]["diverging"].any()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    # Of the stars of so small a supercell some cannot be left out by importance sampling; the text says so.
    "ignore:Estimated shape parameter:UserWarning",
    # arviz-stats 0.8, the newest for Python 3.11, with pandas 3.
    "ignore:The inplace keyword in DataFrame.sort_values:DeprecationWarning",
)
def test_arviz_diagnostics():
    found = run("arviz_diagnostics")
    assert found["posterior"]["posterior"]["ifcs"].sizes == {"chain": 4, "draw": 1000, "irreducible": 13}
    assert min(float(values.min()) for values in found["sizes"].values()) > 400
    assert float(found["r_hat"].max()) < 1.01
    assert (found["bfmi"] > 0.3).all()
    assert found["comparison"].index[0] == "5 shells"


@pytest.mark.slow
def test_prior_sensitivity():
    """The overall stiffness moves with the prior, and its ratios to the constants do not."""
    found = run("prior_sensitivity")
    moved = {found["constants"].names[i] for i in np.flatnonzero(found["moved"])}
    assert {"b0", "b1"} <= moved <= {"b0", "b1", "c0", "f0", "f1"}
    stiff = np.isin(found["constants"].names, ["b0", "b1"])
    assert (found["ratio_shift"][stiff] < 0.5 * found["shift"][stiff]).all()
    assert (found["sd"][1] < 1.1 * found["sd"][0]).all()


@pytest.mark.slow
def test_fifth_shell():
    """At the bound of 100,000 configurations f0 and f3 differ from zero, on the plane f0 alone."""
    found = run("fifth_shell")
    full, wedge, plane = found["sd"].values()
    assert (full / found["bound"]).max() < 1.2
    assert (wedge > full).all()
    names = found["constants"].names
    assert min((plane / full)[names.index(name)] for name in ("b2", "c1", "d2", "e1")) > 10
    words = {name: sentence.split("; ")[1] for name, sentence in found["words"].items()}
    assert words["full grid"] == "f0 and f3 are significantly different from zero, f1 and f2 are not"
    assert words["plane l = 0"] == "f0 is significantly different from zero, f1, f2 and f3 are not"
    assert "f0, f1 and f3 are significantly different from zero, f2 is not" in found["changed_words"]
    assert found["told"]["full grid"][names.index("f1")] == pytest.approx(0.05, abs=0.02)


@pytest.mark.slow
def test_your_own_model():
    """The two samplers differ by the error of a few hundred draws; the background is found."""
    found = run("your_own_model")
    ours, yours = found["ours"], found["yours"]["phi"]
    sd = ours.std(axis=0)
    assert (np.abs(ours.mean(axis=0) - yours.mean(axis=0)) / sd).max() < 0.4
    np.testing.assert_allclose(yours.std(axis=0), sd, rtol=0.3)
    background = found["found"]
    assert abs(background.mean() - found["true_background"]) < 4 * background.std()
    wrong = found["spoiled_fit"]
    pulls = (wrong.irreducible - found["truth"]) / np.sqrt(np.diag(wrong.covariance))
    assert np.abs(pulls).max() > 10


@pytest.mark.slow
def test_gallery():
    """Every crystal is stable, patterns have the symmetry of their crystals, the fit finds the constants."""
    found = run("gallery")
    assert len(found["names"]) > 20
    assert min(modes.min() for modes in found["bands"].values()) > -1e-3
    for image in found["slices"].values():
        finite = np.isfinite(image)
        assert (finite == finite[::-1, ::-1]).all()
        np.testing.assert_allclose(image[::-1, ::-1][finite], image[finite], atol=1e-6)
        np.testing.assert_allclose(image.T[finite], image[finite], atol=1e-6)
    assert np.abs(found["result"].irreducible - found["values"]["w_bcc"]).max() < 1e-5
