"""The picture of a fit: labels, limits, and volumes of unusual shape."""

import warnings

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.image import imread

from bayestds.errors import OutputError
from bayestds.report.plots import save_figure, slices_figure

N_POINTS = 50


def result(shape: tuple[int, int, int] = (9, 7, 5), hole: bool = True) -> xr.DataTree:
    """A result with random numbers; one corner is masked."""
    rng = np.random.default_rng(0)
    point_of_voxel = rng.integers(0, N_POINTS, shape)
    if hole:
        point_of_voxel[:2, :2] = -1
    h, k, l_ = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    observed = xr.Dataset(
        {
            "log_intensity": ("point", rng.normal(size=N_POINTS)),
            "fitted": ("point", rng.normal(size=N_POINTS)),
            "residual": ("point", rng.normal(0.3, 1, size=N_POINTS)),
            "point_of_voxel": (("h", "k", "l"), point_of_voxel),
        },
        coords={"h": h, "k": 2 * k, "l": l_},
    )
    return xr.DataTree.from_dict({"observed_data": observed})


def panels(figure: Figure) -> list:
    """Axes that show a map, in order, row by row."""
    return [axes for axes in figure.axes if axes.get_images()]


@pytest.fixture(scope="module")
def figure() -> Figure:
    return slices_figure(result(), "a title")


def test_axes_are_labelled(figure):
    for axes in panels(figure):
        assert axes.get_xlabel() == "h (r.l.u.)"
        assert axes.get_ylabel() == "k (r.l.u.)"
    assert figure.get_suptitle() == "a title"


def test_panels_are_named(figure):
    titles = [axes.get_title() for axes in panels(figure)]
    assert titles[:3] == ["observed, l = 0.00", "fitted, l = 0.00", "observed - fitted"]
    assert titles[3:] == ["observed, l = 0.50", "fitted, l = 0.50", "observed - fitted"]


def test_colour_bars_are_labelled(figure):
    labels = [axes.get_ylabel() for axes in figure.axes if not axes.get_images()]
    assert sorted(set(labels)) == ["ln I (arbitrary units)", "residual of ln I"]
    assert len(labels) == 6


def test_residual_limits_are_symmetric(figure):
    for axes in panels(figure)[2::3]:
        low, high = axes.get_images()[0].get_clim()
        assert low == -high < 0


def test_observed_and_fitted_share_their_limits(figure):
    observed, fitted = (axes.get_images()[0].get_clim() for axes in panels(figure)[:2])
    assert observed == fitted


def test_masked_voxels_are_blank(figure):
    for axes in panels(figure):
        shown = np.ma.filled(axes.get_images()[0].get_array().astype(float), np.nan)
        assert shown.shape == (7, 9)
        assert np.isnan(shown[:2, :2]).all()
        assert np.isfinite(shown[2:, 2:]).all()


def test_values_lie_at_their_place(figure):
    observed = result()["observed_data"].dataset
    image = panels(figure)[0].get_images()[0]
    point = int(observed["point_of_voxel"][8, 3, 2])
    assert image.get_array()[3, 8] == float(observed["log_intensity"][point])
    # Voxel centres, not edges, are at the coordinates.
    assert tuple(image.get_extent()) == pytest.approx((-1.125, 1.125, -2 - 1 / 3, 2 + 1 / 3))
    assert image.origin == "lower"


def test_a_single_plane(tmp_path):
    figure = slices_figure(result((9, 7, 1)), "one plane")
    assert panels(figure)[0].get_title() == "observed, l = 0.00"
    assert len(panels(figure)) == 3
    save_figure(figure, tmp_path / "p.png")


@pytest.mark.parametrize("shape", [(1, 7, 5), (9, 1, 5), (1, 1, 50)])
def test_a_single_line(tmp_path, shape):
    save_figure(slices_figure(result(shape, hole=False), "a line"), tmp_path / "p.png")


def test_exact_fit(tmp_path):
    tree = result()
    observed = tree["observed_data"].dataset.assign(residual=("point", np.zeros(N_POINTS)))
    exact = xr.DataTree.from_dict({"observed_data": observed})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = slices_figure(exact, "exact")
        save_figure(figure, tmp_path / "p.png")
    low, high = panels(figure)[2].get_images()[0].get_clim()
    assert low == -high < 0


@pytest.mark.parametrize(
    "title", [r"$\frac{", "<script>alert(1)</script>", "[bold]", "%s {x} \\", "Å² 镍", ""]
)
def test_hostile_title(tmp_path, title):
    figure = slices_figure(result(), title)
    with warnings.catch_warnings():
        # A font that lacks a character is no fault of the figure.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        save_figure(figure, tmp_path / "p.png")
    assert figure.get_suptitle() == title


def test_png(figure, tmp_path):
    save_figure(figure, tmp_path / "p.png")
    image = imread(tmp_path / "p.png")
    assert image.shape[1] > 1000
    assert image[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_missing_folder(figure, tmp_path):
    with pytest.raises(OutputError, match="none"):
        save_figure(figure, tmp_path / "none" / "p.png")
