"""The picture of the phonons: labels, units, lines that end where the path jumps."""

import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from bayestds.diagnostics.phonon_bands import phonon_bands
from bayestds.lattice_dynamics.paths import BandPath
from bayestds.report.phonon_plots import phonon_figure, tick_labels
from bayestds.report.plots import save_figure
from tests.diagnostics.test_phonon_bands import draws_of


@pytest.fixture(scope="module")
def phonons():
    return phonon_bands(draws_of("fcc", 2, 20))


def test_axes_have_labels_and_units(phonons):
    left, right = phonon_figure(phonons, "a title").axes
    assert left.get_ylabel() == "frequency ν (THz)"
    assert right.get_xlabel() == "modes per THz and cell"
    assert [text.get_text() for text in left.get_xticklabels()] == tick_labels(phonons.path)
    assert left.get_ylim() == right.get_ylim()
    assert left.get_xlim() == pytest.approx((0, phonons.path.ticks[-1]))


def test_lines_are_the_frequencies(phonons):
    left, right = phonon_figure(phonons, "a title").axes
    curves = [line for line in left.get_lines() if len(line.get_xdata()) > 2]
    jumps = sum("|" in label for label in phonons.path.labels)
    assert jumps == 1
    n_segments = len(phonons.path.ticks) - 1
    assert len(curves) == 3 * n_segments
    highest = np.concatenate([line.get_ydata() for line in curves[2::3]])
    np.testing.assert_allclose(highest, phonons.bands.value[:, 2])
    # No segment goes on across a jump.
    for line in curves:
        assert (np.diff(line.get_xdata()) > 0).all()
    density = max(right.get_lines(), key=lambda line: len(line.get_xdata()))
    np.testing.assert_array_equal(density.get_xdata(), phonons.dos.value)


def test_every_branch_has_its_bands(phonons):
    left, right = phonon_figure(phonons, "a title").axes
    assert len(left.collections) == 2 * 3 * (len(phonons.path.ticks) - 1)
    assert len(right.collections) == 2


def test_labels_are_typeset():
    path = BandPath(
        np.zeros((0, 3)),
        np.zeros(0),
        np.array([0.0, 5.0, 5.1, 5.2, 10.0]),
        ("Γ", "H_2", "U|K", "X", "SIGMA_0"),
    )
    assert tick_labels(path) == ["Γ", "H$_{2}$", "\nU|K", "X", "Σ$_{0}$"]


@pytest.mark.parametrize("title", [r"$\frac{", "<script>alert(1)</script>", "%s {x} \\"])
def test_png(phonons, tmp_path, title):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        save_figure(phonon_figure(phonons, title), tmp_path / "p.png")
    image = imread(tmp_path / "p.png")
    assert image.shape[1] > 1000
    assert image[..., :3].std() > 0.05
