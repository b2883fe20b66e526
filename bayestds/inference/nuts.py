"""No-U-turn sampling of a NumPyro model, all chains in one compiled loop, with exact checkpoints.

The model is to be given in coordinates in which the posterior is about as wide as 1 in every direction
(see :mod:`bayestds.inference.model`): then no mass matrix is needed, and the only thing to adapt is the
step, which the chains share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from numpyro.infer.hmc import HMCState, hmc
from numpyro.infer.hmc_util import dual_averaging
from numpyro.infer.util import constrain_fn, potential_energy

from bayestds.io.checkpoint import fingerprint, load_checkpoint, save_checkpoint

CHUNK = 50
"""Draws of each chain between two checkpoints."""

TARGET_ACCEPTANCE = 0.55
"""Harmonic mean of the chains' acceptances that the step is adapted to.

Where all chains move alike it goes with an arithmetic mean of about 0.7, a little above the optimum for a
fixed length (0.65). A chain that never moves would leave that at (3 x 0.93 + 0) / 4 = 0.7, and itself stuck.
"""

SMALLEST_ACCEPTANCE = 1e-3
"""Acceptance of a chain that stands still, in that mean."""

FULL_TURN = (0.85, 1.05)
"""Steps between these are avoided. In whitened coordinates the period is 2π: at a step of 2π/7 eight points
come back to the start, the U-turn goes unnoticed and trajectories are doubled in vain. With the upper
bound four points (3 steps) make the half turn at which they end."""

MAX_TREE_DEPTH = 10

STATISTICS = ("energy", "n_steps", "acceptance_rate", "diverging", "step_size", "lp")


@dataclass(frozen=True)
class Sampling:
    """How much is sampled.

    Attributes:
        chains: number of chains.
        draws: of each chain.
        warmup: steps before them, in which the step size is adapted.
        seed: random seed.
        target_accept: acceptance that the step size is adapted to; see :data:`TARGET_ACCEPTANCE`.
    """

    chains: int = 4
    draws: int = 1000
    warmup: int = 200
    seed: int = 0
    target_accept: float = TARGET_ACCEPTANCE


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws from a posterior.

    Attributes:
        sites: by name, (chains, draws, ...).
        statistics: by name, (chains, draws); see :data:`STATISTICS`. Empty for independent draws.
    """

    sites: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]


class _State(NamedTuple):
    """All that a run needs to go on."""

    chains: HMCState
    averaging: tuple


@cache
def _compiled(model: Callable) -> tuple[Callable, Callable]:
    """The functions that start and advance chains of a model, compiled once for each shape of arguments."""
    init_kernel, sample_kernel = hmc(
        potential_fn_gen=lambda *arguments: partial(potential_energy, model, arguments, {}), algo="NUTS"
    )
    init_average, update_average = dual_averaging()

    @jax.jit
    def start(keys: Array, positions: dict[str, Array], arguments: tuple) -> _State:
        def one_chain(key: Array, position: dict[str, Array]) -> HMCState:
            return init_kernel(
                position,
                num_warmup=0,
                adapt_step_size=False,
                adapt_mass_matrix=False,
                max_tree_depth=MAX_TREE_DEPTH,
                model_args=arguments,
                rng_key=key,
            )

        # The average is drawn towards a step of 1, which is about right in whitened coordinates.
        return _State(jax.vmap(one_chain)(keys, positions), init_average(jnp.zeros(())))

    @partial(jax.jit, static_argnames="length")
    def advance(
        state: _State, arguments: tuple, warmup: Array, target_accept: Array, length: int
    ) -> tuple[_State, dict]:
        def one(state: _State, _: None) -> tuple[_State, dict]:
            chains = jax.vmap(lambda chain: sample_kernel(chain, arguments, {}))(state.chains)
            number = chains.i[0]
            acceptance = 1 / (1 / jnp.maximum(chains.accept_prob, SMALLEST_ACCEPTANCE)).mean()
            moved = update_average(target_accept - acceptance, state.averaging)
            averaging = jax.tree.map(partial(jnp.where, number <= warmup), moved, state.averaging)
            step = _off_resonance(jnp.exp(jnp.where(number < warmup, averaging[0], averaging[1])))
            used = chains.adapt_state.step_size
            adapted = chains.adapt_state._replace(step_size=jnp.full_like(used, step))
            return _State(chains._replace(adapt_state=adapted), averaging), _record(chains, used)

        return jax.lax.scan(one, state, length=length)

    return start, advance


