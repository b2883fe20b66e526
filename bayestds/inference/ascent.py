"""Steps to a maximum of a posterior: SVI with AutoDelta and Adam in coordinates of the right unit.

Adam moves in coordinates whose unit is about the distance still to go: the posterior standard
deviations, stretched by the length of the Gauss-Newton step. After each round of steps the coordinates
are computed anew, so that the error falls by a constant factor a round.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoDelta
from numpyro.optim import optax_to_numpyro

from bayestds.inference.model import PARAMETERS, Observation, scattering
from bayestds.inference.priors import Prior

STEPS_PER_ROUND = 60
LEARNING_RATES = (0.1, 0.005)
"""First and last Adam rate of a round, in units of the whitened coordinates."""

UNSTABLE_RATES = (0.05, 0.05)
"""The same on the way out of the unstable region, in units of the prior."""

CONVERGED = 1e-3
"""A fit has converged when the next Gauss-Newton step is below this many standard errors."""

SMALLEST_STEP = 1e-9
"""... or below this, eV/Å²."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Newton:
    """Gauss-Newton picture of a posterior at one point.

    Attributes:
        precision: (n, n) Fisher information plus prior precision, Å⁴/eV².
        step: (n,) Gauss-Newton step to the maximum, eV/Å².
    """

    precision: Array
    step: Array

    @property
    def covariance(self) -> np.ndarray:
        """Posterior covariance (n, n) in the Gaussian approximation, eV²/Å⁴."""
        return np.asarray(jnp.linalg.inv(self.precision))

    @property
    def distance(self) -> float:
        """Length of the step in posterior standard deviations (the Newton decrement)."""
        return float(jnp.sqrt(self.step @ self.precision @ self.step))

    @property
    def converged(self) -> bool:
        """Whether the step is negligible beside the standard errors."""
        step, sd = np.abs(np.asarray(self.step)), np.sqrt(np.diag(self.covariance))
        return bool(((step < CONVERGED * sd) | (step < SMALLEST_STEP)).all())


def newton(
    information: Float[Array, "n n"],
    slope: Float[Array, " n"],
    location: Float[Array, " n"],
    prior_scales: Float[Array, " n"],
) -> Newton:
    """Step to the maximum under normal priors about 0.

    Args:
        information: Fisher information of the data, Å⁴/eV².
        slope: of the log-likelihood, Å²/eV.
        location: where both were taken, eV/Å².
        prior_scales: standard deviation of each prior, eV/Å².
    """
    precision = information + jnp.diag(prior_scales**-2.0)
    return Newton(precision, jnp.linalg.solve(precision, slope - location / prior_scales**2))


@partial(jax.jit, static_argnames="rates")
def descend(
    prior: Prior,
    volumes: tuple[Observation, ...],
    location: Float[Array, " n"],
    scale_tril: Float[Array, "n n"],
    rates: tuple[float, float] = LEARNING_RATES,
) -> Float[Array, " n"]:
    """One round of SVI (AutoDelta, Adam) from ``location``, in coordinates of unit ``scale_tril``.

    Args:
        prior: of the parameters.
        volumes: the data.
        location: (n,) where the round starts.
        scale_tril: (n, n) unit of the coordinates.
        rates: first and last Adam rate.
    """
    given = (prior, volumes, {PARAMETERS: (location, scale_tril)})
    site = f"{PARAMETERS}_whitened"
    schedule = optax.exponential_decay(rates[0], STEPS_PER_ROUND, rates[1] / rates[0])
    start = init_to_value(values={site: jnp.zeros_like(location)})
    svi = SVI(
        scattering,
        AutoDelta(scattering, init_loc_fn=start),
        optax_to_numpyro(optax.adam(schedule, b2=0.99)),
        Trace_ELBO(),
    )
    # AutoDelta draws nothing: the key only satisfies the interface.
    state = svi.init(jax.random.key(0), *given)
    state, _ = jax.lax.scan(lambda state, _: svi.update(state, *given), state, length=STEPS_PER_ROUND)
    return location + scale_tril @ svi.get_params(state)[f"{site}_auto_loc"]


def one_round(
    prior: Prior,
    volumes: tuple[Observation, ...],
    location: Float[Array, " n"],
    here: Newton | None,
    prior_scales: Float[Array, " n"],
) -> Float[Array, " n"]:
    """One round of SVI in the coordinates that suit the place; ``here`` is None where it is unstable."""
    if here is None:
        return descend(prior, volumes, location, jnp.diag(prior_scales), UNSTABLE_RATES)
    # Posterior, stretched to the length of the step, but within the prior.
    stretched = here.precision / max(here.distance, 1e-3) ** 2 + jnp.diag(prior_scales**-2.0)
    factor = jnp.linalg.cholesky(stretched)
    unit = jax.scipy.linalg.solve_triangular(factor.T, jnp.eye(len(factor)), lower=False)
    return descend(prior, volumes, location, unit)


def verdict(here: Newton, converged: bool, is_stable: bool, rounds: int) -> str:
    """How a fit that may have taken so many rounds ended, in words."""
    if converged:
        return f"Converged: the next step is below {CONVERGED:g} standard errors."
    if not is_stable:
        return "Not converged: the fit ended at force constants for which the crystal is unstable."
    return f"Not converged: {here.distance:.2g} standard errors were still to go after {rounds} rounds."
