"""What draws of a posterior say of the data: replicated observations, densities of the real ones."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.inference.likelihoods.base import LOG_NOISE, Likelihood, Unknowns
from bayestds.inference.likelihoods.log_normal import LEVEL
from bayestds.inference.likelihoods.scale import SCALE
from bayestds.inference.model import Observation
from bayestds.inference.nuts import Draws
from bayestds.inference.posterior import Target
from bayestds.inference.priors import prior_draws
from bayestds.scattering.forward import ForwardModel, log_intensity

Sites = dict[str, np.ndarray]
"""Values of the sites of a posterior, (n_draws, ...) each."""


WAVE_BINS = 9973
"""Of each coordinate of k, to tell wave vectors between those of the supercell apart; a prime, so that no
fraction that an axis is likely to have lies between two."""

REPLICATED_DRAWS, LIKELIHOOD_DRAWS, PRIOR_DRAWS, PRIOR_REPLICATED = 25, 250, 1000, 20
"""Draws per chain that are replicated and whose likelihood is kept; draws of the prior, and replicated ones.
A file keeps few predictions: they are as large as the data each."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of the draws of a posterior and of its prior for one volume.

    Attributes:
        stars: (n_q,) star of k of each point.
        variable: what was observed: log_intensity, intensity or counts.
        replicated: (chains, n, n_q) observations.
        replicated_draws: (n,) the draws that these belong to.
        log_likelihood: (chains, m, n_stars) log densities of the observations of each star.
        likelihood_draws: (m,) the draws that these belong to.
        prior_replicated: (n, n_q) observations of some draws of the prior.
    """

    stars: np.ndarray
    variable: str
    replicated: np.ndarray
    replicated_draws: np.ndarray
    log_likelihood: np.ndarray
    likelihood_draws: np.ndarray
    prior_replicated: np.ndarray


def make_predictions(
    target: Target, one: Observation, draws: Draws, prior: Sites, stars: np.ndarray, seed: int
) -> Predictions:
    """Predictions of a selection of draws, equally spaced along each chain.

    Args:
        target: the posterior.
        one: a volume of it.
        draws: of the posterior.
        prior: draws from :func:`prior_sites`.
        stars: (n_q,) of the points of the volume, from :func:`star_labels`.
        seed: of the replicated observations.
    """
    chains, n_draws = draws.sites["irreducible"].shape[:2]

    def selection(n: int) -> tuple[np.ndarray, Sites]:
        kept = np.unique(np.linspace(0, n_draws - 1, min(n, n_draws)).round().astype(int))
        values = {name: sites[:, kept] for name, sites in draws.sites.items()}
        return kept, {name: sites.reshape(-1, *sites.shape[2:]) for name, sites in values.items()}

    assert isinstance(one.likelihood, Likelihood)
    few, few_sites = selection(REPLICATED_DRAWS)
    many, many_sites = selection(LIKELIHOOD_DRAWS)
    some = {name: values[:PRIOR_REPLICATED] for name, values in prior.items()}
    return Predictions(
        stars,
        one.likelihood.variable,
        replicated_data(target, one, few_sites, seed).astype(np.float32).reshape(chains, len(few), -1),
        few,
        star_log_likelihood(target, one, many_sites, stars, seed).reshape(chains, len(many), -1),
        many,
        replicated_data(target, one, some, seed + 1).astype(np.float32),
    )


def star_labels(supercell: Supercell, q_points: np.ndarray) -> Int[np.ndarray, " n_q"]:
    """Label (n_q,) of the star of wave vectors k, under the Laue group, that each Q point belongs to."""
    images = np.einsum("qi,oij->oqj", q_points, supercell.crystal.laue_group)
    k_index = np.array([supercell.k_index(points) for points in images])
    # Images that do not fit the supercell have no index; points without any that does come last.
    smallest = np.where(k_index < 0, supercell.n_cells, k_index).min(axis=0)
    between = smallest == supercell.n_cells
    smallest[between] += _stars_between(supercell, images[:, between])
    return np.unique(smallest, return_inverse=True)[1].reshape(-1)


def _stars_between(
    supercell: Supercell, images: Float[np.ndarray, "n_rotations n_q 3"]
) -> Int[np.ndarray, " n_q"]:
    """Number (n_q,) of the star that all images of each point have in common, wherever they lie."""
    fractions = images @ np.linalg.inv(supercell.crystal.conventional_matrix).T
    bins = np.rint(fractions * WAVE_BINS).astype(np.int64) % WAVE_BINS
    return (bins @ np.array([WAVE_BINS**2, WAVE_BINS, 1])).min(axis=0)


def prior_sites(target: Target, n_draws: int, seed: int) -> Sites:
    """Up to ``n_draws`` draws from the prior within the stable region; the scale is the best for each."""
    crystals = [(one.forward.crystal, np.asarray(one.design)) for one in target.volumes]
    sites = prior_draws(target.prior, crystals, n_draws, seed)
    rng, n_found = np.random.default_rng(seed), len(sites["irreducible"])
    for one in target.volumes:
        if one.prefix + LEVEL in target.coordinates:
            sites[one.prefix + LEVEL] = rng.normal(*LOG_NOISE, n_found)
        if one.prefix + SCALE in target.coordinates:
            sites[one.prefix + SCALE] = np.zeros(n_found)
    return sites


def replicated_data(
    target: Target, one: Observation, sites: Sites, seed: int
) -> Float[np.ndarray, "n_draws n_q"]:
    """One replicate of the observations of a volume for each draw."""
    keys, likelihood = _keys(sites, seed), one.likelihood
    assert isinstance(likelihood, Likelihood)
    expected, unknowns = _expected(target, one, likelihood, sites, keys)
    return likelihood.replicate(expected, unknowns, jax.vmap(partial(jax.random.fold_in, data=1))(keys))


def star_log_likelihood(
    target: Target, one: Observation, sites: Sites, stars: np.ndarray, seed: int
) -> Float[np.ndarray, "n_draws n_stars"]:
    """Log density of the observations of each star of k of a volume, for each draw.

    Where the noise is correlated, it is the density given all other stars.

    Args:
        target: the posterior.
        one: the volume.
        sites: the draws.
        stars: (n_q,) from :func:`star_labels`.
        seed: of the draws of the scale.
    """
    likelihood = one.likelihood
    assert isinstance(likelihood, Likelihood)
    expected, unknowns = _expected(target, one, likelihood, sites, _keys(sites, seed))
    return likelihood.log_density_by_group(expected, unknowns, stars)


def _keys(sites: Sites, seed: int) -> Array:
    return jax.random.split(jax.random.key(seed), len(sites["irreducible"]))


def _expected(
    target: Target, one: Observation, likelihood: Likelihood, sites: Sites, keys: Array
) -> tuple[Float[Array, "n_draws n_q"], Unknowns]:
    """Expected log intensities of each draw, with its scale, and what the likelihood does not know.

    Where the scale is integrated out, a draw of the force constants gets one of the scale from its
    conditional distribution.
    """
    unknowns = {name: jnp.asarray(sites[one.prefix + name]) for name in likelihood.unknowns()}
    parameters = jnp.asarray(target.parameters(sites) @ np.asarray(one.design).T)
    return _scaled(one.forward, likelihood, parameters, unknowns, keys), unknowns


@jax.jit
def _scaled(
    forward: ForwardModel,
    likelihood: Likelihood,
    parameters: Float[Array, "n_draws n_parameters"],
    unknowns: Unknowns,
    keys: Array,
) -> Float[Array, "n_draws n_q"]:
    def one(draw: tuple[Array, Unknowns, Array]) -> Array:
        values, unknown, key = draw
        expected = log_intensity(forward, values)
        return expected + likelihood.log_scale(expected, unknown, key)

    return jax.lax.map(one, (parameters, unknowns, keys))
