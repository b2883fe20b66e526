"""Model files: the shipped ones load, and every mistake is answered by its key and a way out."""

import re

import numpy as np
import pytest

from bayestds.config import available_models, files, load_model, model_folder, parse_model
from bayestds.crystal.structure import build_crystal
from bayestds.errors import ModelError
from bayestds.force_constants.irreducible import irreducible_force_constants

GOOD = """
title = "test"
[crystal]
lattice = [3.5, 3.5, 3.5, 90, 90, 90]
space_group = 225
sites = [{species = "Ni", position = [0, 0, 0]}]
[force_constants]
shells = 2
[ifcs.truth]
source = "made up"
values = {b0 = -1.5, b1 = 0.1, b2 = -1.6, c0 = 0.2, c1 = 0}
[measurement]
supercell = [4, 4, 4]
temperature = 300
ifcs = "truth"
[measurement.grid]
h = [-2, 2, 17]
k = [-2, 2, 17]
l = [0, 0, 1]
[priors]
scales = [1, 0.3]
[scattering]
factors = {Ni = 28}
[mask]
q_min = 0.5
q_max = 9
[fit]
start = "truth"
noise = "learned"
"""

# What is replaced in GOOD, by what, and what the message must name.
MISTAKES = [
    ('title = "test"', "", "title: missing"),
    ('title = "test"', "title = 5", "title: expected a text, found 5"),
    ('title = "test"', 'title = "test"\nsupercell = [1, 1, 1]', "supercell: unknown key"),
    ('title = "test"', 'title = "test"\npath = "x"', "path: unknown key"),
    ("[crystal]", "[[crystal]]", "crystal: expected a table"),
    ("[crystal]", '[crystal]\nfile = "x.cif"', "crystal: give either `file` or `lattice`"),
    ("lattice = [3.5, 3.5, 3.5, 90, 90, 90]", "", "crystal: give either `file`, or `lattice`"),
    ("[3.5, 3.5, 3.5, 90, 90, 90]", "[3.5, 3.5, 3.5]", "crystal.lattice.3: missing"),
    ("[3.5, 3.5, 3.5, 90, 90, 90]", "[3.5, 3.5, -3.5, 90, 90, 90]", "crystal.lattice.2: expected a, b, c"),
    ("[3.5, 3.5, 3.5, 90, 90, 90]", "[3.5, 3.5, 3.5, 90, 90, 270]", "crystal.lattice.5: expected"),
    ("space_group = 225", "space_group = 231", "crystal.space_group: expected a number from 1 to 230"),
    ("space_group = 225", "space_group = true", "crystal.space_group: expected"),
    ("position = [0, 0, 0]", "position = [0, 0]", "crystal.sites.0.position.2: missing"),
    ("position = [0, 0, 0]", "position = [0, 0, nan]", "crystal.sites.0.position.2: expected three"),
    ('species = "Ni"', 'species = "nickel"', "crystal.sites.0.species: expected a chemical symbol"),
    ("shells = 2", "shells = -2", "force_constants.shells: expected a positive number"),
    ("shells = 2", "shells = 2.5", "force_constants.shells: expected"),
    ("shells = 2", "shell = 2", "force_constants.shell: unknown key; did you mean 'shells'?"),
    ('source = "made up"', "", "ifcs.truth.source: missing"),
    ("b0 = -1.5", "b0 = inf", "ifcs.truth.values.b0: expected finite numbers in eV/Å²"),
    ("b0 = -1.5", 'b0 = "-1.5"', "ifcs.truth.values.b0: expected"),
    ("b0 = -1.5", "a0 = 12", "ifcs.truth.values.a0: expected"),
    ("{b0 = -1.5, b1 = 0.1, b2 = -1.6, c0 = 0.2, c1 = 0}", "{}", "ifcs.truth.values: expected"),
    ("[4, 4, 4]", "[4, 0, 4]", "measurement.supercell: expected three positive integers"),
    ("[4, 4, 4]", "4", "measurement.supercell: expected"),
    ("[4, 4, 4]", "[[1, 0, 0], [0, 1, 0], [1, 1, 0]]", "the matrix is singular"),
    ("[4, 4, 4]", "[[0, 1, 0], [1, 0, 0], [0, 0, 1]]", "exchange two rows"),
    (
        "temperature = 300",
        "temperature = -3",
        "measurement.temperature: expected a positive temperature in K",
    ),
    ("temperature = 300", 'temperature = "27 C"', "temperature in K, found '27 C'"),
    ("temperature = 300", "tempreature = 300", "did you mean 'temperature'?"),
    (
        "[measurement]",
        '[measurement]\nstatistics = "Bose"',
        "measurement.statistics: expected quantum, or classical",
    ),
    ('ifcs = "truth"', 'ifcs = "thruth"', "measurement.ifcs: there is no IFC set 'thruth'"),
    ('ifcs = "truth"', 'file = "no.nxs"', "measurement.file: no.nxs is not a file"),
    ('ifcs = "truth"', 'ifcs = "truth"\nfile = "no.nxs"', "measurement: give either `ifcs`"),
    ('ifcs = "truth"\n[measurement.grid]', "[other]", "measurement: give a `grid`"),
    ("h = [-2, 2, 17]", "h = [2, -2, 17]", "measurement.grid.h: expected [first, last, points]"),
    ("h = [-2, 2, 17]", "h = [-2, 2, 0]", "the number of points must be a positive integer"),
    ("h = [-2, 2, 17]", "h = [-2, 2]", "three numbers are needed"),
    ("h = [-2, 2, 17]", "h = [-2, inf, 17]", "must be finite"),
    ("[priors]", '[priors]\ndecay = "slow"', "priors.decay: expected a positive factor"),
    ("[priors]", "[priors]\ndecay = 0.5", "priors: give either `scales` or `decay`"),
    ("scales = [1, 0.3]", "scales = [1]", "priors.scales: expected 2 numbers"),
    ("{Ni = 28}", "{Cu = 29}", "scattering.factors.Cu: the crystal has only `Ni`"),
    ("{Ni = 28}", '{}\nions = {Ni = "Ni2+"}', "scattering: `ions` and `energy` are for X-rays"),
    ("{Ni = 28}", '{Ni = 28}\nradiation = "neutron"', "scattering: `factors` are those of point atoms"),
    ("{Ni = 28}", '{}\nradiation = "gamma"', "scattering.radiation: expected point, xray or neutron"),
    ("{Ni = 28}", '{}\nradiation = "xray"\nenergy = -1', "scattering.energy: expected a positive photon"),
    ("{Ni = 28}", '{}\nradiation = "xray"\nions = {Cu = "Cu1+"}', "scattering.ions.Cu: the crystal has"),
    (
        "{Ni = 28}",
        '{}\nradiation = "xray"\nions = {Ni = "Cl1-"}',
        "scattering.ions.Ni: 'Cl1-' is no ion of Ni",
    ),
    ("q_max = 9", "q_max = 0.1", "mask: q_max = 0.1 must be larger"),
    ("q_max = 9", "wedge = 95", "mask.wedge: expected degrees"),
    ("q_max = 9", "plane = [0, 0, 0]", "plane = [0, 0, 0] has no direction"),
    ("q_max = 9", "rings = [[2, 3], [5, 4]]", "mask: rings: [5, 4] must run from a smaller |Q|"),
    ("q_max = 9", "outliers = 0", "mask.outliers: expected a positive number of standard deviations"),
    ("q_max = 9", "outliers = inf", "mask.outliers: expected a positive number"),
    ("q_max = 9", "outliers = true", "mask.outliers: expected a positive number"),
    ("q_max = 9", "rings = [[2, 2]]", "mask: rings: [2, 2] must run from a smaller |Q|"),
    ("q_max = 9", "rings = [[-1, 2]]", "mask.rings.0.0: expected pairs [first, last]"),
    ("q_max = 9", "rings = [[1, inf]]", "mask.rings.0.1: expected pairs [first, last]"),
    ("q_max = 9", "rings = [2, 3]", "mask.rings.0: expected pairs [first, last]"),
    ("q_max = 9", "rings = [[2, 3, 4]]", "mask.rings.0: expected pairs [first, last]"),
    (
        'start = "truth"',
        'start = "guess"',
        "fit.start: there is no IFC set 'guess'; this file defines `truth`",
    ),
    ('start = "truth"', 'reference = "guess"', "fit.reference: there is no IFC set 'guess'"),
    ('noise = "learned"', "noise = -1", "fit.noise: expected a relative standard deviation"),
]


