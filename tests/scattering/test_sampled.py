"""The sampled engine: against direct sums over atoms, and its mean against the exact intensity."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell
from bayestds.lattice_dynamics.displacements import cell_differences, displacements, white_noise
from bayestds.lattice_dynamics.harmonic import harmonic_crystal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.sampled import folded_intensity, make_sampled_engine, mean_intensity, unfolded
from bayestds.scattering.simulation import (
    IntensitySum,
    configuration,
    displacement_root,
    no_configurations,
    sample_intensity,
)
from tests.brute_force import random_stable
from tests.crystals import commensurate_points, default_supercell, make_irreducible

CRYSTALS = ["fcc", "diamond", "zincblende", "hcp"]

GRIDS = {
    "odd, centred": (np.linspace(-2, 2, 7), np.linspace(-1, 1, 5), np.linspace(-3, 3, 9)),
    "even, centred": (np.linspace(-2, 2, 6), np.linspace(-1, 1, 4), np.linspace(-3, 3, 8)),
    "off centre": (np.linspace(-2, 3, 6), np.linspace(0, 1, 5), np.linspace(1.2, 3, 7)),
    "a plane": (np.linspace(-2, 2, 5), np.linspace(-1, 1, 4), np.array([0.3])),
}


def direct_intensity(
    supercell: Supercell, u: np.ndarray, q_points: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """|F|² per cell (n_q,) of one configuration u (n_cells, n_atoms, 3), as a sum over atoms."""
    crystal = supercell.crystal
    sites = (supercell.cells[:, None] + crystal.fractional_positions) @ crystal.lattice_vectors
    waves = np.exp(1j * (sites + u) @ crystal.scattering_vectors(q_points).T)
    return np.abs(np.einsum("a,caq->q", factors, waves)) ** 2 / supercell.n_cells


@pytest.mark.parametrize("name", ["zincblende", "hcp", "p1"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("complex_factors", [False, True])
def test_intensity_of_one_configuration(name, grid, complex_factors):
    supercell, rng = default_supercell(name), np.random.default_rng(4)
    n_atoms = supercell.crystal.n_atoms
    factors = rng.uniform(0.5, 2, n_atoms) + (1j * rng.uniform(-1, 1, n_atoms) if complex_factors else 0)
    u = 0.1 * rng.normal(size=(supercell.n_cells, n_atoms, 3))
    axes = GRIDS[grid]
    found = mean_intensity(make_sampled_engine(supercell, axes, factors), jnp.asarray(u)[None])
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    expected = direct_intensity(supercell, u, q_points, factors).reshape(found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_sums_run_over_all_configurations():
    supercell, rng = default_supercell("zincblende"), np.random.default_rng(4)
    engine = make_sampled_engine(supercell, GRIDS["odd, centred"], np.array([1.0, 2.0]))
    u = jnp.asarray(0.1 * rng.normal(size=(3, supercell.n_cells, 2, 3)))
    each = [unfolded(engine, folded_intensity(engine, one)) for one in u]
    np.testing.assert_allclose(mean_intensity(engine, u), np.mean(each, axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", CRYSTALS)
def test_mean_converges_to_the_exact_intensity(name):
    """z-scores of the mean have rms 1, and the error falls as 1/√M.

    48 points of mostly different k: the rms of z has a standard deviation of about 0.1, so chance breaks
    either bound in less than one case of a hundred, and an intensity that is wrong by 20 % always does.
    """
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    factors = np.array([1.0, 0.6])[: irreducible.crystal.n_atoms]
    q_points = commensurate_points(supercell, 48, 12.0)
    forward = make_forward_model(
        irreducible, supercell, 300.0, OnMesh(make_engine(supercell, q_points, factors))
    )
    exact = np.exp(np.asarray(log_intensity(forward, phi)))

    n = 4096
    root = displacement_root(forward.crystal, phi)
    white = white_noise(jax.random.key(2), n, supercell.n_cells, irreducible.crystal.n_atoms)
    u = np.asarray(displacements(root, white, supercell.grid_shape))
    each = np.array([direct_intensity(supercell, one, q_points, factors) for one in u])
    z = (each.mean(axis=0) - exact) / (each.std(axis=0) / np.sqrt(n))
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.3

    def error(m: int) -> float:
        means = each.reshape(n // m, m, -1).mean(axis=1)
        return float(np.sqrt(np.mean((means / exact - 1) ** 2)))

    errors = [error(m) for m in (16, 64, 256, 1024)]
    for coarse, fine in pairwise(errors):
        assert 1.7 < coarse / fine < 2.3


def test_sample_intensity_averages_the_configurations_it_names():
    irreducible, supercell = make_irreducible("zincblende"), default_supercell("zincblende")
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    root = displacement_root(crystal, phi)
    axes, factors = GRIDS["odd, centred"], np.array([1.0, 0.6])
    engine = make_sampled_engine(supercell, axes, factors)
    *_, running = sample_intensity(engine, root, crystal.grid_shape, 7, 250, no_configurations(engine))
    assert running.count == 250
    q_points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    key = jax.random.key(7)
    each = [
        direct_intensity(
            supercell, np.asarray(configuration(root, key, m, crystal.grid_shape)), q_points, factors
        )
        for m in range(250)
    ]
    found = np.asarray(unfolded(engine, running.total)).ravel() / 250
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-9)


def test_a_resumed_sum_is_the_same_to_the_last_bit():
    irreducible, supercell = make_irreducible("fcc"), default_supercell("fcc")
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=5))
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    root = displacement_root(crystal, phi)
    engine = make_sampled_engine(supercell, GRIDS["odd, centred"])

    def last(start: IntensitySum) -> IntensitySum:
        return list(sample_intensity(engine, root, crystal.grid_shape, 3, 330, start))[-1]

    *_, whole = sample_intensity(engine, root, crystal.grid_shape, 3, 330, no_configurations(engine))
    first = next(iter(sample_intensity(engine, root, crystal.grid_shape, 3, 330, no_configurations(engine))))
    assert first.count < 330
    # As a checkpoint file would bring it back.
    resumed = last(IntensitySum(jnp.asarray(np.asarray(first.total)), int(first.count)))
    assert np.array_equal(whole.total, resumed.total)
    *_, other = sample_intensity(engine, root, crystal.grid_shape, 4, 330, no_configurations(engine))
    assert not np.allclose(whole.total, other.total)


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp"])
@pytest.mark.parametrize("dense", [False, True])
def test_gradient_with_common_random_numbers(name, dense):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    n_atoms = irreducible.crystal.n_atoms
    phi = random_stable(irreducible, supercell, seed=5)
    crystal = harmonic_crystal(irreducible, supercell, 300.0)
    white = white_noise(jax.random.key(0), 3, supercell.n_cells, n_atoms)
    differences = cell_differences(supercell) if dense else None
    # Off the Bragg peaks, where the loss of the paper is evaluated.
    engine = make_sampled_engine(
        supercell, (np.linspace(0.2, 1.7, 4),) * 3, np.array([1.0, 0.6 + 0.2j])[:n_atoms]
    )

    @jax.jit
    def loss(phi: jax.Array) -> jax.Array:
        root = displacement_root(crystal, phi, differences)
        moved = displacements(root, white, supercell.grid_shape)
        return jnp.log(mean_intensity(engine, moved)).var()

    gradient = jax.jit(jax.grad(loss))(jnp.asarray(phi))
    step = 1e-4
    for i, unit in enumerate(np.eye(len(phi))):
        far, near = (loss(phi + m * step * unit) - loss(phi - m * step * unit) for m in (2, 1))
        expected = float(8 * near - far) / (12 * step)
        # Truncation, about step⁴ times a fifth derivative, and rounding, 1e-13 / step.
        assert float(gradient[i]) == pytest.approx(expected, rel=1e-6, abs=1e-8)
