"""Space groups by number, symbol and operations: gemmi's tables against those of ASE and of spglib."""

import gemmi
import numpy as np
import pytest
from ase.spacegroup import Spacegroup

from bayestds.crystal.stated import hall_group, listed_group, named_group
from bayestds.errors import CrystalError

RIGHT = [90.0, 90.0, 90.0]
HEXAGONAL = [90.0, 90.0, 120.0]
SETTINGS = [
    group for group in gemmi.spacegroup_table() if group.number in (3, 5, 14, 15, 48, 62, 64, 146, 166, 227)
]


def operations(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    shifts = np.rint(24 * np.asarray(translations)).astype(int) % 24
    return set(map(tuple, np.column_stack([np.reshape(rotations, (-1, 9)), shifts]).tolist()))


@pytest.mark.parametrize("number", range(1, 231))
def test_a_number_is_the_first_setting_of_ase(number):
    expected = operations(*map(np.array, zip(*Spacegroup(number).get_symop(), strict=True)))
    found = named_group(number, HEXAGONAL)
    assert found.number == number
    assert operations(found.rotations, found.translations) == expected
    assert len(found.rotations) == len(expected)


@pytest.mark.parametrize("group", SETTINGS, ids=lambda group: group.xhm())
def test_all_ways_to_state_a_setting_agree(group):
    """The number from the operations is spglib's."""
    listed = listed_group([one.triplet() for one in group.operations()])
    for found in (listed, hall_group(group.hall), named_group(group.xhm(), HEXAGONAL)):
        assert found.number == group.number
        assert operations(found.rotations, found.translations) == operations(
            listed.rotations, listed.translations
        )


def name_of(symbol: int | str, angles: list[float] = RIGHT) -> str:
    return named_group(symbol, angles).name


def test_spellings():
    assert name_of("P 21/n") == name_of("P21/n") == name_of("P 1 21/n 1") == "P 1 21/n 1"
    assert name_of("P6_3/mmc") == name_of("P 63/m m c") == name_of("P 63/M M C") == name_of(194)
    assert name_of("I2/a") == "I 1 2/a 1"
    assert name_of("F d -3 m Z") == name_of("F d -3 m :2") == name_of("Fd-3m:2") == "F d -3 m:2"
    assert name_of("F d -3 m S") == name_of("F d -3 m") == name_of(227) == "F d -3 m:1"
    assert name_of("P m m m") == "P m m m"


def test_rhombohedral_axes_follow_from_the_angles():
    for symbol in (166, "R -3 m", "R-3m"):
        assert name_of(symbol, HEXAGONAL) == "R -3 m:H"
        assert name_of(symbol, [57.2, 57.2, 57.2]) == "R -3 m:R"
    assert name_of("R -3 m :R", HEXAGONAL) == "R -3 m:R"


def test_an_origin_that_is_left_open_is_told():
    assert [named_group(symbol, RIGHT).ambiguous for symbol in (227, "F d -3 m", "P n n n")] == [True] * 3
    assert [named_group(symbol, RIGHT).ambiguous for symbol in ("F d -3 m Z", "P n n n :1", 225)] == [
        False
    ] * 3


def test_operations_as_people_write_them():
    found = listed_group(["X,Y,Z", "1/2-X,0.5+Y, .5-Z", "-x,-y,-z", "x + 1/2, 1/2 - y, z-0.5"])
    assert found.number == 14
    assert operations(found.rotations, found.translations) == operations(*named_group("P 21/n", RIGHT)[2:4])
    thirds = listed_group(["x,y,z", "-y,x-y,z+0.33333", "y-x,-x,z+.667"])
    assert thirds.number == 144


def test_an_operation_that_is_listed_twice_counts_once():
    assert len(listed_group(["x,y,z", "-x,-y,-z", "-x,-y,1-z"]).rotations) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: named_group("F m -3 x", RIGHT), "'F m -3 x'"),
        (lambda: named_group("", RIGHT), "space group ''"),
        (lambda: named_group(231, RIGHT), "231"),
        (lambda: named_group(0, RIGHT), "0"),
        (lambda: named_group(-5, RIGHT), "-5"),
        (lambda: hall_group("-Q 9"), "'-Q 9'"),
        (lambda: listed_group(["x,y"]), "'x,y'"),
        (lambda: listed_group(["x,x,z"]), "'x,x,z'"),
        (lambda: listed_group(["x,y,2z"]), "'x,y,2z'"),
        (lambda: listed_group(["x,y,z", "y,z,x"]), "2 symmetry operations are no group"),
        (lambda: listed_group(["-x,-y,-z"]), "no group"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, words):
    with pytest.raises(CrystalError, match=words) as caught:
        make()
    assert caught.value.reason
    assert caught.value.fix
