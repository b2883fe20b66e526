"""The volume of a result, predicted with other force constants."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.cli.assemble import build_study
from bayestds.cli.beam import make_volume
from bayestds.config import parse_model
from bayestds.diagnostics.dataset import CUBIC
from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.errors import BayesTDSError, InstabilityError, ResultError
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.gaussian import Gaussian
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.problem import Problem
from bayestds.inference.sums import cheapest_model
from bayestds.lattice_dynamics.harmonic import stable
from bayestds.scattering.agreement import INVERSION
from bayestds.scattering.forward import log_intensity
from bayestds.scattering.grid import IrreducibleGrid
from bayestds.scattering.volume import volume_axes


@dataclass(frozen=True, eq=False)
class Prediction:
    """A volume predicted with force constants.

    Attributes:
        residual: (n_points,) observed minus predicted log intensity at the best scale.
        rms: weighted rms of it, as of a fit.
    """

    residual: np.ndarray
    rms: float


Predict = Callable[[np.ndarray], Prediction]


def make_predictor(tree: xr.DataTree, path: Path, found: ForceConstantDraws) -> Predict:
    """A function from force constants (n_irreducible,) to the volume that a result was fitted to.

    Radiation and instrument are those of the model that the result holds; the scale is the best one,
    third-order constants and strengths of a background those of the fit.

    Args:
        tree: the result.
        path: of its file; files that the model names are looked for beside it.
        found: its force constants.

    Raises:
        ResultError: it is a fit to several volumes, or its model cannot be built from what it holds.
    """
    if "observed_data" not in tree.children:
        raise ResultError(
            f"{path} is a fit to several volumes.", "Only one volume is predicted.", "Fit one volume alone."
        )
    problem, others = _problem(tree, path, found)
    (volume,) = problem.volumes
    crystal = problem.crystal(volume)

    def predict(values: np.ndarray) -> Prediction:
        if not bool(stable(crystal, jnp.asarray(values))):
            raise InstabilityError(
                "The crystal is unstable with these force constants.",
                "A mode of the supercell of the fit has a force constant that is not positive.",
                "There is no such volume.",
            )
        location = jnp.asarray(np.append(values, others))
        predicted = log_intensity(cheapest_model(problem, volume, location), location)
        here = volume.likelihood.quadratic(predicted, 0)
        return Prediction(np.asarray(here.residual), float(here.residual_rms))

    return predict


def _problem(tree: xr.DataTree, path: Path, found: ForceConstantDraws) -> tuple[Problem, np.ndarray]:
    """What was fitted, as far as a prediction needs it, and the parameters after the irreducible ones."""
    observed = tree["observed_data"].dataset
    try:
        model = parse_model(tree.attrs["model_text"], path.parent / f"{tree.attrs['model']}.toml")
        study = build_study(model, found.irreducible.n_shells)
    except BayesTDSError as error:
        raise ResultError(
            f"The model of {path} cannot be built again: {error.summary}",
            error.reason,
            "Put the files that the model names beside the result.",
        ) from error
    grid = IrreducibleGrid(
        observed["q_points"].values,
        observed["multiplicity"].values,
        observed["point_of_voxel"].values,
        volume_axes(observed),
    )
    inverted = INVERSION in json.loads(tree.attrs.get("agreement", "{}")).get("copies", [])
    statistics = tree.attrs.get("statistics", study.model_statistics)
    given = grid, inverted, _likelihood(observed), found.temperature, statistics
    volume = make_volume(model, found.irreducible, found.supercell, *given)
    # Crystal and supercell are those that the result holds, whatever has become of the model's files.
    problem = replace(
        study.problem_of(volume),
        irreducible=found.irreducible,
        supercell=found.supercell,
        third_order=found.third_order,
    )
    groups = [group for group in (CUBIC, "background") if group in tree.children]
    others = [tree[group].dataset["value"].values for group in groups]
    return problem, np.concatenate([np.zeros(0), *others])


def _likelihood(observed: xr.Dataset) -> Likelihood:
    """Likelihood of what a result was fitted to, with the errors that it had there."""
    values = {name: jnp.asarray(observed[name].values) for name in ("fitted", "residual", "weight")}
    if {"intensity", "counts"} & set(observed.data_vars):
        expected = jnp.exp(values["fitted"])
        variance = expected**2 / values["weight"]
        return Gaussian(expected * (1 + values["residual"]), variance, jnp.zeros_like(variance), expected)
    return LogNormal(jnp.asarray(observed["log_intensity"].values), values["weight"])
