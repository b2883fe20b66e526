"""A likelihood as a point fit sees it: at the best scale and noise, with a way back to stable crystals."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Bool, Complex, Float

from bayestds.inference.likelihoods.base import Likelihood, Unknowns
from bayestds.lattice_dynamics.covariance import instability

STABLE_MARGIN = 0.1
"""Eigenvalue of Φ(k), eV/Å², up to which the penalty of unstable force constants pushes."""

UNSTABLE_PENALTY = 20.0
"""Log-likelihood that unstable force constants lose at least, per point or unit of weight."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Profiled:
    """A likelihood in which all that is unknown beside the parameters is at its best; a pytree.

    Attributes:
        likelihood: of a volume.
    """

    likelihood: Likelihood

    def unknowns(self) -> dict[str, dist.Distribution]:
        """None: they are at their best."""
        return {}

    def log_density(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """Log-likelihood up to a constant."""
        return self.likelihood.log_likelihood(log_intensity)

    def log_scale(self, log_intensity: Float[Array, " n_q"], unknowns: Unknowns) -> Float[Array, ""]:
        """The best one."""
        return self.likelihood.best_log_scale(log_intensity)

    def outside(
        self, stable: Bool[Array, ""], phi_blocks: Complex[Array, "n_stars three_n three_n"]
    ) -> Float[Array, ""]:
        """A steep convex penalty in place of the log-likelihood where the crystal is unstable."""
        penalty = jax.lax.cond(
            stable,
            lambda x: jnp.zeros(()),
            lambda x: instability(x, jnp.asarray(STABLE_MARGIN)),
            phi_blocks,
        )
        return -self.likelihood.total_weight * (UNSTABLE_PENALTY + penalty)
