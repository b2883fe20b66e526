"""The command that summarises a result."""

from pathlib import Path
from typing import Any

from bayestds.cli.output import number, print_background, print_json, print_table, print_warnings
from bayestds.diagnostics.cubic import anharmonic_words
from bayestds.diagnostics.dataset import ERRORS, POSTERIOR
from bayestds.diagnostics.per_shell import INTERVAL, RULE
from bayestds.diagnostics.result_file import read_result
from bayestds.diagnostics.summary import LARGEST_K, SMALLEST_COMPONENT, chi_square_words, summary_record


def summary(path: Path, as_json: bool) -> None:
    """Print the summary of a result."""
    record = summary_record(read_result(path))
    if as_json:
        print_json(record)
    else:
        print_summary(str(path), record)
    print_warnings(record["cautions"])


def print_summary(title: str, record: dict[str, Any]) -> None:
    """Print a summary as tables and words."""
    sampled = record["kind"] == POSTERIOR
    _print_constants(f"{title} (eV/Å²)", record["ifcs"], sampled)
    if record["cubic"]:
        _print_constants("Third-order force constants (eV/Å³)", record["cubic"], sampled)
    print_background(record["background"])
    if (noise := record["learned_noise"]) is not None:
        interval = f"{noise['interval_low']:.2g} .. {noise['interval_high']:.2g}"
        print(f"Relative noise that was learned: {noise['value']:.3g}, {INTERVAL:.0%} interval {interval}")
    _print_shells("By shell", record["shells"])
    if record["cubic"]:
        _print_shells("Third order by shell", record["cubic_shells"])
    print(RULE)
    for sentence in anharmonic_words(record["anharmonicity"]):
        print(sentence)
    print(f"The overall stiffness is uncertain by {record['stiffness_error']:.2g} of itself.")
    for kind in ("sloppy", "stiff"):
        if record[kind]:
            print(f"Most {kind} direction, {_direction(record[kind][0])}.")
    if record["trade_offs"]:
        pairs = [f"{' and '.join(p['between'])} ({p['correlation']:+.2f})" for p in record["trade_offs"]]
        print(f"Correlated in the posterior: {', '.join(pairs)}.")
    if record["pareto_k"] is not None:
        method, k = record["method"], record["pareto_k"]
        print(f"k-hat of the {method} approximation: {k:.2f} (good below {LARGEST_K}).")
    if sampled and record["method"] == "nuts":
        print(f"Divergent trajectories: {record['divergences']}.")
    print(f"Point fit: {record['message']}")
    if record["noise"] != "assumed":
        print(chi_square_words(record["reduced_chi_square"], record["noise"]))
    for note in record["notes"]:
        print(f"Note: {note}")


def _print_constants(title: str, constants: dict[str, dict[str, Any]], sampled: bool) -> None:
    """Print the table of the constants of one order."""
    rows = []
    for name, c in constants.items():
        row = [name, str(c["shell"]), number(c["mean"]), number(c["sd"], 6)]
        row += [] if sampled else [number(c[key], 6) for key in ERRORS]
        row += [f"{number(c['interval_low'])} .. {number(c['interval_high'])}"]
        row += [number(c["contraction"], 6), number(c["information"], 1), number(c["signal_to_noise"], 1)]
        if c["r_hat"] is not None:
            row += [number(c["r_hat"], 3), number(c["ess_bulk"], 0), number(c["ess_tail"], 0)]
        rows.append(row)
    columns = ["IFC", "shell", "mean" if sampled else "value", "sd"] + (
        [] if sampled else ["independent", "by star", "by zone"]
    )
    columns += [f"{INTERVAL:.0%} interval", "contraction", "gain (nats)", "|mean| / sd"]
    columns += ["R-hat", "bulk ESS", "tail ESS"][: len(rows[0]) - len(columns)]
    print_table(title, columns, rows)


def _print_shells(title: str, shells: dict[str, dict[str, Any]]) -> None:
    """Print the verdicts on the shells of one order."""
    print_table(
        title,
        ("shell", "verdict", "contraction", "gain (nats)", "in words"),
        [
            (shell, s["verdict"], number(s["contraction"], 6), number(s["information"], 1), s["words"])
            for shell, s in shells.items()
        ],
    )


def _direction(direction: dict[str, Any]) -> str:
    large = {n: x for n, x in direction["components"].items() if abs(x) >= SMALLEST_COMPONENT}
    terms = " ".join(f"{x:+.2f} {name}" for name, x in large.items())
    return f"in units of the prior: {terms}, {direction['information']:.3g} times the prior's information"
