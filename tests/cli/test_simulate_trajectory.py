"""`bayestds simulate --trajectory`: files of several programs, what is said of them, and refusals."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.io import read_volume
from bayestds.lattice_dynamics.harmonic import harmonic_crystal
from bayestds.scattering.simulation import configuration, displacement_root
from bayestds.scattering.snapshots import Frame
from tests.cli.refusal import contents, refused, says
from tests.cli.tiny import MODEL, call
from tests.io.test_frames import lammps_dump
from tests.trajectories import FACTORS, MULTIPLES, Motion, brute_force_intensity, supercell_of, trajectory

HEADER = """\
title = "a sheet for trajectories"
[force_constants]
shells = 1
[scattering]
factors = {Ga = 1.0, As = 0.6}
"""
MODELS = {
    "zincblende": """\
[crystal]
lattice = [5.6533, 5.6533, 5.6533, 90, 90, 90]
space_group = 216
sites = [{species = "Ga", position = [0, 0, 0]}, {species = "As", position = [0.25, 0.25, 0.25]}]
[measurement]
supercell = [[2, 0, 0], [0, 2, 0], [0, 0, 1]]
temperature = 300
[measurement.grid]
h = [-2, 2, 9]
k = [-1.5, 2, 8]
l = [0, 3, 4]
""",
    "hcp": """\
