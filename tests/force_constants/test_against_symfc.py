"""The space of force constants against symfc's, an independent implementation with other algorithms."""

import numpy as np
import pytest
from symfc.basis_sets import FCBasisSetO2
from symfc.utils.utils import SymfcAtoms

from bayestds.crystal.supercell import make_supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants
from tests.brute_force import PeriodicAtoms, bonds_of, hessian_blocks, periodic_atoms
from tests.crystals import SAMPLES, make_crystal, make_irreducible

MORE = [
    pytest.param("fcc", (4, 4, 4), 5, 16, id="fcc-5"),
    pytest.param("quartz", (2, 2, 2), 12, None, id="quartz-12"),
    pytest.param("wurtzite", (3, 3, 2), 9, None, id="wurtzite-9"),
]
CASES = [pytest.param(name, s.supercell, s.n_shells, None, id=name) for name, s in SAMPLES.items()] + MORE


def symfc_basis(atoms: PeriodicAtoms, species: tuple[str, ...], cutoff: float) -> np.ndarray:
    """Orthonormal basis (9 n², n_bases) of symfc's force constants, flattened as (i, j, a, b)."""
    numbers = {symbol: number for number, symbol in enumerate(sorted(set(species)), start=1)}
    supercell = SymfcAtoms(
        cell=atoms.box,
        scaled_positions=atoms.positions @ np.linalg.inv(atoms.box),
        numbers=[numbers[species[kind]] for kind in atoms.kinds],
    )
    found = FCBasisSetO2(supercell, cutoff=cutoff).run()
    return found.compression_matrix @ found.basis_set


def our_basis(irreducible: IrreducibleForceConstants, atoms: PeriodicAtoms) -> np.ndarray:
    """Orthonormal basis of ours in the same order, expanded atom by atom."""
    columns = hessian_blocks(atoms, bonds_of(irreducible, np.eye(irreducible.n_irreducible)))
    return np.linalg.qr(columns.reshape(-1, irreducible.n_irreducible))[0]


def cutoff_after(irreducible: IrreducibleForceConstants) -> float:
    """Half way from the last shell to the next."""
    wider = irreducible_force_constants(irreducible.crystal, irreducible.n_shells + 1)
    return (irreducible.orbits[-1].distance + wider.orbits[-1].distance) / 2


@pytest.mark.parametrize(("name", "repeats", "n_shells", "count"), CASES)
def test_same_space_of_force_constants(name, repeats, n_shells, count):
    irreducible = make_irreducible(name, n_shells)
    atoms = periodic_atoms(make_supercell(make_crystal(name), np.array(repeats)))
    theirs = symfc_basis(atoms, irreducible.crystal.species, cutoff_after(irreducible))
    assert irreducible.n_irreducible == theirs.shape[1]
    assert count in (None, irreducible.n_irreducible)
    ours = our_basis(irreducible, atoms)
    # Both bases are orthonormal, so this is the distance between the two projectors.
    assert np.linalg.norm(theirs - ours @ (ours.T @ theirs), ord=2) < 1e-10
