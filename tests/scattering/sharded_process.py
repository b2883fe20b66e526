"""One process of those that test_sharding.py starts: value and gradient on one device and on all, as JSON.

Usage: python -m tests.scattering.sharded_process [ADDRESS N_PROCESSES NUMBER]
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.infer.util import log_density

from bayestds.inference.likelihoods.base import Likelihood
from bayestds.inference.likelihoods.profiled import Profiled
from bayestds.inference.model import Observation, observe
from bayestds.scattering.engine import make_engine
from bayestds.scattering.forward import ForwardModel, make_forward_model
from bayestds.scattering.lattice_sum import OnMesh
from bayestds.scattering.sharding import mesh_of_devices, on_every_device, sharded
from tests.fit_problems import TEMPERATURE, known


def log_likelihood(phi: Array, forward: ForwardModel, likelihood: Likelihood) -> Array:
    """Log-likelihood of a volume as a point fit has it."""
    volume = Observation(forward, Profiled(likelihood), jnp.eye(len(phi)), "")
    return log_density(observe, (volume, phi), {}, {})[0]


def main() -> None:
    """Print what both ways give."""
    jax.config.update("jax_enable_x64", True)
    if len(sys.argv) > 1:
        address, processes, number = sys.argv[1:]
        jax.distributed.initialize(address, int(processes), int(number))
    case = known("cscl", 2)
    (volume,), phi = case.problem().volumes, 1.01 * case.truth
    mesh = mesh_of_devices()
    value_and_gradient = jax.jit(jax.value_and_grad(log_likelihood))
    found = []
    # Memory for all points at once, and for some of them.
    for memory in (2**25, 2**16):
        engine = make_engine(case.supercell, volume.grid.q_points, n_near=9, order=3, memory=memory)
        forward = make_forward_model(case.irreducible, case.supercell, TEMPERATURE, OnMesh(engine))
        one = value_and_gradient(phi, forward, volume.likelihood)
        spread = sharded(forward, mesh)
        many = value_and_gradient(
            on_every_device(phi, mesh), spread, on_every_device(volume.likelihood, mesh)
        )
        # Components of the gradient are sums of many terms that cancel: the largest is the measure.
        relative = [
            np.abs(b - a).max() / np.abs(a).max() for a, b in zip(map(np.asarray, one), many, strict=True)
        ]
        found.append(
            {
                "devices": len(spread.lattice_sum.engine.points.vectors.sharding.device_set),
                "groups": [engine.n_groups, spread.lattice_sum.engine.n_groups],
                "value": float(one[0]),
                "error": float(max(relative)),
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
