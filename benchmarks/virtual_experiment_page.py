"""docs/virtual_experiment.md from the results of virtual_experiment.py: all its numbers are computed here.

Usage: python benchmarks/virtual_experiment_page.py [--results FOLDER] [-o docs/virtual_experiment.md]
"""

import json
from pathlib import Path

import numpy as np
from pages import table, wrapped, write_page
from scipy.stats import chi2, kstest, norm
from virtual_experiment import CRYSTALS, DIM, LEFT_OUT, LEFT_OUT_OF_COUNTS, POINTS

from bayestds.diagnostics.per_shell import listed

LEVELS = (0.5, 0.8, 0.95)
TAIL = 1e-3
"""Chance on either side that a quantity of correct intervals leaves its band."""

DRAWS = 20_000
LARGE = 10
"""Relative errors from which on they are given as multiples, and numbers as such without decimals."""

NAMES = {"ni": "fcc Ni", "nacl": "rocksalt NaCl", "si": "diamond Si"}

PAGE = """# A virtual X-ray experiment

What a beamline measures, simulated with all of it at once and fitted: quantum statistics, form factors,
polarisation, a smooth background, Compton scattering, resolution and mosaic spread, gaps of the detector,
40 % of the turn unmeasured, Poisson counts, and 0.1 % of hot pixels, which count a hundred times too much.
Are the force constants recovered within their standard errors, and how far wrong is a fit that leaves one
of these effects out?

One experiment is two commands:

```console
bayestds simulate benchmarks/virtual_ni.toml -o ni.nc
bayestds fit benchmarks/virtual_ni.toml ni.nc
```

This page is two more:

```console
python benchmarks/virtual_experiment.py         # all fits; goes on where it was cut off
python benchmarks/virtual_experiment_page.py    # this page
```

{machine}

{sizes}

The shells that were simulated are those that are fitted, with the shipped constants of these crystals. The
mesh of the simulation is four times finer in each direction than that of the fit, and no voxel is a wave
vector of either. The scale, Compton scattering and the smooth background (4 terms) are fitted with the
constants; form factors, polarisation, resolution, mosaic spread and statistics are taken as known. Diffuse
share is the part of a voxel's expected counts that phonons have scattered. Counts and shares are the
smallest, the median and the largest.

## Recovery

{recovery}

{verdict}

Bands hold {band:.1%} of what correct intervals give, with the correlations between constants that the fit
states (of chi-square, of the rms of pulls, of shares). Numbers of replications were not fixed beforehand:
all that were run with these models and this code are here, over 20 as far as time allowed. p is that of a
Kolmogorov-Smirnov test of the joint chi-squares against their distribution.

{by_constant}

{mesh}

{resolution}

## What happens if an effect is left out

Fits to expected counts, free of noise, so that all that is left is the error made. *Largest error*: of any
constant, relative to its true value or to the standard error that the very fit states; *chi-square*: of all
constants together, with that fit's covariance, to be compared with their number; *residual*: chi-square per
degree of freedom that a measurement would show, by which one would notice. The finer mesh is left out of
the simulation: what remains is the pull of the priors. With the resolution in full, these counts are means
over {points} points of the resolution of each voxel, where the fit has six.

{left_out}

{unnoticed}

The smooth background stands in for Compton scattering that is left out; without both the fit is lost.

With counts, means over replications; the first row is the fit of the same counts with all effects. Without
the Poisson likelihood, voxels have standard errors √N and those without counts are dropped: fitted as this
package does it, with weights freed of the noise of the very voxel, and with the weights 1/N of each voxel as
it is. The last rows are a volume that was measured for a short time, {dim:g} counts a voxel.

{counts}
"""


def short(number: float) -> str:
    return f"{number:.2f}" if number < LARGE else f"{number:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def bands(correlation: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands of the rms pull (2,) and of coverages (2, n_levels) of n replications with correct intervals."""
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(correlation)
    pulls = rng.normal(size=(DRAWS, n, len(root))) @ root.T
    inside = [(np.abs(pulls) < norm.ppf((1 + level) / 2)).mean(axis=(1, 2)) for level in LEVELS]
    ends = [TAIL, 1 - TAIL]
    return np.quantile(np.sqrt((pulls**2).mean(axis=(1, 2))), ends), np.quantile(inside, ends, axis=1)


