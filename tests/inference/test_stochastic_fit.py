"""The stochastic training of the paper on a crystal of the tests."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayestds.inference.stochastic_fit import (
    PENALTY,
    Target,
    Training,
    moving_average,
    sampled_loss,
    start_training,
    train,
)
from bayestds.lattice_dynamics.displacements import cell_differences
from bayestds.lattice_dynamics.harmonic import blocks, harmonic_crystal
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.sampled import make_sampled_engine
from tests.fit_problems import TEMPERATURE, Known, known


def make_target(fcc: Known, dense: bool = False) -> Target:
    intensity = fcc.volume["intensity"].values
    used = np.isfinite(intensity)
    h, k, l_ = (fcc.volume[name].values for name in "hkl")
    return Target(
        harmonic_crystal(fcc.irreducible, fcc.supercell, TEMPERATURE),
        make_sampled_engine(fcc.supercell, (h, k, l_)),
        jnp.asarray(np.log(np.where(used, intensity, 1.0))),
        jnp.asarray(used),
        jnp.asarray(cell_differences(fcc.supercell)) if dense else None,
    )


def commensurate_voxels(fcc: Known) -> np.ndarray:
    """Voxels (n, 3) that are measured, r.l.u."""
    axes = np.meshgrid(*(fcc.volume[name].values for name in "hkl"), indexing="ij")
    return np.stack(axes, axis=-1)[np.isfinite(fcc.volume["intensity"].values)]


@pytest.fixture(scope="module")
def fcc() -> Known:
    return known("fcc", 2, steps=9, scale=2.5)


def test_loss_is_the_variance_of_the_difference(fcc):
    """With very many configurations it tends to the variance of log means, which is that of the noise.

    The mean of M exponential intensities has a log of variance trigamma(M), nearly 1/M.
    """
    target, m = make_target(fcc), 400
    at_truth = float(sampled_loss(target, jnp.asarray(fcc.truth), jax.random.key(1), m))
    # Voxels of few independent k scatter about that by some ten percent.
    assert at_truth == pytest.approx(1 / m, rel=0.5)
    # The same draw with a softened first constant: the variance is that of the noise and of the misfit.
    softened = jnp.asarray(fcc.truth).at[0].multiply(0.7)
    engine = make_engine(fcc.supercell, voxels := commensurate_voxels(fcc))
    forward = ForwardModel(target.crystal, (), OnMesh(engine), ())
    exact = [np.asarray(log_intensity(forward, phi)) for phi in (jnp.asarray(fcc.truth), softened)]
    misfit = float(np.var(exact[1] - exact[0]))
    elsewhere = float(sampled_loss(target, softened, jax.random.key(1), m))
    assert len(voxels) == int(target.used.sum())
    assert elsewhere == pytest.approx(at_truth + misfit, rel=0.2)


def test_dense_and_block_losses_have_the_same_law(fcc):
    losses = [
        [
            float(sampled_loss(make_target(fcc, dense), jnp.asarray(fcc.truth), jax.random.key(n), 15))
            for n in range(8)
        ]
        for dense in (False, True)
    ]
    means, spreads = np.mean(losses, axis=1), np.std(losses, axis=1) / np.sqrt(8)
    assert abs(means[0] - means[1]) < 4 * np.hypot(*spreads)


def test_unstable_constants_are_penalised_by_their_eigenvalues(fcc):
    target = make_target(fcc)
    phi = -jnp.asarray(fcc.truth)
    value, gradient = jax.value_and_grad(sampled_loss, argnums=1)(target, phi, jax.random.key(0), 2)
    eigenvalues = np.linalg.eigvalsh(np.asarray(blocks(target.crystal, phi)))
    assert value == pytest.approx(PENALTY * np.maximum(0, -eigenvalues).sum(), rel=1e-9)
    # Homogeneous of degree one in the constants.
    assert float(gradient @ phi) == pytest.approx(float(value), rel=1e-9)


def test_first_step_is_the_rate_in_units(fcc):
    """Adam's first step is the rate times the sign of the gradient, whatever its size."""
    target, training = make_target(fcc), Training()
    *_, epochs = train(training, target, fcc.truth, start_training(training, target, fcc.truth, 0), 1)
    step = np.abs(np.asarray(epochs.irreducible[0]) - fcc.truth)
    # Adam's epsilon shortens the steps of constants with a small gradient a little.
    np.testing.assert_allclose(step, training.learning_rate * training.unit, rtol=0.05)


def test_the_rate_halves_down_to_the_lowest(fcc):
    """With common random numbers Adam's steps are all but equal while it travels."""
    target, start = make_target(fcc), 0.5 * fcc.truth
    training = Training(unit=1e-5, halve_every=10, redraw=False)
    *_, epochs = train(training, target, start, start_training(training, target, start, 0), 40)
    steps = np.abs(np.diff(np.asarray(epochs.irreducible), axis=0)).max(axis=1) / training.unit
    # The step that the schedule halves is the one after epoch 10, 20, ...
    np.testing.assert_allclose(steps[[15, 25, 35]] / steps[[5, 15, 25]], [0.5, 0.5, 1.0], rtol=0.02)


def test_training_goes_on_to_the_last_bit(fcc):
    target, training = make_target(fcc), Training(configurations=3)
    fresh = start_training(training, target, fcc.truth, 5)
    *_, whole = train(training, target, fcc.truth, fresh, 12, chunk=4)
    first = next(train(training, target, fcc.truth, fresh, 12, chunk=4))
    *_, resumed = train(training, target, fcc.truth, first, 12, chunk=4)
    assert np.array_equal(whole.irreducible, resumed.irreducible)
    other = start_training(replace(training), target, fcc.truth, 6)
    *_, different = train(training, target, fcc.truth, other, 12, chunk=4)
    assert not np.allclose(whole.loss, different.loss)


def test_moving_average():
    values = np.arange(12.0).reshape(6, 2) ** 2
    expected = [values[max(0, i - 2) : i + 1].mean(axis=0) for i in range(6)]
    np.testing.assert_allclose(moving_average(jnp.asarray(values), 3), expected)
