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
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {"point_fit"}


def test_point_fit():
    found = run("point_fit")
    result, truth = found["result"], found["values"]
    assert result.converged
    pulls = (result.irreducible - truth) / np.sqrt(np.diag(result.covariance))
    assert np.abs(pulls).max() < 4
    assert np.sqrt(result.noise_variance) == pytest.approx(0.02, rel=0.3)
