"""Readers: from a folder, as a data set is distributed, to the samples that are stored.

A reader is a settings class, named as measures are: `tree`, `list table=faces.csv`, or one's own `mine.py:Name`:

    class Flat(Reader):
        type: str
        until: str = "_"                         # an option: --reader 'mine.py:Flat until=-'

        def samples(self, root: Path) -> Found:
            files = sorted(root.glob("*.png"))
            return Found([Sample(f"{label}/{f.name}", f.name, label) for f in files
                          if (label := f.name.split(self.until)[0])])

What it has to keep to:

- It opens no image. What can be wrong with one (missing, damaged, not the `sha256` that was given) is found when it is
  decoded, and is listed.
- A key says what an image is and not where it lies, e.g. label/name: the same images from another layout, read by
  another reader, are then the same dataset, with the same ids. Keys differ from each other; `with_keys` makes them.
- Labels are names, never positions.
- All samples that go into the store are given; those without a label are in no split of this dataset, but another one,
  that has them, finds the same store.
- Masks of photos are named (`mask`, or drawn from `outlines`), with the names of their values as the `classes` of what
  is found.
- What should be there and is not is given as `skipped`, with its reason; what lies there and is no image is counted
  as `left_alone`. Where the folder is not as expected at all, it raises DataError: what was found, what was expected.

The recipe does the rest for all readers alike: exclude, min_images, splits (drawn by key, or by group with
hold_out=groups), train_images, duplicates, skip_unreadable.
"""

from blurtrain.data.preparation.readers.blur_types import BlurTypes
from blurtrain.data.preparation.readers.coco import Coco
from blurtrain.data.preparation.readers.facescrub import FaceScrub
from blurtrain.data.preparation.readers.hugging_face import HuggingFace
from blurtrain.data.preparation.readers.imagenet import OneHundred, OneThousand
from blurtrain.data.preparation.readers.imagenet12 import ImageNet12
from blurtrain.data.preparation.readers.listing import List
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, with_keys
from blurtrain.data.preparation.readers.toybox import Toybox
from blurtrain.data.preparation.readers.tree import Tree
from blurtrain.data.preparation.readers.voc import Voc

__all__ = ["Found", "Reader", "Sample", "Tree", "with_keys"]

Reader.kinds = {
    "blur-types": BlurTypes,
    "coco": Coco,
    "facescrub": FaceScrub,
    "hugging-face": HuggingFace,
    "imagenet": OneThousand,
    "imagenet-12": ImageNet12,
    "imagenet-100": OneHundred,
    "list": List,
    "toybox": Toybox,
    "tree": Tree,
    "voc": Voc,
}
