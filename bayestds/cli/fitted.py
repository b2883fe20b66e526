"""A model fitted to a volume, as the commands `fit` and `sample` begin."""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from bayestds.cli.assemble import NOISE_FREE_SIGMA, Study
from bayestds.cli.output import plain
from bayestds.diagnostics.cubic import Anharmonicity, compare_fits
from bayestds.diagnostics.dataset import point_fit_tree
from bayestds.diagnostics.equivalents import symmetrised_note
from bayestds.diagnostics.residuals import ResidualReport, residual_report, zone_labels
from bayestds.inference.fit_result import PointFit
from bayestds.inference.point_fit import point_fit
from bayestds.inference.predictive import star_labels
from bayestds.inference.problem import Problem, Volume
from bayestds.inference.rounds import with_cubic
from bayestds.inference.uncertainty import Uncertainty, clustered
from bayestds.io.checkpoint import fingerprint
from bayestds.scattering.agreement import Agreement
from bayestds.scattering.averaging import Observations
from bayestds.scattering.zeros import zero_notes


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model fitted to a volume.

    Attributes:
        volume: the data.
        problem: what was fitted.
        result: the point fit.
        uncertainty: its errors.
        agreement: of equivalent voxels.
        notes: sentences on how the volume was read and what was made of it.
        columns: further values by irreducible constant.
        residuals: statistics of the residuals.
        tree: all of it as a result file holds it.
        exact: whether the volume is free of noise, as it claims.
        noise_after_all: whether the volume claims to be free of noise and is not.
        cubic_columns: further values by third-order constant.
        anharmonicity: what third-order constants explain, None without any.
    """

    volume: xr.Dataset
    problem: Problem
    result: PointFit
    uncertainty: Uncertainty
    agreement: Agreement
    notes: list[str]
    columns: dict[str, np.ndarray]
    residuals: ResidualReport
    tree: xr.DataTree
    exact: bool
    noise_after_all: bool
    cubic_columns: dict[str, np.ndarray]
    anharmonicity: Anharmonicity | None

    @property
    def noise(self) -> str:
        """Where the size of the noise comes from, in a word."""
        return "assumed" if self.exact else self.measured.likelihood.noise

    @property
    def measured(self) -> Volume:
        """The volume as it was fitted."""
        return self.problem.volumes[0]


def run_fit(
    study: Study,
    volume: Path | None,
    start: str | None,
    tell: Callable[[str], None],
    data: xr.Dataset | None = None,
    group: str | None = None,
) -> Fitted:
    """Point fit of a study to a volume, by default to the model's own measurement.

    Args:
        study: crystal, force constants and priors.
        volume: the data file.
        start: named IFC set to start from; the model's own by default.
        tell: called with what is going on.
        data: what the file holds, where it was read before.
        group: path of the volume inside the file.
    """
    begin = start_values(study, start)
    if data is None:
        tell("reading data" if volume else "simulating the model's own measurement")
        data = study.read(volume, group) if volume else study.own_volume()
    tell("averaging equivalent voxels")
    name = str(volume or "The model's own measurement")
    observations = study.observations(data, name)
    problem = study.problem(data, name, observations)
    given = problem.volumes[0]
    digest = {"data_digest": fingerprint(given.grid.q_points, given.likelihood.observed)}
    harmonic, result = _both_fits(problem, begin, tell)
    stated = given.configurations or study.model.fit.noise is not None
    claims_no_noise = data.attrs.get("noise") == "none" and not stated
    exact = claims_no_noise and result.residual_rms < NOISE_FREE_SIGMA
    if claims_no_noise and not exact:
        learned = problem.with_volumes(given.with_learned_noise)
        harmonic, result = _both_fits(learned, result.irreducible, tell)
    problem = result.problem
    tell("standard errors and residuals")
    grid = given.grid
    zones = zone_labels(grid.q_points, study.crystal)
    found = _uncertainty(problem, result, observations, zones, exact, claims_no_noise)
    columns, cubic_columns = standard_errors(found, len(begin))
    columns |= {"start": begin} | _reference(study) | _harmonic_columns(harmonic)

    def report(fit: PointFit) -> ResidualReport:
        return residual_report(fit.volumes[0].residual, grid.point_of_voxel, grid.axes, zones, study.crystal)

    residuals, anharmonicity = report(result), None
    if harmonic is not None:
        anharmonicity = compare_fits(study.irreducible.names, harmonic, result, report(harmonic), residuals)
    attributes = _attributes(study, volume, problem) | digest
    kept = {"residuals": residuals, "anharmonicity": anharmonicity}
    attributes |= {key: json.dumps(plain(asdict(one))) for key, one in kept.items() if one is not None}
    tree = point_fit_tree(problem, result, found, columns, attributes, cubic_columns)
    notes = volume_notes(data, observations)
    return Fitted(
        data, problem, result, found, observations.agreement, notes, columns, residuals, tree, exact,
        claims_no_noise and not exact, cubic_columns, anharmonicity,
    )  # fmt: skip


def _attributes(study: Study, volume: Path | None, problem: Problem) -> dict[str, str]:
    """What a result says of where it is from."""
    return {
        "model": study.model.path.stem,
        "model_text": study.model.text,
        "data": str(volume or ""),
        "statistics": problem.volumes[0].statistics,
        "command": shlex.join(["bayestds", *sys.argv[1:]]),
    }


def _harmonic_columns(fit: PointFit | None) -> dict[str, np.ndarray]:
    """Constants and errors of the harmonic fit beside one with third-order constants, where there is one."""
    if fit is None:
        return {}
    return {"harmonic": fit.irreducible, "harmonic_standard_error": np.sqrt(np.diag(fit.covariance))}


def volume_notes(volume: xr.Dataset, observations: Observations) -> list[str]:
    """Sentences on how a volume was read and what was made of it."""
    read = list(volume.encoding.get("notes", []))
    return [*read, *zero_notes(observations.zeros), *symmetrised_note(observations.agreement)]


def _both_fits(
    problem: Problem, start: np.ndarray, tell: Callable[[str], None]
) -> tuple[PointFit | None, PointFit]:
    """The harmonic fit of a problem with third-order constants, None of any other, and the fit."""
    if problem.third_order is None:
        return None, point_fit(problem, start, tell)
    harmonic = point_fit(problem.harmonic, start, tell)
    tell("third-order constants")
    return harmonic, with_cubic(problem, harmonic, tell)


def start_values(study: Study, name: str | None) -> np.ndarray:
    """Starting values; constants of shells that a set does not know start at 0."""
    name = name or study.model.fit.start or "zero"
    if name == "zero" and "zero" not in study.model.ifcs:
        return np.zeros(study.irreducible.n_irreducible)
    return study.stable_ifcs(name, complete=study.irreducible.n_shells == study.model.force_constants.shells)


def _reference(study: Study) -> dict[str, np.ndarray]:
    """The set that the model compares its constants with, as a column."""
    reference = study.model.fit.reference
    return {} if reference is None else {"reference": study.ifcs(reference, complete=False)}


def _uncertainty(
    problem: Problem,
    result: PointFit,
    observations: Observations,
    zones: np.ndarray,
    exact: bool,
    claims_no_noise: bool,
) -> Uncertainty:
    """Errors of a fit; none are clustered where the noise model has correlations of its own."""
    measured = result.volumes[0]
    learned = measured.volume.likelihood.noise == "learned"
    chi_square = result.reduced_chi_square
    if learned:
        chi_square = observations.agreement.chi_square(
            measured.residual,
            observations.independent,
            len(result.parameters),
            NOISE_FREE_SIGMA if claims_no_noise else 0.0,
        )
    star = zone = None
    if not measured.correlated and result.stable:
        priors, scores = np.diag(problem.constant_scales**-2.0), measured.scores(problem.n_constants)
        stars = star_labels(problem.supercell, measured.volume.grid.q_points)
        star, zone = (clustered(result.precision, priors, [(scores, labels)]) for labels in (stars, zones))
    return Uncertainty(result.covariance, star, zone, chi_square, not learned, exact)


def standard_errors(found: Uncertainty, n: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Standard errors of each kind, of the first n constants and of the others."""
    kinds = {
        "plain_standard_error": found.plain,
        "star_standard_error": None if found.star is None else found.star.covariance,
        "clustered_standard_error": None if found.zone is None else found.zone.covariance,
    }
    nothing = np.full(len(found.plain), np.nan)
    errors = {
        name: nothing if covariance is None else np.sqrt(np.diag(covariance))
        for name, covariance in kinds.items()
    }
    return {name: x[:n] for name, x in errors.items()}, {name: x[n:] for name, x in errors.items()}
