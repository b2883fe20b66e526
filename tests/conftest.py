"""Settings for the whole test run; imported by every worker before any test or package module."""

import sys

import hypothesis
import jax
import jaxtyping

jax.config.update("jax_enable_x64", True)

# Shape annotations of the package are checked in tests only. A package imported before the hook is set
# would silently go unchecked.
if "bayestds" in sys.modules:
    raise RuntimeError("bayestds was imported before the shape checks were installed in tests/conftest.py")
jaxtyping.install_import_hook("bayestds", "beartype.beartype")

# The same examples on every run; compilation makes first calls slow, so no deadline.
hypothesis.settings.register_profile("bayestds", derandomize=True, deadline=None)
hypothesis.settings.load_profile("bayestds")
