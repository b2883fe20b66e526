"""Scattered intensity of configurations of atoms: |Σ_j f_j exp(iQ·x_j)|² on a grid of voxels.

On a grid the wave of an atom is a product of three, exp(2πi h x) exp(2πi k y) exp(2πi l z) in fractional
coordinates of the conventional cell, so that a configuration is one matrix product. Along each axis the
indices are c ± d about its centre c: the wave of the centre goes into the weights of the atoms, and cosines
and sines of d ≥ 0 are left, a real product with a quarter of the operations of the complex one. For many
atoms a nonuniform FFT (jax-finufft) is faster.
"""

import math
from dataclasses import dataclass, field
from itertools import product
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Complex, Float

from bayestds.crystal.supercell import Supercell
from bayestds.errors import MissingPackageError, VolumeError
from bayestds.memory import too_much

NUFFT_TOLERANCE = 1e-9
"""Relative accuracy asked of the nonuniform FFT."""

SINES = tuple(product((0, 1), repeat=3))
"""Products of three waves, by the axes on which the wave is the sine."""

OCTANTS = tuple(product((1, -1), repeat=3))
"""Signs of d along h, k, l; the second half mirrors the first."""

OCTANT_TABLE = np.array(
    [
        [np.prod([(1j * sign) ** sine for sign, sine in zip(signs, sines, strict=True)]) for sines in SINES]
        for signs in OCTANTS
    ]
)
"""(8, 8) what each product of cosines and sines contributes to exp(i signs·d·x) in each octant."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SampledEngine:
    """Everything about atoms and voxels that :func:`folded_intensity` needs; a pytree.

    Attributes:
        sites: (n_cells, n_atoms, 3) ideal positions, fractional in the conventional cell.
        to_fractional: (3, 3) Cartesian displacements, Å, times this are fractional.
        factors: (n_atoms,) scattering factors f_κ.
        centre, step: (3,) centre and step of the axes h, k, l, conventional r.l.u.
        shape: number of voxels along h, k, l.
        real: whether the weights of the atoms are real: real factors, axes centred on zero.
        nufft: whether structure factors come from the nonuniform FFT.
    """

    sites: Float[Array, "n_cells n_atoms 3"]
    to_fractional: Float[Array, "3 3"]
    factors: Array
    centre: Float[Array, "3"]
    step: Float[Array, "3"]
    shape: tuple[int, int, int] = field(metadata={"static": True})
    real: bool = field(metadata={"static": True})
    nufft: bool = field(metadata={"static": True})


def make_sampled_engine(
    supercell: Supercell,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    scattering_factors: np.ndarray | None = None,
    nufft: bool = False,
) -> SampledEngine:
    """Engine for the configurations of a supercell.

    Args:
        supercell: the periodic supercell.
        axes: h, k, l of the voxels, equally spaced, conventional r.l.u.
        scattering_factors: f_κ (n_atoms,), may be complex; 1 by default.
        nufft: use the nonuniform FFT of jax-finufft.

    Raises:
        MissingPackageError: jax-finufft is asked for and not installed.
        VolumeError: a configuration does not fit into memory.
    """
    if nufft:
        _finufft()
    crystal = supercell.crystal
    n_atoms, shape = supercell.n_cells * crystal.n_atoms, [len(axis) for axis in axes]
    # The products of two waves of every atom, and a handful of volumes; the nonuniform FFT needs only these.
    products = 0 if nufft else shape[0] * shape[1] * n_atoms
    if reason := too_much(8 * (products + 6 * math.prod(shape))):
        raise VolumeError(
            f"A configuration has {n_atoms:,} atoms and {' x '.join(map(str, shape))} voxels.",
            reason,
            "Use a coarser grid or a smaller supercell" + (", or --nufft." if products else "."),
        )
    to_fractional = np.linalg.inv(crystal.conventional_lattice)
    cells = supercell.cells @ crystal.lattice_vectors
    factors = np.ones(crystal.n_atoms) if scattering_factors is None else np.asarray(scattering_factors)
    centre = np.array([(axis[0] + axis[-1]) / 2 for axis in axes])
    # A rounding error of the axis is no offset.
    centre[np.abs(centre) < 1e-12] = 0.0
    n_h, n_k, n_l = (len(axis) for axis in axes)
    return SampledEngine(
        jnp.asarray((cells[:, None] + crystal.cartesian_positions) @ to_fractional),
        jnp.asarray(to_fractional),
        jnp.asarray(factors),
        jnp.asarray(centre),
        jnp.asarray([(axis[-1] - axis[0]) / max(len(axis) - 1, 1) for axis in axes]),
        (n_h, n_k, n_l),
        not (np.iscomplexobj(factors) or centre.any()),
        nufft,
    )


def mean_intensity(
    engine: SampledEngine,
    displacements: Float[Array, "m n_cells n_atoms 3"],
    weights: Float[Array, " m"] | None = None,
) -> Float[Array, "n_h n_k n_l"]:
    """|F(Q)|² per primitive cell, averaged over m configurations, at every voxel, Bragg peaks included.

    Configurations are taken one after the other, so the memory is that of one.

    Args:
        engine: from :func:`make_sampled_engine`.
        displacements: Å.
        weights: of the configurations, 1 by default; those of an anharmonic crystal follow from
            :func:`bayestds.lattice_dynamics.third_cumulant.cubic_energy`.
    """
    weights = jnp.ones(len(displacements)) if weights is None else weights
    # A gradient keeps the products of waves, which are dear, and makes the rest anew.
    keep = jax.checkpoint_policies.dots_saveable
    one = jax.checkpoint(lambda u: folded_intensity(engine, u), policy=keep)
    start = jnp.zeros(folded_shape(engine))
    total, _ = jax.lax.scan(
        lambda total, given: (total + given[1] * one(given[0]), None), start, (displacements, weights)
    )
    return unfolded(engine, total / len(displacements))


def folded_intensity(engine: SampledEngine, displacements: Float[Array, "n_cells n_atoms 3"]) -> Array:
    """|F(Q)|² per primitive cell of one configuration, in the engine's own layout, for sums of many.

    Args:
        engine: from :func:`make_sampled_engine`.
        displacements: Å.
    """
    n_cells, n_atoms, _ = engine.sites.shape
    positions = (engine.sites + displacements @ engine.to_fractional).reshape(-1, 3)
    weights = jnp.broadcast_to(engine.factors, (n_cells, n_atoms)).reshape(-1)
    return folded_square(engine, positions, weights) / n_cells


def folded_square(engine: SampledEngine, positions: Float[Array, "n 3"], weights: Array) -> Array:
    """|Σ_j w_j exp(iQ·x_j)|² of any atoms, in the engine's own layout.

    Args:
        engine: from :func:`make_sampled_engine`.
        positions: fractional in the conventional cell.
        weights: (n,) w_j, real where the engine's factors are.
    """
    if not engine.real:
        weights = weights * jnp.exp(2j * jnp.pi * (positions @ engine.centre))
    evaluate = _by_nufft if engine.nufft else _octants
    return evaluate(engine, positions, weights)


def folded_shape(engine: SampledEngine) -> tuple[int, ...]:
    """Shape of :func:`folded_intensity`."""
    if engine.nufft:
        return engine.shape
    return (4 if engine.real else 8, *((n + 1) // 2 for n in engine.shape))


def _octants(
    engine: SampledEngine, positions: Float[Array, "n 3"], weights: Array
) -> Float[Array, "n_octants n_h n_k n_l"]:
    """|F|² at c + signs * d, d ≥ 0, for each of the octants (half of them where the weights are real)."""
    half = [(n + 1) // 2 for n in engine.shape]
    powers = _powers(engine, positions, max(half))
    waves = [jnp.concatenate([powers[:m, i].real, powers[:m, i].imag]) for i, m in enumerate(half)]

    def amplitudes(weight: Float[Array, " n"]) -> tuple[Array, Array]:
        shape = [size for m in half for size in (2, m)]
        products = _products(waves[0] * weight, waves[1], waves[2]).reshape(shape)
        parts = products.transpose(0, 2, 4, 1, 3, 5).reshape(8, -1)
        table = OCTANT_TABLE[:4] if engine.real else OCTANT_TABLE
        real, imaginary = jnp.asarray(table.real) @ parts, jnp.asarray(table.imag) @ parts
        return real.reshape(-1, *half), imaginary.reshape(-1, *half)

    if engine.real:
        real, imaginary = amplitudes(weights)
    else:
        (real, imaginary), (real_i, imaginary_i) = amplitudes(weights.real), amplitudes(weights.imag)
        real, imaginary = real - imaginary_i, imaginary + real_i
    return real**2 + imaginary**2


@jax.custom_vjp
def _products(
    h: Float[Array, "n_h n"],
    k: Float[Array, "n_k n"],
    l: Float[Array, "n_l n"],  # noqa: E741
) -> Float[Array, "n_h n_k n_l"]:
    """Σ_j h_j k_j l_j as one matrix product."""
    outer = (h[:, None] * k).reshape(-1, h.shape[1])
    return (outer @ l.T).reshape(len(h), len(k), len(l))


def _products_backward(waves: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, Array, Array]:
    """Row by row of h, so that what belongs to a row stays in the cache: twice as fast as all at once."""
    h, k, l = waves  # noqa: E741

    def row(sums: tuple[Array, Array], of_h: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (d_k, d_l), (h_row, d_row) = sums, of_h
        back = d_row @ l
        return (d_k + back * h_row, d_l + d_row.T @ (h_row * k)), jnp.sum(back * k, axis=0)

    (d_k, d_l), d_h = jax.lax.scan(row, (jnp.zeros_like(k), jnp.zeros_like(l)), (h, cotangent))
    return d_h, d_k, d_l


_products.defvjp(lambda *waves: (_products(*waves), waves), _products_backward)


def _powers(engine: SampledEngine, positions: Float[Array, "n 3"], n_d: int) -> Complex[Array, "n_d 3 n"]:
    """exp(i d·x) along each axis, d = 0, 1, 2, ... steps, or 1/2, 3/2, ... where their number is even."""
    angles = 2 * jnp.pi * engine.step[:, None] * positions.T
    first = jnp.exp(1j * _half_step(engine)[:, None] * angles)
    # As a recurrence, because XLA would compute a table of cosines anew for every product of two waves.
    factor = jnp.exp(1j * angles)
    return jax.lax.scan(lambda wave, _: (wave * factor, wave), first, length=n_d)[1]


def _half_step(engine: SampledEngine) -> Float[np.ndarray, "3"]:
    """Distance of the voxels beside the centre from it, in steps: 0 or 1/2."""
    return np.array([0.0 if n % 2 else 0.5 for n in engine.shape])


def unfolded(engine: SampledEngine, folded: Array) -> Float[Array, "n_h n_k n_l"]:
    """Sums of :func:`folded_intensity` on the voxels."""
    if engine.nufft:
        return folded
    # With real weights the intensity is the same at Q and -Q.
    octants = jnp.concatenate([folded, folded[::-1]]) if engine.real else folded
    octants = octants.reshape(2, 2, 2, *folded.shape[1:])
    for axis, n in enumerate(engine.shape):
        # The signs of this axis lead, and its voxels come before those of the axes that are done.
        plus, minus = octants[0], octants[1]
        place = 2 - axis
        # The voxel of d = 0 belongs to both signs.
        mirrored = jnp.flip(jax.lax.slice_in_dim(minus, n % 2, None, axis=place), place)
        octants = jnp.moveaxis(jnp.concatenate([mirrored, plus], axis=place), place, -1)
    return octants


def _by_nufft(
    engine: SampledEngine, positions: Float[Array, "n 3"], weights: Array
) -> Float[Array, "n_h n_k n_l"]:
    """|F|² from the type-1 nonuniform FFT; where a mode number is even, its modes lie half a step off."""
    angles = 2 * jnp.pi * positions * engine.step
    source = weights * jnp.exp(1j * (angles @ _half_step(engine)))
    # Angles may be anywhere; the transform wants them within a period.
    x, y, z = (jnp.mod(angles + jnp.pi, 2 * jnp.pi) - jnp.pi).T
    waves = _finufft().nufft1(engine.shape, source, x, y, z, eps=NUFFT_TOLERANCE, iflag=1)
    return waves.real**2 + waves.imag**2


def _finufft() -> ModuleType:
    try:
        import jax_finufft
    except ImportError as error:
        raise MissingPackageError(
            "The nonuniform FFT needs the package jax-finufft, which is not installed.",
            f"{error}.",
            "Install it with `pip install 'bayestds[nufft]'`, or go without the nonuniform FFT.",
        ) from error
    return jax_finufft
