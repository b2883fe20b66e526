"""What draws of a posterior say of the data: replicated log intensities, densities of the observed ones."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float, Int

from bayestds.crystal.supercell import Supercell
from bayestds.inference.conditional import conditional_log_density, draw_noise
from bayestds.inference.model import (
    LOG_NOISE,
    has_background,
    learns_level,
    observed,
    point_density,
    samples_scale,
    with_noise_level,
)
from bayestds.inference.noise import FitData, best_log_scale, positive
from bayestds.inference.nuts import Draws
from bayestds.inference.posterior import Target
from bayestds.inference.priors import prior_draws
from bayestds.scattering.forward import log_intensity

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
    """Predictions of the draws of a posterior, and of its prior.

    Attributes:
        stars: (n_q,) star of k of each point.
        replicated: (chains, n, n_q) log intensities.
        replicated_draws: (n,) the draws that these belong to.
        log_likelihood: (chains, m, n_stars) log densities of the observed log intensities of each star.
        likelihood_draws: (m,) the draws that these belong to.
        prior: (n_prior, n_irreducible) draws from the prior within the stable region, eV/Å².
        prior_replicated: (n, n_q) log intensities of some of them.
        prior_cubic: (n_prior, n_cubic) third-order constants of the same draws, eV/Å³; None without any.
    """

    stars: np.ndarray
    replicated: np.ndarray
    replicated_draws: np.ndarray
    log_likelihood: np.ndarray
    likelihood_draws: np.ndarray
    prior: np.ndarray
    prior_replicated: np.ndarray
    prior_cubic: np.ndarray | None = None


def make_predictions(target: Target, draws: Draws, stars: np.ndarray, seed: int) -> Predictions:
    """Predictions of a selection of draws, equally spaced along each chain."""
    chains, n_draws = draws.sites["irreducible"].shape[:2]

    def selection(n: int) -> tuple[np.ndarray, Sites]:
        kept = np.unique(np.linspace(0, n_draws - 1, min(n, n_draws)).round().astype(int))
        values = {name: sites[:, kept] for name, sites in draws.sites.items()}
        return kept, {name: sites.reshape(-1, *sites.shape[2:]) for name, sites in values.items()}

    few, few_sites = selection(REPLICATED_DRAWS)
    many, many_sites = selection(LIKELIHOOD_DRAWS)
    prior = prior_sites(target, PRIOR_DRAWS, seed)
    some = {name: values[:PRIOR_REPLICATED] for name, values in prior.items()}
    return Predictions(
        stars,
        replicated_data(target, few_sites, seed).astype(np.float32).reshape(chains, len(few), -1),
        few,
        star_log_likelihood(target, many_sites, stars, seed).reshape(chains, len(many), -1),
        many,
        prior["irreducible"],
        replicated_data(target, some, seed + 1).astype(np.float32),
        prior.get("cubic"),
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
    rng = np.random.default_rng(seed)
    sites = {"irreducible": prior_draws(target.prior, target.forward, n_draws, seed)}
    n_found = len(sites["irreducible"])
    if target.prior.cubic_scales is not None:
        scales = np.asarray(target.prior.cubic_scales)
        sites["cubic"] = rng.normal(0.0, scales, (n_found, len(scales)))
    if "log_relative_noise" in target.coordinates:
        sites["log_relative_noise"] = rng.normal(*LOG_NOISE, n_found)
    if "scale_offset" in target.coordinates:
        sites["scale_offset"] = np.zeros(n_found)
    if has_background(target.forward):
        assert target.forward.instrument is not None
        scales = np.asarray(target.forward.instrument.scales)
        sites["background"] = rng.normal(0.0, scales, (n_found, len(scales)))
    return sites


def replicated_data(target: Target, sites: Sites, seed: int) -> Float[np.ndarray, "n_draws n_q"]:
    """One replicate of the log intensities for each draw."""
    keys = _keys(sites, seed)
    if target.data.correlation is not None:
        expected = np.asarray(_expected(target.arguments, sites, keys))
        return expected + draw_noise(target.data.correlation, len(expected), seed)
    return np.asarray(_replicated(target.arguments, sites, keys))


def star_log_likelihood(
    target: Target, sites: Sites, stars: np.ndarray, seed: int
) -> Float[np.ndarray, "n_draws n_stars"]:
    """Log density of the observed log intensities of each star of k, for each draw.

    Where the noise is correlated, it is the density given all other stars.

    Args:
        target: the posterior.
        sites: the draws.
        stars: (n_q,) from :func:`star_labels`.
        seed: of the draws of the scale.
    """
    keys, correlation = _keys(sites, seed), target.data.correlation
    if correlation is not None:
        misfit = np.asarray(target.data.log_intensity - _expected(target.arguments, sites, keys))
        return conditional_log_density(correlation, misfit, stars)
    n_stars = int(np.max(stars)) + 1
    return np.asarray(_by_star(target.arguments, sites, keys, jnp.asarray(stars), n_stars))


def _keys(sites: Sites, seed: int) -> Array:
    return jax.random.split(jax.random.key(seed), len(sites["irreducible"]))


@jax.jit
def _replicated(arguments: tuple, sites: dict[str, Array], keys: Array) -> Float[Array, "n_draws n_q"]:
    data = arguments[2]

    def one(draw: tuple[dict[str, Array], Array]) -> Array:
        drawn = _density(arguments, *draw).sample(jax.random.fold_in(draw[1], 1))
        return drawn if data.counts is None else jnp.log(positive(drawn.astype(float)) / data.counts.exposure)

    return jax.lax.map(one, (sites, keys))


@partial(jax.jit, static_argnames="n_stars")
def _by_star(
    arguments: tuple, sites: dict[str, Array], keys: Array, stars: Int[Array, " n_q"], n_stars: int
) -> Float[Array, "n_draws n_stars"]:
    values = observed(arguments[2])

    def one(draw: tuple[dict[str, Array], Array]) -> Array:
        by_point = _density(arguments, *draw).log_prob(values)
        return jax.ops.segment_sum(by_point, stars, num_segments=n_stars)

    return jax.lax.map(one, (sites, keys))


@jax.jit
def _expected(arguments: tuple, sites: dict[str, Array], keys: Array) -> Float[Array, "n_draws n_q"]:
    """Expected log intensities of data with correlated noise, of each draw."""
    _, forward, data, _, _ = arguments

    def one(draw: tuple[dict[str, Array], Array]) -> Array:
        expected = log_intensity(forward, _parameters(draw[0]))
        mean = best_log_scale(data, expected)
        return expected + mean + jax.random.normal(draw[1]) / jnp.sqrt(data.correlation.row_sums.sum())

    return jax.lax.map(one, (sites, keys))


def _parameters(values: dict[str, Array]) -> Float[Array, " n_parameters"]:
    """Force constants of both orders, followed by the strengths of a background, as far as there are any."""
    found = [values[name] for name in ("irreducible", "cubic", "background") if name in values]
    return jnp.concatenate(found)


def _density(arguments: tuple, values: dict[str, Array], key: Array) -> dist.Distribution:
    """Density of what is observed at each point given all unknowns of one draw.

    Where the scale is marginalised, a draw of the force constants gets one of the scale from its
    conditional distribution.
    """
    _, forward, data, _, noise = arguments
    expected = log_intensity(forward, _parameters(values))
    level = jnp.exp(values["log_relative_noise"]) if learns_level(data, noise) else None
    known = data if level is None or data.counts is not None else with_noise_level(data, level)
    scale = best_log_scale(known, expected)
    scale += values["scale_offset"] if samples_scale(data, noise) else _scale_draw(known, key)
    return point_density(data, expected + scale, level, noise)


def _scale_draw(data: FitData, key: Array) -> Float[Array, ""]:
    """A draw of the log scale less the best one, from its conditional distribution.

    It is normal for log intensities. The scale of Poisson counts is a gamma variable.
    """
    if data.counts is None:
        return jax.random.normal(key) / jnp.sqrt(data.weight.sum())
    total = data.counts.number.sum()
    return jax.random.loggamma(key, total) - jnp.log(total)
