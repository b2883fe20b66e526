"""The command that plans a measurement."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.cli.assemble import Study, build_study
from bayestds.cli.beam import refuse_instrument, scattering_factors
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.output import number, print_json, print_notes, print_table, progress_bar, words
from bayestds.config import load_model
from bayestds.diagnostics.design import (
    Option,
    Unknowns,
    advice,
    counting_information,
    exposure_factors,
    forecast,
)
from bayestds.diagnostics.per_shell import RULE
from bayestds.errors import ModelError, VolumeError
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.forward import ForwardModel
from bayestds.scattering.grid import FEWEST_POINTS, IrreducibleGrid, Mask, reduce_grid, voxel_mask
from bayestds.scattering.q_points import MeshPoints
from bayestds.scattering.simulation import empty_volume

UNITS = (
    "Exposure and beam time are in units of those of the whole grid as planned; a detector takes all |Q| at "
    "once, so that beam time is the exposure times the share of the directions of Q."
)

CAVEAT = (
    "Photon counts are the only noise here, atoms scatter as points, and the crystal is harmonic: "
    "background, form factors that fall with |Q|, and anharmonicity, which grows with temperature, come "
    "on top."
)


@dataclass(frozen=True)
class Choices:
    """What is varied, one thing at a time; for what is None or empty a choice that suits the model.

    Attributes:
        wedges: elevations above the plane, degrees.
        planes: normals (h, k, l) of planes through the origin.
        q_max, q_min: bounds of |Q|, Å⁻¹.
        temperatures: K.
        times: exposures, in units of the planned one.
    """

    wedges: list[float] | None = None
    planes: list[tuple[int, int, int]] | None = None
    q_max: list[float] | None = None
    q_min: list[float] | None = None
    temperatures: list[float] | None = None
    times: list[float] | None = None


@dataclass(frozen=True)
class Alternative:
    """A measurement: which voxels, at what temperature (K), exposed for how long."""

    mask: Mask
    temperature: float
    time: float = 1.0


@dataclass(frozen=True, eq=False)
class Scattering:
    """The scattering of the whole grid.

    Attributes:
        volume: an empty one on the grid.
        grid: its irreducible points.
        exposure: expected counts of a voxel per unit of intensity.
        by_temperature: log intensity (n_q,) and its derivative (n_q, n_irreducible), Å²/eV, at each.
    """

    volume: xr.Dataset
    grid: IrreducibleGrid
    exposure: float
    by_temperature: dict[float, tuple[np.ndarray, np.ndarray]]

    def n_voxels(self, mask: Mask, study: Study) -> np.ndarray:
        """How many voxels inside a mask belong to each point (n_q,)."""
        used = voxel_mask(self.volume, study.supercell(), mask)
        return np.bincount(self.grid.point_of_voxel[used], minlength=len(self.grid.q_points))


def plan(
    model: str, ifcs: str | None, shells: int | None, counts: float, choices: Choices, as_json: bool
) -> None:
    """Print what alternative measurements would determine."""
    study = build_study(load_model(model), shells)
    with progress_bar(study.model.path.stem) as tell:
        record = _record(study, ifcs or _planned_ifcs(study), counts, choices, tell)
    record["notes"] = crystal_notes(study.crystal)
    if as_json:
        print_json(record)
    else:
        _print(study, record)
    print_notes(record["notes"])
    for name in record["left_out"]:
        words.print(f"Left out, with fewer than {FEWEST_POINTS} points: {name}.", markup=False)


def _planned_ifcs(study: Study) -> str:
    name = (study.model.measurement and study.model.measurement.ifcs) or study.model.fit.start
    if name is None:
        raise ModelError(
            f"The model file {study.model.path} does not say which force constants to plan with.",
            "What a measurement determines depends on them; neither [measurement] nor [fit] names a set.",
            "Name one with --ifcs.",
        )
    return name


def _alternatives(planned: Alternative, q_max: float, choices: Choices) -> Iterator[tuple[str, Alternative]]:
    """Names and measurements; each changes one thing of the planned one, which comes first.

    Args:
        planned: the model's own.
        q_max: the largest |Q| that it reaches, Å⁻¹.
        choices: what is varied.
    """
    own = planned.mask

    def masked(**changes: Any) -> Alternative:
        return replace(planned, mask=replace(own, **changes))

    yield "as in the model", planned
    yield "the whole grid", replace(planned, mask=_whole(own))
    for wedge in choices.wedges or [10.0]:
        yield f"wedge of ±{wedge:g}°", masked(wedge=wedge)
    for plane in choices.planes or [(0, 0, 1), (1, 1, 0)]:
        yield f"plane normal to {' '.join(map(str, plane))}", masked(wedge=None, plane=plane)
    for limit in choices.q_max or [q_max / 4, q_max / 2]:
        yield f"|Q| up to {limit:.3g} Å⁻¹", masked(q_max=limit)
    for limit in choices.q_min or [q_max / 2]:
        yield f"|Q| from {limit:.3g} Å⁻¹", masked(q_min=limit)
    for kelvin in choices.temperatures or [planned.temperature / 2, planned.temperature * 2]:
        yield f"at {kelvin:g} K", replace(planned, temperature=kelvin)
    for time in choices.times or [0.25, 4.0]:
        yield f"{time:g} times the exposure", replace(planned, time=time)


def _record(
    study: Study, name: str, counts: float, choices: Choices, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The plan, with the keys of the JSON output.

    "alternatives": for each its "name", "temperature_K", "time" (the exposure), "beam_time", "n_voxels",
    "n_points", "stiffness_error", "ifcs" {name: {"sd", "contraction"}} and "shells" {number: {"verdict",
    "contraction", "words", "exposure_needed"}}. "shells": for each its "time_factor", the exposure that
    determines it in the model's own measurement (null: none does), and "words".
    """
    constants = study.irreducible
    values = study.stable_ifcs(name, complete=constants.n_shells == study.model.force_constants.shells)
    refuse_instrument(
        study.model,
        study.crystal,
        "Plans know photon counts of the crystal alone, and would promise too much.",
    )
    volume = empty_volume(study.axes, study.supercell())
    planned = Alternative(study.mask, study.model_temperature)
    named = list(_alternatives(planned, _longest(study, volume), choices))
    tell("scattering and its derivatives")
    temperatures = list(dict.fromkeys(alternative.temperature for _, alternative in named))
    scattering = _scattering(study, values, volume, counts, temperatures)
    tell("standard errors")
    unknowns = Unknowns(
        constants.names, constants.shells, values, study.scales_for(values), constants.self_coefficients
    )
    measured, left_out = _measured(study, scattering, unknowns, named)
    options = [option for option, _ in measured]
    return {
        "ifc_set": name,
        "counts": counts,
        "alternatives": [_entry(unknowns, option) | about for option, about in measured],
        "shells": {
            str(shell): {"time_factor": factor, "words": advice(shell, options)}
            for shell, factor in options[0].needed.items()
        },
        "left_out": left_out,
        "rule": RULE,
        "units": UNITS,
        "note": CAVEAT,
    }


