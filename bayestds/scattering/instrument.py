"""What a beamline adds to the diffuse intensity, each effect by itself.

    I_measured(Q) = s [P(Q) ⟨I⟩(Q) + Σ_m b_m B_m(|Q|)]

with the polarisation P, and background terms B_m of unknown strengths b_m. ⟨I⟩ is the
intensity averaged over what a voxel collects from: a Gaussian of covariance Σ(Q) about its centre, which
holds the resolution, the mosaic spread and the size of the voxel. At points anywhere it is the mean over six
points (:func:`spread_points`); on the mesh of a supercell that is fine beside the resolution it is a window
on the lattice sum, as a Gaussian multiplies exp(iQ·R) by exp(-RᵀΣR/2).
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from scipy.interpolate import BSpline

from bayestds.crystal.structure import Crystal
from bayestds.crystal.supercell import Supercell
from bayestds.errors import VolumeError

CUBIC = 3
"""Degree of the splines of a smooth background."""

NARROWEST = 0.7
"""Smallest standard deviation of a resolution, in steps between wave vectors. There the window is 0.09 at the
border of the supercell; narrower ones cut the lattice sum off at a border that the crystal does not have."""


SMALLEST_SHARE = 1e-6
"""Share of the diffuse intensity that a negative background leaves of it at least."""


@runtime_checkable
class Effect(Protocol):
    """One effect of the instrument on the intensity; a pytree."""

    @property
    def n_parameters(self) -> int:
        """Number of parameters that it adds."""
        ...

    def applied(
        self, log_intensity: Float[Array, " n"], strengths: Float[Array, " n_terms"]
    ) -> Float[Array, " n_q"]:
        """Logarithm of the intensity with this effect.

        Args:
            log_intensity: without it.
            strengths: of the background; only that has parameters.
        """
        ...

    def some_rows(self, rows: np.ndarray) -> "Effect":
        """The effect at some of the Q points."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Average:
    """Mean over what a voxel collects from: equally many points in a row for each Q point; a pytree.

    Attributes:
        n_points: how many.
    """

    n_points: int = field(metadata={"static": True})
    n_parameters: ClassVar[int] = 0

    def applied(
        self, log_intensity: Float[Array, " n"], strengths: Float[Array, " n_terms"]
    ) -> Float[Array, " n_q"]:
        """See :class:`Effect`."""
        around = log_intensity.reshape(-1, self.n_points)
        return jax.nn.logsumexp(around, axis=1) - np.log(self.n_points)

    def some_rows(self, rows: np.ndarray) -> "Average":
        """See :class:`Effect`."""
        return self


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Factor:
    """A known factor on the intensity of each Q point, such as the polarisation; a pytree.

    Attributes:
        values: (n_q,) P.
    """

    values: Float[Array, " n_q"]
    n_parameters: ClassVar[int] = 0

    def applied(
        self, log_intensity: Float[Array, " n_q"], strengths: Float[Array, " n_terms"]
    ) -> Float[Array, " n_q"]:
        """See :class:`Effect`."""
        return log_intensity + jnp.log(self.values)

    def some_rows(self, rows: np.ndarray) -> "Factor":
        """See :class:`Effect`."""
        return Factor(self.values[rows])


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Background:
    """A background of known shapes and unknown strengths; a pytree.

    Attributes:
        terms: (n_q, n_terms) B_m, per primitive cell where their strengths are 1.
        scales: (n_terms,) standard deviations of the normal priors of the strengths about 0.
        names: of the terms.
    """

    terms: Float[Array, "n_q n_terms"]
    scales: Float[Array, " n_terms"]
    names: tuple[str, ...] = field(metadata={"static": True})

    @property
    def n_parameters(self) -> int:
        """Number of strengths."""
        return len(self.names)

    def applied(
        self, log_intensity: Float[Array, " n_q"], strengths: Float[Array, " n_terms"]
    ) -> Float[Array, " n_q"]:
        """See :class:`Effect`.

        Strengths may be negative, as after too large a subtraction; where nothing would be left of the
        intensity, a little of it is.
        """
        ratio = self.terms @ strengths * jnp.exp(-log_intensity)
        return log_intensity + jnp.log(jnp.maximum(1 + ratio, SMALLEST_SHARE))

    def some_rows(self, rows: np.ndarray) -> "Background":
        """See :class:`Effect`."""
        return replace(self, terms=self.terms[rows])


