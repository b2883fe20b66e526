"""A volume that shows every mistake in the order of dimensions, and the check that errors are helpful."""

import numpy as np
import pytest

from bayestds.errors import VolumeError
from bayestds.io import read_volume
from bayestds.scattering.volume import make_volume

LATTICE = (3.0, 4.0, 5.0, 80.0, 85.0, 95.0)


@pytest.fixture
def volume():
    """Three different lengths, no symmetry, one unmeasured voxel, everything optional present."""
    rng = np.random.default_rng(7)
    shape = (4, 3, 2)
    intensity = rng.uniform(1, 9, shape)
    intensity[1, 2, 0] = np.nan
    return make_volume(
        np.linspace(-1, 0.5, 4),
        np.linspace(0, 0.2, 3),
        np.linspace(2, 3, 2),
        intensity,
        sigma=rng.uniform(0.1, 0.2, shape),
        counts=rng.integers(0, 50, shape),
        transmission=rng.uniform(0.5, 1, shape),
        mask=rng.uniform(size=shape) > 0.7,
        lattice=LATTICE,
        temperature=120.5,
        intensity_units="electrons",
        configurations=15,
        noise="none",
        source="exact",
        title="a test",
    )


@pytest.fixture
def refused():
    """Check that reading a file fails with one error that names the file, says `words`, and has a fix."""

    def check(path, *words):
        with pytest.raises(VolumeError) as caught:
            read_volume(path)
        assert path.name in caught.value.summary
        assert caught.value.fix
        for word in words:
            assert word in str(caught.value)

    return check
