"""Priors: densities, standard deviations, and draws within the stable region."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import log_density
from scipy import stats

from bayestds.inference.priors import (
    DEGREES_OF_FREEDOM,
    LOG_SCALE,
    PRIOR_SCALE,
    WIDTH,
    Family,
    Prior,
    learned_factor,
    log_prior,
    prior_draws,
    prior_shift,
    prior_standard_deviations,
    sample_prior,
    shrinkage_shapes,
)
from bayestds.lattice_dynamics.harmonic import harmonic_crystal, stable
from tests.crystals import default_supercell, make_irreducible

SCALES = np.array([1.0, 1.0, 0.4])
SHELLS = np.array([1, 1, 2])
PHI = np.array([0.3, -1.2, 0.1])


def make_prior(
    scales: np.ndarray,
    shells: np.ndarray,
    family: Family = "normal",
    cubic_scales: np.ndarray | None = None,
    learned: bool = False,
) -> Prior:
    blocks = {"irreducible": scales} | ({} if cubic_scales is None else {"cubic": cubic_scales})
    values = tuple(map(jnp.asarray, blocks.values()))
    return Prior(tuple(blocks), values, jnp.asarray(shells), jnp.ones(()), family, int(shells.max()), learned)


def density(prior, **sites):
    values = {name: jnp.asarray(value) for name, value in sites.items()}
    return float(log_density(sample_prior, (prior,), {}, values)[0])


def test_normal():
    found = density(make_prior(SCALES, SHELLS), irreducible=PHI)
    assert found == pytest.approx(stats.norm.logpdf(PHI, 0, SCALES).sum(), rel=1e-12)


def test_student_t():
    found = density(make_prior(SCALES, SHELLS, "student_t"), irreducible=PHI)
    assert found == pytest.approx(stats.t.logpdf(PHI, DEGREES_OF_FREEDOM, 0, SCALES).sum(), rel=1e-12)


def test_shrinkage():
    overall, local = 0.7, np.array([2.0, 0.1])
    prior = make_prior(SCALES, SHELLS, "shrinkage")
    found = density(prior, irreducible=PHI, shrinkage_overall=overall, shrinkage_shell=local)
    slab, strength = SCALES, (overall * local)[SHELLS - 1]
    sd = np.sqrt(slab**2 * strength**2 / (1 + strength**2))
    expected = stats.halfcauchy.logpdf(overall) + stats.halfcauchy.logpdf(local).sum()
    assert found == pytest.approx(expected + stats.norm.logpdf(PHI, 0, sd).sum(), rel=1e-12)
    assert shrinkage_shapes(prior) == {"shrinkage_overall": (), "shrinkage_shell": (2,)}
    assert shrinkage_shapes(make_prior(SCALES, SHELLS)) == {}


def test_learned_scale():
    log_scale = 1.3
    prior = make_prior(SCALES, SHELLS, learned=True)
    found = density(prior, irreducible=PHI, **{PRIOR_SCALE: log_scale})
    expected = stats.norm.logpdf(log_scale, *LOG_SCALE)
    expected += stats.norm.logpdf(PHI, 0, np.exp(log_scale) * SCALES).sum()
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_learned_scale_follows_the_size_of_the_constants():
    """Whatever the unit of energy, the prior is as wide relative to the constants."""
    scales = SCALES * learned_factor(PHI, SCALES)
    assert np.sqrt(np.mean((PHI / scales) ** 2)) == pytest.approx(1 / WIDTH)
    np.testing.assert_allclose(SCALES * learned_factor(7 * PHI, SCALES), 7 * scales)


def test_shift_by_the_prior_is_that_of_a_linear_model():
    """Normal data of a linear model: posterior mean less least squares, in standard errors."""
    rng = np.random.default_rng(3)
    design, observed = rng.normal(size=(2000, 3)), rng.normal(size=2000)
    information, pull = design.T @ design, design.T @ observed + 40 * SHELLS
    precision = information + np.diag(SCALES**-2.0)
    posterior, least_squares = np.linalg.solve(precision, pull), np.linalg.solve(information, pull)
    expected = (least_squares - posterior) / np.sqrt(np.diag(np.linalg.inv(precision)))
    np.testing.assert_allclose(prior_shift(precision, SCALES, posterior), expected, rtol=0.01)


def test_standard_deviation_of_the_student_t():
    found = prior_standard_deviations(make_prior(SCALES, SHELLS, "student_t"))
    np.testing.assert_allclose(found, stats.t.std(DEGREES_OF_FREEDOM, 0, SCALES))


def test_standard_deviation_of_the_shrinkage():
    """A million draws of the squared factor, whose standard deviation is below 1/2: 5e-4 of 0.5."""
    rng = np.random.default_rng(0)
    t = np.abs(rng.standard_cauchy(10**6) * rng.standard_cauchy(10**6))
    variance = (t**2 / (1 + t**2)).mean()
    found = np.asarray(prior_standard_deviations(make_prior(SCALES, SHELLS, "shrinkage")))
    np.testing.assert_allclose(found**2, variance * SCALES**2, rtol=4e-3)


@pytest.mark.parametrize("family", ["normal", "student_t", "shrinkage"])
def test_draws_are_stable_draws_of_the_prior(family):
    """Nearest neighbours only: stability is known by trial, the rest of the prior must not change."""
    irreducible, supercell = make_irreducible("fcc", 1), default_supercell("fcc")
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    prior = make_prior(np.ones(3), np.ones(3, dtype=int), family)
    draws = prior_draws(prior, [(crystal, np.eye(3))], 500, seed=0)["irreducible"]
    assert draws.shape == (500, 3)
    assert all(bool(stable(crystal, jnp.asarray(draw))) for draw in draws[:50])
    assert len(np.unique(draws[:, 0])) == 500
    if family == "normal":
        kept = np.random.default_rng(1).normal(size=(6000, 3))
        kept = kept[[bool(stable(crystal, jnp.asarray(draw))) for draw in kept]]
        # Two samples of the same distribution fail this in one of a thousand cases for each constant.
        assert min(stats.ks_2samp(draws[:, i], kept[:, i]).pvalue for i in range(3)) > 1e-3


def test_impossible_prior_gives_no_draws():
    """Two free constants of a shell that would have to be many standard deviations from zero."""
    irreducible, supercell = make_irreducible("fcc", 1), default_supercell("fcc")
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    prior = make_prior(np.full(3, 1e-12), np.ones(3, dtype=int))
    draws = prior_draws(prior, [(crystal, np.eye(3))], 10, seed=0)
    assert draws["irreducible"].shape == (0, 3)


def normal(x, scale):
    return -0.5 * (x / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("cubic", [False, True])
def test_log_density_of_the_prior_of_draws(learned, cubic):
    """Normal densities written out, with the factor on their scales and its own prior where it is learned."""
    rng = np.random.default_rng(0)
    scales, third = np.array([1.0, 2.0, 0.5]), np.array([3.0, 4.0])
    prior = make_prior(scales, np.array([1, 1, 2]), "normal", third if cubic else None, learned)
    sites = {"irreducible": rng.normal(size=(2, 5, 3)), "cubic": rng.normal(size=(2, 5, 2))}
    expected = np.zeros((2, 5))
    factor = np.ones((2, 5, 1))
    if learned:
        sites[PRIOR_SCALE] = rng.normal(size=(2, 5))
        factor = np.exp(sites[PRIOR_SCALE])[..., None]
        centre, width = LOG_SCALE
        expected += normal(sites[PRIOR_SCALE] - centre, width)
    expected += normal(sites["irreducible"], factor * scales).sum(axis=-1)
    if cubic:
        expected += normal(sites["cubic"], factor * third).sum(axis=-1)
    np.testing.assert_allclose(log_prior(prior, sites), expected, rtol=1e-10)


def test_log_density_of_a_shrinking_prior_has_its_scales():
    rng = np.random.default_rng(1)
    prior = make_prior(np.ones(3), np.array([1, 1, 2]), "shrinkage")
    sites = {
        "irreducible": rng.normal(size=(1, 4, 3)),
        "shrinkage_overall": rng.uniform(0.5, 2, (1, 4)),
        "shrinkage_shell": rng.uniform(0.5, 2, (1, 4, 2)),
    }
    strength = sites["shrinkage_overall"][..., None] * sites["shrinkage_shell"]
    widths = (strength / np.sqrt(1 + strength**2))[..., [0, 0, 1]]
    expected = normal(sites["irreducible"], widths).sum(axis=-1)
    for value in (sites["shrinkage_overall"][..., None], sites["shrinkage_shell"]):
        expected += np.log(2 / np.pi / (1 + value**2)).sum(axis=-1)
    np.testing.assert_allclose(log_prior(prior, sites), expected, rtol=1e-10)
