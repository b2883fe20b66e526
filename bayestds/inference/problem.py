"""The inverse problem of one or more volumes of a crystal: parameters, priors, and data.

Volume v, measured at the temperature T_v, scatters with the parameters A_v θ; for one volume A = 1. Force
constants are shared by all volumes or, with a trend, second-order ones are linear in the temperature:
φ_v = φ₀ + φ₁ (T_v - T₀) / 100 K, where T₀ is the mean temperature, which is the leading order of the
quasi-harmonic softening. Each volume keeps its grid, noise, atoms, instrument, background and scale.
Log-likelihoods add up, and so does the Fisher information, Σ A_vᵀ F_v A_v.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from bayestds.choices import Family, StatisticsName
from bayestds.crystal.supercell import Supercell
from bayestds.errors import ModelError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.counts import GammaPoisson
from bayestds.inference.likelihoods.floor import Floor
from bayestds.inference.likelihoods.log_normal import learned_log_normal
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.inference.priors import Prior, learned_factor
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, harmonic_crystal
from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.instrument import Background, Effect, background_of
from bayestds.scattering.q_points import MeshPoints, QPoints
from bayestds.scattering.supported import check_ensemble
from bayestds.scattering.terms import Term, make_cubic

KELVIN_PER_UNIT = 100.0
"""Change of temperature that a trend is given for."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One volume: where and how it was measured, and what was observed.

    Attributes:
        temperature: K.
        grid: the averaged voxels.
        q_points: where the crystal scatters into them.
        likelihood: what was observed, and how it scatters about what is expected.
        effects: of the instrument.
        statistics: of the displacements.
        configurations: number of independent configurations that the volume is a mean over, whose noise is
            then known and correlated; 0 for other noise.
    """

    temperature: float
    grid: IrreducibleGrid
    q_points: QPoints
    likelihood: Likelihood
    effects: tuple[Effect, ...] = ()
    statistics: StatisticsName = "classical"
    configurations: int = 0

    @property
    def background(self) -> Background:
        """Its background; one without terms where there is none."""
        return background_of(self.effects)

    @property
    def n_points(self) -> int:
        """Number of averaged voxels."""
        return self.likelihood.n_points

    @property
    def with_learned_noise(self) -> "Volume":
        """The same log intensities with a noise level that is learned."""
        weight = self.grid.multiplicity.astype(float)
        likelihood = learned_log_normal(self.likelihood.observed, weight)
        return replace(self, likelihood=likelihood, configurations=0)

    def some_rows(self, rows: np.ndarray) -> "Volume":
        """The volume at some of its averaged voxels, with a learned noise level; its grid stays."""
        return replace(
            self,
            likelihood=self.likelihood.subset(rows),
            q_points=self.q_points.some_rows(rows, self.n_points),
            effects=tuple(effect.some_rows(rows) for effect in self.effects),
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """The inverse problem of one or more volumes.

    Its parameters θ are the irreducible force constants φ, their trend if there is one, third-order constants
    γ if there are any, and the strengths of the background of each volume.

    Attributes:
        irreducible: what φ means.
        supercell: the periodic supercell.
        volumes: the data.
        given_scales: (n_irreducible,) eV/Å², standard deviations of the normal prior of φ.
        third_order: what γ means, None for a harmonic crystal.
        given_cubic_scales: (n_cubic,) eV/Å³, standard deviations of the normal prior of γ.
        learns_scale: whether a common factor on the prior scales of force constants is learned.
        factor: this factor, as it was learned last.
        trend_scales: (n_irreducible,) or (0,), prior standard deviations of the change over 100 K, as a share
            of those of φ.
        tolerance: of the forward model in log intensity.
    """

    irreducible: IrreducibleForceConstants
    supercell: Supercell
    volumes: tuple[Volume, ...]
    given_scales: np.ndarray
    third_order: ThirdOrderForceConstants | None = None
    given_cubic_scales: np.ndarray = field(default_factory=lambda: np.zeros(0))
    learns_scale: bool = False
    factor: float = 1.0
    trend_scales: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tolerance: float = 1e-4

    @property
    def prior_scales(self) -> np.ndarray:
        """(n_irreducible,) standard deviations of the prior of φ as it was learned last, eV/Å²."""
        return self.factor * self.given_scales

    @property
    def cubic_scales(self) -> np.ndarray:
        """(n_cubic,) those of γ, eV/Å³."""
        return self.factor * self.given_cubic_scales

    @property
    def blocks(self) -> dict[str, np.ndarray]:
        """Kinds of parameters in the order of θ, by name, with their prior standard deviations."""
        found = {
            "irreducible": self.prior_scales,
            "trend": self.trend_scales * self.prior_scales[: len(self.trend_scales)],
            "cubic": self.cubic_scales,
        }
        found |= {
            f"{prefix}background": np.asarray(volume.background.scales)
            for prefix, volume in zip(self.prefixes, self.volumes, strict=True)
        }
        return {name: scales for name, scales in found.items() if len(scales)}

    @property
    def prefixes(self) -> list[str]:
        """What the names of each volume's own parameters begin with; nothing where there is one volume."""
        if len(self.volumes) == 1:
            return [""]
        return [f"volume_{number}_" for number in range(1, len(self.volumes) + 1)]

    @property
    def parameter_scales(self) -> np.ndarray:
        """Prior standard deviations (n_parameters,) of θ."""
        return np.concatenate(list(self.blocks.values()))

    @property
    def constant_scales(self) -> np.ndarray:
        """Prior standard deviations (n_constants,) of what all volumes share: force constants and trend."""
        return self.parameter_scales[: self.n_constants]

    @property
    def n_constants(self) -> int:
        """Number of parameters that all volumes share, the first in θ."""
        return len(self.prior_scales) + len(self.trend_scales) + len(self.cubic_scales)

    def split(self, parameters: np.ndarray) -> dict[str, np.ndarray]:
        """θ (..., n_parameters) by the names of :attr:`blocks`."""
        ends = np.cumsum([len(scales) for scales in self.blocks.values()])
        return dict(zip(self.blocks, np.split(parameters, ends[:-1], axis=-1), strict=True))

    @property
    def reference_temperature(self) -> float:
        """T₀, K, at which φ is given."""
        return float(np.mean([volume.temperature for volume in self.volumes]))

    @property
    def designs(self) -> list[np.ndarray]:
        """A_v (n_parameters of the volume, n_parameters) of each volume."""
        n, n_cubic, total = len(self.prior_scales), len(self.cubic_scales), len(self.parameter_scales)
        unit, first, found = np.eye(total), self.n_constants, []
        for volume in self.volumes:
            n_terms = volume.background.n_parameters
            constants = unit[:n].copy()
            if len(self.trend_scales):
                lag = (volume.temperature - self.reference_temperature) / KELVIN_PER_UNIT
                constants += lag * unit[n : 2 * n]
            cubic = unit[self.n_constants - n_cubic : self.n_constants]
            found.append(np.concatenate([constants, cubic, unit[first : first + n_terms]]))
            first += n_terms
        return found

    def with_scale_of(self, parameters: np.ndarray) -> "Problem":
        """The same with prior scales that suit force constants φ, the first of these, where it is learned."""
        if not self.learns_scale:
            return self
        irreducible = parameters[: len(self.given_scales)]
        return replace(self, factor=self.factor * learned_factor(irreducible, self.prior_scales))

    def prior(self, family: Family = "normal", hierarchical: bool = True) -> Prior:
        """Prior of the posterior, with the scales as they were given; a factor on them may be learned.

        Args:
            family: shape of the density of the irreducible constants.
            hierarchical: whether the size of a trend is a parameter, rather than that of the problem.
        """
        blocks = replace(self, factor=1.0).blocks
        with_trend = "trend" in blocks
        if with_trend:
            blocks["trend"] = self.given_scales
        return Prior(
            tuple(blocks),
            tuple(map(jnp.asarray, blocks.values())),
            jnp.asarray(self.irreducible.shells),
            jnp.asarray(self.trend_scales[0] if with_trend else 1.0),
            family,
            self.irreducible.n_shells,
            self.learns_scale,
            hierarchical and with_trend,
        )

    @property
    def normal_prior(self) -> Prior:
        """Prior of the point fit: normal, with the scales as they were learned last."""
        scales = tuple(map(jnp.asarray, self.blocks.values()))
        return Prior(tuple(self.blocks), scales, jnp.asarray(self.irreducible.shells), jnp.ones(()))

    @property
    def harmonic(self) -> "Problem":
        """The same without third-order force constants."""
        return replace(self, third_order=None, given_cubic_scales=np.zeros(0))

    def with_volumes(self, *volumes: Volume) -> "Problem":
        """The same of other volumes."""
        return replace(self, volumes=volumes)

    def with_volume(self, **changes: Any) -> "Problem":
        """The same with changes to its only volume."""
        (volume,) = self.volumes
        return self.with_volumes(replace(volume, **changes))

    def alone(self, volume: Volume) -> "Problem":
        """The problem of one of the volumes by itself."""
        return replace(self, volumes=(volume,), trend_scales=np.zeros(0))

    def check(self) -> None:
        """Refuse what is asked for together and whose physics is not known.

        Raises:
            ModelError: a volume is a mean over configurations where the noise of one is not known.
        """
        third_order = self.third_order is not None
        for volume in self.volumes:
            if volume.configurations:
                ideal = isinstance(volume.q_points, MeshPoints) and not volume.effects
                otherwise = isinstance(volume.likelihood, (Floor, GammaPoisson, StudentT))
                check_ensemble(volume.configurations, third_order, ideal, otherwise)

    def crystal(self, volume: Volume) -> HarmonicCrystal:
        """The crystal at the temperature of a volume."""
        return harmonic_crystal(self.irreducible, self.supercell, volume.temperature, volume.statistics)

    def terms(self, crystal: HarmonicCrystal, parameters: Array) -> tuple[Term, ...]:
        """Terms of a volume's intensity beyond that of a harmonic crystal.

        Args:
            crystal: at the temperature of the volume.
            parameters: of the volume, at which the crystal is stable.
        """
        if self.third_order is None:
            return ()
        second = parameters[: crystal.n_irreducible]
        return (make_cubic(self.third_order, self.supercell, crystal, second),)


