"""Forecasts against fits to noisy data, closed forms and orderings that must hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.diagnostics.design import (
    LONGEST,
    Option,
    Unknowns,
    advice,
    counting_information,
    exposure_factors,
    forecast,
)
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.grid import Mask, reduce_grid, voxel_mask
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.simulation import simulate_volume
from tests.crystals import default_supercell, make_irreducible
from tests.fit_problems import TEMPERATURE, Known

TRUTH = np.array([-1.0, 0.1, -1.1, -0.05, 0.02])

COUNTS = 300.0
"""Per unit of intensity, which is below 1 nearly everywhere."""


@pytest.fixture(scope="module")
def case() -> Known:
    irreducible, supercell = make_irreducible("fcc", 2), default_supercell("fcc")
    axis = np.arange(-9, 10) / 3
    volume = simulate_volume(irreducible, TRUTH, supercell, TEMPERATURE, (axis, axis, axis))
    return Known(irreducible, supercell, TRUTH, volume)


@pytest.fixture(scope="module")
def scattering(case):
    """The whole grid, log intensity and derivative at its points."""
    used = voxel_mask(case.volume, case.supercell, Mask())
    grid = reduce_grid(case.volume, case.supercell, used)
    engine = make_engine(case.supercell, grid.q_points)
    forward = make_forward_model(case.irreducible, case.supercell, TEMPERATURE, OnMesh(engine))
    return grid, *log_intensity_and_jacobian(forward, jnp.asarray(case.truth))


def information(case, scattering, mask: Mask, exposure: float = COUNTS) -> np.ndarray:
    grid, *values = scattering
    used = voxel_mask(case.volume, case.supercell, mask)
    n_voxels = np.bincount(grid.point_of_voxel[used], minlength=len(grid.q_points))
    return counting_information(*values, n_voxels, exposure)


def unknowns_of(case, prior: float = 1.0) -> Unknowns:
    constants = case.irreducible
    prior_sd = np.full(constants.n_irreducible, prior)
    return Unknowns(constants.names, constants.shells, case.truth, prior_sd, constants.self_coefficients)


def one_constant(truth: float, prior: float) -> Unknowns:
    return Unknowns(("b0",), np.array([1]), np.array([truth]), np.array([prior]), np.array([[-1.0]]))


def poisson_fits(case, mask: Mask, n_fits: int) -> np.ndarray:
    """Maximum-likelihood fits (n_fits, n_irreducible) to counts drawn voxel by voxel, scale unknown."""
    volume = case.volume
    used = voxel_mask(volume, case.supercell, mask)
    q_points = np.stack(np.meshgrid(*(volume[n].values for n in "hkl"), indexing="ij"), axis=-1)[used]
    engine = make_engine(case.supercell, case.supercell.snap(q_points))
    forward = make_forward_model(case.irreducible, case.supercell, TEMPERATURE, OnMesh(engine))

    def log_counts(parameters):
        return log_intensity(forward, parameters[:-1]) + parameters[-1]

    slope = jax.jit(jax.jacfwd(log_counts))
    start = jnp.append(jnp.asarray(case.truth), np.log(COUNTS))
    rng, fits = np.random.default_rng(5), []
    for _ in range(n_fits):
        counts, parameters = rng.poisson(COUNTS * volume["intensity"].values[used]), start
        for _ in range(4):  # Fisher scoring: each round gains two digits or more so near the truth.
            expected, jacobian = jnp.exp(log_counts(parameters)), slope(parameters)
            weighted = jacobian.T * expected
            parameters += jnp.linalg.solve(weighted @ jacobian, jacobian.T @ (counts - expected))
        fits.append(np.asarray(parameters[:-1]))
    return np.array(fits)


def test_standard_errors_are_the_scatter_of_fits_to_counts(case, scattering):
    mask, n_fits = Mask(wedge=15.0), 120
    expected = information(case, scattering, mask)
    errors = poisson_fits(case, mask, n_fits) - case.truth
    n = len(case.truth)
    # Sum of n_fits chi-squares of n degrees of freedom: 4 standard deviations, chance fails 1 in 16,000.
    squares = np.einsum("fi,ij,fj->f", errors, expected, errors).mean()
    assert squares == pytest.approx(n, abs=4 * np.sqrt(2 * n / n_fits))
    sd = [c.sd for c in forecast(unknowns_of(case, 1e3), expected).constants]
    # A standard deviation from n_fits is uncertain by 1/sqrt(2 n_fits), 6.5 %.
    np.testing.assert_allclose(errors.std(axis=0), sd, rtol=4 / np.sqrt(2 * n_fits))


def test_forecast_is_the_normal_posterior(case, scattering):
    unknowns, fisher = unknowns_of(case, 0.05), information(case, scattering, Mask(), 0.1)
    precision = fisher + np.diag(unknowns.prior_sd**-2.0)
    found = forecast(unknowns, fisher)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose([c.sd for c in found.constants], np.sqrt(np.diag(covariance)), rtol=1e-8)
    mean = np.linalg.solve(precision, fisher @ case.truth)
    np.testing.assert_allclose([c.mean for c in found.constants], mean, rtol=1e-8)
    total = unknowns.self_coefficients[0]
    stiffness = np.sqrt(total @ covariance @ total) / abs(total @ case.truth)
    assert found.stiffness == pytest.approx(stiffness)


def test_four_times_the_exposure_halves_the_errors(case, scattering):
    unknowns = unknowns_of(case, 1e3)
    short, long = (forecast(unknowns, information(case, scattering, Mask(), t * COUNTS)) for t in (1, 4))
    # The prior adds less than 1e-6 of the information.
    np.testing.assert_allclose([c.sd for c in long.constants], [c.sd / 2 for c in short.constants], rtol=1e-5)


@pytest.mark.parametrize("mask", [Mask(wedge=25.0), Mask(plane=(1, 1, 0)), Mask(q_max=5.0), Mask(q_min=4.0)])
def test_a_part_never_tells_more_than_the_whole(case, scattering, mask):
    whole, part = information(case, scattering, Mask()), information(case, scattering, mask)
    assert np.linalg.eigvalsh(whole - part)[0] > -1e-10 * np.linalg.eigvalsh(whole)[-1]
    assert np.linalg.eigvalsh(whole)[0] > np.linalg.eigvalsh(part)[0]


def test_scale_is_unknown(case, scattering):
    grid, log_values, derivative = scattering
    everywhere = derivative + np.arange(1.0, derivative.shape[1] + 1)
    values = [
        counting_information(log_values, d, grid.multiplicity, COUNTS) for d in (derivative, everywhere)
    ]
    np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-9 * values[0].max())


@pytest.mark.parametrize("mask", [Mask(), Mask(wedge=25.0), Mask(q_max=5.0)])
def test_verdict_changes_at_the_exposure_factor(case, scattering, mask):
    unknowns, fisher = unknowns_of(case), information(case, scattering, mask)
    factors = exposure_factors(unknowns, fisher)
    assert set(factors) == {1, 2}
    for shell, factor in factors.items():
        below, above = (forecast(unknowns, f * factor * fisher).shells[shell] for f in (1 - 1e-5, 1 + 1e-5))
        assert (below.verdict == "determined", above.verdict == "determined") == (False, True)


@pytest.mark.parametrize(("truth", "prior"), [(-2.0, 0.5), (-0.3, 0.5), (-0.01, 0.5)])
def test_exposure_factor_of_one_constant(truth, prior):
    precision, fisher = prior**-2.0, 7.0
    # Variance 1/(tF + P): 1 % of the prior's, and a tenth of the only stiffness.
    contracted, stiff = 99 * precision / fisher, (100 / truth**2 - precision) / fisher
    factor = exposure_factors(one_constant(truth, prior), np.array([[fisher]]))[1]
    assert factor == pytest.approx(max(contracted, stiff), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_what_scattering_does_not_show_is_never_determined(case, seed):
    unknowns = unknowns_of(case)
    blind = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    # So large that its rounding, times the longest exposure, would count for something.
    fisher = 1e13 * blind[:, 1:] @ blind[:, 1:].T
    assert set(exposure_factors(unknowns, fisher).values()) == {np.inf}
    constants = forecast(unknowns, LONGEST * fisher).constants
    # What is left is the prior along the blind direction.
    np.testing.assert_allclose([c.sd for c in constants], np.abs(blind[:, 0]), rtol=1e-4)


def test_nothing_measured_is_nothing_known(case):
    unknowns = unknowns_of(case)
    found = forecast(unknowns, np.zeros((5, 5)))
    assert [c.contraction for c in found.constants] == pytest.approx([0] * 5)
    assert set(exposure_factors(unknowns, np.zeros((5, 5))).values()) == {np.inf}


def option(name: str, share: float, gain: float) -> Option:
    unknowns = one_constant(-1.0, 1.0)
    fisher = np.array([[gain]])
    return Option(name, share, 1.0, forecast(unknowns, fisher), exposure_factors(unknowns, fisher))


def test_advice_names_the_quickest_and_the_poorest():
    # Information 99 determines: at 0.99 of the exposure of all, 9.9 of the slice's, 99,000 of the dot's.
    options = [option("all", 1.0, 100.0), option("slice", 0.05, 10.0), option("dot", 0.01, 1e-3)]
    said = advice(1, options)
    assert "Shell 1 is determined as planned, and would still be at 0.99 times the exposure" in said
    assert "least beam time (0.5) by: slice, at 9.9 times the exposure" in said
    assert "Known least from: dot (prior-dominated)" in said


def test_advice_on_what_falls_short():
    short = advice(1, [option("slice", 0.05, 10.0)])
    assert "Shell 1 is weak as planned, the overall stiffness being uncertain by 30%" in short
    assert "determined from 9.9 times the exposure on" in short
    never = advice(1, [option("dark", 1.0, 1e-9)])
    assert "still not determined at 1e+06 times the exposure" in never
    assert "None of these measurements determines it" in never
