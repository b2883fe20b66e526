"""docs/reproduction.md from the results of paper_study.py and paper_training.py, every table computed here.

Usage: python benchmarks/paper_page.py [--results FOLDER] [-o docs/reproduction.md]
"""

import json
from pathlib import Path

import numpy as np
from pages import table, wrapped, write_page
from paper_study import rms

from bayestds.diagnostics.per_shell import INTERVAL, ConstantSummary, listed, summarise_normal

PAGE = """# The paper's studies, repeated

[arXiv:2603.28683](https://arxiv.org/abs/2603.28683) (Suchan, Mohanty, Zhai, Cai) fits fcc nickel to a volume averaged over 100,000 random configurations, from the constants of a MEAM potential, by stochastic training. Here is the same with this package: their target made anew, fitted with the exact engine and the noise of configurations, and their training beside it. Machine: 2 CPU cores (AMD EPYC), shared with other work while these ran.

```console
bayestds simulate ni_fcc_paper --engine sampled --configurations 100000 --seed 1 -o target.nc
python benchmarks/paper_study.py target.nc          # full grid, wedge and plane
python benchmarks/paper_training.py target.nc       # the paper's own training, 3,000 epochs
python benchmarks/paper_figures.py training.npz target.nc
python benchmarks/paper_page.py                     # this page
```

The target took 33 min and 0.76 GiB. An interrupted run goes on where it was, and the result is the same to the last bit.

In all tables *bound* is the Cramér-Rao bound of the displacements of these configurations, and *from displacements* the maximum-likelihood fit to the displacements themselves. Errors and standard errors (sd) are in 1e-4 eV/Å².

## Full grid (Table 1)

{full}

## Wedge of ±10° (Table 2)

{wedge}

## Ten further targets of 5,000 configurations

Seeds 101 to 110 were fixed before; all are reported (`benchmarks/results/paper_study_5000.json`). {n} is expected of each chi-square.

{further}

## A single plane through Γ (Section 3.2)

{plane}

## What is known of the fifth shell

{fifth}

## The stochastic training

Adam on the variance of ln I(observed) - ln I(sampled), 15 configurations an epoch, on every voxel that is no Bragg peak, from the MEAM constants. The paper states neither the unit of its parameters nor the weight α of the penalty for unstable crystals. Here: 0.01 eV/Å² and 1 Å²/eV, rate 0.4, halved at epochs 1,000 and 2,000. Displacements come from the block Cholesky factor; the dense one has the same law.

{training}

The error of the running mean falls below the paper's at epoch {passes:,}. The loss shows none of this: from epoch 100 on it is the variance of ln of a mean of 15 exponential intensities, 0.0689.

![Loss](images/paper_loss.png)

![Force constants by epoch, by shell; dashed: target](images/paper_evolution.png)

![Dispersion of target, start and fit](images/paper_dispersion.png)

![Target, start and fit on the plane l = 0.4, and the errors of the last two](images/paper_slices_0.4.png)
"""  # noqa: E501


def errors_section(record: dict) -> str:
    """Errors of one study, constant by constant, and what they amount to."""
    columns = ["error", "sd", "bound", "from displacements", "paper's error"]
    given = {column: 1e4 * np.array(record[column]) for column in columns}
    given["from displacements"] -= 1e4 * np.array(record["true"])
    signed = {"error", "from displacements", "paper's error"}
    rows = [
        [name, *(f"{given[c][i]:+.2f}" if c in signed else f"{given[c][i]:.2f}" for c in columns)]
        for i, name in enumerate(record["names"])
    ]
    least, most = record["smallest and largest sd / bound"]
    paper = record["paper's rms error, 1e-4 eV/Å²"]
    words = (
        f"Root-mean-square error {record['rms error, 1e-4 eV/Å²']:.2f}e-4 eV/Å² (the paper: {paper:.1f}e-4, "
        f"from its table as printed). Pulls: rms {record['rms pull']:.2f}, joint chi-square over {len(rows)} "
        f"constants {record['chi-square']:.1f}, of the fit to displacements "
        f"{record['chi-square of the fit to displacements']:.1f}. The two fits differ by "
        f"{record['rms distance to that fit, in sd']:.3f} standard errors rms. Standard errors are "
        f"{least:.3f} to {most:.3f} times the bound; they come from the noise model of the voxels. "
        f"The fit took {record['seconds']:.0f} s."
    )
    return f"{table(['', *columns], rows)}\n\n{words}"


