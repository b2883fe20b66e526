"""Force constants of a result, as values of the irreducible ones and draws of their posterior."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.crystal.structure import Crystal, restore_crystal
from bayestds.crystal.supercell import Supercell, make_supercell
from bayestds.diagnostics.dataset import CUBIC, IFCS, POINT_FIT, POSTERIOR, shells_of
from bayestds.errors import ResultError
from bayestds.force_constants.invariance import constrained
from bayestds.force_constants.irreducible import IrreducibleForceConstants, irreducible_force_constants
from bayestds.force_constants.linear_map import force_constant_blocks, force_constants, grid_positions
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.lattice_dynamics.covariance import is_stable

ROUNDS = 20
"""Attempts to find enough normal draws within the stable region."""


@dataclass(frozen=True, eq=False)
class ForceConstantDraws:
    """What a result says of the force constants.

    Attributes:
        irreducible: what the values mean.
        mean: (n_irreducible,) eV/Å², of the posterior; of a point fit its value.
        covariance: (n_irreducible, n_irreducible) eV²/Å⁴.
        draws: (n_draws, n_irreducible) eV/Å², of the posterior; of a point fit, of its normal
            approximation within the region of stable crystals.
        supercell: of the fit.
        temperature: K.
        third_order: what third-order values mean, None without any.
        cubic_mean: (n_cubic,) eV/Å³, likewise.
        cubic_draws: (n_draws, n_cubic) eV/Å³, of the same draws.
    """

    irreducible: IrreducibleForceConstants
    mean: np.ndarray
    covariance: np.ndarray
    draws: np.ndarray
    supercell: Supercell
    temperature: float
    third_order: ThirdOrderForceConstants | None = None
    cubic_mean: np.ndarray | None = None
    cubic_draws: np.ndarray | None = None


def force_constant_draws(tree: xr.DataTree, n_draws: int = 200, seed: int = 0) -> ForceConstantDraws:
    """Draws of the force constants of a result.

    Args:
        tree: a result.
        n_draws: how many; of a posterior they are spread evenly over its draws, and are at most all of them.
        seed: of the draws of a point fit.

    Raises:
        ResultError: the result lacks its crystal, or has no covariance.
    """
    fixed, irreducible = tree["constant_data"].dataset, _irreducible(tree)
    matrix = fixed["supercell_matrix"].values @ np.linalg.inv(irreducible.crystal.conventional_matrix)
    supercell = make_supercell(irreducible.crystal, np.rint(matrix).astype(int))
    third, n = _third_order(tree, irreducible), irreducible.n_irreducible
    mean, covariance = _both_orders(tree)
    if tree.attrs["kind"] == POSTERIOR:
        every = _draws_of_both(tree)
        draws = every[np.unique(np.linspace(0, len(every) - 1, n_draws).astype(int))]
    else:
        draws = _stable_draws(irreducible, supercell, mean, covariance, n_draws, seed)
    found = ForceConstantDraws(
        irreducible, mean[:n], covariance[:n, :n], draws[:, :n], supercell, float(fixed["temperature"])
    )
    if third is None:
        return found
    return replace(found, third_order=third, cubic_mean=mean[n:], cubic_draws=draws[:, n:])


def posterior_draws(tree: xr.DataTree, variable: str = IFCS) -> np.ndarray:
    """All draws of a posterior, of one chain after the other, (n_draws, n_irreducible), eV/Å²."""
    draws = tree[POSTERIOR].dataset[variable].values
    return draws.reshape(-1, draws.shape[-1])


def _draws_of_both(tree: xr.DataTree) -> np.ndarray:
    """Draws of a posterior (n_draws, n_constants), third-order constants after the irreducible ones."""
    orders = [IFCS, CUBIC] if CUBIC in tree.children else [IFCS]
    return np.concatenate([posterior_draws(tree, order) for order in orders], axis=1)


def _both_orders(tree: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n_constants,) and covariance of the constants of both orders together."""
    mean, covariance = mean_and_covariance(tree)
    if CUBIC not in tree.children:
        return mean, covariance
    if tree.attrs["kind"] == POSTERIOR:
        draws = _draws_of_both(tree)
        return draws.mean(axis=0), np.cov(draws.T)
    third = tree[CUBIC].dataset
    cross = third["cross_covariance"].values
    together = np.block([[covariance, cross], [cross.T, third["covariance"].values]])
    return np.append(mean, third["value"].values), together


