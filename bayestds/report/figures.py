"""Charts of the report page that any result has: force constants, residuals, the way to the fit."""

from typing import Any

import numpy as np
from markupsafe import Markup
from scipy.stats import norm

from bayestds.report.svg import SUPERSCRIPT, Chart, Number

ROW = 17.0
"""Height of a row of a chart with one row per constant."""

MOST_CORRELATED = 40
"""Constants above which a correlation matrix is too fine to be read."""

N_BINS = 41


def _rows(names: list[str]) -> tuple[tuple[float, float], list[tuple[Number, str]]]:
    """Ends and ticks of an axis with one row per name, the first on top."""
    return (0.5 - len(names), 0.5), [(-i, name) for i, name in enumerate(names)]


def _row_chart(names: list[str], x: tuple[Number, Number], label: str, ticks: Any = None) -> Chart:
    ends, labels = _rows(names)
    left = 18 + 7.5 * max(map(len, names))
    return Chart(x, ends, label, size=(360, 58 + ROW * len(names)), x_ticks=ticks, y_ticks=labels, left=left)


def forest_chart(constants: dict[str, dict[str, Any]], prior_sd: np.ndarray, reference: Any) -> Markup:
    """Each constant and its 95 % interval in units of the prior's standard deviation, over the prior.

    Args:
        constants: the `ifcs` of the record of a result.
        prior_sd: (n_irreducible,) eV/Å².
        reference: (n_irreducible,) eV/Å² to compare with, or None.
    """
    names = list(constants)
    mean, low, high = (
        np.array([c[key] for c in constants.values()]) / prior_sd
        for key in ("mean", "interval_low", "interval_high")
    )
    reach = np.nanmax([2.2, *np.abs(mean), *np.abs(low), *np.abs(high)]) * 1.05
    chart = _row_chart(names, (-reach, reach), "value / standard deviation of the prior")
    at = -np.arange(len(names), dtype=float)
    chart.shade(-2, 2)
    chart.shade(-1, 1)
    chart.vertical(0)
    chart.segments(low, at, high, at, "c1 thick")
    chart.dots(mean, at, "c1")
    if reference is not None:
        chart.dots(reference / prior_sd, at, "c2 hollow", 5.5)
    return chart.svg(
        "Force constants over their priors",
        f"{len(names)} constants with 95 % intervals in units of the prior standard deviation; the table "
        "below has the numbers",
    )


def scale_chart(constants: dict[str, dict[str, Any]], prior_sd: np.ndarray) -> Markup:
    """Size and standard deviation of each constant and its prior, on a logarithmic axis."""
    names = list(constants)
    mean, sd = (np.array([c[key] for c in constants.values()]) for key in ("mean", "sd"))
    with np.errstate(divide="ignore", invalid="ignore"):
        size, error, prior = (np.log10(np.abs(values)) for values in (mean, sd, prior_sd))
    finite = np.concatenate([values[np.isfinite(values)] for values in (size, error, prior)])
    low, high = np.floor(finite.min() - 0.1), np.ceil(finite.max() + 0.1)
    step = max(1, int(np.ceil((high - low) / 6)))
    ticks = [(p, f"10{str(int(p)).translate(SUPERSCRIPT)}") for p in np.arange(low, high + 1, step)]
    chart = _row_chart(names, (low, high), "eV/Å²", ticks)
    at = -np.arange(len(names), dtype=float)
    chart.segments(error, at, prior, at, "c1 thin")
    chart.dots(prior, at, "grey hollow", 4)
    chart.dots(error, at, "c1")
    # As a stroke, so that it shows beside a disc at the same place.
    chart.segments(size, at - 0.35, size, at + 0.35, "c2 thick")
    return chart.svg(
        "What was learned",
        "standard deviation of each constant after and before the measurement, and its size; the table "
        "below has the numbers",
    )


def correlation_chart(names: list[str], covariance: np.ndarray) -> Markup | None:
    """Correlations of the constants, as squares; None for too many constants or none known."""
    if len(names) > MOST_CORRELATED or not np.isfinite(covariance).all():
        return None
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd)
    ends, labels = _rows(names)
    n, left = len(names), 18 + 7.5 * max(map(len, names))
    step = max(1, int(np.ceil(n / 18)))
    across = [(i, name) for i, name in enumerate(names)][::step]
    size = (360, 360 - left + 20)
    chart = Chart((-0.5, n - 0.5), ends, size=size, x_ticks=across, y_ticks=labels[::step], left=left)
    row, column = (index.ravel() for index in np.indices((n, n)))
    for sign, css in ((1, "c1"), (-1, "c2")):
        for level in range(1, 11):
            strength = np.ceil(np.abs(correlation.ravel()) * 10 - 1e-9).clip(1, 10)
            use = (strength == level) & (np.sign(correlation.ravel()) == sign)
            x, y = column[use], -row[use]
            chart.boxes(x - 0.46, x + 0.46, y - 0.46, y + 0.46, f"solid {css} o{level}")
    return chart.svg("Correlations of the force constants", "the largest are listed in the text")


