"""Volumes that are simulated on a finer mesh than that of the fit."""

import numpy as np

from bayestds.io import read_volume
from tests.cli.tiny import MODEL, call

OFF_GRID = MODEL.replace("[-2, 2, 13]", "[-1.9, 1.9, 6]")
ANYWHERE = OFF_GRID.replace('ifcs = "truth"', 'ifcs = "truth"\ncommensurate = false')


def intensity(folder, name: str, text: str) -> np.ndarray:
    (folder / f"{name}.toml").write_text(text)
    outcome = call("simulate", f"{name}.toml", "-o", f"{name}.nc")
    assert outcome.code == 0, outcome.err
    return read_volume(f"{name}.nc")["intensity"].values


def test_simulation_has_its_own_supercell(folder):
    coarse = intensity(folder, "coarse", ANYWHERE)
    fine = intensity(folder, "fine", ANYWHERE.replace("[3, 3, 3]", "[5, 5, 5]"))
    own = intensity(folder, "own", ANYWHERE + "\n[simulation]\nsupercell = [5, 5, 5]\n")
    np.testing.assert_array_equal(own, fine)
    # The mean-square displacements of the coarse mesh are not converged.
    assert np.abs(coarse / fine - 1).max() > 1e-3


def test_a_supercell_that_cannot_be_is_refused(folder):
    (folder / "bad.toml").write_text(ANYWHERE + "\n[simulation]\nsupercell = [5, 0, 5]\n")
    outcome = call("simulate", "bad.toml", "-o", "bad.nc")
    assert outcome.code == 2
    assert "supercell" in outcome.err
