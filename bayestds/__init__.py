"""Interatomic force constants, with their uncertainty, from X-ray thermal diffuse scattering.

Importing the package changes no global state. The covariance needs 64-bit JAX, which the caller switches
on (the command line does so itself): ``jax.config.update("jax_enable_x64", True)``.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("bayestds")

# Loaded on first use: importing the package stays quick, and its lower floors need not load the upper ones.
_HOME = {
    "read_crystal": "crystal.structure",
    "build_crystal": "crystal.structure",
    "make_supercell": "crystal.supercell",
    "irreducible_force_constants": "force_constants.irreducible",
    "frequencies": "lattice_dynamics.phonons",
    "group_velocities": "lattice_dynamics.phonons",
    "density_of_states": "lattice_dynamics.density_of_states",
    "simulate_volume": "scattering.simulation",
    "average": "scattering.averaging",
    "Mask": "scattering.grid",
    "read_volume": "io",
    "write_volume": "io",
    "log_intensity": "scattering.forward",
    "stable": "lattice_dynamics.harmonic",
    "make_likelihood": "inference.likelihoods.make",
    "MeshPoints": "scattering.q_points",
    "FreePoints": "scattering.q_points",
    "harmonic_crystal": "lattice_dynamics.harmonic",
    "Problem": "inference.problem",
    "Volume": "inference.problem",
    "point_fit": "inference.point_fit",
    "make_target": "inference.posterior",
    "Sampling": "inference.nuts",
    "sample_posterior": "inference.posterior",
    "approximate_posterior": "inference.variational",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayestds' has no attribute {name!r}")
    return getattr(import_module(f"bayestds.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
