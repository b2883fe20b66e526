"""Interatomic force constants, with their uncertainty, from X-ray thermal diffuse scattering.

Importing the package changes no global state. The covariance needs 64-bit JAX, which the caller switches
on (the command line does so itself): ``jax.config.update("jax_enable_x64", True)``.
"""

from importlib.metadata import version

__version__ = version("bayestds")

__all__ = ["__version__"]
