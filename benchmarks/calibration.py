"""Are the error bars honest? Ranks, coverage and verdicts over simulated data, each replication reported.

Studies of benchmarks/calibration.toml:

ranks       truth from the prior within the stable region, log-normal noise, posterior by NUTS
log-normal  fixed truth, log-normal noise of known size, normal intervals of the point fit and those of NUTS
photons     fixed truth, Poisson counts with σ = √counts, normal intervals
pooled      the same counts, but those of equivalent voxels added up, without weights
ensemble    fixed truth, mean over 5,000 configurations, normal intervals of the fit with ensemble noise
subtracted  fixed truth, Poisson counts less a background, σ from counts, voxels measured for different times
symmetrised the same, averaged over the Laue group before, with the errors of the average
learned     fixed truth, log-normal noise of known size, whose level the fit is not told
scale       the same with a prior whose scale is learned, normal intervals and those of NUTS

Replication n of a study draws its random numbers from the seed (SEED, study, n), fixed beforehand. Each is
saved once it is done, and a run that was cut off goes on where it was. calibration_page.py writes the page
docs/calibration.md from the results.

Usage: python benchmarks/calibration.py [STUDY ...] [--replications N] [-o FOLDER]
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.diagnostics.calibration import (
    Claim,
    claim,
    covered,
    draws_intervals,
    normal_intervals,
    ranks,
)
from bayestds.diagnostics.per_shell import (
    ConstantSummary,
    stiffness_error,
    summarise_draws,
    summarise_normal,
    summarise_shells,
)
from bayestds.inference.ascent import Newton, newton
from bayestds.inference.fit_result import PointFit
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.log_normal import LogNormal, learned_log_normal
from bayestds.inference.model import PARAMETERS, Observation
from bayestds.inference.nuts import Draws, Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import Target, make_target, sample_posterior
from bayestds.inference.priors import prior_draws
from bayestds.inference.problem import Problem
from bayestds.inference.rounds import curvature, refine
from bayestds.inference.sums import direct_model
from bayestds.io.atomic import atomic_path
from bayestds.lattice_dynamics.harmonic import stable
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.simulation import (
    averaged_volume,
    displacement_root,
    no_configurations,
    sample_intensity,
)
from bayestds.scattering.volume import AXES

HERE = Path(__file__).parent
SEED = 20261125
STUDIES = {
    "ranks": 300,
    "log-normal": 200,
    "photons": 200,
    "ensemble": 200,
    "pooled": 200,
    "subtracted": 200,
    "symmetrised": 200,
    "learned": 200,
    "scale": 200,
}
"""Replications of each study."""

LEVELS = (0.5, 0.8, 0.95)
SAMPLING = {"chains": 4, "draws": 250, "warmup": 150}
THINNED = 99
"""Draws that the truth is ranked among, of the 1,000: far enough apart to be nearly independent."""

NOISE_RANGE = (0.05, 0.5)
"""Relative noise of one voxel in the study of ranks, log-uniform: as of 400 to 4 counts."""

NOISE, FAINTEST, CONFIGURATIONS = 0.05, 100, 5000
"""Relative noise of a voxel, mean counts of the faintest voxel, and configurations of the other studies."""


SIGNAL, BACKGROUND, LONGEST = 15.0, 20.0, 2.0
"""Mean counts of a voxel, those of the background that is subtracted, and the factor between the times for
which voxels are measured: 5 % of the voxels are then negative."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What all replications share.

    Attributes:
        study: the model.
        truth: (n_irreducible,) the fixed one, eV/Å².
        volume: its intensities without noise.
        problem: the fit to that.
        forward: with the direct engine, accurate for any force constants.
    """

    study: Study
    truth: np.ndarray
    volume: xr.Dataset
    problem: Problem
    forward: ForwardModel


@cache
def setting() -> Setting:
    """The setting of the model file."""
    study = build_study(load_model(HERE / "calibration.toml"))
    volume = study.own_volume()
    problem = study.problem(volume, "the volume")
    truth = study.ifcs(study.model.measurement.ifcs)
    forward = direct_model(problem, problem.volumes[0], jnp.asarray(truth))
    return Setting(study, truth, volume, problem, forward)


def generator(study: str, number: int) -> np.random.Generator:
    """Random numbers of one replication."""
    return np.random.default_rng([SEED, list(STUDIES).index(study), number])


@cache
def truths(n: int) -> np.ndarray:
    """Draws from the prior within the stable region; more of them begin with the same."""
    crystal, prior = setting().forward.crystal, setting().problem.prior()
    return prior_draws(prior, [(crystal, np.eye(crystal.n_irreducible))], n, SEED)["irreducible"]


def log_normal_data(truth: np.ndarray, noise: float, rng: np.random.Generator) -> LogNormal:
    """Log intensities with normal errors of known variance, as the model has it.

    The posterior does not depend on the scale, which is therefore 1.
    """
    weight = setting().problem.volumes[0].grid.multiplicity / noise**2
    expected = np.asarray(log_intensity(setting().forward, jnp.asarray(truth)))
    observed = expected + rng.normal(size=len(weight)) / np.sqrt(weight)
    return LogNormal(jnp.asarray(observed), jnp.asarray(weight))


def local_target(data: Likelihood, start: np.ndarray) -> Target:
    """The posterior in coordinates whitened near its mode, by Newton's steps from a stable start.

    Coordinates are a matter of speed alone, so it does no harm that some end before they are at the mode. The
    direct engine serves all replications, so that nothing is compiled twice.
    """
    forward, problem, location = setting().forward, setting().problem, jnp.asarray(start)
    scales = jnp.asarray(problem.prior_scales)

    def step_at(location: Array) -> Newton:
        here = curvature(forward, data, location)
        return newton(here.information, here.slope, location, scales)

    for _ in range(10):
        here = step_at(location)
        if here.converged:
            break
        step = here.step
        while not stable(forward.crystal, location + step):
            step = step / 2
        location = location + step
    unit = np.linalg.inv(np.linalg.cholesky(np.asarray(step_at(location).precision))).T
    volume = Observation(forward, data, jnp.eye(len(unit)), "")
    return Target({PARAMETERS: (location, jnp.asarray(unit))}, (volume,), problem.prior())


@jax.jit
def log_likelihoods(forward: ForwardModel, data: Likelihood, draws: Array) -> Array:
    """Log-likelihood of each draw (n_draws, n_irreducible)."""
    return jax.lax.map(lambda phi: data.log_likelihood(log_intensity(forward, phi)), draws)


def mixing(draws: Draws) -> dict:
    """How well the chains have mixed."""
    values = draws.sites["irreducible"]
    return {
        "r_hat": float(split_gelman_rubin(values).max()),
        "ess": float(effective_sample_size(values).min()),
        "divergences": int(draws.statistics["diverging"].sum()),
        "steps": float(draws.statistics["n_steps"].mean()),
    }


def ranked(number: int) -> dict:
    """Rank of the truth in its posterior, and what a report would say of it."""
    rng = generator("ranks", number)
    truth = truths(STUDIES["ranks"])[number]
    noise = float(np.exp(rng.uniform(*np.log(NOISE_RANGE))))
    data = log_normal_data(truth, noise, rng)
    target = local_target(data, truth)
    draws = sample_posterior(target, Sampling(**SAMPLING, seed=number))
    flat = draws.sites["irreducible"].reshape(-1, len(truth))
    thinned = flat[:: len(flat) // THINNED][:THINNED]
    points = np.concatenate([truth[None], thinned])
    likelihoods = np.asarray(log_likelihoods(setting().forward, data, jnp.asarray(points)))
    # Last the log-likelihood: constants alone would not tell a posterior from the prior.
    quantities = np.column_stack([points, likelihoods])
    return {
        "noise": noise,
        "truth": truth,
        "mean": flat.mean(axis=0),
        "sd": flat.std(axis=0, ddof=1),
        "ranks": ranks(quantities[0], quantities[1:]),
        "claims": claims(
            truth, summarise_draws(flat, setting().problem.prior_scales), flat.mean(axis=0), np.cov(flat.T)
        ),
        **mixing(draws),
    }


def claims(
    truth: np.ndarray, constants: list[ConstantSummary], mean: np.ndarray, covariance: np.ndarray
) -> dict[str, list]:
    """What `bayestds summary` says of the constants, against the truth, in columns."""
    irreducible, prior_sd = setting().problem.irreducible, setting().problem.prior_scales
    stiffness = stiffness_error(irreducible.self_coefficients, mean, covariance)
    shells = summarise_shells(
        irreducible.names, irreducible.shells, constants, covariance, prior_sd, stiffness
    )
    shell_of = [shells[shell] for shell in irreducible.shells.tolist()]
    numbers = truth.tolist(), prior_sd.tolist()
    made = [claim(*row) for row in zip(constants, shell_of, *numbers, strict=True)]
    return {field.name: [getattr(one, field.name) for one in made] for field in fields(Claim)}


def intervals_of(fit: PointFit) -> dict:
    """Errors of a point fit, what it claims, and whether its intervals hold the truth."""
    error = fit.irreducible - setting().truth
    sd = np.sqrt(np.diag(fit.covariance))
    constants = summarise_normal(fit.irreducible, sd, setting().problem.prior_scales)
    return {
        "converged": fit.converged,
        "sd": sd,
        "claims": claims(setting().truth, constants, fit.irreducible, fit.covariance),
        "chi_square": float(error @ np.linalg.solve(fit.covariance, error)),
        "normal": covered(setting().truth, normal_intervals(fit.irreducible, sd, LEVELS)),
    }


def with_log_normal_noise(number: int) -> dict:
    """Point fit and posterior for log-normal noise of known size."""
    data = log_normal_data(setting().truth, NOISE, generator("log-normal", number))
    problem = setting().problem.with_volume(likelihood=data)
    fit = refine(problem, setting().truth)
    target = make_target(fit, setting().problem.prior())
    draws = sample_posterior(target, Sampling(**SAMPLING, seed=number))
    flat = draws.sites["irreducible"].reshape(-1, len(setting().truth))
    sampled = covered(setting().truth, draws_intervals(flat, LEVELS))
    return intervals_of(fit) | {"sampled": sampled} | mixing(draws)


def counted(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts at every voxel, and where there are any."""
    expected = setting().volume["intensity"].values
    measured = np.isfinite(expected)
    expected = expected * FAINTEST / np.nanmin(expected)
    return generator("photons", number).poisson(np.where(measured, expected, 1.0)), measured


