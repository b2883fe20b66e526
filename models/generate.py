"""Writes the force constants of the model files from published tables, potentials and DFT forces.

    python models/generate.py REFERENCES [NAME ...]

REFERENCES is a folder with the five input files that README.md describes, or with those that the models
NAME need. Every set is checked: it
must reproduce its table in the symmetry of the crystal, and every phonon of the model's supercell
must be stable.
"""

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import phonopy
from measured import COPPER, LANDOLT, MEASURED, NEWTON_PER_METRE, Table, hexagonal_block, read_table, springs

from bayestds.crystal.structure import build_crystal
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants

DIFFERENCES = "finite differences of the energy at 0 K (LAMMPS, 864 atoms), truncated to five shells"
EAM = "Foiles, Baskes, Daw, Phys. Rev. B 33 (1986) 7983"


@dataclass(frozen=True)
class ForceConstantSet:
    """Named irreducible force constants in eV/Å² and where they come from."""

    name: str
    source: str
    values: dict[str, float]


def irreducible_of(model: dict) -> IrreducibleForceConstants:
    """The irreducible force constants that a model file asks for."""
    crystal = model["crystal"]
    species = [site["species"] for site in crystal["sites"]]
    positions = np.array([site["position"] for site in crystal["sites"]])
    built = build_crystal(np.array(crystal["lattice"]), species, positions, None, crystal["space_group"])
    return irreducible_force_constants(built, model["force_constants"]["shells"])


# ---- from tables, springs and forces to the irreducible force constants ----


def solve(irreducible, matrix, right, tolerance: float) -> tuple[dict[str, float], float]:
    """Least-squares values of all irreducible force constants, and the relative residual."""
    values, _, rank, _ = np.linalg.lstsq(matrix, right, rcond=1e-8)
    residual = np.linalg.norm(matrix @ values - right) / np.linalg.norm(right)
    if rank < irreducible.n_irreducible or residual > tolerance:
        raise ValueError(f"rank {rank} of {irreducible.n_irreducible}, residual {residual:.2g}")
    return dict(zip(irreducible.names, np.round(values, 9).tolist(), strict=True)), residual


def from_blocks(irreducible, bonds, blocks) -> dict[str, float]:
    """Values from the 3x3 block (eV/Å²) of one bond (Å) per orbit."""
    every_bond = irreducible.crystal.bond_vectors(irreducible.pairs)
    nearest = [np.linalg.norm(every_bond - bond, axis=1) < 0.02 for bond in bonds]
    matrix = [irreducible.basis[near].reshape(-1, irreducible.n_irreducible) for near in nearest]
    right = [np.tile(np.ravel(block), near.sum()) for near, block in zip(nearest, blocks, strict=True)]
    return solve(irreducible, np.concatenate(matrix), np.concatenate(right), 1e-6)[0]


def from_table(irreducible, table: dict[str, list], unit: float) -> dict[str, float]:
    """Values from a cubic table {"110": 3x3 block in units of ``unit``}, bonds in units of a/2."""
    half = irreducible.crystal.conventional_lattice[0, 0] / 2
    bonds = [np.array([float(n) for n in key.replace(" ", "")]) * half for key in table]
    reach = max(orbit.distance for orbit in irreducible.orbits) + 0.02
    kept = [i for i, bond in enumerate(bonds) if np.linalg.norm(bond) < reach]
    blocks = [unit * np.array(block) for block in table.values()]
    return from_blocks(irreducible, [bonds[i] for i in kept], [blocks[i] for i in kept])


def softened_springs(
    irreducible, like: ForceConstantSet, shells: int, central: bool = False
) -> ForceConstantSet:
    """A start that is not the truth: springs to the first shells only, 0.7 as stiff; central: along bonds."""
    constants = irreducible.basis @ np.array([like.values[name] for name in irreducible.names])
    values = np.zeros(irreducible.n_irreducible)
    for orbit in irreducible.orbits:
        if orbit.shell > shells:
            continue
        pair = (irreducible.pairs == orbit.representative).all(axis=1).argmax()
        bond = irreducible.crystal.bond_vectors(orbit.representative[None])[0]
        direction = bond / np.linalg.norm(bond)
        radial = -direction @ constants[pair] @ direction
        tangential = 0.0 if central else (-np.trace(constants[pair]) - radial) / 2
        block = springs(bond, 0.7 * radial, 0.7 * tangential)
        values += np.linalg.lstsq(irreducible.basis[pair].reshape(9, -1), block.ravel(), rcond=1e-8)[0]
    source = (
        f"guess: {'central' if central else 'axially symmetric'} springs, 0.7 of the radial "
        f"{'' if central else 'and mean transverse '}stiffness of {like.name} "
        f"in shell{' 1' if shells == 1 else f's 1 to {shells}'}, none beyond"
    )
    return ForceConstantSet(
        "springs", source, dict(zip(irreducible.names, np.round(values, 9).tolist(), strict=True))
    )


