"""Warnings of a fit: what a reader of its table should know."""

import numpy as np

from bayestds.cli.assemble import NOISE_FREE_SIGMA, Study
from bayestds.cli.fitted import Fitted
from bayestds.diagnostics.cautions import misfit_warnings
from bayestds.diagnostics.equivalents import agreement_warnings
from bayestds.diagnostics.per_shell import LOOSE_STIFFNESS, listed
from bayestds.inference.priors import prior_shift
from bayestds.inference.problem import Volume
from bayestds.scattering.grid import nearest_bragg
from bayestds.scattering.q_points import FreePoints

FROM_BRAGG = 4.0
"""Standard deviations of what a voxel collects; so far from a Bragg point its mean of 1/q² is 8 % off."""

MOVED_BY_PRIOR = 1.0
"""Standard errors by which a prior moves a constant that it contradicts."""


def fit_warnings(study: Study, fitted: Fitted, expect_temperature: bool = True) -> list[str]:
    """What a reader of the table should know about this fit; see :func:`volume_warnings`."""
    problem, result, names = fitted.problem, fitted.result, study.irreducible.names
    information = result.irreducible_precision - np.diag(problem.prior_scales**-2.0)
    return [
        *volume_warnings(study, fitted, expect_temperature),
        *misfit_warnings(fitted.uncertainty, noise_words(fitted)),
        *stiffness_warnings(result.irreducible, information),
        *prior_warnings(conflict_with_prior(fitted), problem.prior_scales, names),
    ]


def conflict_with_prior(fitted: Fitted) -> tuple[str, ...]:
    """Names of the constants of a fit that their prior moves by more than a standard error."""
    problem, result = fitted.problem, fitted.result
    scales = problem.prior_scales
    return moved_by_prior(problem.irreducible.names, result.irreducible, result.irreducible_precision, scales)


def noise_words(fitted: Fitted) -> str:
    """What the residuals of a fit are compared with."""
    return {
        "counts": "the Poisson noise of the counts",
        "given": "the errors that were given",
        "ensemble": "the noise of independent configurations of a harmonic crystal",
        "learned": "the scatter of equivalent voxels",
        "assumed": "the noise that was assumed",
    }[fitted.noise]


def volume_warnings(study: Study, fitted: Fitted, expect_temperature: bool) -> list[str]:
    """What a reader should know about a volume and its noise.

    Args:
        study: the model.
        fitted: the fit to this volume.
        expect_temperature: whether the temperature is to be the model's.
    """
    found = []
    volume, measured = fitted.volume, fitted.measured
    if fitted.noise_after_all:
        found.append(
            "the volume says that it was simulated without noise, but the fit leaves more than "
            f"{NOISE_FREE_SIGMA:g} of it unexplained; its noise was learned instead."
        )
    expected = study.model.measurement.temperature if study.model.measurement else measured.temperature
    if expect_temperature and abs(measured.temperature - expected) > 1e-3 * expected:
        found.append(
            f"the volume was measured at {measured.temperature:g} K, which was used; the model says "
            f"{expected:g} K."
        )
    if not expect_temperature and "temperature" not in volume.attrs:
        found.append(f"the volume states no temperature; the model's {expected:g} K was used.")
    if measured.statistics != study.model_statistics:
        found.append(
            f"the volume was simulated with {measured.statistics} statistics, which were used; the model "
            f"says {study.model_statistics}."
        )
    if "configurations" in volume.attrs and fitted.noise != "ensemble":
        found.append(
            f"the volume is an average over {volume.attrs['configurations']} configurations, whose noise is "
            "shared by voxels of equal k, which the noise model of this fit leaves out."
        )
    if fitted.noise in ("given", "counts") and study.model.fit.noise is not None:
        known = "standard errors" if fitted.noise == "given" else "counts"
        if known == "counts" or "sigma" in volume:
            found.append(f"`noise` of [fit] was not used: the volume has {known} of its own.")
    error = fitted.result.volumes[0].imaginary_time_error
    if error > fitted.problem.tolerance:
        found.append(
            "the integrals over imaginary time, which third order needs in quantum statistics, have an error "
            f"of {error:.1e} in ln I, more than the {fitted.problem.tolerance:g} asked for; the crystal has "
            "modes that are very soft beside others, or it is hardly stable."
        )
    return found + agreement_warnings(fitted.agreement) + _bragg_warnings(study, measured)


def _bragg_warnings(study: Study, volume: Volume) -> list[str]:
    """Whether voxels are averaged over Bragg points."""
    if not isinstance(volume.q_points, FreePoints):
        return []
    crystal, q_points = study.crystal, volume.grid.q_points
    around = volume.q_points.q_points.reshape(len(q_points), -1, 3)
    # Points about -Q, where both were averaged, are as far from it as their opposites from Q.
    sides = (around - q_points[:, None], around + q_points[:, None])
    away = [np.linalg.norm(crystal.scattering_vectors(side), axis=2) for side in sides]
    distance = np.linalg.norm(crystal.scattering_vectors(q_points - nearest_bragg(q_points, crystal)), axis=1)
    # The outermost of the six points is √3 standard deviations away.
    widest = np.minimum(*away).max(axis=1) / np.sqrt(3)
    close = distance < FROM_BRAGG * widest
    if not close.any():
        return []
    return [
        f"{close.sum()} of {len(close)} points are closer to a Bragg point than {FROM_BRAGG:g} standard "
        "deviations of the resolution, mosaic spread and voxel: the average over a voxel is off by several "
        "percent there; set `bragg_radius` in [mask]."
    ]


def stiffness_warnings(irreducible: np.ndarray, information: np.ndarray) -> list[str]:
    """Whether the data leave the overall stiffness to the priors.

    Args:
        irreducible: (n_irreducible,) eV/Å².
        information: Fisher information of the data.
    """
    stiffness = 1 / np.sqrt(max(irreducible @ information @ irreducible, 1e-300))
    if stiffness <= LOOSE_STIFFNESS:
        return []
    return [
        f"the data determine the overall stiffness to {min(stiffness, 9.99):.0%} at best, so the prior "
        "decides it: voxels at higher |Q| are needed, where several phonons scatter."
    ]


def moved_by_prior(
    names: tuple[str, ...], irreducible: np.ndarray, precision: np.ndarray, scales: np.ndarray
) -> tuple[str, ...]:
    """Names of the constants that their prior moves by more than a standard error.

    Args:
        names: of the constants.
        irreducible: (n_irreducible,) eV/Å².
        precision: (n_irreducible, n_irreducible) of the posterior, Å⁴/eV².
        scales: (n_irreducible,) of the prior, eV/Å².
    """
    if not np.isfinite(precision).all():
        return ()
    shift = np.abs(prior_shift(precision, scales, irreducible))
    return tuple(name for name, one in zip(names, shift, strict=True) if one > MOVED_BY_PRIOR)


def prior_warnings(moved: tuple[str, ...], scales: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """A sentence on the constants that their prior moves."""
    if not moved:
        return []
    widths = ", ".join(f"{name}: {scales[names.index(name)]:.3g}" for name in moved)
    return [
        f"the prior contradicts the data: it moves {listed(moved)} by more than a standard error (standard "
        f"deviations of the prior, eV/Å²: {widths}). Leave `scale` and `scales` out of [priors], so that the "
        "scale is learned, or widen them."
    ]