@pytest.mark.parametrize("name", available_models())
def test_shipped_model(name):
    model = load_model(name)
    assert model.path == model_folder() / f"{name}.toml"
    assert model.text == model.path.read_text(encoding="utf-8")
    values = [force_set.values for force_set in model.ifcs.values()]
    assert all(v.keys() == values[0].keys() for v in values)
    assert model.fit.start != model.fit.reference == model.measurement.ifcs
    assert "statistics" in model.measurement.model_fields_set
    assert len(model.priors.by_shell(model.force_constants.shells)) == model.force_constants.shells
    for edge, axis in zip(
        np.diag(model.measurement.supercell), dict(model.measurement.grid).values(), strict=True
    ):
        step = (axis.last - axis.first) / (axis.points - 1)
        assert np.isclose(edge * step, round(edge * step)), "grid and supercell are commensurate"


@pytest.mark.parametrize("name", available_models())
def test_shipped_names_are_those_of_the_crystal(name):
    model = load_model(name)
    sites = model.crystal.sites
    crystal = build_crystal(
        np.array(model.crystal.lattice),
        [site.species for site in sites],
        np.array([site.position for site in sites]),
        space_group=model.crystal.space_group,
    )
    irreducible = irreducible_force_constants(crystal, model.force_constants.shells)
    for force_set in model.ifcs.values():
        assert tuple(force_set.values) == irreducible.names


