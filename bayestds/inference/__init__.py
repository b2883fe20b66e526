"""From a volume to force constants: likelihood, priors, point fit and posterior."""

# ArviZ may have left NumPyro in `sys.modules` as a module that loads on first use, and Python's LazyLoader
# loads a submodule twice if it is imported before its package was used. Taking one name loads all, once.
from numpyro import distributions as _distributions  # noqa: F401