def measured(
    effects: tuple[Effect, ...], log_intensity: Float[Array, " n"], strengths: Float[Array, " n_terms"]
) -> Float[Array, " n_q"]:
    """Logarithm of the measured intensity, up to the overall scale.

    Args:
        effects: one after the other.
        log_intensity: of the crystal, per primitive cell.
        strengths: b_m, of the background.
    """
    for effect in effects:
        log_intensity = effect.applied(log_intensity, strengths)
    return log_intensity


def background_of(effects: tuple[Effect, ...]) -> Background:
    """The background among the effects; one without terms where there is none."""
    for effect in effects:
        if isinstance(effect, Background):
            return effect
    return Background(jnp.zeros((0, 0)), jnp.zeros(0), ())


def polarisation(
    q_lengths: np.ndarray, wavelength: float, degree: float = 0.0, azimuth: np.ndarray | None = None
) -> np.ndarray:
    """Polarisation factor P of X-rays, 1 in forward direction.

    P = (1 + cos²2θ)/2 - p cos2ψ sin²2θ/2 (Kahn et al., J. Appl. Cryst. 15 (1982) 330), with sin θ = λ|Q|/4π.

    Args:
        q_lengths: |Q| (...,), Å⁻¹.
        wavelength: λ, Å.
        degree: p, from 0 (unpolarised) to 1 (all in the plane of ψ = 0).
        azimuth: ψ (...,) of the scattered beam about the incident one from that plane, radians; where it is
            not given, every one counts alike.

    Raises:
        VolumeError: a |Q| cannot be reached with this wavelength, or the degree is none.
    """
    sine = np.asarray(q_lengths, dtype=float) * wavelength / (4 * np.pi)
    if not 0 <= degree <= 1:
        raise VolumeError(
            f"A degree of polarisation of {degree!r} cannot be used.",
            "It runs from 0 (unpolarised) to 1 (linear).",
            "Synchrotrons have 0.95 to 0.99.",
        )
    if not (sine <= 1).all():
        raise VolumeError(
            f"|Q| = {np.max(q_lengths):.3g} Å⁻¹ cannot be measured with a wavelength of {wavelength:g} Å.",
            f"Elastic scattering reaches at most 4π/λ = {4 * np.pi / wavelength:.3g} Å⁻¹.",
            "Check the wavelength (Å), or set a smaller q_max (to simulate, a smaller grid).",
        )
    sine_squared = 4 * sine**2 * (1 - sine**2)
    preferred = 0.0 if azimuth is None else degree * np.cos(2 * np.asarray(azimuth))
    return 1 - sine_squared * (1 + preferred) / 2


def smooth_background(q_lengths: np.ndarray, n_terms: int) -> np.ndarray:
    """Background terms B_m(|Q|): cubic B-splines (n_q, n_terms) that add up to 1 everywhere.

    Equal strengths make a constant background.

    Args:
        q_lengths: |Q| (n_q,), Å⁻¹.
        n_terms: 1 for a constant, else at least 4.

    Raises:
        VolumeError: 2 or 3 terms are asked for, or less than one.
    """
    if n_terms == 1:
        return np.ones((len(q_lengths), 1))
    if n_terms < CUBIC + 1:
        raise VolumeError(
            f"A background of {n_terms} terms cannot be made.",
            "It is a constant (1 term) or a cubic spline (at least 4).",
            "Give 1, or 4 and more.",
        )
    first, last = float(np.min(q_lengths)), float(np.max(q_lengths))
    inner = np.linspace(first, last, n_terms - CUBIC + 1)
    knots = np.concatenate([[first] * CUBIC, inner, [last] * CUBIC])
    return BSpline.design_matrix(np.clip(q_lengths, first, last), knots, CUBIC).toarray()


