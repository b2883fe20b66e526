"""Structure factors by nonuniform FFT: against direct sums over atoms, and the separable product."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.errors import MissingPackageError
from bayestds.scattering.sampled import make_sampled_engine, mean_intensity
from tests.crystals import default_supercell

GRIDS = {
    "odd, centred": (np.linspace(-2, 2, 7), np.linspace(-1, 1, 5), np.linspace(-3, 3, 9)),
    "even, centred": (np.linspace(-2, 2, 6), np.linspace(-1, 1, 4), np.linspace(-3, 3, 8)),
    "mixed, off centre": (np.linspace(-2, 3, 6), np.linspace(0, 1, 5), np.linspace(1.2, 3, 7)),
    "a plane": (np.linspace(-2, 2, 5), np.linspace(-1, 1, 4), np.array([0.3])),
}
RELATIVE = 1e-7
"""Accuracy of |F|², twice that of F (1e-9 of the norm of all waves), with room for how it is spread."""


def case(name: str, complex_factors: bool) -> tuple[np.ndarray, np.ndarray]:
    """Factors (n_atoms,) and displacements (2, n_cells, n_atoms, 3), Å, some across the boundary."""
    supercell, rng = default_supercell(name), np.random.default_rng(4)
    n_atoms = supercell.crystal.n_atoms
    factors = rng.uniform(0.5, 2, n_atoms) + (1j * rng.uniform(-1, 1, n_atoms) if complex_factors else 0)
    u = 0.1 * rng.normal(size=(2, supercell.n_cells, n_atoms, 3))
    return factors, u + 7.0 * rng.normal(size=(2, 1, 1, 3))


@pytest.mark.parametrize("name", ["zincblende", "hcp"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("complex_factors", [False, True])
def test_intensity_is_the_direct_sum(name, grid, complex_factors):
    supercell, axes = default_supercell(name), GRIDS[grid]
    factors, u = case(name, complex_factors)
    crystal = supercell.crystal
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    sites = (supercell.cells[:, None] + crystal.fractional_positions) @ crystal.lattice_vectors
    phases = np.einsum("mcai,hkli->mcahkl", sites + u, crystal.scattering_vectors(q_points))
    waves = np.einsum("a,mcahkl->mhkl", factors, np.exp(1j * phases))
    expected = (np.abs(waves) ** 2).mean(axis=0) / supercell.n_cells
    found = mean_intensity(make_sampled_engine(supercell, axes, factors, nufft=True), jnp.asarray(u))
    np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * expected.max())


@pytest.mark.parametrize("grid", GRIDS)
def test_gradient_is_that_of_the_separable_product(grid):
    supercell, axes = default_supercell("zincblende"), GRIDS[grid]
    factors, u = case("zincblende", complex_factors=True)
    weights = np.random.default_rng(1).normal(size=[len(axis) for axis in axes])

    def gradient(nufft: bool) -> jax.Array:
        engine = make_sampled_engine(supercell, axes, factors, nufft)
        return jax.jit(jax.grad(lambda u: (weights * mean_intensity(engine, u)).sum()))(jnp.asarray(u))

    expected = gradient(nufft=False)
    np.testing.assert_allclose(
        gradient(nufft=True), expected, rtol=0, atol=RELATIVE * jnp.abs(expected).max()
    )


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax_finufft", None)
    with pytest.raises(MissingPackageError, match=r"jax-finufft.*\n.*\n.*bayestds\[nufft\]"):
        make_sampled_engine(default_supercell("fcc"), GRIDS["a plane"], nufft=True)
    make_sampled_engine(default_supercell("fcc"), GRIDS["a plane"])