def mean_and_covariance(tree: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Of the force constants, (n_irreducible,) eV/Å² and (n_irreducible, n_irreducible) eV²/Å⁴.

    Those of the draws of a posterior; of a point fit its value, and the covariance of its errors.
    """
    if tree.attrs["kind"] == POSTERIOR:
        draws = posterior_draws(tree)
        return draws.mean(axis=0), np.atleast_2d(np.cov(draws.T))
    fit = tree[POINT_FIT].dataset
    return fit["value"].values, fit["covariance"].values


def _irreducible(tree: xr.DataTree) -> IrreducibleForceConstants:
    fit, fixed = tree[POINT_FIT].dataset, tree["constant_data"].dataset
    if "primitive_vectors" not in fixed:
        raise ResultError(
            "The result does not hold its crystal.",
            "It was written by an early version of bayestds.",
            "Fit the volume again.",
        )
    names = tuple(str(name) for name in fit["irreducible"].values)
    tolerance = float(fixed["shell_tolerance"])
    found = irreducible_force_constants(_crystal(fixed), shells_of(tree), tolerance)
    found = constrained(found, fixed.attrs.get("invariance", "none"))
    if found.names != names:
        raise ResultError(
            "The force constants of the result are not those of its crystal.",
            f"They are called {', '.join(names)}; the crystal has {', '.join(found.names)}.",
            "The file may be damaged, or another version of bayestds wrote it: fit the volume again.",
        )
    return found


def _third_order(
    tree: xr.DataTree, irreducible: IrreducibleForceConstants
) -> ThirdOrderForceConstants | None:
    """What the third-order values of a result mean, None of a harmonic one."""
    if CUBIC not in tree.children:
        return None
    fit = tree[CUBIC].dataset
    names = tuple(str(name) for name in fit["third_order"].values)
    shells = int(fit["n_shells"])
    found = third_order_force_constants(irreducible.crystal, shells, irreducible.tolerance)
    if found.names != names:
        raise ResultError(
            "The third-order force constants of the result are not those of its crystal.",
            f"They are called {', '.join(names)}; the crystal has {', '.join(found.names)}.",
            "The file may be damaged, or another version of bayestds wrote it: fit the volume again.",
        )
    return found


def _crystal(fixed: xr.Dataset) -> Crystal:
    return restore_crystal(
        fixed["primitive_vectors"].values,
        fixed["fractional_positions"].values,
        [str(name) for name in fixed["species"].values],
        fixed["masses"].values,
        fixed["conventional_matrix"].values,
        # Results of older versions do not say it; NaN is what is not known.
        fixed["given_matrix"].values if "given_matrix" in fixed else np.full((3, 3), np.nan),
    )


def _stable_draws(
    irreducible: IrreducibleForceConstants,
    supercell: Supercell,
    mean: np.ndarray,
    covariance: np.ndarray,
    n_draws: int,
    seed: int,
) -> np.ndarray:
    """Draws of a normal distribution of all constants that are stable crystals."""
    if not np.isfinite(covariance).all():
        raise ResultError(
            "The result has no standard errors.",
            "Its fit failed, or ended at an unstable crystal.",
            "See `bayestds summary`, and fit again from another start.",
        )
    basis, positions = jnp.asarray(irreducible.basis), grid_positions(irreducible, supercell)

    @jax.jit
    @jax.vmap
    def stable(values):
        constants = force_constants(basis, values[: irreducible.n_irreducible])
        return is_stable(
            force_constant_blocks(constants, positions, supercell.grid_shape, irreducible.crystal.n_atoms)
        )

    rng, kept = np.random.default_rng(seed), np.zeros((0, len(mean)))
    for _ in range(ROUNDS):
        found = rng.multivariate_normal(mean, covariance, n_draws, method="eigh")
        kept = np.concatenate([kept, found[np.asarray(stable(found))]])[:n_draws]
        if len(kept) == n_draws:
            return kept
    raise ResultError(
        "The errors of the result are so large that it says little of the crystal.",
        f"Of {ROUNDS * n_draws} draws of its force constants {len(kept)} are stable crystals.",
        "Sample the posterior with `bayestds sample`, which keeps to stable crystals, or use more data.",
    )
