"""The exact engine against sums over all pairs of atoms, and against an independent reference."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.errors import VolumeError
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import log_intensity, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.pairs import pair_table
from tests.brute_force import (
    bonds_of,
    dense_covariance,
    dense_hessian,
    dense_intensity,
    periodic_atoms,
    random_stable,
)
from tests.crystals import commensurate_points, default_supercell, make_crystal, make_irreducible

TEMPERATURE = 300.0
LONGEST = 22.0
"""Å⁻¹; the corner of the paper's grid is at 25."""


def brute_force_log_intensity(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    phi: np.ndarray,
    q_points: np.ndarray,
    factors: np.ndarray,
) -> np.ndarray:
    atoms = periodic_atoms(supercell)
    covariance = dense_covariance(dense_hessian(atoms, bonds_of(irreducible, phi)), TEMPERATURE)
    crystal = supercell.crystal
    vectors = 2 * np.pi * q_points @ np.linalg.inv(crystal.conventional_matrix @ crystal.lattice_vectors).T
    factors = np.broadcast_to(factors, (len(q_points), crystal.n_atoms))
    return np.log(
        [
            dense_intensity(atoms, covariance, vector, factor[atoms.kinds])
            for vector, factor in zip(vectors, factors, strict=True)
        ]
    )


def make_factors(n_points: int, n_atoms: int) -> np.ndarray:
    """Unequal f_κ (n_points, n_atoms), real at the first half of the points, complex at the others."""
    rng = np.random.default_rng(12)
    factors = rng.uniform(0.5, 3, (n_points, n_atoms)).astype(complex)
    factors[n_points // 2 :] *= np.exp(1j * rng.uniform(0, 2 * np.pi, (n_points - n_points // 2, n_atoms)))
    return factors


CRYSTALS = [
    ("fcc", 4, (3, 3, 3)),
    ("diamond", 3, (2, 2, 2)),
    ("rocksalt", 3, (2, 2, 2)),
    ("zincblende", 3, (2, 2, 2)),
    ("hcp", 3, (3, 3, 2)),
    ("quartz", 6, (2, 2, 1)),
    ("monoclinic", 5, (2, 2, 2)),
    ("p1", 5, (3, 2, 2)),
    ("fcc", 3, ((3, 1, 0), (0, 3, 1), (1, 0, 3))),
    ("rutile", 6, ((2, 0, 1), (0, 2, 0), (0, 1, 3))),
]


@pytest.mark.parametrize(("name", "n_shells", "matrix"), CRYSTALS)
def test_intensity_is_the_sum_over_all_pairs_of_atoms(name, n_shells, matrix):
    irreducible = make_irreducible(name, n_shells)
    supercell = make_supercell(make_crystal(name), np.array(matrix))
    phi = random_stable(irreducible, supercell, seed=11)
    q_points = commensurate_points(supercell, 24, LONGEST)
    factors = make_factors(len(q_points), irreducible.crystal.n_atoms)
    expected = brute_force_log_intensity(irreducible, supercell, phi, q_points, factors)
    engine = make_engine(supercell, q_points, factors)
    found = log_intensity(
        make_forward_model(irreducible, supercell, TEMPERATURE, OnMesh(engine)), jnp.asarray(phi)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_bragg_points_hold_diffuse_intensity_too():
    """At Bragg points with |Q| > 0 only the elastic part is left out, multi-phonon intensity is not."""
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    phi = random_stable(irreducible, supercell, seed=11)
    q_points = np.array([[1.0, 0, 0], [2, -1, 3], [5, 4, 0]])
    factors = np.array([1.0, 2.5])
    expected = brute_force_log_intensity(irreducible, supercell, phi, q_points, factors)
    engine = make_engine(supercell, q_points, factors)
    found = log_intensity(
        make_forward_model(irreducible, supercell, TEMPERATURE, OnMesh(engine)), jnp.asarray(phi)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_order_of_the_points_does_not_matter():
    irreducible, supercell = make_irreducible("rocksalt"), default_supercell("rocksalt")
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=1))
    q_points = commensurate_points(supercell, 50, 15.0)
    # Some k once, others often: the padded blocks then differ.
    q_points = np.concatenate(
        [q_points, q_points[:3] + np.array([2, 0, 0]), q_points[:1] + np.array([0, 4, 0])]
    )
    factors = make_factors(len(q_points), 2)
    order = np.random.default_rng(0).permutation(len(q_points))
    forward = make_forward_model(
        irreducible, supercell, TEMPERATURE, OnMesh(make_engine(supercell, q_points, factors))
    )
    found = log_intensity(forward, phi)
    engine = make_engine(supercell, q_points[order], factors[order])
    shuffled = log_intensity(forward.with_sum(OnMesh(engine)), phi)
    np.testing.assert_allclose(shuffled, found[order], rtol=1e-12)


def test_a_single_point():
    irreducible, supercell = make_irreducible("hcp"), default_supercell("hcp")
    phi = random_stable(irreducible, supercell, seed=11)
    q_points = np.array([[1 / 3, 0, 2.5]])
    found = log_intensity(
        make_forward_model(irreducible, supercell, TEMPERATURE, OnMesh(make_engine(supercell, q_points))),
        jnp.asarray(phi),
    )
    assert found.shape == (1,)
    expected = brute_force_log_intensity(irreducible, supercell, phi, q_points, np.ones(2))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("table", ["target", "start"])
def test_direct_form_equals_the_independent_reference(table):
    data = np.load(Path(__file__).parents[1] / "data" / "ni_fcc_exact.npz")
    irreducible = make_irreducible("fcc", 5)
    assert irreducible.names == tuple(data["names"])
    supercell = make_supercell(irreducible.crystal, np.array([5, 5, 5]))
    engine = make_engine(supercell, data["q_points"])
    assert engine.order == 0
    found = log_intensity(
        make_forward_model(irreducible, supercell, 300.0, OnMesh(engine)), jnp.asarray(data[table])
    )
    np.testing.assert_allclose(found, data[f"log_intensity_{table}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["fcc", "quartz", "p1"])
def test_pair_table_holds_every_pair_once(name):
    supercell = default_supercell(name)
    table, n_atoms = pair_table(supercell), supercell.crystal.n_atoms
    pairs = {(int(c), int(a), int(b)) for c, (a, b) in zip(table.cells, table.atoms, strict=True)}
    opposite = supercell.cell_index(-supercell.cells)
    conjugates = {(int(opposite[c]), b, a) for c, a, b in pairs}
    assert len(pairs) == len(table.cells)
    assert len(pairs | conjugates) == supercell.n_cells * n_atoms**2 == table.counts.sum()
    assert (np.diff(table.lengths) >= 0).all()


def test_point_that_does_not_fit_the_supercell_is_refused():
    supercell = default_supercell("fcc")
    with pytest.raises(VolumeError, match=r"1 of 2 Q points do not fit.*\n.*0\.25"):
        make_engine(supercell, np.array([[1 / 3, 0, 0], [0.25, 0, 0]]))


LAUE = ["fcc", "zincblende", "hcp", "rutile", "rhombohedral", "quartz", "monoclinic", "triclinic"]


@pytest.mark.parametrize("name", LAUE)
def test_intensity_has_the_symmetry_of_the_laue_group(name):
    irreducible, supercell = make_irreducible(name), default_supercell(name)
    crystal = irreducible.crystal
    phi = jnp.asarray(random_stable(irreducible, supercell, seed=2))
    q_points = commensurate_points(supercell, 6, 12.0, seed=1)
    images = np.concatenate([q_points @ rotation for rotation in crystal.laue_group])
    # Real factors, equal for equivalent atoms.
    strength = {species: 1.0 + 0.7 * i for i, species in enumerate(dict.fromkeys(crystal.species))}
    factors = np.array([strength[species] for species in crystal.species])
    forward = make_forward_model(
        irreducible, supercell, TEMPERATURE, OnMesh(make_engine(supercell, images, factors))
    )
    found = np.asarray(log_intensity(forward, phi)).reshape(len(crystal.laue_group), len(q_points))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), rtol=0, atol=1e-9)
