"""Polynomials against numbers, derivatives against finite differences, engines in groups."""

from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.lattice_dynamics.covariance import packed_covariance
from bayestds.monomials import exponents
from bayestds.scattering import fourier, lattice
from bayestds.scattering.engine import make_engine
from bayestds.scattering.exact import log_intensity
from bayestds.scattering.polynomials import (
    cubic_series,
    exponential_series,
    exponential_sum,
    monomials,
    n_monomials,
    values,
)
from tests.scattering.test_expansion import make_case, whole_shell


def products_of(vectors: np.ndarray, *degrees: int) -> np.ndarray:
    """The monomials, one by one."""
    rows = [
        vectors[..., 0, :] ** a * vectors[..., 1, :] ** b * vectors[..., 2, :] ** c
        for degree in degrees
        for a, b, c in exponents(degree)
    ]
    return np.stack(rows, axis=-2)


def quadratic_forms(vectors: np.ndarray, forms: np.ndarray) -> np.ndarray:
    """x at each Q, of coefficients (n, 6)."""
    matrices = np.zeros((len(forms), 3, 3))
    matrices[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]] = forms
    return np.einsum("biq,nij,bjq->nbq", vectors, matrices, vectors)


@pytest.mark.parametrize("degrees", [(0,), (1,), (0, 2, 4), (3, 5, 7, 9), (0, 2, 3, 4, 5), (12,)])
def test_values_are_those_of_the_sum_over_monomials(degrees):
    rng = np.random.default_rng(0)
    vectors, coefficients = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 4, n_monomials(degrees)))
    powers = products_of(vectors, *degrees)
    np.testing.assert_allclose(monomials(jnp.asarray(vectors), degrees), powers, rtol=1e-12)
    found = values(jnp.asarray(coefficients), jnp.asarray(vectors), degrees)
    np.testing.assert_allclose(found, coefficients @ powers, rtol=1e-10, atol=1e-10)


def test_series_adds_up_to_the_exponential():
    """Seventh order of x <= 0.2 is 1e-9; window factors multiply every order once."""
    rng = np.random.default_rng(1)
    vectors, forms = rng.uniform(-1, 1, (1, 3, 7)), rng.uniform(-0.03, 0.03, (4, 6))
    window = rng.uniform(0.5, 1.0, 4)
    series = exponential_series(jnp.asarray(forms.T)[:, None], (jnp.asarray(window)[None],) * 6)
    found = np.einsum("mn,mq->nq", np.concatenate(series)[:, 0], products_of(vectors, *range(2, 13, 2))[0])
    x = quadratic_forms(vectors, forms)[:, 0]
    np.testing.assert_allclose(found, window[:, None] * np.expm1(x), rtol=0, atol=2e-9)


def central(function, where, direction, step=1e-5):
    return (function(where + step * direction) - function(where - step * direction)) / (2 * step)


def test_derivative_of_the_series():
    """Central differences of a polynomial of degree 4 with coefficients of order one: error 1e-10."""
    rng = np.random.default_rng(2)
    forms, direction = rng.normal(size=(2, 6, 1, 5))
    factors = tuple(jnp.asarray(rng.normal(size=(4, 1, 5))))

    def value(x):
        series = exponential_series(jnp.asarray(x), factors)
        return sum((term * jnp.cos(jnp.arange(term.size).reshape(term.shape))).sum() for term in series)

    slope = np.asarray(jax.grad(value)(jnp.asarray(forms)))
    assert np.sum(slope * direction) == pytest.approx(float(central(value, forms, direction)), rel=1e-7)
    forth = jax.jvp(value, (jnp.asarray(forms),), (jnp.asarray(direction),))[1]
    assert float(forth) == pytest.approx(np.sum(slope * direction), rel=1e-12)


