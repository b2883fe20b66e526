"""A virtual X-ray experiment on fcc Ni, rocksalt NaCl and diamond Si: are the force constants recovered?

The model files virtual_*.toml hold all of it: quantum statistics, form factors, polarisation, a smooth
background, Compton scattering, resolution and mosaic spread, gaps of the detector, 40 % of the voxels
unmeasured, Poisson counts, hot pixels. The data are simulated on a mesh four times finer in each direction
than that of the fit, at voxels that are on neither. For one volume that is

    bayestds simulate benchmarks/virtual_ni.toml -o ni.nc
    bayestds fit benchmarks/virtual_ni.toml ni.nc

Here the volume without noise is made once, and replication n draws counts and hot pixels from the seed n.
Fits are Newton's steps from the truth to the maximum that `fit` finds; replication 0 is also fitted as
`fit` does it, from the start of the model file. Then the expected counts are fitted with one effect left
out at a time, and a few replications without what noise and hot pixels ask for.

Every record is saved once it is done, and a run that was cut off goes on where it was.
virtual_experiment_page.py writes the page docs/virtual_experiment.md from the results.

Usage: python benchmarks/virtual_experiment.py [CRYSTAL ...] [--replications N] [-o virtual_experiment.json]
"""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from calibration import plain
from jax import Array
from scipy.stats import norm
from scipy.stats.qmc import Sobol

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.beam import make_beamline, scattering_factors
from bayestds.cli.simulation import detected
from bayestds.config import load_model
from bayestds.inference.ascent import Newton, newton
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.counts import Poisson
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.point_fit import point_fit
from bayestds.inference.problem import Problem
from bayestds.inference.rounds import Curvature, curvature
from bayestds.inference.sums import cheapest_model
from bayestds.io.atomic import atomic_path
from bayestds.lattice_dynamics.harmonic import stable
from bayestds.scattering.atoms import xray_factors
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.instrument import spread_covariance
from bayestds.scattering.lattice_sum import Anywhere
from bayestds.scattering.q_points import FreePoints

HERE = Path(__file__).parent
CRYSTALS = ("ni", "nacl", "si")
REPLICATIONS = 60
FEW = 3
"""Replications of the fits that ignore what noise or hot pixels ask for."""

DIM = 4.0
"""Mean counts of a voxel in a volume that was measured a short time."""

POINTS = 128
"""Points of the resolution of the check that six are enough."""

MOST_STEPS, SMALLEST_SHARE = 25, 1e-3
"""Newton's steps of a fit, and the share of one below which it is given up."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What all fits to a crystal share.

    Attributes:
        study: the model.
        truth: (n_irreducible,) eV/Å².
        ideal: the volume without noise, of all voxels.
        expected: its expected counts at the measured ones.
    """

    study: Study
    truth: np.ndarray
    ideal: xr.Dataset
    expected: xr.Dataset


def setting(crystal: str) -> Setting:
    """The setting of a model file."""
    study = build_study(load_model(HERE / f"virtual_{crystal}.toml"))
    measurement, counts = study.model.measurement, study.model.simulation.counts
    assert measurement is not None
    assert measurement.ifcs is not None
    assert counts is not None
    ideal = study.simulated(measurement.ifcs)
    quiet = study.model.simulation.model_copy(update={"counts": None, "hot_pixels": 0.0})
    measured = detected(changed(study, simulation=quiet), ideal, None, 0)
    intensity = measured["intensity"]
    expected = measured.assign(counts=(intensity * (counts / intensity.mean())).fillna(0.0))
    return Setting(study, study.ifcs(measurement.ifcs), ideal, expected)


def changed(study: Study, **tables: object) -> Study:
    """A study whose model has other tables."""
    return replace(study, model=study.model.model_copy(update=tables))


def edited(study: Study, table: str, **keys: object) -> Study:
    """A study whose model has other values in one table."""
    return changed(study, **{table: getattr(study.model, table).model_copy(update=keys)})


