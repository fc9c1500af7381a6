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
    shows too. `are_classes`: a leaf folder is a class, so that splits share them by design."""
    known = images.leaf >= 0
    training = np.zeros(int(images.leaf.max(initial=0)) + 1, np.bool_)
    training[images.leaf[known & (images.split == 0)]] = True
    held = {name: entries for name, entries in images.splits.items() if name != "train"}
    shown = {name: training[images.leaf[entries]] & known[entries] for name, entries in held.items()}
    seen = [np.unique(images.leaf[entries][known[entries]]) for entries in images.splits.values()]
    objects, splits = np.unique(np.concatenate(seen), return_counts=True)
    return {
        "objects": len(objects),
        "are_classes": images.leaves_are_classes,
        "in_several_splits": int((splits > 1).sum()),
        "shown_in_training": {name: {"images": int(of.sum()), "of": len(of)} for name, of in shown.items()},
    }
