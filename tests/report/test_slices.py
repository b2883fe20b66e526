"""Volumes inside a page: what a browser decodes is the volume, within the step of its codes."""

from base64 import b64decode
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps

from bayestds.report.slices import FIELDS, NONE, colour_tables, quantised, volume_slices
from tests.pages import with_volume
from tests.results import point_fit_result


@pytest.fixture(scope="module")
def observed() -> xr.Dataset:
    """A volume of three different lengths, with voxels that were not used."""
    return with_volume(point_fit_result("fcc", n_shells=2), (7, 6, 5))["observed_data"].dataset


def decoded(payload: dict[str, Any], field: dict[str, Any]) -> np.ndarray:
    """The volume (n_h, n_k, n_l) as the script of the page reads it."""
    kind = "<u4" if payload["wide"] else "<u2"
    points = np.frombuffer(b64decode(payload["points"]), kind).astype(int)
    codes = np.frombuffer(b64decode(field["codes"]), "<u2")
    values = np.where(codes == NONE, np.nan, field["low"] + codes * field["step"])
    unused = points == np.iinfo(kind).max
    found = np.where(unused, np.nan, values[np.where(unused, 0, points)])
    return found.reshape([len(axis) for axis in payload["axes"]])


def volume(observed: xr.Dataset, name: str) -> np.ndarray:
    place = observed["point_of_voxel"].values
    return np.where(place >= 0, observed[FIELDS[name]].values[place], np.nan)


def check(payload: dict[str, Any], observed: xr.Dataset) -> None:
    kept = [
        [int(np.abs(observed[a].values - x).argmin()) for x in axis]
        for a, axis in zip("hkl", payload["axes"], strict=True)
    ]
    for field in payload["fields"]:
        known = volume(observed, field["name"])[np.ix_(*kept)]
        found = decoded(payload, field)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(known))
        # Rounded to the nearest code: half a step, and rounding errors.
        assert np.nanmax(np.abs(found - known)) <= 0.5001 * field["step"]
        assert field["step"] == pytest.approx((np.nanmax(known) - np.nanmin(known)) / 65534, rel=1e-9)


def test_volume_is_what_a_browser_decodes(observed):
    found = volume_slices(observed)
    assert found.stride == 1
    check(found.payload, observed)
    for axis, values in zip("hkl", found.payload["axes"], strict=True):
        np.testing.assert_array_equal(values, observed[axis].values)


def test_more_points_than_codes_of_16_bits():
    observed = with_volume(point_fit_result("fcc", n_shells=2), (41, 41, 40))["observed_data"].dataset
    found = volume_slices(observed)
    assert found.payload["wide"]
    check(found.payload, observed)


@pytest.mark.parametrize("largest", [200, 700, 1200])
def test_large_volumes_lose_planes(observed, largest):
    found = volume_slices(observed, largest)
    assert found.stride > 1
    assert found.n_bytes <= largest
    check(found.payload, observed)
    shape = observed["point_of_voxel"].shape
    assert [len(axis) for axis in found.payload["axes"]] == pytest.approx(
        [n / found.stride for n in shape], abs=1
    )
    # The plane through the origin stays where there is one.
    assert 0 in np.round(found.payload["axes"][0], 12)


def test_values_that_there_are_not(observed):
    values = observed["residual"].values.copy()
    values[[3, 10]] = [np.nan, np.inf]
    gaps = observed.assign(residual=("point", values))
    field = volume_slices(gaps).payload["fields"][2]
    np.testing.assert_array_equal(
        np.isnan(decoded(volume_slices(gaps).payload, field)), ~np.isfinite(volume(gaps, "residual"))
    )
    assert np.isfinite([field["low"], field["step"], *field["limits"]]).all()


def test_nothing_at_all(observed):
    nothing = quantised(np.full(4, np.nan))
    assert (np.frombuffer(b64decode(nothing["codes"]), "<u2") == NONE).all()
    assert np.isfinite([nothing["low"], nothing["step"]]).all()
    constant = quantised(np.full(4, 2.5))
    assert constant["low"] == 2.5
    assert not np.frombuffer(b64decode(constant["codes"]), "<u2").any()


def test_colours_of_observed_and_fitted_share_a_scale(observed):
    first, second, residual = volume_slices(observed).payload["fields"]
    assert first["limits"] == second["limits"]
    assert residual["limits"][0] == -residual["limits"][1] < 0


def test_colours_are_those_of_matplotlib():
    table = np.frombuffer(b64decode(colour_tables()["viridis"]), np.uint8).reshape(256, 3)
    for place in (0, 100, 255):
        np.testing.assert_allclose(table[place] / 255, colormaps["viridis"](place)[:3], atol=0.5 / 255)
