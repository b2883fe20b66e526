"""The command that turns a trajectory into a volume."""

import re
from pathlib import Path

import numpy as np

from bayestds.cli.assemble import build_study
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.output import check_output, print_notes, progress_bar, words
from bayestds.cli.volumes import describe, tell_written
from bayestds.config import load_model
from bayestds.crystal.supercell import Supercell
from bayestds.io import format_name, write_volume
from bayestds.io.frames import read_frames
from bayestds.scattering.simulation import empty_volume
from bayestds.scattering.snapshots import principal_strains
from bayestds.scattering.trajectory import (
    TrajectoryAverage,
    average_trajectory,
    followed_voxels,
    trajectory_volume,
)

FEW = 30
"""Fewer independent snapshots than this do not tell well how independent they are."""


def simulate_trajectory(
    model: str, trajectory: Path, output: Path | None, nufft: bool, scale: float, as_json: bool
) -> None:
    """Average |F|² over the frames of a trajectory on the model's grid, and write the volume."""
    study = build_study(load_model(model))
    target = output or Path(re.sub(r"[^\w.-]+", "_", f"{study.model.path.stem}_{trajectory.stem}.nc"))
    format_name(target)
    check_output(target, inputs=[*study.inputs, trajectory])
    supercell, engine = study.supercell(), study.sampled_engine(nufft)
    empty = empty_volume(study.axes, supercell, temperature=study.model_temperature)
    with progress_bar(trajectory.name) as tell:
        tell("reading")
        average = average_trajectory(
            engine,
            supercell,
            read_frames(trajectory),
            str(trajectory),
            followed_voxels(empty),
            lambda count: tell(f"{count:,} snapshots"),
        )
    volume = trajectory_volume(empty, engine, supercell, average, scale).assign_attrs(
        title=study.model.title, source=f"bayestds simulate, trajectory {trajectory.name}"
    )
    print_notes(crystal_notes(study.crystal))
    for sentence in account(average, supercell):
        words.print(sentence, markup=False)
    write_volume(volume, target)
    found = {
        "statistical_inefficiency": average.inefficiency,
        "drift_angstrom": average.drift,
        "strains": principal_strains(average.metric, supercell),
    }
    tell_written(describe(volume) | found, target, as_json)


def account(average: TrajectoryAverage, supercell: Supercell) -> list[str]:
    """What the snapshots say about themselves, in sentences."""
    species = sorted(set(supercell.crystal.species))
    strains = principal_strains(average.metric, supercell)
    sentences = [
        f"Snapshots: {average.intensity.count:,}, worth {average.configurations:,} independent ones "
        f"(statistical inefficiency {average.inefficiency:.2f}).",
        f"Drift of the centroid: up to {average.drift:.3g} Å, which |F|² on these voxels does not see.",
    ]
    if average.configurations < FEW:
        sentences.append("So few hardly tell their own correlation: the number of independent ones is rough.")
    if np.abs(strains).max() > 1e-6:
        sentences.append(
            f"Mean cell: strained by {strains[0]:.3%} to {strains[-1]:.3%} against the model; the volume is "
            "indexed in the mean cell."
        )
    if len(species) == 1 and average.labels - set(species):
        others = ", ".join(sorted(average.labels - set(species)))
        sentences.append(f"Labels {others} are taken for {species[0]}, the only species of the crystal.")
    return sentences
