"""The overall scale where it can be neither maximised over nor integrated out in closed form."""

from collections.abc import Callable

import jax
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

SCALE = "scale_offset"
"""NumPyro site of the log scale less the best one, which hardly depends on the force constants: chains
mix."""

NEWTON_STEPS = 20
"""Steps to the best log scale; each divides the distance by more than two."""


def flat_scale() -> dist.Distribution:
    """Flat prior on the log scale."""
    return dist.ImproperUniform(dist.constraints.real, (), ())


def best_scale(
    slope_and_curvature: Callable[[Array], tuple[Array, Array]], start: Float[Array, ""]
) -> Float[Array, ""]:
    """The log scale where a log-likelihood has no slope.

    It is not to be differentiated: at a maximum over the scale, gradients by other parameters need not see
        it.

    Args:
        slope_and_curvature: of the log-likelihood at a log scale; the curvature positive.
        start: a log scale near the maximum.
    """

    def step(_: Array, log_scale: Array) -> Array:
        slope, curvature = slope_and_curvature(log_scale)
        return log_scale + slope / curvature

    return jax.lax.fori_loop(0, NEWTON_STEPS, step, start)
