"""Ensemble noise against ensembles drawn atom by atom."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from bayestds.inference.displacement_fit import displacement_fit
from bayestds.inference.ensemble import (
    INDEPENDENT,
    Ensemble,
    Response,
    ensemble_data,
    ensemble_fit,
    make_ensemble,
    mode_response,
)
from bayestds.inference.information import displacement_information
from bayestds.inference.noise import FitData, precision_times, reduced_chi_square
from bayestds.inference.problem import Problem
from bayestds.scattering import exact
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import (
    ForwardModel,
    covariance,
    log_intensity,
    make_forward_model,
)
from bayestds.scattering.grid import Mask
from tests.ensembles import Crystal, vibrating

CASES = {
    "cscl": ("cscl", 1, 5, 1000.0, (1.0, 2.0), None),
    "wedge": ("cscl", 1, 5, 1000.0, (1.0, 2.0), Mask(wedge=25.0)),
}


@cache
def case(name: str) -> tuple[Crystal, Problem, ForwardModel, Ensemble]:
    crystal = vibrating(*CASES[name])
    engine = make_engine(crystal.supercell, crystal.grid.q_points, crystal.factors)
    forward = make_forward_model(crystal.irreducible, crystal.supercell, crystal.temperature, engine)
    expected = np.exp(np.asarray(log_intensity(forward, jnp.asarray(crystal.truth))))
    problem = crystal.problem(expected)
    return crystal, problem, forward, make_ensemble(problem, 1000)


def response_at(name: str, amplitudes: np.ndarray | None = None) -> Response:
    crystal, _, forward, ensemble = case(name)
    n_modes = len(ensemble.cosets.modes.k_index)
    return mode_response(
        ensemble, forward, crystal.truth, np.zeros(n_modes) if amplitudes is None else amplitudes
    )


def scattered_at(name: str, amplitudes: np.ndarray) -> np.ndarray:
    """Log intensities of the averaged voxels for amplitudes θ, through the forward model."""
    crystal, _, forward, _ = case(name)
    deviating = ForwardModel(**{**vars(forward), "deviation": response_at(name, amplitudes).deviation})
    return np.asarray(log_intensity(deviating, jnp.asarray(crystal.truth)))


@pytest.mark.parametrize("name", CASES)
def test_response_is_the_derivative_of_the_forward_model(name):
    rng = np.random.default_rng(0)
    n_modes = len(case(name)[3].cosets.modes.k_index)
    place, direction = 0.1 * rng.normal(size=n_modes), rng.normal(size=n_modes)
    # Third derivatives of order one times step², and the rounding of ln I, 1e-12 / step: 2e-8 at most.
    step = 3e-4
    sides = [scattered_at(name, place + sign * step * direction) for sign in (1, -1)]
    expected = (sides[0] - sides[1]) / (2 * step)
    found = response_at(name, place).derivative @ direction
    assert found == pytest.approx(expected, abs=1e-7 * np.abs(expected).max())


def test_deviation_is_seen_by_every_voxel_from_its_side():
    """The mean over the voxels, each scattered with the same covariance that is not that of the crystal."""
    crystal, _, forward, ensemble = case("wedge")
    rng = np.random.default_rng(1)
    amplitudes = 0.2 * rng.normal(size=len(ensemble.cosets.modes.k_index))
    shifts = response_at("wedge", amplitudes).deviation.shifts
    # Operations that keep the axis of the wedge keep the modes: their part has the deviation unturned.
    unturned = np.abs(ensemble.symmetry.rotations[ensemble.cosets.inverses][:, 2, 2]) == 1
    (part,) = np.flatnonzero(unturned)
    used = crystal.grid.point_of_voxel >= 0
    q = np.stack(np.meshgrid(*crystal.grid.axes, indexing="ij"), axis=-1)[used]
    every = forward.with_engine(make_engine(crystal.supercell, q, crystal.factors))
    c = covariance(every, jnp.asarray(crystal.truth)) + shifts[part]
    intensity = np.exp(np.asarray(exact.log_intensity(every.engine, c)))
    mean = np.bincount(crystal.grid.point_of_voxel[used], intensity) / crystal.grid.multiplicity
    found = scattered_at("wedge", amplitudes)
    assert np.abs(found - scattered_at("wedge", 0 * amplitudes)).max() > 0.01
    assert found == pytest.approx(np.log(mean), abs=1e-9)


def noise_of(name: str) -> tuple[FitData, Response]:
    crystal, problem, forward, ensemble = case(name)
    response = response_at(name)
    amplitudes = np.zeros(response.derivative.shape[1])
    return ensemble_data(ensemble, problem, forward, crystal.truth, amplitudes, response), response


@cache
def drawn(name: str) -> np.ndarray:
    """Relative intensities (400, n_q) of ensembles of 25 configurations."""
    crystal, problem, *_ = case(name)
    rng = np.random.default_rng(2)
    observed = [crystal.observed(crystal.draw(rng, 25)) for _ in range(400)]
    return np.array(observed) / np.exp(np.asarray(problem.data.log_intensity))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wedge", "cscl"])
def test_covariance_is_that_of_drawn_ensembles(name):
    data, _ = noise_of(name)
    precision = np.asarray(precision_times(data, jnp.eye(len(data.weight))))
    # The noise was evaluated for 1000 configurations, and a small share of it added as independent.
    predicted = 1000 / 25 * np.linalg.inv(precision)
    relative = drawn(name)
    assert np.mean(relative, axis=0) == pytest.approx(1, abs=5 * np.sqrt(predicted.diagonal().max() / 400))
    values, vectors = np.linalg.eigh(predicted)
    large = values > 5 * INDEPENDENT * predicted.diagonal().max()
    assert large.sum() >= 10
    ratio = ((relative - 1) @ vectors[:, large]).var(axis=0) / values[large]
    # A variance from 400 draws is good to sqrt((2 + excess)/400), with an excess kurtosis of about 12/25.
    error = np.sqrt(2.5 / 400)
    assert np.abs(ratio - 1 + INDEPENDENT).max() < 4.5 * error
    assert ratio.mean() == pytest.approx(1, abs=4 * error / np.sqrt(large.sum()) + INDEPENDENT)


def test_logarithm_is_corrected_for_its_bias():
    """Mean over draws of the logarithm, less the relative deviation itself, whose expectation is zero."""
    crystal, problem, forward, _ = case("wedge")
    few, response = make_ensemble(problem, 25), response_at("wedge")
    amplitudes = np.zeros(response.derivative.shape[1])
    corrected = ensemble_data(few, problem, forward, crystal.truth, amplitudes, response)
    bias = np.asarray(problem.data.log_intensity - corrected.log_intensity)
    # Integrated out, θ adds half its variance, 1/2 (2/M) Σ_s U_s²: the intensity is almost linear in it.
    bias = bias - (response.derivative**2).sum(axis=1) / 25
    terms = np.log(drawn("wedge")) - (drawn("wedge") - 1)
    error = terms.std(axis=0) / np.sqrt(len(terms))
    assert (np.abs(bias) > 8 * error).all()
    # The next orders, the skewness of a mean of 25 and the curvature of I in θ, are some percent of the bias.
    assert np.abs((terms.mean(axis=0) - bias) / (error + 0.04 * np.abs(bias))).max() < 4


@pytest.mark.slow
@pytest.mark.parametrize("mask", [None, Mask(wedge=25.0)])
def test_pulls_and_distance_to_the_fit_to_displacements(mask):
    """Twelve ensembles of 200: χ² over all constants as it should be, 999 times in a thousand."""
    crystal = vibrating("fcc", 2, 10, 1500.0, mask=mask)
    forward = make_forward_model(crystal.irreducible, crystal.supercell, crystal.temperature)
    rng, m, n = np.random.default_rng(3), 200, len(crystal.truth)
    bound = np.asarray(displacement_information(forward, jnp.asarray(crystal.truth), m))
    total, reduced, squares, expected = 0.0, [], [], []
    for _ in range(12):
        u = crystal.draw(rng, m)
        problem, fit = ensemble_fit(crystal.problem(crystal.observed(u)), crystal.truth, m)
        assert fit.converged
        error = fit.irreducible - crystal.truth
        total += error @ fit.precision @ error
        reduced.append(float(reduced_chi_square(problem.data, jnp.asarray(fit.residual), n)))
        best = displacement_fit(forward, crystal.sample_covariance(u), crystal.truth)
        squares.append((fit.irreducible - best) ** 2 * bound.diagonal())
        # Two estimates, one of them efficient, differ by the difference of their variances.
        expected.append((fit.covariance - np.linalg.inv(bound)).diagonal() * bound.diagonal())
    low, high = chi2.ppf([0.0005, 0.9995], 12 * n)
    assert low < total < high
    assert np.mean(reduced) == pytest.approx(1, abs=0.15)
    assert np.mean(squares) < 2 * np.mean(expected)