def _longest(study: Study, volume: xr.Dataset) -> float:
    """The largest |Q| of the model's own measurement, Å⁻¹."""
    q_points = np.stack(np.meshgrid(*study.axes, indexing="ij"), axis=-1)
    used = voxel_mask(volume, study.supercell(), study.mask)
    if not used.any():
        raise VolumeError(
            f"The measurement of {study.model.path} has no voxels.",
            "None of its grid is inside the mask and off the Bragg peaks.",
            "Widen the [mask], or make the grid larger or finer.",
        )
    return float(np.linalg.norm(study.crystal.scattering_vectors(q_points[used]), axis=-1).max())


def _scattering(
    study: Study, values: np.ndarray, volume: xr.Dataset, counts: float, temperatures: list[float]
) -> Scattering:
    """Scattering at several temperatures; at the first of them a voxel has these mean counts."""
    supercell, phi = study.supercell(), jnp.asarray(values)
    used = voxel_mask(volume, supercell, _whole(study.mask))
    grid = reduce_grid(volume, supercell, used)
    factors, statistics = (
        scattering_factors(study.model, study.crystal, grid.q_points),
        study.model_statistics,
    )
    hottest = covariance(harmonic_crystal(study.irreducible, supercell, max(temperatures), statistics), phi)
    points = MeshPoints(supercell, grid.q_points, factors)
    lattice_sum = points.cheapest(hottest, study.model.fit.tolerance)
    scatter = jax.jit(log_intensity_and_jacobian)
    found = {}
    for kelvin in temperatures:
        crystal = harmonic_crystal(study.irreducible, supercell, kelvin, statistics)
        log_intensity, derivative = scatter(ForwardModel(crystal, (), lattice_sum, ()), phi)
        found[kelvin] = np.asarray(log_intensity), np.asarray(derivative)
    mean = np.average(np.exp(found[temperatures[0]][0]), weights=grid.multiplicity)
    return Scattering(volume, grid, counts / mean, found)


