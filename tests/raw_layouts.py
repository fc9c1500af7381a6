"""Miniatures of data sets, in the layouts in which those are distributed, of generated images."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from blurtrain.data.mask_file import write_mask

Images = Mapping[tuple[str, str], bytes]
"""JPEG files by class and name."""


def jpeg(*seed: int, width: int = 24, height: int = 18, mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(content, "JPEG", quality=95, **options)
    return content.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- ImageNet -------------------------------------------------------------------------------------------------------


def imagenet(classes: list[str], train: int, val: int) -> tuple[Images, Images]:
    """Training and validation images of these classes, named as ImageNet's are."""
    training = {(c, f"{c}_{17 * k + 3}.JPEG"): jpeg(0, n, k) for n, c in enumerate(classes) for k in range(train)}
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(classes)), val))
    validation = {(classes[n], f"ILSVRC2012_val_{k:08d}.JPEG"): jpeg(1, k) for k, n in enumerate(order.tolist(), 1)}
    return training, validation


def in_folders(folder: Path, images: Images) -> Path:
    for (label, name), content in images.items():
        put(folder / label / name, content)
    return folder


def flat(folder: Path, images: Images) -> Path:
    for (_, name), content in images.items():
        put(folder / name, content)
    return folder


def development_kit(folder: Path, classes: list[str], validation: Images, matlab: bool = True) -> None:
    """Ground truth by numbers of classes that are not those of any sorted list."""
    numbers = {name: n for n, name in enumerate(sorted(classes, key=lambda c: c[::-1]), 1)}
    lines = [str(numbers[label]) for label, name in sorted(validation, key=lambda image: image[1])]
    put(folder / "ILSVRC2012_validation_ground_truth.txt", "\n".join(lines) + "\n")
    if not matlab:
        put(folder / "map_clsloc.txt", "".join(f"{name} {n} name_{n}\n" for name, n in numbers.items()))
        return
    rows = np.zeros((len(numbers), 1), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    rows[:, 0] = [(float(n), name, f"name {n}") for name, n in numbers.items()]
    savemat(folder / "meta.mat", {"synsets": rows})


def kaggle_solution(file: Path, validation: Images) -> None:
    rows = [f"{name.removesuffix('.JPEG')},{label} 12 3 20 15 {label} 1 2 5 6" for label, name in validation]
    put(file, "\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n")


def kaggle_hundred(root: Path, training: Images, validation: Images) -> Path:
    """train.X1 to X4, val.X and Labels.json."""
    classes = [label for label, _ in training]
    for (label, name), content in training.items():
        put(root / f"train.X{classes.index(label) % 4 + 1}" / label / name, content)
    in_folders(root / "val.X", validation)
    put(root / "Labels.json", json.dumps({label: f"name of {label}" for label in reversed(classes)}))
    return root


# --- COCO -----------------------------------------------------------------------------------------------------------

COCO_NAMES = {1: "person", 3: "car", 5: "airplane", 17: "cat", 25: "giraffe", 37: "sports ball", 50: "spoon"}
COCO_MORE = {8: "truck", 19: "horse"}
OF_VOC = {"2": "bicycle", "4": "motorcycle", "6": "bus", "7": "train", "9": "boat", "16": "bird", "18": "dog",
          "20": "sheep", "21": "cow", "44": "bottle", "62": "chair", "63": "couch", "64": "potted plant",
          "67": "dining table", "72": "tv"}  # fmt: skip
"""The others that VOC has, too."""


def coco(root: Path, split: str, photos: Mapping[int, bytes], objects: list[dict[str, Any]], **more: str) -> Path:
    """Photos by number, and their objects: {image_id, category_id, bbox, segmentation, area, iscrowd}."""
    images = []
    for number, content in photos.items():
        name = f"{number:012d}.jpg"
        put(root / split / name, content)
        with Image.open(io.BytesIO(content)) as image:
            images.append({"id": number, "file_name": name, "width": image.width, "height": image.height, "license": 1})
    categories = {**COCO_NAMES, **COCO_MORE} | {int(k): v for k, v in more.items()}
    document = {
        "info": {"year": 2017},
        "images": images,
        "annotations": [{"id": n, "iscrowd": 0, **one} for n, one in enumerate(objects, 100)],
        "categories": [{"id": n, "name": name, "supercategory": "thing"} for n, name in categories.items()],
    }
    put(root / "annotations" / f"instances_{split}.json", json.dumps(document))
    return root


def rectangle(left: float, top: float, width: float, height: float) -> list[list[float]]:
    right, bottom = left + width, top + height
    return [[left, top, right, top, right, bottom, left, bottom]]


# --- VOC ------------------------------------------------------------------------------------------------------------


def voc(base: Path, pairs: Mapping[str, tuple[bytes, np.ndarray]], lists: Mapping[str, list[str]]) -> Path:
    """VOC2012/: photos, masks with VOC's palette, and lists of names."""
    for name, (photo, mask) in pairs.items():
        put(base / "JPEGImages" / f"{name}.jpg", photo)
        (base / "SegmentationClass").mkdir(exist_ok=True)
        write_mask(base / "SegmentationClass" / f"{name}.png", mask)
    for name, names in lists.items():
        put(base / "ImageSets" / "Segmentation" / f"{name}.txt", "".join(f"{n}\n" for n in names))
    return base


def sbd(folder: Path, masks: Mapping[str, np.ndarray]) -> Path:
    """cls/*.mat of the Semantic Boundaries Dataset."""
    (folder / "cls").mkdir(parents=True)
    for name, mask in masks.items():
        whole = {"Segmentation": mask, "Boundaries": np.zeros((20, 1), object), "CategoriesPresent": np.unique(mask)}
        savemat(folder / "cls" / f"{name}.mat", {"GTcls": whole})
    return folder