def test_every_structure_type_is_shipped():
    assert {"ni_fcc_paper", "ni_fcc_u3", "cu_fcc", "fe_bcc", "mg_hcp", "si_diamond", "nacl_rocksalt"} <= set(
        available_models()
    )


def test_values(tmp_path):
    model = parse_model(GOOD, tmp_path / "x.toml")
    assert model.measurement.supercell == ((4, 0, 0), (0, 4, 0), (0, 0, 4))
    assert model.measurement.grid.l == (0, 0, 1)
    assert model.measurement.statistics == "quantum", "as in a real crystal"
    assert model.force_constants.shell_tolerance == 1e-3
    assert model.priors.by_shell(2) == (1, 0.3)
    assert model.scattering.factors == {"Ni": 28}
    assert (model.fit.reference, model.fit.noise, model.mask.bragg_radius) == (None, "learned", 0)
    assert model.resolve("a.cif") == tmp_path / "a.cif"
    assert parse_model(model.text, model.path) == model


def test_default_priors_decay_with_the_shell(tmp_path):
    model = parse_model(GOOD.replace("scales = [1, 0.3]", "scale = 2"), tmp_path / "x.toml")
    assert model.priors.by_shell(3) == pytest.approx((2, 0.8, 0.32))


@pytest.mark.parametrize(("good", "bad", "expected"), MISTAKES, ids=[f"{x[2][:40]}" for x in MISTAKES])
def test_mistake(good, bad, expected, tmp_path):
    assert GOOD.count(good) == 1
    path = tmp_path / "wrong.toml"
    path.write_text(GOOD.replace(good, bad))
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert expected in str(caught.value).replace(f"{tmp_path}/no.nxs", "no.nxs")
    assert str(path) in caught.value.summary
    assert caught.value.fix
    assert "pydantic" not in str(caught.value)


