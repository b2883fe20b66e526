"""Result files: what goes in comes out, and others can read it."""

import re
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from bayestds.diagnostics.dataset import (
    chain_diagnostics,
    leave_one_out,
    pareto_shape,
    point_fit_tree,
)
from bayestds.diagnostics.posterior_tree import posterior_tree
from bayestds.diagnostics.result_file import read_result, write_result
from bayestds.errors import OutputError, ResultError
from bayestds.inference.nuts import STATISTICS, Draws
from bayestds.inference.predictive import Predictions
from bayestds.inference.uncertainty import Uncertainty
from tests.crystals import default_supercell, make_irreducible
from tests.results import AXES, N_POINTS, parts_of_a_result

NAMES = ("b0", "b1", "b2", "c0", "c1")


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """Arguments of point_fit_tree, full of random numbers."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(5, 5))
    irreducible, supercell = make_irreducible("fcc", 2), default_supercell("fcc")
    parts = parts_of_a_result(irreducible, supercell, rng.normal(size=5), root @ root.T)
    parts["columns"] |= {"start": rng.normal(size=5), "clustered_standard_error": rng.uniform(size=5)}
    parts["uncertainty"] = Uncertainty(4 * parts["fit"].covariance, None, None, np.nan, known=False)
    parts["attributes"] |= {"model_text": 'title = "Å <b> [bold] \\frac"\n'}
    return parts


@pytest.fixture(scope="module")
def tree(parts) -> xr.DataTree:
    return point_fit_tree(**parts)


def test_constants(tree, parts):
    fitted, fit, needed = tree["point_fit"], parts["fit"], parts["uncertainty"].covariance
    np.testing.assert_array_equal(fitted["value"], fit.irreducible)
    np.testing.assert_allclose(fitted["standard_error"], np.sqrt(np.diag(needed)))
    np.testing.assert_array_equal(fitted["covariance"], needed)
    np.testing.assert_array_equal(fitted["plain_covariance"], fit.covariance)
    np.testing.assert_array_equal(fitted["start"], parts["columns"]["start"])
    np.testing.assert_array_equal(fitted["history"], fit.history[:, :-1])
    np.testing.assert_array_equal(fitted["history_rms"], fit.history[:, -1])


def test_constants_are_found_by_name(tree, parts):
    fitted = tree["point_fit"].dataset
    assert float(fitted["value"].sel(irreducible="c0")) == parts["fit"].irreducible[3]
    both = fitted["covariance"].sel(irreducible="b1", irreducible_2="c1")
    assert float(both) == parts["uncertainty"].covariance[1, 4]


def test_observations(tree, parts):
    observed, grid = tree["observed_data"], parts["problem"].volumes[0].grid
    np.testing.assert_array_equal(observed["q_points"], grid.q_points)
    np.testing.assert_array_equal(observed["point_of_voxel"], grid.point_of_voxel)
    np.testing.assert_array_equal(observed["l"], AXES[2])
    np.testing.assert_allclose(observed["weight"], parts["fit"].volumes[0].weight)


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


def test_a_file_beyond_the_memory_is_refused(tree, tmp_path):
    write_result(tree, tmp_path / "r.nc")
    with h5netcdf.File(tmp_path / "r.nc", "a") as file:
        file.dimensions["x"] = 10**15
        file.create_variable("x", ("x",), "f8", chunks=(10,))
    with pytest.raises(ResultError, match=r"r.nc is too large.*\n.*7,450,580.6 GiB"):
        read_result(tmp_path / "r.nc")


CHAINS, DRAWS, N_STARS = 2, 40, 3


@pytest.fixture(scope="module")
def sampled(tree, parts) -> dict[str, Any]:
    """Arguments of posterior_tree, full of random numbers."""
    rng = np.random.default_rng(1)
    few, many = np.array([0, 20, 39]), np.arange(0, 40, 2)
    statistics = {name: rng.uniform(1, 2, (CHAINS, DRAWS)) for name in STATISTICS}
    statistics["n_steps"] = rng.integers(1, 16, (CHAINS, DRAWS))
    sites = {
        "irreducible": rng.normal(size=(CHAINS, DRAWS, 5)),
        "log_relative_noise": rng.normal(size=(2, 40)),
    }
    return {
        "fitted": tree,
        "prior": replace(parts["problem"], given_scales=np.array([1, 1, 1, 0.4, 0.4])).prior("student_t"),
        "draws": Draws(sites, statistics),
        "of_prior": {"irreducible": rng.normal(size=(30, 5))},
        "predictions": [
            Predictions(
                stars=rng.integers(0, N_STARS, N_POINTS),
                variable="log_intensity",
                replicated=rng.normal(size=(CHAINS, 3, N_POINTS)).astype(np.float32),
                replicated_draws=few,
                log_likelihood=rng.normal(size=(CHAINS, 20, N_STARS)),
                likelihood_draws=many,
                prior_replicated=rng.normal(size=(4, N_POINTS)).astype(np.float32),
            )
        ],
        "attributes": {"method": "nuts"},
    }


@pytest.fixture(scope="module")
def posterior(sampled) -> xr.DataTree:
    return posterior_tree(**sampled)


def test_groups_of_a_posterior(posterior, sampled):
    sites, (predictions,) = sampled["draws"].sites, sampled["predictions"]
    found = posterior["posterior"].dataset
    assert found["ifcs"].dims == ("chain", "draw", "irreducible")
    np.testing.assert_array_equal(found["ifcs"].sel(irreducible="c0"), sites["irreducible"][..., 3])
    np.testing.assert_array_equal(found["log_relative_noise"], sites["log_relative_noise"])
    assert found["shell"].values.tolist() == [1, 1, 1, 2, 2]
    assert found["ifcs"].attrs["units"] == posterior["prior"]["ifcs"].attrs["units"] == "eV/Å²"
    assert posterior["prior"]["ifcs"].sizes == {"chain": 1, "draw": 30, "irreducible": 5}
    replicated = posterior["posterior_predictive"]["log_intensity"]
    np.testing.assert_array_equal(replicated.sel(chain=1, draw=20), predictions.replicated[1, 1])
    likelihood = posterior["log_likelihood"]["log_intensity"]
    np.testing.assert_array_equal(
        likelihood.sel(chain=0, draw=38, star=2), predictions.log_likelihood[0, 19, 2]
    )
    np.testing.assert_array_equal(posterior["observed_data"]["star"], predictions.stars)
    assert posterior["prior_predictive"]["log_intensity"].sizes == {"chain": 1, "draw": 4, "point": N_POINTS}


def test_statistics_of_the_sampler(posterior, sampled):
    stats, given = posterior["sample_stats"], sampled["draws"].statistics
    for name in STATISTICS:
        np.testing.assert_array_equal(stats[name], given[name])
    depth = {1: 1, 2: 2, 3: 2, 4: 3, 7: 3, 8: 4, 15: 4}
    for steps, expected in depth.items():
        assert (stats["tree_depth"].values[given["n_steps"] == steps] == expected).all()


def test_posterior_keeps_its_point_fit(posterior, tree):
    assert posterior.attrs["kind"] == "posterior"
    assert posterior.attrs["method"] == "nuts"
    np.testing.assert_array_equal(posterior["point_fit"]["value"], tree["point_fit"]["value"])
    assert tree.attrs["kind"] == "point_fit"
    np.testing.assert_allclose(posterior["constant_data"]["prior_sd"], np.array([1, 1, 1, 0.4, 0.4]) * 2**0.5)


def test_posterior_round_trip(posterior, tmp_path):
    write_result(posterior, tmp_path / "r.nc")
    found = read_result(tmp_path / "r.nc")
    assert set(found.children) == set(posterior.children)
    for name in posterior.children:
        for key, values in posterior[name].dataset.variables.items():
            np.testing.assert_array_equal(found[name].dataset.variables[key].values, values.values)


# So few made-up draws tell ArviZ little of their tails.
@pytest.mark.filterwarnings("ignore:Estimated shape parameter:UserWarning")
def test_plain_arviz_understands_it(posterior, tmp_path):
    """The three lines that a user types."""
    write_result(posterior, tmp_path / "r.nc")
    import arviz_stats as az

    with xr.open_datatree(tmp_path / "r.nc") as tree:
        table = az.summary(tree, var_names=["ifcs"])
        reliability = az.loo(tree)
    assert len(table) == 5
    assert all("c1" in str(row) for row in table.index[-1:])
    assert reliability.n_data_points == N_STARS


def test_arviz_draws_it(posterior, tmp_path):
    """Its plots find chains and draws by themselves."""
    write_result(posterior, tmp_path / "r.nc")
    import arviz_plots as azp

    with xr.open_datatree(tmp_path / "r.nc") as tree:
        panels = azp.plot_rank(tree, var_names=["ifcs"], backend="none")
    assert panels.viz["plot"]["ifcs"].sizes == {"irreducible": 5}


def test_three_lines_of_the_readme(posterior, tmp_path):
    """Run as they are printed, on a posterior of random numbers."""
    write_result(posterior, tmp_path / "cu_posterior.nc")
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    *lines, last = re.search(r"```python\n(import arviz.*?)```", readme, re.DOTALL)[1].splitlines()
    names: dict[str, Any] = {}
    with chdir(tmp_path):
        exec("\n".join(lines), names)
        table = eval(last, names)
    assert [str(row) for row in table.index] == [f"ifcs[{name}]" for name in NAMES]


def test_independent_draws_have_no_statistics(sampled):
    sites = {"irreducible": sampled["draws"].sites["irreducible"].reshape(1, -1, 5)}
    independent = posterior_tree(**(sampled | {"draws": Draws(sites, {})}))
    assert "sample_stats" not in independent.children
    assert chain_diagnostics(independent) == {}


def test_diagnostics_see_chains_apart(posterior, sampled):
    """R-hat of equal chains is near 1; of chains that are 10 standard deviations apart it is not."""
    calm = chain_diagnostics(posterior)
    assert {name: values.shape for name, values in calm.items()} == dict.fromkeys(
        ("r_hat", "ess_bulk", "ess_tail"), (5,)
    )
    assert calm["r_hat"].max() < 1.1
    sites = sampled["draws"].sites["irreducible"] + np.array([0.0, 10.0])[:, None, None]
    apart = posterior_tree(
        **(sampled | {"draws": Draws({"irreducible": sites}, sampled["draws"].statistics)})
    )
    assert chain_diagnostics(apart)["r_hat"].min() > 1.5


def test_pareto_shape_of_a_known_tail():
    """Ratios with the tail exponent 1/k: k-hat finds k within 3 times (1 + k)/√424, 424 draws in the tail."""
    rng = np.random.default_rng(2)
    for k in (0.2, 0.9):
        found = pareto_shape(k * rng.standard_exponential(20000))
        assert found == pytest.approx(k, abs=3 * (1 + k) / 424**0.5)
    assert pareto_shape(np.zeros(1000) + 1e-9 * rng.normal(size=1000)) < 0.5


def test_leaving_out_is_exact_where_it_is_known(sampled):
    """A normal mean: y_i given the others is normal about their mean, with the variance 1 + 1/(n - 1).

    8,000 independent draws; the densities of the 20 data are known to better than 0.02 nats.
    """
    rng = np.random.default_rng(3)
    y = rng.normal(size=20)
    mean = rng.normal(y.mean(), 20**-0.5, (4, 2000))
    predictions = replace(
        sampled["predictions"][0],
        log_likelihood=norm.logpdf(y, mean[..., None]),
        likelihood_draws=np.arange(2000),
    )
    found = leave_one_out(posterior_tree(**(sampled | {"predictions": [predictions]})))
    others = (y.sum() - y) / 19
    np.testing.assert_allclose(found.log_density, norm.logpdf(y, others, np.sqrt(1 + 1 / 19)), atol=0.02)
    assert found.pareto_k.max() < 0.7


@pytest.mark.parametrize("lost", ["posterior", "point_fit"])
def test_incomplete_posterior_is_refused(posterior, tmp_path, lost):
    groups = {name: node.dataset for name, node in posterior.children.items() if name != lost}
    partial = xr.DataTree.from_dict(groups)
    partial.attrs = posterior.attrs
    partial.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    with pytest.raises(ResultError, match="not a result"):
        read_result(tmp_path / "r.nc")
