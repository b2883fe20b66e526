"""CIF files as databases write them: force constants and scattering are those of the crystal they mean."""

from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np
import pytest

from bayestds.crystal.structure import Crystal, build_crystal, read_crystal
from bayestds.crystal.supercell import make_supercell
from bayestds.force_constants.irreducible import irreducible_force_constants
from tests.brute_force import bonds_of, dense_hessian, dense_intensity, periodic_atoms

THIRD = 1 / 3
CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


class File(NamedTuple):
    """A file, and all atoms of the conventional cell that is adopted, with full precision."""

    text: str
    lattice: tuple[float, ...]
    atoms: dict[str, list[tuple[float, float, float]]]
    given_matrix: list[list[float]] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # noqa: RUF012, of a tuple
    remark: str = ""


def cif(cell: str, symmetry: str, columns: str, sites: str) -> str:
    tags = [f"_cell_{tag} {value}" for tag, value in zip(CELL, cell.split(), strict=True)]
    loop = ["loop_", *(f"_atom_site_{column}" for column in columns.split())]
    return "\n".join(["data_x", *tags, symmetry.strip(), *loop, sites.strip()]) + "\n"


def operations(symbol: str) -> str:
    rows = [f"'{one.triplet()}'" for one in gemmi.find_spacegroup_by_name(symbol).operations()]
    return "\n".join(["loop_", "_symmetry_equiv_pos_as_xyz", *rows])


FRACTIONS = "label type_symbol fract_x fract_y fract_z"
FACES = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
DIAMOND = [*FACES, *((x + 0.25, y + 0.25, z + 0.25) for x, y, z in FACES)]
AGO_O = (0.2949, 0.3499, 0.2297)

FILES = {
    "rounded thirds": File(
        cif(
            "3.209(1) 3.209(1) 5.211(2) 90 90 120",
            "_symmetry_Int_Tables_number 194\n_symmetry_space_group_name_H-M 'P 63/m m c'\n"
            + operations("P 63/m m c"),
            FRACTIONS + " occupancy",
            "Mg1 Mg 0.333 0.667 0.25(1) 1.0(1)",
        ),
        (3.209, 3.209, 5.211, 90, 90, 120),
        {"Mg": [(THIRD, 2 * THIRD, 0.25), (2 * THIRD, THIRD, 0.75)]},
        remark="0.0019 Å",
    ),
    "ions with charges": File(
        cif(
            "5.64 5.64 5.64 90. 90. 90.",
            "_space_group_name_H-M_alt 'F m -3 m'\n_space_group_IT_number 225",
            "label type_symbol symmetry_multiplicity Wyckoff_symbol fract_x fract_y fract_z occupancy",
            "Na1 Na1+ 4 a 0 0 0 1.\nCl1 Cl1- 4 b 0.5 0.5 0.5 1.",
        ),
        (5.64, 5.64, 5.64, 90, 90, 90),
        {"Na": FACES, "Cl": [(x + 0.5, y, z) for x, y, z in FACES]},
        remark="Na1+, Cl1-",
    ),
    "primitive cell": File(
        cif(
            "3.84029696 3.84029696 3.84029696 60.00000000 60.00000000 60.00000000",
            "_symmetry_space_group_name_H-M   'P 1'\n_symmetry_Int_Tables_number   1\nloop_\n"
            " _symmetry_equiv_pos_site_id\n _symmetry_equiv_pos_as_xyz\n  1  'x, y, z'",
            "type_symbol label symmetry_multiplicity fract_x fract_y fract_z occupancy",
            "  Si  Si0  1  0.75000000  0.75000000  0.75000000  1\n  Si  Si1  1  0.5 0.5 0.5  1.0",
        ),
        (5.43100001, 5.43100001, 5.43100001, 90, 90, 90),
        {"Si": DIAMOND},
        [[1, 1, -1], [-1, 1, 1], [1, -1, 1]],
        remark="Fd-3m (227), more than P1 (1)",
    ),
    "P1 listing": File(
        cif(
            "4.594 4.594 2.959 90 90 90",
            "loop_\n_space_group_symop_operation_xyz\n'x,y,z'",
            "label fract_x fract_y fract_z",
            "Ti1 0 0 0\nTi2 .5 .5 .5\nO1 .305 .305 0\nO2 .695 .695 0\nO3 .195 .805 .5\nO4 .805 .195 .5",
        ),
        (4.594, 4.594, 2.959, 90, 90, 90),
        {
            "Ti": [(0, 0, 0), (0.5, 0.5, 0.5)],
            "O": [(0.305, 0.305, 0), (0.695, 0.695, 0), (0.195, 0.805, 0.5), (0.805, 0.195, 0.5)],
        },
        remark="P4_2/mnm (136)",
    ),
    "non-standard setting, upper case": File(
        cif(
            "5.859 3.484 5.500 90 107.5 90",
            "_symmetry_space_group_name_H-M 'P 21/n'\nloop_\n_symmetry_equiv_pos_as_xyz\n"
            "X,Y,Z\n1/2-X,1/2+Y,1/2-Z\n-X,-Y,-Z\n'0.5+X, 0.5-Y, 0.5+Z'",
            FRACTIONS,
            "Ag1 Ag1+ 0 0 0\nAg2 Ag3+ 0.5 0 0\nO1 O2- 0.2949(3) 0.3499(4) 0.2297(3)",
        ),
        (5.859, 3.484, 5.500, 90, 107.5, 90),
        {
            "Ag": [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0, 0), (0, 0.5, 0.5)],
            "O": [
                AGO_O,
                tuple(-x for x in AGO_O),
                (0.5 - AGO_O[0], 0.5 + AGO_O[1], 0.5 - AGO_O[2]),
                (0.5 + AGO_O[0], 0.5 - AGO_O[1], 0.5 + AGO_O[2]),
            ],
        },
    ),
    "two labels of an element": File(
        cif(
            "3.9945 3.9945 4.0335 90 90 90",
            "_space_group_IT_number 99",
            "label fract_x fract_y fract_z",
            "Ba1 0 0 0\nTi1 0.5 0.5 0.5135\nO1 0.5 0.5 -0.025\nO_2 0.5 0 0.485",
        ),
        (3.9945, 3.9945, 4.0335, 90, 90, 90),
        {
            "Ba": [(0, 0, 0)],
            "Ti": [(0.5, 0.5, 0.5135)],
            "O": [(0.5, 0.5, -0.025), (0.5, 0, 0.485), (0, 0.5, 0.485)],
        },
    ),
    "body-centred tetragonal aluminium": File(
        cif(
            "2.86378 2.86378 4.05 90 90 90",
            "_symmetry_space_group_name_H-M 'P 1'",
            FRACTIONS,
            "Al1 Al 0 0 0\nAl2 Al 0.5 0.5 0.5",
        ),
        (4.05, 4.05, 4.05, 90, 90, 90),
        {"Al": FACES},
        [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
        remark="Fm-3m (225)",
    ),
    "rhombohedral axes": File(
        cif(
            "4.74600 4.74600 4.74600 57.243 57.243 57.243",
            "_symmetry_space_group_name_H-M 'R -3 m :R'",
            FRACTIONS,
            "Bi1 Bi 0.234 0.234 0.234",
        ),
        (4.54699, 4.54699, 11.86151, 90, 90, 120),
        {
            "Bi": [
                (x, y, z + shift)
                for x, y, z in [(0, 0, 0), (2 * THIRD, THIRD, THIRD), (THIRD, 2 * THIRD, 2 * THIRD)]
                for shift in (0.234, -0.234)
            ]
        },
        [[1, -1, 0], [0, 1, -1], [1, 1, 1]],
    ),
    "second choice of the origin": File(
        cif(
            "5.431 5.431 5.431 90 90 90",
            "_symmetry_space_group_name_H-M 'F d -3 m Z'\n" + operations("F d -3 m:2"),
            FRACTIONS,
            "Si1 Si0+ 0.125 0.125 0.125",
        ),
        (5.431, 5.431, 5.431, 90, 90, 90),
        {"Si": DIAMOND},
    ),
    "F-centred triclinic, tags with dots": File(
        cif(
            "6.1 6.7 7.4 81 97 105",
            "_space_group.name_H-M_alt 'F -1'",
            FRACTIONS,
            "Po1 Po 0 0 0",
        )
        .replace("_cell_", "_cell.")
        .replace("_atom_site_", "_atom_site."),
        (6.1, 6.7, 7.4, 81, 97, 105),
        {"Po": FACES},
    ),
}


