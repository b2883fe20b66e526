"""Rotational invariance and the Huang conditions, as linear conditions on the irreducible constants.

Symmetry and the acoustic sum rule are not all that force constants obey. The energy of a crystal does not
change when it is turned, and the long waves of a crystal without stress are those of elasticity (Born and
Huang, Dynamical Theory of Crystal Lattices (1954), chapter V). Both are sums over bonds. Lengths and
positions in them are real numbers, so their null space is found in floating point, unlike that of symmetry.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from bayestds.choices import Invariance
from bayestds.force_constants.irreducible import IrreducibleForceConstants

DEPENDENT = 1e-8
"""Singular values below this are rounding, one term of the sums being about 1. In the crystals of the tests
the conditions that symmetry implies leave at most 3e-14, and all others at least 0.4."""

PIVOT = 0.1
"""A constant is given up for one of the conditions if it has at least this share of the largest weight in
them: its coefficients then stay near one, however the lengths of the cell happen to fall."""

_BELOW_DIAGONAL = ([1, 0, 0], [2, 2, 1])
"""Pairs of axes βγ: yz, xz and xy as (first, second)."""


def first_moments(
    irreducible: IrreducibleForceConstants,
) -> Float[np.ndarray, "n_atoms 3 3 3 n_irreducible"]:
    """Λ_κ,αβγ = Σ_κ'R Φ_κκ'(R)_αβ d_γ per unit of each constant, Å, with the bond d = R + τ_κ - τ_κ'.

    Λ is the force along α on atom κ in a crystal with the displacement gradient ∂u_β/∂x_γ = 1.
    """
    pairs = irreducible.pairs
    moments = np.einsum("pabi,pc->pabci", irreducible.basis, irreducible.crystal.bond_vectors(pairs))
    found = np.zeros((irreducible.crystal.n_atoms, *moments.shape[1:]))
    np.add.at(found, pairs[:, 0], moments)
    return found


def second_moments(irreducible: IrreducibleForceConstants) -> Float[np.ndarray, "3 3 3 3 n_irreducible"]:
    """Σ_κκ'R Φ_κκ'(R)_αβ d_γ d_λ per unit of each constant, Å², symmetric in αβ and in γλ."""
    bonds = irreducible.crystal.bond_vectors(irreducible.pairs)
    return np.einsum("pabi,pc,pd->abcdi", irreducible.basis, bonds, bonds, optimize=True)


def rotation_conditions(
    irreducible: IrreducibleForceConstants,
) -> Float[np.ndarray, "n_conditions n_irreducible"]:
    """Rows A, Å, of A φ = 0: no force on any atom of a crystal that is turned as a whole.

    Λ_κ,αβγ = Λ_κ,αγβ (Born and Huang): 9 rows for each atom.
    """
    moments = first_moments(irreducible)
    first, second = _BELOW_DIAGONAL
    turned = moments[:, :, first, second] - moments[:, :, second, first]
    return turned.reshape(-1, irreducible.n_irreducible)


def huang_conditions(irreducible: IrreducibleForceConstants) -> Float[np.ndarray, "15 n_irreducible"]:
    """Rows A, Å², of A φ = 0: vanishing stress, Σ Φ_αβ d_γ d_λ = Σ Φ_γλ d_α d_β.

    The conditions of Huang, with any two of the six pairs of axes as αβ and γλ (Born and Huang; Lin, Poncé
    and Marzari, npj Comput. Mater. 8 (2022) 236).
    """
    six = second_moments(irreducible)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    six = six[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    first, second = np.triu_indices(6, 1)
    return six[first, second] - six[second, first]


def independent_conditions(
    irreducible: IrreducibleForceConstants, invariance: Invariance
) -> Float[np.ndarray, "n_conditions n_irreducible"]:
    """Orthonormal rows A with A φ = 0 exactly where the conditions hold; none where symmetry implies them."""
    n_irreducible, longest = irreducible.n_irreducible, irreducible.orbits[-1].distance
    rows = [np.zeros((0, n_irreducible))]
    if invariance in ("rotation", "both"):
        rows.append(rotation_conditions(irreducible) / longest)
    if invariance in ("huang", "both"):
        rows.append(huang_conditions(irreducible) / longest**2)
    _, sizes, vectors = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    # Compared with one term of the sums, not with the largest sum: symmetry may cancel them all.
    return vectors[sizes > DEPENDENT]


def constrained(irreducible: IrreducibleForceConstants, invariance: Invariance) -> IrreducibleForceConstants:
    """The same force constants, with conditions obeyed exactly and as many fewer free parameters.

    The parameters that remain keep their names and are elements of the same blocks. Those of the outermost
    shells are given up first: their bonds are the longest, so they meet the conditions with the least change.
    At least one is left for every orbit: a central spring at rest length obeys any condition.

    Args:
        irreducible: free but for symmetry and the acoustic sum rule.
        invariance: the conditions.
    """
    conditions = independent_conditions(irreducible, invariance)
    if not len(conditions):
        return replace(irreducible, invariance=invariance)
    given_up = _given_up(conditions)
    free = np.setdiff1d(np.arange(irreducible.n_irreducible), given_up)
    expansion = np.zeros((irreducible.n_irreducible, len(free)))
    expansion[free] = np.eye(len(free))
    expansion[given_up] = -np.linalg.solve(conditions[:, given_up], conditions[:, free])
    names = tuple(irreducible.names[i] for i in free)
    basis, selfs = irreducible.basis @ expansion, irreducible.self_coefficients @ expansion
    return replace(
        irreducible,
        names=names,
        shells=irreducible.shells[free],
        orbit_names=tuple(tuple(n for n in orbit if n in names) for orbit in irreducible.orbit_names),
        orbit_matrices=_orbit_matrices(irreducible, basis, names),
        basis=basis,
        self_coefficients=selfs,
        sum_rules=_sum_rules(irreducible, selfs, names),
        expansion=expansion,
        invariance=invariance,
    )


def _given_up(conditions: np.ndarray) -> np.ndarray:
    """A parameter for each condition, the last ones that are no bad pivots, as indices in order."""
    rest, chosen = conditions.copy(), []
    for _ in range(len(conditions)):
        weight = np.linalg.norm(rest, axis=0)
        last = int(np.flatnonzero(weight >= PIVOT * weight.max())[-1])
        direction = rest[:, last] / weight[last]
        rest -= np.outer(direction, direction @ rest)
        chosen.append(last)
    return np.array(sorted(chosen), dtype=int)


def _orbit_matrices(
    irreducible: IrreducibleForceConstants, basis: np.ndarray, names: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    """Texts of the representatives' blocks; exact ones stay where no parameter of theirs was given up."""
    row = {tuple(pair): i for i, pair in enumerate(irreducible.pairs.tolist())}
    lost = np.array([name not in names for name in irreducible.names])
    texts = []
    for orbit, exact in zip(irreducible.orbits, irreducible.orbit_matrices, strict=True):
        place = row[tuple(orbit.representative.tolist())]
        touched = irreducible.basis[place][..., lost].any()
        blocks = basis[place].reshape(9, -1)
        texts.append(tuple(_expression(line, names) for line in blocks) if touched else exact)
    return tuple(texts)


def _sum_rules(
    irreducible: IrreducibleForceConstants, coefficients: np.ndarray, names: tuple[str, ...]
) -> tuple[str, ...]:
    rules = []
    for name, row in zip(irreducible.self_names, coefficients, strict=True):
        rest = _expression(-row, names)
        rules.append(f"{name} - {rest[1:]} = 0" if rest.startswith("-") else f"{name} + {rest} = 0")
    return tuple(rules)


def _expression(coefficients: np.ndarray, names: tuple[str, ...]) -> str:
    """Text of a linear combination, to six digits."""
    text = ""
    for value, name in zip(coefficients, names, strict=True):
        if abs(value) < DEPENDENT:
            continue
        sign = ("-" if value < 0 else "") if not text else (" - " if value < 0 else " + ")
        size = f"{abs(value):.6g}"
        text += sign + (name if size == "1" else f"{size}*{name}")
    return text or "0"
