"""Small fitting problems with known third-order force constants."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.inference.problem import Problem
from bayestds.inference.sums import direct_model
from bayestds.scattering.forward import log_intensity
from tests.fit_problems import Known, known, with_noise

FIRST = np.array([-2.4, -3.6, 0.6])
"""Third-order constants b_xxx, b_xxy, b_xzz of a first shell in fcc, about those of copper, eV/Å³."""

PRIOR = 30.0


@dataclass(frozen=True, eq=False)
class KnownCubic:
    """A volume without noise, and the constants of both orders that it was made with.

    Attributes:
        known: the harmonic crystal; its volume is not that of the anharmonic one.
        third_order: what ``cubic`` means.
        cubic: (n_cubic,) eV/Å³.
        volume: with what third order adds, in direct form.
    """

    known: Known
    third_order: ThirdOrderForceConstants
    cubic: np.ndarray
    volume: xr.Dataset

    @property
    def truth(self) -> np.ndarray:
        """Constants (n_constants,) of both orders."""
        return np.append(self.known.truth, self.cubic)

    def problem(self, volume: xr.Dataset | None = None, noise: float | None = 1e-3) -> Problem:
        """The fit to a volume, by default the noise-free one."""
        found = self.known.problem(self.volume if volume is None else volume, noise)
        scales = np.full(self.third_order.n_cubic, PRIOR)
        return replace(found, third_order=self.third_order, given_cubic_scales=scales)

    def noisy(self, sigma: float, seed: int) -> Problem:
        """The fit to a noisy volume whose relative noise is known."""
        return self.problem(with_noise(self.volume, sigma, seed), sigma)


def known_cubic(steps: int = 9, scale: float = 1.0) -> KnownCubic:
    """An fcc crystal with second-order constants of two shells and third-order ones of the first.

    Args:
        steps: voxels along h, k and l on either side of the origin.
        scale: of the third-order constants.
    """
    harmonic = known("fcc", 2, steps=steps)
    third = third_order_force_constants(harmonic.irreducible.crystal, 1)
    with_third = replace(harmonic.problem(), third_order=third, given_cubic_scales=np.full(3, PRIOR))
    (data,) = with_third.volumes
    cubic = scale * FIRST
    truth = jnp.asarray(np.append(harmonic.truth, cubic))
    found = np.exp(np.asarray(log_intensity(direct_model(with_third, data, truth), truth)))
    index = data.grid.point_of_voxel
    values = np.where(index >= 0, found[index], harmonic.volume["intensity"].values)
    volume = harmonic.volume.assign(intensity=(("h", "k", "l"), values))
    return KnownCubic(harmonic, third, cubic, volume)
