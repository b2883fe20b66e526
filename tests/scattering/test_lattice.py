"""Polynomials at k + G against numbers, and Q points as such sums."""

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.monomials import exponents
from bayestds.scattering import lattice
from bayestds.scattering.blocks import make_blocks
from bayestds.scattering.lattice import make_lattice, translated, values
from tests.crystals import commensurate_points, default_supercell


def products_of(vectors: np.ndarray, degree: int) -> np.ndarray:
    """The monomials of one degree, one by one, (n_monomials, ...) at vectors (..., 3)."""
    return np.stack([np.prod(vectors ** np.array(e), axis=-1) for e in exponents(degree)])


@pytest.mark.parametrize("degrees", [(2,), (2, 4, 6), (3, 5)])
def test_translated_polynomial_has_the_same_values(degrees):
    rng = np.random.default_rng(0)
    origins, vectors = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    coefficients = {d: rng.normal(size=(len(exponents(d)), 2, 4)) for d in degrees}
    sums = origins[:, None] + vectors
    expected = sum(np.einsum("mrk,mkg->rkg", c, products_of(sums, d)) for d, c in coefficients.items())
    found = translated({d: jnp.asarray(c) for d, c in coefficients.items()}, jnp.asarray(origins.T))
    monomials = np.concatenate([products_of(vectors, d) for d in range(max(degrees) + 1)])
    np.testing.assert_allclose(np.einsum("mrk,mg->rkg", found, monomials), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["fcc", "hcp", "triclinic"])
def test_points_are_sums_of_the_shortest_waves_and_lattice_vectors(name, monkeypatch):
    """Values of x, y and z at the points are the points; those of many are taken in several groups."""
    monkeypatch.setattr(lattice, "LARGEST_EXCESS", 10**6)
    supercell = default_supercell(name)
    q_points = commensurate_points(supercell, 60, 12.0, seed=3)
    blocks = make_blocks(supercell.k_index(q_points), 8, 64)
    points = make_lattice(supercell, q_points, blocks, 1)
    n_k = len(blocks.k_points)
    # One polynomial for each component, the same at every k.
    components = jnp.asarray(np.broadcast_to(np.eye(3)[..., None], (3, 3, n_k)))
    found = np.asarray(values(points, {1: components}))
    assert found.shape == (*blocks.k_of_block.shape[:1], 3, *blocks.points.shape[1:])
    assert len(found) > 1
    vectors = np.moveaxis(found, 1, -1).reshape(-1, 3)[blocks.place]
    np.testing.assert_allclose(vectors, supercell.crystal.scattering_vectors(q_points), atol=1e-10)
    origins = np.asarray(points.origins).T
    reciprocal = supercell.crystal.scattering_vectors(
        np.array(list(np.ndindex(5, 5, 5))) @ supercell.crystal.conventional_matrix.T
        - 2 * supercell.crystal.conventional_matrix.sum(axis=1)
    )
    images = np.linalg.norm(origins[:, None] + reciprocal, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(origins, axis=-1), images.min(axis=1), atol=1e-10)


def test_few_of_many_sums_have_no_lattice(monkeypatch):
    """Points in a row share a k or a G; of points at random hardly two do."""
    supercell = default_supercell("triclinic")
    few = commensurate_points(supercell, 40, 25.0, seed=1)
    assert make_lattice(supercell, few, make_blocks(supercell.k_index(few), 8, 1e9), 3) is None
    matrix = supercell.crystal.conventional_matrix.T
    row = (supercell.k_points[1:4, None] + [[n, 0, 0] for n in range(3)]).reshape(-1, 3) @ matrix
    points = make_lattice(supercell, row, make_blocks(supercell.k_index(row), 8, 1e9), 3)
    assert points.origins.shape == (3, 3)
    assert points.monomials.shape[0] == 20
    monkeypatch.setattr(lattice, "MOST_VALUES", 5)
    assert make_lattice(supercell, row, make_blocks(supercell.k_index(row), 8, 1e9), 3) is None