@dataclass(frozen=True, eq=False)
class Maximum:
    """Where Newton's steps ended.

    Attributes:
        parameters: (n_parameters,) force constants, eV/Å², and strengths of the background.
        here: the curvature there.
        step: the next one of Newton's.
        converged: whether it is a maximum of the posterior.
    """

    parameters: Array
    here: Curvature
    step: Newton
    converged: bool


@jax.jit
def log_posterior(forward: ForwardModel, data: Likelihood, parameters: Array, scales: Array) -> Array:
    """Logarithm of the posterior density up to a constant."""
    likelihood = data.log_likelihood(log_intensity(forward, parameters))
    return likelihood - 0.5 * ((parameters / scales) ** 2).sum()


def maximum(problem: Problem, forward: ForwardModel, start: np.ndarray) -> Maximum:
    """Maximum of the posterior by Newton's steps, halved while they lead down or out of the stable region.

    Args:
        problem: what is fitted.
        forward: with an engine.
        start: force constants, eV/Å², followed by strengths of the background where they are not 0.
    """
    data, scales = problem.volumes[0].likelihood, jnp.asarray(problem.parameter_scales)
    location = jnp.append(jnp.asarray(start), jnp.zeros(len(scales) - len(start)))
    for _ in range(MOST_STEPS):
        here = curvature(forward, data, location)
        step = newton(here.information, here.slope, location, scales)
        if step.converged:
            return Maximum(location, here, step, True)
        share, height = 1.0, log_posterior(forward, data, location, scales)
        while share > SMALLEST_SHARE:
            further = location + share * step.step
            is_stable = stable(forward.crystal, forward.sizes.split(further).second)
            if is_stable and log_posterior(forward, data, further, scales) > height:
                break
            share /= 2
        else:
            # Rounding of a likelihood of millions hides the last steps.
            return Maximum(location, here, step, step.distance < 0.05)
        location = further
    return Maximum(location, here, step, False)


def fitted(
    problem: Problem,
    truth: np.ndarray,
    background: Sequence[float] | None = None,
    several_phonons: bool = True,
) -> dict:
    """Errors and standard errors of a fit.

    Args:
        problem: what is fitted.
        truth: (n_irreducible,) eV/Å², from which the fit starts.
        background: strengths that it starts from; 0 by default.
        several_phonons: whether the model knows scattering by more than one.
    """
    began = time.perf_counter()
    (volume,) = problem.volumes
    forward = cheapest_model(problem, volume, jnp.asarray(truth))
    if not several_phonons:
        assert isinstance(forward.lattice_sum, Anywhere)
        engine = forward.lattice_sum.engine
        assert engine.table is not None
        forward = forward.with_sum(Anywhere(replace(engine, table=jnp.zeros_like(engine.table))))
    found = maximum(problem, forward, np.append(truth, [] if background is None else background))
    n = len(truth)
    covariance = np.linalg.inv(np.asarray(found.step.precision))[:n, :n]
    error, sd = np.asarray(found.parameters)[:n] - truth, np.sqrt(np.diag(covariance))
    squares = found.here.quadratic.reduced_chi_square(len(found.parameters))
    return {
        "converged": found.converged,
        "error": error,
        "sd": sd,
        "correlation": covariance / np.outer(sd, sd),
        "chi_square": float(error @ np.linalg.solve(covariance, error)),
        "residual": float(squares),
        "background": np.asarray(found.parameters)[n:],
        "rejected": volume.grid.n_rejected,
        "seconds": round(time.perf_counter() - began, 1),
    }


def to_expected(shared: Setting, several_phonons: bool = True, **tables: dict) -> dict:
    """Fit to the expected counts, with other values in tables of the model."""
    study = shared.study
    for table, keys in tables.items():
        study = edited(study, table, **keys)
    problem = study.problem(shared.expected, "the expected counts")
    return fitted(problem, shared.truth, several_phonons=several_phonons)


