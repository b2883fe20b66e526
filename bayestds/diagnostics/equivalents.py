"""Agreement of equivalent voxels, as results and reports hold it: numbers by name, and sentences."""

from dataclasses import asdict
from typing import Any

from bayestds.diagnostics.per_shell import listed
from bayestds.inference.uncertainty import ACCEPTABLE_CHI_SQUARE
from bayestds.scattering.agreement import Agreement

MOST_OPERATIONS = 4
"""Operations that a sentence names."""


def agreement_record(found: Agreement) -> dict[str, Any]:
    """Agreement of equivalent voxels with the keys of the JSON output; no numbers without equivalents."""
    numbers = {"r_int": None, "r_meas": None, "chi_square": None, "n_orbits": 0}
    return {
        **(numbers if found.all_q is None else asdict(found.all_q)),
        "by_q": [{"q_low": low, "q_high": high, **asdict(one)} for low, high, one in found.by_q],
        "by_operation": [asdict(one) for one in found.operations],
        "copies": list(found.copies),
        "n_operations": found.n_operations,
    }


def agreement_warnings(found: Agreement) -> list[str]:
    """Sentences on equivalent voxels that disagree."""
    warnings = []
    if found.all_q is not None and (found.all_q.chi_square or 0.0) > ACCEPTABLE_CHI_SQUARE:
        warnings.append(
            "equivalent voxels differ by more than their errors: chi-square per degree of freedom is "
            f"{found.all_q.chi_square:.3g} (R_int {found.all_q.r_int:.2%}). The errors are too small, or "
            "absorption, a twin or a drifting beam makes the voxels differ."
        )
    if bad := found.disagreeing:
        named = tuple(f"({name})" for name in bad[:MOST_OPERATIONS])
        if len(bad) > MOST_OPERATIONS:
            named = (*named, f"{len(bad) - MOST_OPERATIONS} more")
        warnings.append(
            f"{len(bad)} of {len(found.operations)} symmetry operations relate voxels that disagree by more "
            f"than chance explains: from (h, k, l) to {listed(named)}. The crystal may be twinned, have a "
            "lower symmetry or another setting than the model, or absorb."
        )
    return warnings


def symmetrised_note(found: Agreement) -> list[str]:
    """A sentence on voxels that are copies of one another, if any are."""
    if not found.symmetrised:
        return []
    return [
        f"voxels that {len(found.copies) + 1} of the {found.n_operations} symmetry operations relate are "
        "copies of one another: the file was symmetrised before (a simulated one may have such symmetry by "
        "itself). Copies count as one observation, with the error that is stated for it."
    ]
