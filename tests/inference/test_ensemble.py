"""Ensemble noise against ensembles drawn atom by atom."""

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from bayestds.crystal.supercell import make_supercell
from bayestds.errors import CrystalError
from bayestds.inference import ensemble
from bayestds.inference.displacement_fit import displacement_fit
from bayestds.inference.ensemble import (
    INDEPENDENT,
    Ensemble,
    Response,
    ensemble_data,
    ensemble_fit,
    make_ensemble,
    respond,
)
from bayestds.inference.ensemble_modes import square_roots
from bayestds.inference.fit_result import PointFit
from bayestds.inference.information import displacement_information, log_intensity_and_jacobian
from bayestds.inference.likelihoods.correlated import Correlated
from bayestds.inference.problem import Problem
from bayestds.lattice_dynamics.covariance import covariance_in_real_space, packed_covariance
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks, harmonic_crystal
from bayestds.scattering import exact
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity, make_forward_model
from bayestds.scattering.grid import Mask
from bayestds.scattering.lattice_sum import OnMesh
from tests.ensembles import Crystal, vibrating

CASES = {
    "cscl": ("cscl", 1, 5, 1000.0, (1.0, 2.0), None),
    "wedge": ("cscl", 1, 5, 1000.0, (1.0, 2.0), Mask(wedge=25.0)),
}


@cache
def case(name: str) -> tuple[Crystal, Problem, ForwardModel, Ensemble]:
    crystal = vibrating(*CASES[name])
    engine = make_engine(crystal.supercell, crystal.grid.q_points, crystal.factors)
    given = crystal.irreducible, crystal.supercell, crystal.temperature
    forward = make_forward_model(*given, OnMesh(engine))
    expected = np.exp(np.asarray(log_intensity(forward, jnp.asarray(crystal.truth))))
    problem = crystal.problem(expected).with_volume(configurations=1000)
    return crystal, problem, forward, make_ensemble(problem)


def harmonic(crystal: Crystal) -> HarmonicCrystal:
    return harmonic_crystal(crystal.irreducible, crystal.supercell, crystal.temperature)


def fit_to(crystal: Crystal, displacements: np.ndarray) -> PointFit:
    """The fit to the scattering of some configurations, with its noise."""
    problem = crystal.problem(crystal.observed(displacements))
    return ensemble_fit(problem.with_volume(configurations=len(displacements)), crystal.truth)


def response_at(name: str, amplitudes: np.ndarray | None = None) -> Response:
    """Response at amplitudes θ and the true force constants."""
    crystal, _, forward, ensemble = case(name)
    n_modes = len(ensemble.cosets.modes.k_index)
    theta = np.zeros(n_modes) if amplitudes is None else amplitudes
    return respond(ensemble, forward, crystal.truth, theta)


def difference_quotient(name: str, place: np.ndarray, direction: np.ndarray, size: float) -> np.ndarray:
    """Of the log intensities along a direction of the amplitudes."""
    above, below = (response_at(name, place + sign * size * direction).log_intensity for sign in (1, -1))
    return (above - below) / (2 * size)