def size_of(shared: Setting) -> dict:
    """What was measured and what is fitted, in numbers."""
    problem = shared.study.problem(shared.expected, "the expected counts")
    (volume,) = problem.volumes
    counts, voxel = volume.likelihood, volume.grid.multiplicity
    measurement, finer = shared.study.model.measurement, shared.study.model.simulation.supercell
    assert isinstance(counts, Poisson)
    assert measurement is not None
    assert finer is not None
    alone = edited(shared.study, "simulation", background=(), supercell=None).simulated("truth")
    intensity, bare = (volume["intensity"].values for volume in (shared.expected, alone))
    measured = np.isfinite(intensity) & (volume.grid.point_of_voxel >= 0)
    return {
        "voxels": int(intensity.size),
        "measured": int(np.isfinite(intensity).sum()),
        "used": int(voxel.sum()),
        "points": len(voxel),
        "fewest voxels of a point": int(voxel.min()),
        "counts of a voxel": [float(x) for x in np.quantile(np.asarray(counts.number) / voxel, [0, 0.5, 1])],
        "diffuse share": [float(x) for x in np.quantile((bare / intensity)[measured], [0, 0.5, 1])],
        "names": list(problem.irreducible.names),
        "truth": shared.truth,
        "prior": problem.prior_scales,
        "supercells": [np.diag(measurement.supercell), np.diag(finer)],
    }


def as_command(shared: Setting, of_truth: dict) -> dict:
    """Replication 0 from the start of the model file, as `fit` does it, beside the fit from the truth."""
    began = time.perf_counter()
    study, start = shared.study, shared.study.model.fit.start
    assert start is not None
    fit = point_fit(study.problem(detected(study, shared.ideal, None, 0), "the volume"), study.ifcs(start))
    apart = fit.irreducible - shared.truth - np.array(of_truth["error"])
    return {
        "converged": fit.converged,
        "apart": float(np.abs(apart / np.sqrt(np.diag(fit.covariance))).max()),
        "seconds": round(time.perf_counter() - began, 1),
    }


def forward_factors(study: Study) -> dict[str, float]:
    """Form factors in forward direction, by species."""
    ions = study.model.scattering.ions
    names = sorted(set(study.crystal.species))
    factors = np.abs(xray_factors([ions.get(name, name) for name in names], np.zeros(1)))[0]
    return {name: float(factor) for name, factor in zip(names, factors, strict=True)}


def classically(shared: Setting) -> dict:
    """Fit to the expected counts by classical statistics."""
    volume = shared.expected.assign_attrs(statistics="classical")
    return fitted(shared.study.problem(volume, "the expected counts"), shared.truth)


def with_empty_voxels(shared: Setting) -> dict:
    """Fit to the expected counts, with voxels that were not measured taken for voxels without counts."""
    volume = shared.expected.assign(intensity=shared.expected["intensity"].fillna(0.0))
    return fitted(shared.study.problem(volume, "the expected counts"), shared.truth)


def with_own_mesh(shared: Setting) -> dict:
    """Fit to the counts that it expects itself, on its own mesh: what is left is the pull of the priors."""
    problem = shared.study.problem(shared.expected, "the expected counts")
    return to_computed(shared, problem, problem)


