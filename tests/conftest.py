"""Settings for the whole test run; imported by every worker before any test or package module."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# One worker compiles for all, and for the commands that tests run; not in the user's cache folder.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir(), f"bayestds-tests-{os.getuid()}"))
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)

# Shape annotations of the package are checked in tests only. A package imported before the hook is set
# would silently go unchecked.
if "bayestds" in sys.modules:
    raise RuntimeError("bayestds was imported before the shape checks were installed in tests/conftest.py")
jaxtyping.install_import_hook("bayestds", "beartype.beartype")

# The same examples on every run; compilation makes first calls slow, so no deadline.
hypothesis.settings.register_profile("bayestds", derandomize=True, deadline=None)
hypothesis.settings.load_profile("bayestds")

MANY_MAPS = 20_000
"""Memory maps above which compiled programs are dropped. Linux allows a process 65,530 of them."""


@pytest.fixture(autouse=True, scope="module")
def _few_memory_maps() -> Iterator[None]:
    """Keep a worker below the limit: a compiled program holds several maps, and without any it crashes."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MANY_MAPS:
        jax.clear_caches()
