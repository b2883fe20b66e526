"""Every likelihood against scipy, quadrature and derivatives; see test_correlation.py for correlated
errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize

from bayestds.errors import ModelError
from bayestds.inference.correlation import make_correlation
from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.correlated import Correlated
from bayestds.inference.likelihoods.counts import GammaPoisson, Poisson
from bayestds.inference.likelihoods.floor import Floor, excess_level
from bayestds.inference.likelihoods.gaussian import Gaussian
from bayestds.inference.likelihoods.log_normal import LEVEL, LogNormal, learned_log_normal
from bayestds.inference.likelihoods.make import make_likelihood
from bayestds.inference.likelihoods.scale import SCALE
from bayestds.inference.likelihoods.student_t import StudentT
from bayestds.scattering.averaging import average
from tests.fit_problems import known

N = 40
NOISE = 0.1
LOG_SCALE = 1.3


def model(seed: int = 0) -> jnp.ndarray:
    """Log intensities of a model."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=N))


def errors(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=N)


def log_normal() -> LogNormal:
    weight = np.random.default_rng(2).uniform(0.5, 2, N) / NOISE**2
    return LogNormal(model() + LOG_SCALE + errors() / np.sqrt(weight), jnp.asarray(weight))


def gaussian(signal: float = 50.0, background: float = 20.0) -> Gaussian:
    """Intensities of which some are negative: counts with a background subtracted."""
    expected = signal * np.exp(np.asarray(model()))
    variance = expected + background
    intensity = expected + np.sqrt(variance) * errors()
    intensity[:3] = [-4.0, 0.0, 1e-3]
    constant, slope = np.full(N, background), np.ones(N)
    return Gaussian(*map(jnp.asarray, (intensity, constant, slope, expected)))


def poisson() -> Poisson:
    rng = np.random.default_rng(3)
    exposure = rng.uniform(1, 5, N)
    return Poisson(jnp.asarray(rng.poisson(exposure * np.exp(model())).astype(float)), jnp.asarray(exposure))


def correlated() -> Correlated:
    rng = np.random.default_rng(4)
    variance, common = rng.uniform(0.5, 2, N) * NOISE**2, 0.1 * rng.normal(size=(N, 3))
    correlation = make_correlation(variance, [], [], common)
    weight = 1 / (variance + (common**2).sum(axis=1))
    return Correlated(model() + 0.1 * errors(), jnp.asarray(weight), correlation)


def every() -> dict[str, Likelihood]:
    log, intensities, level = log_normal(), gaussian(), jnp.asarray(0.2)
    return {
        "log-normal": log,
        "learned": learned_log_normal(log.log_intensity, log.weight),
        "gaussian": intensities,
        "floor": Floor(log, level),
        "gaussian floor": Floor(intensities, level),
        "student": StudentT(log, jnp.asarray(4.0)),
        "student learned": StudentT(learned_log_normal(log.log_intensity, log.weight), jnp.asarray(4.0)),
        "student gaussian": StudentT(intensities, jnp.asarray(4.0)),
        "poisson": poisson(),
        "gamma-poisson": GammaPoisson(poisson(), level),
        "correlated": correlated(),
    }


@pytest.fixture(params=sorted(every()))
def likelihood(request) -> Likelihood:
    return every()[request.param]


def tried(likelihood: Likelihood) -> jnp.ndarray:
    """Log intensities near those of the data, but not at the maximum of the likelihood."""
    return model() + 0.05 * model(5)


def test_score_is_the_derivative_of_the_log_likelihood(likelihood):
    value = tried(likelihood)
    slope = jax.grad(likelihood.log_likelihood)(value)
    here = likelihood.quadratic(value, 3)
    np.testing.assert_allclose(here.score, slope, rtol=1e-6, atol=1e-7)
    assert abs(float(here.score.sum())) < 1e-6 * float(jnp.abs(here.score).sum())


def test_no_scale_is_better_than_the_best(likelihood):
    value = tried(likelihood)
    best = float(likelihood.best_log_scale(value))
    unknowns = {LEVEL: jnp.log(level_of(likelihood, value)), SCALE: jnp.zeros(())}

    def loss(log_scale: np.ndarray) -> float:
        density = likelihood.point_density(value + log_scale[0], unknowns)
        return -float(density.log_prob(likelihood.observed).sum())

    if isinstance(likelihood, Correlated):
        misfit = likelihood.log_intensity - value
        squares = [likelihood.correlation.square(misfit - best - step) for step in (-1e-3, 0.0, 1e-3)]
        assert squares[1] == min(squares)
        return
    found = minimize(loss, [best + 0.3], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}).x[0]
    # A quasi-likelihood keeps its variances while the scale is sought.
    assert found == pytest.approx(best, abs=1e-5)