def with_trend(problem: Problem, scale: float) -> Problem:
    """The problem of several volumes with a temperature trend.

    Args:
        problem: of volumes of different temperatures.
        scale: prior standard deviation of a change over 100 K, as a share of that of the constant itself.

    Raises:
        ModelError: all volumes have one temperature.
    """
    temperatures = [volume.temperature for volume in problem.volumes]
    if np.ptp(temperatures) == 0:
        raise ModelError(
            "There is no temperature trend to fit.",
            f"All volumes were measured at {temperatures[0]:g} K.",
            "Leave `trend` out, or add a volume of another temperature.",
        )
    return replace(problem, trend_scales=np.full(len(problem.given_scales), scale))


def joined(problems: Sequence[Problem]) -> Problem:
    """One problem of the volumes of several ones.

    Raises:
        ModelError: they have different force constants, supercells or priors.
    """
    first = problems[0]
    if not all(_same_parameters(first, other) for other in problems[1:]):
        raise ModelError(
            "The volumes of a joint fit do not share their force constants.",
            "Their irreducible constants, their supercells or their priors differ.",
            "Make all problems from one model.",
        )
    return first.with_volumes(*(volume for problem in problems for volume in problem.volumes))


def _same_parameters(first: Problem, other: Problem) -> bool:
    """Whether two problems have the same force constants of all orders, supercells and priors."""
    learned = first.learns_scale and other.learns_scale
    given = (first.given_scales, other.given_scales), (first.given_cubic_scales, other.given_cubic_scales)
    return (
        first.irreducible.names == other.irreducible.names
        and np.array_equal(first.supercell.matrix, other.supercell.matrix)
        and all(len(a) == len(b) and (learned or np.array_equal(a, b)) for a, b in given)
    )