def recovery_row(name: str, found: dict) -> tuple[list[str], bool]:
    """One crystal's row, and whether all of it is within its band."""
    records = found["replications"]
    pulls = np.array([np.array(one["error"]) / one["sd"] for one in records])
    squares = np.array([one["chi_square"] for one in records])
    n, k = pulls.shape
    rms_band, cover_bands = bands(np.array(found["left out"]["nothing"]["correlation"]), n)
    rms = np.sqrt((pulls**2).mean())
    square_band = chi2.ppf([TAIL, 1 - TAIL], n * k) / n
    shares = [float((np.abs(pulls) < norm.ppf((1 + level) / 2)).mean()) for level in LEVELS]
    passed = bool(
        rms_band[0] <= rms <= rms_band[1]
        and square_band[0] <= squares.mean() <= square_band[1]
        and all(low <= share <= high for share, low, high in zip(shares, *cover_bands, strict=True))
        and all(one["converged"] for one in records)
    )
    row = [
        name,
        str(n),
        f"{rms:.2f} ({rms_band[0]:.2f} to {rms_band[1]:.2f})",
        *(
            f"{100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
            for share, low, high in zip(shares, *cover_bands, strict=True)
        ),
        f"{squares.mean():.2f} ({square_band[0]:.2f} to {square_band[1]:.2f})",
        str(k),
        f"{kstest(squares, chi2(k).cdf).pvalue:.2f}",
        "PASS" if passed else "FAIL",
    ]
    return row, passed


def recovery(results: dict) -> tuple[str, str]:
    """The table of all crystals, and what it says in words."""
    rows, verdicts = zip(
        *(recovery_row(NAMES[crystal], results[crystal]) for crystal in results), strict=True
    )
    head = ["", "replications", "rms pull", *(f"inside {100 * level:.0f} %" for level in LEVELS)]
    head += ["mean joint chi-square", "constants", "p", ""]
    failed = tuple(NAMES[crystal] for crystal, passed in zip(results, verdicts, strict=True) if not passed)
    words = (
        "Within the bands everywhere."
        if not failed
        else f"Outside a band, or not converged: {listed(failed)}."
    )
    return table(head, list(rows)), words


def by_constant(results: dict) -> str:
    """Values, standard errors and mean pulls, constant by constant."""
    parts = []
    for crystal, found in results.items():
        records, size = found["replications"], found["size"]
        errors, sd = (np.array([one[key] for one in records]) for key in ("error", "sd"))
        expected = found["left out"]["nothing"]
        shift = np.array(expected["error"]) / expected["sd"]
        rows = [
            [
                constant,
                f"{size['truth'][i]:+.4f}",
                f"{sd[:, i].mean():.4f}",
                f"{(errors[:, i] / sd[:, i]).mean():+.2f}",
                f"{(errors[:, i] / sd[:, i]).std(ddof=1):.2f}",
                f"{shift[i]:+.3f}",
            ]
            for i, constant in enumerate(size["names"])
        ]
        head = [
            NAMES[crystal],
            "truth, eV/Å²",
            "standard error",
            "mean pull",
            "sd of pulls",
            "pull without noise",
        ]
        parts.append(table(head, rows))
    few = min(len(found["replications"]) for found in results.values())
    parts.append(
        f"A mean of {few} pulls has a standard deviation of {1 / np.sqrt(few):.2f} by chance. The last "
        "column is what the coarser mesh and the priors, all about zero, do to a fit of the expected counts."
    )
    return "\n\n".join(parts)


def mesh(results: dict) -> str:
    """What is left of mesh and priors, and whether the command ends where these fits do."""
    shares = [
        f"{found['left out']['nothing']['chi_square']:.2f}, of the priors alone "
        f"{found['left out']['the finer mesh']['chi_square']:.2f}, over {len(found['size']['names'])} "
        f"constants ({NAMES[crystal]})"
        for crystal, found in results.items()
    ]
    text = f"Joint chi-square of that shift: {'; '.join(shares)}."
    commands = {NAMES[c]: found["as command"] for c, found in results.items() if "as command" in found}
    if commands:
        apart = max(one["apart"] for one in commands.values())
        text += (
            f" Fitted as `bayestds fit` does it, from the start of the model file, replication 0 "
            f"({listed(tuple(commands))}) ends within {apart:.2g} standard errors of the fit from the truth."
        )
    return text


def resolution(results: dict) -> str:
    """How far a resolution of six points leads astray."""
    shifts = []
    for crystal, found in results.items():
        one = found["left out"]["the finer mesh, resolution in full"]
        error, sd = np.array(one["error"]), np.array(one["sd"])
        where = worst(error, sd, found["size"]["names"], percents=False)
        shifts.append(f"{NAMES[crystal]} {where}, joint chi-square {one['chi_square']:.2f}")
    return (
        "The resolution of a voxel is a mean over six points in the data as in the fit, which pulls do not "
        f"test. Were it a mean over {POINTS} in the data, the largest error of a constant, in standard "
        f"errors, would be: {'; '.join(shifts)}."
    )


def worst(error: np.ndarray, unit: np.ndarray, names: list[str], percents: bool) -> str:
    """The largest error in a unit, with the name of its constant."""
    ratio = error / unit
    i = int(np.abs(ratio).argmax())
    if not percents:
        return f"{ratio[i]:+.3g} ({names[i]})"
    number = f"{100 * ratio[i]:+.3g} %" if abs(ratio[i]) < LARGE else f"{ratio[i]:+.0f} times"
    return f"{number} ({names[i]})"


