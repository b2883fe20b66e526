"""A beamline: which effects of an instrument a volume has, and what they are at its Q points."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from bayestds.crystal.axes import GridAxes, axis_names
from bayestds.crystal.structure import Crystal
from bayestds.errors import VolumeError
from bayestds.scattering.atoms import compton_intensity
from bayestds.scattering.instrument import (
    Average,
    Background,
    Effect,
    Factor,
    polarisation,
    smooth_background,
    spread_covariance,
    spread_points,
)


@dataclass(frozen=True, eq=False)
class Beamline:
    """Effects of an instrument, each off unless it is asked for.

    Attributes:
        crystal: the sample.
        commensurate: whether voxels are wave vectors of the supercell; otherwise they may lie anywhere.
        friedel: whether I(Q) = I(-Q), which complex scattering factors break in crystals without a centre.
        wavelength: Å, of X-rays whose polarisation is not corrected for; None for no such factor.
        compton: an element or ion for each atom, whose Compton scattering is a background; None for none.
        n_background: terms of a smooth background, 0, 1, or at least 4.
        unit: intensity per primitive cell of a background of strength 1.
        background_scale: standard deviation of the prior of each strength.
        resolution: standard deviation in Q, Å⁻¹.
        mosaic: standard deviation of the orientation about each axis, radians.
        voxel_size: whether the intensity is averaged over each voxel.
    """

    crystal: Crystal
    commensurate: bool = True
    friedel: bool = True
    wavelength: float | None = None
    compton: tuple[str, ...] | None = None
    n_background: int = 0
    unit: float = 1.0
    background_scale: float = 1.0
    resolution: float = 0.0
    mosaic: float = 0.0
    voxel_size: bool = False

    @property
    def n_terms(self) -> int:
        """Number of strengths: of Compton scattering, then of the smooth background."""
        return self.n_background + (self.compton is not None)

    @property
    def on_mesh(self) -> bool:
        """Whether all that is needed is the intensity at wave vectors of the supercell."""
        return self.commensurate and not (self.resolution or self.mosaic or self.voxel_size)

    @property
    def ideal(self) -> bool:
        """Whether the volume has the intensity of the crystal alone, at wave vectors of the supercell."""
        return self.on_mesh and self.wavelength is None and not self.n_terms

    def points(self, q_points: np.ndarray, axes: GridAxes, inverted: bool = False) -> np.ndarray:
        """Points (n_q, n_points, 3), r.l.u., over which the intensity of each voxel is averaged.

        Args:
            q_points: (n_q, 3) centres of the voxels, conventional r.l.u.
            axes: of the voxels.
            inverted: whether the intensities at Q and -Q were averaged before, and differ.

        Raises:
            VolumeError: the size of the voxels matters, and an axis does not tell it.
        """
        around = q_points[:, None] if self.on_mesh else self._spread(q_points, axes)
        return np.concatenate([around, -around], axis=1) if inverted else around

    def _spread(self, q_points: np.ndarray, axes: GridAxes) -> np.ndarray:
        """The points of voxels that are averaged over, or lie between wave vectors of the supercell."""
        edges = voxel_edges(axes) if self.voxel_size else None
        covariance = spread_covariance(self.crystal, q_points, self.resolution, self.mosaic, edges)
        return spread_points(self.crystal, q_points, covariance) if covariance.any() else q_points[:, None]

    def effects(self, q_points: np.ndarray, n_points: int = 1) -> tuple[Effect, ...]:
        """Effects of the instrument on the intensity at the Q points (n_q, 3), one after the other.

        Args:
            q_points: conventional r.l.u.
            n_points: over which the intensity of each of them is averaged.

        Raises:
            VolumeError: a Q point cannot be reached with the wavelength, or a background cannot be made.
        """
        found: list[Effect] = []
        if n_points > 1:
            found.append(Average(n_points))
        lengths = np.linalg.norm(self.crystal.scattering_vectors(q_points), axis=-1)
        factor = np.ones(len(lengths))
        if self.wavelength is not None:
            factor = polarisation(lengths, self.wavelength)
            found.append(Factor(jnp.asarray(factor)))
        if self.n_terms:
            found.append(self._background(lengths, factor))
        return tuple(found)

    def _background(self, lengths: np.ndarray, factor: np.ndarray) -> Background:
        """The background at |Q| (n_q,), Å⁻¹, with the polarisation (n_q,) there."""
        terms = np.zeros((len(lengths), 0))
        if self.compton is not None:
            # Compton scattering is polarised as the elastic one is.
            terms = (factor * compton_intensity(self.compton, lengths))[:, None]
        if self.n_background:
            terms = np.hstack([terms, self.unit * smooth_background(lengths, self.n_background)])
        names = ("compton",) * (self.compton is not None)
        names += tuple(f"background_{i}" for i in range(self.n_background))
        scales = np.full(len(names), self.background_scale)
        return Background(jnp.asarray(terms), jnp.asarray(scales), names)


def voxel_edges(axes: GridAxes) -> np.ndarray:
    """Edges (3, 3) of the voxels, one a row, r.l.u.

    Raises:
        VolumeError: an axis has a single point, and so no step.
    """
    single = [
        name
        for name, axis in zip(axis_names(axes.directions), axes.coordinates, strict=True)
        if len(axis) < 2
    ]
    if single:
        raise VolumeError(
            f"The voxels have no size along {' and '.join(single)}.",
            "An axis of a single point does not tell how thick the voxels are.",
            "Give a `resolution` in [instrument] instead of `voxel_size`, or a volume of several planes.",
        )
    return axes.steps
