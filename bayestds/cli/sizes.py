"""Whether a fit has enough data, and not too much."""

from bayestds.errors import VolumeError
from bayestds.memory import too_much

COPIES_OF_DERIVATIVES = 6
"""Arrays of the size of ∂ ln I/∂φ that a fit has at a time."""


def check_size(name: str, n_points: int, n_constants: int, n_terms: int) -> None:
    """Refuse a fit of too few points, or of more than memory holds.

    Args:
        name: of the volume.
        n_points: irreducible points inside the mask.
        n_constants: force constants to be found.
        n_terms: strengths of a background to be found.

    Raises:
        VolumeError: there are too few or too many points.
    """
    if n_points < n_constants + n_terms + 2:
        wanted = f"{n_constants} force constants"
        wanted += f", {n_terms} strengths of a background" if n_terms else ""
        raise VolumeError(
            f"{name} has only {n_points} irreducible points inside the mask.",
            f"{wanted} and a scale are to be found from them.",
            "Use a larger volume, widen the mask, or fit fewer shells.",
        )
    if reason := too_much(COPIES_OF_DERIVATIVES * 8 * n_points * (n_constants + n_terms)):
        raise VolumeError(
            f"{name} has {n_points:,} irreducible points inside the mask, and the model {n_constants} force "
            "constants.",
            reason,
            "Use fewer points: a coarser grid, or q_max and other limits in [mask]; or fit fewer shells.",
        )
