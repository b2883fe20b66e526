"""The training of arXiv:2603.28683: Adam on the loss of a few random configurations an epoch.

    L = Var_Q[log I_observed - log I_sampled]   where the crystal is stable,
    L = α Σ max(0, -λ)                          elsewhere, λ the eigenvalues of the blocks Φ(k).

Kept to reproduce the publication and to compare with: ``point_fit`` finds the same answer with the exact
intensity, without the noise of sampling.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import Array
from jaxtyping import Bool, Float, Int
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoDelta
from numpyro.optim import optax_to_numpyro

from bayestds.lattice_dynamics.covariance import instability, is_stable
from bayestds.lattice_dynamics.displacements import displacements, white_noise
from bayestds.lattice_dynamics.harmonic import HarmonicCrystal, blocks
from bayestds.scattering.sampled import SampledEngine, mean_intensity
from bayestds.scattering.simulation import displacement_root

PENALTY = 1.0
"""α of the loss, Å²/eV; the paper does not state it."""


@dataclass(frozen=True)
class Training:
    """How the training runs. The rates and the configurations are those of the paper.

    Attributes:
        unit: of the parameters that Adam moves, eV/Å²; the paper does not state its own.
        learning_rate: of Adam at first, in units.
        halve_every: epochs after which the rate is halved.
        lowest_rate: at which halving stops.
        configurations: random configurations of an epoch.
        redraw: draw new ones every epoch; else all epochs have the same (common random numbers).
    """

    unit: float = 0.01
    learning_rate: float = 0.4
    halve_every: int = 2000
    lowest_rate: float = 0.1
    configurations: int = 15
    redraw: bool = True


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Target:
    """What is trained on; a pytree.

    Attributes:
        crystal: in its supercell, at its temperature.
        engine: atoms and voxels.
        log_intensity: (n_h, n_k, n_l) observed; finite also where not used.
        used: (n_h, n_k, n_l) voxels that take part.
        differences: from ``cell_differences`` for dense Cholesky as in the paper, None for that by blocks.
    """

    crystal: HarmonicCrystal
    engine: SampledEngine
    log_intensity: Float[Array, "n_h n_k n_l"]
    used: Bool[Array, "n_h n_k n_l"]
    differences: Int[Array, "n_cells n_cells"] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Epochs:
    """Where the training is, and how it got there; a pytree.

    Attributes:
        state: of NumPyro's SVI.
        loss: (n_epochs,) before the step of each epoch.
        irreducible: (n_epochs, n_irreducible) after it, eV/Å².
    """

    state: object
    loss: Array
    irreducible: Array


def sampled_loss(
    target: Target, irreducible: Float[Array, " n_irreducible"], key: Array, configurations: int
) -> Float[Array, ""]:
    """Loss of the paper for one draw of configurations; finite, with finite gradients, everywhere."""
    crystal = target.crystal
    phi_blocks = blocks(crystal, irreducible)
    white = white_noise(key, configurations, len(phi_blocks), crystal.n_atoms)
    root = displacement_root(crystal, irreducible, target.differences)
    intensity = mean_intensity(target.engine, displacements(root, white, crystal.grid_shape))
    weight = target.used / target.used.sum()
    difference = target.log_intensity - jnp.log(jnp.where(target.used, intensity, 1.0))
    variance = (weight * (difference - (weight * difference).sum()) ** 2).sum()
    penalty = PENALTY * instability(phi_blocks, jnp.zeros(()))
    return jnp.where(is_stable(phi_blocks), variance, penalty)


def start_training(training: Training, target: Target, start: np.ndarray, seed: int) -> Epochs:
    """The training before its first epoch.

    Args:
        training: how it runs.
        target: what it is trained on.
        start: (n_irreducible,) eV/Å².
        seed: of the random numbers.
    """
    origin = jnp.asarray(start, dtype=float)
    state = _svi(training, len(origin)).init(jax.random.PRNGKey(seed), training, target, origin)
    return Epochs(state, jnp.zeros(0), jnp.zeros((0, len(origin))))


def train(
    training: Training, target: Target, start: np.ndarray, epochs: Epochs, n_epochs: int, chunk: int = 50
) -> Iterator[Epochs]:
    """Run ever more epochs, up to ``n_epochs`` in all; yields after every chunk.

    Every epoch depends on the state before it alone: a training that goes on from any yielded state is the
    same to the last bit.
    """
    origin = jnp.asarray(start, dtype=float)
    while len(epochs.loss) < n_epochs:
        length = min(chunk, n_epochs - len(epochs.loss))
        state, loss, parameters = _run(training, target, origin, epochs.state, length)
        epochs = Epochs(
            jax.block_until_ready(state),
            jnp.concatenate([epochs.loss, loss]),
            jnp.concatenate([epochs.irreducible, origin + training.unit * parameters]),
        )
        yield epochs


def moving_average(irreducible: Float[Array, "n_epochs n"], window: int) -> Float[Array, "n_epochs n"]:
    """Mean over the last ``window`` epochs at each epoch, over fewer at the beginning."""
    sums = jnp.cumsum(jnp.asarray(irreducible), axis=0)
    earlier = jnp.pad(sums, ((window, 0), (0, 0)))[: len(sums)]
    counts = jnp.minimum(jnp.arange(1, len(sums) + 1), window)
    return (sums - earlier) / counts[:, None]


def _stochastic_model(training: Training, target: Target, origin: Array) -> None:
    """NumPyro model whose potential energy is the loss, in units of the training around the start."""
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), origin.shape)
    parameters = numpyro.sample("parameters", flat)
    key = numpyro.prng_key() if training.redraw else jax.random.key(0)
    irreducible = origin + training.unit * parameters
    loss = sampled_loss(target, irreducible, key, training.configurations)
    numpyro.factor("loss", -loss)


def _svi(training: Training, n_parameters: int) -> SVI:
    def rate(step: Array) -> Array:
        halved = training.learning_rate * 0.5 ** (step // training.halve_every)
        return jnp.maximum(halved, training.lowest_rate)

    zero = init_to_value(values={"parameters": jnp.zeros(n_parameters)})
    guide = AutoDelta(_stochastic_model, init_loc_fn=zero)
    return SVI(_stochastic_model, guide, optax_to_numpyro(optax.adam(rate)), Trace_ELBO())


@partial(jax.jit, static_argnames=("training", "length"))
def _run(
    training: Training, target: Target, origin: Array, state: object, length: int
) -> tuple[object, Array, Array]:
    """Some epochs in one compiled loop."""
    svi = _svi(training, len(origin))
    # Only so that SVI knows its sites: the state is not used.
    svi.init(jax.random.PRNGKey(0), training, target, origin)

    def epoch(state: object, _: None) -> tuple[object, tuple[Array, Array]]:
        state, loss = svi.update(state, training, target, origin)
        return state, (loss, svi.get_params(state)["parameters_auto_loc"])

    state, (loss, parameters) = jax.lax.scan(epoch, state, length=length)
    return state, loss, parameters