def further_section(records: list[dict]) -> str:
    """Pulls of each further target, full grid and wedge."""
    models = list(dict.fromkeys(record["model"] for record in records))
    by_seed: dict[int, list[dict]] = {}
    for record in records:
        by_seed.setdefault(record["seed"], []).append(record)
    keys = ["rms pull", "chi-square", "rms distance to that fit, in sd"]
    rows = [
        [
            str(seed),
            f"{group[0]['chi-square of the fit to displacements']:.1f}",
            *(f"{record[key]:.2f}" for record in group for key in keys),
        ]
        for seed, group in by_seed.items()
    ]
    names = {models[0]: "full grid"} | {model: model.rsplit("_", 1)[1] for model in models[1:]}
    header = ["seed", "chi-square, displacements"]
    header += [f"{key.removesuffix(', in sd')}, {names[model]}" for model in models for key in keys]
    words = []
    for model in models:
        group = [record for record in records if record["model"] == model]
        pulls, squares = (np.array([record[key] for record in group]) for key in keys[:2])
        words.append(
            f"{names[model].capitalize()}: rms of all pulls {rms(pulls):.2f}, mean chi-square "
            f"{squares.mean():.1f}."
        )
    likely = np.mean([group[0]["chi-square of the fit to displacements"] for group in by_seed.values()])
    words.append(f"Of the fits to displacements: {likely:.1f}. Distances are in sd.")
    return f"{table(header, rows)}\n\n{' '.join(words)}"


def plane_section(full: dict, wedge: dict, plane: dict) -> str:
    """Standard errors of the three studies side by side."""
    errors = [1e4 * np.array(record["sd"]) for record in (full, wedge, plane)]
    ratio = errors[2] / errors[0]
    rows = [
        [
            name,
            *(f"{sd[i]:.2f}" for sd in errors),
            f"{ratio[i]:.1f}",
            f"{1e4 * plane['error'][i]:+.1f}",
        ]
        for i, name in enumerate(full["names"])
    ]
    header = ["", "sd, full grid", "sd, wedge", "sd, plane", "plane / full", "error, plane"]
    lost = listed(tuple(full["names"][i] for i in np.argsort(-ratio)[:4]))
    words = (
        f"The plane loses {lost} most. Its pulls have an rms of {plane['rms pull']:.2f}, a joint "
        f"chi-square of {plane['chi-square']:.1f}."
    )
    return f"{table(header, rows)}\n\n{words}"


def fifth_section(records: dict[str, dict]) -> str:
    """The constants of the fifth shell in each study, and which of them differ significantly from zero."""
    rows, words, missed = [], [], []
    for name, record in records.items():
        fifth = [i for i, constant in enumerate(record["names"]) if constant.startswith("f")]
        value, sd = (np.array(record[key])[fifth] for key in ("fit", "sd"))
        summaries = summarise_normal(value, sd, np.ones(len(fifth)))
        rows.append([name, *(interval(constant) for constant in summaries)])
        names = [record["names"][i] for i in fifth]
        told = tuple(n for n, c in zip(names, summaries, strict=True) if c.differs_from_zero)
        words.append(f"{name}: {listed(told) if told else 'none'}")
        true = np.array(record["true"])[fifth]
        missed += [
            f"{constant} on the {name}"
            for constant, summary, value in zip(names, summaries, true, strict=True)
            if not summary.interval_low <= value <= summary.interval_high
        ]
    header = ["", *(f"{name}, 1e-4 eV/Å²" for name in names)]
    rows.append(["truth", *(f"{1e4 * value:+.1f}" for value in true)])
    wrong = listed(tuple(missed)) or "none"
    return (
        f"{table(header, rows)}\n\nWith {INTERVAL:.0%} intervals. Told from zero are, {'; '.join(words)}. "
        f"Intervals that miss the truth: {wrong}. "
        "`bayestds summary` says the same of any result, with a verdict on each shell."
    )


def interval(constant: ConstantSummary) -> str:
    """An interval in 1e-4 eV/Å²."""
    return f"{1e4 * constant.interval_low:+.1f} to {1e4 * constant.interval_high:+.1f}"


def training_section(training: dict) -> str:
    """The paper's training, here and there."""
    mean, last = (
        training["error of the mean of 500 epochs"],
        training["error of the last epoch"],
    )
    rows = [
        ["epochs", f"{training['epochs']:,}", "6,000"],
        ["time per epoch", f"{training['seconds per epoch']:.2f} s, 2 CPU cores", "40 s, A100"],
        ["errors, mean of the last 500 epochs", mean, "rms 2.4e-03, largest 6.0e-03, a0 -1.5e-03 eV/Å²"],
        ["errors of the last epoch alone", last, ""],
        ["loss", f"{training['loss, mean of the last 50 epochs']:.4f}", ""],
    ]
    return table(["", "this run", "the paper (as printed, rounded)"], rows)


def page(results: Path) -> str:
    """The page."""
    main, further, training = (
        json.loads((results / f"paper_{name}.json").read_text("utf-8"))
        for name in ("study", "study_5000", "training")
    )
    full, wedge, plane = main
    text = PAGE.format(
        full=errors_section(full),
        wedge=errors_section(wedge),
        n=len(full["names"]),
        further=further_section(further),
        plane=plane_section(full, wedge, plane),
        fifth=fifth_section({"full grid": full, "wedge": wedge, "plane": plane}),
        training=training_section(training),
        passes=training["epochs to the rms error of the paper"],
    )
    return "\n\n".join(map(wrapped, text.split("\n\n")))


if __name__ == "__main__":
    write_page(page, "reproduction.md", __doc__)