def _whole(mask: Mask) -> Mask:
    return Mask(bragg_radius=mask.bragg_radius)


def _measured(
    study: Study, scattering: Scattering, unknowns: Unknowns, named: list[tuple[str, Alternative]]
) -> tuple[list[tuple[Option, dict[str, Any]]], list[str]]:
    """Each alternative with what else is to be told of it, and the names of those without data."""
    measured, left_out, needed = {}, [], {}
    for name, alternative in named:
        mask, kelvin, time = alternative.mask, alternative.temperature, alternative.time
        if alternative in measured:
            continue
        n_voxels = scattering.n_voxels(mask, study)
        n_points = int((n_voxels > 0).sum())
        if n_points < FEWEST_POINTS:
            left_out.append(name)
            continue
        information = counting_information(*scattering.by_temperature[kelvin], n_voxels, scattering.exposure)
        if (mask, kelvin) not in needed:
            needed[mask, kelvin] = exposure_factors(unknowns, information)
        directions = scattering.n_voxels(replace(mask, q_min=0.0, q_max=np.inf), study).sum()
        share = float(directions / scattering.grid.multiplicity.sum())
        option = Option(name, share, time, forecast(unknowns, time * information), needed[mask, kelvin])
        about = {"temperature_K": kelvin, "n_voxels": int(n_voxels.sum()), "n_points": n_points}
        measured[alternative] = option, about
    return list(measured.values()), left_out


def _entry(unknowns: Unknowns, option: Option) -> dict[str, Any]:
    expected = option.forecast
    return {
        "name": option.name,
        "time": option.exposure,
        "beam_time": option.beam_time,
        "stiffness_error": expected.stiffness,
        "ifcs": {
            name: {"sd": constant.sd, "contraction": constant.contraction}
            for name, constant in zip(unknowns.names, expected.constants, strict=True)
        },
        "shells": {
            str(shell): {
                "verdict": found.verdict,
                "contraction": found.contraction,
                "words": found.words,
                "exposure_needed": option.needed[shell],
            }
            for shell, found in expected.shells.items()
        },
    }


def _print(study: Study, record: dict[str, Any]) -> None:
    alternatives, shells = record["alternatives"], list(record["shells"])
    numbered = [f"{i} {a['name']}" for i, a in enumerate(alternatives, 1)]
    print_table(
        f"{study.model.title}: what alternatives to its measurement would determine",
        ("measurement", "beam time", "voxels", *(f"shell {shell}" for shell in shells)),
        [
            (name, f"{a['beam_time']:.2g}", str(a["n_voxels"]), *(a["shells"][s]["verdict"] for s in shells))
            for name, a in zip(numbered, alternatives, strict=True)
        ],
    )
    print_table(
        "Contraction from prior to posterior, and the exposure from which on the shell is determined",
        ("measurement", "stiffness ±", *(f"shell {shell}" for shell in shells)),
        [
            (name, f"{a['stiffness_error']:.2g}", *(_contraction(a["shells"][s]) for s in shells))
            for name, a in zip(numbered, alternatives, strict=True)
        ],
    )
    print_table(
        "Expected standard errors (1e-4 eV/Å²), by number of the measurement",
        ("IFC", *(str(i) for i in range(1, len(alternatives) + 1))),
        [
            (name, *(_short(1e4 * a["ifcs"][name]["sd"]) for a in alternatives))
            for name in alternatives[0]["ifcs"]
        ],
    )
    for shell in shells:
        print(record["shells"][shell]["words"])
    print(
        f"IFC set {record['ifc_set']}; {record['counts']:g} counts in the mean voxel of the whole grid as "
        f"planned. {UNITS}"
    )
    print(RULE)
    print(CAVEAT)


def _contraction(shell: dict[str, Any]) -> str:
    needed = shell["exposure_needed"]
    return f"{number(shell['contraction'], 4)} ({_short(needed) if np.isfinite(needed) else 'never'})"


def _short(value: float) -> str:
    """Two digits, or all those before the point."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
