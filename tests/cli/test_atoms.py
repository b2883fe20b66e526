"""Model files with real atoms: simulated and fitted with their form factors, and without."""

import json
from pathlib import Path

import pytest

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


def test_anomalous_terms_without_a_centre_of_symmetry_are_refused(folder):
    text = XRAY.replace("space_group = 225", "space_group = 216").replace(
        'sites = [{species = "Ni", position = [0, 0, 0]}]',
        'sites = [{species = "Ga", position = [0, 0, 0]}, {species = "As", position = [0.25, 0.25, 0.25]}]',
    )
    text = text.replace("shells = 2", "shells = 1")
    text = text.replace("{b0 = -1.0, b1 = 0.1, b2 = -1.1, c0 = -0.05, c1 = 0.02}", "{b0 = -3.0, b1 = -2.0}")
    Path("gaas.toml").write_text(text)
    outcome = call("simulate", "gaas.toml", "-o", "volume.nc")
    assert outcome.code == 2
    assert "no centre of symmetry" in outcome.err
