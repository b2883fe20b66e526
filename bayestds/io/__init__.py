"""Scattering volumes in files: one module per format, one registry."""

from bayestds.io.registry import read_volume, write_volume

__all__ = ["read_volume", "write_volume"]
