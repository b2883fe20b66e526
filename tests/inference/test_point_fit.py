"""Point fits against known answers."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from bayestds.cli.assemble import build_study
from bayestds.config import load_model
from bayestds.inference import rounds
from bayestds.inference.point_fit import point_fit
from bayestds.lattice_dynamics.harmonic import harmonic_crystal, stable
from tests.fit_problems import TEMPERATURE, known, with_noise

SHIPPED = ("fe_bcc", "si_diamond", "nacl_rocksalt", "mg_hcp", "ni_fcc_paper")


QUICK = ("nacl_rocksalt", "ni_fcc_paper")
"""One alloy, and the crystal of the paper; the others take half a minute each."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHIPPED]
)
def test_noise_free_volume_gives_back_the_truth(name):
    study = build_study(load_model(name))
    measurement, fit = study.model.measurement, study.model.fit
    scale = float(np.exp(3 * np.random.default_rng(len(name)).normal()))
    volume = study.simulated(measurement.ifcs, scale)
    result = point_fit(study.problem(volume, name), study.ifcs(fit.start))
    assert result.converged
    assert np.abs(result.irreducible - study.ifcs(measurement.ifcs)).max() < 1e-5
    assert float(result.volumes[0].quadratic.log_scale) == pytest.approx(np.log(scale), abs=1e-4)
    assert np.abs(result.volumes[0].truncation.error).max() < study.model.fit.tolerance


@pytest.mark.slow
def test_monoclinic_crystal_of_two_species():
    case = known("monoclinic", 3)
    start = 0.7 * case.truth
    result = point_fit(case.problem(prior_scale=100.0), start)
    assert result.converged
    assert np.abs(result.irreducible - case.truth).max() < 1e-5


@pytest.mark.parametrize("start", ["zero", "reversed"])
def test_unstable_start_finds_the_truth(start):
    case = known("fcc", 2)
    values = np.zeros_like(case.truth) if start == "zero" else -case.truth
    crystal = harmonic_crystal(case.irreducible, case.supercell, TEMPERATURE)
    assert not stable(crystal, jnp.asarray(values))
    result = point_fit(case.problem(), values)
    assert result.converged
    assert np.abs(result.irreducible - case.truth).max() < 1e-6


def test_fit_that_runs_out_of_rounds_says_so(monkeypatch):
    monkeypatch.setattr(rounds, "MAX_ROUNDS", 1)
    case = known("fcc", 2)
    result = point_fit(case.problem(), -case.truth)
    assert not result.converged
    assert result.message.startswith("Not converged")


def test_standard_errors_hold_for_independent_noise():
    """Pulls over repeated noise are standard normal: their mean square is chi-square distributed."""
    case, sigma = known("fcc", 2, steps=9), 0.05
    pulls = []
    for seed in range(20):
        result = point_fit(case.problem(with_noise(case.volume, sigma, seed), noise=sigma), case.truth)
        assert result.converged
        factor = np.linalg.cholesky(result.precision)
        pulls.append(factor.T @ (result.irreducible - case.truth))
    total, count = float(np.square(pulls).sum()), np.size(pulls)
    low, high = chi2.ppf([0.001, 0.999], count)
    # Averaging before taking the logarithm shifts ln I by a constant, which the scale absorbs.
    assert low < total < high


def test_learned_noise_is_the_noise():
    case, sigma = known("fcc", 2, steps=9), 0.05
    volume = with_noise(case.volume, sigma, 0)
    learned = point_fit(case.problem(volume, noise=None), case.truth)
    given = point_fit(case.problem(volume, noise=sigma), case.truth)
    (volume,) = learned.volumes
    relative_error = 1 / np.sqrt(2 * len(volume.residual))
    assert np.sqrt(float(volume.quadratic.noise_variance)) == pytest.approx(sigma, rel=4 * relative_error)
    # The noise level only weighs data against priors, which are wide.
    sd = np.sqrt(np.diag(given.covariance))
    assert (np.abs(learned.irreducible - given.irreducible) < 0.02 * sd).all()
    assert np.diag(learned.covariance) == pytest.approx(np.diag(given.covariance), rel=8 * relative_error)


def test_priors_that_are_ten_times_wider_change_nothing():
    case = known("fcc", 2)
    volume = with_noise(case.volume, 0.02, 1)
    narrow = point_fit(case.problem(volume, noise=0.02, prior_scale=3.0), case.truth)
    wide = point_fit(case.problem(volume, noise=0.02, prior_scale=30.0), case.truth)
    sd = np.sqrt(np.diag(narrow.covariance))
    assert (np.abs(wide.irreducible - narrow.irreducible) < 0.1 * sd).all()


def test_prior_decides_where_the_data_are_silent():
    """With very noisy data the posterior is the prior: values near 0, errors of the prior."""
    case = known("fcc", 2)
    problem = dataclasses.replace(case.problem(noise=1e6), given_scales=np.abs(case.truth) / 3)
    result = point_fit(problem, case.truth)
    assert np.sqrt(np.diag(result.covariance)) == pytest.approx(problem.prior_scales, rel=1e-3)
