"""What the command line says of a crystal whose description was not taken as it is written."""

import json
from pathlib import Path

import pytest

from tests.cli.tiny import MODEL, call

INLINE = MODEL[MODEL.index("lattice") : MODEL.index("[force_constants]")]
TETRAGONAL = """\
data_nickel
_cell_length_a 2.48902
_cell_length_b 2.48902
_cell_length_c 3.52
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Ni1 Ni2+ 0 0 0
Ni2 Ni2+ 0.5 0.5 0.5
"""
AXES = "a, b, c are (1 1 0), (-1 1 0), (0 0 1) in the given axes, and 3.52 3.52 3.52 Å, 90 90 90°"
NOTES = (
    "Note: the charges of Ni2+",
    "Note: the atoms have the symmetry Fm-3m (225), more than P 1 (1)",
    AXES,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nickel.cif").write_text(TETRAGONAL)
    Path("file.toml").write_text(MODEL.replace(INLINE, 'file = "nickel.cif"\n'))
    Path("written.toml").write_text(MODEL)
    return tmp_path


def test_irreducible_says_which_axes_were_adopted(folder):
    outcome = call("irreducible", "file.toml")
    assert outcome.code == 0
    assert all(note in outcome.err for note in NOTES)
    record = json.loads(call("irreducible", "file.toml", "--json").out)
    assert record["given_matrix"] == [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]
    assert record["lattice"] == pytest.approx([3.52, 3.52, 3.52, 90, 90, 90], abs=1e-4)
    assert len(record["notes"]) == len(NOTES)


def test_a_crystal_that_is_taken_as_written_needs_no_note(folder):
    outcome = call("irreducible", "written.toml")
    assert outcome.err == ""
    record = json.loads(call("irreducible", "written.toml", "--json").out)
    assert record["given_matrix"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert record["notes"] == []


def test_simulate_info_fit_and_summary_say_it_too(folder):
    simulated = call("simulate", "file.toml", "-o", "volume.nc")
    described = call("info", "volume.nc", "file.toml")
    fitted = call("fit", "file.toml", "volume.nc", "-o", "fit.nc")
    summary = call("summary", "fit.nc")
    for outcome in (simulated, described, fitted, summary):
        assert outcome.code == 0, outcome
        for note in NOTES:
            assert note in outcome.out + outcome.err


def test_rounded_sites_of_a_model_are_said(folder):
    site = '{species = "Mg", position = [0.333, 0.667, 0.25]}'
    written = f"lattice = [3.209, 3.209, 5.211, 90, 90, 120]\nspace_group = 194\nsites = [{site}]\n\n"
    Path("mg.toml").write_text(MODEL.replace(INLINE, written))
    outcome = call("irreducible", "mg.toml")
    assert "P6_3/mmc (194)" in outcome.out
    assert "by up to 0.0019 Å (Mg1)" in outcome.err
