"""The result of a point fit: parameters, their precision, and each volume as it is described."""

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayestds.inference.consistency import Consistency
from bayestds.inference.likelihoods.base import Diagonal, Likelihood, Quadratic, centred
from bayestds.inference.problem import Problem, Volume
from bayestds.inference.uncertainty import Scores
from bayestds.scattering.expansion import Truncation
from bayestds.scattering.forward import ForwardModel


@dataclass(frozen=True, eq=False)
class VolumeFit:
    """A volume at the parameters of a fit.

    Attributes:
        volume: as it was fitted.
        design: (n_own, n_parameters) A_v.
        parameters: (n_own,) A_v θ.
        forward: the forward model used last.
        likelihood: of the data at the fit, free of the truncation error of the lattice sum.
        quadratic: its least-squares form there.
        log_intensity: (n_q,) fitted, at the best scale.
        derivative: (n_q, n_own) of the log intensities by the volume's own parameters, Å²/eV for φ.
        own_precision: (n_own, n_own) Fisher information of the volume plus prior precision.
        truncation: what the lattice sum leaves out at the fit.
        imaginary_time_error: largest one of integrals over imaginary time, in log intensity; 0 without any.
    """

    volume: Volume
    design: np.ndarray
    parameters: np.ndarray
    forward: ForwardModel
    likelihood: Likelihood
    quadratic: Quadratic
    log_intensity: np.ndarray
    derivative: np.ndarray
    own_precision: np.ndarray
    truncation: Truncation
    imaginary_time_error: float

    @property
    def residual(self) -> np.ndarray:
        """Observed minus fitted log intensity (n_q,); of intensities and counts the relative difference."""
        return np.asarray(self.quadratic.residual)

    @property
    def weight(self) -> np.ndarray:
        """Inverse variance (n_q,) of each residual."""
        return np.asarray(self.quadratic.weight)

    @property
    def residual_rms(self) -> float:
        """Weighted rms of the residual."""
        return float(self.quadratic.residual_rms)

    @property
    def reduced_chi_square(self) -> float:
        """χ² per degree of freedom, as of a fit to it alone; 1 where the noise level was learned."""
        return float(self.quadratic.reduced_chi_square(len(self.parameters)))

    @property
    def background(self) -> np.ndarray:
        """(n_terms,) strengths of its background."""
        return self.parameters[self.forward.sizes.n_constants :]

    @property
    def correlated(self) -> bool:
        """Whether its noise model has correlations."""
        return not isinstance(self.quadratic.precision, Diagonal)

    @property
    def derivative_by_constants(self) -> Float[np.ndarray, "n_q n_own_constants"]:
        """Derivative of the log intensities by its force constants, where the background follows them."""
        n = self.forward.sizes.n_constants
        follow = slope_of_rest(self.own_precision, n)
        return self.derivative[:, :n] + self.derivative[:, n:] @ follow

    def scores(self, n_constants: int) -> Scores:
        """What its points say of the first parameters, which all volumes share; independent ones only."""
        precision, n = self.quadratic.precision, self.forward.sizes.n_constants
        derivative = np.asarray(centred(precision, jnp.asarray(self.derivative_by_constants)))
        shared = derivative @ self.design[:n, :n_constants]
        return Scores(shared, np.asarray(precision.row_sums), np.asarray(self.quadratic.score))


