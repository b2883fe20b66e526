"""The Q points of a forward model spread over devices, of one computer or of several.

The blocks of an exact engine are independent: each device evaluates its share of them, and what is summed
over Q, as a likelihood is, is summed over the devices by the compiler (GSPMD; see `jax.sharding`). All else,
the covariance of the crystal and the polynomials at all k and G, is small and computed on every device.
"""

from dataclasses import replace
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bayestds.errors import ModelError
from bayestds.scattering.engine import Points
from bayestds.scattering.forward import ForwardModel
from bayestds.scattering.lattice_sum import OnMesh

Tree = TypeVar("Tree")


def mesh_of_devices() -> Mesh:
    """All devices of all processes, over which the Q points are spread."""
    return jax.make_mesh((jax.device_count(),), ("q",), axis_types=(AxisType.Auto,))


def on_every_device(tree: Tree, mesh: Mesh) -> Tree:
    """A pytree whose arrays are whole on every device, as data and parameters beside :func:`sharded` must be.

    With several processes each of them has to give the same arrays.
    """
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def sharded(forward: ForwardModel, mesh: Mesh) -> ForwardModel:
    """The forward model with the Q points of its lattice sum spread over the devices of a mesh of one axis.

    Args:
        forward: whose lattice sum is :class:`OnMesh`.
        mesh: from :func:`mesh_of_devices`, or of some of them.

    Raises:
        ModelError: the forward model has another lattice sum.
    """
    if not isinstance(forward.lattice_sum, OnMesh):
        raise ModelError(
            "The Q points of this forward model cannot be spread over devices.",
            f"Its lattice sum is {type(forward.lattice_sum).__name__}; only the tables of OnMesh are cut up.",
            "Give it one: forward.with_sum(OnMesh(make_engine(...))).",
        )
    engine = forward.lattice_sum.engine
    n_groups = -(-engine.n_groups // mesh.size)

    def spread(array: Array, axis: int) -> Array:
        """An array with groups and blocks as axes 0 and this one, in new groups, its blocks spread."""
        blocks = jnp.moveaxis(array, axis, 1)
        blocks = blocks.reshape(-1, *blocks.shape[2:])
        # Repeated blocks at the end; no point is in those.
        missing = -len(blocks) % (n_groups * mesh.size)
        blocks = jnp.concatenate([blocks, jnp.repeat(blocks[-1:], missing, axis=0)])
        grouped = jnp.moveaxis(blocks.reshape(n_groups, -1, *blocks.shape[1:]), 1, axis)
        return jax.device_put(grouped, NamedSharding(mesh, PartitionSpec(*[None] * axis, *mesh.axis_names)))

    points, lattice = engine.points, engine.lattice
    points = Points(
        vectors=spread(points.vectors, 2),
        products=spread(points.products, 2),
        structure=spread(points.structure, 2),
    )
    if lattice is not None:
        lattice = replace(on_every_device(lattice, mesh), place=spread(lattice.place, 1))
    whole = ("near_pairs", "near_sums", "near_kinds", "window", "kinds", "sums", "place")
    engine = replace(
        engine,
        points=points,
        near_phases=spread(engine.near_phases, 3),
        k_index=spread(engine.k_index, 1),
        k_of_block=spread(engine.k_of_block, 1),
        lattice=lattice,
        **{name: on_every_device(getattr(engine, name), mesh) for name in whole},
    )
    crystal, terms, effects = on_every_device((forward.crystal, forward.terms, forward.effects), mesh)
    return ForwardModel(crystal, terms, OnMesh(engine), effects)
