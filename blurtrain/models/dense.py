"""A network applied fully convolutionally: to an image of any size, at every place that its stride allows.

The network is cut where its last feature map leaves the convolutions. Of the map of a larger image, every window as
large as the map at the network's own input size goes through what follows (its head), so that each convolution is
computed once. What is convolved near a window's border sees the image around it, and not the zeros that a crop of its
own would be padded with; of a network without padding, a window gives just what its crop gives.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, relu

from blurtrain.device import tf32
from blurtrain.errors import SettingsError

PIXELS = 2**21
"""Images go through the convolutions so many pixels at a time: a feature map of 64 channels then takes 512 MB."""
NUMBERS = 2**25
"""Windows go through the head so many numbers at a time (128 MB)."""
Part = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dense:
    """A network in two parts, for images of any size."""

    features: Part
    """Images [N, 3, H, W] to maps [N, C, h, w], for any H and W that its convolutions take."""
    head: Part
    """Maps [N, C, *window] to logits [N, outputs]."""
    window: tuple[int, int]
    """Height and width of the map at the network's own input size."""
    pooled: bool
    """Whether the head averages (or takes the largest) over the whole map, so that it takes a map of any size."""

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N, places, outputs] of images [N, 3, H, W]: of every window of the map at stride 1, row by row.

        A map smaller than the window is one place: as it is where the head is pooled, else amid zeros, as Vasiljevic et
        al. 2016 pad pool5 (where the zeros are not even, the bottom and the right get one more).
        """
        at_once = max(1, PIXELS // (images.shape[-1] * images.shape[-2]))
        return torch.cat([self._logits(part) for part in images.split(at_once)])

    def _logits(self, images: Tensor) -> Tensor:
        maps = self._filled(self.features(images))
        (height, width), (h, w) = self.window, maps.shape[-2:]
        height, width = min(height, h), min(width, w)
        places = [(top, left) for top in range(h - height + 1) for left in range(w - width + 1)]
        at_once = max(1, NUMBERS // (len(maps) * maps.shape[1] * height * width))
        found = []
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            windows = torch.stack([maps[..., top : top + height, left : left + width] for top, left in some], dim=1)
            logits = self.head(windows.flatten(0, 1))
            found.append(logits.unflatten(0, (len(maps), len(some))))
        return torch.cat(found, dim=1)

    def _filled(self, maps: Tensor) -> Tensor:
        if self.pooled:
            return maps
        lacking = [max(0, side - there) for side, there in zip(self.window, maps.shape[-2:], strict=True)]
        (top, left), (bottom, right) = ([n // 2 for n in lacking], [n - n // 2 for n in lacking])
        return pad(maps, (left, right, top, bottom)) if any(lacking) else maps


@tf32(False)
@torch.inference_mode()
def dense(module: nn.Module, side: int, name: str) -> Dense:
    """`module` (in evaluation mode, images [N, 3, side, side] to logits) in two parts, found out by trying.

    A network of timm, or of one's own, that has the methods `forward_features` and `forward_head` is cut there; any
    other after the last of its direct parts whose map grows with the image, where what follows can be put together.
    Both parts in turn must give what the whole gives. Raises SettingsError, one line, where none does; `name`: what it
    calls the network.
    """
    like = next(module.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, side, side, generator=generator).to(like)
    logits = module(images)
    for features, head in _cuts(module, images):
        try:
            maps, larger = features(images), features(torch.cat([images] * 2, 2))
            grows = maps.ndim == larger.ndim == 4 and maps.shape[1] == larger.shape[1] and _smaller(maps, larger)
            if grows and _close(head(maps), logits):
                found = torch.rand(maps.shape, generator=generator).to(maps)
                pooled = _close(head(found), head(found.flip(2, 3)))
                return Dense(features, head, (maps.shape[2], maps.shape[3]), pooled)
        except Exception:  # each network has its own way to refuse
            continue
    raise SettingsError(
        f"{name}: cannot be applied fully convolutionally, as it is not feature maps and then a head: set "
        "evaluation.protocol.crops=five, or give a network of your own forward_features and forward_head"
    )


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def _cuts(module: nn.Module, images: Tensor) -> Iterator[tuple[Part, Part]]:
    """Where `module` may be cut, each a pair of its features and its head."""
    if hasattr(module, "forward_features") and hasattr(module, "forward_head"):
        yield module.forward_features, module.forward_head
    own, larger = _traced(module, images), _traced(module, torch.cat([images] * 2, 2))
    grown = {name: out for name, _, out in larger}
    cut = max((k for k, (name, _, out) in enumerate(own) if name in grown and _smaller(out, grown[name])), default=None)
    if cut is None:
        return
    last, rest = own[cut][0], [(module.get_submodule(name), ndim) for name, ndim, _ in own[cut + 1 :]]

    def features(shown: Tensor) -> Tensor:
        return _until(module, module.get_submodule(last), shown)

    for before in (lambda m: m, lambda m: adaptive_avg_pool2d(m, 1), lambda m: adaptive_avg_pool2d(relu(m), 1)):

        def head(maps: Tensor, before: Part = before) -> Tensor:
            found = before(maps)
            for part, ndim in rest:
                found = part(found.flatten(1) if ndim == 2 else found)
            return found.flatten(1)

        yield features, head


def _smaller(a: Tensor, b: Tensor) -> bool:
    return a.ndim == b.ndim == 4 and a.shape[2] < b.shape[2]


def _traced(module: nn.Module, images: Tensor) -> list[tuple[str, int, Tensor]]:
    """The direct parts of `module` as it uses them one after the other: name, dimensions of what it gets, and what it
    gives. Up to where it refuses the images."""
    steps: list[tuple[str, int, Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, given, out: steps.append((name, given[0].ndim, out))

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_children()]
    try:
        module(images)
    except Exception:  # as a head that is not for images of this size does; the maps are there by then
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return steps


class _Reached(Exception):
    def __init__(self, maps: Tensor):
        self.maps = maps


def _until(module: nn.Module, last: nn.Module, images: Tensor) -> Tensor:
    """What `last` gives, when `module` comes to it."""

    def stop(_: nn.Module, __: tuple[Tensor, ...], maps: Tensor) -> None:
        raise _Reached(maps)

    hook = last.register_forward_hook(stop)
    try:
        module(images)
    except _Reached as reached:
        return reached.maps
    finally:
        hook.remove()
    raise RuntimeError(f"the network no longer uses its {type(last).__name__}")
