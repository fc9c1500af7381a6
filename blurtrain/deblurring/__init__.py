"""Deblurring of images whose kernel is known, or not: methods are settings sections that hold their own behaviour."""

from blurtrain.deblurring.methods import AnyDeblurring, Deblurring, NonBlind

__all__ = ["AnyDeblurring", "Deblurring", "NonBlind"]
