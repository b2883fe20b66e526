"""Third-order force constants: what their scattering costs, how exact it is, and what they explain in copper.

Usage: python benchmarks/cubic.py [VOLUME]
"""

import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from density import log_likelihood
from run import milliseconds

from bayestds.cli.assemble import Study, build_study
from bayestds.config import load_model
from bayestds.force_constants.third_order import ThirdOrderForceConstants, third_order_force_constants
from bayestds.inference.information import log_intensity_and_jacobian
from bayestds.inference.likelihoods.base import Likelihood, fisher_information
from bayestds.inference.problem import Problem
from bayestds.io import read_volume
from bayestds.lattice_dynamics.harmonic import covariance, harmonic_crystal
from bayestds.scattering.engine import ExactEngine, make_engine
from bayestds.scattering.expansion import choose_engine
from bayestds.scattering.forward import ForwardModel, log_intensity
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.terms import make_cubic

VOLUME = Path(__file__).parents[1] / "tests" / "data" / "cu_md_300K.nxs"
POTENTIAL = -9.47
"""∂³E/∂u₀²∂u_j along the first bond of the copper potential, eV/Å³ (finite differences, LAMMPS)."""

CENTRAL = np.array([1.0, 1.0, 0.0]) / np.sqrt(8)
"""b_xxx, b_xxy, b_xzz of a tensor n⊗n⊗n along the bond n = (1, 1, 0)/√2."""


def cost() -> None:
    """Value and gradient on the grid of the paper, without the third order and with two shells of it."""
    study = build_study(load_model("ni_fcc_paper"))
    problem = study.problem(study.own_volume(), "paper grid")
    third_order = third_order_force_constants(study.crystal, 2)
    phi = jnp.asarray(study.ifcs("u3_paper"))
    gamma = jnp.asarray(np.concatenate([-15.4 * CENTRAL, np.zeros(third_order.n_cubic - 3)]))
    (volume,), given = problem.volumes, (study.irreducible, problem.supercell)
    crystal = harmonic_crystal(*given, volume.temperature)
    displacement = covariance(crystal, phi)
    engine = choose_engine(problem.supercell, volume.grid.q_points, displacement)
    term = make_cubic(third_order, problem.supercell, crystal, phi)
    forward = ForwardModel(crystal, (term,), OnMesh(engine), ())

    @jax.jit
    def value_and_gradient(parameters: jax.Array, forward: ForwardModel) -> object:
        return jax.value_and_grad(lambda p: log_likelihood(forward, volume.likelihood, p))(parameters)

    harmonic, _ = milliseconds(value_and_gradient, phi, replace(forward, terms=()))
    both, _ = milliseconds(value_and_gradient, jnp.concatenate([phi, gamma]), forward)
    print(
        f"value and gradient, {volume.n_points} points: harmonic {harmonic:.1f} ms, with "
        f"{third_order.n_cubic} third-order constants {both:.1f} ms, ratio {both / harmonic:.2f}"
    )
    direct = make_engine(problem.supercell, volume.grid.q_points)
    parameters = jnp.concatenate([phi, gamma])
    whole = np.exp(log_intensity(replace(forward, lattice_sum=OnMesh(direct), terms=()), phi))

    def change(engine: ExactEngine) -> np.ndarray:
        without = log_intensity(replace(forward, lattice_sum=OnMesh(engine), terms=()), phi)
        return np.asarray(
            np.exp(log_intensity(forward.with_sum(OnMesh(engine)), parameters)) - np.exp(without)
        )

    found, exact = change(engine), change(direct)
    print(
        f"order {engine.order}, {len(engine.near_pairs)} near pairs: ΔI/I up to "
        f"{np.abs(exact / whole).max():.2f}, error of ΔI/I at most "
        f"{np.abs((found - exact) / whole).max():.1e}"
    )


_value_and_jacobian = jax.jit(log_intensity_and_jacobian)


def gauss_newton(
    forward: ForwardModel, data: Likelihood, start: np.ndarray, directions: np.ndarray, steps: int = 7
) -> tuple[np.ndarray, float]:
    """Parameters start + directions @ x of least squares in log I, and the rms of the residual."""
    place = start
    for _ in range(steps):
        value, jacobian = _value_and_jacobian(forward, jnp.asarray(place))
        jacobian = jacobian @ directions
        here = data.quadratic(value, 0)
        step = np.linalg.solve(fisher_information(here.precision, jacobian), jacobian.T @ here.score)
        rms = float(here.residual_rms)
        place = place + directions @ np.asarray(step)
    return place, rms


def copper(study: Study, problem: Problem) -> None:
    """Least squares on the molecular-dynamics volume, harmonic and with third-order constants."""
    phi = jnp.asarray(study.ifcs("bvk_296K"))
    n, (volume,) = len(phi), problem.volumes
    for shells in (1, 2):
        third_order = third_order_force_constants(study.crystal, shells)
        given = study.irreducible, problem.supercell, volume.temperature
        crystal = harmonic_crystal(*given)
        here, term = covariance(crystal, phi), make_cubic(third_order, problem.supercell, crystal, phi)
        lattice_sum = OnMesh(choose_engine(problem.supercell, volume.grid.q_points, here))
        everything = np.eye(n + third_order.n_cubic)
        start = np.append(phi, np.zeros(third_order.n_cubic))
        forward, data = ForwardModel(crystal, (term,), lattice_sum, ()), volume.likelihood
        if shells == 1:
            report("harmonic", study, third_order, gauss_newton(forward, data, start, everything[:, :n]))
            central = np.column_stack([everything[:, :n], np.append(np.zeros(n), CENTRAL)])
            place, rms = gauss_newton(forward, data, start, central)
            report("central", study, third_order, (place, rms))
            print(f"g = {place[n] / CENTRAL[0]:.2f} eV/Å³; the potential's {POTENTIAL}")
        report(f"{shells} shells", study, third_order, gauss_newton(forward, data, start, everything))


def report(
    name: str, study: Study, third_order: ThirdOrderForceConstants, fit: tuple[np.ndarray, float]
) -> None:
    """Print the residual of a fit, its third-order constants, and how far φ is from the potential's."""
    place, rms = fit
    n = study.irreducible.n_irreducible
    values = zip(third_order.names, place[n:], strict=True)
    off = place[:n] - study.ifcs("u3")
    print(
        f"{name}: residual {100 * rms:.2f} % rms; {', '.join(f'{k} {v:+.2f}' for k, v in values)} eV/Å³; "
        f"φ - potential: {np.sqrt((off**2).mean()):.1e} eV/Å² rms"
    )


def main() -> None:
    """Print every figure."""
    jax.config.update("jax_enable_x64", True)
    cost()
    study = build_study(load_model("cu_fcc"))
    volume = read_volume(sys.argv[1] if len(sys.argv) > 1 else VOLUME)
    copper(study, study.problem(volume, "copper"))


if __name__ == "__main__":
    main()
