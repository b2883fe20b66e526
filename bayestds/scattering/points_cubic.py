"""What third-order force constants add to the intensity at Q points anywhere.

    ΔI(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ') - W_κ - W_κ') i { s_κκ'(q) + t_κκ' QᵀC_κκ'(q)Q
                  + Σ_R exp(iQ·R) [(exp(x) - 1) s_κκ'(R) - t_κκ' x] }

with s and t of :mod:`bayestds.scattering.cubic`; s(q) = Σ_R exp(iq·R) [s(R) - t] is made of what is linear in
the covariance, which is exact at q, and of a product of two that decays fast with R:

    s_κκ'(q) = Σ_μ,c {Ψ_κ'μ,c(q)* [C_κμ(q)Q]_c - Ψ_κμ,c(q) [C_κ'μ(q)Q]_c*},   Ψ(q) = Σ_R exp(iq·R) Ψ(R)

where Ψ is half the second derivative of E₃ by the displacement of atom μ, taken with two P_κ, from
:mod:`bayestds.lattice_dynamics.third_cumulant`, and products stand for sums over imaginary time. All sums
over R run over the shortest images in the supercell, with the same W, s and t; at its wave vectors this is
the intensity of :mod:`bayestds.scattering.cubic`.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Complex, Float

from bayestds.crystal.structure import pair_kinds
from bayestds.monomials import products_table
from bayestds.scattering.engine import Points
from bayestds.scattering.exact import Part, near_weights
from bayestds.scattering.fourier import direct_sums
from bayestds.scattering.images import folded
from bayestds.scattering.points import PointEngine, forms_at_points, near_terms, rows
from bayestds.scattering.polynomials import cubic_series, monomials


def anharmonic_anywhere(
    engine: PointEngine,
    squares: Float[Array, "n_nodes n_cells n_atoms n_atoms 3 6"],
    cumulant: tuple[Float[Array, "10 n_kinds n_cells"], Float[Array, "10 n_kinds"]],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    packed: Float[Array, "6 n_kinds n_cells"],
    at_q: Complex[Array, "n_k three_n three_n"],
    at_nodes: Complex[Array, "n_nodes n_k three_n three_n"],
) -> Part:
    """Weights of ΔI beside those of the harmonic intensity.

    Args:
        engine: from :func:`bayestds.scattering.points.make_point_engine`.
        squares: Ψ(R) at nodes of imaginary time, with their weights, from ``third_cumulant.half_forces``.
        cumulant: s and t, from ``third_cumulant.third_cumulant``.
        covariance, packed: C_κκ'(R), Å², of equal times, the second as ``packed_covariance`` gives it.
        at_q: C(q), Å², at the distinct q of the points.
        at_nodes: C(q, τ), Å², the same at the nodes.
    """
    (field, constant), exact = cumulant, engine.engine
    # s is odd: i exp(iq·R) and its conjugate take the place of exp(iq·R).
    waves = 1j * engine.near_waves
    same = (exact.near_pairs[:, 1] == exact.near_pairs[:, 2])[:, None]
    phases = jnp.stack([waves.real, jnp.where(same, 0.0, waves.imag)], axis=1)
    phases = jnp.moveaxis(phases[:, :, exact.k_of_block], 2, 0)
    near = field[:, exact.near_kinds, exact.near_pairs[:, 0]]
    lowest = rows(1j * _at_points(engine, squares, at_nodes), exact.n_atoms)
    arrays = packed, field
    orders = direct_sums(exact.sums, _series, arrays, turned=True)
    far = {3: lowest - near_terms(engine, near, waves)}
    far |= {2 * n + 1: order for n, order in enumerate(orders, 2)}
    if exact.n_atoms > 1:
        change = _of_sites(engine, constant, covariance, at_q)
        far[5] = far[5] + change if 5 in far else change

    def of_near(points: Points, own: Array) -> Array:
        cubes = monomials(points.vectors.swapaxes(0, 1), [3]).swapaxes(0, 1)
        return near_weights(exact, points.structure, own) * jnp.tensordot(near.T, cubes, axes=1)

    return Part(far, of_near, (phases,))


def _series(arrays: tuple[Array, ...], factors: tuple[Array, ...]) -> tuple[Array, ...]:
    """Products s xⁿ/n! of far pairs, of which the first, n = 0, is not summed."""
    packed, cubic = arrays
    return cubic_series(cubic, packed, factors)


def _at_points(engine: PointEngine, squares: Array, at_nodes: Array) -> Complex[Array, "10 n_kinds n_k"]:
    """Coefficients of s_κκ'(q)."""
    n_atoms, n_k = engine.engine.n_atoms, len(engine.folding.q)
    first, second = pair_kinds(n_atoms).T

    # All nodes together share their waves.
    psi = folded(engine.folding, jnp.moveaxis(squares, 0, 3).reshape(*squares.shape[1:4], -1))
    psi = jnp.moveaxis(psi.reshape(n_k, n_atoms, n_atoms, len(squares), 3, 6), 3, 0)
    waves = at_nodes.reshape(-1, n_k, n_atoms, 3, n_atoms, 3)
    both = jnp.einsum("nqkmcp,nqlfmc->qklpf", psi.conj(), waves)
    mixed = both[:, second, first] - both[:, first, second].conj()
    return jnp.einsum("qkpf,pft->tkq", mixed, products_table(2, 1))


def _of_sites(
    engine: PointEngine, constant: Array, covariance: Array, at_q: Array
) -> Float[Array, "21 n_rows n_k"]:
    """I t [QᵀC(q)Q - Σ_R exp(iq·R) x] in rows: t is not 0 at sites without a centre."""
    n_atoms = engine.engine.n_atoms
    summed = folded(engine.folding, covariance.reshape(*covariance.shape[:3], 9))
    summed = summed.reshape(len(engine.folding.q), n_atoms, n_atoms, 3, 3).transpose(0, 1, 3, 2, 4)
    gap = at_q - summed.reshape(at_q.shape)
    forms = rows(1j * forms_at_points(gap), n_atoms)
    cubic = jnp.concatenate([constant, constant[:, n_atoms:]], axis=1)[..., None]
    ones = jnp.ones(forms.shape[1:])
    _, product = cubic_series(jnp.broadcast_to(cubic, (10, *ones.shape)), forms, (ones, ones))
    return product
