"""The notebooks run, and say what they are meant to say."""

import json
from pathlib import Path

import numpy as np
import pytest

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
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {"point_fit", "paper_studies"}


def test_point_fit():
    found = run("point_fit")
    result, truth = found["result"], found["values"]
    assert result.converged
    pulls = (result.irreducible - truth) / np.sqrt(np.diag(result.covariance))
    assert np.abs(pulls).max() < 4
    assert np.sqrt(result.noise_variance) == pytest.approx(0.02, rel=0.3)


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
