"""Third cumulant of thermal displacements that third-order force constants give, to first order.

With the energy E₃ = (1/6) Σ_bonds G_abc d_a d_b d_c beside the harmonic one, the difference
X = Q·(u_κ(R) - u_κ'(0)) of two displacements has ⟨X³⟩_c = -6 s with

    s_κκ'(R) = (1/6) ∫₀^β dτ Σ_bonds Σ_l G_abc A_a A_b A_c
    A = P_κ(R-l) - P_κ'(-l),   P_κ(r) = ⟨d(τ) (u_κ(r)·Q)⟩

for the bond in cell 0: to first order exp(-βH) is exp(-βH₀) [1 - ∫₀^β dτ E₃(τ)] with E₃ at imaginary times,
and Wick's theorem pairs its three displacements with X. Classically nothing depends on τ. The cubes of P_κ
do not depend on R. The products P_κ² P_κ' are correlations over l of the second derivative of E₃ by the
displacement of each atom, taken with two P_κ, with the covariance of that atom; fast Fourier transforms give
them. All are polynomials of third degree in Q, kept as coefficients.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bayestds.accumulation import sum_in_parts
from bayestds.crystal.structure import pair_kinds
from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.linear_map import check_reach
from bayestds.force_constants.third_order import ThirdOrderForceConstants
from bayestds.monomials import products_table


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class CubicTerm:
    """Third-order force constants in a supercell; a pytree of constant arrays.

    Attributes:
        basis: (n_bonds, 3, 3, 3, n_cubic) the linear map γ -> G, eV/Å³.
        atoms: (n_bonds, 2) int, κ and κ' of each bond.
        behind, ahead: (n_bonds, n_cells) int, grid index of r - R and r + R for the R of each bond.
    """

    basis: Float[Array, "n_bonds 3 3 3 n_cubic"]
    atoms: Int[Array, "n_bonds 2"]
    behind: Int[Array, "n_bonds n_cells"]
    ahead: Int[Array, "n_bonds n_cells"]


def make_cubic_term(third_order: ThirdOrderForceConstants, supercell: Supercell) -> CubicTerm:
    """The third-order force constants of a crystal, laid out in a supercell of it.

    Raises:
        CrystalError: the shells reach beyond half the supercell.
    """
    bonds = third_order.bonds
    check_reach(bonds, third_order.n_shells, supercell)
    cells = supercell.cells
    return CubicTerm(
        jnp.asarray(third_order.basis),
        jnp.asarray(bonds[:, :2]),
        *(jnp.asarray(supercell.cell_index(cells + sign * bonds[:, None, 2:])) for sign in (-1, 1)),
    )


def cubic_energy(
    term: CubicTerm,
    cubic: Float[Array, " n_cubic"],
    displacements: Float[Array, "*m n_cells n_atoms 3"],
) -> Float[Array, "*m"]:
    """Energy E₃, eV, of configurations of the supercell.

    With the weights 1 - E₃/k_B T, random configurations of the harmonic crystal have the means of the
    anharmonic one to first order.

    Args:
        term: from :func:`make_cubic_term`.
        cubic: γ, eV/Å³.
        displacements: Å.
    """
    first, second = term.atoms.T
    begins = jnp.moveaxis(displacements[..., second, :], -2, -3)
    d = displacements[..., term.ahead, first[:, None], :] - begins
    return jnp.einsum("nabcg,g,...nra,...nrb,...nrc->...", term.basis, cubic, d, d, d, optimize=True) / 6


def half_forces(
    term: CubicTerm,
    cubic: Float[Array, " n_cubic"],
    covariances: Float[Array, "n_nodes n_cells n_atoms n_atoms 3 3"],
    weights: Float[Array, " n_nodes"],
) -> Float[Array, "n_nodes n_cells n_atoms n_atoms 3 6"]:
    """(w/2) Σ G_abc P_a P_b over the bonds that end at an atom in cell 0, less those that begin there.

    Args:
        term: from :func:`make_cubic_term`.
        cubic: γ, eV/Å³.
        covariances: C_κκ'(R, τ), Å², at nodes of imaginary time.
        weights: of the nodes, 1/eV.

    Returns:
        coefficients; the axes after that of the cells are κ of P_κ, the atom, c, and the products xx, xy, ...
        of Q.
    """
    tensors = term.basis @ cubic
    if len(weights) == 1:
        return weights[0] / 2 * _force(term, tensors, covariances[0])[None]
    of_node = jax.checkpoint(lambda node: node[1] / 2 * _force(term, tensors, node[0]))
    return jax.lax.map(of_node, (covariances, weights))


def third_cumulant(
    squares: Float[Array, "n_nodes n_cells n_atoms n_atoms 3 6"],
    covariances: Float[Array, "n_nodes n_cells n_atoms n_atoms 3 3"],
    grid_shape: tuple[int, int, int],
) -> tuple[Float[Array, "10 n_kinds n_cells"], Float[Array, "10 n_kinds"]]:
    """Coefficients of s_κκ'(R) = -⟨X³⟩_c/6 on the monomials xxx, xxy, ... of Q, Å³.

    Args:
        squares: from :func:`half_forces`.
        covariances: C_κκ'(R, τ), Å², at the same nodes of imaginary time.
        grid_shape: FFT grid of the supercell.

    Returns:
        them for each of :func:`pair_kinds` in every cell (the others follow from s_κ'κ(-R) = -s_κκ'(R)), and
        their part that does not depend on R.
    """
    first, second = pair_kinds(covariances.shape[2]).T

    def waves(field: Array) -> Array:
        return jnp.fft.rfftn(field.reshape(*grid_shape, *field.shape[1:]), axes=(0, 1, 2))

    def of_node(square: Array, covariance: Array) -> tuple[Array, Array]:
        alone = jnp.einsum("rkmcp,rkmfc,pft->tk", square, covariance, products_table(2, 1)) / 3
        # Correlations Σ_l P_κ(R+l)² P_κ'(l) over the cells l, and of the other kind.
        both = jnp.einsum("...kmcp,...lmfc->...klpf", waves(square), waves(covariance).conj())
        return alone, both[..., second, first, :, :].conj() - both[..., first, second, :, :]

    alone, mixed = sum_in_parts(of_node, squares, covariances)
    mixed = jnp.einsum("...kpf,pft->tk...", mixed, products_table(2, 1))
    field = jnp.fft.irfftn(mixed, s=grid_shape, axes=(2, 3, 4)).reshape(*mixed.shape[:2], -1)
    constant = alone[:, first] - alone[:, second]
    return field + constant[..., None], constant


def _force(
    term: CubicTerm,
    tensors: Float[Array, "n_pairs 3 3 3"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
) -> Float[Array, "n_cells n_atoms n_atoms 3 6"]:
    """The sums of :func:`half_forces` at one node of imaginary time, without the factor w/2."""
    first, second = term.atoms.T
    # ⟨u_κ,d(r) d_a⟩ of every bond that begins in cell 0, as (n_bonds, n_cells, n_atoms, d, a).
    begins = jnp.moveaxis(covariance[:, :, second], 2, 0)
    linear = covariance[term.behind, :, first[:, None]] - begins
    half = jnp.einsum("nrkda,nabc->nrkdbc", linear, tensors)
    square = jnp.einsum("nrkdbc,nrkeb->nrkdec", half, linear)
    ended = jnp.take_along_axis(square, term.ahead[..., None, None, None, None], axis=1)
    atoms = jnp.arange(covariance.shape[1])
    ends, starts = (jnp.where(end[:, None] == atoms, 1.0, 0.0) for end in (first, second))
    force = jnp.einsum("nrkdec,nm->rkmcde", ended, ends) - jnp.einsum("nrkdec,nm->rkmcde", square, starts)
    return jnp.einsum("rkmcde,dep->rkmcp", force, products_table(1, 1))
