"""Sections of docs/benchmarks.md from the results of run.py, peers.py and soak.py."""

import json
from pathlib import Path
from typing import Any

from machine import in_words
from pages import table

SPEED = """\
## The grid of the paper

`make bench` on {machine}: 81³ voxels of nickel, 12,286 irreducible points, 16 constants. One *call* is the
value and the gradient of the log-likelihood; *of four* is the time per chain when four are evaluated at once.

{calls}

A posterior takes the intensity at few points that stand for all (`bayestds/inference/compression.py`):
here {few} of {points}, which changes the log-likelihood by at most {change:.0e} among draws 1.5 times as
wide as the posterior. Value and gradient of its density:

{densities}

From process start, with all imports, on the model's own measurement: {commands}. What a process compiles is
kept on disk for the next.

The algorithm of arXiv:2603.28683 takes {epoch:.2f} s per epoch on this machine, {ratio:.0f} times a call of
ours, and {recorded}. The exact fit, once compiled, takes {fit:.1f} s to its end.
"""

PEERS = """\
## Beside other programs

`make bench-peers` on {machine}, with {versions}: the same force constants and the same points, in one run.
*One shot* counts everything that follows from force constants and points: tables, choice of the engine,
evaluation, with programs compiled before; *steady* is the next evaluation, with other force constants. The
others compute values only, Euphonic and phonopy of one phonon; bayestds all orders.

{times}

How often ours fits into the time of Euphonic: {euphonic}. Euphonic and our own one-phonon intensity, with
the same Debye-Waller factors, differ by {agreement:.0e} at most; one-phonon theory lacks {median:.0%} of the
intensity in the median over the grid of the paper and {most:.0%} at worst. The largest error of our ln I in
this run is {error:.0e}. phonopy's dynamic structure factor takes {phonopy:.0f} and {phonopy_many:.0f} times
as long as our steady evaluation; dynasor, which averages over {frames} snapshots of 500 atoms, {dynasor:.0f}
and {dynasor_many:.0f} times.
"""

SOAK = """\
## Fifty fits in one process

`python benchmarks/soak.py` on {machine}: {fits} fits to volumes of equal shape, one after the other. The
first compiled {compilations_first} programs, the others {compilations_later}. Memory grew by
{largest_growth:.1%} at most once it was warm.
"""


def _read(results: Path, name: str) -> Any:
    return json.loads((results / name).read_text("utf-8"))


def speed(results: Path) -> str:
    """The section on the grid of the paper."""
    found = _read(results, "speed.json")
    calls = [
        [
            name,
            str(one["order"]),
            str(one["near pairs"]),
            f"{one['error in ln I']:.0e}",
            f"{one['ms']['median']:.1f}",
            f"{one['ms']['least']:.1f}",
            f"{one['ms per chain of four']['median']:.1f}",
            f"{one['ms per chain of four']['least']:.1f}",
        ]
        for name, one in found["value and gradient"].items()
    ]
    head = ["engine", "order", "near pairs", "error in ln I", "call (ms)", "least", "of four (ms)", "least"]
    paper = found["paper's algorithm"]
    recorded = "did not reach the paper's errors in the epochs that were recorded"
    if (epochs := paper["epochs to the rms error of the paper's Table 1"]) is not None:
        recorded = (
            f"{paper['minutes of these epochs']:.0f} min to the errors of its Table 1 ({epochs:,} epochs)"
        )
    commands = [
        f"`bayestds {name}` {one['seconds, nothing compiled before']:.0f} s, again {one['seconds']:.0f} s"
        for name, one in found["from process start"].items()
    ]
    density = found["density of the posterior"]
    rows = [
        [f"{density['points'][name]:,}"]
        + [
            f"{density[name][key][of]:.1f}"
            for key in ("ms", "ms per chain of four")
            for of in ("median", "least")
        ]
        for name in ("all", "few")
    ]
    return SPEED.format(
        few=density["points"]["few"],
        points=f"{density['points']['all']:,}",
        change=density["error of the log-likelihood"],
        densities=table(["points", "call (ms)", "least", "per chain of four (ms)", "least"], rows),
        machine=in_words(found["machine"]),
        calls=table(head, calls),
        commands=", ".join(commands),
        epoch=paper["seconds per epoch"],
        ratio=paper["epoch over a step of the exact engine"],
        recorded=recorded,
        fit=paper["seconds of the exact fit, compiled"],
    )


def peers(results: Path) -> str:
    """The section on other programs."""
    found = _read(results, "peers.json")
    few, many = found["cases"]
    names = list(few["seconds"])
    rows = [[name, *(f"{1e3 * case['seconds'][name]:.1f}" for case in (few, many))] for name in names]
    others = [name for name in few["others"] if "over" not in name]
    rows += [[name, *(f"{1e3 * case['others'][name]:,.0f}" for case in (few, many))] for name in others]
    phonopy, dynasor = (f"{name}, over bayestds" for name in others)
    ratios = [
        f"{kind} {case['Euphonic over bayestds'][kind]:.1f} times at {case['points']:,} points"
        for kind in ("one shot", "steady")
        for case in (few, many)
    ]
    lacking = few["share of intensity that one phonon lacks"]
    return PEERS.format(
        machine=in_words(found["machine"]),
        versions=", ".join(f"{name} {found['machine'][name]}" for name in ("euphonic", "phonopy", "dynasor")),
        times=table(["ms", *(f"{case['points']:,} points" for case in (few, many))], rows),
        euphonic=", ".join(ratios),
        agreement=max(case["Euphonic against our one-phonon intensity"] for case in (few, many)),
        median=lacking["median"],
        most=lacking["most"],
        error=max(case["error in ln I"] for case in (few, many)),
        phonopy=few["others"][phonopy],
        phonopy_many=many["others"][phonopy],
        dynasor=few["others"][dynasor],
        dynasor_many=many["others"][dynasor],
        frames=found["frames"],
    )


def soak(results: Path) -> str:
    """The section on many fits in one process."""
    found = _read(results, "soak.json")
    return SOAK.format(**found | {"machine": in_words(found["machine"])})
