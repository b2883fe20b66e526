"""Crystals: structure, symmetry, neighbour shells and supercells."""