def fit_forces(irreducible, positions, species, cell: float, displacements, forces):
    """Values that reproduce supercell forces best, and the relative residual of the forces.

    Args:
        irreducible: the parameters to fit.
        positions: (n_atoms, 3) equilibrium, Å, with the axes of the crystal's conventional cell.
        species: (n_atoms,) symbols; the first atom is taken to lie on the first site of its species.
        cell: edge of the cubic supercell, Å.
        displacements: (n_snapshots, n_atoms, 3), Å.
        forces: (n_snapshots, n_atoms, 3), eV/Å.
    """
    crystal = irreducible.crystal
    origin = crystal.cartesian_positions[crystal.species.index(species[0])]
    positions = positions - positions[0] + origin
    offsets = (positions[:, None] - crystal.cartesian_positions) @ np.linalg.inv(crystal.lattice_vectors)
    on_site = np.abs(offsets - np.rint(offsets)).max(axis=-1) < 1e-3
    index = {_place(x, cell): i for i, x in enumerate(positions)}
    design = np.zeros((*forces.shape, irreducible.n_irreducible))
    bonds = crystal.bond_vectors(irreducible.pairs)
    for pair, bond, basis in zip(irreducible.pairs, bonds, irreducible.basis, strict=True):
        source = np.flatnonzero(on_site[:, pair[1]])
        target = [index[_place(x + bond, cell)] for x in positions[source]]
        design[:, target] -= np.einsum("abp,sjb->sjap", basis, displacements[:, source])
    return solve(irreducible, design.reshape(-1, irreducible.n_irreducible), forces.ravel(), 0.2)


def _place(position: np.ndarray, cell: float) -> tuple[int, ...]:
    """Position in a periodic cell as integers, to compare."""
    return tuple(np.rint(position / cell * 48).astype(int) % 48)


def silicon_forces(path: Path, a: float) -> tuple[np.ndarray, ...]:
    """Positions, displacements and forces of the first snapshot of a FORCES_FC3 file, 2x2x2 cells."""
    lines = path.read_text().splitlines()
    # The atom order of phonopy: site by site, and for each the cell along x fastest.
    sites = np.array([[7, 7, 7], [7, 3, 3], [3, 7, 3], [3, 3, 7], [1, 1, 1], [1, 5, 5], [5, 1, 5], [5, 5, 1]])
    cells = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    positions = (sites[:, None] / 8 + cells).reshape(-1, 3) * a
    displacements = np.zeros((1, 64, 3))
    displacements[0, 0] = [float(x) for x in lines[1].split()[2:]]
    return positions, displacements, np.loadtxt(lines[2:66])[None]


# ---- checks ----


def frequencies(irreducible, values: dict[str, float], q_points) -> np.ndarray:
    """Phonon frequencies (n_q, 3n) in THz at q (r.l.u. of the conventional cell), imaginary as negative."""
    crystal, n = irreducible.crystal, irreducible.crystal.n_atoms
    constants = irreducible.basis @ np.array([values[name] for name in irreducible.names])
    cells = irreducible.pairs[:, 2:] @ crystal.lattice_vectors @ np.linalg.inv(crystal.conventional_lattice)
    phases = np.exp(2j * np.pi * np.asarray(q_points) @ cells.T)
    blocks = np.zeros((len(phases), n, n, 3, 3), complex)
    for (first, second, *_), constant, phase in zip(irreducible.pairs, constants, phases.T, strict=True):
        blocks[:, first, second] += phase[:, None, None] * constant
    blocks /= np.sqrt(np.outer(crystal.masses, crystal.masses))[:, :, None, None]
    squares = np.linalg.eigvalsh(blocks.transpose(0, 1, 3, 2, 4).reshape(-1, 3 * n, 3 * n))
    # sqrt(eV/Å²/amu) is an angular frequency of 2π times 15.633 THz.
    return np.sign(squares) * np.sqrt(np.abs(squares)) * 15.633302