[crystal]
lattice = [3.209, 3.209, 5.211, 90, 90, 120]
space_group = 194
sites = [{species = "Mg", position = [0.3333333333333333, 0.6666666666666667, 0.25]}]
[measurement]
supercell = [[3, 0, 0], [1, 3, 0], [0, 0, 2]]
temperature = 300
[measurement.grid]
h = [-2, 2, 5]
k = [-1, 1, 7]
l = [-2, 2, 9]
""",
}
AXES = {
    "zincblende": (np.linspace(-2, 2, 9), np.linspace(-1.5, 2, 8), np.linspace(0, 3, 4)),
    "hcp": (np.linspace(-2, 2, 5), np.linspace(-1, 1, 7), np.linspace(-2, 2, 9)),
}


def as_images(frames: list[Frame]) -> list[Atoms]:
    return [Atoms(f.species, positions=f.positions, cell=f.cell, pbc=True) for f in frames]


def write_dump(path: Path, frames: list[Frame]) -> None:
    """LAMMPS has the first vector along x and the second in the xy plane."""
    images = as_images(frames)
    for atoms in images:
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    path.write_text(lammps_dump(images, "id type element x y z"))


def write_npz(path: Path, frames: list[Frame]) -> None:
    np.savez(
        path,
        positions=[frame.positions for frame in frames],
        cell=[frame.cell for frame in frames],
        species=frames[0].species,
    )


FILES = {
    "md.xyz": lambda path, frames: write(path, as_images(frames)),
    "md.traj": lambda path, frames: write(path, as_images(frames)),
    "md.dump": write_dump,
    "md.npz": write_npz,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("file", FILES)
def test_volume_is_that_of_brute_force(tmp_path, monkeypatch, name, file):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FACTORS, "As", 0.6)
    monkeypatch.setitem(FACTORS, "Mg", 1.0)
    factors = HEADER if name == "zincblende" else HEADER[: HEADER.index("[scattering]")]
    Path("model.toml").write_text(factors + MODELS[name])
    motion = Motion(strain=0.01, drift=(0.2, 0.1, -0.3), rotated=True, wrapped=True)
    frames = trajectory(supercell_of(name), 6, motion)
    FILES[file](Path(file), frames)
    outcome = call("simulate", "model.toml", "--trajectory", file, "--scale", "3", "-o", "v.nc")
    assert outcome.code == 0, outcome.err
    found = read_volume("v.nc")["intensity"].values
    expected = 3 * brute_force_intensity(supercell_of(name), MULTIPLES[name], frames, AXES[name])
    diffuse = np.isfinite(found)
    assert 0.7 < diffuse.mean() < 1
    # Extended XYZ holds eight decimals, and displacements are a tenth of an Å.
    np.testing.assert_allclose(found[diffuse], expected[diffuse], rtol=1e-6)


def harmonic(folder: Path, n: int, labels: str = "Ni") -> list[Atoms]:
    """The configurations that `simulate --engine sampled` averages over, as frames."""
    study = build_study(load_model(str(folder / "tiny.toml")))
    supercell, phi = study.supercell(), jnp.asarray(study.ifcs("truth"))
    vibrating = harmonic_crystal(study.irreducible, supercell, study.model_temperature)
    root, crystal = displacement_root(vibrating, phi), study.crystal
    sites = (supercell.cells[:, None] + crystal.fractional_positions) @ crystal.lattice_vectors
    return [
        Atoms(
            [labels] * supercell.n_cells,
            (sites + configuration(root, jax.random.key(4), m, vibrating.grid_shape)).reshape(-1, 3),
            cell=supercell.lattice_vectors,
            pbc=True,
        )
        for m in range(n)
    ]


@pytest.mark.parametrize("nufft", [[], ["--nufft"]], ids=["product", "nufft"])
def test_harmonic_trajectory_is_the_sampled_engine(folder, nufft):
    write("md.traj", harmonic(folder, 25))
    engine = ["--engine", "sampled", "--configurations", "25", "--seed", "4"]
    sampled = call("simulate", "tiny.toml", *engine, "-o", "s.nc", *nufft)
    from_file = call("simulate", "tiny.toml", "--trajectory", "md.traj", "-o", "t.nc", *nufft)
    assert (sampled.code, from_file.code) == (0, 0), sampled.err + from_file.err
    s, t = read_volume("s.nc"), read_volume("t.nc")
    tolerance = {"rtol": 1e-6, "atol": 1e-9} if nufft else {"rtol": 1e-10}
    np.testing.assert_allclose(t["intensity"].values, s["intensity"].values, **tolerance)


def test_what_is_said_and_stored(folder):
    frames = harmonic(folder, 23, labels="H")
    # Each snapshot twice: two are worth one.
    write("run 1.xyz", [atoms for atoms in frames for _ in range(2)])
    outcome = call("simulate", "tiny.toml", "--trajectory", "run 1.xyz", "--json")
    assert outcome.code == 0, outcome.err
    assert "Snapshots: 46, worth" in outcome.err
    assert "rough" in outcome.err
    assert "Drift of the centroid: up to" in outcome.err
    assert "Labels H are taken for Ni" in outcome.err
    assert "Mean cell" not in outcome.err
    record, volume = json.loads(outcome.out), read_volume("tiny_run_1.nc")
    assert record["output"] == "tiny_run_1.nc"
    assert record["snapshots"] == volume.attrs["snapshots"] == 46
    assert record["noise"] == volume.attrs["noise"] == "ensemble"
    # 23 independent pairs scatter by some 20 %.
    assert record["statistical_inefficiency"] == pytest.approx(2, rel=0.4)
    configurations = int(46 / record["statistical_inefficiency"])
    assert record["configurations"] == volume.attrs["configurations"] == configurations
    assert record["drift_angstrom"] < 1e-6
    assert np.abs(record["strains"]).max() < 1e-6
    assert volume.attrs["source"] == "bayestds simulate, trajectory run 1.xyz"
    assert volume.attrs["temperature"] == 300
    assert volume.attrs["title"] == "tiny fcc"
    assert json.loads(call("info", "tiny_run_1.nc", "--json").out)["snapshots"] == 46


def test_strain_and_drift_are_told(folder):
    frames = harmonic(folder, 3)
    for number, atoms in enumerate(frames):
        atoms.positions += [0.0, 0.1 * number, 0.0]
        atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    write("md.traj", frames)
    outcome = call("simulate", "tiny.toml", "--trajectory", "md.traj", "-o", "v.nxs", "--json")
    assert "strained by 2.000% to 2.000%" in outcome.err
    record = json.loads(outcome.out)
    # Measured in the model's cell.
    assert record["drift_angstrom"] == pytest.approx(0.2, abs=1e-6)
    assert record["strains"] == pytest.approx([0.02] * 3)
    assert read_volume("v.nxs").attrs["lattice"][:3] == pytest.approx([3.52 * 1.02] * 3)


def test_no_ifcs_are_needed(folder):
    sections = [
        MODEL[: MODEL.index("[ifcs.truth]")],
        MODEL[MODEL.index("[measurement]") : MODEL.index("[fit]")],
    ]
    (folder / "bare.toml").write_text("".join(sections).replace('ifcs = "truth"\n', ""))
    write("md.traj", harmonic(folder, 2))
    outcome = call("simulate", "bare.toml", "--trajectory", "md.traj", "-o", "v.nc")
    assert outcome.code == 0, outcome.err


def test_a_trajectory_that_goes_wrong_leaves_no_volume(folder):
    frames = harmonic(folder, 30)
    frames[27].positions[3] = np.inf
    write("md.traj", frames)
    Path("v.nc").write_text("precious")
    outcome = refused(folder, "simulate", "tiny.toml", "--trajectory", "md.traj", "-o", "v.nc")
    says(outcome, "md.traj, frame 28", "atom 4", "not finite")


def test_a_trajectory_is_not_overwritten(folder):
    write("md.traj", harmonic(folder, 1))
    Path("md.nc").symlink_to("md.traj")
    says(refused(folder, "simulate", "tiny.toml", "--trajectory", "md.traj", "-o", "md.nc"), "input")


def test_grid_that_does_not_fit_the_supercell(folder):
    (folder / "tiny.toml").write_text(MODEL.replace("h = [-2, 2, 13]", "h = [-2, 2, 12]"))
    write("md.traj", harmonic(folder, 1))
    says(refused(folder, "simulate", "tiny.toml", "--trajectory", "md.traj"), "do not fit the supercell")


@pytest.mark.parametrize("option", [["--ifcs", "truth"], ["--engine", "sampled"], ["--engine", "one-phonon"]])
def test_a_trajectory_takes_the_place_of_force_constants(folder, option):
    before = contents(folder)
    outcome = call("simulate", "tiny.toml", "--trajectory", "md.traj", *option)
    assert outcome.code == 2
    assert "leave them out" in outcome.err.replace("\n", " ")
    assert contents(folder) == before
