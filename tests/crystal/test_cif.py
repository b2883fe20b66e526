"""What a CIF file says is taken as it is meant, and said where it was not taken as it is written."""

from pathlib import Path

import numpy as np
import pytest

from bayestds.crystal.structure import Crystal, build_crystal, read_crystal
from bayestds.errors import CrystalError
from tests.crystal.test_structure import assert_invariant
from tests.crystals import SAMPLES, make_crystal

SALT = {
    "cell": "5.64 5.64 5.64 90 90 90",
    "symmetry": "_space_group_name_H-M_alt 'F m -3 m'",
    "columns": "label type_symbol fract_x fract_y fract_z occupancy",
    "sites": "Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1",
}
CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def text_of(**changes: str) -> str:
    given = SALT | changes
    tags = [f"_cell_{tag} {value}" for tag, value in zip(CELL, given["cell"].split(), strict=False)]
    loop = ["loop_", *(f"_atom_site_{column}" for column in given["columns"].split())]
    return "\n".join(["data_x", *tags, given["symmetry"], *loop, given["sites"]]) + "\n"


def read(folder: Path, **changes: str) -> Crystal:
    path = folder / "x.cif"
    path.write_text(text_of(**changes))
    return read_crystal(path)


def refused(words: str):
    return pytest.raises(CrystalError, match=words)


def said(crystal: Crystal, words: str) -> bool:
    return any(words in remark for remark in crystal.remarks)


def test_a_plain_file_needs_no_remark(tmp_path):
    crystal = read(tmp_path)
    assert (crystal.space_group.number, crystal.species, crystal.remarks) == (225, ("Na", "Cl"), ())


@pytest.mark.parametrize("digits", [2, 3, 4])
@pytest.mark.parametrize("name", ["hcp", "wurtzite", "rutile", "quartz", "rhombohedral", "monoclinic"])
def test_rounded_sites_have_the_symmetry_that_the_file_states(name, digits, tmp_path):
    sample = SAMPLES[name]
    sites = "\n".join(
        f"{species}{i} {species} " + " ".join(f"{x:.{digits}f}" for x in position) + " 1"
        for i, (species, position) in enumerate(sample.sites)
    )
    number = f"_space_group_IT_number {sample.space_group}"
    crystal = read(tmp_path, cell=" ".join(map(str, sample.lattice)), symmetry=number, sites=sites)
    assert crystal.space_group.number == sample.space_group
    assert crystal.n_atoms == sample.n_atoms
    assert_invariant(crystal)
    apart = np.abs(crystal.cartesian_positions - make_crystal(name).cartesian_positions)
    assert apart.max() < 10.0**-digits * max(sample.lattice[:3])


@pytest.mark.parametrize(
    ("third", "two_thirds", "shift"),
    [
        ("0.333", "0.667", 1 / 3),
        ("0.33", "0.67", 10 / 3),
        ("0.333", "0.666", None),
        ("0.3328(3)", "0.667(1)", None),
    ],
)
def test_it_is_said_how_far_sites_were_moved(third, two_thirds, shift, tmp_path):
    """(-δ, δ) along a and b of the hexagonal cell is √3 δ long."""
    crystal = read(
        tmp_path,
        cell="3.209 3.209 5.211 90 90 120",
        symmetry="_symmetry_space_group_name_H-M 'P 63/m m c'",
        sites=f"Mg1 Mg {third} {two_thirds} 0.25 1",
    )
    assert crystal.space_group.number == 194
    (remark,) = crystal.remarks
    assert "special positions of P 63/m m c" in remark
    assert "Mg1" in remark
    if shift is not None:
        assert f"{3.209 * np.sqrt(3) * shift * 1e-3:.2g} Å" in remark


def test_a_site_off_a_special_position_by_more_than_its_digits_is_refused(tmp_path):
    with refused(r"Site Na1 and its images by symmetry are only 0\.\d+ Å apart"):
        read(tmp_path, sites="Na1 Na 0.013 0 0 1\nCl1 Cl 0.5 0.5 0.5 1")
    assert read(tmp_path, sites="Na1 Na 0.013(5) 0 0 1\nCl1 Cl 0.5 0.5 0.5 1").space_group.number == 225


def test_general_positions_are_not_moved(tmp_path):
    position = (0.123, 0.456, 0.789)
    sites = "Na1 Na {} {} {} 1\nCl1 Cl 0.6 0.1 0.31 1".format(*position)
    crystal = read(tmp_path, cell="8 9 10 90 100 90", symmetry="_space_group_IT_number 14", sites=sites)
    assert crystal.remarks == ()
    away = crystal.fractional_positions @ np.linalg.inv(crystal.conventional_matrix) - position
    assert np.abs(away - np.rint(away)).max(axis=1).min() < 1e-12


