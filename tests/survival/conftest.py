"""The tiny model and its fit, as the tests of the command line have them."""

from tests.cli.conftest import folder, shared

__all__ = ["folder", "shared"]
