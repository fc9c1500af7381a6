"""Patches of photographs, for a prior to learn from."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blurtrain.data.decode import opened
from blurtrain.data.image_files import image_files
from blurtrain.errors import DataError


def photo_patches(folder: Path, count: int, patch: int, side: int, seed: int = 0) -> tuple[Tensor, dict[str, Any]]:
    """`count` grey patches [count, patch * patch] (float32, 0..1) from places drawn evenly over all photographs below
    `folder`, and what is to be known of them: {photos, images, images_sha256, side, patches, seed}.

    Photographs are shrunk to a smaller side of `side` pixels where they are larger. Raises DataError where there is
    none, or one cannot be read or is smaller than a patch.
    """
    paths = image_files(folder)
    shares = np.bincount(np.arange(count) * len(paths) // count, minlength=len(paths))
    rng, found, content = np.random.default_rng(seed), [], hashlib.sha256()
    for path, own in zip(paths, shares, strict=True):
        data = (folder / path).read_bytes()
        content.update(hashlib.sha256(data).digest())
        try:
            image = opened(data).convert("L")
        except ValueError as error:
            raise DataError(f"{folder / path}: {error}") from None
        if (scale := side / min(image.size)) < 1:
            width, height = (round(length * scale) for length in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        if min(image.size) < patch:
            raise DataError(f"{folder / path}: is smaller than a patch of {patch} x {patch} pixels: remove it")
        pixels = np.asarray(image, np.float32) / 255
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (patch, patch))
        down, across = (rng.integers(0, length, own) for length in windows.shape[:2])
        found.append(windows[down, across].reshape(own, -1))
    about = {"photos": str(folder.name), "images": len(paths), "images_sha256": content.hexdigest(), "side": side,
             "patches": count, "seed": seed}  # fmt: skip
    return torch.from_numpy(np.concatenate(found)), about
