"""The check that JAX runs in 64-bit precision. The package itself never switches it on."""

import jax

from bayestds.errors import PrecisionError


def require_x64() -> None:
    """Refuse to go on in 32-bit precision.

    Raises:
        PrecisionError: if JAX makes 32-bit arrays where 64-bit ones are asked for.
    """
    if not jax.config.read("jax_enable_x64"):
        raise PrecisionError(
            summary="JAX runs in 32-bit precision.",
            reason="The covariance of the displacements is an inverse of nearly singular matrices; "
            "32 bits lose its long-wavelength part.",
            fix='Call jax.config.update("jax_enable_x64", True) before the first JAX array is made, '
            "or set the environment variable JAX_ENABLE_X64=1.",
        )
