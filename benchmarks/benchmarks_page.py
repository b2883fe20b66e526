"""docs/benchmarks.md and its pictures from the results of the benchmarks: every number is from there.

Usage: python benchmarks/benchmarks_page.py [--results FOLDER] [-o docs/benchmarks.md]
"""

import json
from pathlib import Path
from typing import Any

from machine import in_words
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pages import HERE, table, wrapped, write_page
from speed_sections import peers, soak, speed

from bayestds.report.plots import save_figure

PICTURE = HERE.parent / "docs" / "images" / "scaling.png"

SCALING = """\
# Benchmarks

Every number on this page is from `benchmarks/results/`, where the commands that are named put it. Timings
are those of one machine on one day: *median* is that of many calls, *processor* what all cores together
worked for one call in the mean.

## How the cost grows

On {machine}, by `python benchmarks/scaling.py`: one value and gradient of the log-likelihood for all
voxels of a supercell, |h|, |k|, |l| up to a limit, each Laue orbit once. The crystals have 1 (fcc,
nickel), 2 (diamond) and 8 (A15) atoms in the primitive cell. The order of the expansion and the near
pairs are chosen for an error of 1e-4 in ln I, size by size; the error that was found is in the table. Each
size was measured twice, minutes apart, and the faster round is shown, since other work on a shared machine
slows it by a third at times. The load (processes that want to run) was {loads} on {cores}
cores.

{sizes}

![Cost against number of points](images/scaling.png)

The time grows as the voxels, or as the orbits of them that are the points, to the power of

{exponents}

Points of one supercell, the largest of fcc, are parts of them taken at random; in the other rows the
supercell grows with the points, and 1 would be a cost per voxel or point that does not depend on it. (Points
grow a little more slowly than voxels, as fewer of many lie on mirror planes.) Points are taken
in groups that fit the cache of a processor and bound the memory (`memory` in the table `[fit]` of a model
file, MiB). Up to some size a supercell costs less per point than in proportion: all of it stays in the cache,
and fewer orders do. As on the command line, memory that an evaluation frees stays with the process; from
Python `bayestds.memory.keep_freed_memory()` asks for that.

## What bounds it

Rates of one core of this machine, measured in the same run: {rates}. What one value and gradient of the
largest fcc supercell has to do, and how long that takes a core at least at these rates:

{account}

Together {least:.3f} s. Beside them the covariance of the crystal, a Cholesky factor and an inverse for one
wave vector of each star and from these the blocks of all, takes {covariance:.3f} s of one core alone
(measured). In all the processor worked {processor:.3f} s and the call took
{median:.3f} s while the load of the machine was {load:.1f}. The largest of the parts: {bound}. Bytes are
counted at the rate of main memory; groups of points keep some of them in the cache.
"""

WORDS = {
    "exponentials": ("exponentials of near pairs", "exponentials"),
    "exponents": ("their exponents and derivative, multiply-adds", "multiply_adds"),
    "polynomials": ("values and derivative of polynomials at k + G, multiply-adds", "multiply_adds"),
    "series": ("powers of the covariance, multiply-adds", "multiply_adds"),
    "transforms": ("Fourier transforms of low orders, operations", "multiply_adds"),
    "waves": ("Fourier sums of high orders, multiply-adds", "multiply_adds"),
    "bytes": ("arrays with a number or more for each point, bytes", "bytes"),
}


def sizes_table(runs: list[dict[str, Any]]) -> str:
    """A row for each size."""
    head = ["crystal", "conventional cells", "voxels", "points", "order", "near pairs"]
    head += ["error", "median (s)", "processor (s)", "µs per point", "peak (GiB)"]
    rows = []
    for run in runs:
        seconds = run["seconds"]
        row = [run["crystal"], f"{run['conventional_cells']:,}", f"{run['voxels']:,}", f"{run['points']:,}"]
        row += [str(run["order"]), str(run["near_pairs"]), f"{run['error in ln I']:.0e}"]
        row += [f"{seconds[of]:.4f}" for of in ("median", "processor")]
        row.append(f"{1e6 * seconds['processor'] / run['points']:.2f}")
        rows.append([*row, f"{run['peak_GiB']:.2f}"])
    return table(head, rows)


def picture(runs: list[dict[str, Any]]) -> Figure:
    """Processor time against points, a line for each crystal, and one of slope 1."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name in dict.fromkeys(run["crystal"] for run in runs):
        mine = [run for run in runs if run["crystal"] == name]
        points, seconds = [r["points"] for r in mine], [r["seconds"]["processor"] for r in mine]
        axes.loglog(points, seconds, "o-", label=f"{name}, atoms: {mine[0]['atoms']}")
        ends = [points[0], points[-1]]
        axes.loglog(ends, [seconds[0] * x / points[0] for x in ends], "k:", linewidth=0.8)
    axes.set_xlabel("irreducible points")
    axes.set_ylabel("processor time of value and gradient (s)")
    axes.legend(title="dotted: proportional")
    return figure


def account(run: dict[str, Any], rates: dict[str, float]) -> dict[str, float]:
    """Least seconds of each part."""
    return {part: run["operations"][part] / rates[rate] for part, (_, rate) in WORDS.items()}


def scaling(results: Path) -> str:
    """The section on the cost."""
    found = json.loads((results / "scaling.json").read_text("utf-8"))
    save_figure(picture(found["sizes"]), PICTURE)
    rates, loads = found["rates"], [run["load"] for run in found["sizes"]]
    largest = max((run for run in found["sizes"] if run["crystal"] == "fcc"), key=lambda run: run["points"])
    least = account(largest, rates)
    rows = [
        [words, f"{largest['operations'][part]:.2e}", f"{least[part]:.3f}"]
        for part, (words, _) in WORDS.items()
    ]
    units = {"multiply_adds": "multiply-adds", "bytes": "bytes copied", "exponentials": "exponentials"}
    return SCALING.format(
        machine=in_words(found["machine"]),
        sizes=sizes_table(found["sizes"]),
        loads=f"{min(loads):.1f} to {max(loads):.1f}",
        cores=found["machine"]["cores"],
        exponents=table(
            ["growth with", *(f"{of} time" for of in found["exponents"])],
            [
                [name, *(f"{values[name]:.3f}" for values in found["exponents"].values())]
                for name in found["exponents"]["median"]
            ],
        ),
        rates=", ".join(f"{value:.2e} {units[name]} a second" for name, value in rates.items()),
        account=table(["part", "number", "at least (s)"], rows),
        least=sum(least.values()),
        processor=largest["seconds"]["processor"],
        median=largest["seconds"]["median"],
        covariance=largest["covariance"]["processor"],
        load=largest["load"],
        bound=WORDS[max(least, key=lambda part: least[part])][0],
    )


def page(results: Path) -> str:
    """The page."""
    sections = {"scaling": scaling, "speed": speed, "peers": peers, "soak": soak}
    # What was not measured has no section.
    made = [section for name, section in sections.items() if (results / f"{name}.json").exists()]
    text = "\n\n".join(section(results).strip() for section in made)
    return "\n\n".join(wrapped(part) for part in text.split("\n\n")) + "\n"


if __name__ == "__main__":
    write_page(page, "benchmarks.md", __doc__)
