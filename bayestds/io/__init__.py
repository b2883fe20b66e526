"""Scattering volumes in files: one module per format, one registry."""

from bayestds.io.registry import format_name, read_volume, write_volume

__all__ = ["format_name", "read_volume", "write_volume"]
