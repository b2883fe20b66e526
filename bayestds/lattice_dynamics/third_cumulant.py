"""Third cumulant of thermal displacements that third-order force constants give, to first order.

With the energy E₃ = (1/6) Σ_bonds G_abc d_a d_b d_c beside the harmonic one, the difference
X = Q·(u_κ(R) - u_κ'(0)) of two displacements has ⟨X³⟩_c = -6 s with

    s_κκ'(R) = (β/6) Σ_bonds Σ_l G_abc A_a A_b A_c,   A = P_κ(R-l) - P_κ'(-l),   P_κ(r) = ⟨d (u_κ(r)·Q)⟩

for the bond in cell 0. The cubes of P_κ do not depend on R; the products P_κ² P_κ' are correlations over l,
which fast Fourier transforms give. All are polynomials of third degree in Q, kept as their coefficients.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.linear_map import check_reach
from bayestds.force_constants.third_order import ThirdOrderForceConstants


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class CubicTerm:
    """Third-order force constants in a supercell; a pytree of constant arrays.

    Attributes:
        basis: (n_bonds, 3, 3, 3, n_cubic) the linear map γ -> G, eV/Å³.
        atoms: (n_bonds, 2) int, κ and κ' of each bond.
        behind: (n_cells, n_bonds) int, grid index of r - R for the cell r and the R of each bond.
    """

    basis: Float[Array, "n_bonds 3 3 3 n_cubic"]
    atoms: Int[Array, "n_bonds 2"]
    behind: Int[Array, "n_cells n_bonds"]


def make_cubic_term(third_order: ThirdOrderForceConstants, supercell: Supercell) -> CubicTerm:
    """The third-order force constants of a crystal, laid out in a supercell of it.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
    """
    bonds = third_order.bonds
    check_reach(bonds, third_order.n_shells, supercell)
    return CubicTerm(
        jnp.asarray(third_order.basis),
        jnp.asarray(bonds[:, :2]),
        jnp.asarray(supercell.cell_index(supercell.cells[:, None] - bonds[:, 2:])),
    )


def third_cumulant(
    term: CubicTerm,
    cubic: Float[Array, " n_cubic"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    thermal_energy: Float[Array, ""],
    grid_shape: tuple[int, int, int],
) -> tuple[Float[Array, "n_cells n_kinds 10"], Float[Array, "n_kinds 10"]]:
    """Coefficients of s_κκ'(R) = -⟨X³⟩_c/6 on the monomials xxx, xxy, ... of Q, Å³.

    Args:
        term: from :func:`make_cubic_term`.
        cubic: γ, eV/Å³.
        covariance: C_κκ'(R), Å².
        thermal_energy: k_B T, eV.
        grid_shape: FFT grid of the supercell.

    Returns:
        them for every cell and every kind κ ≤ κ' of pairs (the others follow from s_κ'κ(-R) = -s_κκ'(R)),
        and their part that does not depend on R.
    """
    n_atoms = covariance.shape[1]
    linear = _follows(term, covariance)
    square = _quadratic(term.basis @ cubic, linear)
    alone = jnp.einsum("rnkcm,rnkfc,mft->kt", square, linear, products_table(2, 1)) / (6 * thermal_energy)

    def waves(field: Array) -> Array:
        return jnp.fft.rfftn(field.reshape(*grid_shape, *field.shape[1:]), axes=(0, 1, 2))

    # Correlations Σ_l P_κ(R+l)² P_κ'(l) over the cells l, and Σ_l P_κ(R+l) P_κ'(l)².
    both = jnp.einsum(
        "...nkcm,...nlfc,mft->...klt", waves(square), waves(linear).conj(), products_table(2, 1)
    )
    first, second = kinds_of_pairs(n_atoms).T
    mixed = both[..., second, first, :].conj() - both[..., first, second, :]
    mixed = jnp.fft.irfftn(mixed, s=grid_shape, axes=(0, 1, 2)) / (2 * thermal_energy)
    constant = alone[first] - alone[second]
    return mixed.reshape(-1, *constant.shape) + constant, constant


def _follows(
    term: CubicTerm, covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"]
) -> Float[Array, "n_cells n_bonds n_atoms 3 3"]:
    """⟨u_κ,d(r) d_a⟩ of every atom with the difference of displacements of the bonds in cell 0, Å²."""
    first, second = term.atoms.T
    return covariance[term.behind, :, first] - covariance.swapaxes(1, 2)[:, second]


def _quadratic(
    tensors: Float[Array, "n_bonds 3 3 3"], linear: Float[Array, "n_cells n_bonds n_atoms 3 3"]
) -> Float[Array, "n_cells n_bonds n_atoms 3 6"]:
    """G_abc P_a P_b, as its coefficients on the products xx, xy, ... of Q."""
    half = jnp.einsum("nabc,rnkda->rnkcdb", tensors, linear)
    return jnp.einsum("rnkcdb,rnkeb,dem->rnkcm", half, linear, products_table(1, 1))


def kinds_of_pairs(n_atoms: int) -> Int[np.ndarray, "n_kinds 2"]:
    """The kinds κ ≤ κ' of pairs of atoms."""
    return np.array(list(combinations_with_replacement(range(n_atoms), 2)))


@cache
def exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of x, y, z in the monomials of a degree: xx, xy, xz, yy, yz, zz and so on."""
    return tuple((a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1))


@cache
def products_table(first: int, second: int) -> Float[np.ndarray, "n_first n_second n_product"]:
    """1 where monomial i of the first degree times monomial j of the second is monomial m."""
    index = {powers: m for m, powers in enumerate(exponents(first + second))}
    table = np.zeros((len(exponents(first)), len(exponents(second)), len(index)))
    for (i, left), (j, right) in product(enumerate(exponents(first)), enumerate(exponents(second))):
        a, b, c = (x + y for x, y in zip(left, right, strict=True))
        table[i, j, index[a, b, c]] = 1
    return table
