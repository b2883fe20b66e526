"""The volume of a result, predicted with other force constants."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.cli.assemble import build_study
from bayestds.cli.beam import make_beamline, scattering_factors
from bayestds.config import parse_model
from bayestds.diagnostics.dataset import CUBIC
from bayestds.diagnostics.draws import ForceConstantDraws
from bayestds.errors import BayesTDSError, InstabilityError, ResultError
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.gaussian import Gaussian
from bayestds.inference.likelihoods.log_normal import LogNormal
from bayestds.inference.problem import Problem, engine_for
from bayestds.scattering.agreement import INVERSION
from bayestds.scattering.forward import log_intensity, stable
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
    bare = problem.forward_model()

    def predict(values: np.ndarray) -> Prediction:
        location = jnp.asarray(np.append(values, others))
        if not bool(stable(bare, location)):
            raise InstabilityError(
                "The crystal is unstable with these force constants.",
                "A mode of the supercell of the fit has a force constant that is not positive.",
                "There is no such volume.",
            )
        predicted = log_intensity(engine_for(bare, problem, location), location)
        here = problem.likelihood.quadratic(predicted, 0)
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
    axes = volume_axes(observed)
    q_points = observed["q_points"].values
    grid = IrreducibleGrid(q_points, observed["multiplicity"].values, observed["point_of_voxel"].values, axes)
    beamline = make_beamline(model, study.crystal)
    copies = json.loads(tree.attrs.get("agreement", "{}")).get("copies", [])
    inverted = not beamline.friedel and INVERSION in copies
    points, on_mesh = beamline.averaged_points(q_points, axes, inverted)
    scattering_at = q_points if points is None else points.reshape(-1, 3)
    problem = Problem(
        found.irreducible,
        found.supercell,
        found.temperature,
        grid,
        _likelihood(observed),
        study.prior_scales,
        scattering_factors(model, study.crystal, scattering_at),
        model.fit.tolerance,
        statistics=tree.attrs.get("statistics", study.model_statistics),
        points=points,
        on_mesh=on_mesh,
        instrument=beamline.instrument(q_points, inverted),
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
