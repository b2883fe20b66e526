"""The force constants of many runs, with their errors, against temperature."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLUMNS = 4
"""Panels side by side."""


def campaign_figure(runs: Mapping[str, Mapping[str, Any]], title: str) -> Figure | None:
    """A panel for each force constant; None where fewer than two runs have any.

    Args:
        runs: by name, each with ``temperature_K`` and ``ifcs``, {name: {"value", "sd"}}, if it is done.
        title: heading of the figure.
    """
    done = {name: run for name, run in runs.items() if "ifcs" in run}
    constants = list(dict.fromkeys(constant for run in done.values() for constant in run["ifcs"]))
    if len(done) < 2 or not constants:
        return None
    temperatures = np.array([run["temperature_K"] for run in done.values()], dtype=float)
    by_temperature = bool(np.ptp(temperatures) > 0)
    places = temperatures if by_temperature else np.arange(1.0, len(done) + 1)
    n_rows = -(-len(constants) // COLUMNS)
    n_columns = min(COLUMNS, len(constants))
    figure = Figure(figsize=(3.2 * n_columns, 2.4 * n_rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True).ravel()
    for panel, constant in zip(panels, constants, strict=False):
        pairs = [run["ifcs"].get(constant) or {"value": None, "sd": None} for run in done.values()]
        value, sd = (np.array([pair[key] for pair in pairs], dtype=float) for key in ("value", "sd"))
        panel.errorbar(places, value, yerr=np.nan_to_num(sd), fmt="o", markersize=4, capsize=2)
        panel.set_title(f"{constant} (eV/Å²)", fontsize="medium")
    for panel in panels[len(constants) :]:
        panel.set_visible(False)
    figure.supxlabel("temperature (K)" if by_temperature else "run")
    return figure
