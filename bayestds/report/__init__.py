"""Figures and the self-contained page that explains a result."""
