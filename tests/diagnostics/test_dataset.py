"""Result files: what goes in comes out, and others can read it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayestds.diagnostics.dataset import point_fit_tree, read_result, write_result
from bayestds.errors import OutputError, ResultError
from bayestds.inference.point_fit import PointFit, Problem
from tests.crystals import make_crystal

NAMES = ("b0", "b1", "b2", "c0", "c1")
AXES = (np.linspace(-1, 1, 5), np.linspace(0, 1, 4), np.linspace(0, 0.5, 3))
N_POINTS = 11


def made_up(kind: type, **values: Any) -> Any:
    """An object of a frozen class with these attributes only, whatever else it has."""
    found = object.__new__(kind)
    vars(found).update(values)
    return found


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """Arguments of point_fit_tree, full of random numbers."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    problem = made_up(
        Problem,
        irreducible=SimpleNamespace(
            names=NAMES, shells=np.array([1, 1, 1, 2, 2]), crystal=make_crystal("fcc")
        ),
        supercell=SimpleNamespace(matrix=np.diag([3, 3, 3])),
        temperature=300.0,
        grid=SimpleNamespace(
            multiplicity=rng.integers(1, 9, N_POINTS),
            q_points=rng.normal(size=(N_POINTS, 3)),
            point_of_voxel=rng.integers(-1, N_POINTS, (5, 4, 3)),
        ),
        data=SimpleNamespace(log_intensity=rng.normal(size=N_POINTS), weight=rng.uniform(1, 2, N_POINTS)),
        prior_scales=np.array([1, 1, 1, 0.4, 0.4]),
    )
    fit = made_up(
        PointFit,
        irreducible=rng.normal(size=5),
        covariance=root @ root.T,
        log_intensity=rng.normal(size=N_POINTS),
        residual=rng.normal(size=N_POINTS),
        log_scale=0.5,
        noise_variance=4.0,
        residual_rms=0.01,
        converged=True,
        message="Converged.",
        history=rng.normal(size=(3, 6)),
    )
    return {
        "problem": problem,
        "fit": fit,
        "axes": AXES,
        "columns": {"start": rng.normal(size=5), "clustered_standard_error": rng.uniform(size=5)},
        "attributes": {"model": "tiny", "model_text": 'title = "Å <b> [bold] \\frac"\n', "command": "fit"},
    }


@pytest.fixture(scope="module")
def tree(parts) -> xr.DataTree:
    return point_fit_tree(**parts)


def test_constants(tree, parts):
    fitted, fit = tree["point_fit"], parts["fit"]
    np.testing.assert_array_equal(fitted["value"], fit.irreducible)
    np.testing.assert_allclose(fitted["standard_error"], np.sqrt(np.diag(fit.covariance)))
    np.testing.assert_array_equal(fitted["covariance"], fit.covariance)
    np.testing.assert_array_equal(fitted["start"], parts["columns"]["start"])
    np.testing.assert_array_equal(fitted["history"], fit.history[:, :-1])
    np.testing.assert_array_equal(fitted["history_rms"], fit.history[:, -1])


def test_constants_are_found_by_name(tree, parts):
    fitted = tree["point_fit"].dataset
    assert float(fitted["value"].sel(irreducible="c0")) == parts["fit"].irreducible[3]
    both = fitted["covariance"].sel(irreducible="b1", irreducible_2="c1")
    assert float(both) == parts["fit"].covariance[1, 4]


def test_observations(tree, parts):
    observed, grid = tree["observed_data"], parts["problem"].grid
    np.testing.assert_array_equal(observed["q_points"], grid.q_points)
    np.testing.assert_array_equal(observed["point_of_voxel"], grid.point_of_voxel)
    np.testing.assert_array_equal(observed["l"], AXES[2])
    np.testing.assert_allclose(observed["weight"], parts["problem"].data.weight / 4)


def test_crystal(tree):
    fixed = tree["constant_data"]
    np.testing.assert_allclose(fixed["lattice_vectors"], 3.52 * np.eye(3), atol=1e-9)
    assert float(fixed["temperature"]) == 300


def test_round_trip(tree, tmp_path):
    write_result(tree, tmp_path / "r.nc")
    found = read_result(tmp_path / "r.nc")
    assert set(found.children) == set(tree.children)
    for name in tree.children:
        for key, values in tree[name].dataset.variables.items():
            other = found[name].dataset.variables[key]
            assert other.dims == values.dims
            np.testing.assert_array_equal(other.values, values.values)
    assert dict(found.attrs) == dict(tree.attrs)
    assert found["point_fit"].attrs["units"] == "eV/Å²"


def test_path_as_text(tree, tmp_path):
    write_result(tree, str(tmp_path / "r.nc"))
    assert read_result(str(tmp_path / "r.nc")).attrs["converged"] == 1


def test_plain_xarray_reads_it(tree, tmp_path):
    write_result(tree, tmp_path / "r.nc")
    with xr.open_datatree(tmp_path / "r.nc") as found:
        assert found["point_fit/value"].dims == ("irreducible",)
        assert found["point_fit"]["irreducible"].values.tolist() == list(NAMES)
        assert found.attrs["model_text"] == tree.attrs["model_text"]


def test_file_can_be_replaced_after_reading(tree, tmp_path):
    write_result(tree, tmp_path / "r.nc")
    again = read_result(tmp_path / "r.nc")
    write_result(again, tmp_path / "r.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["r.nc"]


def test_nothing_is_left_when_writing_fails(tree, tmp_path):
    broken = tree.copy()
    broken.attrs["impossible"] = object()
    with pytest.raises(TypeError):
        write_result(broken, tmp_path / "r.nc")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tree, tmp_path):
    with pytest.raises(OutputError, match="none"):
        write_result(tree, tmp_path / "none" / "r.nc")


def test_another_tree_is_refused(tmp_path):
    xr.DataTree.from_dict({"other": xr.Dataset({"x": 1.0})}).to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    with pytest.raises(ResultError, match="not a result") as caught:
        read_result(tmp_path / "r.nc")
    assert "r.nc" in caught.value.summary
    assert caught.value.fix
