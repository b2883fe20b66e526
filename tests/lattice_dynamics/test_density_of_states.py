"""Density of states against phonopy's tetrahedra, closed forms and exact moments."""

import numpy as np
import pytest

from bayestds.lattice_dynamics.density_of_states import (
    MESH_SPACING,
    default_mesh,
    density_of_states,
    make_tetrahedra,
)
from bayestds.lattice_dynamics.phonons import frequencies
from bayestds.units import THZ
from tests.crystals import make_crystal, make_irreducible
from tests.lattice_dynamics.test_phonons import ALONG, MASS, simple_cubic
from tests.phonopy_crystals import make_phonopy, random_values

MESHES = {
    "fcc": (8, 8, 8),
    "diamond": (7, 7, 7),
    "zincblende": (7, 7, 7),
    "hcp": (8, 8, 5),
    "rhombohedral": (6, 6, 6),
    "quartz": (6, 6, 5),
    "monoclinic": (4, 4, 5),
}


@pytest.mark.parametrize("name", MESHES)
def test_phonopys_tetrahedra(name):
    """The same curve: phonopy's points, 50 in each bin of ours, averaged.

    Points miss up to 0.2 % of the area, and where two diagonals of a cell are equally short (hexagonal ones)
    the tetrahedra may be others. With the wrong diagonal the cubic ones are 2 to 4 % off.
    """
    irreducible, values, mesh = make_irreducible(name), random_values(name), MESHES[name]
    top = 1.05 * frequencies(irreducible, values, make_tetrahedra(irreducible.crystal, mesh).q_points).max()
    edges = np.linspace(-0.01, top, 21)
    found = density_of_states(irreducible, values, edges, mesh)
    fine = (np.arange(1000) + 0.5) * (edges[1] - edges[0]) / 50 + edges[0]
    phonon = make_phonopy(name)
    phonon.run_mesh(mesh, is_gamma_center=True, is_mesh_symmetry=False)
    phonon.run_total_dos(freq_min=fine[0], freq_max=fine[-1], freq_pitch=fine[1] - fine[0])
    expected = phonon.total_dos.dos[:1000].reshape(20, 50).mean(axis=1)
    width = edges[1] - edges[0]
    assert np.abs(found - expected).sum() * width < 0.01 * 3 * irreducible.crystal.n_atoms


def test_linear_chains_in_closed_form():
    """Without forces across, N(ν) = 3 (2/π) arcsin(ν/ν_max).

    Between mesh points h apart a frequency is off by at most h² |ν''|/8 = h² ν_max/32, and N by dN/dν
    times that.
    """
    irreducible, _ = simple_cubic()
    top = THZ * np.sqrt(4 * ALONG / MASS)
    edges = top * np.linspace(0, 0.9, 31)
    found = density_of_states(irreducible, np.array([-ALONG, 0.0]), edges, (40, 40, 40))
    expected = 6 / np.pi * np.arcsin(edges[1:] / top)
    slope = 6 / np.pi / np.sqrt(1 - 0.9**2)
    np.testing.assert_allclose(
        np.cumsum(found) * (edges[1] - edges[0]), expected, rtol=0, atol=slope * (2 * np.pi / 40) ** 2 / 32
    )


@pytest.mark.parametrize("name", ["fcc", "zincblende", "hcp", "rocksalt"])
def test_integral_and_second_moment(name):
    """3n modes; ∫ ν² g dν is the trace of the self terms over the masses, whatever the dispersion."""
    irreducible, values = make_irreducible(name), random_values(name)
    crystal = irreducible.crystal
    squares = np.trace(irreducible.basis[: crystal.n_atoms] @ values, axis1=1, axis2=2) / crystal.masses
    edges = np.linspace(0, 1.5 * THZ * np.sqrt(2 * squares.max()), 2001)
    found = density_of_states(irreducible, values, edges) * (edges[1] - edges[0])
    assert found.sum() == pytest.approx(3 * crystal.n_atoms, rel=1e-12)
    # Linear interpolation is off by up to h² ν''/8; h is 0.15 Å⁻¹, a zone some 2 Å⁻¹.
    centres = (edges[1:] + edges[:-1]) / 2
    assert found @ centres**2 == pytest.approx(THZ**2 * squares.sum(), rel=0.01)


def test_many_draws_and_bins_of_any_width():
    irreducible, values = make_irreducible("diamond"), random_values("diamond")
    draws = values * np.array([1.0, 1.21, 4.0])[:, None, None]
    edges = np.array([0.0, 1.0, 5.0, 30.0, 80.0])
    found = density_of_states(irreducible, draws, edges, (6, 6, 6))
    assert found.shape == (3, 1, 4)
    np.testing.assert_allclose(found @ np.diff(edges), 6, rtol=1e-12)
    # Four times as stiff is twice as high, and half as dense.
    stretched = density_of_states(irreducible, values, edges / 2, (6, 6, 6))
    np.testing.assert_allclose(found[2, 0], stretched / 2, atol=1e-12)


def test_flat_bands_and_levels_on_an_edge():
    """Einstein modes: a tetrahedron of equal corners lies in one bin as a whole."""
    irreducible, _ = simple_cubic()
    for edges in (np.array([0.0, 1.0]), np.array([-1.0, 0.0, 1.0])):
        found = density_of_states(irreducible, np.zeros(2), edges, (4, 4, 4))
        assert found.sum() == pytest.approx(3)


@pytest.mark.parametrize("name", ["fcc", "tetragonal", "hcp", "rhombohedral", "quartz", "p1"])
@pytest.mark.parametrize("mesh", [(6, 6, 6), (4, 5, 6)])
def test_symmetry_leaves_all_frequencies(name, mesh):
    """Also where a mesh has less symmetry than the crystal."""
    crystal = make_crystal(name)
    tetrahedra = make_tetrahedra(crystal, mesh)
    assert tetrahedra.weights.sum() == pytest.approx(1)
    grid = np.stack(np.meshgrid(*map(np.arange, mesh), indexing="ij"), axis=-1).reshape(-1, 3) / mesh
    full = frequencies(make_irreducible(name), random_values(name), grid @ crystal.conventional_matrix.T)
    kept = frequencies(make_irreducible(name), random_values(name), tetrahedra.q_points)
    # Each tetrahedron has the weight of one sixth of a cell, each point is a corner of 24.
    share = np.bincount(tetrahedra.corners.ravel(), np.repeat(tetrahedra.weights, 4)) / 4
    assert share @ (kept**2).sum(axis=1) == pytest.approx((full**2).sum(axis=1).mean(), rel=1e-9)
    assert kept.max() == pytest.approx(full.max(), rel=1e-9)
    assert len(tetrahedra.q_points) <= len(grid) // 2 + 4


def test_default_mesh_is_dense_and_symmetric():
    for name in ("fcc", "hcp", "quartz", "p1"):
        crystal = make_crystal(name)
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.lattice_vectors), axis=0)
        mesh = np.array(default_mesh(crystal))
        assert (lengths / mesh <= MESH_SPACING * (1 + 1e-6)).all()
        assert (lengths / (mesh - 1) > MESH_SPACING).all()
    assert len(set(default_mesh(make_crystal("fcc")))) == 1
    first, second, _ = default_mesh(make_crystal("quartz"))
    assert first == second
