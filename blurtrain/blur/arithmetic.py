"""The arithmetic of a blur is its own: autocast and TF32 are meant for the network that the images go to."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")
Blur = Callable[Concatenate[Tensor, P], Tensor]


def in_own_arithmetic(blur: Blur[P]) -> Blur[P]:
    """`blur`, whose first argument is images, as it is outside torch.autocast and where float32 products are float32.

    Else a product would be rounded to bfloat16, or its factors to TF32, and err by up to 1 of 255.
    """

    @functools.wraps(blur)
    def exact(images: Tensor, *arguments: P.args, **named: P.kwargs) -> Tensor:
        with torch.autocast(images.device.type, enabled=False), _float32_products(images.device):
            return blur(images, *arguments, **named)

    return exact


@contextlib.contextmanager
def _float32_products(device: torch.device) -> Iterator[None]:
    products = torch.backends.cuda.matmul if device.type == "cuda" else torch.backends.mkldnn.matmul
    before = products.fp32_precision
    if before in ("none", "ieee"):  # none: torch's default, which for products is float32
        yield
        return
    products.fp32_precision = "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before
