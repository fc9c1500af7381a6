"""Where the activations of a network are looked at, and how they are read from a forward pass.

Stages that nobody names are found by trying: a map is what grows with the image, and a stage ends with the last map
before the resolution drops below all that came before; the last stage with the last map of all. So a stage's map is
what the layer that lowers the resolution is given: of a ResNet the first rectified convolution and what its groups of
blocks give, of VGG what each pooling is given.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blurtrain.device import tf32
from blurtrain.errors import SettingsError, nearest

DROP = 0.75**2
"""A map of fewer places, relative to the smallest before it, is of a lower resolution; one that lacks a border of a few
places, for want of padding, is not."""
Visit = Callable[[int, Tensor], None]
"""Takes the number of a stage, and its map [N, H, W, C] in float32. The map is the network's own memory, which it may
write into as soon as this returns."""
Reader = Callable[[Tensor, Visit], None]
"""Takes normalised images [N, 3, H, W], of any size that the layers take, and what is called with each stage."""


@dataclass(frozen=True)
class Stage:
    """The output of one layer, in one of its uses."""

    name: str
    """As results call it: stage1, stage2, ... or the layer's own name, where it was asked for by that."""
    layer: str
    """The name of the module."""
    use: int
    """In which of its uses in a forward pass, from 0: some networks use one module several times."""
    channels_last: bool
    """Whether a map of it is [N, H, W, C], as in some transformers, and not [N, C, H, W]."""

    def map_of(self, output: Tensor) -> Tensor:
        """An output of the layer as a map [N, H, W, C] in float32.

        Tokens [N, T, C] are a square map, without those that come before it, such as that of the class; a vector [N, C]
        is a map of one place.
        """
        if output.ndim == 4:
            found = output if self.channels_last else output.permute(0, 2, 3, 1)
        elif output.ndim == 3:
            side = math.isqrt(output.shape[1])
            found = output[:, output.shape[1] - side * side :].unflatten(1, (side, side))
        else:
            found = output[:, None, None]
        return found.float().contiguous()


@dataclass(frozen=True)
class _Output:
    """What a layer gave while it was tried."""

    layer: str
    use: int
    shape: tuple[int, ...]


@tf32(False)
@torch.inference_mode()
def stages_of(module: nn.Module, side: int, origin: str, layers: Sequence[str] = ()) -> tuple[Stage, ...]:
    """The stages of `module` (in evaluation mode, for images of `side` pixels), in the order of its forward pass.

    layers: names of the modules whose outputs are meant, each in its last use; none: they are found. Raises
    SettingsError, one line that begins with `origin`, where there is no such layer, it gives no tensor of 2 to 4
    dimensions, or nothing can be found.
    """
    like = next(module.parameters())
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(like)
    if layers:
        return _named(module, images, origin, layers)
    own, taller = _outputs(module, images), _outputs(module, torch.cat([images] * 2, 2))
    shape_of_taller = {(out.layer, out.use): out.shape for out in taller}
    maps = [
        (out, way)
        for out in own
        if (way := _grown(out.shape, shape_of_taller.get((out.layer, out.use), out.shape))) is not None
    ]
    if not maps:
        raise SettingsError(
            f"{origin}: no feature map of it grows with the image (or it takes images of {side} px alone, as many "
            f"transformers do), so its stages cannot be found: name modules, layers=[...] (known: {_some(module)})"
        )
    ends, smallest = [], math.inf
    for k, (out, way) in enumerate(maps):
        places = out.shape[way] * out.shape[way + 1]
        if places < DROP * smallest and k:
            ends.append(k - 1)
        smallest = min(smallest, places)
    ends.append(len(maps) - 1)
    return tuple(
        Stage(f"stage{number}", maps[k][0].layer, maps[k][0].use, channels_last=maps[k][1] == 1)
        for number, k in enumerate(ends, 1)
    )


def _named(module: nn.Module, images: Tensor, origin: str, layers: Sequence[str]) -> tuple[Stage, ...]:
    known = dict(module.named_modules())
    if unknown := [layer for layer in layers if not layer or layer not in known]:
        raise SettingsError(f"{origin}: has no layer {unknown[0]!r}; {_nearest(unknown[0], module)}")
    last = {out.layer: out for out in _outputs(module, images)}
    for layer in layers:
        if layer not in last or len(last[layer].shape) not in (2, 3, 4):
            raise SettingsError(f"{origin}: layer {layer!r} gives no feature map in a forward pass; name another one")
    used = [out for out in last.values() if out.layer in layers]
    return tuple(Stage(out.layer, out.layer, out.use, _looks_channels_last(out.shape)) for out in used)


def _looks_channels_last(shape: tuple[int, ...]) -> bool:
    """Of a square image's map, whose two equal sides lie either before the channels or behind them."""
    return len(shape) == 4 and shape[1] == shape[2] != shape[3]


def _grown(shape: tuple[int, ...], taller: tuple[int, ...]) -> int | None:
    """Where the height of a map stands in its shape, which is what grows with the height of the image: 1 or 2; None of
    what is no map of one image."""
    if len(shape) != 4 or len(taller) != 4 or shape[0] != 1:
        return None
    grown = [way for way in range(4) if taller[way] > shape[way]]
    return grown[0] if grown in ([1], [2]) else None


def _outputs(module: nn.Module, images: Tensor) -> list[_Output]:
    """What the layers give, in the order in which they are done; up to where the network refuses the images."""
    found: list[_Output] = []
    uses: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            use = uses[name] = uses.get(name, -1) + 1
            if isinstance(output, Tensor):
                found.append(_Output(name, use, tuple(output.shape)))

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if name]
    try:
        module(images)
    except Exception:  # each network has its own way to refuse; the maps are there by then
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return found


class _AllSeen(Exception):
    """The rest of the forward pass is not needed."""


@contextlib.contextmanager
def reading(module: nn.Module, stages: Sequence[Stage]) -> Iterator[Reader]:
    """What reads the stages of `module` in a forward pass, as they come up; the pass ends with the last one. It raises
    RuntimeError where a stage does not come up."""
    uses: dict[str, int] = {}
    visit: list[Visit] = []
    seen = 0

    def watch(layer: str) -> Callable[..., None]:
        wanted = {stage.use: (number, stage) for number, stage in enumerate(stages) if stage.layer == layer}

        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            nonlocal seen
            use = uses[layer] = uses.get(layer, -1) + 1
            if use in wanted:
                number, stage = wanted[use]
                visit[0](number, stage.map_of(output))
                seen += 1
                if seen == len(stages):
                    raise _AllSeen

        return hook

    def read(images: Tensor, each: Visit) -> None:
        nonlocal seen
        uses.clear()
        visit[:], seen = [each], 0
        with contextlib.suppress(_AllSeen):
            module(images)
        if seen < len(stages):
            raise RuntimeError(f"only {seen} of {len(stages)} stages of the network came up in a forward pass")

    hooks = [module.get_submodule(layer).register_forward_hook(watch(layer)) for layer in {s.layer for s in stages}]
    try:
        yield read
    finally:
        for handle in hooks:
            handle.remove()


def _nearest(name: str, module: nn.Module) -> str:
    """The nearest name, without a list of all."""
    return nearest(name, [known for known, _ in module.named_modules() if known]).partition("(known")[0] or (
        f"it has {_some(module)}"
    )


def _some(module: nn.Module) -> str:
    names = [name for name, _ in module.named_modules() if name and name.count(".") < 2]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