def with_photons(number: int) -> dict:
    """Point fit to counts, by the way of a measured volume."""
    counts, measured = counted(number)
    intensity = np.where(measured, counts, np.nan)
    volume = setting().volume.assign(intensity=(AXES, intensity), sigma=(AXES, np.sqrt(intensity)))
    return intervals_of(refine(setting().study.problem(volume, "counts"), setting().truth))


def with_pooled_photons(number: int) -> dict:
    """Point fit to the sums of the counts of equivalent voxels."""
    counts, measured = counted(number)
    grid = setting().problem.volumes[0].grid
    total = np.bincount(grid.point_of_voxel[measured], counts[measured])
    data = LogNormal(jnp.asarray(np.log(total / grid.multiplicity)), jnp.asarray(total))
    return intervals_of(refine(setting().problem.with_volume(likelihood=data), setting().truth))


def with_ensemble(number: int) -> dict:
    """Fit with ensemble noise to a mean over configurations."""
    study, truth = setting().study, setting().truth
    root = displacement_root(setting().forward.crystal, jnp.asarray(truth))
    seed = int(generator("ensemble", number).integers(2**31))
    grid_shape, engine = setting().forward.crystal.grid_shape, study.sampled_engine()
    nothing = no_configurations(engine)
    *_, total = sample_intensity(engine, root, grid_shape, seed, CONFIGURATIONS, nothing)
    volume = averaged_volume(setting().volume, engine, total, 1.0)
    problem = study.problem(volume, "ensemble").with_volume(configurations=CONFIGURATIONS)
    return intervals_of(point_fit(problem, truth))


