"""What a beamline makes of its Q points."""

import numpy as np
import pytest

from bayestds.crystal.axes import GridAxes
from bayestds.errors import VolumeError
from bayestds.scattering.atoms import xray_factors
from bayestds.scattering.beamline import Beamline
from bayestds.scattering.instrument import background_of
from tests.crystals import make_crystal

Q_POINTS = np.array([[0.4, 0.1, 0.0], [1.3, 2.2, 0.7], [3.1, -2.2, 1.9]])


def test_compton_scattering_is_polarised_like_the_elastic_one():
    """Thomson's factor (1 + cos²2θ)/2, of Klein and Nishina's at small energies."""
    crystal, wavelength = make_crystal("fcc"), 0.9
    effects = Beamline(crystal, wavelength=wavelength, compton=("Ni",)).effects(Q_POINTS)
    lengths = np.linalg.norm(crystal.scattering_vectors(Q_POINTS), axis=1)
    two_theta = 2 * np.arcsin(lengths * wavelength / (4 * np.pi))
    factors, electrons = xray_factors(["Ni"], lengths)[:, 0], xray_factors(["Ni"], np.zeros(1))[0, 0]
    expected = (1 + np.cos(two_theta) ** 2) / 2 * (electrons - factors**2 / electrons)
    np.testing.assert_allclose(background_of(effects).terms[:, 0], expected, rtol=1e-12)
    corrected = Beamline(crystal, compton=("Ni",)).effects(Q_POINTS)
    np.testing.assert_allclose(
        background_of(corrected).terms[:, 0], electrons - factors**2 / electrons, rtol=1e-12
    )


def test_single_plane_does_not_tell_the_size_of_voxels():
    axes = GridAxes((np.linspace(0, 1, 5), np.linspace(0, 1, 3), np.zeros(1)))
    with pytest.raises(VolumeError, match="no size along l"):
        Beamline(make_crystal("fcc"), voxel_size=True).points(Q_POINTS, axes)
    assert Beamline(make_crystal("fcc"), resolution=0.01).points(Q_POINTS, axes).shape == (3, 6, 3)


def test_points_of_a_voxel_have_its_variance():
    axes = GridAxes((np.linspace(0, 1, 5), np.linspace(0, 1, 3), np.linspace(0, 1, 11)))
    points = Beamline(make_crystal("fcc"), voxel_size=True).points(Q_POINTS, axes)
    np.testing.assert_allclose(points.mean(axis=1), Q_POINTS, atol=1e-12)
    edges = np.array([0.25, 0.5, 0.1])
    np.testing.assert_allclose(points.var(axis=1), np.tile(edges**2 / 12, (3, 1)), atol=1e-12)


def test_ideal():
    assert Beamline(make_crystal("fcc")).ideal
    for change in ({"commensurate": False}, {"n_background": 1}, {"wavelength": 1.0}, {"mosaic": 0.01}):
        assert not Beamline(make_crystal("fcc"), **change).ideal
