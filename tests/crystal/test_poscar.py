"""POSCAR files of VASP 4, 5 and 6, and of the programs that write others."""

from pathlib import Path

import numpy as np
import pytest

from bayestds.crystal.structure import Crystal, read_crystal
from bayestds.errors import CrystalError

CUBE = "5.64 0 0\n0 5.64 0\n0 0 5.64"
SITES = "0 0 0\n0.5 0.5 0.5"


def read(
    folder: Path,
    species: str = "Cs Cl\n",
    counts: str = "1 1",
    mode: str = "Direct",
    sites: str = SITES,
    title: str = "salt",
    scale: str = "1.0",
    cell: str = CUBE,
) -> Crystal:
    path = folder / "POSCAR"
    path.write_text(f"{title}\n{scale}\n{cell}\n{species}{counts}\n{mode}\n{sites}\n")
    return read_crystal(path)


@pytest.mark.parametrize(
    ("line", "species"),
    [
        ("Cs Cl", ("Cs", "Cl")),
        ("Cs1+ Cl1-", ("Cs", "Cl")),
        ("Cs+ Cl-", ("Cs", "Cl")),
        ("Cs_sv Cl_h", ("Cs", "Cl")),
        ("Cs_sv/6a2f546d Cl/12345678", ("Cs", "Cl")),
        ("Cs1 Cl_2 ! labels", ("Cs", "Cl")),
        ("D 58Ni", ("D", "58Ni")),
        ("2H H", ("D", "H")),
    ],
)
def test_line_of_species(line, species, tmp_path):
    crystal = read(tmp_path, species=f"  {line}\n")
    assert crystal.species == species
    assert crystal.space_group.number == 221
    assert any("charges" in remark for remark in crystal.remarks) == ("+" in line)


def test_isotopes_have_their_masses(tmp_path):
    np.testing.assert_allclose(read(tmp_path, species="D Cl\n").masses, [2.014102, 35.45], atol=1e-2)


def test_a_line_that_names_a_species_twice(tmp_path):
    sites = SITES + "\n0.5 0.5 0"
    assert read(tmp_path, species="O Ti O\n", counts="1 1 1", sites=sites).species == ("O", "Ti", "O")


def test_vasp_4_with_species_in_the_title(tmp_path):
    assert read(tmp_path, species="", title="Cs Cl").species == ("Cs", "Cl")


@pytest.mark.parametrize("title", ["caesium chloride", "Cs", "Cs Cl structure", "CsCl", "In Cs Cl", ""])
def test_vasp_4_without_species_is_refused(title, tmp_path):
    with pytest.raises(CrystalError, match="POSCAR does not name its species") as caught:
        read(tmp_path, species="", title=title)
    assert "'1 1'" in caught.value.reason
    assert "Insert a line" in caught.value.fix


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "Selective dynamics\nDirect", "sites": "0 0 0 T T F\n.5 .5 .5 F F F"},
        {"mode": "Cartesian", "sites": "0 0 0\n2.82 2.82 2.82"},
        {"mode": "k", "scale": "5.64", "cell": "1 0 0\n0 1 0\n0 0 1"},
        {"scale": "-179.406144", "cell": "1 0 0\n0 1 0\n0 0 1"},
        {"scale": "-179.406144", "cell": "2 0 0\n0 2 0\n0 0 2", "mode": "C", "sites": "0 0 0\n1 1 1"},
        {"scale": "5.64 5.64 5.64", "cell": "1 0 0\n0 1 0\n0 0 1"},
        {"sites": "0 0 0 Cs\n0.5 0.5 0.5 Cl\n\n0 0 0\n0 0 0"},
        {"counts": "1 1 ! atoms"},
    ],
    ids=str,
)
def test_ways_to_write_the_same(changes, tmp_path):
    crystal = read(tmp_path, **changes)
    np.testing.assert_allclose(crystal.cell_parameters, [5.64] * 3 + [90] * 3, atol=1e-5)
    assert (crystal.space_group.number, crystal.species) == (221, ("Cs", "Cl"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"species": "Cs\n"}, "has 1 species, but not as many"),
        ({"counts": "1 one"}, "2 species"),
        ({"counts": "1 -1"}, "2 species"),
        ({"counts": "9 9"}, "fewer positions than atoms"),
        ({"counts": "0 0"}, "no atoms"),
        ({"species": "Cs Xx\n"}, "no element 'Xx'"),
        ({"sites": "0 0 0\n0.5 0.5"}, "cannot be read"),
        ({"scale": "0"}, "no unit cell"),
        ({"sites": "0 0 0\nnan 0 0"}, "not finite"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(changes, words, tmp_path):
    with pytest.raises(CrystalError, match=words) as caught:
        read(tmp_path, **changes)
    assert "POSCAR" in caught.value.summary
    assert caught.value.reason
    assert caught.value.fix


def test_a_file_of_a_few_lines_is_refused(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text("salt\n1.0\n")
    with pytest.raises(CrystalError, match="has 2 lines"):
        read_crystal(path)
