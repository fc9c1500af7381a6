"""Blur: kernels, image operators on any device, and curricula. Knows nothing of datasets or training.

What needs torch is imported when it is first asked for: settings name curricula, and are read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blurtrain.blur import kernels
    from blurtrain.blur.convolution import convolve
    from blurtrain.blur.operators import box_blur, gaussian_blur, resized_crop_blur
    from blurtrain.blur.random_blur import RandomBlur

__all__ = ["RandomBlur", "box_blur", "convolve", "gaussian_blur", "kernels", "resized_crop_blur"]
_WHERE = {
    "RandomBlur": "random_blur",
    "convolve": "convolution",
    "box_blur": "operators",
    "gaussian_blur": "operators",
    "resized_crop_blur": "operators",
}


def __getattr__(name: str) -> Any:
    if name == "kernels":
        return importlib.import_module("blurtrain.blur.kernels")
    if name in _WHERE:
        return getattr(importlib.import_module(f"blurtrain.blur.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
