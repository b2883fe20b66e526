"""The command that simulates."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import xarray as xr

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.output import check_output, print_notes, progress_bar
from bayestds.cli.volumes import describe, tell_written
from bayestds.config import load_model
from bayestds.crystal.supercell import Supercell
from bayestds.errors import ModelError, ResultError
from bayestds.io import format_name, write_volume
from bayestds.io.checkpoint import checkpoint_path, fingerprint, load_checkpoint, save_checkpoint
from bayestds.lattice_dynamics.displacements import cell_differences
from bayestds.memory import too_much
from bayestds.scattering.detection import counted_volume, unmeasured_volume, with_hot_pixels
from bayestds.scattering.simulation import (
    IntensitySum,
    averaged_volume,
    displacement_root,
    empty_volume,
    no_configurations,
    sample_intensity,
    stable_crystal,
)

SECONDS_BETWEEN_CHECKPOINTS = 20.0


@dataclass(frozen=True)
class Sampling:
    """How configurations are drawn.

    Attributes:
        configurations: number of configurations.
        seed: of the random numbers.
        dense: factorise the Hessian of the whole supercell instead of a block for each wave vector.
        nufft: structure factors by nonuniform FFT instead of the separable product.
    """

    configurations: int
    seed: int
    dense: bool
    nufft: bool


def simulate(
    model: str,
    output: Path | None,
    ifcs: str | None,
    engine: str,
    sampling: Sampling,
    scale: float,
    counts: float | None,
    as_json: bool,
) -> None:
    """Simulate a volume and write it."""
    study = build_study(load_model(model), invariant=False)
    name = ifcs_name(study, ifcs)
    stem = f"{study.model.path.stem}_{name}" + ("" if engine == "exact" else f"_{engine}")
    target = output or Path(re.sub(r"[^\w.-]+", "_", f"{stem}.nc"))
    format_name(target)
    check_output(target, inputs=study.inputs)
    if engine == "sampled":
        volume = _sampled(study, name, sampling, scale, target)
    else:
        volume = detected(study, study.simulated(name, scale, engine), counts, sampling.seed)
    write_volume(volume, target)
    checkpoint_path(target).unlink(missing_ok=True)
    print_notes(crystal_notes(study.crystal))
    tell_written(describe(volume), target, as_json)


def ifcs_name(study: Study, given: str | None) -> str:
    """The IFC set that is simulated: the one given, or the measurement's own."""
    measurement = study.model.measurement
    name = given or (measurement.ifcs if measurement else None)
    if name is None:
        raise ModelError(
            f"The model file {study.model.path} does not say which force constants to simulate.",
            "Its [measurement] has no `ifcs`.",
            f"Choose one with --ifcs: {', '.join(study.model.ifcs) or 'it defines none'}.",
        )
    return name


def _sum_so_far(checkpoint: Path, made_from: str, nothing: IntensitySum) -> IntensitySum:
    """The sum in a checkpoint; nothing where there is none of this very simulation."""
    try:
        stored, _ = load_checkpoint(checkpoint, made_from, nothing)
    except ResultError:
        return nothing
    return IntensitySum(stored.total, int(stored.count))


def detected(study: Study, volume: xr.Dataset, counts: float | None, seed: int) -> xr.Dataset:
    """What the detector of the model's [simulation] makes of an ideal volume."""
    given = study.model.simulation
    if given.unmeasured or given.gaps:
        volume = unmeasured_volume(volume, study.crystal, given.unmeasured, given.gaps)
    mean_counts = counts or given.counts
    if mean_counts is None:
        return volume
    volume = counted_volume(volume, mean_counts, seed)
    return with_hot_pixels(volume, given.hot_pixels, seed) if given.hot_pixels else volume


def _sampled(study: Study, name: str, sampling: Sampling, scale: float, target: Path) -> xr.Dataset:
    """Mean over random configurations; goes on from the checkpoint of an earlier run that was cut off."""
    supercell, values, temperature = study.supercell(), study.stable_ifcs(name), study.model_temperature
    statistics = study.model_statistics
    empty = empty_volume(study.axes, supercell, temperature=temperature, statistics=statistics)
    crystal = stable_crystal(study.irreducible, values, supercell, temperature, statistics)
    if sampling.dense:
        _check_hessian(supercell)
    differences = cell_differences(supercell) if sampling.dense else None
    root = displacement_root(crystal, jnp.asarray(values), differences)
    engine = study.sampled_engine(sampling.nufft)
    made_from = fingerprint(engine, root, vars(sampling))
    checkpoint = checkpoint_path(target)
    running = _sum_so_far(checkpoint, made_from, no_configurations(engine))
    saved = time.monotonic()
    with progress_bar(study.model.path.stem) as tell:
        tell(f"going on from {running.count:,} configurations" if running.count else "compiling")
        sums = sample_intensity(
            engine, root, crystal.grid_shape, sampling.seed, sampling.configurations, running
        )
        for running in sums:
            tell(
                f"{running.count:,} of {sampling.configurations:,} configurations",
                int(running.count) / sampling.configurations,
            )
            if time.monotonic() > saved + SECONDS_BETWEEN_CHECKPOINTS:
                save_checkpoint(checkpoint, made_from, running)
                saved = time.monotonic()
    sampler = "dense" if sampling.dense else "block"
    return averaged_volume(empty, engine, running, scale).assign_attrs(
        title=study.model.title,
        source=f"bayestds simulate, IFC set {name}, sampled, {sampler} Cholesky",
        seed=sampling.seed,
    )


def _check_hessian(supercell: Supercell) -> None:
    """Refuse a dense Hessian that does not fit into memory, with its factor and the table that fills it."""
    n_atoms = supercell.n_cells * supercell.crystal.n_atoms
    if reason := too_much(4 * 8 * 9 * n_atoms**2 + 16 * 8 * supercell.n_cells**2):
        raise ModelError(
            f"The dense Hessian of the supercell has {3 * n_atoms:,} rows.",
            reason,
            "Use --sampler block, which factorises wave vector by wave vector.",
        )
