"""Sums whose terms are made one after another, so that they take the memory of one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def sum_in_parts(function: Callable[..., Any], *parts: Any) -> Any:
    """Sum of what a function gives of each part, a pytree of arrays; derivatives make each term anew.

    Args:
        function: of one part of each argument.
        parts: pytrees of arrays whose first axis is that of the parts.
    """
    first = jax.tree.map(lambda x: x[0], parts)
    if len(jax.tree.leaves(parts)[0]) == 1:
        return function(*first)

    def add(total: Any, given: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*given)), None

    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, *first))
    return jax.lax.scan(jax.checkpoint(add), start, parts)[0]