def check(name: str, supercell: list[int], irreducible, force_set: ForceConstantSet) -> None:
    """Every mode of the supercell is stable, rigid translations aside, and so are long waves."""
    # Twice the conventional reciprocal cell holds a primitive one of every centring used here.
    axes = [np.arange(2 * n) / n for n in supercell]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    modes = frequencies(irreducible, force_set.values, mesh)
    rigid = np.abs(modes[:, :3]).max(axis=1) < 1e-3
    softest = min(modes[~rigid].min(), modes[rigid, 3:].min(initial=np.inf))
    print(f"{name:13} {force_set.name:16} {softest:7.3f} to {modes.max():7.3f} THz")
    if softest < 0.1:
        raise ValueError(f"{name}: {force_set.name} is unstable")
    directions = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    waves = 0.01 * directions[np.abs(directions).any(axis=1)]
    if frequencies(irreducible, force_set.values, waves).min() < 0:
        raise ValueError(f"{name}: {force_set.name} is unstable against strain")


# ---- the sets of each model ----


def nickel_paper(irreducible, references: Path) -> list[ForceConstantSet]:
    """The tables of the paper, as printed."""
    converged = "Table 1, result of the fit to the full 3D grid, as printed"
    return [*paper_potentials(references), paper_set(references, "table1_converged", converged)]


def nickel_paper_wedge(irreducible, references: Path) -> list[ForceConstantSet]:
    """The same, with the paper's result for the wedge."""
    converged = "Table 2, result of the fit to the wedge of 10 degrees, as printed"
    return [*paper_potentials(references), paper_set(references, "table2_converged", converged)]


def nickel_paper_plane(irreducible, references: Path) -> list[ForceConstantSet]:
    """The same, without a result: the paper prints none for a plane."""
    return paper_potentials(references)


def paper_potentials(references: Path) -> list[ForceConstantSet]:
    """Target and start of the paper."""
    target = f"Table 1, target, as printed: EAM potential Ni U3 ({EAM})"
    start = "Table 1, start of the fit, as printed: MEAM potential of Ni (Baskes)"
    return [
        paper_set(references, "target_u3", target, "u3_paper"),
        paper_set(references, "start_meam", start, "meam_paper"),
    ]


def paper_set(references: Path, key: str, source: str, name: str | None = None) -> ForceConstantSet:
    """One column of the paper's tables."""
    tables = json.loads((references / "paper_tables.json").read_text())
    values = dict(zip(tables["names"], tables[key], strict=True))
    del values["a0"]  # printed rounded; it follows from the sum rule
    return ForceConstantSet(name or key, f"arXiv:2603.28683, {source}", values)


def nickel_u3(irreducible, references: Path) -> list[ForceConstantSet]:
    """What the potentials of nickel really give."""
    potentials = json.loads((references / "potentials.json").read_text())
    u3 = from_table(irreducible, potentials["Ni_u3"]["shells"], 1.0)
    meam = from_table(irreducible, potentials["Ni_meam"]["shells"], 1.0)
    return [
        ForceConstantSet("u3", f"EAM potential Ni U3 ({EAM}), {DIFFERENCES}", u3),
        ForceConstantSet("meam", f"MEAM potential of Ni (Baskes, LAMMPS library.meam), {DIFFERENCES}", meam),
    ]


def copper(irreducible, references: Path) -> list[ForceConstantSet]:
    """A potential, constants from neutrons, and a guess."""
    potentials = json.loads((references / "potentials.json").read_text())
    table = read_table(references, COPPER)
    source = f"{COPPER.reference}; {LANDOLT}; Φ = -K/16.02176634 of its N/m; {COPPER.remark}"
    u3 = from_table(irreducible, potentials["Cu_u3"]["shells"], 1.0)
    bvk = ForceConstantSet("bvk_296K", source, from_table(irreducible, table, -NEWTON_PER_METRE))
    return [
        ForceConstantSet("u3", f"EAM potential Cu U3 ({EAM}), {DIFFERENCES}", u3),
        bvk,
        softened_springs(irreducible, bvk, 1),
    ]


