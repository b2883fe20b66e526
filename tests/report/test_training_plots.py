"""Figures of a training: what they show is what they were given."""

import numpy as np
import pytest

from bayestds.lattice_dynamics.paths import band_path
from bayestds.report.plots import save_figure
from bayestds.report.training_plots import (
    comparison_figure,
    dispersion_figure,
    evolution_figure,
    loss_figure,
)
from tests.crystals import make_crystal


def test_comparison_shows_errors_without_the_means(tmp_path):
    h, k = np.linspace(-1, 1, 5), np.linspace(-2, 2, 7)
    target = np.add.outer(h, k)
    target[0, 0] = np.nan
    fit = target + 3.0
    figure = comparison_figure(h, k, target, target + np.add.outer(h, 0 * k), fit, "l = 0")
    images = {axes.get_title(): axes.images[0] for axes in figure.axes if axes.images and axes.get_title()}
    assert list(images)[:3] == ["target, l = 0", "initial, l = 0", "fit, l = 0"]
    last = next(image for title, image in images.items() if title.startswith("fit - target"))
    # A constant factor of the intensity is no error.
    assert np.nanmax(np.abs(last.get_array())) < 1e-12
    first = next(title for title in images if title.startswith("initial - target"))
    assert float(first.split("rms ")[1]) == pytest.approx(np.sqrt(0.5), rel=0.05)
    save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_loss_has_its_moving_average():
    loss = np.arange(200.0)
    axes = loss_figure(loss, 3.0, window=10).axes[0]
    mean = axes.lines[1]
    np.testing.assert_allclose(mean.get_xdata()[0], 10)
    np.testing.assert_allclose(mean.get_ydata()[0], np.arange(10).mean())
    assert set(axes.lines[2].get_ydata()) == {3.0}


def test_dispersion_has_ticks_at_the_special_points():
    path = band_path(make_crystal("fcc"), ["Γ", "X", "L"])
    bands = np.ones((len(path.distance), 3))
    figure = dispersion_figure(path, {"target": bands, "initial": 2 * bands, "fit": 3 * bands})
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Γ", "X", "L"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["target", "initial", "fit"]


def test_evolution_has_a_panel_for_each_shell():
    history = np.arange(12.0).reshape(4, 3)
    figure = evolution_figure(history, ("b0", "b1", "c0"), np.array([1, 1, 2]), np.array([0.0, 1.0, 2.0]))
    assert [axes.get_title() for axes in figure.axes] == ["shell 1", "shell 2"]
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), history[:, 2])
    assert set(figure.axes[1].lines[1].get_ydata()) == {2.0}