def test_cubic_series_is_the_product_and_so_is_its_derivative():
    """At some Q: s xⁿ/n! of every order, and central differences of polynomials of degree 4."""
    rng = np.random.default_rng(4)
    vectors, window = rng.uniform(-1, 1, (1, 3, 7)), rng.uniform(0.5, 1.0, 4)
    place, direction = rng.normal(size=(2, 16, 1, 4))

    def series(x):
        x = jnp.asarray(x)
        return cubic_series(x[:10], x[10:], (jnp.asarray(window)[None],) * 4)

    s = np.einsum("mn,mq->nq", place[:10, 0], products_of(vectors, 3)[0])
    x = quadratic_forms(vectors, place[10:, 0].T)[:, 0]
    for n, terms in enumerate(series(place)):
        found = np.einsum("mn,mq->nq", terms[:, 0], products_of(vectors, 2 * n + 3)[0])
        np.testing.assert_allclose(found, window[:, None] * s * x**n / factorial(n), rtol=1e-9, atol=1e-12)

    def value(x):
        return sum((term * jnp.cos(jnp.arange(term.size).reshape(term.shape))).sum() for term in series(x))

    slope = np.asarray(jax.grad(value)(jnp.asarray(place)))
    assert np.sum(slope * direction) == pytest.approx(float(central(value, place, direction)), rel=1e-7)
    forth = jax.jvp(value, (jnp.asarray(place),), (jnp.asarray(direction),))[1]
    assert float(forth) == pytest.approx(np.sum(slope * direction), rel=1e-12)


def test_sum_of_exponentials_and_its_derivative():
    rng = np.random.default_rng(3)
    vectors, forms = rng.normal(size=(2, 3, 5)), 0.1 * rng.normal(size=(4, 6))
    weights = rng.normal(size=(4, 2, 5))
    expected = (weights * np.exp(quadratic_forms(vectors, forms))).sum(axis=0)
    products = jnp.asarray(products_of(vectors, 2).swapaxes(0, 1))
    found = exponential_sum(jnp.asarray(forms), jnp.asarray(weights), products)
    np.testing.assert_allclose(found, expected, rtol=1e-12)

    def ours(forms, weights):
        return (exponential_sum(forms, weights, products) ** 2).sum()

    def plain(forms, weights):
        matrices = jnp.zeros((4, 3, 3)).at[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].set(forms)
        x = jnp.einsum("biq,nij,bjq->nbq", vectors, matrices, vectors)
        return ((weights * jnp.exp(x)).sum(axis=0) ** 2).sum()

    where = jnp.asarray(forms), jnp.asarray(weights)
    for slope, expected in zip(*(jax.grad(f, argnums=(0, 1))(*where) for f in (ours, plain)), strict=True):
        np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["fcc", pytest.param("quartz", marks=pytest.mark.slow)])
@pytest.mark.parametrize("few_waves", [0, 10**6])
@pytest.mark.parametrize("largest_excess", [0, 10**6])
def test_groups_and_transforms_change_nothing(name, few_waves, largest_excess, monkeypatch):
    """Groups, monomials of Q or of G, sums over R in chunks or transforms: rounding only."""
    supercell, q_points, found, factors = make_case(name, 12.0)
    near = whole_shell(supercell, 8)
    window = np.random.default_rng(4).uniform(0.9, 1.0, supercell.n_cells)
    window = (window + window[supercell.cell_index(-supercell.cells)]) / 2
    given = (supercell, q_points, factors, near, 3, window)

    def value(engine, covariance):
        return jnp.sum(
            log_intensity(engine, packed_covariance(covariance)) * jnp.cos(jnp.arange(len(q_points)))
        )

    both = jax.jit(jax.value_and_grad(value, argnums=1))
    monkeypatch.setattr(lattice, "LARGEST_EXCESS", 0)
    one = make_engine(*given)
    monkeypatch.setattr(fourier, "FEW_WAVES", few_waves)
    monkeypatch.setattr(fourier, "NUMBERS_AT_ONCE", 1000)
    monkeypatch.setattr(lattice, "LARGEST_EXCESS", largest_excess)
    many = make_engine(*given, memory=2**12)
    assert one.n_groups == 1 < many.n_groups
    many_atoms = supercell.crystal.n_atoms > lattice.MOST_ATOMS
    assert (many.lattice is None) == (largest_excess == 0 or many_atoms)
    assert few_waves == 0 or any(len(cells.cells) > 1 for cells in many.sums.direct)
    assert many.sums.n_transformed == (3 if few_waves == 0 else 0)
    expected, found_ = both(one, found), both(many, found)
    assert float(found_[0]) == pytest.approx(float(expected[0]), rel=1e-11)
    # Of a covariance that has C_κκ'(R) = C_κ'κ(-R)ᵀ only changes that keep this have a derivative.
    opposite = supercell.cell_index(-supercell.cells)
    slopes = [np.asarray(g) + np.asarray(g)[opposite].transpose(0, 2, 1, 4, 3) for _, g in (expected, found_)]
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=0, atol=1e-10 * np.abs(slopes[0]).max())
