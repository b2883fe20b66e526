"""What a measurement would determine, before it is made."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy.optimize import bisect

from bayestds.diagnostics.per_shell import (
    LOOSE_STIFFNESS,
    ConstantSummary,
    ShellSummary,
    directions,
    stiffness_error,
    summarise_normal,
    summarise_shells,
)
from bayestds.inference.likelihoods.base import Diagonal, fisher_information

LONGEST = 1e6
"""Exposures this many times the planned one are not thought of."""

RESOLVED = 1e-13
"""Information of a direction, relative to the largest, below which it is rounding; and the smallest variance,
relative to the prior's, that is distinguished from none."""


@dataclass(frozen=True, eq=False)
class Unknowns:
    """The constants that a measurement is to determine.

    Attributes:
        names: of the irreducible force constants.
        shells: (n_irreducible,) of each.
        truth: (n_irreducible,) the values that the crystal is thought to have, eV/Å².
        prior_sd: (n_irreducible,) eV/Å².
        self_coefficients: (n_self, n_irreducible), self terms = self_coefficients @ φ.
    """

    names: tuple[str, ...]
    shells: np.ndarray
    truth: np.ndarray
    prior_sd: np.ndarray
    self_coefficients: np.ndarray


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the posterior of a measurement is expected to be.

    Attributes:
        constants: expected summary of each irreducible force constant.
        shells: expected verdict on each shell.
        stiffness: expected relative standard deviation of the overall stiffness.
    """

    constants: list[ConstantSummary]
    shells: dict[int, ShellSummary]
    stiffness: float


@dataclass(frozen=True, eq=False)
class Option:
    """A measurement that could be made.

    Attributes:
        name: in words.
        share: of the beam time of the whole grid that it takes at the planned exposure.
        exposure: of each voxel, in units of the planned one.
        forecast: what it would determine.
        needed: exposure that it would take to determine each shell, in the same units; inf for never.
    """

    name: str
    share: float
    exposure: float
    forecast: Forecast
    needed: dict[int, float]

    @property
    def beam_time(self) -> float:
        """In units of that of the whole grid at the planned exposure."""
        return self.share * self.exposure

    def time_to_determine(self, shell: int) -> float:
        """Beam time that determines a shell, in the same units."""
        return self.share * self.needed[shell]


def counting_information(
    log_intensity: Float[Array | np.ndarray, " n_q"],
    derivative: Float[Array | np.ndarray, "n_q n_irreducible"],
    n_voxels: Int[np.ndarray, " n_q"],
    exposure: float,
) -> Float[np.ndarray, "n_irreducible n_irreducible"]:
    """Fisher information of Poisson counts with an unknown scale, Å⁴/eV².

    The information of a count of mean λ about ln λ is λ: that of the fit to log intensities whose variance
    is 1 / λ, at any number of counts. Equivalent voxels add their counts.

    Args:
        log_intensity, derivative: from ``log_intensity_and_jacobian``.
        n_voxels: how many voxels of the measurement belong to each Q point; may be 0.
        exposure: expected counts of a voxel per unit of intensity.
    """
    counts = exposure * jnp.asarray(n_voxels) * jnp.exp(jnp.asarray(log_intensity))
    return np.asarray(fisher_information(Diagonal(counts), jnp.asarray(derivative)))


def forecast(unknowns: Unknowns, information: Float[np.ndarray, "n n"]) -> Forecast:
    """Expected posterior of data with this Fisher information, Å⁴/eV².

    To leading order it is normal with the covariance Σ = (F + P)⁻¹, P the precision of the prior, and its
    mean is on average Σ F φ, the truth drawn towards the prior.
    """
    found = directions(information, unknowns.prior_sd)
    gain = np.array([direction.information for direction in found])
    gain = np.where(gain < RESOLVED * gain.max(), 0.0, np.minimum(gain, 1 / RESOLVED))
    # Columns: independent directions, in eV/Å².
    scaled = unknowns.prior_sd[:, None] * np.column_stack([direction.components for direction in found])
    covariance = (scaled / (1 + gain)) @ scaled.T
    mean = (scaled * (gain / (1 + gain))) @ (scaled.T @ (unknowns.truth / unknowns.prior_sd**2))
    constants = summarise_normal(mean, np.sqrt(np.diag(covariance)), unknowns.prior_sd)
    stiffness = stiffness_error(unknowns.self_coefficients, unknowns.truth, covariance)
    shells = summarise_shells(
        unknowns.names, unknowns.shells, constants, covariance, unknowns.prior_sd, stiffness
    )
    return Forecast(constants, shells, stiffness)


def exposure_factors(unknowns: Unknowns, information: Float[np.ndarray, "n n"]) -> dict[int, float]:
    """Factor on the exposure at which each shell becomes determined; inf beyond :data:`LONGEST`.

    Information is proportional to the exposure, every variance falls with it, so each verdict changes once.
    """
    largest = directions(information, unknowns.prior_sd)[-1].information

    def undetermined(log_factor: float, shell: int) -> float:
        verdict = forecast(unknowns, np.exp(log_factor) * information).shells[shell].verdict
        return -1.0 if verdict == "determined" else 1.0

    # At 1 / largest no variance is below half of the prior's.
    first, last = -np.log(max(largest, 1 / LONGEST)), np.log(LONGEST)
    return {
        shell: float(np.exp(bisect(undetermined, first, last, (shell,), xtol=1e-6)))
        if undetermined(last, shell) < 0
        else np.inf
        for shell in np.unique(unknowns.shells).tolist()
    }


def advice(shell: int, options: list[Option]) -> str:
    """How a shell fares in the first of several measurements, and which suits it best and worst, in words."""
    return " ".join((_as_planned(shell, options[0]), _quickest(shell, options), _poorest(shell, options)))


def _as_planned(shell: int, planned: Option) -> str:
    found, needed = planned.forecast.shells[shell], planned.needed[shell]
    reason = ""
    if found.verdict == "weak" and planned.forecast.stiffness > LOOSE_STIFFNESS:
        reason = f", the overall stiffness being uncertain by {planned.forecast.stiffness:.0%}"
    if np.isinf(needed):
        takes = f"and still not determined at {LONGEST:.0e} times the exposure"
    elif needed <= planned.exposure:
        takes = f"and would still be at {needed:.2g} times the exposure"
    else:
        takes = f"and determined from {needed:.2g} times the exposure on"
    return f"Shell {shell} is {found.verdict} as planned{reason}, {takes}; {found.words}."


def _quickest(shell: int, options: list[Option]) -> str:
    best = min(options, key=lambda option: option.time_to_determine(shell))
    if np.isinf(best.needed[shell]):
        return "None of these measurements determines it."
    return (
        f"Determined in the least beam time ({best.time_to_determine(shell):.2g}) by: {best.name}, at "
        f"{best.needed[shell]:.2g} times the exposure."
    )


def _poorest(shell: int, options: list[Option]) -> str:
    worst = min(options, key=lambda option: option.forecast.shells[shell].contraction)
    return f"Known least from: {worst.name} ({worst.forecast.shells[shell].verdict})."