def level_of(likelihood: Likelihood, value: jnp.ndarray) -> jnp.ndarray:
    """The noise level that a likelihood has, or finds."""
    if hasattr(likelihood, "level"):
        return likelihood.level
    return jnp.sqrt(likelihood.quadratic(value, 0).noise_variance)


def test_likelihood_does_not_depend_on_the_scale(likelihood):
    value = tried(likelihood)
    moved = likelihood.log_likelihood(value + 2.5)
    assert float(moved) == pytest.approx(float(likelihood.log_likelihood(value)), rel=1e-7)
    assert float(likelihood.best_log_scale(value + 2.5)) == pytest.approx(
        float(likelihood.best_log_scale(value)) - 2.5, abs=1e-7
    )


def test_an_offset_of_the_model_can_be_taken_off_the_data(likelihood):
    value, offset = tried(likelihood), 0.1 * np.asarray(model(6))
    shifted = likelihood.shifted(offset)

    def differences(one: Likelihood, moved: jnp.ndarray) -> float:
        return float(one.log_likelihood(moved + 0.01 * model(7)) - one.log_likelihood(moved))

    expected = differences(likelihood, value + offset)
    assert differences(shifted, value) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_information_is_the_expected_curvature(likelihood):
    """Where the observations are as expected, the Hessian is that of the quadratic."""
    value = model()
    # Of the others the best scale or level is not a differentiable function.
    if isinstance(likelihood, StudentT | GammaPoisson) or likelihood.noise == "learned":
        return
    direction = np.asarray(model(8))
    ideal = as_expected(likelihood, value)
    information = direction @ np.asarray(information_of(ideal, value)) @ direction

    def along(step: jnp.ndarray) -> jnp.ndarray:
        return ideal.log_likelihood(value + step * direction)

    hessian = float(jax.grad(jax.grad(along))(0.0))
    assert -hessian == pytest.approx(information, rel=1e-5)


def information_of(likelihood: Likelihood, value: jnp.ndarray) -> np.ndarray:
    """Fisher information of the log intensities themselves, with the scale profiled out."""
    precision = likelihood.quadratic(value, 0).precision
    whole = np.asarray(precision.times(jnp.eye(N)))
    rows = whole.sum(axis=0)
    return whole - np.outer(rows, rows) / rows.sum()


def as_expected(likelihood: Likelihood, value: jnp.ndarray) -> Likelihood:
    """The likelihood had its observations been what is expected."""
    expected = likelihood.expectation(value + likelihood.best_log_scale(value))
    match likelihood:
        case Gaussian():
            return replace(likelihood, intensity=expected, expected=expected)
        case Poisson():
            return replace(likelihood, number=expected)
        case Floor(given=given):
            return replace(likelihood, given=as_expected(given, value))
        case _:
            return replace(likelihood, log_intensity=expected)


@pytest.mark.parametrize("name", ["log-normal", "gaussian", "poisson"])
def test_density_is_that_with_the_scale_integrated_out(name):
    """Under a flat prior on the log scale, between two models; of intensities to leading order."""
    likelihood = every()[name]
    values = [model(), tried(likelihood)]

    def integrand(log_scale: float, value: np.ndarray) -> float:
        density = likelihood.point_density(jnp.asarray(value) + log_scale, {})
        return np.exp(float(density.log_prob(likelihood.observed).sum()) - reference)

    found, expected = [], []
    for value in values:
        best = float(likelihood.best_log_scale(value))
        reference = float(likelihood.point_density(value + best, {}).log_prob(likelihood.observed).sum())
        integral = quad(integrand, best - 0.5, best + 0.5, args=(value,), epsabs=0, limit=200)[0]
        expected.append(np.log(integral) + reference)
        found.append(float(likelihood.log_density(value, {})))
    tolerance = 5e-3 if name == "gaussian" else 1e-7
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], abs=tolerance)


def test_variance_of_intensities_follows_what_is_expected():
    likelihood = gaussian()
    value = tried(likelihood)
    settled = likelihood.settled(value, 0)
    expected = np.exp(np.asarray(value + settled.best_log_scale(value)))
    np.testing.assert_allclose(settled.variance, 20.0 + expected, rtol=1e-6)
    np.testing.assert_array_equal(settled.intensity, likelihood.intensity)