def spread_covariance(
    crystal: Crystal,
    q_points: np.ndarray,
    resolution: float = 0.0,
    mosaic: float = 0.0,
    edges: np.ndarray | None = None,
) -> np.ndarray:
    """Covariance Σ(Q) (n_q, 3, 3), Å⁻², of the points that are collected in one voxel about its centre.

    Σ = σ² + η² (Q² - QQᵀ) + Σ_i Δ_i Δ_iᵀ / 12: the resolution σ, rotations of the crystal by a normal
    angle of standard deviation η about every axis, and a voxel with edges Δ_i.

    Args:
        crystal: whose reciprocal lattice the voxels follow.
        q_points: (n_q, 3) centres, conventional r.l.u.
        resolution: σ, Å⁻¹.
        mosaic: η, radians.
        edges: Δ_i (3, 3) of the voxels, one a row, r.l.u.; None leaves their size out.
    """
    vectors = crystal.scattering_vectors(np.asarray(q_points, dtype=float))
    unit = np.eye(3)
    across = (vectors**2).sum(axis=1)[:, None, None] * unit - vectors[:, :, None] * vectors[:, None, :]
    box = crystal.scattering_vectors(np.zeros((3, 3)) if edges is None else edges)
    return resolution**2 * unit + mosaic**2 * across + box.T @ box / 12


def spread_points(crystal: Crystal, q_points: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Six points (n_q, 6, 3) about each Q point, r.l.u., whose mean is that over a Gaussian.

    They lie ±√3 standard deviations along the axes of the covariance: the mean is exact for polynomials of
    third degree (the cubature of Stroud and Secrest, Math. Comp. 17 (1963) 105).

    Args:
        crystal: whose reciprocal lattice the points are given in.
        q_points: (n_q, 3) conventional r.l.u.
        covariance: (n_q, 3, 3), Å⁻².
    """
    widths, axes = np.linalg.eigh(covariance)
    shifts = np.sqrt(3 * np.maximum(widths, 0))[:, None, :] * axes
    shifts = shifts.swapaxes(1, 2) @ np.linalg.inv(crystal.scattering_vectors(np.eye(3)))
    return np.asarray(q_points)[:, None] + np.concatenate([shifts, -shifts], axis=1)


def resolution_window(supercell: Supercell, covariance: np.ndarray) -> np.ndarray:
    """Factors exp(-RᵀΣR/2) (n_cells,) on the lattice sum, of the shortest images of the cells of a supercell.

    They multiply exp(QᵀCQ) - 1, whose Q stays that of the voxel's centre: the intensity is taken to change
    slowly with Q but for its lattice sum. That errs by 0.4 % in the median, 0.9 % at worst, for a resolution
    of 0.06 r.l.u. at 0.2 to 0.4 r.l.u. from Bragg points of an fcc crystal.

    Args:
        supercell: of the lattice sum.
        covariance: Σ (3, 3) of the resolution in Q, Å⁻², symmetric and not negative.

    Raises:
        VolumeError: it is not a covariance, or narrower than :data:`NARROWEST`.
    """
    covariance = np.asarray(covariance, dtype=float)
    symmetric = covariance.shape == (3, 3) and np.allclose(covariance, covariance.T)
    if not (symmetric and np.isfinite(covariance).all() and np.linalg.eigvalsh(covariance)[0] >= 0):
        raise VolumeError(
            f"The resolution {covariance.tolist()} is not a covariance.",
            "A symmetric 3x3 matrix without negative eigenvalues is expected, in Å⁻².",
            "Give squares of standard deviations in Q (with 2π) on its diagonal.",
        )
    steps = 2 * np.pi * np.linalg.inv(supercell.lattice_vectors).T
    widths = np.sqrt(np.einsum("si,ij,sj->s", steps, covariance, steps)) / np.einsum("si,si->s", steps, steps)
    if (widths < NARROWEST).any():
        raise VolumeError(
            f"The resolution is {widths.min():.2g} of the step between wave vectors of the supercell.",
            f"Its standard deviation must be at least {NARROWEST:g} of it in every direction: the lattice "
            "sum ends at the border of the supercell.",
            "Use a larger supercell, or leave the resolution out.",
        )
    cells = np.column_stack([np.zeros((supercell.n_cells, 2), dtype=int), supercell.cells])
    cell, bonds = supercell.shortest_images(cells)
    factors = np.exp(-np.einsum("ci,ij,cj->c", bonds, covariance, bonds) / 2)
    return np.bincount(cell, factors) / np.bincount(cell)
