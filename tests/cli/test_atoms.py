"""Model files with real atoms: simulated and fitted with their form factors, and without."""

import json
from pathlib import Path

import numpy as np
import pytest

from bayestds.io import read_volume
from tests.cli.tiny import MODEL, NAMES, TRUTH, call

XRAY = MODEL + '\n[scattering]\nradiation = "xray"\nenergy = 58.0\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("xray.toml").write_text(XRAY)
    Path("point.toml").write_text(MODEL)
    return tmp_path


def fitted_values(model: str, volume: str) -> dict[str, float]:
    outcome = call("fit", model, volume, "-o", "fit.nc", "--json")
    assert outcome.code == 0, outcome
    return {name: values["value"] for name, values in json.loads(outcome.out)["ifcs"].items()}


@pytest.mark.slow
def test_form_factors_are_in_simulation_and_fit(folder):
    assert call("simulate", "xray.toml", "-o", "volume.nc").code == 0
    fitted = fitted_values("xray.toml", "volume.nc")
    for name in NAMES:
        assert fitted[name] == pytest.approx(TRUTH[name], abs=1e-5)
    assert abs(fitted_values("point.toml", "volume.nc")["b0"] - TRUTH["b0"]) > 0.05


def test_configurations_of_such_atoms_are_refused(folder):
    outcome = call("simulate", "xray.toml", "-o", "volume.nc", "--engine", "sampled", "--configurations", "2")
    assert outcome.code == 2
    assert "X-ray form factors" in outcome.err


def test_neutrons(folder):
    Path("neutron.toml").write_text(MODEL + '\n[scattering]\nradiation = "neutron"\n')
    assert call("simulate", "neutron.toml", "-o", "neutron.nc").code == 0
    assert fitted_values("neutron.toml", "neutron.nc")["b0"] == pytest.approx(TRUTH["b0"], abs=1e-5)


NACL_TRUTH = dict(b0=-0.55, b1=-0.19, c0=-0.02, c1=0.07, c2=-0.2, c3=-0.11, c4=0.08, c5=-0.2)
NACL = f"""\
title = "tiny rock salt"

[crystal]
lattice = [5.64, 5.64, 5.64, 90, 90, 90]
space_group = 225
sites = [{{species = "Na", position = [0, 0, 0]}}, {{species = "Cl", position = [0.5, 0.5, 0.5]}}]

[force_constants]
shells = 2

[ifcs.truth]
source = "made up"
values = {{{", ".join(f"{name} = {value}" for name, value in NACL_TRUTH.items())}}}

[ifcs.springs]
source = "made up"
values = {{b0 = -0.4, b1 = -0.1, c0 = 0.0, c1 = 0.0, c2 = 0.0, c3 = 0.0, c4 = 0.0, c5 = 0.0}}

[measurement]
supercell = [2, 2, 2]
temperature = 300
ifcs = "truth"

[measurement.grid]
h = [-4, 4, 17]
k = [-4, 4, 17]
l = [-4, 4, 17]

[fit]
start = "springs"

[scattering]
"""
SCATTERING = {
    "ions": 'radiation = "xray"\nenergy = 58.0\nions = {Na = "Na1+", Cl = "Cl1-"}\n',
    "neutrons": 'radiation = "neutron"\n',
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "ions" else ()) for kind in SCATTERING]
)
def test_rock_salt(folder, kind):
    """Two species, each with a factor of its own, and quantum statistics."""
    Path("nacl.toml").write_text(NACL + SCATTERING[kind])
    assert call("simulate", "nacl.toml", "-o", "volume.nc").code == 0
    fitted = fitted_values("nacl.toml", "volume.nc")
    assert fitted.keys() == NACL_TRUTH.keys()
    for name, value in NACL_TRUTH.items():
        assert fitted[name] == pytest.approx(value, abs=1e-4)


def test_ions_scatter_otherwise_than_atoms(folder):
    """Either way 28 electrons, which is what a long wave sees; others tell 10 and 18 from 11 and 17."""
    text = NACL.replace("[-4, 4, 17]", "[0, 1.5, 4]")
    simulated = {}
    for kind, ions in [("ions", 'ions = {Na = "Na1+", Cl = "Cl1-"}'), ("atoms", "")]:
        Path(f"{kind}.toml").write_text(f'{text}radiation = "xray"\n{ions}\n')
        assert call("simulate", f"{kind}.toml", "-o", f"{kind}.nc").code == 0
        simulated[kind] = read_volume(f"{kind}.nc")["intensity"].values
    ratio = simulated["ions"] / simulated["atoms"]
    assert np.nanmax(np.abs(np.log(ratio))) > 0.02
    assert ratio[1, 0, 0] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_anomalous_terms_without_a_centre_of_symmetry(folder):
    """I(Q) and I(-Q) of GaAs differ near the edges of both, so that only the point group averages."""
    text = XRAY.replace("space_group = 225", "space_group = 216").replace(
        'sites = [{species = "Ni", position = [0, 0, 0]}]',
        'sites = [{species = "Ga", position = [0, 0, 0]}, {species = "As", position = [0.25, 0.25, 0.25]}]',
    )
    text = text.replace("shells = 2", "shells = 1")
    text = text.replace("{b0 = -1.0, b1 = 0.1, b2 = -1.1, c0 = -0.05, c1 = 0.02}", "{b0 = -3.0, b1 = -2.0}")
    text = text.replace("{b0 = -0.7, b1 = 0.0, b2 = -0.7, c0 = 0.0, c1 = 0.0}", "{b0 = -2.0, b1 = -1.0}")
    text = text.replace("energy = 58.0", "energy = 11.5")
    Path("gaas.toml").write_text(text + "\n[priors]\nscale = 100\n")
    outcome = call("simulate", "gaas.toml", "-o", "volume.nc")
    assert outcome.code == 0, outcome.err
    intensity = read_volume("volume.nc")["intensity"].values
    ratio = intensity / intensity[::-1, ::-1, ::-1]
    assert np.nanmax(np.abs(np.log(ratio))) > 0.1
    np.testing.assert_allclose(intensity, intensity.transpose(1, 2, 0), rtol=1e-12)
    found = fitted_values("gaas.toml", "volume.nc")
    assert found == pytest.approx({"b0": -3.0, "b1": -2.0}, abs=1e-3)
