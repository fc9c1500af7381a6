"""Photos with masks, kept as those of VOC: cats are red disks, persons blue squares, on grey; and a small network."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import blurtrain
from blurtrain.data.dataset import Dataset
from blurtrain.data.mask_file import VOID, write_mask
from blurtrain.documents import merge
from blurtrain.settings import Settings, compose

CAT, PERSON = 8, 15
NETWORK = "mask_photos:TinyMaps"
SHAPES = [(60, 80), (80, 60), (64, 64), (60, 90)]


class TinyMaps(nn.Sequential):
    """Logits for each pixel, from what is within 4 pixels of it."""

    def __init__(self, classes: int):
        super().__init__(
            nn.Conv2d(3, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, classes, 5, padding=2)
        )

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = super().forward(images)
        return found


def photo_and_mask(number: int, void: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels [H, W, 3] and a mask [H, W]; void: how many pixels are void along the inner edge of each thing."""
    rng = np.random.default_rng(number)
    height, width = SHAPES[number % len(SHAPES)]
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    distance = np.hypot(y - rng.uniform(18, 42), x - rng.uniform(15, 25))
    inside = 12 - np.maximum(abs(y - rng.uniform(18, 42)), abs(x - rng.uniform(44, 48)))
    for klass, depth in ((CAT, 14 - distance), (PERSON, inside)):
        mask[depth > 0] = klass
        mask[(depth > 0) & (depth <= void)] = VOID
    colours = np.full((256, 3), 120.0)
    colours[[CAT, PERSON]] = [210, 60, 50], [50, 60, 210]
    return (colours[mask] + rng.normal(0, 10, (height, width, 3))).clip(0, 255).astype(np.uint8), mask


def tree(root: Path, train: int = 8, val: int = 5, void: int = 0) -> Path:
    """A tree of VOC with so many photos to train and to validate with."""
    names = [f"2007_{number:06d}" for number in range(train + val)]
    base = root / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        pixels, mask = photo_and_mask(number, void)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        (base / "JPEGImages" / f"{name}.jpg").write_bytes(content.getvalue())
        write_mask(base / "SegmentationClass" / f"{name}.png", mask)
    for split, own in (("train", names[:train]), ("val", names[train:])):
        (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in own))
    return root


def prepared_photos(root: Path, data: Path, name: str, **recipe: Any) -> Dataset:
    return blurtrain.prepare(root, name, data, **{"reader": "voc", "resolution": 32, "stored": 40, **recipe})


KEPT: dict[str, Any] = {"aspect": "kept", "side": "geometric-mean", "stored": 48, "tested": 48}
"""Of a recipe: as Vasiljevic et al. have it, where 48 pixels stand for 384."""


def settings(dataset: Dataset, **overrides: Any) -> Settings:
    """Of a run on `dataset` that takes seconds."""
    kept: Mapping[str, Any] = {} if dataset.squared else {
        "augmentation": {"scaled": {"object_scales": [46, 48], "defined_at": 48, "network_scales": [48]}},
        "evaluation": {"protocol": {"defined_at": 48, "scales": [48]}},
    }  # fmt: skip
    base: Mapping[str, Any] = {
        "dataset": dataset.name,
        "regime": "clear",
        "task": "segmentation",
        "network": {"architecture": NETWORK},
        "data": {"root": str(dataset.folder.parent), "resolution": 32},
        "augmentation": {"colour": 0},
        "optimisation": {"epochs": 2, "batch_size": 4, "warmup_epochs": 0, "learning_rate": 0.02},
        "evaluation": {"split": "val", "sigmas": [0], "blurs": ["disk-8@224"], "batch_size": 2},
        "loader": {"kind": "resident", "workers": 1, "threads": 1},
        "logging": {"tensorboard": False},
    }
    return compose(merge(merge(base, kept), overrides), "masks")
