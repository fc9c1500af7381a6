"""What tests share: a small tree of images, the dataset prepared from it, settings of a tiny run, and real images."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.documents import merge
from blurtrain.settings import Settings, compose

CLASSES = ("checks", "rings", "stripes")
IMAGES_PER_CLASS = 14
RESOLUTION = 64


def texture(kind: str, number: int) -> Image.Image:
    """Image `number` of a class: its pattern and hue, at a phase, noise and size (40..90 px a side) of its own."""
    rng = np.random.default_rng([CLASSES.index(kind), number])
    height, width = rng.integers(40, 91, 2)
    y, x = np.mgrid[:height, :width] + rng.uniform(0, 12, (2, 1, 1))
    pattern = {
        "checks": np.sign(np.sin(x / 3) * np.sin(y / 3)),
        "rings": np.sin(np.hypot(x - width / 2, y - height / 2) / 2),
        "stripes": np.sin((x + y) / 3),
    }[kind]
    hue = np.roll([0.9, 0.5, 0.2], CLASSES.index(kind))
    pixels = 128 + 80 * pattern[..., None] * hue + 60 * (hue - 0.5) + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder class/image.png: 3 classes of 14 images, easy to tell apart, no two of one size. Not to be changed."""
    root = tmp_path_factory.mktemp("tree")
    for kind in CLASSES:
        (root / kind).mkdir()
        for number in range(IMAGES_PER_CLASS):
            texture(kind, number).save(root / kind / f"{number:02d}.png")
    return root


@pytest.fixture(scope="session")
def prepared(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """`tree` as the dataset "textures" (30 train, 3 val, 9 test; stored at 73 px). Once a session; not to be changed.

    Its data.root is `prepared.folder.parent`.
    """
    dataset, _ = prepare(tmp_path_factory.mktemp("data"), "textures", Recipe(images=str(tree), resolution=RESOLUTION))
    return dataset


@pytest.fixture(scope="session")
def tiny(prepared: Dataset) -> Callable[..., Settings]:
    """`tiny(seed=1, optimisation={"epochs": 3})`: settings of a run on `prepared` that takes seconds."""

    def settings(**overrides: Any) -> Settings:
        base: Mapping[str, Any] = {
            "dataset": prepared.name,
            "regime": "clear",
            "data": {"root": str(prepared.folder.parent), "resolution": RESOLUTION},
            "optimisation": {"epochs": 2, "batch_size": 8, "warmup_epochs": 1},
            "evaluation": {"sigmas": [0, 8]},
            "loader": {"kind": "resident", "workers": 1},
            "logging": {"tensorboard": False},
        }
        return compose(merge(base, overrides), "tiny")

    return settings


@pytest.fixture(scope="session")
def images_root() -> Path:
    """The folder of real images that BLURTRAIN_IMAGES names; skips where there is none. For tests marked `images`."""
    where = os.environ.get("BLURTRAIN_IMAGES")
    if not where or not Path(where).is_dir():
        pytest.skip("needs real images: set BLURTRAIN_IMAGES to the folder that holds them")
    return Path(where)


@pytest.fixture(scope="session")
def front_end(tiny: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that restores images of 64 px which a disk of radius 3 has blurred. Not to be changed."""
    from blurtrain.training.train import train

    settings = tiny(
        regime="blurred",
        model="residual-unet",
        network={"arguments": {"width": 8, "depth": 2}},
        curriculum={"schedule": "constant", "blur": "disk-3@64"},
        augmentation={"colour": 0},
        optimisation={"epochs": 12, "batch_size": 6, "warmup_epochs": 1, "learning_rate": 5e-3, "weight_decay": 0},
        evaluation={"sigmas": [], "blurs": ["sharp", "disk-3@64"], "batch_size": 4, "per_image": True},
        loader={"threads": 1},
    )
    return train(settings, tmp_path_factory.mktemp("front-end")).path
