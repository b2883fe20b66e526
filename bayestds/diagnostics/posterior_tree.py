"""The groups of a posterior: draws of it and of its prior, predictions of both, densities of the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayestds.diagnostics.dataset import (
    BACKGROUND_UNITS,
    CUBIC,
    IFCS,
    POINT_FIT,
    POSTERIOR,
    UNITS,
    labelled,
)
from bayestds.inference.nuts import Draws
from bayestds.inference.predictive import Predictions, Sites
from bayestds.inference.priors import PRIOR_SCALE, Prior, log_prior, prior_standard_deviations


def posterior_tree(
    fitted: xr.DataTree,
    prior: Prior,
    draws: Draws,
    of_prior: Sites,
    predictions: Sequence[Predictions],
    attributes: dict[str, Any],
) -> xr.DataTree:
    """Data tree of a posterior, in the groups and names of ArviZ.

    With several volumes, variables and groups of each have the names and places of the point fit's.

    Args:
        fitted: tree of the point fit that the posterior started from.
        prior: of the parameters.
        draws: of the posterior.
        of_prior: draws from the prior.
        predictions: of the draws and of the prior, for each volume.
        attributes: of the root that replace those of the point fit.
    """
    tables = Groups(fitted, predictions)
    one = len(predictions) == 1
    folders = [""] if one else [f"volume_{number}/" for number in range(1, len(predictions) + 1)]
    prior_sd = ("irreducible", _prior_widths(prior, draws), {"units": "eV/Å²"})
    constants = {name: of_prior[name] for name in ("irreducible", "trend", CUBIC) if name in of_prior}
    groups = {
        POSTERIOR: tables.of_sites(draws.sites),
        "prior": tables.of_sites({name: values[None] for name, values in constants.items()}),
        "log_prior": tables.group({"force_constants": log_prior(prior, draws.sites)}, {}, "nats"),
        "log_likelihood": tables.of_stars(predictions),
        "constant_data": fitted["constant_data"].dataset.assign(prior_sd=prior_sd),
    }
    for folder, found in zip(folders, predictions, strict=True):
        groups |= {f"{folder}{name}": group for name, group in tables.predicted(found).items()}
        observed = fitted[f"{folder}observed_data"].dataset
        groups[f"{folder}observed_data"] = observed.assign(star=("point", found.stars))
    if draws.statistics:
        depth = np.floor(np.log2(np.maximum(draws.statistics["n_steps"], 1))).astype(int) + 1
        groups["sample_stats"] = tables.group({**draws.statistics, "tree_depth": depth}, {}, "see ArviZ")
    kept = {node.path.strip("/"): node.dataset for node in fitted.subtree if node.has_data}
    tree = xr.DataTree.from_dict(kept | groups)
    for folder in [] if one else folders:
        tree[folder.strip("/")].attrs = fitted[folder.strip("/")].attrs
    tree.attrs = {**fitted.attrs, "kind": POSTERIOR, **attributes}
    return tree


@dataclass(frozen=True, eq=False)
class Groups:
    """Makes the groups of a posterior, with the labels of its point fit.

    Attributes:
        fitted: tree of the point fit.
        predictions: for each volume.
    """

    fitted: xr.DataTree
    predictions: Sequence[Predictions]

    def group(
        self, data: dict[str, np.ndarray], dims: dict, units: str, draw: np.ndarray | None = None
    ) -> xr.Dataset:
        """A group of arrays (chains, draws, ...), whose further dimensions are those of ``dims``."""
        chains, n_draws = next(iter(data.values())).shape[:2]
        labels = {"irreducible": self.fitted[POINT_FIT].dataset["irreducible"].values}
        labels |= {"chain": np.arange(chains), "draw": np.arange(n_draws) if draw is None else draw}
        if CUBIC in self.fitted.children:
            labels["third_order"] = self.fitted[CUBIC].dataset["third_order"].values
        for node in self.fitted.subtree:
            if node.name == "background":
                labels[self._term(node.path)] = node.dataset["term"].values
        named = {name: ["chain", "draw", *dims.get(name, [])] for name in data}
        for name, values in data.items():
            if "point" in named[name]:
                labels["point"] = np.arange(values.shape[-1])
        return labelled(data, labels, named, units)

    def _term(self, path: str) -> str:
        """Dimension of the strengths of a background, by the path of its group."""
        return path.strip("/").replace("/background", "_term").replace("background", "term")

    def of_sites(self, sites: Sites) -> xr.Dataset:
        """Draws by variable; the irreducible constants cannot have the name of their dimension."""
        data = {IFCS if name == "irreducible" else name: values for name, values in sites.items()}
        dims = {IFCS: ["irreducible"], "shrinkage_shell": ["shell_number"], CUBIC: ["third_order"]}
        dims |= {"trend": ["irreducible"]}
        dims |= {name: [name.replace("background", "term")] for name in data if name.endswith("background")}
        found = self.group(data, dims, "eV/Å²").assign_coords(shell=self.fitted[POINT_FIT].dataset["shell"])
        units = {IFCS: "eV/Å²", CUBIC: "eV/Å³", "trend": "eV/Å² per 100 K"}
        units |= {name: BACKGROUND_UNITS for name in data if name.endswith("background")}
        for name in units.keys() & found.data_vars.keys():
            found[name].attrs["units"] = units[name]
        return found

    def of_stars(self, predictions: Sequence[Predictions]) -> xr.Dataset:
        """Log densities of the observations of each star of k, of all volumes."""
        if len(predictions) == 1:
            names = [predictions[0].variable]
        else:
            names = [f"volume_{i}_{found.variable}" for i, found in enumerate(predictions, start=1)]
        data = {name: found.log_likelihood for name, found in zip(names, predictions, strict=True)}
        stars = {name: ["star" if len(names) == 1 else f"star_{i}"] for i, name in enumerate(names, start=1)}
        return self.group(data, stars, "nats", predictions[0].likelihood_draws)

    def predicted(self, found: Predictions) -> dict[str, xr.Dataset]:
        """Replicated observations of a volume, of the draws of the posterior and of the prior."""
        by_point, variable = {found.variable: ["point"]}, found.variable
        units = UNITS if variable == "log_intensity" else variable
        replicated = {variable: found.replicated}
        return {
            "posterior_predictive": self.group(replicated, by_point, units, found.replicated_draws),
            "prior_predictive": self.group({variable: found.prior_replicated[None]}, by_point, units),
        }


def _prior_widths(prior: Prior, draws: Draws) -> np.ndarray:
    """Standard deviations (n_irreducible,) in the prior; a learned scale is that of the draws."""
    widths = np.asarray(prior_standard_deviations(prior))
    if PRIOR_SCALE not in draws.sites:
        return widths
    return widths * np.sqrt(np.mean(np.exp(2 * draws.sites[PRIOR_SCALE])))
