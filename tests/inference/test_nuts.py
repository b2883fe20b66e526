"""The sampler: known posteriors, and draws that do not depend on interruptions."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayestds.errors import ResultError
from bayestds.inference.nuts import CHUNK, FULL_TURN, Sampling, run_nuts

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[1.0, 0.6, 0.1], [0.6, 1.5, -0.2], [0.1, -0.2, 0.7]])


def normal(mean, covariance):
    numpyro.sample("x", dist.MultivariateNormal(mean, covariance))


def positive(rate):
    numpyro.sample("y", dist.Gamma(3.0, rate))


def walled(stiffness):
    x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    wall = jnp.minimum(x + 3, 0.0)
    numpyro.factor("density", -0.5 * (x**2 + stiffness * wall**2))


ARGUMENTS = (jnp.asarray(MEAN), jnp.asarray(COVARIANCE))
START = {"x": np.zeros((3, 3))}


class Stopped(Exception):
    """Stands for whatever ends a run."""


def stop_after(n_chunks: int):
    calls = iter(range(n_chunks))

    def progress(message, share):
        if next(calls, None) is None:
            raise Stopped

    return progress


def run(sampling=Sampling(chains=3, draws=130, warmup=60), **options):  # noqa: B008
    return run_nuts(normal, ARGUMENTS, START, sampling, **options)


def test_moments_of_a_normal_posterior():
    """About 4,000 effective draws: 1.6 % of a standard deviation in the mean, 2.2 % in a variance.

    The limits are four of these; chance alone exceeds one of nine with a probability below 1e-3.
    """
    sampling = Sampling(chains=4, draws=2000, warmup=200, seed=1)
    x = run_nuts(normal, ARGUMENTS, {"x": np.zeros((4, 3))}, sampling).sites["x"].reshape(-1, 3)
    sd = np.sqrt(np.diag(COVARIANCE))
    assert np.abs((x.mean(axis=0) - MEAN) / sd).max() < 0.065
    assert np.abs((np.cov(x.T) - COVARIANCE) / np.outer(sd, sd)).max() < 0.09


def test_values_of_a_constrained_site():
    y = run_nuts(positive, (jnp.asarray(2.0),), {"y": np.zeros(4)}, Sampling(draws=1000, seed=2)).sites["y"]
    assert y.shape == (4, 1000)
    assert (y > 0).all()
    assert y.mean() == pytest.approx(1.5, abs=4 * np.sqrt(0.75 / 1500))


def test_no_chain_stands_still():
    """One chain starts on a wall where the step that suits the others never succeeds."""
    start = {"x": np.array([-4.0, 0.0, 0.5, 1.0])}
    sampling = Sampling(draws=300, warmup=150, seed=3)
    x = run_nuts(walled, (jnp.asarray(1e3),), start, sampling).sites["x"]
    # The wall cuts off a thousandth of a standard normal.
    assert np.abs(x.std(axis=1) - 1).max() < 0.3


def test_statistics():
    draws = run()
    statistics = draws.statistics
    assert {values.shape for values in statistics.values()} == {(3, 130)}
    density = jax.vmap(jax.vmap(dist.MultivariateNormal(*ARGUMENTS).log_prob))(draws.sites["x"])
    np.testing.assert_allclose(statistics["lp"], density, rtol=1e-9)
    assert (statistics["energy"] >= -statistics["lp"]).all()
    assert len(np.unique(statistics["step_size"])) == 1
    assert not (FULL_TURN[0] < statistics["step_size"][0, 0] < FULL_TURN[1])
    assert statistics["n_steps"].min() >= 1
    assert 0.4 < statistics["acceptance_rate"].mean() < 0.95


def test_seed_decides():
    sites = [run(Sampling(chains=3, draws=20, warmup=20, seed=seed)).sites["x"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(sites[0], sites[1])
    assert (sites[0] != sites[2]).any()


def test_chains_differ():
    x = run().sites["x"]
    assert (x[0] != x[1]).any()


@pytest.mark.parametrize("n_chunks", [1, 2, 3])
def test_resumed_run_gives_the_same_draws(tmp_path, n_chunks):
    """Stopped in the warm-up, at its end, and among the draws."""
    whole, path = run(), tmp_path / "run.checkpoint"
    with pytest.raises(Stopped):
        run(checkpoint=path, progress=stop_after(n_chunks - 1))
    assert path.is_file()
    messages = []
    again = run(checkpoint=path, resume=True, progress=lambda message, share: messages.append(message))
    assert len(messages) == -(-190 // CHUNK) - n_chunks
    np.testing.assert_array_equal(again.sites["x"], whole.sites["x"])
    for name, values in whole.statistics.items():
        np.testing.assert_array_equal(again.statistics[name], values)


def test_finished_run_can_be_resumed_and_lengthened(tmp_path):
    path = tmp_path / "run.checkpoint"
    first = run(checkpoint=path)
    longer = Sampling(chains=3, draws=200, warmup=60)
    lengthened = run(longer, checkpoint=path, resume=True)
    np.testing.assert_array_equal(lengthened.sites["x"][:, :130], first.sites["x"])
    np.testing.assert_array_equal(lengthened.sites["x"], run(longer).sites["x"])


def test_without_a_checkpoint_resume_starts_anew(tmp_path):
    found = run(checkpoint=tmp_path / "none", resume=True)
    np.testing.assert_array_equal(found.sites["x"], run().sites["x"])


@pytest.mark.parametrize("change", ["seed", "warmup", "data"])
def test_checkpoint_of_another_run_is_refused(tmp_path, change):
    path = tmp_path / "run.checkpoint"
    run(checkpoint=path)
    changed = {"seed": {"seed": 1}, "warmup": {"warmup": 61}, "target": {"target_accept": 0.8}}.get(
        change, {}
    )
    sampling = Sampling(**({"chains": 3, "draws": 130, "warmup": 60} | changed))
    mean = ARGUMENTS[0] + (1e-12 if change == "data" else 0)
    with pytest.raises(ResultError, match="another computation"):
        run_nuts(normal, (mean, ARGUMENTS[1]), START, sampling, path, resume=True)


def test_higher_target_acceptance_takes_smaller_steps():
    rates, steps = [], []
    for target_accept in (0.55, 0.9):
        statistics = run(Sampling(3, 500, 200, 0, target_accept)).statistics
        rates.append(statistics["acceptance_rate"].mean())
        steps.append(statistics["step_size"][0, -1])
    assert steps[1] < 0.8 * steps[0]
    assert rates[0] < 0.85 < rates[1]


def test_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    run(checkpoint=path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ResultError, match="cannot be read"):
        run(checkpoint=path, resume=True)


def test_progress_counts_divergences():
    messages: list[tuple[str, float]] = []
    run(progress=lambda *message: messages.append(message))
    texts, shares = zip(*messages, strict=True)
    assert texts[0] == "warm-up 50 of 60"
    assert texts[-1].startswith("draw 130 of 130 in 3 chains, ")
    assert texts[-1].endswith(" 0 divergences")
    assert shares[-1] == 1