@pytest.mark.parametrize(
    ("symbol", "label", "species"),
    [
        ("Na1+", "x", "Na"),
        ("Fe3+", "x", "Fe"),
        ("Ag0+", "x", "Ag"),
        ("D", "H1", "D"),
        ("2H", "H1", "D"),
        ("CL1-", "x", "Cl"),
        ("NA", "x", "Na"),
        ("Fe1", "x", "Fe"),
        ("O_2", "x", "O"),
        ("Zr(1)", "x", "Zr"),
        (".", "Fe1", "Fe"),
        ("?", "O_2", "O"),
        ("?", "OW3", "O"),
        ("?", "Ow3", "O"),
        ("?", "D1", "D"),
        ("?", "AL2", "Al"),
        ("?", "Co1", "Co"),
    ],
)
def test_species_of_a_site(symbol, label, species, tmp_path):
    assert read(tmp_path, sites=f"{label} {symbol} 0 0 0 1").species == (species,)


@pytest.mark.parametrize(
    ("symbol", "label"),
    [
        ("?", "CA1"),
        ("?", "HO1"),
        ("?", "SI"),
        ("?", "T1"),
        ("?", "M1"),
        ("OH1-", "O1"),
        ("Xx", "Na1"),
        ("?", "1"),
    ],
)
def test_a_site_that_may_be_of_two_elements_or_of_none_is_refused(symbol, label, tmp_path):
    with refused(f"Site {label}"):
        read(tmp_path, sites=f"{label} {symbol} 0 0 0 1")


def test_deuterium_is_not_hydrogen(tmp_path):
    crystal = read(tmp_path, sites="D1 D 0 0 0 1\nH1 H 0.5 0.5 0.5 1")
    assert crystal.species == ("D", "H")
    np.testing.assert_allclose(crystal.masses, [2.014102, 1.008], atol=1e-3)


@pytest.mark.parametrize("occupancy", ["1", "1.0", "1.000(0)", "1.0(1)", ".", "?", "0.9995"])
def test_full_occupancy(occupancy, tmp_path):
    assert read(tmp_path, sites=f"Na1 Na 0 0 0 {occupancy}").n_atoms == 1


@pytest.mark.parametrize("occupancy", ["0.999(2)", "0.97(2)", "1.02(1)"])
def test_full_occupancy_within_its_uncertainty_is_said(occupancy, tmp_path):
    assert said(
        read(tmp_path, sites=f"Na1 Na 0 0 0 {occupancy}"), f"Na1 is taken as fully occupied ({occupancy})"
    )


@pytest.mark.parametrize("occupancy", ["0.5", "0.97", "0.97(1)", "0.9(1)", "0", "2", "-1", "half", "0.5(5)"])
def test_other_occupancy_is_refused(occupancy, tmp_path):
    with refused("Site Na1 is partially occupied"):
        read(tmp_path, sites=f"Na1 Na 0 0 0 {occupancy}")


def test_labels_that_share_an_atom_are_named(tmp_path):
    with refused("Site O1A is partially occupied") as caught:
        read(
            tmp_path,
            sites="Na1 Na 0 0 0 1\nO1A O 0.5 0.5 0.48 0.6\nO1B O 0.5 0.5 0.53 0.4\nO2 O 0.25 0.25 0.25 0.5",
        )
    assert "O1B." in caught.value.reason


def test_atoms_that_were_not_located_are_refused(tmp_path):
    columns = SALT["columns"].replace("occupancy", "attached_hydrogens")
    with refused("Site O1 has 2 hydrogen atoms"):
        read(tmp_path, columns=columns, sites="O1 O 0 0 0 2")
    assert read(tmp_path, columns=columns, sites="O1 O 0 0 0 0").n_atoms == 1


def test_dummies_are_no_atoms(tmp_path):
    columns = SALT["columns"].replace("occupancy", "calc_flag")
    assert read(tmp_path, columns=columns, sites="Na1 Na 0 0 0 d\nX1 X 0.5 0.5 0.5 dum").species == ("Na",)
    with refused("has no atoms"):
        read(tmp_path, columns=columns, sites="X1 X 0.5 0.5 0.5 dum")


def test_sites_that_repeat_others_are_left_out_and_named(tmp_path):
    crystal = read(tmp_path, sites="Na1 Na 0 0 0 1\nNa2 Na 0 .5 .5 1\nCl1 Cl .5 .5 .5 1\nCl2 Cl 0 0 .5 1")
    assert crystal.n_atoms == 2
    assert said(crystal, "Na2, Cl2 repeat")


