"""What a report page says in words and numbers before it shows anything."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.cautions import IMPLAUSIBLE
from bayestds.diagnostics.cubic import anharmonic_words
from bayestds.diagnostics.dataset import CUBIC
from bayestds.diagnostics.per_shell import listed
from bayestds.diagnostics.summary import chain_warnings, chi_square_words, error_words
from bayestds.inference.uncertainty import ACCEPTABLE_CHI_SQUARE
from bayestds.report.chains import LEAST_BFMI, bfmi
from bayestds.report.svg import SUPERSCRIPT

GOOD, NOTE, BAD = "good", "note", "bad"
"""How a statement is meant."""

NO_NOISE = (
    "The volume was simulated without noise: standard errors are what an assumed relative noise of the "
    "voxels would leave, not the accuracy of this fit."
)

ODD = 0.9
"""Odd part of the residual, as a share of its rms, that is worth a sentence; noise alone has 1/√2 = 0.71."""

MOST_NAMES = 12
"""Constants that a sentence lists."""


@dataclass(frozen=True)
class Statement:
    """A sentence of the verdict.

    Attributes:
        kind: good, note or bad.
        text: the sentence.
    """

    kind: str
    text: str


def verdict(tree: xr.DataTree, record: dict[str, Any]) -> list[Statement]:
    """What a result says, the most important first.

    Args:
        tree: the result.
        record: its summary.
    """
    found = (
        []
        if record["converged"]
        else [Statement(BAD, f"The point fit did not converge. {record['message']}")]
    )
    found += [_shells(record), _constants(record), _stiffness(record)]
    found += _residuals(tree)
    found += [Statement(NOTE, text) for text in anharmonic_words(record["anharmonicity"])]
    found += _chains(tree, record)
    if record["converged"]:
        found.append(Statement(GOOD, f"Point fit: {_sentence(record['message'])}"))
    warned = json.loads(tree.attrs.get("warnings", "[]")) + chain_warnings(record)
    found += [Statement(BAD, f"Warning: {text}") for text in warned]
    return found + [Statement(NOTE, text[:1].upper() + text[1:]) for text in record["notes"]]


def caution(tree: xr.DataTree) -> str:
    """What the standard errors of a result mean, and leave out."""
    noise = str(tree.attrs.get("noise"))
    return NO_NOISE if noise == "assumed" else error_words(noise, CUBIC in tree.children)


def _shells(record: dict[str, Any]) -> Statement:
    by_verdict: dict[str, list[str]] = {}
    for shell, one in record["shells"].items():
        by_verdict.setdefault(one["verdict"], []).append(shell)
    good, n = by_verdict.pop("determined", []), len(record["shells"])
    if len(good) == n:
        return Statement(GOOD, f"The data determine {_count(n, 'neighbour shell', every=True)}.")
    text = f"The data determine {len(good)} of {_count(n, 'neighbour shell')}"
    text += f" ({listed(tuple(good))})." if good else "."
    for kind, shells in by_verdict.items():
        subject = f"Shell {shells[0]} is" if len(shells) == 1 else f"Shells {listed(tuple(shells))} are"
        text += f" {subject} {kind}."
    return Statement(NOTE, text)


def _constants(record: dict[str, Any]) -> Statement:
    told = {name for shell in record["shells"].values() for name in shell["told_from_zero"]}
    rest = tuple(name for name in record["ifcs"] if name not in told)
    n = len(record["ifcs"])
    if not rest:
        every = _count(n, "constant", every=True).capitalize()
        return Statement(GOOD, f"{every} {_is(n)} significantly different from zero.")
    if not told:
        return Statement(NOTE, f"None of {_count(n, 'constant')} is significantly different from zero.")
    named = listed(rest) if len(rest) <= MOST_NAMES else f"the other {len(rest)}"
    text = f"{len(told)} of {_count(n, 'constant')} {_is(len(told))} significantly different from zero; "
    return Statement(NOTE, f"{text}{named} {_is(len(rest))} not.")


def _stiffness(record: dict[str, Any]) -> Statement:
    error = record["stiffness_error"]
    if not math.isfinite(error):
        return Statement(BAD, "There are no standard errors: the fit failed or ended at an unstable crystal.")
    kind = GOOD if error <= 0.1 else BAD
    return Statement(kind, f"The overall stiffness, the largest self term, is uncertain by {percent(error)}.")


def _residuals(tree: xr.DataTree) -> list[Statement]:
    if "observed_data" not in tree.children:
        return _volumes(tree)
    rms, n = float(tree.attrs["residual_rms"]), tree["observed_data"].dataset["multiplicity"].values
    found = [
        Statement(
            NOTE,
            f"Observed and fitted intensities differ by {percent(rms)} (weighted rms of ln I) on "
            f"{len(n):,} irreducible points, {int(n.sum()):,} voxels.{_odd(tree)}",
        )
    ]
    noise, chi_square = tree.attrs.get("noise"), float(tree.attrs.get("reduced_chi_square", math.nan))
    if noise != "assumed":
        kind = NOTE if math.isnan(chi_square) else GOOD if chi_square <= ACCEPTABLE_CHI_SQUARE else BAD
        found.append(Statement(kind, chi_square_words(chi_square, noise)))
    return found


def _odd(tree: xr.DataTree) -> str:
    residuals = json.loads(tree.attrs.get("residuals", "null")) or {}
    odd, rms = residuals.get("odd_rms"), residuals.get("rms")
    if odd is None or not rms or odd / rms < ODD or tree.attrs.get("noise") == "assumed":
        return ""
    return f" Of that {percent(odd)} is odd about the Bragg points, the usual mark of cubic anharmonicity."


def _volumes(tree: xr.DataTree) -> list[Statement]:
    found = []
    for name, node in tree.children.items():
        if not name.startswith("volume_"):
            continue
        p, label = float(node.attrs.get("p_value", 1.0)), node.attrs.get("name", name)
        agrees = "agrees" if p >= IMPLAUSIBLE else "disagrees"
        found.append(
            Statement(
                GOOD if p >= IMPLAUSIBLE else BAD,
                f"{label} {agrees} with the joint constants (p = {p:.2g}); observed and fitted intensities "
                f"differ by {percent(float(node.attrs['residual_rms']))} (weighted rms of ln I).",
            )
        )
    return found


def _chains(tree: xr.DataTree, record: dict[str, Any]) -> list[Statement]:
    constants = [*record["ifcs"].values(), *record["cubic"].values()]
    if constants[0]["r_hat"] is None:
        k = record["pareto_k"]
        return (
            []
            if k is None
            else [Statement(NOTE, f"k-hat of the {record['method']} approximation is {k:.2f}.")]
        )
    r_hat = max(one["r_hat"] for one in constants)
    least = min(min(one["ess_bulk"], one["ess_tail"]) for one in constants)
    stats = tree["sample_stats"].dataset
    chains, draws = stats.sizes["chain"], stats.sizes["draw"]
    text = f"{_count(chains, 'chain')} of {draws} draws: largest R-hat {r_hat:.3f}, smallest effective "
    text += f"sample size {least:.0f}, {record['divergences']} divergent trajectories"
    good = not chain_warnings(record)
    if "energy" in stats:
        smallest = float(bfmi(stats["energy"].values).min())
        good &= smallest >= LEAST_BFMI
        text += f", energy fraction (BFMI) at least {smallest:.2f}"
    return [Statement(GOOD if good else BAD, f"{text}.")]


def percent(share: float) -> str:
    """A share in percent with two digits."""
    if not math.isfinite(share):
        return "an unknown share"
    size = 100 * share
    if size != 0 and size < 1e-3:
        return f"{_written(f'{size:.1e}')}%"
    return f"{size:.2g}%" if size < 100 else f"{size:.0f}%"


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table, with so many significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return _written(f"{value:.{digits}g}")


def error(value: float | None) -> str:
    """A standard error for a table, with two digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return _written(f"{value:#.2g}".rstrip("."))


def _written(text: str) -> str:
    """A formatted number as one would write it."""
    digits, _, power = text.partition("e")
    ending = f" × 10{str(int(power)).translate(SUPERSCRIPT)}" if power else ""
    return f"{digits.replace('-', '−')}{ending}"


def decimals(error: float) -> int:
    """Places after the point that a value with this error deserves: two digits of the error."""
    if not math.isfinite(error) or error <= 0:
        return 5
    return int(np.clip(1 - math.floor(math.log10(error)), 0, 9))


def fixed(value: float | None, places: int) -> str:
    """A number for a table with so many places after the point; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    # Rounded first: a zero has no sign.
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def _count(n: int, thing: str, every: bool = False) -> str:
    if n == 1:
        return f"the only {thing}" if every else f"1 {thing}"
    return f"all {n} {thing}s" if every else f"{n} {thing}s"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:]
