"""Elastic constants from force constants, by the method of long waves.

Born and Huang, Dynamical Theory of Crystal Lattices (1954), chapter V. The expansion of the lattice
sums to second order in q is done exactly, in sums over bonds; no finite wave vector takes part.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from bayestds.crystal.structure import Crystal
from bayestds.force_constants.invariance import first_moments, second_moments
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.units import GIGAPASCAL

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
"""The pairs of axes 1 to 6: xx yy zz yz xz xy."""

_ORDER = (
    [(i, j) for i in range(3) for j in range(i, 3)]
    + [(3, 3), (4, 4), (5, 5)]
    + [(i, j) for i in range(5) for j in range(max(3, i + 1), 6)]
)
"""Order in which elements are chosen as independent ones."""


@dataclass(frozen=True, eq=False)
class LongWaves:
    """Waves much longer than the cell, for one or many sets of force constants.

    Attributes:
        square: (..., 3, 3, 3, 3) [αβ,γλ] in GPa, of atoms that all move alike.
        round: (..., 3, 3, 3, 3) (αγ,βλ) in GPa, of the atoms of a cell moving against each other.
        torque: (..., n_atoms, 3, 3) eV/Å, the force along α on each atom when the crystal is turned by one
            radian about axis μ, [κ, α, μ]; zero where the force constants are rotationally invariant.
    """

    square: np.ndarray
    round: np.ndarray
    torque: np.ndarray

    @cached_property
    def waves(self) -> np.ndarray:
        """(..., 3, 3, 3, 3) A in GPa with ρω² u_α = A_αβγλ q_γ q_λ u_β, symmetric in αβ and in γλ.

        A = [αβ,γλ] + ((αγ,βλ) + (αλ,βγ)) / 2.
        """
        inner = np.einsum("...acbd->...abcd", self.round) + np.einsum("...adbc->...abcd", self.round)
        return self.square + inner / 2

    @cached_property
    def stiffness(self) -> np.ndarray:
        """(..., 6, 6) elastic constants C in GPa, in Voigt's notation.

        C_αγβλ = A_αβγλ + A_βγαλ - A_βλαγ. That is an elastic tensor only if A_αβγλ = A_γλαβ, which the Huang
        conditions and rotational invariance together ensure. Where they do not hold, A is replaced by its
        mean with the exchanged one.
        """
        waves = (self.waves + _exchanged(self.waves)) / 2
        full = np.einsum("...abcd->...acbd", waves)
        full = full + np.einsum("...bcad->...acbd", waves) - np.einsum("...bdac->...acbd", waves)
        first, second = VOIGT
        return full[..., first, second, :, :][..., first, second]

    @property
    def huang(self) -> np.ndarray:
        """(...,) GPa, the largest element of [αβ,γλ] - [γλ,αβ]; zero without a stress."""
        return np.asarray(np.abs(self.square - _exchanged(self.square)).max(axis=(-4, -3, -2, -1)))

    @property
    def relative_huang(self) -> np.ndarray:
        """The same as a share of the largest elastic constant."""
        return np.asarray(self.huang / np.abs(self.stiffness).max(axis=(-2, -1)))

    @property
    def rotation(self) -> np.ndarray:
        """(...,) eV/Å, the largest force on an atom, per radian, in a crystal that is turned."""
        return np.asarray(np.linalg.norm(self.torque, axis=-2).max(axis=(-2, -1)))


def _exchanged(tensor: np.ndarray) -> np.ndarray:
    return np.einsum("...abcd->...cdab", tensor)


def long_waves(
    irreducible: IrreducibleForceConstants, values: Float[np.ndarray, "*draws n_irreducible"]
) -> LongWaves:
    """Expansion of the lattice sums at long wavelengths.

    With the bonds d = R + τ_κ - τ_κ' and the volume V of the primitive cell,
    [αβ,γλ] = -Σ Φ_αβ d_γ d_λ / 2V, and (αγ,βλ) = -Σ Λ_κμ,αγ Γ_κμκ'ν Λ_κ'ν,βλ / V with the forces
    Λ_κμ,αγ = Σ Φ_μα d_γ of :func:`~bayestds.force_constants.invariance.first_moments` and Γ the inverse of
    Φ(k = 0) without the rigid translations.

    Args:
        irreducible: what the values mean.
        values: (..., n_irreducible) eV/Å².
    """
    crystal, n_irreducible = irreducible.crystal, irreducible.n_irreducible
    volume, n_moving = abs(np.linalg.det(crystal.lattice_vectors)), 3 * crystal.n_atoms

    def of_draws(linear: np.ndarray) -> np.ndarray:
        found = np.asarray(values) @ linear.reshape(-1, n_irreducible).T
        return found.reshape(*found.shape[:-1], *linear.shape[:-1])

    square = -GIGAPASCAL / (2 * volume) * of_draws(second_moments(irreducible))
    forces = of_draws(first_moments(irreducible))
    # About x, y and z: the gradients ∂u_z/∂y - ∂u_y/∂z and so on.
    torque = forces[..., [2, 0, 1], [1, 2, 0]] - forces[..., [1, 2, 0], [2, 0, 1]]
    # What is left over of the forces on all atoms, zero with rotational invariance, moves the whole crystal.
    inner = (forces - forces.mean(axis=-4, keepdims=True)).reshape(*forces.shape[:-4], n_moving, 9)
    centre = of_draws(_zone_centre(irreducible))
    rigid = np.tile(np.eye(3), (crystal.n_atoms, crystal.n_atoms)) / crystal.n_atoms
    answer = np.linalg.solve(centre + rigid, inner)
    around = -GIGAPASCAL / volume * np.einsum("...ki,...kj->...ij", inner, answer)
    return LongWaves(square, around.reshape(square.shape), torque)


def elastic_stiffness(
    irreducible: IrreducibleForceConstants, values: Float[np.ndarray, "*draws n_irreducible"]
) -> Float[np.ndarray, "*draws 6 6"]:
    """Elastic constants in GPa, in Voigt's notation, of (..., n_irreducible) force constants in eV/Å².

    See :attr:`LongWaves.stiffness`.
    """
    return long_waves(irreducible, values).stiffness


def _zone_centre(
    irreducible: IrreducibleForceConstants,
) -> Float[np.ndarray, "three_n three_n n_irreducible"]:
    """Φ(k = 0) per unit of each constant."""
    n_atoms, pairs = irreducible.crystal.n_atoms, irreducible.pairs
    blocks = np.zeros((n_atoms, n_atoms, 3, 3, irreducible.n_irreducible))
    np.add.at(blocks, (pairs[:, 0], pairs[:, 1]), irreducible.basis)
    return blocks.swapaxes(1, 2).reshape(3 * n_atoms, 3 * n_atoms, -1)


def rotation_scale(irreducible: IrreducibleForceConstants, values: np.ndarray) -> float:
    """The terms that should cancel in the forces of a turned crystal, eV/Å: the largest Σ |Φ| |d| of an atom.

    Args:
        irreducible: what the values mean.
        values: (n_irreducible,) eV/Å².
    """
    blocks = np.linalg.norm(irreducible.basis @ values, axis=(1, 2))
    lengths = np.linalg.norm(irreducible.crystal.bond_vectors(irreducible.pairs), axis=1)
    return float(np.bincount(irreducible.pairs[:, 0], blocks * lengths).max())


def independent_elements(crystal: Crystal) -> dict[str, tuple[int, int]]:
    """Names and places in the (6, 6) matrix of the elastic constants that symmetry leaves independent.

    They are chosen in the order C11 C12 C13 C22 C23 C33 C44 C55 C66 C14 C15 ...: those of the textbooks,
    except that a trigonal crystal whose twofold axes lie across a has C15 for C14.
    """
    axes = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    elements = np.array([[sorted((first, second)) for second in axes.ravel()] for first in axes.ravel()])
    tensors = (elements.reshape(81, 1, 2) == _ORDER).all(axis=-1).astype(float)
    pairs = [np.kron(w, w) for w in np.unique(np.round(crystal.cartesian_rotations, 9), axis=0)]
    # Each tensor averaged over the point group, (21, 21): its columns span what symmetry allows.
    allowed = tensors.T @ np.mean([np.kron(pair, pair) for pair in pairs], axis=0) @ tensors
    chosen: list[int] = []
    for i in range(len(_ORDER)):
        # Elements of the average are sums of a few products of cosines, so a rank is never close.
        if np.linalg.matrix_rank(allowed[[*chosen, i]], tol=1e-6) > len(chosen):
            chosen.append(i)
    return {f"C{_ORDER[i][0] + 1}{_ORDER[i][1] + 1}": _ORDER[i] for i in chosen}


def bulk_and_shear(stiffness: Float[np.ndarray, "*draws 6 6"]) -> tuple[np.ndarray, np.ndarray]:
    """Bulk and shear modulus of a polycrystal, GPa: Hill's mean of the bounds of Voigt and of Reuss.

    Hill, Proc. Phys. Soc. A 65 (1952) 349. From elastic constants (..., 6, 6) in GPa.
    """
    (c, c_off, c_shear), (s, s_off, s_shear) = _parts(stiffness), _parts(np.linalg.inv(stiffness))
    bulk = (c + c_off) / 9 + 1 / (s + s_off)
    shear = (c - c_off / 2 + 3 * c_shear) / 15 + 15 / (4 * s - 2 * s_off + 3 * s_shear)
    return np.asarray(bulk / 2), np.asarray(shear / 2)


def _parts(matrix: np.ndarray) -> np.ndarray:
    """Sums (3, ...) of C11 C22 C33, of the rest of the upper left quarter, and of C44 C55 C66."""
    normal = np.trace(matrix[..., :3, :3], axis1=-2, axis2=-1)
    shear = np.trace(matrix[..., 3:, 3:], axis1=-2, axis2=-1)
    return np.stack([normal, matrix[..., :3, :3].sum(axis=(-2, -1)) - normal, shear])
