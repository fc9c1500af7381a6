"""The arithmetic of a blur is its own: autocast and TF32 are meant for the network that the images go to."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec

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
        products = torch.backends.cuda.matmul if images.device.type == "cuda" else torch.backends.mkldnn.matmul
        with torch.autocast(images.device.type, enabled=False), in_float32(products, default="ieee"):
            return blur(images, *arguments, **named)

    return exact


def at_least_single(values: Tensor) -> Tensor:
    """Values in half precision as float32, others as they are: torch has no spectra of the former, and a cosine of them
    is rounded to 1."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextlib.contextmanager
def in_float32(operation: Any, default: str) -> Iterator[None]:
    """Without TF32 in `operation` (as torch.backends.cudnn.conv), where torch's own default is "ieee" or "tf32".

    By these flags alone: torch 2.11 refuses to read the older `allow_tf32` once someone has set one of these.
    """
    before = operation.fp32_precision
    if before == "ieee" or (before, default) == ("none", "ieee"):
        yield
        return
    operation.fp32_precision = "ieee"
    try:
        yield
    finally:
        operation.fp32_precision = before
