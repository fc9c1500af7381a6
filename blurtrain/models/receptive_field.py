"""Theoretical receptive fields: which pixels each unit of each layer can depend on, whatever the weights are.

The network is applied to one image, and every operation of torch that it comes to says what its outcome depends on.
So any module is followed as it is: skip connections, branches, functional poolings, code of one's own. Fields add up as
in Araujo, Norris & Sim ("Computing receptive fields of convolutional neural networks", Distill 2019).
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

LAYERS = (nn.modules.conv._ConvNd, nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.Linear,
          nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)  # fmt: skip
"""Modules whose fields are given."""


@dataclass(frozen=True)
class Span:
    """Along one axis of the image, in its pixels: unit k of a layer sees the pixels start + k * stride, and so many
    behind it."""

    start: float
    """Of unit 0; negative where it sees padding."""
    size: float
    """Of the longest path."""
    stride: float
    """0: all units see the same."""
    least: float
    """Size of the shortest path, such as skip connections; as `size` where there is one alone."""

    def windowed(self, size: float, stride: float, before: float) -> "Span":
        """Of units that look at `size` units of these at every `stride`; `before`: how many lie before the first."""
        more = (size - 1) * self.stride
        return Span(self.start - before * self.stride, self.size + more, stride * self.stride, self.least + more)

    def whole(self, units: int) -> "Span":
        """Of what depends on all of so many units."""
        return replace(self.windowed(units, 1, 0), stride=0)

    def joined(self, other: "Span") -> "Span":
        """Of what depends on both."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        least = min(self.least, other.least)
        return Span(start, end - start, self.stride if self.stride == other.stride else 0, least)


@dataclass(frozen=True)
class Field:
    """What the units of a layer see."""

    rows: Span
    columns: Span
    places: tuple[int, int]
    """How many units there are along both; (1, 1): of no place, as of a linear layer."""

    @property
    def is_whole(self) -> bool:
        """Whether all units see the same."""
        return self.rows.stride == 0 and self.columns.stride == 0

    def centre(self, unit: tuple[int, int]) -> tuple[float, float]:
        """Row and column of the middle of what a unit sees."""
        spans = zip((self.rows, self.columns), unit, strict=True)
        row, column = (s.start + k * s.stride + (s.size - 1) / 2 for s, k in spans)
        return row, column


@torch.inference_mode(False)  # in which tensors do not keep what is noted of them
@torch.no_grad()
def receptive_fields(module: nn.Module, images: Tensor) -> dict[str, Field]:
    """By the path of each layer (`LAYERS`), in the order in which they are applied, the field of its units.

    images: [1, C, H, W]; their values play no part, unless the network's own code looks at them. A field may be larger
    than the image; where all units see the same (behind a global pooling, in a linear layer), it is what they see of
    the padded image. Of a layer that is applied several times it is that of the last time. An operation that is not
    known to leave rows and columns in place counts as if its outcome depended on all it is given, so a field is never
    too small; of what has no place any more (tokens of a transformer) it is that of all places together.
    """
    found: dict[str, Field] = {}
    following = _Following()

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, outcome: Any) -> None:
            known = following.of(outcome) if isinstance(outcome, Tensor) else None
            if known:
                found.pop(name, None)
                found[name] = known.field(outcome)

        return hook

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, LAYERS)}
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    training = module.training
    module.eval()
    try:
        pixel = Span(0, 1, 1, 1)
        images = images.clone()
        following.begin(images, _Seen(pixel, pixel, (2, 3)))
        with _Linear(), following:
            module(images)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return found


# --- how it is followed -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """Of a tensor; `axes`: its dimensions of rows and columns, None where it has none (then strides are 0)."""

    rows: Span
    columns: Span
    axes: tuple[int, int] | None

    def field(self, tensor: Tensor) -> Field:
        return Field(self.rows, self.columns, self.sides(tensor) if self.axes else (1, 1))

    def sides(self, tensor: Tensor) -> tuple[int, int]:
        assert self.axes
        return tensor.shape[self.axes[0]], tensor.shape[self.axes[1]]

    def whole(self, tensor: Tensor) -> "_Seen":
        """Of what depends on all places."""
        if self.axes is None:
            return self
        down, across = self.sides(tensor)
        return _Seen(self.rows.whole(down), self.columns.whole(across), None)

    def joined(self, other: "_Seen") -> "_Seen":
        axes = self.axes if self.axes is not None else other.axes
        return _Seen(self.rows.joined(other.rows), self.columns.joined(other.columns), axes)

    def by_axis(self, change: Callable[[Span, int], Span]) -> "_Seen":
        """With the spans that `change` makes of them; it is given 0 for rows, 1 for columns."""
        return replace(self, rows=change(self.rows, 0), columns=change(self.columns, 1))


