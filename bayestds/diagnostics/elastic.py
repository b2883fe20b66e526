"""Elastic constants of a result, and how well its force constants obey what the elastic theory needs."""

from typing import Any

import numpy as np

from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.diagnostics.per_shell import INTERVAL
from bayestds.force_constants.invariance import independent_conditions
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.lattice_dynamics.elasticity import (
    bulk_and_shear,
    independent_elements,
    long_waves,
    rotation_scale,
)

NOTICEABLE = 0.01
"""Violation, as a share of what it is measured by, above which the summary warns."""


def elastic_summary(draws: ForceConstantDraws) -> dict[str, Any]:
    """Elastic constants with their uncertainty, as a record of plain numbers.

    - "elastic_GPa": {"C11": {"mean", "sd", "interval_low", "interval_high"}, ..., "K": ..., "G": ...}, over
      the draws: the elements that symmetry leaves independent, and Hill's bulk and shear modulus.
    - "elastically_stable": the share of draws whose elastic matrix is positive definite (Born).
    - "invariance", at the mean: "imposed"; "huang_GPa", the largest [αβ,γλ] - [γλ,αβ], and "huang_relative",
      its share of the largest elastic constant; "rotation_eV_per_angstrom", the largest force on an atom per
      radian when the crystal is turned, and "rotation_relative", its share of the terms that should cancel;
      "conditions", how many are not imposed, and "chi_square" of their violation, null without any.
    - "elastic_words": what this means.
    """
    irreducible = draws.irreducible
    stiffness = long_waves(irreducible, draws.draws).stiffness
    columns = {name: stiffness[:, i, j] for name, (i, j) in independent_elements(irreducible.crystal).items()}
    columns["K"], columns["G"] = bulk_and_shear(stiffness)
    stable = float((np.linalg.eigvalsh(stiffness)[:, 0] > 0).mean())
    violation = _violation(irreducible, draws.mean, draws.covariance)
    return {
        "elastic_GPa": {name: _spread(values) for name, values in columns.items()},
        "elastically_stable": stable,
        "invariance": violation,
        "elastic_words": _words(stable, violation, irreducible.crystal.is_centrosymmetric),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(values, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        "interval_low": float(low),
        "interval_high": float(high),
    }


def _violation(
    irreducible: IrreducibleForceConstants, mean: np.ndarray, covariance: np.ndarray
) -> dict[str, Any]:
    waves = long_waves(irreducible, mean)
    conditions = independent_conditions(irreducible, "both")
    chi_square = None
    if len(conditions):
        off = conditions @ mean
        chi_square = float(off @ np.linalg.solve(conditions @ covariance @ conditions.T, off))
    return {
        "imposed": irreducible.invariance,
        "huang_GPa": float(waves.huang),
        "huang_relative": float(waves.relative_huang),
        "rotation_eV_per_angstrom": float(waves.rotation),
        "rotation_relative": float(waves.rotation) / rotation_scale(irreducible, mean),
        "conditions": len(conditions),
        "chi_square": chi_square,
    }


def _words(stable: float, violation: dict[str, Any], centrosymmetric: bool) -> list[str]:
    """Sentences on what the elastic constants can be trusted for."""
    share = "every draw" if stable == 1 else "no draw" if stable == 0 else f"{stable:.0%} of the draws"
    words = [f"The crystal resists every homogeneous strain in {share} (Born's criterion)."]
    if violation["huang_relative"] > NOTICEABLE:
        words.append(
            f"The force constants are those of a crystal under a stress of some {violation['huang_GPa']:.2g} "
            "GPa: the elastic constants are uncertain by that much more than their intervals say."
        )
    if violation["rotation_relative"] > NOTICEABLE:
        words.append(
            "The force constants are not invariant under rotation (forces of "
            f"{violation['rotation_eV_per_angstrom']:.2g} eV/Å per radian, "
            f"{violation['rotation_relative']:.1%} of the terms that should cancel in them)."
        )
        if not centrosymmetric:
            words.append(
                "Without a centre of symmetry ω² then begins with a term linear in q: imaginary frequencies "
                "near Γ say no more than that."
            )
    if len(words) > 1:
        words.append('`invariance = "both"` in [force_constants] makes a fit obey both.')
    return words