def less_background(study: str, number: int) -> xr.Dataset:
    """A volume of counts over the time that each voxel was measured for, less a known background."""
    rng, signal = generator(study, number), setting().volume["intensity"].values
    measured = np.isfinite(signal)
    signal = np.where(measured, signal * SIGNAL / np.nanmean(signal), 1.0)
    time_each = rng.uniform(1 / LONGEST, LONGEST, signal.shape)
    counts = rng.poisson((signal + BACKGROUND) * time_each)
    intensity = np.where(measured, counts / time_each - BACKGROUND, np.nan)
    volume = setting().volume.assign(intensity=(AXES, intensity), sigma=(AXES, np.sqrt(counts) / time_each))
    return volume.drop_attrs().assign_attrs(statistics="classical")


def by_default(volume: xr.Dataset) -> Problem:
    """The fit to a volume of weak data, with a prior whose scale is learned, as it is by default."""
    return replace(setting().study.problem(volume, "the volume"), learns_scale=True)


def with_subtracted_background(number: int) -> dict:
    """Point fit to intensities with errors, some of them negative."""
    volume = less_background("subtracted", number)
    fit = refine(by_default(volume), setting().truth)
    measured = volume["intensity"].values
    negative = float((measured[np.isfinite(measured)] < 0).mean())
    return intervals_of(fit) | {"negative": negative}


