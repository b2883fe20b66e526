"""Beside other programs: the same force constants of nickel, the same Q points, the same machine, in one run.

Euphonic, phonopy and dynasor know values only, the first two one-phonon scattering only; bayestds computes
all phonon orders. *One shot* counts everything that follows from force constants and Q points: tables, choice
of the engine, evaluation; compiled programs are those of an earlier call, and imports are not counted.
*Steady* is the next evaluation, with other force constants at the same points.

Usage: python benchmarks/peers.py  (`make bench-peers` installs the others first)
"""

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase.io import write
from density import log_likelihood
from machine import in_words, machine
from run import paper_epoch

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.exchange import PhonopyWriter, supercell_atoms
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.lattice_dynamics.displacements import covariance_root, displacements, white_noise
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks, covariance, harmonic_crystal
from bayestds.scattering.engine import ExactEngine, make_engine
from bayestds.scattering.expansion import choose_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.units import BOLTZMANN

RESULT = Path(__file__).parent / "results" / "peers.json"
REPEATS = 11
MANY = 100_000
FRAMES = 5
"""Configurations that dynasor averages over; its time grows in proportion."""

MODEL, IFCS = "ni_fcc_paper", "u3_paper"


@dataclass(frozen=True, eq=False)
class Case:
    """What all programs are given.

    Attributes:
        study: the model.
        phi: (n_irreducible,) eV/Å².
        q_points: (n_q, 3) conventional r.l.u., commensurate, none on a Bragg peak.
    """

    study: Study
    phi: np.ndarray
    q_points: np.ndarray

    @property
    def supercell(self) -> Supercell:
        """The periodic supercell."""
        return self.study.supercell()

    def crystal(self) -> HarmonicCrystal:
        """In quantum statistics, as Euphonic and phonopy have."""
        return harmonic_crystal(
            self.study.irreducible, self.supercell, self.study.model_temperature, "quantum"
        )

    def forward_model(self, crystal: HarmonicCrystal, engine: ExactEngine) -> ForwardModel:
        """With an engine of some of the points."""
        return ForwardModel(crystal, (), OnMesh(engine), ())

    @property
    def primitive(self) -> np.ndarray:
        """The Q points (n_q, 3) in the reciprocal basis of the primitive cell."""
        return self.q_points @ np.linalg.inv(self.study.crystal.conventional_matrix).T


Call = Callable[[], Any]


def ours(case: Case) -> tuple[Call, Call, Call]:
    """One shot, steady value, and steady value and gradient of a log-likelihood."""
    supercell = case.supercell
    phi = jnp.asarray(case.phi)

    def model() -> ForwardModel:
        crystal = case.crystal()
        engine = choose_engine(supercell, case.q_points, covariance(crystal, phi))
        return case.forward_model(crystal, engine)

    def one_shot() -> np.ndarray:
        return np.asarray(jnp.exp(log_intensity(model(), phi)))

    forward = model()
    value = log_intensity(forward, phi)
    data = LogNormal(value + 0.01, jnp.ones_like(value))
    gradient = jax.jit(jax.value_and_grad(lambda p, f: log_likelihood(f, data, p)))

    def steady() -> np.ndarray:
        return np.asarray(jnp.exp(log_intensity(forward, phi)))

    return one_shot, steady, lambda: jax.block_until_ready(gradient(phi, forward))


def accuracy(case: Case) -> float:
    """Largest error of ln I of the engine that the timings use, against the direct form, at 2,000 points."""
    rows = np.random.default_rng(0).permutation(len(case.q_points))[:2000]
    direct = case.forward_model(case.crystal(), make_engine(case.supercell, case.q_points[rows]))
    return float(np.abs(np.log(ours(case)[1]()[rows]) - log_intensity(direct, case.phi)).max())


def one_phonon(case: Case) -> np.ndarray:
    """Our one-phonon intensity, as a check that all programs compute the same crystal."""
    # The first order of the expansion, without near pairs.
    engine = make_engine(case.supercell, case.q_points, n_near=0, order=1)
    return np.asarray(jnp.exp(log_intensity(case.forward_model(case.crystal(), engine), case.phi)))


def euphonic(case: Case, folder: Path) -> tuple[Call, Call]:
    """One-phonon intensities of Euphonic with its C extension."""
    from euphonic import ForceConstants, ureg

    read = ForceConstants.from_phonopy(
        path=folder, summary_name="phonopy.yaml", fc_name="force_constants.hdf5"
    )
    arrays = read.crystal, read.force_constants, read.sc_matrix, read.cell_origins
    temperature = case.study.model_temperature * ureg("K")
    twice_heat = (2 * BOLTZMANN * case.study.model_temperature) * ureg("eV")
    settings = {"use_c": True, "n_threads": machine()["cores"]}
    mesh, q_points = case.supercell.k_points, case.primitive

    def evaluate(constants: ForceConstants) -> np.ndarray:
        damping = constants.calculate_qpoint_phonon_modes(mesh, **settings).calculate_debye_waller(
            temperature
        )
        modes = constants.calculate_qpoint_phonon_modes(q_points, **settings)
        found = modes.calculate_structure_factor(scattering_lengths={"Ni": 1 * ureg("bohr")}, dw=damping)
        # 2n + 1: scattering by creation and by annihilation of a phonon.
        occupied = 1 / np.tanh((found.frequencies / twice_heat).to("").magnitude)
        return (found.structure_factors.to("bohr**2").magnitude * occupied).sum(axis=1)

    return lambda: evaluate(ForceConstants(*arrays)), partial(evaluate, read)