@pytest.mark.parametrize(
    ("symmetry", "number", "remark"),
    [
        ("_space_group_IT_number 1", 221, "Pm-3m (221), more than P 1 (1)"),
        ("loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z", 221, "Pm-3m (221), more than P1 (1)"),
        ("_symmetry_space_group_name_H-M 'P m m m'", 221, "Pm-3m (221), more than P m m m (47)"),
        ("_space_group_IT_number 221\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z", 221, ""),
        (
            "_symmetry_space_group_name_H-M unheard\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z",
            221,
            "more than P1",
        ),
        ("_space_group_name_Hall '-P 4 2 3'", 221, ""),
        ("_space_group_name_Hall '-P 4 2 3'\n_space_group_name_H-M_alt ?", 221, ""),
    ],
)
def test_more_symmetry_than_is_stated_is_said(symmetry, number, remark, tmp_path):
    crystal = read(tmp_path, symmetry=symmetry, sites="Po1 Po 0 0 0 1")
    assert crystal.space_group.number == number
    assert said(crystal, remark) if remark else not crystal.remarks


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": "5.64 5.64 5.7 90 90 90"}, "(139), less than F m -3 m (225)"),
        ({"cell": "5.64 5.64 5.64 90 90 91"}, "less than F m -3 m (225)"),
        (
            {"symmetry": SALT["symmetry"] + "\nloop_\n_symmetry_equiv_pos_as_xyz\nx,y,z"},
            "(221), less than F m -3 m (225)",
        ),
    ],
)
def test_less_symmetry_than_is_stated_is_refused(changes, words, tmp_path):
    with pytest.raises(CrystalError) as caught:
        read(tmp_path, **changes)
    assert words in caught.value.summary
    assert ("lattice parameters" in caught.value.reason) == ("cell" in changes)


def test_a_p1_listing_that_was_rounded(tmp_path):
    listing = dict(cell="3.209 3.209 5.211 90 90 120", symmetry="_space_group_IT_number 1")
    three = read(tmp_path, **listing, sites="Mg1 Mg .333 .667 .25 1\nMg2 Mg .667 .333 .75 1")
    assert three.space_group.number == 194
    assert said(three, "moved by up to 0.0019 Å")
    two = read(tmp_path, **listing, sites="Mg1 Mg .33 .67 .25 1\nMg2 Mg .67 .33 .75 1")
    assert two.space_group.number == 63
    assert said(two, "would have the symmetry P6_3/mmc (194), which is not assumed")


def test_a_true_distortion_is_no_rounding(tmp_path):
    """Of BaTiO3 (G. H. Kwei et al., J. Phys. Chem. 97 (1993) 2368); and in a cubic cell."""
    sites = "Ba Ba 0 0 0 1\nTi Ti .5 .5 .522 1\nO1 O .5 .5 -.023 1\nO2 O .5 0 .489 1\nO3 O 0 .5 .489 1"
    for cell in ("3.997 3.997 4.031 90 90 90", "4 4 4 90 90 90"):
        crystal = read(tmp_path, cell=cell, symmetry="_space_group_IT_number 1", sites=sites)
        assert crystal.space_group.number == 99
        assert not said(crystal, "moved")


@pytest.mark.parametrize(("z", "number"), [(".501", 123), (".502", 99), (".503", 99), (".510", 99)])
def test_a_lattice_that_is_nearly_of_higher_symmetry_stays(z, number, tmp_path):
    """Each of two atoms would move half the way, and 0.7 units of the last decimal are the limit."""
    sites = f"Po1 Po 0 0 0 1\nNa1 Na .5 .5 {z} 1"
    crystal = read(tmp_path, cell="4 4 4.01 90 90 90", symmetry="_space_group_IT_number 1", sites=sites)
    assert crystal.space_group.number == number
    np.testing.assert_allclose(crystal.cell_parameters[:3], [4, 4, 4.01])
    assert said(crystal, "so that they have the symmetry P4/mmm (123)") == (number == 123)


@pytest.mark.parametrize(("x", "number"), [(".501", 47), (".505", 25)])
def test_a_long_axis_does_not_loosen_the_others(x, number, tmp_path):
    sites = f"Po1 Po 0 0 0 1\nNa1 Na {x} .5 .5 1"
    crystal = read(tmp_path, cell="3.1 3.4 20 90 90 90", symmetry="_space_group_IT_number 1", sites=sites)
    assert crystal.space_group.number == number


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_other_than_ascii_does_no_harm(ending, tmp_path):
    path = tmp_path / "x.cif"
    lines = ["# Å", *text_of().splitlines(), "_publ_author_name 'Bragg, Wéß'"]
    for coding in ("utf-8", "utf-8-sig", "latin-1"):
        path.write_bytes(ending.join(lines).encode(coding))
        assert read_crystal(path).space_group.number == 225


def test_a_model_that_is_written_out_takes_the_same_way():
    lattice = np.array([3.209, 3.209, 5.211, 90, 90, 120])
    crystal = build_crystal(lattice, ["Mg2+"], [[0.333, 0.667, 0.25]], None, "P6_3/mmc")
    assert crystal.space_group.number == 194
    assert crystal.species == ("Mg", "Mg")
    assert said(crystal, "0.0019 Å")
    assert said(crystal, "Mg2+")
    heavy = build_crystal(lattice, ["H"], [[0.333, 0.667, 0.25]], [2.014], 194)
    assert heavy.species == ("D", "D")
    with refused("less than F m -3 m"):
        build_crystal(lattice, ["Mg"], [[0, 0, 0]], None, 225)


@pytest.mark.parametrize(
    ("species", "positions"), [([], np.zeros((0, 3))), (["Na"], [[0, 0]]), (["Na"], [[0, 0, np.nan]])]
)
def test_sites_without_three_numbers_each_are_refused(species, positions):
    with refused("."):
        build_crystal(np.array([4.0] * 3 + [90.0] * 3), species, positions)
