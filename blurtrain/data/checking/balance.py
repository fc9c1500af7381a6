"""How images are spread over classes, objects and splits."""

from typing import Any

import numpy as np

from blurtrain.data.checking.images import Images


def classes_of(images: Images, split: str) -> dict[str, Any]:
    """Of a split: images, classes, the smallest, median and largest count of a class that is there, and classes that
    are missing."""
    counts = np.bincount(images.label[images.splits[split]], minlength=len(images.classes))
    there = np.flatnonzero(counts)
    smallest, largest = there[counts[there].argmin()], there[counts[there].argmax()]
    return {
        "images": int(counts.sum()),
        "classes": len(there),
        "smallest": {"class": images.classes[smallest], "images": int(counts[smallest])},
        "median": float(np.median(counts[there])),
        "largest": {"class": images.classes[largest], "images": int(counts[largest])},
        "missing": [images.classes[k] for k in np.flatnonzero(counts == 0)],
        "counts": {name: int(n) for name, n in zip(images.classes, counts, strict=True)},
    }


def objects_in_splits(images: Images) -> dict[str, Any]:
    """Whether splits share objects (leaf folders), and how many images of each later split show one that training
    shows too. `are_classes`: each class is one leaf folder, so that splits share them all."""
    training = np.zeros(int(images.leaf.max()) + 1, np.bool_)
    training[images.leaf[images.split == 0]] = True
    held = {name: images.leaf[entries] for name, entries in images.splits.items() if name != "train"}
    shared = {name: {"images": int(training[leaf].sum()), "of": len(leaf)} for name, leaf in held.items()}
    seen = [np.unique(images.leaf[entries]) for entries in images.splits.values()]
    objects, splits = np.unique(np.concatenate(seen), return_counts=True)
    return {
        "objects": len(objects),
        "are_classes": len(objects) == len(np.unique(images.label)),
        "in_several_splits": int((splits > 1).sum()),
        "shown_in_training": shared,
    }
