"""Third-order force constants of pairs: the exact null space of symmetry and permutation.

Without clusters of three atoms, translation and the order of derivatives leave of each pair one fully
symmetric tensor G of the difference of two displacements,

    E₃ = (1/6) Σ_bonds G_abc d_a d_b d_c,   d = u_κ(R) - u_κ'(0),

Φ_abc(κ'κ'κ) = G_abc = -Φ_abc(κ'κκ): the third derivatives by the displacements of both ends.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from bayestds.crystal.shells import Orbit, find_orbits
from bayestds.crystal.structure import Crystal
from bayestds.force_constants.irreducible import null_space, shell_letter, split_surds

TENSOR_ELEMENTS = ("xxx", "yyy", "zzz", "xxy", "xxz", "xyy", "yyz", "xzz", "yzz", "xyz")
"""Elements of a symmetric tensor, in the order in which they are chosen as free parameters."""

_FIRST = np.array([["xyz".index(axis) for axis in element] for element in TENSOR_ELEMENTS])

SPREAD = np.array(
    [
        ["".join(sorted(a + b + c)) == element for element in TENSOR_ELEMENTS]
        for a, b, c in product("xyz", repeat=3)
    ]
).astype(int)
"""(27, 10) all elements of a symmetric tensor from those of :data:`TENSOR_ELEMENTS`."""


@dataclass(frozen=True, eq=False)
class ThirdOrderForceConstants:
    """The free parameters γ of a crystal's third-order force constants, and the linear map to all of them.

    Attributes:
        crystal: the crystal.
        names: (n_cubic,) letter of the shell and element of the representative's tensor: b_xxx, b_xxy, ...,
            c_xxx; of further orbits of the shell with their number: b_xxx_2.
        shells: (n_cubic,) int, the shell of each parameter, from 1.
        orbits: the orbits of neighbour pairs, in order of distance.
        orbit_names: the parameters of each orbit.
        orbit_tensors: (10,) expressions per orbit, the elements of :data:`TENSOR_ELEMENTS` of the
            representative's tensor in terms of the parameters, exact.
        bonds: (n_bonds, 5) int, (κ, κ', R) of every pair within the shells, one of each two directions.
        basis: (n_bonds, 3, 3, 3, n_cubic), with G(bond) = basis @ γ in eV/Å³, for u_κ(R) - u_κ'(0).
    """

    crystal: Crystal
    names: tuple[str, ...]
    shells: np.ndarray
    orbits: tuple[Orbit, ...]
    orbit_names: tuple[tuple[str, ...], ...]
    orbit_tensors: tuple[tuple[str, ...], ...]
    bonds: np.ndarray
    basis: np.ndarray

    @property
    def n_cubic(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    @property
    def n_shells(self) -> int:
        """Number of neighbour shells."""
        return self.orbits[-1].shell


def third_order_force_constants(
    crystal: Crystal, n_shells: int, tolerance: float = 1e-3
) -> ThirdOrderForceConstants:
    """Third-order force constants of the first ``n_shells`` neighbour shells.

    The tensor of each orbit's representative obeys G = W·G (all three indices) for the operations that keep
    the pair, and G = -W·G for those that exchange its ends. Free parameters are elements of it.

    Args:
        crystal: the crystal.
        n_shells: number of neighbour shells (distinct distances).
        tolerance: distances closer than this are one shell, Å.
    """
    orbits = [orbit for orbit in find_orbits(crystal, n_shells, tolerance) if orbit.shell > 0]
    rational, surd = _on_tensors(*split_surds(2 * crystal.cartesian_rotations))
    maps = (rational + np.sqrt(3) * surd) / 8
    names, shells, owners, tensors, bonds, blocks = [], [], [], [], [], []
    for number, orbit in enumerate(orbits):
        operations, swapped = orbit.stabilizer.T
        sign = np.where(swapped, -1, 1)[:, None, None]
        same = 8 * len(operations) * np.eye(10, dtype=int)
        labels = _labels(orbit, [other.shell for other in orbits[:number]].count(orbit.shell))
        basis, free, texts = null_space(
            same - (sign * rational[operations]).sum(axis=0),
            -(sign * surd[operations]).sum(axis=0),
            labels,
            list(range(10)),
        )
        first = _one_direction(orbit.pairs)
        images = np.where(orbit.swapped, -1, 1)[first, None, None] * maps[orbit.operations[first]] @ basis
        names += [labels[i] for i in free]
        shells += [orbit.shell] * len(free)
        owners += [number] * len(free)
        tensors.append(texts)
        bonds.append(orbit.pairs[first])
        blocks.append((SPREAD @ images).reshape(len(first), 3, 3, 3, -1))
    return ThirdOrderForceConstants(
        crystal,
        tuple(names),
        np.array(shells, dtype=int),
        tuple(orbits),
        tuple(tuple(n for n, o in zip(names, owners, strict=True) if o == i) for i in range(len(orbits))),
        tuple(tensors),
        np.concatenate(bonds),
        _side_by_side(blocks),
    )


def _labels(orbit: Orbit, earlier: int) -> tuple[str, ...]:
    """Names of the elements of an orbit's tensor; so many orbits of its shell come before."""
    suffix = f"_{earlier + 1}" if earlier else ""
    return tuple(f"{shell_letter(orbit.shell)}_{element}{suffix}" for element in TENSOR_ELEMENTS)


def _on_tensors(rational: np.ndarray, surd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rational and surd part (n_ops, 10, 10) int of 8 W⊗W⊗W on symmetric tensors, from those of 2 W."""

    def cube(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.einsum("oad,obe,ocf->oabcdef", a, b, c)[:, *_FIRST.T].reshape(-1, 10, 27) @ SPREAD

    a, b = rational, surd
    return (
        cube(a, a, a) + 3 * (cube(a, b, b) + cube(b, a, b) + cube(b, b, a)),
        cube(a, a, b) + cube(a, b, a) + cube(b, a, a) + 3 * cube(b, b, b),
    )


def _one_direction(pairs: np.ndarray) -> np.ndarray:
    """Indices of the pairs (n_pairs, 5) whose reverse does not come before."""
    place = {tuple(pair): i for i, pair in enumerate(pairs)}
    reverse = np.column_stack([pairs[:, 1], pairs[:, 0], -pairs[:, 2:]])
    return np.array([i for i, pair in enumerate(reverse) if place[tuple(pair)] > i])


def _side_by_side(blocks: list[np.ndarray]) -> np.ndarray:
    """One (n_bonds, 3, 3, 3, n_cubic) of blocks that share neither bonds nor parameters."""
    ends = np.cumsum([[0, 0]] + [[len(block), block.shape[-1]] for block in blocks], axis=0)
    basis = np.zeros((ends[-1, 0], 3, 3, 3, ends[-1, 1]))
    for block, (bond, parameter) in zip(blocks, ends, strict=False):
        basis[bond : bond + len(block), ..., parameter : parameter + block.shape[-1]] = block
    return basis
