"""Born-von Karman constants that were fitted to measured phonons: which tables, from where, read how.

The tables are those of Landolt-Börnstein III/13a, as typed into a public repository (`born_von_karman.json`
of README.md). Where one contradicts itself, the measured elastic constants or the phonons of the same
crystal, it is corrected here, with the reason, or left out (README.md says which).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NEWTON_PER_METRE = 1 / 16.02176634
"""1 N/m in eV/Å²."""

LANDOLT = "Landolt-Börnstein III/13a, from github.com/danse-inelastic/pybvk, commit 922c8c0a"


@dataclass(frozen=True)
class Table:
    """One table of constants.

    Attributes:
        entry: its name in the file of all tables.
        reference: what was measured, and who fitted it.
        temperature: K.
        remark: what a user must know about the table.
        repaired: changes the dictionary of blocks where a misprint is certain.
        central: the springs of the guess are central, because with the transverse ones they are unstable.
    """

    entry: str
    reference: str
    temperature: int
    remark: str = ""
    repaired: Callable[[dict], None] = lambda blocks: None
    central: bool = False


def _silver(blocks: dict) -> None:
    blocks["110"][2][2] *= -1


def _thorium(blocks: dict) -> None:
    for block in blocks.values():
        block[:] = [[10 * x for x in row] for row in block]


MEASURED = {
    "ag_fcc": Table(
        "ag_296",
        "neutron scattering at 296 K: Kamitakahara, Brockhouse, Phys. Lett. 29A (1969) 639",
        296,
        "its 1ZZ (b1) is taken as -1.75 instead of 1.75 N/m: only so is the transverse frequency at X that "
        "of the other table of silver, and C44 near the measured one",
        _silver,
    ),
    "al_fcc": Table(
        "al_300",
        "neutron scattering at 300 K: Gilat, Nicklow, Phys. Rev. 143 (1966) 487",
        300,
        "axially symmetric",
    ),
    "au_fcc": Table(
        "au_295",
        "neutron scattering at 295 K: probably Lynn, Smith, Nicklow, Phys. Rev. B 8 (1973) 3493 (the "
        "repository repeats the reference of aluminium)",
        295,
    ),
    "ce_fcc": Table(
        "ce_295",
        "neutron scattering: Stassis, Gould, McMasters, Gschneidner, Nicklow, Phys. Rev. B 19 (1979) 5746",
        295,
        "γ-Ce, so at room temperature: the repository says 295 K in the name of the table and 80 K inside",
    ),
    "cr_bcc": Table(
        "cr_300", "neutron scattering at 300 K: Shaw, Muhlestein, Phys. Rev. B 4 (1971) 969", 300
    ),
    "fe_bcc": Table(
        "fe_295", "neutron scattering at 295 K: Minkiewicz, Shirane, Nathans, Phys. Rev. 162 (1967) 528", 295
    ),
    "k_bcc": Table("k_9", "neutron scattering at 9 K: Dolling, Meyer, J. Phys. F 7 (1977) 775", 9),
    "li_bcc": Table(
        "li_98",
        "neutron scattering at 98 K: Smith, Dolling, Nicklow, Vijayaraghavan, Wilkinson, Neutron Inelastic "
        "Scattering, IAEA, Vienna, vol. 1 (1968) 149",
        98,
    ),
    "mg_hcp": Table(
        "mg_290",
        "Singh, Prakash, Physica 50 (1970) 10, and DeWames, Wolfram, Lehman, Phys. Rev. 138 (1965) A717",
        290,
    ),
    "na_bcc": Table(
        "na_90",
        "neutron scattering at 90 K: Woods, Brockhouse, March, Stewart, Bowers, Phys. Rev. 128 (1962) 1112",
        90,
    ),
    "nb_bcc": Table(
        "nb_296", "neutron scattering at 296 K: Nakagawa, Woods, Phys. Rev. Lett. 11 (1963) 271", 296
    ),
    "ni_fcc": Table(
        "ni_298", "neutron scattering at 298 K: De Wit, Brockhouse, J. Appl. Phys. 39 (1968) 451", 298
    ),
    "pd_fcc": Table(
        "pd_296", "neutron scattering at 296 K: Miiller, Brockhouse, Can. J. Phys. 49 (1971) 704", 296
    ),
    "pt_fcc": Table(
        "pt_90", "neutron scattering at 90 K: Dutton, Brockhouse, Miiller, Can. J. Phys. 50 (1972) 2915", 90
    ),
    "rb_bcc": Table(
        "rb_85", "neutron scattering at 85 K: Copley, Brockhouse, Can. J. Phys. 51 (1973) 657", 85
    ),
    "sc_hcp": Table("sc_295", "Singh, Prakash, Physica 50 (1970) 10", 295),
    "th_fcc": Table(
        "th_296",
        "neutron scattering at 296 K: Reese, Sinha, Peterson, Phys. Rev. B 8 (1973) 1332",
        296,
        "ten times the numbers of the repository, which give a tenth of the measured elastic constants",
        _thorium,
    ),
    "ti_hcp": Table(
        "ti_295",
        "neutron scattering at 295 K: Stassis, Arch, Harmon, Wakabayashi, Phys. Rev. B 19 (1979) 181",
        295,
        central=True,
    ),
    "v_bcc": Table(
        "v_296",
        "model B in Cohen, Heine, Weaire, Solid State Phys. 24 (1970), from constants between planes",
        296,
        "its C11 and C12 are a third below the measured ones",
    ),
    "w_bcc": Table(
        "w_298",
        "neutron scattering at 298 K: Larose, Brockhouse, Can. J. Phys. 54 (1976) 1819, with data "
        "of Chen (1964)",
        298,
    ),
    "y_hcp": Table(
        "y_295",
        "neutron scattering at 295 K: Sinha, Brun, Muhlestein, Sakurai, Phys. Rev. B 1 (1970) 2430",
        295,
    ),
    "zn_hcp": Table(
        "zn_80",
        "neutron scattering at 80 K: Chesser, Axe, Phys. Rev. B 9 (1974) 4060",
        80,
        central=True,
    ),
    "zr_hcp": Table(
        "zr_295",
        "neutron scattering at 295 K: Stassis, Zarestky, Arch, McMasters, Harmon, Phys. Rev. B 18 "
        "(1978) 2632",
        295,
        central=True,
    ),
}


COPPER = Table(
    "cu_296",
    "neutron scattering at 296 K: Svensson, Brockhouse, Rowe, Phys. Rev. 155 (1967) 619",
    296,
    "its sixth shell (222) is left out; its 5ZZ (f2) breaks the stated axial symmetry and may be misprinted",
)


def springs(bond: np.ndarray, radial: float, tangential: float) -> np.ndarray:
    """Block of an axially symmetric bond: stiffness along it and across it, in eV/Å²."""
    direction = bond / np.linalg.norm(bond)
    return -tangential * np.eye(3) - (radial - tangential) * np.outer(direction, direction)


def read_table(references: Path, table: Table) -> dict:
    """The constants of a table in N/m, repaired: 3x3 blocks by bond (cubic), or numbers by shell (hcp)."""
    entry = json.loads((references / "born_von_karman.json").read_text())["models"][table.entry]
    blocks = entry.get("matrix_N_per_m", entry["force_constants"])
    table.repaired(blocks)
    return blocks


def hexagonal_block(bond: np.ndarray, a: float, c: float, shells: dict) -> np.ndarray:
    """Block (eV/Å²) of a bond (Å) in the hcp lattice, from the constants of its shell in N/m.

    The shells are numbered as in an ideal hcp crystal, whatever c/a. Constants are `f_r` along the bond and
    `f_t` across it, or those of the modified axially symmetric model (DeWames, Wolfram, Lehman, Phys. Rev.
    138 (1965) A717): `K` along it, and `C_Bx`, `C_Bz` for displacements in the plane and along c.
    """
    # Length of the bond in the plane, and along c.
    places = np.array(
        [
            [a / 3**0.5, c / 2],
            [a, 0],
            [2 * a / 3**0.5, c / 2],
            [0, c],
            [a * (7 / 3) ** 0.5, c / 2],
            [a * 3**0.5, 0],
            [a, c],
            [2 * a, 0],
        ]
    )
    off = np.abs(places - [np.hypot(*bond[:2]), abs(bond[2])]).max(axis=1)
    if off.min() > 1e-3:
        raise ValueError(f"no shell has the bond {bond}")
    shell = shells[str(1 + off.argmin())]
    if "f_r" in shell:
        return NEWTON_PER_METRE * springs(bond, shell["f_r"], shell["f_t"])
    across, along = shell["C_Bx"], shell.get("C_Bz", 0)
    # Of the bond along c only a sum is known, and only it counts.
    radial = shell["K"] if "K" in shell else shell["K + C_Bz"]
    direction = bond / np.linalg.norm(bond)
    return -NEWTON_PER_METRE * (radial * np.outer(direction, direction) + np.diag([across, across, along]))