def measured(table: Table):
    """What makes the sets of a crystal with measured constants: these, and a guess."""

    def make_sets(irreducible, references: Path) -> list[ForceConstantSet]:
        blocks = read_table(references, table)
        a, _, c = irreducible.crystal.cell_parameters[:3]
        hexagonal = not np.isclose(c, a)
        if hexagonal:
            # Every shell of the table is one orbit.
            bonds = [irreducible.crystal.bond_vectors(o.representative[None])[0] for o in irreducible.orbits]
            values = from_blocks(irreducible, bonds, [hexagonal_block(bond, a, c, blocks) for bond in bonds])
        else:
            values = from_table(irreducible, blocks, -NEWTON_PER_METRE)
        source = f"{table.reference}; {LANDOLT}; Φ = -K/16.02176634 of its N/m"
        source += f"; {table.remark}" if table.remark else ""
        bvk = ForceConstantSet(f"bvk_{table.temperature}K", source, values)
        # bcc and hcp: the second shell is about as near as the first.
        nearest = 1 if np.isclose(np.linalg.det(irreducible.crystal.conventional_matrix), 4) else 2
        return [bvk, softened_springs(irreducible, bvk, nearest, table.central)]

    return make_sets


def silicon(irreducible, references: Path) -> list[ForceConstantSet]:
    """DFT forces around one displaced atom."""
    a = irreducible.crystal.conventional_lattice[0, 0]
    positions, displacements, forces = silicon_forces(references / "FORCES_FC3", a)
    values, residual = fit_forces(irreducible, positions, ["Si"] * 64, 2 * a, displacements, forces)
    source = (
        "least-squares fit of five shells to the DFT forces (VASP, PBEsol, 64 atoms, one atom moved by "
        "0.03 Å) of github.com/phonopy/phono3py, example/Si-PBEsol/FORCES_FC3, first snapshot, "
        f"commit f7f6945f; residual {residual:.1%} of the forces"
    )
    dft = ForceConstantSet("pbesol", source, values)
    return [dft, softened_springs(irreducible, dft, 1)]


def rock_salt(irreducible, references: Path) -> list[ForceConstantSet]:
    """DFT forces of random displacements."""
    phonons = phonopy.load(references / "phonopy_NaCl444_rd.yaml.xz", produce_fc=False, log_level=0)
    cell = phonons.supercell
    displacements, forces = (np.array(phonons.dataset[key]) for key in ("displacements", "forces"))
    values, residual = fit_forces(
        irreducible, cell.positions, list(cell.symbols), cell.cell[0, 0], displacements, forces
    )
    source = (
        "least-squares fit of five shells to the DFT forces (functional not stated, 512 atoms, 20 random "
        "displacements) of "
        "symfc 1.8.0, examples/NaCl444-rd/phonopy_NaCl444_rd.yaml.xz in its source distribution on PyPI; "
        f"residual {residual:.1%} of the forces"
    )
    dft = ForceConstantSet("dft", source, values)
    return [dft, softened_springs(irreducible, dft, 1)]


MODELS = {
    "ni_fcc_paper": nickel_paper,
    "ni_fcc_paper_wedge": nickel_paper_wedge,
    "ni_fcc_paper_plane": nickel_paper_plane,
    "ni_fcc_u3": nickel_u3,
    "ni_fcc_u3_wedge": nickel_u3,
    "ni_fcc_u3_plane": nickel_u3,
    "cu_fcc": copper,
    "si_diamond": silicon,
    "nacl_rocksalt": rock_salt,
    **{name: measured(table) for name, table in MEASURED.items()},
}


def main(references: Path, names: list[str]) -> None:
    """Replace the IFC sets of every model file; everything else in the files is written by hand."""
    for name in names or MODELS:
        path = Path(__file__).parent / f"{name}.toml"
        head, measurement, tail = path.read_text(encoding="utf-8").partition("[measurement]")
        before, after = head.partition("[ifcs.")[0], measurement + tail
        model = tomllib.loads(before + after)
        irreducible = irreducible_of(model)
        sets = MODELS[name](irreducible, references)
        for force_set in sets:
            check(name, model["measurement"]["supercell"], irreducible, force_set)
        path.write_text(before + "".join(map(as_toml, sets)) + after, encoding="utf-8")


def as_toml(force_set: ForceConstantSet) -> str:
    """A set as it stands in a model file."""
    values = "".join(f"{name} = {value!r}\n" for name, value in force_set.values.items())
    table = f"ifcs.{force_set.name}"
    return f'[{table}]\nsource = "{force_set.source}"\n\n[{table}.values]  # eV/Å^2\n{values}\n'


if __name__ == "__main__":
    if len(sys.argv) < 2 or not MODELS.keys() >= set(sys.argv[2:]):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