def test_scale_of_intensities_whose_sum_is_negative_is_small_and_finite():
    likelihood = replace(gaussian(), intensity=-jnp.ones(N))
    value, slope = jax.value_and_grad(likelihood.log_likelihood)(model())
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("true", [0.0, 0.3])
def test_a_floor_is_found(true):
    """Relative errors beyond the given ones, by their scatter."""
    rng = np.random.default_rng(0)
    given = rng.uniform(0.05, 0.2, 4000) ** 2
    residual = rng.normal(size=4000) * np.sqrt(given + true**2)
    found = float(excess_level(jnp.asarray(residual), jnp.asarray(given), 0))
    assert found == pytest.approx(true, abs=0.015 if true else 0.03)


def test_a_floor_that_is_learned_makes_chi_square_one():
    log = log_normal()
    noisy = replace(log, log_intensity=log.log_intensity + 0.5 * model(9))
    floor = Floor(noisy, jnp.asarray(1e-5)).settled(model(), 5)
    assert float(floor.quadratic(model(), 5).reduced_chi_square(5)) == pytest.approx(1.0, rel=1e-2)
    assert float(floor.level) > 0.3


def test_outliers_hardly_move_heavy_tails():
    log = log_normal()
    hot = replace(log, log_intensity=log.log_intensity.at[5].add(100 * NOISE))
    robust = [StudentT(one, jnp.asarray(3.0)) for one in (log, hot)]
    moved = [
        abs(float(a.best_log_scale(model()) - b.best_log_scale(model()))) for a, b in [(log, hot), robust]
    ]
    assert moved[1] < 0.05 * moved[0]


def test_learned_level_of_heavy_tails_is_that_of_scipy():
    rng = np.random.default_rng(7)
    residual = 0.2 * stats.t.rvs(4, size=3000, random_state=rng)
    likelihood = StudentT(learned_log_normal(residual, np.ones(3000)), jnp.asarray(4.0))
    here = likelihood.quadratic(jnp.zeros(3000), 0)
    _, location, scale = stats.t.fit(residual, f0=4)
    assert float(here.log_scale) == pytest.approx(location, abs=1e-4)
    assert float(jnp.sqrt(here.noise_variance)) == pytest.approx(scale, rel=1e-3)


def test_subsets_are_log_intensities_with_learned_noise(likelihood):
    rows = np.arange(0, N, 3)
    part = likelihood.subset(rows)
    assert part.noise == "learned"
    assert part.n_points == len(rows)
    assert np.isfinite(part.observed).all()
    bright = np.asarray(likelihood.log_observed)[rows]
    clear = np.isfinite(bright) & (np.asarray(likelihood.quadratic(model(), 0).weight)[rows] > 10)
    np.testing.assert_allclose(np.asarray(part.observed)[clear], bright[clear], rtol=1e-12)


def test_replicates_scatter_as_the_noise_says(likelihood):
    value = model() + likelihood.best_log_scale(model())
    unknowns = {LEVEL: jnp.log(level_of(likelihood, model())), SCALE: jnp.zeros(())}
    n_draws = 4000
    repeated = {name: jnp.broadcast_to(x, (n_draws,)) for name, x in unknowns.items()}
    keys = jax.random.split(jax.random.key(0), n_draws)
    found = likelihood.replicate(jnp.broadcast_to(value, (n_draws, N)), repeated, keys)
    density = likelihood.point_density(value, unknowns)
    sd = np.sqrt(np.asarray(density.variance))
    np.testing.assert_allclose(found.mean(axis=0), density.mean, atol=6 * sd.max() / np.sqrt(n_draws))
    if not isinstance(likelihood, StudentT):  # whose fourth moment does not exist
        np.testing.assert_allclose(found.std(axis=0), sd, rtol=0.1)


def test_densities_of_groups_add_up(likelihood):
    if isinstance(likelihood, Correlated):
        return
    value = (model() + likelihood.best_log_scale(model()))[None]
    unknowns = {LEVEL: jnp.log(level_of(likelihood, model())), SCALE: jnp.zeros(())}
    groups = np.arange(N) % 3
    found = likelihood.log_density_by_group(value, {k: x[None] for k, x in unknowns.items()}, groups)
    by_point = np.asarray(likelihood.point_density(value[0], unknowns).log_prob(likelihood.observed))
    np.testing.assert_allclose(found[0], [by_point[groups == group].sum() for group in range(3)], rtol=1e-10)


def test_counts_have_no_heavy_tails():
    case = known("fcc", 2, steps=4)
    intensity = case.volume["intensity"]
    counts = np.floor(1000 * intensity / float(intensity.max())) + 1
    observations = average(case.volume.assign(intensity=counts / 1000, counts=counts), case.supercell)
    with pytest.raises(ModelError, match="degrees_of_freedom"):
        make_likelihood(observations, degrees_of_freedom=4.0)