def test_several_problems_are_listed_one_per_line(tmp_path):
    text = GOOD.replace("shells = 2", "shells = 0").replace("300", "-1").replace('"learned"', '"x"')
    with pytest.raises(ModelError, match="3 problems") as caught:
        parse_model(text, tmp_path / "x.toml")
    keys = [line.split(":")[0] for line in caught.value.reason.splitlines()]
    assert keys == ["force_constants.shells", "measurement.temperature", "fit.noise"]


def test_invalid_toml_names_the_line(tmp_path):
    with pytest.raises(ModelError, match="line 2") as caught:
        parse_model("\ntitle = nickel\n", tmp_path / "x.toml")
    assert caught.value.fix


def test_missing_file_lists_the_models():
    with pytest.raises(ModelError, match="ni_fcc_paper") as caught:
        load_model("ni_fcc_papre")
    assert caught.value.fix == "Did you mean ni_fcc_paper?"
    with pytest.raises(ModelError, match=re.escape("no/such.toml")):
        load_model("no/such.toml")


def test_not_text(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes(GOOD.replace("test", "Å").encode("latin-1"))
    with pytest.raises(ModelError, match="UTF-8"):
        load_model(path)


def test_ions_of_a_crystal_in_a_file(tmp_path):
    """Which species there are is not known yet, what an ion is an ion of is."""
    (tmp_path / "ni.cif").touch()
    crystal = GOOD[GOOD.index("lattice") : GOOD.index("[force_constants]")]
    text = GOOD.replace(crystal, 'file = "ni.cif"\n')
    ions = '{}\nradiation = "xray"\nions = {Si = "Siva", C = "Cval", Ni = "Ni2+", Na = "Cl1-"}'
    with pytest.raises(ModelError, match="1 problem") as caught:
        parse_model(text.replace("{Ni = 28}", ions), tmp_path / "x.toml")
    assert caught.value.reason == "scattering.ions.Na: 'Cl1-' is no ion of Na"


def test_charges_and_isotopes_of_sites(tmp_path):
    """Tables of [scattering] name what the crystal consists of: without charges, and D for heavy hydrogen."""
    assert GOOD.count('species = "Ni"') == 1
    for given, name in [('"Ni2+"', "Ni"), ('"58Ni"', "58Ni"), ('"2H"', "D"), ('"H", mass = 2.014', "D")]:
        text = GOOD.replace('species = "Ni"', f"species = {given}")
        assert parse_model(text.replace("{Ni = 28}", f"{{{name} = 28}}"), tmp_path / "x.toml")
        with pytest.raises(ModelError, match="1 problem") as caught:
            parse_model(text.replace("{Ni = 28}", "{Cu = 28}"), tmp_path / "x.toml")
        assert f"the crystal has only `{name}`" in caught.value.reason


def test_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_model(path).title == "test"


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "locked.toml"
    path.write_text(GOOD)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(ModelError, match="Permission denied"):
        load_model(path)


def test_bare_name_prefers_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ni_fcc_paper.toml").write_text(GOOD)
    assert load_model("ni_fcc_paper").title == "test"


def test_files_beside_the_model_are_found(tmp_path):
    crystal = GOOD[GOOD.index("lattice") : GOOD.index("[force_constants]")]
    text = GOOD.replace(crystal, 'file = "ni.cif"\n').replace('ifcs = "truth"', 'file = "v.nxs"')
    with pytest.raises(ModelError, match=r"crystal.file: .*ni.cif is not a file"):
        parse_model(text, tmp_path / "x.toml")
    (tmp_path / "ni.cif").touch()
    (tmp_path / "v.nxs").touch()
    assert parse_model(text, tmp_path / "x.toml").measurement.file == "v.nxs"


def test_installed_models_are_found_inside_the_package(tmp_path, monkeypatch):
    (tmp_path / "_models").mkdir()
    (tmp_path / "_models" / "some.toml").write_text(GOOD)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "config" / "files.py"))
    assert available_models() == ["some"]
    assert load_model("some").title == "test"
