"""The record of a fit: what its JSON output says, and the attributes of its result."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from bayestds.cli.assemble import Study
from bayestds.cli.crystal import crystal_notes
from bayestds.cli.cubic import cubic_values
from bayestds.cli.fit_warnings import conflict_with_prior
from bayestds.cli.fitted import Fitted
from bayestds.cli.output import plain
from bayestds.diagnostics.cautions import uncertainty_record
from bayestds.diagnostics.dataset import ERRORS
from bayestds.diagnostics.equivalents import agreement_record
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.fit_result import VolumeFit
from bayestds.inference.problem import Volume


def fit_record(study: Study, fitted: Fitted) -> dict[str, Any]:
    """Everything that `bayestds fit --json` says of a fit, but for warnings and what the command adds."""
    constants, problem, result, columns = study.irreducible, fitted.problem, fitted.result, fitted.columns
    volume, measured = fitted.measured, result.volumes[0]
    n, covariance = constants.n_irreducible, fitted.uncertainty.covariance
    values = {"value": result.irreducible, "sd": np.sqrt(np.diag(covariance))[:n]}
    values |= {key: columns[name] for key, name in ERRORS.items()}
    values |= {key: columns[key] for key in ("start", "reference") if key in columns}
    ifcs = {
        name: {"shell": int(constants.shells[i]), **{key: float(column[i]) for key, column in values.items()}}
        for i, name in enumerate(constants.names)
    }
    return {
        "converged": result.converged,
        "message": result.message,
        "ifcs": ifcs,
        "cubic": cubic_values(problem, result, covariance, fitted.cubic_columns),
        "anharmonicity": fitted.anharmonicity and asdict(fitted.anharmonicity),
        "background": background_record(volume, measured.background, result.background_standard_errors[0]),
        **self_terms_record(constants, result.irreducible, covariance[:n, :n]),
        "loss": result.residual_rms**2,
        "residual_rms": result.residual_rms,
        "residuals": asdict(fitted.residuals),
        "noise": fitted.noise,
        "relative_noise": _relative_noise(measured),
        "reduced_chi_square": fitted.uncertainty.chi_square,
        **uncertainty_record(fitted.uncertainty),
        "prior_conflict": list(conflict_with_prior(fitted)),
        "equivalents": agreement_record(fitted.agreement),
        "notes": _notes(fitted),
        "n_points": volume.n_points,
        "n_voxels": int(volume.grid.multiplicity.sum()),
        "n_rejected": volume.grid.n_rejected,
        "temperature_K": volume.temperature,
        "statistics": volume.statistics,
        "expansion_error": {
            "largest": float(np.abs(measured.truncation.error).max()),
            "median": float(np.median(np.abs(measured.truncation.error))),
            "n_checked": len(measured.truncation.error),
            "corrected": bool(measured.truncation.offset.any()),
            "imaginary_time": measured.imaginary_time_error,
        },
    }


def self_terms_record(
    constants: IrreducibleForceConstants, irreducible: np.ndarray, covariance: np.ndarray
) -> dict[str, dict[str, float]]:
    """Self terms by the acoustic sum rule and their standard errors, by name, eV/Å².

    Args:
        constants: what the values mean.
        irreducible: (n_irreducible,) eV/Å².
        covariance: (n_irreducible, n_irreducible) eV²/Å⁴.
    """
    rows = constants.self_coefficients
    errors = np.sqrt(np.einsum("si,ij,sj->s", rows, covariance, rows))
    return {
        "self_terms": dict(zip(constants.self_names, (rows @ irreducible).tolist(), strict=True)),
        "self_terms_sd": dict(zip(constants.self_names, errors.tolist(), strict=True)),
    }


def background_record(
    volume: Volume, strengths: np.ndarray, errors: np.ndarray
) -> dict[str, dict[str, float]]:
    """Strengths (n_terms,) of the background and their standard errors, by the names of the terms."""
    return {
        name: {"value": float(value), "sd": float(sd)}
        for name, value, sd in zip(volume.background.names, strengths, errors, strict=True)
    }


def _relative_noise(fit: VolumeFit) -> float | None:
    """Relative standard deviation of one voxel; None if it differs from voxel to voxel."""
    per_voxel = fit.volume.grid.multiplicity / fit.weight
    return float(np.sqrt(per_voxel[0])) if np.ptp(per_voxel) < 1e-9 * per_voxel[0] else None


def _notes(fitted: Fitted) -> list[str]:
    """What a reader of the result should know, and need not worry about."""
    return crystal_notes(fitted.problem.irreducible.crystal) + fitted.notes


def account(fitted: Fitted, warnings: list[str]) -> dict[str, Any]:
    """Attributes of a result that say how far it is to be trusted."""
    return {
        "noise": fitted.noise,
        "reduced_chi_square": fitted.uncertainty.chi_square,
        "warnings": json.dumps(warnings),
        "prior_conflict": json.dumps(conflict_with_prior(fitted)),
        "notes": json.dumps(_notes(fitted)),
        "uncertainty": json.dumps(plain(uncertainty_record(fitted.uncertainty))),
        "agreement": json.dumps(plain(agreement_record(fitted.agreement))),
    }
