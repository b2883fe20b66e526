"""Grüneisen parameters of a result with third-order force constants, with their uncertainty."""

from typing import Any

import numpy as np

from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.diagnostics.phonon_bands import INTERVAL
from bayestds.lattice_dynamics.grueneisen import grueneisen_parameters, mean_grueneisen
from bayestds.lattice_dynamics.paths import special_points

WORDS = (
    "Grüneisen parameters -∂ ln ν/∂ ln V are those of the third-order constants of pairs. Their mean is over "
    "the modes of the supercell of the fit, each with the same weight, as in classical statistics."
)


def grueneisen_record(draws: ForceConstantDraws) -> dict[str, Any]:
    """Mode Grüneisen parameters at special points and their mean; empty without third-order constants.

    Args:
        draws: what a result says of the force constants.
    """
    if draws.third_order is None or draws.cubic_mean is None or draws.cubic_draws is None:
        return {}
    crystal, special = draws.irreducible.crystal, special_points(draws.irreducible.crystal)
    mesh = draws.supercell.k_points @ crystal.conventional_matrix.T
    wanted = np.concatenate([np.array(list(special.values())), mesh])
    pairs = [(draws.mean, draws.cubic_mean), *zip(draws.draws, draws.cubic_draws, strict=True)]
    found = np.array(
        [grueneisen_parameters(draws.irreducible, draws.third_order, *pair, wanted) for pair in pairs]
    )
    at_special, on_mesh = found[:, : len(special)], found[:, len(special) :]
    # All modes weigh alike: their frequencies do not matter.
    mean = np.array([mean_grueneisen(one, np.ones_like(one)) for one in on_mesh])
    return {
        "grueneisen": {
            "special_points": {
                name: _spread(at_special[:, i]) for i, name in enumerate(special) if name != "Γ"
            },
            "mean": _spread(mean),
            "interval": INTERVAL,
            "words": WORDS,
        }
    }


def _spread(found: np.ndarray) -> dict[str, Any]:
    """Value, standard deviation and interval of values (1 + n_draws, ...), the first at the mean."""
    low, high = np.quantile(found[1:], [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)
    sd = found[1:].std(axis=0, ddof=1)
    return {"value": found[0], "sd": sd, "interval_low": low, "interval_high": high}