@dataclass(frozen=True, eq=False)
class PointFit:
    """Result of a point fit to one or more volumes.

    Attributes:
        problem: what was fitted: a prior scale that is learned as it was last; of several volumes, noise
            levels that are learned as they are in each volume's own fit.
        parameters: (n_parameters,) θ: φ in eV/Å², its trend in eV/Å² per 100 K, γ in eV/Å³, and strengths of
            backgrounds.
        parameter_precision: (n_parameters, n_parameters) Fisher information plus prior precision.
        volumes: each volume at these parameters.
        stable: whether the crystal is stable there, at all temperatures.
        converged: whether the fit arrived at a maximum of the posterior.
        message: what happened, in words.
        history: (n_rounds, n_parameters + n_volumes) θ and the residual rms of each volume before each round.
        own: of several volumes, the fit to each by itself.
        consistency: of several volumes, the agreement of each with the others.
    """

    problem: Problem
    parameters: np.ndarray
    parameter_precision: np.ndarray
    volumes: tuple[VolumeFit, ...]
    stable: bool
    converged: bool
    message: str
    history: np.ndarray
    own: tuple["PointFit", ...] = ()
    consistency: tuple[Consistency, ...] = ()

    @property
    def blocks(self) -> dict[str, np.ndarray]:
        """The parameters by kind."""
        return self.problem.split(self.parameters)

    @property
    def irreducible(self) -> np.ndarray:
        """(n_irreducible,) φ, eV/Å²; with a trend, those at the reference temperature."""
        return self.blocks["irreducible"]

    @property
    def trend(self) -> np.ndarray:
        """(n_irreducible,) change of φ, eV/Å² per 100 K; none without a trend."""
        return self.blocks.get("trend", np.zeros(0))

    @property
    def cubic(self) -> np.ndarray:
        """(n_cubic,) γ, eV/Å³; none of a harmonic crystal."""
        return self.blocks.get("cubic", np.zeros(0))

    @property
    def constants(self) -> np.ndarray:
        """(n_constants,) what all volumes share: φ, its trend, and γ."""
        return self.parameters[: self.problem.n_constants]

    @cached_property
    def precision(self) -> Float[np.ndarray, "n_constants n_constants"]:
        """Precision of what all volumes share, whatever their backgrounds are; Å⁴/eV² for φ."""
        return marginal_precision(self.parameter_precision, self.problem.n_constants)

    @cached_property
    def covariance(self) -> Float[np.ndarray, "n_constants n_constants"]:
        """Its inverse, eV²/Å⁴ for φ; NaN where the crystal is unstable."""
        if not self.stable:
            return np.full_like(self.precision, np.nan)
        return np.linalg.inv(self.precision)

    @property
    def irreducible_precision(self) -> Float[np.ndarray, "n_irreducible n_irreducible"]:
        """Precision of φ alone, where all else is marginalised, Å⁴/eV²."""
        return marginal_precision(self.precision, len(self.irreducible))

    @cached_property
    def background_standard_errors(self) -> list[np.ndarray]:
        """Of the strengths (n_terms,) of each volume; NaN where the crystal is unstable."""
        errors = np.full(len(self.parameters), np.nan)
        if self.stable:
            errors = np.sqrt(np.diag(np.linalg.inv(self.parameter_precision)))
        blocks = self.problem.split(errors)
        return [blocks.get(f"{prefix}background", np.zeros(0)) for prefix in self.problem.prefixes]

    @property
    def residual_rms(self) -> float:
        """Weighted rms of the residuals of all volumes."""
        if len(self.volumes) == 1:
            return self.volumes[0].residual_rms
        weight = np.concatenate([one.weight for one in self.volumes])
        residual = np.concatenate([one.residual for one in self.volumes])
        return float(np.sqrt(weight @ residual**2 / weight.sum()))

    @property
    def reduced_chi_square(self) -> float:
        """χ² of all volumes per degree of freedom; 1 where the noise level was learned."""
        quadratics = [one.quadratic for one in self.volumes]
        # A scale takes one degree of freedom of each volume.
        freedom = sum(float(one.precision.degrees_of_freedom) - 1 for one in quadratics)
        squares = sum(float(one.chi_square) for one in quadratics)
        return squares / max(freedom - len(self.parameters), 1.0)


def slope_of_rest(precision: np.ndarray, n: int) -> np.ndarray:
    """dy/dx = -H_yy⁻¹ H_yx (n_parameters - n, n), by which the best of the last parameters follow the first.

    Args:
        precision: H (n_parameters, n_parameters), of the first parameters x and then the others y.
        n: number of the first.
    """
    return -np.linalg.solve(precision[n:, n:], precision[n:, :n])


def marginal_precision(precision: np.ndarray, n: int) -> np.ndarray:
    """Precision (n, n) of the first parameters, whatever the others are: what is left where these follow."""
    return precision[:n, :n] + precision[:n, n:] @ slope_of_rest(precision, n)
