"""NumPyro that another library made a lazy module before we import it."""

import subprocess
import sys

SCRIPT = """
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec

spec = find_spec("numpyro")
spec.loader = LazyLoader(spec.loader)
sys.modules["numpyro"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["numpyro"])

import bayestds.inference.likelihoods.base
import numpyro

numpyro.factor
print(hasattr(sys.modules["numpyro.distributions"], "distribution"))
"""


def test_lazy_numpyro_is_loaded_once():
    """ArviZ 1.3 does so; loaded twice, `numpyro.factor` misses a class that only the first copy has."""
    finished = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert finished.stdout == "True\n", finished.stderr