def left_out(results: dict) -> str:
    """Tables of the fits to expected counts."""
    parts = []
    for crystal, found in results.items():
        names, truth = found["size"]["names"], np.array(found["size"]["truth"])
        first = [i for i, name in enumerate(names) if name.startswith("b")]
        rows = []
        for effect in LEFT_OUT:
            one = found["left out"][effect]
            error, sd = np.array(one["error"]), np.array(one["sd"])
            mark = "" if one["converged"] else " (not converged)"
            rows.append(
                [
                    effect + mark,
                    worst(error[first], np.abs(truth[first]), [names[i] for i in first], percents=True),
                    worst(error, np.abs(truth), names, percents=True),
                    worst(error, sd, names, percents=False),
                    f"{one['chi_square']:.3g}",
                    short(1 + one["residual"]),
                ]
            )
        head = [f"{NAMES[crystal]} without", "largest error, shell 1", "of all", "in standard errors"]
        parts.append(table([*head, f"chi-square ({len(names)})", "residual"], rows))
    return "\n\n".join(parts)


def unnoticed(results: dict) -> str:
    """Which effects make a fit wrong that looks right."""
    words = []
    for crystal, found in results.items():
        size, effects = found["size"], found["left out"]
        likely = chi2.ppf(1 - TAIL, len(size["names"]))
        by_chance = 3 * np.sqrt(2 / size["points"])
        hidden = tuple(
            effect
            for effect in LEFT_OUT
            if effects[effect]["chi_square"] > likely and effects[effect]["residual"] < by_chance
        )
        words.append(f"{NAMES[crystal]}: {listed(hidden) or 'none'}")
    return (
        "Effects without which constants are wrong (chi-square beyond its 99.9 % point) while the residual "
        f"stays within three standard deviations of 1, so that nothing tells of it: {'; '.join(words)}."
    )


def of_counts(results: dict) -> str:
    """Tables of the fits to counts."""
    parts = []
    for crystal, found in results.items():
        names = found["size"]["names"]
        groups = {effect: found["left out of counts"][effect] for effect in LEFT_OUT_OF_COUNTS}
        few = min(map(len, groups.values()))
        rows = []
        for effect, records in {"nothing": found["replications"][:few], **groups}.items():
            pulls = np.array([np.array(one["error"]) / one["sd"] for one in records])
            failed = sum(not one["converged"] for one in records)
            rows.append(
                [
                    effect + (f" ({failed} not converged)" if failed else ""),
                    str(len(records)),
                    worst(pulls.mean(axis=0), np.ones(len(names)), names, percents=False),
                    f"{np.sqrt((pulls**2).mean()):.2f}",
                    f"{np.mean([one['chi_square'] for one in records]):.3g}",
                    short(float(np.mean([one["residual"] for one in records]))),
                ]
            )
        head = [f"{NAMES[crystal]} without", "replications", "largest mean pull", "rms pull"]
        parts.append(table([*head, f"chi-square ({len(names)})", "residual"], rows))
    return "\n\n".join(parts)


def sizes(results: dict) -> str:
    """What was measured, by crystal."""
    rows = []
    for crystal, found in results.items():
        size = found["size"]
        fit, simulated = ("x".join(map(str, cell)) for cell in size["supercells"])
        rows.append(
            [
                NAMES[crystal],
                str(len(size["names"])),
                simulated,
                fit,
                f"{size['voxels']:,}",
                f"{size['used']:,}",
                str(size["points"]),
                " / ".join(f"{x:.0f}" for x in size["counts of a voxel"]),
                " / ".join(percent(x) for x in size["diffuse share"]),
            ]
        )
    head = [
        "",
        "constants",
        "mesh of simulation",
        "of fit",
        "voxels",
        "used",
        "irreducible",
        "counts of a voxel",
    ]
    return table([*head, "diffuse share"], rows)


def page(folder: Path) -> str:
    """The page."""
    stored = json.loads((folder / "virtual_experiment.json").read_text("utf-8"))
    results = {crystal: stored[crystal] for crystal in CRYSTALS if crystal in stored}
    rows, verdict = recovery(results)
    seen = stored["versions"]
    text = PAGE.format(
        machine=f"Machine: {seen['machine']}; Python {seen['python']}, jax {seen['jax']}.",
        sizes=sizes(results),
        recovery=rows,
        verdict=verdict,
        band=1 - 2 * TAIL,
        by_constant=by_constant(results),
        mesh=mesh(results),
        resolution=resolution(results),
        left_out=left_out(results),
        unnoticed=unnoticed(results),
        counts=of_counts(results),
        dim=DIM,
        points=POINTS,
    )
    return "\n\n".join(map(wrapped, text.split("\n\n")))


if __name__ == "__main__":
    write_page(page, "virtual_experiment.md", __doc__)