def residual_histogram(standardised: np.ndarray, multiplicity: np.ndarray) -> Markup:
    """Histogram of residuals in units of their standard errors, with the normal distribution.

    Args:
        standardised: (n_q,) residuals of the irreducible points.
        multiplicity: (n_q,) voxels of each.
    """
    largest = float(np.quantile(np.abs(standardised), 0.999))
    reach = min(1.1 * largest, 12.0) if largest > 0 else 1.0
    edges = np.linspace(-reach, reach, N_BINS + 1)
    heights = np.histogram(standardised.clip(-reach, reach), edges, weights=multiplicity)[0]
    heights = heights / heights.sum() / (edges[1] - edges[0])
    middle = np.linspace(-reach, reach, 161)
    normal = norm.pdf(middle)
    shown = normal if reach > 1 else np.zeros(1)
    top = 1.08 * max(heights.max(), shown.max())
    chart = Chart((-reach, reach), (0, top), "residual / its standard error", "probability density")
    chart.bars(edges, heights, "area c1")
    if reach > 1:
        chart.line(middle, normal, "ink")
    return chart.svg("Histogram of the residuals", f"{N_BINS} bins from {-reach:.3g} to {reach:.3g}")


def residual_against_q(
    length: np.ndarray, residual: np.ndarray, variance: np.ndarray, multiplicity: np.ndarray
) -> Markup:
    """Root mean square of the residual, and the noise that was assumed, in bins of |Q|.

    Args:
        length: (n_q,) |Q|, Å⁻¹.
        residual: (n_q,) of ln I.
        variance: (n_q,) of the noise of each point.
        multiplicity: (n_q,) voxels of each.
    """
    edges = np.linspace(length.min(), length.max(), 21)
    place = np.clip(np.digitize(length, edges) - 1, 0, 19)
    total = np.bincount(place, multiplicity, 20)
    with np.errstate(invalid="ignore", divide="ignore"):
        rms, noise = (
            np.sqrt(np.bincount(place, multiplicity * squares, 20) / total)
            for squares in (residual**2, variance)
        )
    middle = (edges[1:] + edges[:-1]) / 2
    top = 1.1 * max(np.nanmax(rms), 1e-300)
    noise_shown = np.nanmax(noise) < 20 * top
    top = max(top, 1.1 * np.nanmax(noise)) if noise_shown else top
    chart = Chart((edges[0], edges[-1]), (0, top), "|Q| (Å⁻¹)", "rms residual of ln I")
    if noise_shown:
        chart.line(middle, noise, "ink dashed")
    chart.line(middle, rms, "c1")
    chart.dots(middle, rms, "c1", 2.5)
    return chart.svg(
        "Residual against |Q|", f"rms in 20 bins, from {np.nanmin(rms):.3g} to {np.nanmax(rms):.3g}"
    )


def history_chart(rms: np.ndarray) -> Markup | None:
    """Residual after each round of the fit, (n_rounds,); None for fewer than two rounds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(rms)
    if np.isfinite(shown).sum() < 2:
        return None
    low, high = np.floor(np.nanmin(shown[np.isfinite(shown)])), np.ceil(np.nanmax(shown[np.isfinite(shown)]))
    step = max(1, int(np.ceil((high - low) / 5)))
    ticks = [(p, f"10{str(int(p)).translate(SUPERSCRIPT)}") for p in np.arange(low, high + 1, step)]
    rounds = np.arange(1, len(rms) + 1, dtype=float)
    every = max(1, len(rms) // 8)
    chart = Chart(
        (0.7, len(rms) + 0.3),
        (low, max(high, low + 1)),
        "round",
        "rms residual of ln I",
        x_ticks=[(i, f"{i:g}") for i in rounds[::every]],
        y_ticks=ticks,
        left=58,
    )
    chart.line(rounds, shown, "c1")
    chart.dots(rounds, shown, "c1")
    return chart.svg(
        "The way to the fit", f"rms residual from {rms[0]:.3g} to {rms[-1]:.3g} in {len(rms)} rounds"
    )
