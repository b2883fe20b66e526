"""Commands `export` and `import`: there and back, draws, and what they say."""

import json
import sys

import numpy as np
import phonopy
import pytest

from bayestds.cli.exchange import export
from bayestds.config import load_model
from bayestds.diagnostics.draws import force_constant_draws
from bayestds.diagnostics.result_file import read_result, write_result
from bayestds.lattice_dynamics.phonons import frequencies
from tests.brute_force import random_stable
from tests.cli.refusal import refused, says
from tests.cli.tiny import NAMES, TRUTH, call
from tests.crystals import default_supercell, make_crystal, make_irreducible
from tests.results import posterior_result
from tests.tdep import other_cell, random_rotation, write_tdep

VALUES = np.array(list(TRUTH.values()))


def phonopy_frequencies(folder, q_points):
    phonon = phonopy.load(folder / "phonopy.yaml", force_constants_filename=folder / "force_constants.hdf5")
    phonon.run_qpoints(q_points)
    return phonon.qpoints.frequencies


def test_export_with_draws_and_import_again(folder, shared):
    outcome = call("export", shared.result, "-o", "out", "--draws", 3, "--seed", 7, "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert record["output"] == "out"
    expected = force_constant_draws(read_result(shared.result), 3, 7)
    found = ["out", *(f"out/{name}" for name in record["draws"])]
    assert found == ["out", "out/draw_0000", "out/draw_0001", "out/draw_0002"]
    q_points = np.random.default_rng(0).uniform(size=(5, 3))
    conventional = q_points @ expected.irreducible.crystal.conventional_matrix.T
    for place, values in zip(found, [expected.mean, *expected.draws], strict=True):
        ours = frequencies(expected.irreducible, values, conventional)
        # 6e-7 is the difference of the constants of nature.
        assert np.allclose(phonopy_frequencies(folder / place, q_points), ours, rtol=1e-6)
    assert json.loads((folder / "out" / "bayestds.json").read_text())["draws"] == record["draws"]

    back = call("import", "tiny.toml", "out/draw_0001", "--json")
    assert back.code == 0, back.err
    values = json.loads(back.out)
    assert values["name"] == "draw_0001"
    assert values["output"] == "tiny_draw_0001.toml"
    assert list(values["ifcs"]) == list(NAMES)
    assert np.allclose(list(values["ifcs"].values()), expected.draws[1], atol=1e-12)
    assert max(values["residual"].values()) < 1e-12
    model = load_model("tiny_draw_0001.toml")
    assert model.ifcs["draw_0001"].values == values["ifcs"]
    assert {"truth", "springs"} < set(model.ifcs)


def test_draws_of_a_posterior_are_its_own(folder):
    values = random_stable(make_irreducible("zincblende", 2), default_supercell("zincblende"), 0)
    draws = values * (1 + 1e-3 * np.random.default_rng(1).normal(size=(2, 4, len(values))))
    write_result(posterior_result("zincblende", draws, 2), folder / "p.nc")
    outcome = call("export", "p.nc", "-o", "out", "--to", "ase", "--draws", 8)
    assert outcome.code == 0, outcome.err
    assert "8 draws" in outcome.err
    means = np.mean([np.load(folder / "out" / f"draw_{i:04d}" / "hessian.npy") for i in range(8)], axis=0)
    # The Hessian is linear in the force constants.
    assert np.allclose(means, np.load(folder / "out" / "hessian.npy"), atol=1e-12)
    assert sorted(path.name for path in (folder / "out" / "draw_0007").iterdir()) == [
        "hessian.npy",
        "supercell.extxyz",
    ]
    says(refused(folder, "export", "p.nc", "-o", "other", "--draws", "9"), "8 draws, not 9")


def test_import_from_tdep_in_words(folder):
    """Three shells imported into a model of two: the values of two, and what is left out is said."""
    irreducible = make_irreducible("fcc", 3)
    values = np.append(VALUES, [0.05, 0.01, 0.02, 0.03])
    other = other_cell(make_crystal("fcc"), np.eye(3, dtype=int), random_rotation(1), 2)
    (folder / "run 1").mkdir()
    write_tdep(folder / "run 1", irreducible, values, other)
    outcome = call("import", "tiny.toml", "run 1", "-o", "new.toml")
    assert outcome.code == 0, outcome.err
    assert load_model("new.toml").ifcs["run_1"].values == pytest.approx(TRUTH, abs=1e-12)
    blocks = np.linalg.norm((irreducible.basis[1:] @ values), axis=(1, 2))
    beyond = np.linalg.norm(np.sort(blocks[18:])) / np.linalg.norm(blocks)
    assert beyond > 0.01
    assert f"{beyond:.2%} of the norm" in outcome.out
    assert "Warning: what the shells" in outcome.err
    assert "run 1" in load_model("new.toml").ifcs["run_1"].source


def test_strained_lattice_is_said(folder):
    other = other_cell(make_crystal("fcc"), np.eye(3, dtype=int), np.eye(3), 2)
    write_tdep(folder, make_irreducible("fcc", 2), VALUES, other)
    cell = folder / "infile.ucposcar"
    cell.write_text(cell.read_text().replace("\n1.0\n", "\n1.004\n"))
    outcome = call("import", "tiny.toml", "outfile.forceconstant", "--name", "x")
    assert "differs by 0.40% from the model's" in outcome.err


def test_names_are_checked(folder, tmp_path):
    (folder / "truth").mkdir()
    says(refused(folder, "import", "tiny.toml", "truth"), "cannot be called 'truth'", "--name")
    says(refused(folder, "import", "tiny.toml", "truth", "--name", "a b"), "'a b'", "letters")


def test_export_without_phonopy(folder, shared, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    says(refused(folder, "export", str(shared.result), "-o", "out"), "pip install")


def test_nothing_is_left_where_writing_fails(folder, shared, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayestds.force_constants.exchange.PhonopyWriter.write", fail)
    with pytest.raises(KeyboardInterrupt):
        export(shared.result, folder / "out", "phonopy", 0, 0, unconverged=False, as_json=False)
    assert [path.name for path in folder.iterdir()] == ["tiny.toml"]


def test_phonopy_files_of_the_current_folder_are_left_alone(folder, shared):
    """Phonopy itself would take them for a folder that has none."""
    assert call("export", shared.result, "-o", "out").code == 0
    (folder / "bare").mkdir()
    (folder / "out" / "phonopy.yaml").rename(folder / "bare" / "phonopy.yaml")
    (folder / "out" / "force_constants.hdf5").rename(folder / "force_constants.hdf5")
    says(refused(folder, "import", "tiny.toml", "bare"), "bare holds no force constants")


@pytest.mark.parametrize("place", ["BORN", "phonopy.yaml"])
def test_charges_of_phonopy_that_are_left_out_are_said(folder, shared, place):
    assert call("export", shared.result, "-o", "out").code == 0
    quiet = call("import", "tiny.toml", "out", "-o", "a.toml", "--json")
    assert not json.loads(quiet.out)["charges_left_out"]
    assert "charges" not in quiet.err
    with open(folder / "out" / place, "a") as file:
        file.write("\nborn_effective_charge: []\n")
    outcome = call("import", "tiny.toml", "out", "-o", "b.toml", "--json")
    assert json.loads(outcome.out)["charges_left_out"]
    assert "Born effective charges of out were left out" in outcome.err
    assert "charges left out" in load_model("b.toml").ifcs["out"].source


def test_charges_of_tdep_that_are_left_out_are_said(folder):
    other = other_cell(make_crystal("fcc"), np.eye(3, dtype=int), np.eye(3), 2)
    write_tdep(folder, make_irreducible("fcc", 2), VALUES, other)
    (folder / "infile.lotosplitting").write_text("1 0 0\n")
    outcome = call("import", "tiny.toml", "outfile.forceconstant", "--name", "x")
    assert outcome.code == 0
    assert "Born effective charges" in outcome.err
