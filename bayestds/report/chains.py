"""Charts of the report page that only a posterior has: its chains, and what it predicts."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from scipy.stats import gaussian_kde, norm, rankdata

from bayestds.report.svg import Chart

TRACE_POINTS = 200
"""Draws of a chain that are shown; more would only blacken the chart."""

RANK_BINS, PIT_BINS = 20, 20

LEAST_BFMI = 0.3
"""Bayesian fraction of missing information below which momenta hinder the sampler (Betancourt 2016,
arXiv:1604.00695)."""

EXPECTED = 0.95
"""Probability with which a bar of uniform ranks stays in the shaded strip."""


def bfmi(energy: np.ndarray) -> np.ndarray:
    """Bayesian fraction of missing information (chains,) of energies (chains, draws).

    Betancourt, arXiv:1604.00695: mean squared change of the energy over its variance.
    """
    return np.mean(np.diff(energy, axis=1) ** 2, axis=1) / np.var(energy, axis=1, ddof=1)


def trace_chart(name: str, draws: np.ndarray) -> Markup:
    """Draws of a constant by chain (chains, draws), eV/Å², thinned evenly."""
    n_draws = draws.shape[1]
    shown = np.unique(np.linspace(0, n_draws - 1, TRACE_POINTS).astype(int))
    room = 0.05 * np.ptp(draws)
    chart = Chart(
        (0, n_draws), (draws.min() - room, draws.max() + room), "draw", f"{name} (eV/Å²)", (360, 170), left=70
    )
    for i, chain in enumerate(draws):
        chart.line(shown, chain[shown], f"thin {_colour(i)}")
    return chart.svg(f"Trace of {name}", f"{len(draws)} chains of {n_draws} draws")


def rank_chart(name: str, draws: np.ndarray) -> Markup:
    """Ranks of each chain's draws (chains, draws) among all, which are uniform where chains agree."""
    n_chains, n_draws = draws.shape
    ranks = rankdata(draws, method="average").reshape(draws.shape)
    n_bins = min(RANK_BINS, n_draws)
    edges = np.linspace(0.5, draws.size + 0.5, n_bins + 1)
    counts = np.array([np.histogram(row, edges)[0] for row in ranks]) / (n_draws / n_bins)
    # Hypergeometric: the bins share out the ranks of all chains.
    variance = n_bins / n_draws * (1 - 1 / n_bins) * (draws.size - n_draws) / max(draws.size - 1, 1)
    spread = np.sqrt(variance) * norm.ppf((1 + EXPECTED) / 2)
    top = max(2.0, 1.05 * counts.max())
    chart = Chart((0, 1), (0, top), f"rank of {name} (share of all draws)", "count / expected", (360, 170))
    chart.shade(1 - spread, 1 + spread, upright=False)
    for i, row in enumerate(counts):
        chart.line(np.repeat(np.linspace(0, 1, n_bins + 1), 2)[1:-1], np.repeat(row, 2), _colour(i))
    return chart.svg(
        f"Ranks of {name}", f"{n_chains} chains in {n_bins} bins, {counts.min():.2f} to {counts.max():.2f}"
    )


def energy_chart(energy: np.ndarray) -> Markup:
    """Distributions of the energy and of its change between draws, (chains, draws)."""
    marginal, change = (energy - energy.mean()).ravel(), np.diff(energy, axis=1).ravel()
    reach = 1.02 * max(np.abs(marginal).max(), np.abs(change).max())
    edges = np.linspace(-reach, reach, 42)
    both = [np.histogram(values, edges, density=True)[0] for values in (marginal, change)]
    chart = Chart((-reach, reach), (0, 1.08 * max(map(np.max, both))), "energy", "probability density")
    chart.bars(edges, both[0], "area c1")
    chart.line(np.repeat(edges, 2)[1:-1], np.repeat(both[1], 2), "c2")
    return chart.svg("Energy of the sampler", "histograms of the energy and of its changes")


