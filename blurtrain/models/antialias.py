"""Anti-aliased down-sampling (Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019): what a network
computes at a stride it computes everywhere, blurs, and then samples; in any network, under the names of its weights."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad
from torch.nn.modules.batchnorm import _BatchNorm

from blurtrain.errors import SettingsError
from blurtrain.settings import Antialias

SIDES = (224, 256, 384, 64, 32)
"""Sides of the image by which a network is followed: the first that it takes."""
PATCH = 4
"""A convolution of this stride or more, and as large as its stride, cuts the image into patches, and stays."""
_ACTIVATIONS = ("torch.nn.modules.activation", "timm.layers.activations", "timm.layers.activations_me")


class BlurPool(nn.Module):
    """Maps [N, C, H, W] blurred and sampled at `stride`: [N, C, ceil(H / stride), ceil(W / stride)].

    The filter is the outer product of binomial coefficients of `taps` (2: a box, 3: a triangle, 5: nearly a Gaussian),
    unit sum; borders reflect without repeating the edge, and where a map is too small for that they repeat it. learnt:
    the filter of each axis is a mean of those of `taps`, taps - 2, ... taps, weighted by the softmax of `sizes`, which
    begin equal and are the only parameters. whole: rows and columns that do not fill a stride are left out.
    """

    filters: Tensor

    def __init__(self, stride: tuple[int, int], taps: int, learnt: bool = False, whole: bool = False):
        super().__init__()
        self.stride, self.taps, self.whole = stride, taps, whole
        rows = [_binomial(size, taps) for size in (range(taps, 0, -2) if learnt else [taps])]
        self.register_buffer("filters", torch.tensor(rows), persistent=False)
        self.sizes = nn.Parameter(torch.zeros(len(rows))) if learnt else None

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        if self.whole:
            height, width = (side - side % step for side, step in zip(maps.shape[-2:], self.stride, strict=True))
            maps = maps[..., :height, :width]
        taps = self.filters[0] if self.sizes is None else self.sizes.softmax(0) @ self.filters
        weight = torch.outer(taps, taps).to(maps.dtype).expand(maps.shape[1], 1, -1, -1)
        before, after = (self.taps - 1) // 2, self.taps // 2
        return conv2d(bordered(maps, before, after), weight, stride=self.stride, groups=maps.shape[1])

    def extra_repr(self) -> str:
        """What `print` of a network shows of it."""
        return f"stride={self.stride}, taps={self.taps}, learnt={self.sizes is not None}, whole={self.whole}"


def _binomial(size: int, taps: int) -> list[float]:
    """Coefficients of (1 + x)^(size - 1) / 2^(size - 1), amid zeros to `taps`."""
    margin = [0.0] * ((taps - size) // 2)
    return [*margin, *(math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)), *margin]


def bordered(maps: Tensor, before: int, after: int) -> Tensor:
    """Maps [N, C, H, W] with so many reflected rows and columns around them; of torch's own reflection the gradient
    depends on the order of threads on a GPU, so there slices do it."""
    if min(maps.shape[-2:]) <= after:
        return pad(maps, (before, after, before, after), mode="replicate")
    if not (maps.is_cuda and torch.is_grad_enabled()):
        return pad(maps, (before, after, before, after), mode="reflect")
    return reflected(reflected(maps, before, after, 3), before, after, 2)


def reflected(maps: Tensor, before: int, after: int, axis: int) -> Tensor:
    """`maps` [N, C, H, W] with so many reflected entries at both ends of an axis, whose gradient is the same bits every
    time."""
    side = maps.shape[axis]
    ends = maps.narrow(axis, 1, before), maps.narrow(axis, side - 1 - after, after)
    return torch.cat([ends[0].flip(axis), maps, ends[1].flip(axis)], axis)


def pool_class(settings: Antialias) -> type[BlurPool]:
    """What timm's networks take as `aa_layer`."""

    class Pool(BlurPool):
        def __init__(self, channels: int | None = None, stride: int = 2, **_: Any):
            super().__init__((stride, stride), settings.filter, settings.learnt)

    return Pool


