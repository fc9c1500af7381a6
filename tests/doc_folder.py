"""The folder in which the pages of docs/ are run: what their commands name is there, of drawn images."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mask_photos
import numpy as np
import pyarrow as pa
import torch
import yaml
from doc_blocks import DOCS, blocks_of
from raw_layouts import OF_VOC, coco, imagenet, in_folders, jpeg, kaggle_hundred, rectangle

from blurtrain.blur_types import CLASSES
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preparation.standins import draw
from blurtrain.documents import dump_yaml, merge, read_yaml
from blurtrain.settings import PRESETS, Settings
from blurtrain.training.train import train

RESOLUTION = 64
SYNSETS = {"checks": "n02123045", "rings": "n02085936", "stripes": "n02690373"}
"""What the classes of drawn images are called: a cat, a dog and an aeroplane to `shape-bias`."""
SMALL = {
    "architecture": "timm/resnet18",
    "arguments": {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 8], "stem_width": 4},
}
GRID = {
    "settings": {
        "network": SMALL,
        "data": {"resolution": RESOLUTION},
        "optimisation": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
        "evaluation": {"sigmas": [0, 8]},
    },
    "axes": {"dataset": ["faces"], "model": ["small"], "regime": ["clear", "blurry"], "seed": [0]},
    "data": {"faces": {"images": ".", "resolution": RESOLUTION}},
}


def photos(tree: Path, folder: Path) -> None:
    """class/image.png."""
    for name, synset in SYNSETS.items():
        shutil.copytree(tree / name, folder / synset)


def one_folder(tree: Path, folder: Path) -> None:
    """class+0.png, all in one."""
    folder.mkdir()
    for path in tree.rglob("*.png"):
        shutil.copy(path, folder / f"{path.parent.name}+{path.name}")


def listed(tree: Path, folder: Path) -> None:
    """Folders of classes, and the table that says the same."""
    shutil.copytree(tree, folder)
    with (folder / "faces.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows((str(p.relative_to(folder)), p.parent.name) for p in sorted(folder.rglob("*.png")))


def saved(tree: Path, folder: Path) -> None:
    """As Hugging Face's `datasets` leave them."""
    files = sorted(tree.rglob("*.png"))
    names = sorted(SYNSETS)
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in files],
        "label": [names.index(path.parent.name) for path in files],
    }
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table(columns)
    (folder / "train").mkdir(parents=True)
    arrow = folder / "data-00000-of-00001.arrow"
    with pa.OSFile(str(arrow), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": arrow.name}]}))


def conflicts(tree: Path, folder: Path) -> None:
    """SHAPE/SHAPE1-TEXTURE1.png."""
    for shape, texture in (("cat", "dog"), ("dog", "airplane"), ("airplane", "cat")):
        (folder / shape).mkdir(parents=True)
        shutil.copy(next((tree / "rings").glob("*.png")), folder / shape / f"{shape}1-{texture}1.png")


def things(tree: Path, folder: Path) -> None:
    """Photos of COCO, a person and a cat in each."""
    content = {k: jpeg(k, width=80, height=60) for k in range(8)}
    objects: list[dict[str, Any]] = [
        {"image_id": k, "category_id": n, "bbox": box, "segmentation": rectangle(*box), "area": 900}
        for k in content
        for n, box in ((1, (4, 4, 30, 30)), (17, (40, 20, 30, 30)))
    ]
    for split, own in (("train2017", range(5)), ("val2017", range(5, 8))):
        coco(folder, split, {k: content[k] for k in own}, [o for o in objects if o["image_id"] in own], **OF_VOC)


def of_types(tree: Path, folder: Path) -> None:
    """Photos in a folder a type of blur."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for k, path in enumerate(sorted(tree.rglob("*.png"))[:3]):
            shutil.copy(path, folder / name / f"{k}.png")


def twelve(tree: Path, folder: Path) -> None:
    """imagenet/, with classes of the twelve categories."""
    table = read_yaml(PRESETS / "categories" / "imagenet-12.yaml")
    classes = [names["imagenet"][0] for names in table.values() if names.get("imagenet")]
    in_folders(folder / "imagenet", imagenet(classes, 20, 1)[0])


def hundred(tree: Path, folder: Path) -> None:
    """ImageNet-100 as on Kaggle."""
    kaggle_hundred(folder, *imagenet(_kaggle(), 2, 1))


def whole(tree: Path, folder: Path) -> None:
    """ImageNet, of which there are but the hundred classes."""
    training, validation = imagenet(_kaggle(), 2, 1)
    in_folders(folder / "train", training)
    in_folders(folder / "val", validation)


def _kaggle() -> list[str]:
    classes: list[str] = read_yaml(PRESETS / "synsets" / "kaggle.yaml")["synsets"]
    return classes


FOLDERS: dict[str, Callable[[Path, Path], object]] = {
    "photos": photos,
    "FOLDER": photos,
    "birds": photos,
    "imagenette": photos,
    "more-photos": one_folder,
    "flat": one_folder,
    "faces": listed,
    "beans": saved,
    "style-transfer-preprocessed-512": conflicts,
    "SHARP/horses": photos,
    "SHARP/voc": photos,
    "REAL": of_types,
    "VOCdevkit": lambda _, folder: mask_photos.tree(folder),
    "coco": things,
    "twelve": twelve,
    "docs/gallery": lambda _, folder: folder.mkdir(),
    "imagenet100": hundred,
    "imagenet": whole,
    "facescrub": lambda _, folder: draw("facescrub", folder, images_per_class=8, workers=1),
    "toybox": lambda _, folder: draw("toybox", folder, images_per_class=4, size=32, workers=1),
}
DATASETS = ("birds", "faces", "grocery", "imagenette", "NAME")
"""All of the same images."""


def detector() -> dict[str, Any]:
    """The settings of docs/detector.md, from weights that are drawn."""
    (text,) = blocks_of(DOCS / "detector.md", "yaml")
    document: dict[str, Any] = yaml.safe_load(text)
    del document["network"]["pretrained"], document["optimisation"]
    return document


def furnish(home: Path, tree: Path, tiny: Callable[..., Settings]) -> None:
    """Fill `home`: folders of images, datasets in data/, two runs in runs/, settings and parts of one's own."""
    for name, made in FOLDERS.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        made(tree, home / name)
    for name in DATASETS:
        prepare(home / "data", name, Recipe(images=str(home / "birds"), resolution=RESOLUTION))
    for regime in ("clear", "blurry"):
        own = {"model": "small", "network": SMALL, "data": {"root": str(home / "data"), "resolution": RESOLUTION}}
        train(
            tiny(
                dataset="birds", regime=regime, **own, checkpoints={"keep_epochs": [1]},
                evaluation={"sigmas": [0, 4, 8], "per_image": True},
            ),
            home / "runs",
        )  # fmt: skip
    (home / "GRID.yaml").write_text(dump_yaml(GRID))
    three = merge(GRID, {"axes": {"regime": ["clear", "blurry-to-clear"]}})
    del three["data"]
    (home / "three.yaml").write_text(dump_yaml(three))
    (home / "detector.yaml").write_text(dump_yaml(detector()))
    (home / "faces.yaml").write_text(
        "dataset: faces\nregime: clear\ndata: {resolution: 64}\noptimisation: {batch_size: 8}\n"
    )
    (home / "birds.yaml").write_text(
        "dataset: birds\nregime: clear\ndata: {resolution: 64}\noptimisation: {batch_size: 8}\n"
    )
    (home / "mine.txt").write_text("\n".join(_kaggle()[:3]) + "\n")
    (home / "mine.py").write_text("\n\n".join(blocks_of(DOCS / "extending.md", "python")))


def given() -> dict[str, object]:
    """What the blocks of Python take as given."""
    images = torch.rand(2, 3, 256, 256)
    ones = torch.ones(2, dtype=torch.long)
    return {
        "images": images,
        "sigma": 2.0,
        "top": 8 * ones,
        "left": 4 * ones,
        "height": 200 * ones,
        "width": 220 * ones,
        "flip": ones.bool(),
        "indices": np.arange(2),
    }
