"""Irreducible force constants: the exact null space of symmetry, permutation and translation.

All rotation matrices of a crystal in standard orientation lie in Q(√3), so twice a rotation is an
integer matrix plus √3 times another. Group sums are done in those integers; SymPy's domain matrices
then give reduced echelon forms without rounding. The one door to SymPy.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sympy import QQ, sqrt
from sympy.polys.domains.domain import Domain
from sympy.polys.matrices import DomainMatrix

from bayestds.crystal.shells import Orbit, find_orbits
from bayestds.crystal.structure import Crystal
from bayestds.errors import CrystalError

ELEMENTS = ("xx", "yy", "zz", "yz", "xz", "xy", "zy", "zx", "yx")
"""Order in which elements of a 3x3 block are chosen as free parameters."""

_POSITIONS = np.array([3 * "xyz".index(e[0]) + "xyz".index(e[1]) for e in ELEMENTS])
_TRANSPOSE = np.arange(9).reshape(3, 3).T.ravel()


@dataclass(frozen=True, eq=False)
class IrreducibleForceConstants:
    """The free parameters φ of a crystal's force constants, and the linear map to all of them.

    Attributes:
        crystal: the crystal.
        names: (n_irreducible,) a letter for the shell and a number: b0, b1, ..., c0, ...
        shells: (n_irreducible,) int, the shell of each parameter, from 1.
        orbits: the orbits of neighbour pairs, in order of distance.
        orbit_names: the parameters of each orbit.
        orbit_matrices: (9,) expressions per orbit, the elements xx, xy, xz, yx, ... of the
            representative's block in terms of the parameters, exact.
        pairs: (n_pairs, 5) int, (κ, κ', R) of every pair within the shells, self terms first.
        basis: (n_pairs, 3, 3, n_irreducible), with Φ(pair) = basis @ φ in eV/Å².
        self_names: names of the self terms that the acoustic sum rule gives.
        self_coefficients: (n_self, n_irreducible), self terms = self_coefficients @ φ.
        sum_rules: the acoustic sum rule of each self term, as text.
        tolerance: distances closer than this are one shell, Å.
        all_names: (n_all,) the names before any further condition was imposed, see
            :mod:`bayestds.force_constants.invariance`; without one they are ``names``.
        expansion: (n_all, n_irreducible), all of these constants = expansion @ φ.
        invariance: the further condition; where there is one, ``orbit_matrices`` and ``sum_rules`` that
            it changes are given to six digits.
    """

    crystal: Crystal
    names: tuple[str, ...]
    shells: np.ndarray
    orbits: tuple[Orbit, ...]
    orbit_names: tuple[tuple[str, ...], ...]
    orbit_matrices: tuple[tuple[str, ...], ...]
    pairs: np.ndarray
    basis: np.ndarray
    self_names: tuple[str, ...]
    self_coefficients: np.ndarray
    sum_rules: tuple[str, ...]
    tolerance: float
    all_names: tuple[str, ...]
    expansion: np.ndarray
    invariance: str = "none"

    @property
    def n_irreducible(self) -> int:
        """Number of irreducible force constants."""
        return len(self.names)

    @property
    def n_shells(self) -> int:
        """Number of neighbour shells."""
        return self.orbits[-1].shell


def irreducible_force_constants(
    crystal: Crystal, n_shells: int, tolerance: float = 1e-3
) -> IrreducibleForceConstants:
    """Irreducible force constants of the first ``n_shells`` neighbour shells.

    The block of each orbit's representative obeys Φ = W Φ Wᵀ for the operations that keep the pair
    and Φ = W Φᵀ Wᵀ for those that exchange its ends; self terms follow from the acoustic sum rule
    and must be symmetric. Free parameters are Cartesian elements of the representatives.

    Args:
        crystal: the crystal.
        n_shells: number of neighbour shells (distinct distances).
        tolerance: distances closer than this are one shell, Å.
    """
    every_orbit = find_orbits(crystal, n_shells, tolerance)
    selfs = [orbit for orbit in every_orbit if orbit.shell == 0]
    orbits = [orbit for orbit in every_orbit if orbit.shell > 0]
    algebra = _Algebra.of(crystal)
    local = [algebra.orbit_null_space(orbit) for orbit in orbits]
    sums = [_side_by_side([algebra.site_sum(o, s) * b.basis for o, b in zip(orbits, local, strict=True)])
            for s in selfs]  # fmt: skip
    free_elements = [(o, e) for o, null in enumerate(local) for e in null.free]
    kept = algebra.symmetric_selfs(sums, len(free_elements))

    names = _names([orbits[free_elements[i][0]].shell for i in kept.free])
    owner = np.array([free_elements[i][0] for i in kept.free], dtype=int)
    pairs, basis = _pair_basis(algebra, crystal, orbits, local, kept.basis)
    self_names, rules, coefficients = _self_terms(algebra, crystal, selfs, sums, kept.basis, names)
    return IrreducibleForceConstants(
        crystal,
        names,
        np.array([orbits[o].shell for o in owner], dtype=int),
        tuple(orbits),
        tuple(tuple(n for n, o in zip(names, owner, strict=True) if o == i) for i in range(len(orbits))),
        tuple(
            tuple(algebra.expression(row, names) for row in (null.basis * block).to_list())
            for null, block in zip(local, _row_blocks(kept.basis, local), strict=True)
        ),
        pairs,
        basis,
        self_names,
        coefficients,
        rules,
        tolerance,
        names,
        np.eye(len(names)),
    )


@dataclass(frozen=True)
class _NullSpace:
    basis: DomainMatrix
    """(n, n_free), the identity on the rows of the free variables."""
    free: list[int]


@dataclass(frozen=True, eq=False)
class _Algebra:
    """Exact linear algebra on the rotations of one crystal.

    ``rational`` and ``surd``, (n_ops, 9, 9) int each, are the parts of 4 W ⊗ W on row-major 3x3 blocks.
    """

    rational: np.ndarray
    surd: np.ndarray
    domain: Domain

    @classmethod
    def of(cls, crystal: Crystal) -> "_Algebra":
        rational, surd = split_surds(2 * crystal.cartesian_rotations)
        return cls(
            _kron(rational, rational) + 3 * _kron(surd, surd),
            _kron(rational, surd) + _kron(surd, rational),
            _domain(surd),
        )

    def matrix(self, rational: np.ndarray, surd: np.ndarray) -> DomainMatrix:
        """Domain matrix of (rational + √3 surd) / 4."""
        domain = self.domain
        if domain is QQ:
            rows = [[QQ(int(a), 4) for a in row] for row in rational]
        else:
            rows = [
                [domain([QQ(int(b), 4), QQ(int(a), 4)]) for a, b in zip(*parts, strict=True)]
                for parts in zip(rational, surd, strict=True)
            ]
        return DomainMatrix(rows, rational.shape, domain).to_sparse()

    def numeric(self, matrix: DomainMatrix) -> np.ndarray:
        """Float array of a domain matrix."""
        cache: dict = {}
        rows = [[cache.setdefault(x, float(self.domain.to_sympy(x))) if x else 0.0 for x in row]
                for row in matrix.to_list()]  # fmt: skip
        return np.array(rows).reshape(matrix.shape)

    def group_sum(self, operations: np.ndarray, swapped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum of 4 W ⊗ W over operations, followed by transposition where ``swapped``."""
        swapped = np.asarray(swapped, dtype=bool)
        return tuple(
            part[operations[~swapped]].sum(axis=0) + part[operations[swapped]].sum(axis=0)[_TRANSPOSE]
            for part in (self.rational, self.surd)
        )  # type: ignore[return-value]

    def orbit_null_space(self, orbit: Orbit) -> _NullSpace:
        """Blocks that the stabilizer of the representative leaves unchanged."""
        operations, swapped = orbit.stabilizer.T
        rational, surd = self.group_sum(operations, swapped)
        identity = 4 * len(operations) * np.eye(9, dtype=int)
        return _null_space(self.matrix(identity - rational, -surd), _POSITIONS.tolist())

    def site_sum(self, orbit: Orbit, site: Orbit) -> DomainMatrix:
        """(9, 9) map from the representative's block to the sum of blocks over a site's neighbours."""
        mine = orbit.pairs[:, 0] == site.representative[0]
        return self.matrix(*self.group_sum(orbit.operations[mine], orbit.swapped[mine]))

    def symmetric_selfs(self, sums: list[DomainMatrix], n_parameters: int) -> _NullSpace:
        """Combinations of parameters for which every self term is a symmetric matrix."""
        rows = []
        for total in sums:
            elements = total.to_list()
            rows += [
                [a - b for a, b in zip(elements[i], elements[j], strict=True)]
                for i, j in ((1, 3), (2, 6), (5, 7))
            ]
        matrix = DomainMatrix(rows, (len(rows), n_parameters), self.domain).to_sparse()
        return _null_space(matrix, list(range(n_parameters)))

    def expression(self, coefficients: list, names: tuple[str, ...]) -> str:
        """Text of a linear combination of named parameters."""
        text = ""
        for x, name in zip(coefficients, names, strict=True):
            if not x:
                continue
            value = self.domain.to_sympy(x)
            if value.could_extract_minus_sign():
                text += " - " if text else "-"
                value = -value
            elif text:
                text += " + "
            factor = f"({value})" if value.is_Add else str(value)
            text += name if value == 1 else f"{factor}*{name}"
        return text or "0"


def null_space(
    rational: np.ndarray, surd: np.ndarray, names: tuple[str, ...], order: list[int]
) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    """Exact null space of the integer matrix rational + √3 surd, free variables early in ``order``.

    Args:
        rational: (m, n) int.
        surd: (m, n) int.
        names: (n,) of the variables.
        order: of the variables, the most wanted as free ones first.

    Returns:
        its basis (n, n_free), the free variables, and every variable as a text in terms of these.
    """
    algebra = _Algebra(rational, surd, _domain(surd))
    null = _null_space(algebra.matrix(rational, surd), order)
    free_names = tuple(names[i] for i in null.free)
    texts = tuple(algebra.expression(row, free_names) for row in null.basis.to_list())
    return algebra.numeric(null.basis), null.free, texts


def _domain(surd: np.ndarray) -> Domain:
    return QQ.algebraic_field(sqrt(3)) if surd.any() else QQ


def _kron(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Kronecker products (n_ops, 9, 9) of matrices (n_ops, 3, 3)."""
    return np.einsum("oij,okl->oikjl", left, right).reshape(-1, 9, 9)


def split_surds(doubled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers (a, b) with doubled = a + b √3.

    Raises:
        CrystalError: there are none, because the crystal is not in a standard orientation.
    """
    surd = np.rint(doubled / np.sqrt(3)) * (np.abs(np.abs(doubled) - np.sqrt(3)) < 1e-3)
    rational = np.rint(doubled - surd * np.sqrt(3))
    if np.abs(rational + surd * np.sqrt(3) - doubled).max() > 1e-3:
        raise CrystalError(
            "The crystal is not in a standard orientation.",
            "A rotation has elements other than 0, 1/2, √3/2 and 1.",
            "Give the structure in its conventional cell.",
        )
    return rational.astype(int), surd.astype(int)


def _null_space(matrix: DomainMatrix, order: list[int]) -> _NullSpace:
    """Null space whose free variables come as early as possible in ``order``."""
    columns = order[::-1]
    n_columns = matrix.shape[1]
    reduced, pivots = matrix.extract(list(range(matrix.shape[0])), columns).rref()
    rows = reduced.to_list()
    free = [place for place in reversed(range(n_columns)) if place not in set(pivots)]
    zero, one = matrix.domain.zero, matrix.domain.one
    basis = [[zero] * len(free) for _ in range(n_columns)]
    for column, place in enumerate(free):
        basis[columns[place]][column] = one
        for row, pivot in enumerate(pivots):
            basis[columns[pivot]][column] = -rows[row][place]
    dense = DomainMatrix(basis, (n_columns, len(free)), matrix.domain)
    return _NullSpace(dense.to_sparse(), [columns[place] for place in free])


def _side_by_side(matrices: list[DomainMatrix]) -> DomainMatrix:
    return matrices[0].hstack(*matrices[1:])


def _row_blocks(matrix: DomainMatrix, local: list[_NullSpace]) -> list[DomainMatrix]:
    ends = np.cumsum([0] + [len(null.free) for null in local])
    columns = list(range(matrix.shape[1]))
    return [matrix.extract(list(range(a, b)), columns) for a, b in pairwise(ends)]


def shell_letter(shell: int) -> str:
    """Letter of a shell: a for the self terms, b for the first, ..., z, aa, ab, ..."""
    text = ""
    shell += 1
    while shell:
        shell, digit = divmod(shell - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def _names(shells: list[int]) -> tuple[str, ...]:
    return tuple(f"{shell_letter(shell)}{shells[:i].count(shell)}" for i, shell in enumerate(shells))


def _pair_basis(
    algebra: _Algebra,
    crystal: Crystal,
    orbits: list[Orbit],
    local: list[_NullSpace],
    kept: DomainMatrix,
) -> tuple[np.ndarray, np.ndarray]:
    """Every pair (n_pairs, 5) with its (3, 3, n_irreducible) block, self terms first."""
    maps = (algebra.rational + np.sqrt(3) * algebra.surd) / 4
    blocks = []
    for orbit, null, rows in zip(orbits, local, _row_blocks(kept, local), strict=True):
        images = maps[orbit.operations] @ algebra.numeric(null.basis * rows)
        blocks.append(np.where(orbit.swapped[:, None, None], images[:, _TRANSPOSE], images))
    pairs = np.concatenate([orbit.pairs for orbit in orbits])
    basis = np.concatenate(blocks).reshape(len(pairs), 3, 3, -1)
    atoms = np.arange(crystal.n_atoms)
    self_basis = np.zeros((crystal.n_atoms, *basis.shape[1:]))
    np.subtract.at(self_basis, pairs[:, 0], basis)
    self_pairs = np.column_stack([atoms, atoms, np.zeros((crystal.n_atoms, 3), dtype=int)])
    return np.concatenate([self_pairs, pairs]), np.concatenate([self_basis, basis])


def _self_terms(
    algebra: _Algebra,
    crystal: Crystal,
    selfs: list[Orbit],
    sums: list[DomainMatrix],
    kept: DomainMatrix,
    names: tuple[str, ...],
) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray]:
    """Names, sum rules and coefficients of the free elements of each inequivalent self term."""
    sites = [int(orbit.representative[0]) for orbit in selfs]
    species = [crystal.species[site] for site in sites]
    self_names, rules, coefficients = [], [], []
    for site, element, orbit, total in zip(sites, species, selfs, sums, strict=True):
        label = element if len(set(species)) == len(species) else str(site + 1)
        suffix = f"_{label}" if len(selfs) > 1 else ""
        rows = (total * kept).to_list()
        for number, free in enumerate(algebra.orbit_null_space(orbit).free):
            name = f"a{number}{suffix}"
            self_names.append(name)
            coefficients.append([-float(algebra.domain.to_sympy(x)) for x in rows[free]])
            rest = algebra.expression(rows[free], names)
            joined = f"{name} - {rest[1:]}" if rest.startswith("-") else f"{name} + {rest}"
            rules.append(f"{joined} = 0")
    return tuple(self_names), tuple(rules), np.array(coefficients).reshape(len(self_names), len(names))
