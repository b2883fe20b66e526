"""The Q points of a forward model spread over devices, of one computer or of several.

The blocks of an exact engine are independent: each device evaluates its share of them, and what is summed
over Q, as a likelihood is, is summed over the devices by the compiler (GSPMD; see `jax.sharding`). All else,
the covariance of the crystal above all, is small and computed on every device.
"""

from dataclasses import fields, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bayestds.errors import ModelError
from bayestds.scattering.engine import ExactEngine
from bayestds.scattering.forward import ForwardModel

Tree = TypeVar("Tree")

OF_BLOCKS = ("vectors", "structure", "near_phases", "k_index", "k_of_block", "powers")
"""Arrays of an engine with one row for each block."""


def mesh_of_devices() -> Mesh:
    """All devices of all processes, over which the Q points are spread."""
    return jax.make_mesh((jax.device_count(),), ("q",), axis_types=(AxisType.Auto,))


def on_every_device(tree: Tree, mesh: Mesh) -> Tree:
    """A pytree whose arrays are whole on every device, as data and parameters beside :func:`sharded` must be.

    With several processes each of them has to give the same arrays.
    """
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def sharded(forward: ForwardModel, mesh: Mesh) -> ForwardModel:
    """The forward model with the Q points of its exact engine spread over the devices of a mesh of one axis.

    Args:
        forward: crystal, temperature and an exact engine.
        mesh: from :func:`mesh_of_devices`, or of some of them.

    Raises:
        ModelError: the forward model has no exact engine.
    """
    engine = forward.engine
    if not isinstance(engine, ExactEngine):
        raise ModelError(
            "The Q points of this forward model cannot be spread over devices.",
            f"Its engine is {type(engine).__name__}, and only the tables of an ExactEngine are cut up.",
            "Give it one: forward.with_engine(make_engine(...)).",
        )
    by_block = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    n_groups = -(-engine.n_groups // mesh.size)
    missing = -len(engine.k_index) % (n_groups * mesh.size)
    spread = {}
    for name in OF_BLOCKS:
        array = getattr(engine, name)
        if array is not None:
            spread[name] = jax.device_put(_padded(array, missing), by_block)
    whole = {
        entry.name: on_every_device(getattr(engine, entry.name), mesh)
        for entry in fields(engine)
        if entry.name not in OF_BLOCKS and not entry.metadata.get("static")
    }
    if engine.lattice is not None:
        place = jax.device_put(_padded(engine.lattice.place, missing), by_block)
        whole["lattice"] = replace(whole["lattice"], place=place)
    return on_every_device(replace(forward, engine=None), mesh).with_engine(
        replace(engine, **spread, **whole, n_groups=n_groups)
    )


def _padded(array: Array, missing: int) -> Array:
    """The array with its last row repeated; no point is in those blocks."""
    return jnp.concatenate([array, jnp.repeat(array[-1:], missing, axis=0)])