def with_symmetrised_file(number: int) -> dict:
    """Point fit to a volume that was averaged over the Laue group before."""
    volume = less_background("symmetrised", number)
    point = setting().problem.volumes[0].grid.point_of_voxel
    used = point >= 0
    weight = volume["sigma"].values[used] ** -2.0
    # As a program that does not know better would do it: with equal weights.
    n = np.bincount(point[used])
    mean = np.bincount(point[used], volume["intensity"].values[used]) / n
    error = np.sqrt(np.bincount(point[used], 1 / weight)) / n
    values = {"intensity": mean, "sigma": error}
    volume = volume.assign({key: (AXES, np.where(used, x[point], np.nan)) for key, x in values.items()})
    return intervals_of(refine(by_default(volume), setting().truth))


def with_learned_noise(number: int) -> dict:
    """Point fit to log-normal noise whose level is learned."""
    data = log_normal_data(setting().truth, NOISE, generator("learned", number))
    learned = learned_log_normal(
        data.log_intensity, setting().problem.volumes[0].grid.multiplicity.astype(float)
    )
    return intervals_of(refine(setting().problem.with_volume(likelihood=learned), setting().truth))


def with_learned_scale(number: int) -> dict:
    """Point fit and posterior with a prior whose scale is learned."""
    data = log_normal_data(setting().truth, NOISE, generator("scale", number))
    scales = setting().problem.given_scales
    problem = replace(setting().problem, given_scales=scales / scales[0], learns_scale=True)
    fit = refine(problem.with_volume(likelihood=data), setting().truth)
    draws = sample_posterior(make_target(fit, problem.prior()), Sampling(**SAMPLING, seed=number))
    flat = draws.sites["irreducible"].reshape(-1, len(setting().truth))
    sampled = covered(setting().truth, draws_intervals(flat, LEVELS))
    return intervals_of(fit) | {"sampled": sampled} | mixing(draws)


REPLICATE: dict[str, Callable[[int], dict]] = {
    "ranks": ranked,
    "log-normal": with_log_normal_noise,
    "photons": with_photons,
    "ensemble": with_ensemble,
    "pooled": with_pooled_photons,
    "subtracted": with_subtracted_background,
    "symmetrised": with_symmetrised_file,
    "learned": with_learned_noise,
    "scale": with_learned_scale,
}


def plain(value: object) -> object:
    """A number or array as JSON has it, to six digits."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    return float(f"{value:.6g}") if isinstance(value, float | np.floating) else value


def results_of(study: str, folder: Path) -> list[dict]:
    """Replications that are done."""
    path = folder / f"calibration_{study}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def run(study: str, replications: int, folder: Path) -> list[dict]:
    """All replications of a study; the missing ones are done now, and saved one by one."""
    records = results_of(study, folder)
    for number in range(len(records), replications):
        began = time.perf_counter()
        record = plain({"number": number, **REPLICATE[study](number)})
        records.append({**record, "seconds": round(time.perf_counter() - began, 2)})
        with atomic_path(folder / f"calibration_{study}.json") as temporary:
            temporary.write_text("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n", "utf-8")
        print(f"{study}: {number + 1} of {replications}, {records[-1]['seconds']:.1f} s", flush=True)
    return records


def main() -> None:
    """The studies that were asked for, by default all."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", default=list(STUDIES), metavar="STUDY")
    parser.add_argument("--replications", type=int, help="at most so many of each")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results", help="folder of the results")
    given = parser.parse_args()
    for study in given.studies:
        run(study, min(given.replications or STUDIES[study], STUDIES[study]), given.output)


if __name__ == "__main__":
    main()