def phonopy_structure_factor(case: Case, folder: Path) -> Call:
    """Phonopy's dynamic structure factor on the mesh of the supercell, in its own units."""
    import phonopy

    phonon = phonopy.load(folder / "phonopy.yaml", force_constants_filename=folder / "force_constants.hdf5")

    def evaluate() -> np.ndarray:
        phonon.run_mesh(case.supercell.grid_shape, with_eigenvectors=True, is_mesh_symmetry=False)
        temperature = case.study.model_temperature
        phonon.run_dynamic_structure_factor(
            case.primitive, temperature, scattering_lengths={"Ni": 1.0}, freq_min=1e-3
        )
        found = phonon.dynamic_structure_factor
        assert found is not None
        return found.dynamic_structure_factors

    return evaluate


def dynasor(case: Case, folder: Path) -> Call:
    """Static structure factor by dynasor of configurations that our sampler drew."""
    from dynasor import Trajectory, compute_static_structure_factors

    crystal = case.crystal()
    root = covariance_root(crystal.statistics.covariance(blocks(crystal, jnp.asarray(case.phi))))
    white = white_noise(jax.random.key(0), FRAMES, case.supercell.n_cells, case.study.crystal.n_atoms)
    moves = np.asarray(displacements(root, white, case.supercell.grid_shape)).reshape(FRAMES, -1, 3)
    frames = []
    for move in moves:
        atoms = supercell_atoms(case.supercell)
        atoms.positions += move
        frames.append(atoms)
    write(folder / "frames.xyz", frames, format="extxyz")
    vectors = case.study.crystal.scattering_vectors(case.q_points)

    def evaluate() -> np.ndarray:
        trajectory = Trajectory(str(folder / "frames.xyz"), trajectory_format="extxyz")
        return compute_static_structure_factors(trajectory, vectors, logging_interval=0).Sq[:, 0]

    return evaluate


def seconds(calls: dict[str, Call], repeats: int) -> dict[str, list[float]]:
    """Times of calls that take turns, so that the machine's moods meet all of them."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return times


def beside_euphonic(case: Case, folder: Path) -> dict[str, Any]:
    """Times of Euphonic and ours at the points of a case, and what one-phonon scattering lacks there."""
    one_shot, steady, gradient = ours(case)
    other_one_shot, other_steady = euphonic(case, folder)
    times = seconds(
        {
            "bayestds, one shot": one_shot,
            "Euphonic, one shot": other_one_shot,
            "bayestds, steady": steady,
            "Euphonic, steady": other_steady,
            "bayestds, steady, value and gradient": gradient,
        },
        REPEATS,
    )
    ratio = {
        kind: [b / a for a, b in zip(times[f"bayestds, {kind}"], times[f"Euphonic, {kind}"], strict=True)]
        for kind in ("one shot", "steady")
    }
    theirs = other_steady()
    deficit = 1 - theirs / steady()
    return {
        "points": len(case.q_points),
        "error in ln I": accuracy(case),
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "Euphonic over bayestds": {kind: statistics.median(values) for kind, values in ratio.items()},
        "Euphonic against our one-phonon intensity": float(np.abs(theirs / one_phonon(case) - 1).max()),
        "share of intensity that one phonon lacks": {
            "median": float(np.median(deficit)),
            "most": float(deficit.max()),
        },
    }


def beside_others(case: Case, folder: Path, steady: float) -> dict[str, float]:
    """Seconds of phonopy and dynasor at the points of a case, and over ``steady``, ours."""
    calls = {
        "phonopy": phonopy_structure_factor(case, folder),
        f"dynasor, {FRAMES} snapshots": dynasor(case, folder),
    }
    took = {name: min(values) for name, values in seconds(calls, 2).items()}
    return took | {f"{name}, over bayestds": value / steady for name, value in took.items()}


def write_force_constants(folder: Path) -> None:
    """The force constants as a folder of phonopy; in a process of its own, see :func:`main`."""
    study = build_study(load_model(MODEL))
    PhonopyWriter(study.irreducible).write(study.ifcs(IFCS), folder)


def cases() -> list[Case]:
    """The irreducible points of the paper's grid, and many of its voxels."""
    study = build_study(load_model(MODEL))
    phi, volume = study.ifcs(IFCS), study.own_volume()
    axes = np.meshgrid(*(volume[name].values for name in "hkl"), indexing="ij")
    voxels = np.stack(axes, axis=-1)[np.isfinite(volume["intensity"].values)]
    many = voxels[np.sort(np.random.default_rng(1).permutation(len(voxels))[:MANY])]
    points = study.problem(volume, MODEL).volumes[0].grid.q_points, study.supercell().snap(many)
    return [Case(study, phi, q_points) for q_points in points]


def main() -> None:
    """Time all programs on both sets of points; print, and write the results."""
    jax.config.update("jax_enable_x64", True)
    found = machine() | {name: version(name) for name in ("euphonic", "phonopy", "dynasor")}
    print(in_words(found))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Once phonopy is loaded, Euphonic falls back to one thread (two OpenMP libraries in one process).
        writer = multiprocessing.get_context("spawn").Process(target=write_force_constants, args=(folder,))
        writer.start()
        writer.join()
        given = cases()
        compared = [beside_euphonic(case, folder) for case in given]
        for case, figures in zip(given, compared, strict=True):
            figures |= {"others": beside_others(case, folder, figures["seconds"]["bayestds, steady"])}
            print(json.dumps(figures, indent=1))
    step, epoch = compared[0]["seconds"]["bayestds, steady, value and gradient"], paper_epoch(given[0].study)
    paper = {"seconds per epoch": epoch, "over a step of ours": epoch / step}
    print(f"the paper's algorithm: {json.dumps(paper)}")
    RESULT.write_text(
        json.dumps({"machine": found, "frames": FRAMES, "cases": compared, "paper": paper}, indent=1) + "\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
