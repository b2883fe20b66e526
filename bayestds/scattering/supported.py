"""The few combinations of stages whose physics is not known here, and why."""

from bayestds.errors import ModelError

THIRD_ORDER = "Third-order force constants (`cubic_shells` in [force_constants], or --cubic) are asked for"


def check_ensemble(configurations: int, third_order: bool, ideal: bool, known_otherwise: bool) -> None:
    """Refuse the noise of a mean over configurations where it is not known.

    Args:
        configurations: that a volume is a mean over.
        third_order: whether third-order force constants are fitted.
        ideal: whether the volume is the intensity of the crystal alone, at wave vectors of the supercell.
        known_otherwise: whether a noise floor or heavy tails are asked for.

    Raises:
        ModelError: one of these holds.
    """
    summary = f"It is a mean over {configurations} independent configurations, whose noise is correlated"
    if third_order:
        raise ModelError(
            f"{summary}; {THIRD_ORDER[0].lower()}{THIRD_ORDER[1:]}.",
            "That noise is known for a harmonic crystal only.",
            'Leave third order out, or set noise = "learned" in [fit].',
        )
    if not ideal:
        raise ModelError(
            f"{summary}; the model has effects of an instrument or commensurate = false.",
            "That noise is known for the intensity of the crystal alone, at wave vectors of the supercell.",
            'Leave these out, or set noise = "learned" in [fit].',
        )
    if known_otherwise:
        raise ModelError(
            f"{summary}; [fit] asks for noise_floor or degrees_of_freedom.",
            "That noise is known, and the only one.",
            "Leave both out for this volume.",
        )