def _off_resonance(step: Float[Array, ""]) -> Float[Array, ""]:
    low, high = FULL_TURN
    return jnp.where((step > low) & (step < high), high, step)


def _record(chains: HMCState, step_size: Array) -> dict[str, Array]:
    """What is kept of one draw of all chains."""
    statistics = (
        chains.energy,
        chains.num_steps,
        chains.accept_prob,
        chains.diverging,
        step_size,
        -chains.potential_energy,
    )
    return {**chains.z, **dict(zip(STATISTICS, statistics, strict=True))}


def run_nuts(
    model: Callable,
    arguments: tuple,
    positions: Mapping[str, np.ndarray],
    sampling: Sampling,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[str, float], None] = lambda message, share: None,
) -> Draws:
    """Draws from the posterior of a NumPyro model.

    A run that was interrupted and resumed gives the draws of an uninterrupted one, bit for bit, on the
    same machine.

    Args:
        model: the model, whose arguments are pytrees of arrays.
        arguments: of the model.
        positions: where each chain starts, unconstrained, (chains, ...) by site.
        sampling: how much.
        checkpoint: file that keeps the state after every :data:`CHUNK` draws; None for none.
        resume: whether to go on from the checkpoint, if there is one.
        progress: called with a line of text and the share of the work done after every :data:`CHUNK` draws.

    Raises:
        ResultError: the checkpoint is damaged or belongs to another run.
    """
    start, advance = _compiled(model)
    keys = jax.random.split(jax.random.key(sampling.seed), sampling.chains)
    given = (keys, {name: jnp.asarray(values) for name, values in positions.items()}, arguments)
    adaptation = jnp.asarray(sampling.warmup), jnp.asarray(sampling.target_accept)
    mark = fingerprint(jax.random.key_data(keys), *given[1:], adaptation, CHUNK, _versions())
    if resume and checkpoint is not None and checkpoint.is_file():
        state, record = load_checkpoint(checkpoint, mark, jax.eval_shape(start, *given))
    else:
        state, record = start(*given), {}
    total = sampling.warmup + sampling.draws
    while (done := len(record["energy"]) if record else 0) < total:
        state, new = advance(state, arguments, *adaptation, CHUNK)
        record = {
            name: np.concatenate([record[name], new[name]]) if record else np.asarray(new[name])
            for name in new
        }
        if checkpoint is not None:
            save_checkpoint(checkpoint, mark, state, record)
        done = min(done + CHUNK, total)
        progress(_describe(record, done, sampling), done / total)
    kept = {name: values[sampling.warmup : total].swapaxes(0, 1) for name, values in record.items()}
    statistics = {name: kept.pop(name) for name in STATISTICS}
    return Draws(site_values(model, arguments, kept), statistics)


def _versions() -> list[int]:
    """Releases on which the bits of a draw depend, as numbers that can be part of a fingerprint."""
    return [*map(ord, " ".join(version(name) for name in ("jax", "jaxlib", "numpyro", "bayestds")))]


def _describe(record: dict[str, np.ndarray], done: int, sampling: Sampling) -> str:
    if done <= sampling.warmup:
        return f"warm-up {done} of {sampling.warmup}"
    divergences = int(record["diverging"][sampling.warmup : done].sum())
    return (
        f"draw {done - sampling.warmup} of {sampling.draws} in {sampling.chains} chains, "
        f"{record['n_steps'][-CHUNK:].mean():.1f} steps a draw, {divergences} divergences"
    )


def site_values(model: Callable, arguments: tuple, positions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of a model's sites at unconstrained positions, without those that only serve as coordinates.

    Args:
        model: the NumPyro model.
        arguments: of the model.
        positions: (chains, draws, ...) by site.
    """
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in positions.items()}
    found = _sites(model, arguments, flat)
    shape = next(iter(positions.values())).shape[:2]
    return {
        name: np.asarray(values).reshape(*shape, *values.shape[1:])
        for name, values in found.items()
        if not name.endswith("_whitened")
    }


@partial(jax.jit, static_argnames="model")
def _sites(model: Callable, arguments: tuple, positions: dict[str, Array]) -> dict[str, Array]:
    # The likelihood is not among the outputs, so the compiler leaves it out.
    one = partial(constrain_fn, model, arguments, {}, return_deterministic=True)
    return jax.lax.map(one, positions)
