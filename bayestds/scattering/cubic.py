"""What third-order force constants add to the diffuse intensity, to first order in them.

    ΔI(Q)/N = Σ_κκ' f_κ f_κ'* exp(iQ·(τ_κ-τ_κ') - W_κ - W_κ') Σ_R i exp(iQ·R) [exp(x) s_κκ'(R) - t_κκ']

with x = QᵀC_κκ'(R)Q, the third cumulant s of :mod:`bayestds.lattice_dynamics.third_cumulant`, a polynomial of
third degree in Q, and its part t that does not depend on R and belongs to the Bragg peaks. It is summed like
the harmonic intensity of :mod:`bayestds.scattering.exact`: *near* pairs get the exponential, for all others
it is expanded.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.lattice_dynamics.third_cumulant import CubicTerm, products_table, third_cumulant
from bayestds.scattering.exact import ExactEngine, damping, in_groups, packed_covariance


def cubic_intensity(
    engine: ExactEngine,
    term: CubicTerm,
    cubic: Float[Array, " n_cubic"],
    covariance: Float[Array, "n_cells n_atoms n_atoms 3 3"],
    thermal_energy: Float[Array, ""],
) -> Float[Array, " n_q"]:
    """ΔI per primitive cell at the engine's Q points; linear in the third-order force constants.

    Args:
        engine: from :func:`bayestds.scattering.exact.make_engine`.
        term: the third-order force constants in the same supercell.
        cubic: γ, eV/Å³.
        covariance: C_κκ'(R), Å².
        thermal_energy: k_B T, eV.
    """
    cumulant, constant = third_cumulant(term, cubic, covariance, thermal_energy, engine.grid_shape)
    packed = packed_covariance(covariance)
    kinds = engine.kinds
    cell, first, second = engine.near_pairs.T
    kind = engine.near_kinds.argmax(axis=1)
    near = packed[cell, first, second] - damping(packed, first, second)
    fields = _fields(engine, packed[:, kinds[:, 0], kinds[:, 1]], cumulant, constant)
    arrays = (engine.vectors, engine.structure, _near_phases(engine), fields)
    constants = near, cumulant[cell, kind], damping(packed, kinds[:, 0], kinds[:, 1]), engine.near_kinds

    def one_block(block: tuple[Array, Array, Array, Array]) -> Array:
        return _intensity(*block, *constants, engine.order)

    return in_groups(engine, jax.vmap(one_block), arrays)


def _intensity(
    vectors: Float[Array, "3 block_size"],
    structure: Float[Array, "n_kinds 2 block_size"],
    near_phases: Float[Array, "n_near 2"],
    fields: Float[Array, "n_kinds 2 n_monomials"],
    near: Float[Array, "n_near 6"],
    near_cumulant: Float[Array, "n_near 10"],
    damping: Float[Array, "n_kinds 6"],
    near_kinds: Float[Array, "n_near n_kinds"],
    order: int,
) -> Float[Array, " block_size"]:
    """ΔI at the points of one block."""
    quadratic, odd = _monomials(vectors, order)
    phases = near_kinds.T[:, None, :] * near_phases.T
    lattice_sum = jnp.tensordot(phases, jnp.exp(near @ quadratic) * (near_cumulant @ odd[:10]), axes=1)
    lattice_sum += jnp.exp(-damping @ quadratic)[:, None] * jnp.tensordot(fields, odd, axes=1)
    return (structure * lattice_sum * np.array([[1.0], [-1.0]])).sum(axis=(0, 1))


def _fields(
    engine: ExactEngine,
    packed: Float[Array, "n_cells n_kinds 6"],
    cumulant: Float[Array, "n_cells n_kinds 10"],
    constant: Float[Array, "n_kinds 10"],
) -> Float[Array, "n_blocks n_kinds 2 n_monomials"]:
    """Fourier sums over far R of i s (QᵀCQ)ⁿ/n!, and over all R of -i t, for every block.

    Degrees are odd and below twice the phonon order of the engine.
    """
    far = packed * engine.far_mask[..., None]
    power = cumulant * engine.far_mask[..., None]
    powers = [power - constant]
    for n in range(1, engine.order - 1):
        power = jnp.einsum("rki,rkj,ijm->rkm", power, far, products_table(2 * n + 1, 2)) / n
        powers.append(power)
    stacked = jnp.concatenate(powers, axis=-1) * engine.window[:, None, None]
    grid = (*engine.grid_shape, *stacked.shape[1:])
    waves = jnp.fft.ifftn(stacked.reshape(grid), axes=(0, 1, 2), norm="forward")
    waves = waves.reshape(stacked.shape)[engine.k_index]
    # A kind κ < κ' stands for its conjugate κ' > κ as well.
    return _times_i(waves * jnp.where(engine.kinds[:, :1] == engine.kinds[:, 1:], 1.0, 2.0), axis=-2)


def _near_phases(engine: ExactEngine) -> Float[Array, "n_blocks n_near 2"]:
    """Phases i exp(ik·R) of the near pairs, times 2 for their conjugates: R and -R together where κ = κ'."""
    cell, first, second = engine.near_pairs.T
    shape = engine.grid_shape
    k, r = (jnp.stack(jnp.unravel_index(index, shape), axis=-1) for index in (engine.k_index, cell))
    phases = 2 * engine.window[cell] * jnp.exp(2j * jnp.pi * (k / np.array(shape)) @ r.T)
    # A pair with κ = κ' has the opposite s of its conjugate.
    return _times_i(jnp.where(first == second, 1j * phases.imag, phases), axis=-1)


def _times_i(waves: Complex[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Real and imaginary part of i times waves, along a new axis."""
    return jnp.stack([-waves.imag, waves.real], axis=axis)


def _monomials(
    vectors: Float[Array, "3 n_q"], order: int
) -> tuple[Float[Array, "6 n_q"], Float[Array, "n_monomials n_q"]]:
    """Products of Q components of degree 2, and of degrees 3, 5, ..., 2 * order - 1 together."""
    x, y, z = vectors
    powers = [vectors]
    for degree in range(2, max(2 * order, 4)):
        power = powers[-1]
        # Products with a factor x come first; of the others those with y; the last is a power of z.
        powers.append(jnp.concatenate([x * power, y * power[-degree:], z * power[-1:]]))
    return powers[1], jnp.concatenate(powers[2::2])
