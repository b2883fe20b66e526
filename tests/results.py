"""Results of a few crystals without the fit that would lead to them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from bayestds.crystal.axes import GridAxes
from bayestds.crystal.supercell import Supercell
from bayestds.diagnostics.dataset import ERRORS, POSTERIOR, point_fit_tree
from bayestds.force_constants.invariance import Invariance, constrained
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.fit_result import PointFit, VolumeFit
from bayestds.inference.likelihoods.log_normal import learned_log_normal
from bayestds.inference.problem import Problem, Volume
from bayestds.inference.uncertainty import Uncertainty
from bayestds.scattering.parameters import Sizes
from tests.brute_force import random_stable
from tests.crystals import SAMPLES, default_supercell, make_irreducible

AXES = (np.linspace(-1, 1, 5), np.linspace(0, 1, 4), np.linspace(0, 0.5, 3))
N_POINTS = 11


def made_up(kind: type, **values: Any) -> Any:
    """An object of a frozen class with these attributes only, whatever else it has."""
    found = object.__new__(kind)
    vars(found).update(values)
    return found


def parts_of_a_result(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    values: np.ndarray,
    covariance: np.ndarray,
    temperature: float = 300.0,
) -> dict[str, Any]:
    """Arguments of point_fit_tree, with random numbers for data and residuals."""
    rng, n = np.random.default_rng(0), len(values)
    grid = SimpleNamespace(
        multiplicity=rng.integers(1, 9, N_POINTS),
        q_points=rng.normal(size=(N_POINTS, 3)),
        point_of_voxel=rng.integers(-1, N_POINTS, (5, 4, 3)),
        axes=GridAxes(AXES),
    )
    likelihood = learned_log_normal(rng.normal(size=N_POINTS), np.ones(N_POINTS))
    volume = made_up(Volume, temperature=temperature, grid=grid, likelihood=likelihood, effects=())
    problem = Problem(irreducible, supercell, (volume,), np.ones(n))
    fit_of_volume = made_up(
        VolumeFit,
        volume=volume,
        parameters=values,
        forward=SimpleNamespace(sizes=Sizes(n, 0, 0)),
        log_intensity=rng.normal(size=N_POINTS),
        quadratic=SimpleNamespace(
            residual=rng.normal(size=N_POINTS),
            weight=rng.uniform(1, 2, N_POINTS),
            log_scale=0.5,
            residual_rms=0.01,
        ),
    )
    fit = made_up(
        PointFit,
        problem=problem,
        parameters=values,
        parameter_precision=np.eye(n),
        covariance=covariance,
        volumes=(fit_of_volume,),
        stable=True,
        converged=True,
        message="Converged.",
        history=rng.normal(size=(3, n + 1)),
    )
    uncertainty = Uncertainty(covariance, None, None, np.nan, False)
    errors = dict.fromkeys(ERRORS.values(), np.sqrt(np.diag(covariance)))
    columns = {"start": values, **errors}
    attributes = {"model": "made up", "model_text": "", "command": "fit"}
    given = {"problem": problem, "fit": fit, "uncertainty": uncertainty}
    return {**given, "columns": columns, "attributes": attributes}


def point_fit_result(
    name: str,
    values: np.ndarray | None = None,
    covariance: np.ndarray | None = None,
    n_shells: int | None = None,
    temperature: float = 300.0,
    invariance: Invariance = "none",
) -> xr.DataTree:
    """A point fit of a crystal of the tests, by default with random stable constants known to 1 %."""
    irreducible = constrained(make_irreducible(name, n_shells or SAMPLES[name].n_shells), invariance)
    supercell = default_supercell(name)
    values = random_stable(irreducible, supercell, 0) if values is None else values
    if covariance is None:
        covariance = np.diag((0.01 * np.abs(values) + 1e-6) ** 2)
    return point_fit_tree(**parts_of_a_result(irreducible, supercell, values, covariance, temperature))


def posterior_result(name: str, draws: np.ndarray, n_shells: int | None = None) -> xr.DataTree:
    """A posterior of a crystal of the tests: draws (chains, draws, n_irreducible), eV/Å²."""
    flat = draws.reshape(-1, draws.shape[-1])
    tree = point_fit_result(name, flat.mean(axis=0), np.atleast_2d(np.cov(flat.T)), n_shells)
    labels = tree["point_fit"].dataset["irreducible"].values
    dims = ("chain", "draw", "irreducible")
    tree[POSTERIOR] = xr.DataTree(xr.Dataset({"ifcs": (dims, draws)}, coords={"irreducible": labels}))
    tree.attrs["kind"] = POSTERIOR
    return tree
