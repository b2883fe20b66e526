"""A second fit of equal shapes compiles nothing: long series of fits depend on it."""

import jax
import pytest

from bayestds.inference.nuts import Sampling
from bayestds.inference.point_fit import point_fit
from bayestds.inference.posterior import make_target, sample_posterior
from tests.fit_problems import known, with_noise

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations():
    """How many compilations there were, as a list that grows."""
    found: list[str] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == COMPILED:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
def test_a_second_fit_and_posterior_compile_nothing(compilations):
    """Other noise, another start, another truth; the engine's choice of pairs and orders stays the same."""
    sampling = Sampling(chains=2, draws=50, warmup=50)
    counts = []
    for seed in (1, 2):
        case = known("fcc", 1, steps=4)
        problem = case.problem(with_noise(case.volume, 1e-3, seed))
        fit = point_fit(problem, case.truth * (1 + 0.01 * seed))
        sample_posterior(make_target(fit, problem.prior()), sampling)
        counts.append(len(compilations))
    assert counts[0] > 0
    assert counts[1] == counts[0]