def written_out(file: File) -> Crystal:
    species = [name for name, places in file.atoms.items() for _ in places]
    return build_crystal(np.array(file.lattice), species, np.concatenate(list(file.atoms.values())))


def from_file(file: File, folder: Path) -> Crystal:
    path = folder / "crystal.cif"
    path.write_text(file.text)
    return read_crystal(path)


@pytest.mark.parametrize("name", FILES)
def test_the_space_group_and_the_axes_are_those_of_the_crystal(name, tmp_path):
    file = FILES[name]
    found, expected = from_file(file, tmp_path), written_out(file)
    assert found.space_group.number == expected.space_group.number
    np.testing.assert_allclose(found.cell_parameters, file.lattice, atol=2e-4)
    np.testing.assert_array_equal(found.given_matrix, file.given_matrix)
    assert sorted(found.species) == sorted(expected.species)
    assert any(file.remark in remark for remark in found.remarks) or not file.remark
    assert bool(found.remarks) == bool(file.remark) or "setting" in name


@pytest.mark.parametrize("name", FILES)
def test_the_irreducible_force_constants_are_those_of_the_crystal(name, tmp_path):
    file = FILES[name]
    found, expected = (
        irreducible_force_constants(crystal, 3) for crystal in (from_file(file, tmp_path), written_out(file))
    )
    assert found.names == expected.names
    assert found.orbit_matrices == expected.orbit_matrices
    assert sorted(found.sum_rules) == sorted(expected.sum_rules)


@pytest.mark.parametrize("name", FILES)
def test_the_same_constants_scatter_alike(name, tmp_path):
    """By the sum over all atoms of a small supercell, at indices (hkl) of the conventional cell."""
    file = FILES[name]
    intensities = []
    expected = written_out(file)
    for crystal in (expected, from_file(file, tmp_path)):
        irreducible = irreducible_force_constants(crystal, 2)
        values = np.random.default_rng(1).normal(size=irreducible.n_irreducible)
        bonds_fit = 1.01 * irreducible.orbits[-1].distance < expected.cell_parameters[:3].min()
        n_cells = 2 if bonds_fit else 3
        atoms = periodic_atoms(make_supercell(crystal, [n_cells] * 3))
        # Springs that hold each atom in place keep these random force constants stable.
        hessian = dense_hessian(atoms, bonds_of(irreducible, values)) + 100 * np.eye(3 * atoms.n_atoms)
        factors = np.array([1.0 + ord(species[0]) % 7 for species in crystal.species])[atoms.kinds]
        vectors = crystal.scattering_vectors(
            np.array([[4, 0, 0], [0, 7, 1], [-2, 1, 5], [7, 2, -1]]) / n_cells
        )
        intensities.append([dense_intensity(atoms, np.linalg.inv(hessian), q, factors) for q in vectors])
    np.testing.assert_allclose(intensities[1], intensities[0], rtol=1e-4)
