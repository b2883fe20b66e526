"""From the pixels of a flat detector to Q points of a crystal: orientation matrix and elastic scattering.

Conventions of Busing and Levy (Acta Cryst. 22 (1967) 457): UB takes Miller indices to Cartesian coordinates
fixed to the head of the goniometer, Å⁻¹ without 2π, and the rotation R of the goniometer takes these to the
laboratory. There a photon that comes along the unit vector s₀ with the wavelength λ and leaves along s has
the scattering vector (s - s₀)/λ = R UB h.
"""

from dataclasses import dataclass

import numpy as np

from bayestds.crystal.structure import Crystal
from bayestds.errors import VolumeError

LENGTH_MISMATCH = 0.01
"""Largest relative difference of reciprocal lengths between an orientation matrix and the crystal."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A flat detector in the laboratory.

    Attributes:
        origin: (3,) centre of pixel (0, 0) seen from the sample, in any unit of length.
        fast, slow: (3,) steps to the next pixel in a row and to the next row, in the same unit.
        shape: number of rows and of pixels in each.
    """

    origin: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    shape: tuple[int, int]


def detector_q_points(
    detector: Detector,
    crystal: Crystal,
    orientation: np.ndarray,
    rotations: np.ndarray,
    wavelength: float,
    beam: np.ndarray | None = None,
) -> np.ndarray:
    """Q points (n_images, n_rows, n_pixels, 3), conventional r.l.u., of the pixels of some images.

    Args:
        detector: where the pixels are.
        crystal: against which the lengths in the orientation matrix are checked.
        orientation: UB (3, 3) of the conventional cell, Å⁻¹ without 2π; columns are a*, b*, c*.
        rotations: R (n_images, 3, 3) of the goniometer at each image.
        wavelength: Å.
        beam: (3,) direction of the incident beam, (0, 0, 1) by default.

    Raises:
        VolumeError: the orientation matrix belongs to another lattice, a matrix does not rotate, or the
            wavelength is not positive.
    """
    orientation, rotations = np.asarray(orientation, dtype=float), np.asarray(rotations, dtype=float)
    _check(crystal, orientation, rotations, wavelength)
    direction = np.array([0.0, 0.0, 1.0]) if beam is None else np.asarray(beam, dtype=float)
    rows, pixels = (np.arange(size)[:, None] for size in detector.shape)
    places = detector.origin + (rows * detector.slow)[:, None] + (pixels * detector.fast)[None]
    scattered = places / np.linalg.norm(places, axis=-1, keepdims=True)
    vectors = (scattered - direction / np.linalg.norm(direction)) / wavelength
    to_indices = np.linalg.inv(rotations @ orientation)
    return np.einsum("mij,rpj->mrpi", to_indices, vectors)


def _check(crystal: Crystal, orientation: np.ndarray, rotations: np.ndarray, wavelength: float) -> None:
    if not (np.isfinite(wavelength) and wavelength > 0):
        raise VolumeError(
            f"A wavelength of {wavelength!r} Å cannot be used.", "It must be positive.", "Give it in Å."
        )
    if orientation.shape != (3, 3) or rotations.ndim != 3 or rotations.shape[1:] != (3, 3):
        raise VolumeError(
            f"The orientation matrix has shape {orientation.shape}, the rotations {rotations.shape}.",
            "One 3x3 matrix is expected, and a 3x3 matrix for every image.",
            "Stack the rotations of the goniometer along the first axis.",
        )
    off = np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max(axis=(1, 2)) > 1e-6
    off |= np.abs(np.linalg.det(rotations) - 1) > 1e-6
    if off.any():
        raise VolumeError(
            f"The goniometer matrix of image {int(off.argmax())} is not a rotation.",
            "Its rows must be orthonormal and right-handed.",
            "Give rotation matrices, not angles.",
        )
    # Scalar products of a*, b*, c* do not depend on the orientation; crystal vectors have the factor 2π.
    expected = crystal.scattering_vectors(np.eye(3)) / (2 * np.pi)
    found, expected = orientation.T @ orientation, expected @ expected.T
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    if not (np.abs(found - expected) < 2 * LENGTH_MISMATCH * scale).all():
        lengths = np.round(np.sqrt(np.abs(np.diag(found))), 5).tolist()
        wanted = np.round(np.sqrt(np.diag(expected)), 5).tolist()
        raise VolumeError(
            "The orientation matrix does not belong to this crystal.",
            f"Its a*, b*, c* have lengths {lengths} Å⁻¹, those of the crystal {wanted} Å⁻¹ (without 2π), or "
            "their angles differ.",
            "Give UB of the conventional cell; leave out a factor of 2π or of the wavelength.",
        )