def with_full_resolution(shared: Setting) -> dict:
    """The same, where the counts are means over many points of the resolution, not six."""
    study, crystal = shared.study, shared.study.crystal
    problem = study.problem(shared.expected, "the expected counts")
    beamline, q_points = make_beamline(study.model, crystal), problem.volumes[0].grid.q_points
    normal = norm.ppf(Sobol(3, rng=0).random(POINTS // 2))
    normal = np.concatenate([normal, -normal])
    normal = normal @ np.linalg.inv(np.linalg.cholesky(np.cov(normal.T, bias=True))).T
    spread = spread_covariance(crystal, q_points, beamline.resolution, beamline.mosaic)
    widths, axes = np.linalg.eigh(spread)
    shifts = np.einsum("qij,qj,pj->qpi", axes, np.sqrt(widths), normal)
    points = q_points[:, None] + shifts @ np.linalg.inv(crystal.scattering_vectors(np.eye(3)))
    factors = scattering_factors(study.model, crystal, points.reshape(-1, 3))
    free = FreePoints(study.irreducible, problem.supercell, points.reshape(-1, 3), factors)
    effects = beamline.effects(q_points, len(normal))
    return to_computed(shared, problem, problem.with_volume(q_points=free, effects=effects))


def to_computed(shared: Setting, problem: Problem, source: Problem) -> dict:
    """Fit of a problem to the counts that another one expects at the truth."""
    # The strengths mean what they do in the fit, whose range of |Q| is not that of the simulation.
    background = fitted(problem, shared.truth)["background"]
    parameters = jnp.append(jnp.asarray(shared.truth), background)
    forward = cheapest_model(source, source.volumes[0], parameters)
    counts = problem.volumes[0].likelihood
    assert isinstance(counts, Poisson)
    number = counts.exposure * jnp.exp(log_intensity(forward, parameters))
    number *= counts.number.sum() / number.sum()
    return fitted(problem.with_volume(likelihood=replace(counts, number=number)), shared.truth, background)


LEFT_OUT: dict[str, Callable[[Setting], dict]] = {
    "nothing": to_expected,
    "the finer mesh": with_own_mesh,
    "quantum statistics": classically,
    "form factors' Q dependence": lambda shared: to_expected(
        shared, scattering={"radiation": "point", "factors": forward_factors(shared.study)}
    ),
    "polarisation": partial(to_expected, instrument={"polarisation": False}),
    "smooth background": partial(to_expected, instrument={"background": 0}),
    "Compton scattering": partial(to_expected, instrument={"compton": False}),
    "background and Compton": partial(to_expected, instrument={"background": 0, "compton": False}),
    "resolution and mosaic": partial(to_expected, instrument={"resolution": 0.0, "mosaic": 0.0}),
    "several phonons": partial(to_expected, several_phonons=False),
    "unmeasured voxels' mask": with_empty_voxels,
    "the finer mesh, resolution in full": with_full_resolution,
}
"""Fits to the expected counts, without one effect at a time."""


def with_errors(volume: xr.Dataset) -> xr.Dataset:
    """The volume with standard errors from √counts in place of counts; voxels without any are dropped."""
    counts = volume["counts"].where(volume["counts"] > 0)
    kept = volume.drop_vars("counts")
    return kept.assign(intensity=volume["intensity"].where(volume["counts"] > 0)).assign(
        sigma=volume["intensity"] / np.sqrt(counts)
    )


def dim(study: Study) -> Study:
    """The study measured a short time."""
    return edited(study, "simulation", counts=DIM)


def to_counts(
    shared: Setting,
    seed: int,
    turned: Callable[[xr.Dataset], xr.Dataset] = lambda volume: volume,
    background: Sequence[float] | None = None,
    **tables: dict,
) -> dict:
    """Fit to the counts of one seed, turned into something else, with other values in tables of the model."""
    study = shared.study
    for table, keys in tables.items():
        study = edited(study, table, **keys)
    problem = study.problem(turned(detected(study, shared.ideal, None, seed)), "the counts")
    return {"seed": seed, **fitted(problem, shared.truth, background)}


def at_face_value(
    shared: Setting, seed: int, background: Sequence[float] | None = None, **tables: dict
) -> dict:
    """Fit to log intensities of equivalent voxels averaged with the weights 1/N of their own counts N."""
    study = shared.study
    for table, keys in tables.items():
        study = edited(study, table, **keys)
    volume = detected(study, shared.ideal, None, seed)
    problem = study.problem(volume, "the counts")
    counts, intensity = volume["counts"].values, volume["intensity"].values
    of_voxel = problem.volumes[0].grid.point_of_voxel
    used = (of_voxel >= 0) & (counts > 0)
    point, intensity = of_voxel[used], intensity[used]
    weight = counts[used] / intensity**2
    total = np.bincount(point, weight)
    mean = np.bincount(point, weight * intensity) / total
    data = LogNormal(jnp.log(mean), jnp.asarray(total * mean**2))
    return {"seed": seed, **fitted(problem.with_volume(likelihood=data), shared.truth, background)}


SHORT = {"counts": DIM}
LEFT_OUT_OF_COUNTS: dict[str, Callable[..., dict]] = {
    "hot-pixel rejection": partial(to_counts, mask={"outliers": None}),
    "Poisson likelihood": partial(to_counts, turned=with_errors),
    "Poisson likelihood, 1/N as weights": at_face_value,
    f"nothing, {DIM:g} counts a voxel": partial(to_counts, simulation=SHORT),
    f"Poisson likelihood, {DIM:g} counts a voxel": partial(to_counts, turned=with_errors, simulation=SHORT),
    f"Poisson likelihood, 1/N as weights, {DIM:g} counts a voxel": partial(at_face_value, simulation=SHORT),
}
"""Fits to replications, each with something that counts ask for left out."""


def versions() -> dict[str, str]:
    """The machine and what ran on it."""
    found = {name: version(name) for name in ("bayestds", "jax", "jaxlib", "numpy", "scipy")}
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    return {"machine": machine, "python": platform.python_version(), **found}


def _on_one_line(numbers: re.Match) -> str:
    return f"[{' '.join(numbers[1].split())}]"


def run(crystal: str, replications: int, output: Path) -> None:
    """All fits of a crystal that are not in the results yet, each saved once it is done."""
    results = json.loads(output.read_text("utf-8")) if output.is_file() else {}
    results["versions"] = versions()
    mine = results.setdefault(crystal, {"replications": [], "left out": {}, "left out of counts": {}})
    shared = setting(crystal)

    def save(words: str) -> None:
        text = re.sub(r"\[\s+([^][{}]*?)\s+\]", _on_one_line, json.dumps(plain(results), indent=1))
        with atomic_path(output) as temporary:
            temporary.write_text(text + "\n", "utf-8")
        print(f"{crystal}: {words}", flush=True)

    mine["size"] = size_of(shared)
    save("simulated")
    for effect, fit in LEFT_OUT.items():
        if effect not in mine["left out"]:
            mine["left out"][effect] = fit(shared)
            save(f"without {effect}, chi-square {mine['left out'][effect]['chi_square']:.3g}")
    start = mine["left out"]["nothing"]["background"]
    for seed in range(len(mine["replications"]), replications):
        mine["replications"].append(to_counts(shared, seed, background=start))
        save(f"replication {seed}, chi-square {mine['replications'][-1]['chi_square']:.3g}")
    for effect, fit_seed in LEFT_OUT_OF_COUNTS.items():
        done = mine["left out of counts"].setdefault(effect, [])
        for seed in range(len(done), min(FEW, replications)):
            done.append(fit_seed(shared, seed, background=start))
            save(f"without {effect}, seed {seed}, chi-square {done[-1]['chi_square']:.3g}")
    if "as command" not in mine:
        mine["as command"] = as_command(shared, mine["replications"][0])
        save("replication 0 as the command fits it")


def main() -> None:
    """The crystals that were asked for, by default all."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crystals", nargs="*", default=list(CRYSTALS), metavar="CRYSTAL")
    parser.add_argument("--replications", type=int, default=REPLICATIONS, help="of each crystal")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "virtual_experiment.json")
    given = parser.parse_args()
    for crystal in given.crystals:
        run(crystal, given.replications, given.output)


if __name__ == "__main__":
    main()