def antialias(network: nn.Module, settings: Antialias, name: str) -> None:
    """From now on, `network` blurs before it samples, in place; the weights of the plain network load into it.

    Strided convolutions and poolings get stride 1, and a `BlurPool` of their stride follows: behind the activation that
    a convolution leads to, by way of batch norm or not (as in the paper); of a convolution of 1 x 1 without one, as of
    shortcuts, before it, which gives the same for less. An average over pixels that do not overlap is replaced. Which
    module follows which is seen on one image. Poolings that leave one pixel, and cuts into patches, stay; what a
    network does without modules cannot be seen. Learnt filters are the only new tensors (`...sizes`). Raises
    SettingsError, one line with `name`, where nothing is strided, or the outcome would be of another shape.
    """
    training = network.training
    network.eval()
    try:
        images, shape, uses = _followed(network, name)
        blurred = any(isinstance(module, BlurPool) for module in network.modules())
        strided = [k for k, use in enumerate(uses) if _is_strided(use)]
        if not strided and not blurred:
            raise SettingsError(
                f"network.antialias: {name} has no strided convolution or pooling (cuts into patches do not count): "
                "leave it out"
            )
        for module, attach, pool in [_change(uses, k, settings) for k in strided]:
            attach(module, pool.to(images.device))
        now: Any = None
        try:
            now = tuple(network(images).shape)
        except Exception as error:  # each network has its own way to refuse
            now = str(error).split("\n")[0]
        if now != shape:
            raise SettingsError(f"network.antialias: {name} cannot be anti-aliased (it then gives {now}): leave it out")
    finally:
        network.train(training)


@dataclass(frozen=True)
class _Use:
    """A module as it was used once."""

    module: nn.Module
    given: Any
    out: Any


@torch.no_grad()
def _followed(network: nn.Module, name: str) -> tuple[Tensor, tuple[int, ...], list[_Use]]:
    """An image that the network takes, the shape of what it makes of it, and the uses of its modules in between."""
    like = next(network.parameters())
    uses: list[_Use] = []

    def note(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        uses.append(_Use(module, given[0] if given else None, out))

    said = ""
    for side in SIDES:
        uses.clear()
        hooks = [module.register_forward_hook(note) for module in network.modules()]
        try:
            images = torch.zeros(1, 3, side, side, dtype=like.dtype, device=like.device)
            return images, tuple(network(images).shape), [*uses]
        except Exception as error:  # each network has its own way to refuse
            said = said or str(error).split("\n")[0]
        finally:
            for hook in hooks:
                hook.remove()
    raise SettingsError(f"network.antialias: {name} cannot be followed ({said}): leave it out")


def _is_strided(use: _Use) -> bool:
    module = use.module
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) or max(_pair(module.stride)) == 1:
        return False
    if isinstance(module, nn.Conv2d):
        return min(_pair(module.stride)) < PATCH or _pair(module.kernel_size) != _pair(module.stride)
    return bool(max(use.out.shape[-2:]) > 1)


_Change = tuple[nn.Module, Callable[[nn.Module, BlurPool], None], BlurPool]


def _change(uses: list[_Use], k: int, settings: Antialias) -> _Change:
    """Takes the stride off the k-th use's module; where its blur goes, before or behind which module."""
    module = uses[k].module
    assert isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    stride, whole = _pair(module.stride), False
    if isinstance(module, nn.AvgPool2d) and _pair(module.kernel_size) == stride and _pair(module.padding) == (0, 0):
        whole = not module.ceil_mode
        module.kernel_size = 1
    module.stride = (1, 1)
    pool = BlurPool(stride, settings.filter, settings.learnt, whole)
    if not isinstance(module, nn.Conv2d):
        return module, _behind, pool
    if (activation := _activation(uses, k)) is None:
        return module, _before if _pair(module.kernel_size) == (1, 1) else _behind, pool
    own, at = activation
    if sum(use.module is own for use in uses) == 1:
        return own, _behind, pool
    # One module is every activation of the block, so the blur stands before what takes this one's outcome.
    takers = [use.module for use in uses[at + 1 :] if use.given is uses[at].out and isinstance(use.module, nn.Conv2d)]
    return (takers[0], _before, pool) if takers else (module, _behind, pool)


def _activation(uses: list[_Use], k: int) -> tuple[nn.Module, int] | None:
    """The activation that the k-th use leads to, by way of batch norm or not, and where it is used; None: to none."""
    for at in _takers(uses, k):
        module = uses[at].module
        if type(module).__module__ in _ACTIVATIONS:
            return module, at
        if isinstance(module, _BatchNorm):
            inner = getattr(module, "act", None)  # of timm, which has both in one
            if inner is not None and type(inner).__module__ in _ACTIVATIONS:
                return inner, at
            return _activation(uses, at)
    return None


def _takers(uses: list[_Use], k: int) -> Iterator[int]:
    """Where what the k-th use gave is used next."""
    return (at for at in range(k + 1, len(uses)) if uses[at].given is uses[k].out)


def _behind(module: nn.Module, pool: BlurPool) -> None:
    module.add_module("blur_behind", pool)
    module.register_forward_hook(_blur_behind)


def _before(module: nn.Module, pool: BlurPool) -> None:
    module.add_module("blur_before", pool)
    module.register_forward_pre_hook(_blur_before)


# Functions of this file, so that copies of a network blur by their own pools.
def _blur_behind(module: nn.Module, _: Any, out: Tensor) -> Any:
    return module.blur_behind(out)


def _blur_before(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.blur_before(given[0]), *given[1:])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