def prior_posterior_chart(name: str, prior_sd: float, posterior: np.ndarray) -> Markup:
    """Density of a constant in the prior and, by its draws (n,), in the posterior, eV/Å²."""
    x = np.linspace(-2.5 * prior_sd, 2.5 * prior_sd, 121)
    low, high = min(x[0], posterior.min()), max(x[-1], posterior.max())
    prior = norm.pdf(x, 0, prior_sd)
    near = np.linspace(posterior.min(), posterior.max(), 61)
    # Scaled to a common height: the densities of a sharp posterior and its prior share no axis.
    density = gaussian_kde(posterior)(near) if np.ptp(posterior) > 0 else np.ones(61)
    chart = Chart((low, high), (0, 1.1), f"{name} (eV/Å²)", size=(360, 130), y_ticks=[], left=12)
    chart.band(x, np.zeros_like(x), prior / prior.max(), "grey")
    chart.band(near, np.zeros_like(near), density / density.max(), "c1")
    chart.line(near, density / density.max(), "c1")
    return chart.svg(
        f"Prior and posterior of {name}",
        f"prior standard deviation {prior_sd:.3g}, posterior {posterior.mean():.4g} ± {posterior.std():.2g}",
    )


@dataclass(frozen=True)
class PredictiveCheck:
    """Observed intensities against replicated ones.

    Attributes:
        ranks: chart of the ranks of the observed among the replicated.
        spread: chart of the spread of residuals, observed and replicated.
        exceeding: share of the replicates whose spread is larger than the observed one.
    """

    ranks: Markup
    spread: Markup
    exceeding: float


def predictive_check(observed: np.ndarray, replicated: np.ndarray, weight: np.ndarray) -> PredictiveCheck:
    """Compare observed intensities with those that draws of the posterior predict.

    Args:
        observed: (n_q,) residuals from the point fit.
        replicated: (n_replicates, n_q) the same of predictions.
        weight: (n_q,) voxels of each point.
    """
    n = len(replicated)
    below = (replicated < observed).sum(axis=0)
    # One of n + 1 places, put into bins with the share of the places that fall there.
    edges = np.linspace(0, n + 1, min(PIT_BINS, n + 1) + 1)
    bins, width = len(edges) - 1, np.diff(edges)[0]
    counts = np.histogram(below + 0.5, edges)[0] / (len(observed) * width / (n + 1))
    spread = norm.ppf((1 + EXPECTED) / 2) * np.sqrt((bins - 1) / len(observed))
    ranks = Chart((0, 1), (0, max(2.0, 1.08 * counts.max())), "rank among predictions", "count / expected")
    ranks.shade(1 - spread, 1 + spread, upright=False)
    ranks.bars(edges / edges[-1], counts, "area c1")
    ranks.horizontal(1.0)

    def spreads(values: np.ndarray) -> np.ndarray:
        apart = values - np.average(values, axis=-1, weights=weight)[..., None]
        return np.sqrt(np.average(apart**2, axis=-1, weights=weight))

    found, own = spreads(replicated), float(spreads(observed[None])[0])
    values = np.append(found, own)
    room = 0.15 * max(np.ptp(values), 1e-3 * values.max())
    ends = (values.min() - room, values.max() + room)
    heights, places = np.histogram(found, np.linspace(*ends, 31))
    chart = Chart(ends, (0, 1.1 * heights.max()), "rms residual of ln I", "predictions")
    chart.bars(places, heights.astype(float), "area c1")
    chart.vertical(own, "c2 thick")
    return PredictiveCheck(
        ranks.svg(
            "Ranks of the observed intensities", f"{bins} bins, {counts.min():.2f} to {counts.max():.2f}"
        ),
        chart.svg(
            "Spread of the residuals", f"observed {own:.4g}, predicted {found.min():.4g} to {found.max():.4g}"
        ),
        float(np.mean(found > own)),
    )


def _colour(number: int) -> str:
    return f"c{number % 4 + 1}"
