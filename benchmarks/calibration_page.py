"""docs/calibration.md from the results of calibration.py: every number on the page is computed here.

Usage: python benchmarks/calibration_page.py [--results FOLDER] [-o docs/calibration.md]
"""

from pathlib import Path

import jax
import numpy as np
from calibration import (
    BACKGROUND,
    CONFIGURATIONS,
    FAINTEST,
    LEVELS,
    LONGEST,
    NOISE,
    NOISE_RANGE,
    SAMPLING,
    SEED,
    SIGNAL,
    STUDIES,
    THINNED,
    results_of,
    setting,
)
from pages import table, wrapped, write_page
from scipy.stats import chi2, norm

from bayestds.diagnostics.calibration import (
    NEARLY_ZERO,
    Claim,
    coverage_test,
    holm,
    score,
    uniformity,
)
from bayestds.diagnostics.per_shell import DETERMINED, INTERVAL, RULE, WEAK, listed

BINS = 20
FAMILY_LEVEL = 0.01
"""Chance that correct ranks, or intervals, fail any test of one family."""
UNMIXED = 1.05
"""R-hat above which chains have not mixed."""

PAGE = """# Calibration: are the error bars honest?

Measured on simulated data of known truth: {names} of fcc nickel in a supercell of 3x3x3 conventional cells
at {temperature:g} K, {voxels} voxels, {points} irreducible points off the Bragg peaks, normal priors of
standard deviation {priors} eV/Å² for the shells in turn, cut off where the crystal is unstable. Every
replication is in `benchmarks/results/calibration_*.json`; sizes and seeds ({seed}) were fixed before the
run.

```console
python benchmarks/calibration.py         # the studies; goes on where it was cut off
python benchmarks/calibration_page.py    # this page
```

## Ranks: truth from the prior

For each replication the truth is drawn from the prior within the stable region, the relative noise of a
voxel log-uniformly from {low:.0%} to {high:.0%}, and log intensities from the model's own noise:
log-normal, of known size. The posterior is that of NUTS, {chains} chains of {draws} draws after {warmup},
thinned to {thinned} nearly independent ones. If all is right, the number of these below the truth is
uniform on 0 to {thinned} (simulation-based calibration, arXiv:1804.06788). Constants alone would not tell
the posterior from the prior, the log-likelihood does (arXiv:2211.02383). p-values are those of chi-square
over {bins} bins.

{ranks}

## Verdicts and words

The same replications, scored as `bayestds summary` would report them. {rule}

{verdicts}

*Misled* are those significantly different from zero whose true value has the other sign, or is smaller than
{nearly:g} posterior standard deviations; at most {one_minus:.0%} should be. The bound on the error is what
the rule promises of each verdict. Constants of one replication are correlated, so shares are less certain
than their numbers suggest.

## Coverage: one truth, many targets

The truth is that of the paper's table for these shells (`benchmarks/calibration.toml`). Intervals are
central ones; p-values are two-sided binomial, one family for each table.

### Log-normal noise of {noise:.0%} a voxel: intervals of the point fit

{normal}

### The same targets: intervals of NUTS

{mixing}

{sampled}

### Photons: Poisson counts, {faintest} in the mean at the faintest voxel, σ = √counts

Through a volume with standard errors, as measured ones come; intervals of the point fit.

{photons}

### The same counts, pooled

Counts of equivalent voxels added up before anything else, without any weights: the yardstick of the study
before. (It was added when weights of 1/σ², which favour voxels that counted less by chance, had pulled b0 and
b2 by -0.34 standard errors in the mean; weights are freed of the voxel's own noise since.)

{pooled}

### A background subtracted: {signal:g} counts in the mean on a background of {background:g}

Each voxel is measured for a time of its own, from {shortest:g} to {longest:g}; its intensity is counts over
time less the known background, σ = √counts over time. {negative} of the voxels are negative, and take part.
The prior is the default, whose scale is learned.

{subtracted}

### The same, averaged over the Laue group before

As a program writes it that symmetrises a volume: the mean of equivalent voxels at each of them, with the
error of that mean.

{symmetrised}

### Log-normal noise of {noise:.0%} a voxel, whose level the fit is not told

{learned}

### Log-normal noise of {noise:.0%} a voxel, a prior whose scale is learned: intervals of the point fit

{scale}

### The same targets: intervals of NUTS

{scale_mixing}

{scale_sampled}

### Mean over {configurations:,} configurations, ensemble noise

Sampled atom by atom; intervals of the point fit with the noise of configurations.

{ensemble}
"""


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def family(adjusted: np.ndarray) -> str:
    """What a family of tests says, in words."""
    failed = int((adjusted <= FAMILY_LEVEL).sum())
    words = f"{failed} of {adjusted.size} tests fail" if failed else f"None of {adjusted.size} tests fails"
    return (
        f"{words} at the family-wise level of {percent(FAMILY_LEVEL)} (Holm); "
        f"the smallest adjusted p-value is {adjusted.min():.2g}."
    )


