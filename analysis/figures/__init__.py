"""Figures, a kind each file."""
