"""The sharp photos that others are made from: where they and their masks lie, and which show one scene.

FOLDER/rgb/horse001.jpg          a photo, anywhere below a folder
FOLDER/figure_ground/horse001.png    its mask: of the same name in a folder beside that of the photo, called as in MASKS
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blurtrain.blur.light import linear_light
from blurtrain.data.decode import opened
from blurtrain.data.image_files import image_files
from blurtrain.data.mask_file import VOID
from blurtrain.data.preparation.readers import Sample
from blurtrain.data.preparation.scenes import scenes
from blurtrain.data.preparation.splits import draw_splits
from blurtrain.errors import DataError

MASKS = ("figure_ground", "SegmentationClass", "masks")
_LEAST_SUBJECT, _MOST_SUBJECT = 0.02, 0.7
"""Shares of a photo between which its mask is taken for that of a subject."""


class Photo(NamedTuple):
    """One sharp photo."""

    name: str
    """Unlike that of all others: folder and path, with - for /."""
    folder: str
    """The folder that it was found in, as it was given."""
    file: str
    mask: str
    """"": there is none."""
    scene: str = ""
    """The name of the first photo of its scene."""
    split: str = ""


def photos_in(folders: Sequence[Path], val: float, seed: int) -> list[Photo]:
    """All photos below some folders, each with its scene, and with its split: a share `val` of each folder's scenes for
    validation, drawn by hashes of their names.

    Raises DataError for a folder that holds none, or has the name of another.
    """
    photos: list[Photo] = []
    for folder in folders:
        if folder.name in {photo.folder for photo in photos}:
            raise DataError(f"{folder}: another folder is called {folder.name!r}, too; photos are named by it")
        paths = [path for path in image_files(folder) if not set(path.parts) & {*MASKS}]
        if not paths:
            raise DataError(f"{folder}: holds masks alone ({', '.join(MASKS)}), and no photos beside them")
        for path in paths:
            name = "-".join([folder.name, *path.with_suffix("").parts])
            photos.append(Photo(name, folder.name, str(folder / path), _mask_of(folder / path)))
    if len(names := {photo.name for photo in photos}) < len(photos):
        twice = next(p.name for k, p in enumerate(photos) if p.name in {q.name for q in photos[:k]})
        raise DataError(f"{len(photos) - len(names)} photos have the name of another, e.g. {twice}: rename one of them")
    photos.sort()
    first = scenes([Path(photo.file) for photo in photos])
    photos = [photo._replace(scene=photos[k].name) for photo, k in zip(photos, first, strict=True)]
    samples = [Sample(p.name, p.file, p.folder, f"{p.folder}/{p.scene}") for p in photos]
    drawn = draw_splits(samples, val, 0, seed, whole_groups=True)
    split_of = {photo.scene: sample.split for photo, sample in zip(photos, drawn, strict=True)}
    return [photo._replace(split=split_of[photo.scene]) for photo in photos]


def _mask_of(path: Path) -> str:
    beside = (path.parents[1] / folder / f"{path.stem}.png" for folder in MASKS)
    return next((str(mask) for mask in beside if mask.is_file()), "")


def decoded(photo: Photo) -> Image.Image:
    """8-bit RGB, turned by EXIF orientation. Raises DataError where that fails."""
    try:
        return opened(Path(photo.file).read_bytes())
    except (OSError, DataError) as error:
        raise DataError(f"{photo.file}: cannot be decoded ({error}); mend or remove it") from None


def light_of(image: Image.Image, scale: float = 1.0) -> Tensor:
    """Linear light [3, H, W] in 0..1 of an image that is reduced to so much of its size."""
    return linear_light(_tensor(_scaled(image, scale))) / 255


def subject_of(photo: Photo, size: tuple[int, int], scale: float = 1.0) -> Tensor | None:
    """Mask [H, W] in 0..1 of the subject: of a palette, all classes but 0 (void: half), else what is bright. None where
    there is none, or it is hardly any of the photo, or nearly all.

    size: width and height of the decoded photo. Raises DataError for a mask that is not of it.
    """
    if not photo.mask:
        return None
    with Image.open(photo.mask) as mask:
        if mask.size != size:
            raise DataError(f"{photo.mask}: is not of the size of {photo.file} as it is shown, {size[0]} x {size[1]}")
        values = np.asarray(mask if mask.mode == "P" else mask.convert("L"), np.uint8)
        if mask.mode == "P":
            values = np.where(values == VOID, 128, np.where(values > 0, 255, 0)).astype(np.uint8)
    found = _tensor(_scaled(Image.fromarray(values), scale))[0] / 255
    return found if _LEAST_SUBJECT < float((found > 0.5).float().mean()) < _MOST_SUBJECT else None


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, np.float32)).reshape(image.height, image.width, -1).permute(2, 0, 1)


def stream(*words: object) -> np.random.Generator:
    """Random numbers that are a function of some words."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(digest[:16]))))