class _Following(TorchDispatchMode):
    """Notes of each tensor what it depends on, on the tensor itself."""

    def begin(self, images: Tensor, seen: _Seen) -> None:
        images._seen = seen

    @staticmethod
    def of(tensor: Tensor) -> _Seen | None:
        """None of what does not depend on the image."""
        return getattr(tensor, "_seen", None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Before it is applied, as what works in place changes what it was given.
        given = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        seen = [(t, s) for t in given if (s := self.of(t))]
        outcome = func(*args, **(kwargs or {}))
        if seen:
            rule = _RULES.get(func.overloadpacket.__name__)
            for one in torch.utils._pytree.tree_leaves(outcome):
                if isinstance(one, Tensor):
                    found = rule(args, one, seen[0][1]) if rule and len(seen) == 1 else None
                    one._seen = found or _any(func, seen, one)
        return outcome


class _Linear(TorchFunctionMode):
    """A linear layer on channels that come last leaves places where they are; what torch makes of it, a product with a
    matrix of all places, no longer shows that."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outcome = func(*args, **(kwargs or {}))
        seen = _Following.of(args[0]) if func is nn.functional.linear else None
        if seen and seen.axes and max(seen.axes) < args[0].dim() - 1:
            outcome._seen = seen
        return outcome


def _any(func: Any, seen: Sequence[tuple[Tensor, _Seen]], outcome: Tensor) -> _Seen:
    """Of an operation without a rule of its own."""
    in_place = torch.Tag.pointwise in func.tags or func.overloadpacket.__name__ in _IN_PLACE
    parts = [s if in_place and _stays(t, s, outcome) else s.whole(t) for t, s in seen]
    if len({(s.rows.stride, s.columns.stride) for s in parts}) > 1:
        parts = [replace(s.whole(t), axes=s.axes) for (t, _), s in zip(seen, parts, strict=True)]
    return functools.reduce(_Seen.joined, parts)


def _stays(tensor: Tensor, seen: _Seen, outcome: Tensor) -> bool:
    """Whether rows and columns are where they were."""
    if seen.axes is None or tensor.dim() != outcome.dim():
        return False
    return all(tensor.shape[axis] == outcome.shape[axis] for axis in seen.axes)


_IN_PLACE = {"native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cat", "clone",
             "_native_batch_norm_legit_functional", "cudnn_batch_norm", "copy_", "_to_copy", "detach", "alias",
             "contiguous", "native_dropout", "native_channel_shuffle", "channel_shuffle", "_prelu_kernel"}  # fmt: skip
"""Operations that combine what is at one place alone, beside those that torch itself calls pointwise."""


def _pair(values: Any) -> list[int]:
    values = list(values) if isinstance(values, list | tuple) else [values]
    return values * 2 if len(values) == 1 else values


def _argument(args: Sequence[Any], place: int, otherwise: Any) -> Any:
    return args[place] if len(args) > place and args[place] not in ([], ()) else otherwise


def _convolution(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    _, weight, _, stride, padding, dilation, transposed = args[:7]
    if transposed or seen.axes != (2, 3) or outcome.dim() != 4:
        return None
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    size = [dilation[k] * (weight.shape[2 + k] - 1) + 1 for k in (0, 1)]
    return seen.by_axis(lambda span, k: span.windowed(size[k], stride[k], padding[k]))


def _pooled(args: Sequence[Any], outcome: Tensor, seen: _Seen, dilates: bool) -> _Seen | None:
    if seen.axes != (2, 3):
        return None
    kernel = _pair(args[1])
    stride, padding = _pair(_argument(args, 2, kernel)), _pair(_argument(args, 3, 0))
    dilation = _pair(_argument(args, 4, 1)) if dilates else [1, 1]
    size = [dilation[k] * (kernel[k] - 1) + 1 for k in (0, 1)]
    return seen.by_axis(lambda span, k: span.windowed(size[k], stride[k], padding[k]))


def _adaptive(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    """Bins may differ by a unit: the largest counts."""
    if seen.axes != (2, 3):
        return None
    of, to = args[0].shape[-2:], outcome.shape[-2:]
    if tuple(to) == (1, 1):
        return replace(seen.whole(args[0]), axes=(2, 3))
    size = [max(math.ceil((i + 1) * n / m) - i * n // m for i in range(m)) for n, m in zip(of, to, strict=True)]
    return seen.by_axis(lambda span, k: span.windowed(size[k], of[k] / to[k], 0))


def _mean(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    """Means, sums and largest values over some dimensions."""
    if seen.axes is None or _argument(args, 1, None) is None:
        return None
    tensor, keeps = args[0], len(args) > 2 and bool(args[2])
    over = {d % tensor.dim() for d in (args[1] if isinstance(args[1], list | tuple) else [args[1]])}
    if not over & set(seen.axes):
        axes = tuple(a - (0 if keeps else sum(d < a for d in over)) for a in seen.axes)
        return replace(seen, axes=(axes[0], axes[1]))
    if set(seen.axes) <= over and keeps:
        return replace(seen.whole(tensor), axes=seen.axes)
    return None


def _padded(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    tensor, pads = args[0], args[1]
    if seen.axes is None:
        return None
    before = [pads[2 * d] if len(pads) > 2 * d else 0 for d in (tensor.dim() - 1 - a for a in seen.axes)]
    return seen.by_axis(lambda span, k: replace(span, start=span.start - before[k] * span.stride))


def _slice(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    tensor, axis = args[0], _argument(args, 1, 0) % args[0].dim()
    if seen.axes is None or axis not in seen.axes:
        return seen
    side = tensor.shape[axis]
    start = _argument(args, 2, 0) or 0
    start, step = max(start + side, 0) if start < 0 else min(start, side), _argument(args, 4, 1)
    at = seen.axes.index(axis)
    return seen.by_axis(lambda span, k: span.windowed(1, step, -start) if k == at else span)


def _permuted(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    if seen.axes is None:
        return seen
    order = [d % args[0].dim() for d in args[1]]
    return replace(seen, axes=(order.index(seen.axes[0]), order.index(seen.axes[1])))


def _transposed(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    first, second = (d % args[0].dim() for d in args[1:3])
    order = list(range(args[0].dim()))
    order[first], order[second] = second, first
    return _permuted((args[0], order), outcome, seen)


def _viewed(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    """Rows and columns stay what they are where the last two dimensions are them before and after."""
    tensor = args[0]
    if seen.axes is None:
        return seen
    if tensor.shape == outcome.shape:
        return seen
    last = (tensor.dim() - 2, tensor.dim() - 1)
    if seen.axes == last and outcome.dim() > 2 and outcome.shape[-2:] == tensor.shape[-2:]:
        return replace(seen, axes=(outcome.dim() - 2, outcome.dim() - 1))
    first = seen.axes == (1, 2) and outcome.dim() > 3 and outcome.shape[:3] == tensor.shape[:3]
    return seen if first else None


def _normed(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    """Layer norm over the last dimensions: of one place where these are channels."""
    if seen.axes and outcome.shape == args[0].shape and max(seen.axes) < args[0].dim() - len(args[1]):
        return seen
    return None


def _split(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    axis = _argument(args, 2, 0) % args[0].dim()
    return seen if seen.axes is None or axis not in seen.axes else None


def _selected(args: Sequence[Any], outcome: Tensor, seen: _Seen) -> _Seen | None:
    """One entry of a dimension, which is then gone."""
    axis = args[1] % args[0].dim()
    if seen.axes is None or axis in seen.axes:
        return None
    return replace(seen, axes=(seen.axes[0] - (axis < seen.axes[0]), seen.axes[1] - (axis < seen.axes[1])))


_RULES: dict[str, Callable[..., _Seen | None]] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "max_pool2d_with_indices": lambda args, outcome, seen: _pooled(args, outcome, seen, True),
    "max_pool2d": lambda args, outcome, seen: _pooled(args, outcome, seen, True),
    "avg_pool2d": lambda args, outcome, seen: _pooled(args, outcome, seen, False),
    "_adaptive_avg_pool2d": _adaptive,
    "adaptive_avg_pool2d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "mean": _mean,
    "sum": _mean,
    "amax": _mean,
    "constant_pad_nd": _padded,
    "reflection_pad2d": _padded,
    "replication_pad2d": _padded,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "select": _selected,
    "permute": _permuted,
    "transpose": _transposed,
    "view": _viewed,
    "_unsafe_view": _viewed,
    "reshape": _viewed,
    "native_layer_norm": _normed,
}
"""By the name of the operation of torch; None: as for any other one."""
