"""One process of those that test_sharding.py starts: value and gradient on one device and on all, as JSON.

Usage: python -m tests.scattering.sharded_process [ADDRESS N_PROCESSES NUMBER]
"""

import json
import sys

import jax
import numpy as np

from bayestds.inference.model import constrained_log_likelihood
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import make_forward_model
from bayestds.scattering.sharding import mesh_of_devices, on_every_device, sharded
from tests.fit_problems import TEMPERATURE, known


def main() -> None:
    """Print what both ways give."""
    jax.config.update("jax_enable_x64", True)
    if len(sys.argv) > 1:
        address, processes, number = sys.argv[1:]
        jax.distributed.initialize(address, int(processes), int(number))
    case = known("cscl", 2)
    problem, phi = case.problem(), 1.01 * case.truth
    mesh = mesh_of_devices()
    value_and_gradient = jax.jit(
        jax.value_and_grad(
            lambda phi, forward, likelihood: constrained_log_likelihood(forward, likelihood, phi)
        )
    )
    found = []
    # Memory for all points at once, and for some of them.
    for memory in (2**25, 2**16):
        engine = make_engine(case.supercell, problem.grid.q_points, n_near=9, order=3, memory=memory)
        forward = make_forward_model(case.irreducible, case.supercell, TEMPERATURE, engine)
        one = value_and_gradient(phi, forward, problem.likelihood)
        spread = sharded(forward, mesh)
        many = value_and_gradient(
            on_every_device(phi, mesh), spread, on_every_device(problem.likelihood, mesh)
        )
        # Components of the gradient are sums of many terms that cancel: the largest is the measure.
        relative = [
            np.abs(b - a).max() / np.abs(a).max() for a, b in zip(map(np.asarray, one), many, strict=True)
        ]
        found.append(
            {
                "devices": len(spread.engine.points.vectors.sharding.device_set),
                "groups": [engine.n_groups, spread.engine.n_groups],
                "value": float(one[0]),
                "error": float(max(relative)),
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
