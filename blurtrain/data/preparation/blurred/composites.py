"""Scenes of one photo, or of two: what stands before the rest is a subject by its mask, or a shape."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from blurtrain.data.preparation.blurred.layers import Rng, Scene, distinguishable, drawn_mask, scene_of
from blurtrain.data.preparation.blurred.photos import Photo, decoded, light_of, subject_of

_ALONE, _ALONE_WITHOUT_SUBJECT = 0.5, 0.2
"""Shares of the photos with a subject, and of those without, that are a scene of their own."""
_SHAPE = 0.2
"""Share of the subjects of two photos' scenes for which a shape is taken, though there is a mask."""
_REDUCED = 400
"""Photos with a longer side of so many pixels are reduced at random, to .6 of their size at least."""
_TRIES = 12
"""Scenes that are drawn, at most, until the layers of one can be told apart."""


class Composite(NamedTuple):
    """A scene, and what it is made of."""

    scene: Scene
    subject: str = ""
    """The name of the photo whose subject it shows; "": a shape."""
    other: str = ""
    """The name of the second photo, if there are two."""


class _View(NamedTuple):
    light: Tensor
    subject: Tensor | None


def scene_with(photo: Photo, photos: Sequence[Photo], rng: Rng, layered: bool) -> Composite:
    """A scene that shows a photo, alone or with another one of its split, before or behind that.

    photos: all; the other one is drawn by its folder first, so that a large folder does not lend most.
    layered: one layer alone will be blurred; scenes are drawn anew, a few times, while that could not be seen.
    """
    others: dict[str, list[Photo]] = {}
    for other in photos:
        if other.split == photo.split and other.scene != photo.scene:
            others.setdefault(other.folder, []).append(other)
    image = decoded(photo)
    for _ in range(_TRIES):
        composite = _drawn(photo, image, list(others.values()), rng)
        if not layered or distinguishable(composite.scene):
            break
    return composite


def _drawn(photo: Photo, image: Image.Image, others: Sequence[Sequence[Photo]], rng: Rng) -> Composite:
    own = _view(photo, image, rng)
    if not others or rng.random() < (_ALONE_WITHOUT_SUBJECT if own.subject is None else _ALONE):
        if own.subject is not None:
            return Composite(scene_of(own.light, own.subject), photo.name)
        return Composite(scene_of(own.light, drawn_mask(rng, *own.light.shape[1:])))
    folder = others[int(rng.integers(len(others)))]
    other = folder[int(rng.integers(len(folder)))]
    near, far = (photo, own), (other, _view(other, decoded(other), rng))
    if rng.random() < 0.5:
        near, far = far, near
    light, subject = near[1]
    if subject is None or rng.random() < _SHAPE:
        return Composite(covered(light, far[1].light, rng), "", other.name)
    return Composite(pasted(light, subject, far[1].light, rng), near[0].name, other.name)


def _view(photo: Photo, image: Image.Image, rng: Rng) -> _View:
    scale = rng.uniform(0.6, 1) if max(image.size) >= _REDUCED else 1.0
    return _View(light_of(image, scale), subject_of(photo, image.size, scale))


def covered(near: Tensor, far: Tensor, rng: Rng) -> Scene:
    """A photo [3, H, W] within a shape, before another one: of both a part, of the smaller height and width."""
    height, width = (min(sides) for sides in zip(near.shape[1:], far.shape[1:], strict=True))

    def part(light: Tensor) -> Tensor:
        y, x = (int(rng.integers(light.shape[axis] - side + 1)) for axis, side in ((1, height), (2, width)))
        return light[:, y : y + height, x : x + width]

    return scene_of(part(near), drawn_mask(rng, height, width), part(far))


def pasted(subject: Tensor, mask: Tensor, behind: Tensor, rng: Rng) -> Scene:
    """A subject [3, H, W], by its mask [H, W], before another photo: cut out, reduced, mirrored for half, somewhere in
    the lower part, where up to two fifths of its height and of its width may be cut off by a border.

    What a border of its own photo has cut off stands at that border here: straight cuts are nowhere else.
    """
    if rng.random() < 0.5:
        subject, mask = subject.flip(2), mask.flip(1)
    rows, columns = (torch.nonzero(mask.amax(axis) > 0.5).flatten() for axis in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    cut = torch.cat([subject, mask[None]])[:, top:bottom, left:right]
    height, width = behind.shape[1:]
    scale = min(1.0, rng.uniform(0.5, 1.2) * min(height / (bottom - top), width / (right - left)))
    sides = [max(1, round(scale * side)) for side in cut.shape[1:]]
    cut = interpolate(cut[None], sides, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
    free = (height - sides[0], width - sides[1])
    y = rng.uniform(0.4 * free[0], free[0] + 0.4 * sides[0])
    x = rng.uniform(-0.4 * sides[1], free[1] + 0.4 * sides[1])
    y = max(y, free[0]) if bottom == mask.shape[0] else min(y, 0) if top == 0 else y
    x = min(x, 0) if left == 0 else max(x, free[1]) if right == mask.shape[1] else x
    canvas = torch.zeros(4, height, width)
    canvas[:3] = behind
    y, x = round(y), round(x)
    shown = canvas[:, max(0, y) : max(0, y + sides[0]), max(0, x) : max(0, x + sides[1])]
    shown[:] = cut[:, max(0, -y) :, max(0, -x) :][:, : shown.shape[1], : shown.shape[2]]
    return scene_of(canvas[:3], canvas[3], behind)
