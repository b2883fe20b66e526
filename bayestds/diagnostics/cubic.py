"""Third-order force constants of a result: how anharmonic the data are, what is known of each constant."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.dataset import CUBIC, ERRORS, POSTERIOR, chain_diagnostics
from bayestds.diagnostics.draws import posterior_draws
from bayestds.diagnostics.per_shell import summarise_draws, summarise_normal, summarise_shells
from bayestds.diagnostics.residuals import ResidualReport
from bayestds.inference.fit_result import PointFit


@dataclass(frozen=True)
class Anharmonicity:
    """What third-order constants explain of the residual that a harmonic fit of the same data leaves.

    Attributes:
        harmonic_rms, rms: of the residual of log intensity over voxels, without and with third order.
        harmonic_odd_rms, odd_rms: of its part that is odd about the Bragg points; NaN where there is none.
        explained: share of the mean square that third order explains.
        odd_explained: the same of the odd part.
        largest_move: of a second-order constant, in standard errors of the harmonic fit.
        moved_most: the name of that constant.
        rms_move: root mean square over the constants.
    """

    harmonic_rms: float
    rms: float
    harmonic_odd_rms: float
    odd_rms: float
    explained: float
    odd_explained: float
    largest_move: float
    moved_most: str
    rms_move: float


def compare_fits(
    names: tuple[str, ...],
    harmonic: PointFit,
    fit: PointFit,
    before: ResidualReport,
    after: ResidualReport,
) -> Anharmonicity:
    """A fit with third-order constants against that without, and the residuals that both leave.

    Args:
        names: of the irreducible constants.
        harmonic: the fit without.
        fit: the fit with third-order constants.
        before: residuals of the former.
        after: residuals of the latter.
    """
    moves = (fit.irreducible - harmonic.irreducible) / np.sqrt(np.diag(harmonic.covariance))
    most = int(np.argmax(np.abs(moves)))
    return Anharmonicity(
        before.rms,
        after.rms,
        before.odd_rms,
        after.odd_rms,
        1 - (after.rms / before.rms) ** 2,
        1 - (after.odd_rms / before.odd_rms) ** 2,
        float(moves[most]),
        names[most],
        float(np.sqrt(np.mean(moves**2))),
    )


def anharmonicity(tree: xr.DataTree) -> dict[str, Any] | None:
    """The :class:`Anharmonicity` that a result holds, None of one without third order."""
    return json.loads(tree.attrs.get("anharmonicity", "null"))


def anharmonic_words(found: dict[str, Any] | None) -> list[str]:
    """An :class:`Anharmonicity` in sentences, from its fields by name."""
    if found is None:
        return []
    odd = found["odd_explained"]
    share = (
        "" if odd is None or not np.isfinite(odd) else f" ({odd:.1%} of its part odd about the Bragg points)"
    )
    said = (
        f"Third-order constants explain {found['explained']:.1%} of the mean square residual of the harmonic "
        f"fit{share}: rms of ln I {found['harmonic_rms']:.3g} without them, {found['rms']:.3g} with them."
    )
    if found["largest_move"] is None or not np.isfinite(found["largest_move"]):
        return [said]
    return [
        said,
        f"They move second-order constants by {found['rms_move']:.2g} standard errors of the harmonic fit "
        f"(rms), at most by {abs(found['largest_move']):.2g} ({found['moved_most']}).",
    ]


def cubic_moments(tree: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_cubic,), eV/Å³, and covariance (n_cubic, n_cubic) of the third-order constants of a result."""
    if tree.attrs["kind"] == POSTERIOR:
        draws = posterior_draws(tree, CUBIC)
        return draws.mean(axis=0), np.atleast_2d(np.cov(draws.T))
    fit = tree[CUBIC].dataset
    return fit["value"].values, fit["covariance"].values


def cubic_record(tree: xr.DataTree, stiffness: float, sound: bool) -> dict[str, Any]:
    """Third-order constants and shells in the record of a result; empty ones of a harmonic result.

    Args:
        tree: the result.
        stiffness: relative standard deviation of the overall stiffness.
        sound: whether the fit may call shells determined.
    """
    if CUBIC not in tree.children:
        return {"cubic": {}, "cubic_shells": {}, "anharmonicity": None}
    fit = tree[CUBIC].dataset
    names = tuple(str(name) for name in fit["third_order"].values)
    prior_sd = fit["prior_scale"].values
    mean, covariance = cubic_moments(tree)
    if tree.attrs["kind"] == POSTERIOR:
        constants = summarise_draws(posterior_draws(tree, CUBIC), prior_sd)
    else:
        constants = summarise_normal(mean, fit["standard_error"].values, prior_sd)
    shells = summarise_shells(names, fit["shell"].values, constants, covariance, prior_sd, stiffness, sound)
    chains = chain_diagnostics(tree, CUBIC)
    found = {}
    for i, (name, constant) in enumerate(zip(names, constants, strict=True)):
        found[name] = asdict(constant) | {
            "signal_to_noise": constant.signal_to_noise,
            **{key: float(chains[key][i]) if chains else None for key in ("r_hat", "ess_bulk", "ess_tail")},
            "shell": int(fit["shell"].values[i]),
            **{key: float(fit[error].values[i]) for key, error in ERRORS.items()},
        }
    return {
        "cubic": found,
        "cubic_shells": {str(number): asdict(shell) for number, shell in shells.items()},
        "anharmonicity": anharmonicity(tree),
    }