def ranks_section(records: list[dict]) -> str:
    """Ranks of every quantity."""
    found = np.array([record["ranks"] for record in records])
    p_values = uniformity(found, THINNED, BINS)
    adjusted = holm(p_values)
    fifths = np.array([np.bincount(column * 5 // (THINNED + 1), minlength=5) for column in found.T])
    names = [*setting().problem.irreducible.names, "log-likelihood"]
    rows = [
        [name, *map(str, row), f"{p:.3f}", f"{q:.3f}"]
        for name, row, p, q in zip(names, fifths, p_values, adjusted, strict=True)
    ]
    head = ["", *(f"ranks {20 * i} to {20 * i + 19}" for i in range(5)), "p", "adjusted p"]
    words = f"{len(records)} replications; {len(records) / 5:g} are expected in each fifth of the ranks."
    return f"{words} {mixed(records)}\n\n{table(head, rows)}\n\n{family(adjusted)}"


def mixed(records: list[dict]) -> str:
    """How well the chains of all replications have mixed, in words."""
    r_hat, ess = (np.array([record[key] for record in records]) for key in ("r_hat", "ess"))
    n_draws = SAMPLING["chains"] * SAMPLING["draws"]
    return (
        f"Of the {n_draws:,} draws of a posterior the worst constant has an effective sample size of "
        f"{np.median(ess):.0f} in the median and {ess.min():.0f} at worst, and an R-hat of "
        f"{np.median(r_hat):.3f} and {r_hat.max():.3f}; R-hat is above {UNMIXED} in "
        f"{(r_hat > UNMIXED).sum()} of {len(records)} replications. "
        f"{sum(record['divergences'] for record in records)} of all {len(records) * n_draws:,} "
        "trajectories diverge."
    )


def coverage_section(records: list[dict], kind: str) -> str:
    """Coverage of the intervals of one kind, with the pulls and the claims of the point fit."""
    hits = np.array([record[kind] for record in records])
    adjusted = holm(coverage_test(hits, LEVELS))
    pulls = np.array([record["claims"]["pull"] for record in records])
    told = np.array([record["claims"]["told"] for record in records])
    size = np.abs(setting().truth) / np.mean([record["sd"] for record in records], axis=0)

    def row(name: str, part: slice) -> list[str]:
        shares = map(percent, hits[:, :, part].mean(axis=(0, 2)))
        pull = pulls[:, part]
        return [name, *shares, f"{adjusted[:, part].min():.3f}", f"{pull.mean():+.2f}", f"{rms(pull):.2f}"]

    names = setting().problem.irreducible.names
    rows = [
        [*row(name, slice(i, i + 1)), f"{size[i]:.1f}", percent(told[:, i].mean())]
        for i, name in enumerate(names)
    ]
    rows.append([*row("all", slice(None)), "", ""])
    head = ["", *(f"{level:.0%}" for level in LEVELS), "smallest adjusted p", "mean pull", "rms pull"]
    unfinished = sum(not record["converged"] for record in records)
    return (
        f"{len(records)} replications, {unfinished} fits not converged.\n\n"
        f"{table([*head, 'truth / sd', 'significantly different from zero'], rows)}\n\n"
        f"{family(adjusted)} {joint(records, len(names))} {bias(names, pulls)}"
    )


def bias(names: tuple[str, ...], pulls: np.ndarray) -> str:
    """Whether errors are zero in the mean, in words."""
    p_values = 2 * norm.sf(np.abs(pulls.mean(axis=0)) * np.sqrt(len(pulls)))
    biased = [name for name, p in zip(names, holm(p_values), strict=True) if p <= FAMILY_LEVEL]
    words = f"that of {listed(tuple(biased))} does" if biased else "none does"
    return f"Does a mean pull differ from zero? By the normal test at the same family-wise level {words}."


def joint(records: list[dict], n: int) -> str:
    """Joint chi-square of the errors of n constants, in words."""
    total = sum(record["chi_square"] for record in records)
    tail = chi2.sf(total, n * len(records))
    return (
        f"The joint chi-square of the errors is {total / len(records):.2f} in the mean where {n} is expected "
        f"(p = {2 * min(tail, 1 - tail):.2g}, two-sided)."
    )


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def claims_of(records: list[dict]) -> list[Claim]:
    """All claims of all replications."""
    columns = [record["claims"].values() for record in records]
    return [Claim(*row) for claims in columns for row in zip(*claims, strict=True)]


def verdicts_section(records: list[dict]) -> str:
    """How the verdicts and the words of the reports fare."""
    made = claims_of(records)
    bounds = {"determined": (1 - DETERMINED) ** 0.5, "weak": (1 - WEAK) ** 0.5, "prior-dominated": np.nan}
    rows = []
    for verdict in (*bounds, "all"):
        s = score([c for c in made if verdict in (c.verdict, "all")])
        if not s.claims:
            continue
        bound = f"{bounds[verdict]:.2f}" if np.isfinite(bounds.get(verdict, np.nan)) else ""
        shares = [percent(share) for share in (s.told, s.misled, s.inside)]
        rows.append([verdict, str(s.claims), *shares, f"{s.error:.3f}", bound, f"{s.pull:.2f}"])
    head = [
        "verdict",
        "constants",
        "significantly different from zero",
        "of these misled",
        f"inside {INTERVAL:.0%}",
    ]
    return table([*head, "rms error / prior sd", "its bound", "rms pull"], rows)


def page(folder: Path) -> str:
    """The page with the results of all studies."""
    problem = setting().problem
    by_shell = {
        int(s): scale for s, scale in zip(problem.irreducible.shells, problem.prior_scales, strict=True)
    }
    found = {study: results_of(study, folder) for study in STUDIES}
    text = PAGE.format(
        names=f"{problem.irreducible.n_irreducible} constants ({', '.join(problem.irreducible.names)})",
        temperature=problem.volumes[0].temperature,
        voxels="x".join(str(len(axis)) for axis in problem.volumes[0].grid.axes.coordinates),
        points=len(problem.volumes[0].grid.q_points),
        priors=", ".join(f"{scale:.2g}" for scale in by_shell.values()),
        seed=SEED,
        low=NOISE_RANGE[0],
        high=NOISE_RANGE[1],
        **SAMPLING,
        thinned=THINNED,
        bins=BINS,
        ranks=ranks_section(found["ranks"]),
        rule=RULE,
        verdicts=verdicts_section(found["ranks"]),
        nearly=NEARLY_ZERO,
        one_minus=1 - INTERVAL,
        noise=NOISE,
        normal=coverage_section(found["log-normal"], "normal"),
        mixing=mixed(found["log-normal"]),
        sampled=coverage_section(found["log-normal"], "sampled"),
        faintest=FAINTEST,
        photons=coverage_section(found["photons"], "normal"),
        pooled=coverage_section(found["pooled"], "normal"),
        signal=SIGNAL,
        background=BACKGROUND,
        shortest=1 / LONGEST,
        longest=LONGEST,
        negative=percent(np.mean([record["negative"] for record in found["subtracted"]])),
        subtracted=coverage_section(found["subtracted"], "normal"),
        symmetrised=coverage_section(found["symmetrised"], "normal"),
        learned=coverage_section(found["learned"], "normal"),
        scale=coverage_section(found["scale"], "normal"),
        scale_mixing=mixed(found["scale"]),
        scale_sampled=coverage_section(found["scale"], "sampled"),
        configurations=CONFIGURATIONS,
        ensemble=coverage_section(found["ensemble"], "normal"),
    )
    return "\n\n".join(map(wrapped, text.split("\n\n")))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    write_page(page, "calibration.md", __doc__)
