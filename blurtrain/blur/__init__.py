"""Blur as mathematics: kernels, image operators on any device, and curricula. Knows nothing of datasets or training."""

from blurtrain.blur import kernels
from blurtrain.blur.convolution import convolve
from blurtrain.blur.operators import box_blur, gaussian_blur, resized_crop_blur

__all__ = ["box_blur", "convolve", "gaussian_blur", "kernels", "resized_crop_blur"]