@pytest.mark.parametrize("name", CASES)
def test_response_is_the_derivative_of_the_log_intensity(name):
    rng = np.random.default_rng(0)
    n_modes = len(case(name)[3].cosets.modes.k_index)
    place, direction = 0.1 * rng.normal(size=n_modes), rng.normal(size=n_modes)
    # Third derivatives of order one times step², and the rounding of ln I, 1e-12 / step: 2e-8 at most.
    expected = difference_quotient(name, place, direction, 3e-4)
    found = response_at(name, place).by_mode @ direction
    assert found == pytest.approx(expected, abs=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_a_change_by_force_constants_is_one_by_modes(name):
    """To first order, wherever the sample deviates to: else the data seem to know one from the other."""
    rng = np.random.default_rng(4)
    response = response_at(name, 0.2 * rng.normal(size=len(case(name)[3].cosets.modes.k_index)))
    by_modes = response.by_mode @ np.linalg.lstsq(response.by_mode, response.by_constant, rcond=1e-12)[0]
    assert by_modes == pytest.approx(response.by_constant, abs=1e-9 * np.abs(response.by_constant).max())


@pytest.mark.parametrize("name", CASES)
def test_response_to_force_constants_is_that_of_the_crystal(name):
    crystal, _, forward, _ = case(name)
    response = response_at(name)
    value, derivative = log_intensity_and_jacobian(forward, jnp.asarray(crystal.truth))
    assert response.log_intensity == pytest.approx(np.asarray(value), abs=1e-12)
    assert response.by_constant == pytest.approx(np.asarray(derivative), rel=1e-9, abs=1e-12)


def test_deviation_is_seen_by_every_voxel_from_its_side():
    """The mean over the voxels, each scattered with the same covariance that is not that of the crystal."""
    crystal, _, forward, ensemble = case("wedge")
    rng = np.random.default_rng(1)
    modes, phi = ensemble.cosets.modes, jnp.asarray(crystal.truth)
    amplitudes = 0.2 * rng.normal(size=len(modes.k_index))
    waves = np.asarray(forward.crystal.statistics.covariance(blocks(forward.crystal, phi)))
    roots = square_roots(waves)[modes.k_index]
    np.add.at(
        waves := waves.copy(), modes.k_index, amplitudes[:, None, None, None] * (roots @ modes.blocks @ roots)
    )
    used = crystal.grid.point_of_voxel >= 0
    q = crystal.grid.axes.points()[used]
    engine = make_engine(crystal.supercell, q, crystal.factors)
    c = covariance_in_real_space(jnp.asarray(waves), crystal.supercell.grid_shape)
    intensity = np.exp(np.asarray(exact.log_intensity(engine, packed_covariance(c))))
    mean = np.bincount(crystal.grid.point_of_voxel[used], intensity) / crystal.grid.multiplicity
    found = response_at("wedge", amplitudes).log_intensity
    assert np.abs(found - response_at("wedge").log_intensity).max() > 0.01
    assert found == pytest.approx(np.log(mean), abs=1e-9)


def test_supercell_without_the_symmetry_of_the_crystal_is_refused():
    crystal, problem, *_ = case("cscl")
    low = make_supercell(crystal.supercell.crystal, [3, 3, 2])
    with pytest.raises(CrystalError, match="symmetry of the crystal"):
        make_ensemble(replace(problem, supercell=low))


def noise_of(name: str) -> tuple[Correlated, Response]:
    crystal, problem, forward, ensemble = case(name)
    response = response_at(name)
    amplitudes = np.zeros(response.by_mode.shape[1])
    return ensemble_data(ensemble, problem, forward, crystal.truth, amplitudes, response), response


@cache
def drawn(name: str) -> np.ndarray:
    """Relative intensities (400, n_q) of ensembles of 25 configurations."""
    crystal, problem, *_ = case(name)
    rng = np.random.default_rng(2)
    observed = [crystal.observed(crystal.draw(rng, 25)) for _ in range(400)]
    return np.array(observed) / np.exp(np.asarray(problem.volumes[0].likelihood.observed))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wedge", "cscl"])
def test_covariance_is_that_of_drawn_ensembles(name):
    likelihood, _ = noise_of(name)
    precision = np.asarray(likelihood.correlation.times(jnp.eye(likelihood.n_points)))
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
    few, response = make_ensemble(problem.with_volume(configurations=25)), response_at("wedge")
    amplitudes = np.zeros(response.by_mode.shape[1])
    corrected = ensemble_data(few, problem, forward, crystal.truth, amplitudes, response)
    bias = np.asarray(problem.volumes[0].likelihood.observed - corrected.log_intensity)
    # Integrated out, θ adds half its variance, 1/2 (2/M) Σ_s U_s²: the intensity is almost linear in it.
    bias = bias - (response.by_mode**2).sum(axis=1) / 25
    terms = np.log(drawn("wedge")) - (drawn("wedge") - 1)
    error = terms.std(axis=0) / np.sqrt(len(terms))
    assert (np.abs(bias) > 8 * error).all()
    # The next orders, the skewness of a mean of 25 and the curvature of I in θ, are some percent of the bias.
    assert np.abs((terms.mean(axis=0) - bias) / (error + 0.04 * np.abs(bias))).max() < 4


@pytest.mark.parametrize("configurations", [30, 300])
def test_fit_is_that_to_the_displacements(configurations):
    """In fcc all of a small ensemble's C(k) can be told from its scattering, and never more."""
    crystal = vibrating("fcc", 2, 10, 1500.0)
    vibrations = harmonic(crystal)
    u = crystal.draw(np.random.default_rng(5), configurations)
    fit = fit_to(crystal, u)
    assert fit.converged
    best = displacement_fit(vibrations, crystal.sample_covariance(u), crystal.truth)
    # The noise was evaluated within 0.05 standard errors of the fit. Only the overall stiffness is less well
    # known, as the scale of the intensity is not.
    information = displacement_information(vibrations, jnp.asarray(fit.irreducible), configurations)
    ratios = np.sort(np.linalg.eigvals(fit.covariance @ information).real)
    assert ratios[:-1] == pytest.approx(1, abs=0.02)
    assert 0.98 < ratios[-1] < 3
    sd = np.sqrt(fit.covariance.diagonal())
    assert np.abs((fit.irreducible - best) / sd).max() < 0.5


def test_fit_that_still_moves_with_its_noise_is_not_converged(monkeypatch):
    crystal = vibrating("fcc", 2, 10, 1500.0)
    monkeypatch.setattr(ensemble, "MAX_ROUNDS", 1)
    u = crystal.draw(np.random.default_rng(5), 30)
    fit = fit_to(crystal, u)
    assert not fit.converged
    assert "after 1 evaluations of the noise" in fit.message


@pytest.mark.slow
@pytest.mark.parametrize("mask", [None, Mask(wedge=25.0)])
def test_pulls_and_distance_to_the_fit_to_displacements(mask):
    """Twelve ensembles of 200: χ² over all constants as it should be, 999 times in a thousand."""
    crystal = vibrating("fcc", 2, 10, 1500.0, mask=mask)
    vibrations = harmonic(crystal)
    rng, m, n = np.random.default_rng(3), 200, len(crystal.truth)
    bound = np.asarray(displacement_information(vibrations, jnp.asarray(crystal.truth), m))
    total, reduced, squares, expected = 0.0, [], [], []
    for _ in range(12):
        u = crystal.draw(rng, m)
        fit = fit_to(crystal, u)
        assert fit.converged
        error = fit.irreducible - crystal.truth
        total += error @ fit.precision @ error
        reduced.append(fit.reduced_chi_square)
        best = displacement_fit(vibrations, crystal.sample_covariance(u), crystal.truth)
        squares.append((fit.irreducible - best) ** 2 * bound.diagonal())
        # Two estimates, one of them efficient, differ by the difference of their variances.
        expected.append((fit.covariance - np.linalg.inv(bound)).diagonal() * bound.diagonal())
    low, high = chi2.ppf([0.0005, 0.9995], 12 * n)
    assert low < total < high
    assert np.mean(reduced) == pytest.approx(1, abs=0.15)
    assert np.mean(squares) < 2 * np.mean(expected)
