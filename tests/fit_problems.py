"""Small fitting problems with a known answer."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayestds.crystal.supercell import Supercell
from bayestds.force_constants.irreducible import IrreducibleForceConstants
from bayestds.inference.likelihoods.make import make_likelihood
from bayestds.inference.problem import Problem, Volume
from bayestds.scattering.averaging import average
from bayestds.scattering.q_points import MeshPoints
from bayestds.scattering.simulation import simulate_volume
from tests.brute_force import random_stable
from tests.crystals import default_supercell, make_irreducible

TEMPERATURE = 300.0


@dataclass(frozen=True, eq=False)
class Known:
    """A volume without noise, and the force constants that it was made with."""

    irreducible: IrreducibleForceConstants
    supercell: Supercell
    truth: np.ndarray
    volume: xr.Dataset

    def problem(
        self, volume: xr.Dataset | None = None, noise: float | None = 1e-3, prior_scale: float = 30.0
    ) -> Problem:
        """The fit to a volume, by default the noise-free one."""
        observations = average(self.volume if volume is None else volume, self.supercell)
        points = MeshPoints(self.supercell, observations.grid.q_points)
        measured = Volume(TEMPERATURE, observations.grid, points, make_likelihood(observations, noise))
        scales = np.full(self.irreducible.n_irreducible, prior_scale)
        return Problem(self.irreducible, self.supercell, (measured,), scales)


def known(name: str, n_shells: int, steps: int = 12, seed: int = 0, scale: float = 1.0) -> Known:
    """A crystal of the tests with random stable force constants, voxels as fine as its supercell allows."""
    irreducible, supercell = make_irreducible(name, n_shells), default_supercell(name)
    truth = random_stable(irreducible, supercell, seed)
    to_conventional = supercell.matrix @ np.linalg.inv(irreducible.crystal.conventional_matrix)
    h, k, l_ = (np.arange(-steps, steps + 1) / round(n) for n in np.diag(to_conventional))
    volume = simulate_volume(irreducible, truth, supercell, TEMPERATURE, (h, k, l_), scale=scale)
    return Known(irreducible, supercell, truth, volume)


def with_noise(volume: xr.Dataset, sigma: float, seed: int) -> xr.Dataset:
    """The volume with independent log-normal noise of a relative standard deviation on every voxel."""
    noise = np.random.default_rng(seed).normal(0.0, sigma, volume["intensity"].shape)
    attributes = {key: value for key, value in volume.attrs.items() if key != "noise"}
    return volume.assign(intensity=volume["intensity"] * np.exp(noise)).assign_attrs(attributes)
